// SPDX-License-Identifier: GPL-3.0-or-later
//
// The inner loops, compiled for every instruction set that Highway knows here and chosen when they are called.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "rounding.h"

namespace amc {

// A weight that is not zero, and where its codes begin, counted from the first code of the tensor.
struct Tap {
    int32_t offset;
    int32_t weight;
};

// Codes that may be read, and sums that may be written, behind the last one that counts.
constexpr size_t kSlack = 1024;

// sums[t] = sum over taps of weight * codes[offset + t], t < length.
void SumRow(const uint8_t* codes, const std::vector<Tap>& taps, size_t length, int32_t* sums);

// made[t] = how many of the limits the largest of those sums pool * t ... pool * t + pool - 1 exceeds. The sums have
// the type of the limits, which nothing may overflow; "sums" is room for them.
void MakeRow(const uint8_t* codes, const std::vector<Tap>& taps, size_t length, size_t pool,
             const std::vector<int16_t>& limits, int16_t* sums, uint8_t* made);
void MakeRow(const uint8_t* codes, const std::vector<Tap>& taps, size_t length, size_t pool,
             const std::vector<int32_t>& limits, int32_t* sums, uint8_t* made);

// The same in fixed point.
void MakeRow(const uint8_t* codes, const std::vector<Tap>& taps, size_t length, size_t pool, const Rounding& rounding,
             int16_t* sums, uint8_t* made);

// codes[t] = clip(round-half-even(values[t] / scale), low, high) - low; what is no number becomes 0.
void QuantiseRow(const float* values, size_t length, float scale, int low, int high, uint8_t* codes);

// Instruction sets that run here, the best one first, and the one in use.
std::vector<std::string> Targets();
std::string TargetInUse();

// Uses another one from now on in the whole process, for tests and benchmarks; throws std::invalid_argument for a name
// that Targets does not list.
void UseTarget(const std::string& name);

}  // namespace amc
