// SPDX-License-Identifier: GPL-3.0-or-later
//
// Sums of two tensors, code by code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace amc {

// q = (sum + offset) / 2^shift, rounded to the nearest whole number, and of two as near ones to the even one, or to the
// odd one where that is set; code = clip(q, low, high). It is what quantising does where all scales are powers of two.
struct HalfRounding {
    int16_t offset;
    int shift;
    bool to_odd;
    int16_t low;
    int16_t high;
};

// The rounding that gives codes[sum] for every sum, compared one by one; none where no one of this form does, or where
// it would leave 16 bits on the way. The codes never fall.
std::optional<HalfRounding> FindHalfRounding(const std::vector<uint8_t>& codes);

// What becomes of the sum (first << first_shift) + (second << second_shift).
struct Addition {
    int first_shift;
    int second_shift;
    std::vector<uint8_t> codes;            // of each sum, from 0 on
    std::optional<HalfRounding> rounding;  // where one gives these
};

// No larger sum is taken.
constexpr int kLargestAddition = 32767;

// made[t] = code of first[t] and second[t], t < length. Reads and writes up to kAdditionOverrun codes behind.
void AddRows(const uint8_t* first, const uint8_t* second, size_t length, const Addition& addition, uint8_t* made);
constexpr size_t kAdditionOverrun = 31;

}  // namespace amc
