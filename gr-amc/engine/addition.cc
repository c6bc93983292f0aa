// SPDX-License-Identifier: GPL-3.0-or-later
#include "addition.h"

#include <algorithm>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "addition.cc"
#include "hwy/foreach_target.h"  // compiles this file once for each instruction set
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace amc {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void RoundedRows(const uint8_t* HWY_RESTRICT first, const uint8_t* HWY_RESTRICT second, size_t length, int first_shift,
                 int second_shift, const HalfRounding& rounding, uint8_t* HWY_RESTRICT made) {
    const hn::CappedTag<int16_t, kAdditionOverrun + 1> d;
    const hn::Rebind<uint8_t, decltype(d)> d8;
    const auto low = hn::Set(d, rounding.low), high = hn::Set(d, rounding.high);
    const auto offset = hn::Set(d, rounding.offset), one = hn::Set(d, 1);
    // Just under a half, and one more where the whole number below is the one not to round to.
    const auto half = hn::Set(d, static_cast<int16_t>(rounding.shift > 0 ? (1 << (rounding.shift - 1)) - 1 : 0));
    const auto turned = hn::Set(d, static_cast<int16_t>(rounding.to_odd));
    for (size_t t = 0; t < length; t += hn::Lanes(d)) {
        const auto ours = hn::ShiftLeftSame(hn::PromoteTo(d, hn::LoadU(d8, first + t)), first_shift);
        const auto theirs = hn::ShiftLeftSame(hn::PromoteTo(d, hn::LoadU(d8, second + t)), second_shift);
        auto sum = hn::Add(hn::Add(ours, theirs), offset);
        if (rounding.shift > 0) {
            const auto up = hn::Xor(hn::And(hn::ShiftRightSame(sum, rounding.shift), one), turned);
            sum = hn::ShiftRightSame(hn::Add(hn::Add(sum, half), up), rounding.shift);
        }
        hn::StoreU(hn::DemoteTo(d8, hn::Min(hn::Max(sum, low), high)), d8, made + t);
    }
}

}  // namespace HWY_NAMESPACE
}  // namespace amc
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace amc {

HWY_EXPORT(RoundedRows);

namespace {

int Rounded(int sum, const HalfRounding& rounding) {
    const int moved = sum + rounding.offset;
    if (rounding.shift == 0) return std::clamp<int>(moved, rounding.low, rounding.high);
    const int half = (1 << (rounding.shift - 1)) - 1;
    const int up = ((moved >> rounding.shift) & 1) ^ static_cast<int>(rounding.to_odd);
    return std::clamp<int>((moved + half + up) >> rounding.shift, rounding.low, rounding.high);
}

bool IsSame(const HalfRounding& rounding, const std::vector<uint8_t>& codes) {
    for (size_t sum = 0; sum < codes.size(); ++sum) {
        if (Rounded(static_cast<int>(sum), rounding) != codes[sum]) return false;
    }
    return true;
}

}  // namespace

std::optional<HalfRounding> FindHalfRounding(const std::vector<uint8_t>& codes) {
    // The first step fixes the offset of each form that there is.
    const auto step = std::adjacent_find(codes.begin(), codes.end(), [](uint8_t one, uint8_t next) { return one != next; });
    if (step == codes.end()) return std::nullopt;
    const int code = step[1], at = static_cast<int>(step - codes.begin()) + 1;
    for (int shift = 0; shift < 15; ++shift) {
        const int half = shift > 0 ? 1 << (shift - 1) : 0;
        for (const bool to_odd : {false, true}) {
            const bool down = shift > 0 && (code % 2 != 0) != to_odd;  // the first of the codes is not the one half a code below
            const int offset = (code << shift) - half + down - at;
            const int most = static_cast<int>(codes.size()) - 1 + offset + half;
            if (offset < std::numeric_limits<int16_t>::min() || most > std::numeric_limits<int16_t>::max()) continue;
            const HalfRounding rounding{static_cast<int16_t>(offset), shift, to_odd, codes.front(), codes.back()};
            if (IsSame(rounding, codes)) return rounding;
        }
    }
    return std::nullopt;
}

void AddRows(const uint8_t* first, const uint8_t* second, size_t length, const Addition& addition, uint8_t* made) {
    if (const auto& rounding = addition.rounding) {
        HWY_DYNAMIC_DISPATCH(RoundedRows)
        (first, second, length, addition.first_shift, addition.second_shift, *rounding, made);
        return;
    }
    for (size_t t = 0; t < length; ++t) {
        const size_t sum = (size_t{first[t]} << addition.first_shift) + (size_t{second[t]} << addition.second_shift);
        // What fills up a quad may be anything.
        made[t] = addition.codes[std::min(sum, addition.codes.size() - 1)];
    }
}

}  // namespace amc
#endif
