// SPDX-License-Identifier: GPL-3.0-or-later
//
// The kernels of processors that have none of the instruction sets: loops so plain that compilers make vectors of them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "kernels.h"

namespace amc::plain {

// So many sums at a time, so that they stay in the first cache.
constexpr size_t kPart = 256;

// So many taps at a time, so that sums go through memory more seldom: with more of them they would not stay in registers.
constexpr size_t kTogether = 4;

// A function of its own, or compilers join the loops of several calls and make no vectors of that.
template <typename T, size_t... kTaps>
__attribute__((noinline)) void AddTaps(const uint8_t* codes, const Tap* taps, size_t place, size_t length, T* __restrict__ sums,
                                       std::index_sequence<kTaps...>) {
    const T weights[] = {static_cast<T>(taps[kTaps].weight)...};
    const uint8_t* from[] = {codes + taps[kTaps].offsets[place]...};
    for (size_t t = 0; t < length; ++t) sums[t] = static_cast<T>((sums[t] + ... + (weights[kTaps] * from[kTaps][t])));
}

// Of the pool's sum number "place" at each t.
template <typename T>
void Sum(const uint8_t* codes, const std::vector<Tap>& taps, size_t place, size_t length, T* sums) {
    std::fill_n(sums, length, T{0});
    size_t i = 0;
    for (; i + kTogether <= taps.size(); i += kTogether) {
        AddTaps(codes, &taps[i], place, length, sums, std::make_index_sequence<kTogether>());
    }
    for (; i < taps.size(); ++i) AddTaps(codes, &taps[i], place, length, sums, std::make_index_sequence<1>());
}

template <typename T>
void Count(const T* __restrict__ sums, size_t length, const std::vector<T>& limits, uint8_t* __restrict__ made) {
    T counts[kPart] = {};
    for (const T limit : limits) {
        for (size_t t = 0; t < length; ++t) counts[t] = static_cast<T>(counts[t] + (sums[t] > limit));
    }
    for (size_t t = 0; t < length; ++t) made[t] = static_cast<uint8_t>(counts[t]);
}

// By an exact rounding.
inline void Round(const int16_t* __restrict__ sums, size_t length, const Rounding& rounding, uint8_t* __restrict__ made) {
    const int16_t low = rounding.low, high = rounding.high, centre = rounding.centre, factor = rounding.factor;
    const int16_t offset = rounding.offset, unit = static_cast<int16_t>(1 << rounding.shift);
    const int fraction = rounding.fraction;
    int16_t halves[kPart];
    for (size_t t = 0; t < length; ++t) {
        const int16_t clipped = std::min(std::max(sums[t], low), high);
        const int16_t moved = static_cast<int16_t>((clipped - centre) * unit);
        halves[t] = static_cast<int16_t>((moved * factor) >> 16);
    }
    for (size_t t = 0; t < length; ++t) made[t] = static_cast<uint8_t>(static_cast<int16_t>(halves[t] + offset) >> fraction);
}

template <typename T>
void Row(const uint8_t* codes, const RowOutput& output, const std::vector<T>& limits, const Rounding* rounding, size_t length,
         size_t pool, uint8_t* made) {
    T sums[kPart], others[kPart];
    for (size_t begin = 0; begin < length; begin += kPart) {
        const size_t some = std::min(kPart, length - begin);
        Sum(codes + begin, output.taps, 0, some, sums);
        if (pool == 2) {
            Sum(codes + begin, output.taps, 1, some, others);
            for (size_t t = 0; t < some; ++t) sums[t] = std::max(sums[t], others[t]);
        }
        if constexpr (sizeof(T) == sizeof(int16_t)) {
            if (rounding) {
                Round(sums, some, *rounding, made + begin);
                continue;
            }
        }
        Count(sums, some, limits, made + begin);
    }
}

inline void Row(const uint8_t* codes, const RowOutput& output, size_t length, size_t pool, uint8_t* made) {
    if (!output.limits32.empty()) {
        Row(codes, output, output.limits32, nullptr, length, pool, made);
    } else {
        // To look up limits one by one takes longer than to count them.
        const bool rounds = output.rounding && output.rounding->exact;
        Row(codes, output, output.limits16, rounds ? &*output.rounding : nullptr, length, pool, made);
    }
}

// codes[t] = code of values[every * t] divided by each of both, t < length; see QuantiseRow.
inline void Quantise(const float* __restrict__ values, size_t every, size_t length, float divisor, float scale, float low,
                     float high, uint8_t* __restrict__ codes) {
    // Added to what lies between the bounds of a code, it leaves no room behind the point: that rounds, half to even.
    constexpr float kWhole = 1.5f * (1 << 23);
    for (size_t t = 0; t < length; ++t) {
        const float value = values[every * t] / divisor / scale;
        const float clipped = value >= low ? std::min(value, high) : low;
        codes[t] = static_cast<uint8_t>(static_cast<int32_t>((clipped + kWhole) - kWhole - low));
    }
}

}  // namespace amc::plain
