// SPDX-License-Identifier: GPL-3.0-or-later
#include "peak.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "code_room.h"
#include "kernels.h"

namespace amc {
namespace {

constexpr size_t kRounds = 20000;
constexpr int kRepetitions = 10;
constexpr size_t kCached = 8192;  // bytes that every first cache holds

// The most that "work" does in a nanosecond; it returns how much that was in all.
template <class Work>
double Best(const Work& work) {
    double best = 0;
    for (int repetition = 0; repetition < kRepetitions; ++repetition) {
        const auto begin = std::chrono::steady_clock::now();
        const size_t done = work();
        const std::chrono::duration<double, std::nano> taken = std::chrono::steady_clock::now() - begin;
        best = std::max(best, static_cast<double>(done) / taken.count());
    }
    return best;
}

}  // namespace

Peak MeasurePeak() {
    const CodeRoom codes(kCached + kSlack, 1);
    // Written to and never read, so that no compiler leaves the work out.
    volatile int32_t kept = 0;
    const auto keeping = [&](auto run) {
        return [&kept, run] {
            int32_t result = 0;
            const size_t done = run(&result);
            kept = result;
            return done;
        };
    };
    return {Best(keeping([](int32_t* result) { return RunProducts(kRounds, result); })),
            Best(keeping([](int32_t* result) { return RunQuads(kRounds, result); })),
            Best(keeping([&](int32_t* result) { return RunLoads(codes.data() + 1, kCached, 1, kRounds / 100, result); })),
            Best(keeping([&](int32_t* result) { return RunLoads(codes.data(), kCached, kCacheLine, kRounds / 100, result); }))};
}

}  // namespace amc
