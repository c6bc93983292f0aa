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

int HighHalf(int sum, const Rounding& rounding) {
    const int clipped = std::clamp<int>(sum, rounding.low, rounding.high);
    return ((clipped - rounding.centre) * (1 << rounding.shift) * rounding.factor) >> 16;
}

// The offset with which the codes to both sides of every limit are right.
std::optional<int16_t> FindOffset(const std::vector<int16_t>& limits, int least, int most, const Rounding& rounding) {
    // Nothing may leave 16 bits.
    int low = kLeast - std::min(0, HighHalf(least, rounding));
    int high = kMost - std::max(0, HighHalf(most, rounding));
    for (size_t k = 0; k < limits.size(); ++k) {
        const int edge = static_cast<int>(k + 1) << rounding.fraction;
        const int limit = limits[k];
        if (limit < most) low = std::max(low, edge - HighHalf(std::max(limit + 1, least), rounding));
        if (limit >= least) high = std::min(high, edge - 1 - HighHalf(std::min(limit, most), rounding));
    }
    // The codes are not clipped afterwards, so the ends need both their sides.
    low = std::max(low, -HighHalf(least, rounding));
    high = std::min(high, ((static_cast<int>(limits.size()) + 1) << rounding.fraction) - 1 - HighHalf(most, rounding));
    if (low > high) return std::nullopt;
    return static_cast<int16_t>(low + (high - low) / 2);
}

}  // namespace

std::optional<Rounding> FindRounding(const std::vector<int16_t>& limits, int least, int most) {
    // Codes change between the first and the last limit that sums can pass, and nowhere else.
    const auto first = std::find_if(limits.begin(), limits.end(), [&](int limit) { return limit >= least; });
    const auto behind = std::find_if(first, limits.end(), [&](int limit) { return limit >= most; });
    const int steps = static_cast<int>(behind - first);
    const int low = steps > 0 ? *first : least, high = steps > 0 ? *(behind - 1) + 1 : least;
    Rounding rounding{static_cast<int16_t>(low), static_cast<int16_t>(high), static_cast<int16_t>((low + high) / 2), 0, 0, 0, 0};
    const int half = high - rounding.centre;
    while ((half + 1) << (rounding.shift + 1) <= kMost) ++rounding.shift;
    const double slope = steps > 1 ? (steps - 1.0) / (*(behind - 1) - *first) : steps;
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

}  // namespace amc
