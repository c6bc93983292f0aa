// SPDX-License-Identifier: GPL-3.0-or-later
#include "rounding.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace amc {
namespace {

constexpr int kLeast = std::numeric_limits<int16_t>::min();
constexpr int kMost = std::numeric_limits<int16_t>::max();
constexpr int kFactorsTried = 8;
constexpr int kPackedFactors = 32;  // of so many the packed form tries one to either side of the nearest

int HighHalf(int sum, const Rounding& rounding) {
    const int clipped = std::clamp<int>(sum, rounding.low, rounding.high);
    return ((clipped - rounding.centre) * (1 << rounding.shift) * rounding.factor) >> 16;
}

// The offset with which the codes to both sides of every limit are right, or where that is asked for less, one too small
// at most.
std::optional<int16_t> FindOffset(const std::vector<int16_t>& limits, int least, int most, const Rounding& rounding) {
    const int missing = rounding.exact ? 0 : 1 << rounding.fraction;
    // Nothing may leave 16 bits.
    int low = kLeast - std::min(0, HighHalf(least, rounding));
    int high = kMost - std::max(0, HighHalf(most, rounding));
    for (size_t k = 0; k < limits.size(); ++k) {
        const int edge = static_cast<int>(k + 1) << rounding.fraction;
        const int limit = limits[k];
        if (limit < most) low = std::max(low, edge - missing - HighHalf(std::max(limit + 1, least), rounding));
        if (limit >= least) high = std::min(high, edge - 1 - HighHalf(std::min(limit, most), rounding));
    }
    // The codes are not clipped afterwards, so the ends need both their sides.
    low = std::max(low, -HighHalf(least, rounding));
    high = std::min(high, ((static_cast<int>(limits.size()) + 1) << rounding.fraction) - 1 - HighHalf(most, rounding));
    if (low > high) return std::nullopt;
    return static_cast<int16_t>(low + (high - low) / 2);
}

// The slope in codes for a unit of the sum that leaves most room for the offset of a line between the steps: a line must
// reach code k + 1 behind limit k and not before. That room is a concave function of the slope, since it is the least
// of lines less the largest of lines.
double WidestSlope(const std::vector<int32_t>& limits) {
    const auto room = [&](double slope) {
        double above = std::numeric_limits<double>::infinity(), below = -above;
        for (size_t k = 0; k < limits.size(); ++k) {
            const double along = slope * (static_cast<double>(limits[k]) - limits[0]);
            above = std::min(above, k - along);
            below = std::max(below, k - along - slope);
        }
        return above - below;
    };
    double low = 0, high = limits.size();
    for (int third = 0; third < 200; ++third) {
        const double left = low + (high - low) / 3, right = high - (high - low) / 3;
        if (room(left) < room(right)) {
            low = left;
        } else {
            high = right;
        }
    }
    return low;
}

}  // namespace

namespace {

// Of a rounding that has its sums' range already: the other numbers, where some do. "slope" is in codes for a unit.
std::optional<Rounding> FindLine(const std::vector<int16_t>& limits, int least, int most, double slope, Rounding rounding) {
    // The finer the fraction, the more of the sum is told apart, until the largest code or the factor leaves 16 bits.
    for (rounding.fraction = 14; rounding.fraction >= 0; --rounding.fraction) {
        if ((static_cast<int>(limits.size()) << rounding.fraction) > kMost) continue;
        const double suggested = std::ldexp(slope, rounding.fraction + 16 - rounding.shift);
        const int nearest = static_cast<int>(std::lround(std::min<double>(suggested, kMost)));
        for (int number = 0; number < kFactorsTried; ++number) {
            const int factor = nearest + (number % 2 ? (number + 1) / 2 : -number / 2);  // 0, 1, -1, 2, -2 ...
            if (factor < 0 || factor > kMost) continue;
            rounding.factor = static_cast<int16_t>(factor);
            if (const auto offset = FindOffset(limits, least, most, rounding)) {
                rounding.offset = *offset;
                return rounding;
            }
        }
    }
    return std::nullopt;
}

}  // namespace

std::optional<Rounding> FindRounding(const std::vector<int16_t>& limits, int least, int most) {
    // Codes change between the first and the last limit that sums can pass, and nowhere else.
    const auto first = std::find_if(limits.begin(), limits.end(), [&](int limit) { return limit >= least; });
    const auto behind = std::find_if(first, limits.end(), [&](int limit) { return limit >= most; });
    const int steps = static_cast<int>(behind - first);
    const int low = steps > 0 ? *first : least, high = steps > 0 ? *(behind - 1) + 1 : least;
    Rounding rounding{};
    rounding.low = static_cast<int16_t>(low);
    rounding.high = static_cast<int16_t>(high);
    rounding.centre = static_cast<int16_t>((low + high) / 2);
    rounding.exact = true;
    const int half = high - rounding.centre;
    while ((half + 1) << (rounding.shift + 1) <= kMost) ++rounding.shift;
    const double slope = steps > 1 ? (steps - 1.0) / (*(behind - 1) - *first) : steps;
    if (const auto line = FindLine(limits, least, most, slope, rounding)) return line;
    if (limits.size() >= kMostCorrectedCodes) return std::nullopt;
    rounding.exact = false;
    for (size_t code = 0; code < kMostCorrectedCodes; ++code) {
        const int limit = code < limits.size() ? limits[code] : kMost;  // which no sum exceeds
        rounding.limits[code / kTable * 2][code % kTable] = static_cast<uint8_t>(limit);
        rounding.limits[code / kTable * 2 + 1][code % kTable] = static_cast<uint8_t>(limit >> 8);
    }
    return FindLine(limits, least, most, slope, rounding);
}

