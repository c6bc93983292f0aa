// SPDX-License-Identifier: GPL-3.0-or-later
//
// Room for codes that begins where a cache line does, so that what lies at a multiple of its size is read in one piece.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

namespace amc {

constexpr size_t kCacheLine = 64;

template <typename T>
struct CacheLineAllocator {
    using value_type = T;

    CacheLineAllocator() = default;
    template <typename U>
    CacheLineAllocator(const CacheLineAllocator<U>&) {}

    T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), std::align_val_t{kCacheLine})); }
    void deallocate(T* room, size_t) { ::operator delete(room, std::align_val_t{kCacheLine}); }
    bool operator==(const CacheLineAllocator&) const { return true; }
    bool operator!=(const CacheLineAllocator&) const { return false; }
};

using CodeRoom = std::vector<uint8_t, CacheLineAllocator<uint8_t>>;

}  // namespace amc
