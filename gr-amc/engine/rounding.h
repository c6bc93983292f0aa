// SPDX-License-Identifier: GPL-3.0-or-later
//
// From sums to codes in fixed point, where that is proved to be the same as counting limits.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace amc {

constexpr size_t kTable = 16, kMostCorrectedCodes = 2 * kTable;

// code = (high half of (((clip(sum, low, high) - centre) << shift) * factor) + offset) >> fraction, all in 16 bits. Where
// that is not "exact", it may be one too small: the code is that, and one more where the sum exceeds the limit of that.
struct Rounding {
    int16_t low;
    int16_t high;
    int16_t centre;
    int16_t factor;
    int16_t offset;
    int shift;
    int fraction;
    bool exact;
    // Lower and upper bytes of the limits of codes below kTable, then those of the others, as vectors look them up.
    alignas(kTable) std::array<std::array<uint8_t, kTable>, 4> limits;
};

// The rounding that gives, for every sum from least to most, how many of the rising limits it exceeds, an exact one where
// there is one; none where no one of this form does. Both sides of every step are compared, and between steps neither of the two can change,
// because both never fall where sums rise.
std::optional<Rounding> FindRounding(const std::vector<int16_t>& limits, int least, int most);

// code = clip(high half of ((sum << shift) + start) * factor, 0, 255) >> fraction, the first in 16 bits: what is packed into
// bytes with saturation is clipped with no instruction of its own.
struct PackedRounding {
    int16_t start;
    int16_t factor;
    int shift;
    int fraction;
};

// As FindRounding, an exact one with no larger shift than "most_shift"; of codes whose number is a power of two.
std::optional<PackedRounding> FindPackedRounding(const std::vector<int16_t>& limits, int least, int most, int most_shift);

// code = (clip(sum, low, high) * factor + offset) >> shift in 32 bits, of which a carry may leave on the way. Where that is
// not "exact", it may be one too small, which the limit of that code tells.
struct WideRounding {
    int32_t low;
    int32_t high;
    int32_t factor;
    int32_t offset;
    int shift;
    bool exact;
};

// As FindRounding, for sums of 32 bits.
std::optional<WideRounding> FindWideRounding(const std::vector<int32_t>& limits, int32_t least, int32_t most);

}  // namespace amc