std::optional<PackedRounding> FindPackedRounding(const std::vector<int16_t>& limits, int least, int most, int most_shift) {
    constexpr int kByte = 8, kHalf = 16;
    const size_t codes = limits.size() + 1;
    PackedRounding rounding{0, 0, 0, kByte};
    while (rounding.fraction > 0 && (size_t{1} << (kByte - rounding.fraction)) < codes) --rounding.fraction;
    // Else the largest code would not end where bytes do.
    if (size_t{1} << (kByte - rounding.fraction) != codes) return std::nullopt;
    const auto first = std::find_if(limits.begin(), limits.end(), [&](int limit) { return limit >= least; });
    const auto behind = std::find_if(first, limits.end(), [&](int limit) { return limit >= most; });
    const double slope = behind - first > 1 ? WidestSlope({first, behind}) : 1;
    // The further sums are moved up, the finer the start is.
    for (rounding.shift = most_shift; rounding.shift >= 0; --rounding.shift) {
        const int unit = 1 << rounding.shift;
        const double suggested = std::ldexp(slope, kHalf + rounding.fraction - rounding.shift);
        const int nearest = static_cast<int>(std::min<double>(suggested, kMost));
        const int tried = std::max(kFactorsTried, nearest / kPackedFactors);
        for (int number = 0; number < tried; ++number) {
            const int factor = nearest + (number % 2 ? (number + 1) / 2 : -number / 2);  // 0, 1, -1, 2, -2 ...
            if (factor < 1 || factor > kMost) continue;
            // Nothing may leave 16 bits.
            int64_t low = kLeast - int64_t{least} * unit, high = kMost - int64_t{most} * unit;
            for (size_t k = 0; k < limits.size() && low <= high; ++k) {
                // From here on the product has the next code.
                const int64_t edge = ((static_cast<int64_t>(k + 1) << (kHalf + rounding.fraction)) + factor - 1) / factor;
                const int limit = limits[k];
                if (limit < most) low = std::max(low, edge - int64_t{std::max(limit + 1, least)} * unit);
                if (limit >= least) high = std::min(high, edge - 1 - int64_t{std::min(limit, most)} * unit);
            }
            if (low > high) continue;
            rounding.factor = static_cast<int16_t>(factor);
            rounding.start = static_cast<int16_t>(low + (high - low) / 2);
            return rounding;
        }
    }
    return std::nullopt;
}

std::optional<WideRounding> FindWideRounding(const std::vector<int32_t>& limits, int32_t least, int32_t most) {
    const auto first = std::find_if(limits.begin(), limits.end(), [&](int32_t limit) { return limit >= least; });
    const auto behind = std::find_if(first, limits.end(), [&](int32_t limit) { return limit >= most; });
    const auto below = static_cast<int64_t>(first - limits.begin());  // the code of the least sum
    const auto steps = static_cast<int64_t>(behind - first);
    WideRounding rounding{least, least, 0, static_cast<int32_t>(below), 0, true};
    if (steps == 0) return rounding;
    rounding.low = *first;
    rounding.high = *(behind - 1) + 1;
    while ((below + steps + 1) << (rounding.shift + 1) <= std::numeric_limits<int32_t>::max()) ++rounding.shift;
    const auto factor = static_cast<int64_t>(std::ldexp(WidestSlope({first, behind}), rounding.shift));
    if (factor * (int64_t{rounding.high} - rounding.low) > std::numeric_limits<int32_t>::max()) return std::nullopt;
    // Of the offset at the sum "low", for which nothing has been multiplied yet: what no code may fall below, and what
    // none may exceed, the highest one too, since codes are not clipped afterwards.
    const int64_t one = int64_t{1} << rounding.shift, least_offset = below * one;
    int64_t low = least_offset;
    int64_t high = (below + steps + 1) * one - 1 - factor * (int64_t{rounding.high} - rounding.low);
    for (int64_t k = 0; k < steps; ++k) {
        const int64_t edge = (below + k + 1) * one, limit = *(first + k);
        low = std::max(low, edge - factor * (limit + 1 - rounding.low));
        high = std::min(high, edge - 1 - factor * (limit - rounding.low));
    }
    if (low > high) {
        rounding.exact = false;
        low = std::max(least_offset, low - one);
    }
    if (low > high) return std::nullopt;
    rounding.factor = static_cast<int32_t>(factor);
    rounding.offset = static_cast<int32_t>(static_cast<uint32_t>(low + (high - low) / 2 - factor * rounding.low));
    return rounding;
}

}  // namespace amc
