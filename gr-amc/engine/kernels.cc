// SPDX-License-Identifier: GPL-3.0-or-later
#include "kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "plain.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels.cc"
#include "hwy/foreach_target.h"  // compiles this file once for each instruction set
#include "hwy/highway.h"

// What is called with vectors of an instruction set must be part of what was compiled for that.
#define AMC_INLINE HWY_ATTR __attribute__((always_inline))

HWY_BEFORE_NAMESPACE();
namespace amc {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Calls call(a constant for each number).
template <class Call, size_t... kNumbers>
HWY_INLINE void ForNumbers(const Call& call, std::index_sequence<kNumbers...>) {
    call(std::integral_constant<size_t, kNumbers>()...);
}

// Calls tile(indices of so many vectors, first place) for all places of a row, "lanes" in a vector: kMost vectors at a
// time, four or two, and fewer at its end.
template <size_t kMost = 4, class Tile>
HWY_INLINE void ForTiles(size_t length, size_t lanes, const Tile& tile) {
    size_t t = 0;
    for (; t + kMost / 2 * lanes < length; t += kMost * lanes) tile(std::make_index_sequence<kMost>(), t);
    if (t + lanes < length) {
        tile(std::make_index_sequence<2>(), t);
    } else if (t < length) {
        tile(std::make_index_sequence<1>(), t);
    }
}

#if HWY_TARGET != HWY_SCALAR
// A vector of sums for each number in kVectors, of which the taps' products are added to each. They are named one by one,
// so that all of them stay in registers.
template <typename T, class V, size_t... kVectors>
HWY_INLINE void AddTaps(const uint8_t* HWY_RESTRICT codes, const std::vector<Tap>& taps, size_t place, V* sums,
                        std::index_sequence<kVectors...>) {
    const hn::ScalableTag<T> d;
    const hn::Rebind<uint8_t, decltype(d)> d8;
    const size_t lanes = hn::Lanes(d);
    for (const Tap& tap : taps) {
        const auto weight = hn::Set(d, static_cast<T>(tap.weight));
        const uint8_t* HWY_RESTRICT from = codes + tap.offsets[place];
        ((sums[kVectors] = hn::Add(sums[kVectors],
                                   hn::Mul(weight, hn::PromoteTo(d, hn::LoadU(d8, from + kVectors * lanes))))),
         ...);
    }
}

// made[t] = code of the sum at t, or where the pool is 2 of the larger one of two. "code_of" takes and gives vectors.
template <typename T, size_t kPool, class CodeOf>
HWY_INLINE void CodesOfSums(const uint8_t* HWY_RESTRICT codes, const std::vector<Tap>& taps, size_t length,
                            const CodeOf& code_of, uint8_t* HWY_RESTRICT made) {
    const hn::ScalableTag<T> d;
    const hn::Rebind<uint8_t, decltype(d)> d8;
    const size_t lanes = hn::Lanes(d);
    ForTiles(length, lanes, [&](auto vectors, size_t t) AMC_INLINE {
        const auto tile = [&](auto... number) AMC_INLINE {
            hn::Vec<decltype(d)> sums[] = {((void)number, hn::Zero(d))...};
            AddTaps<T>(codes + t, taps, 0, sums, vectors);
            if (kPool == 2) {
                hn::Vec<decltype(d)> others[] = {((void)number, hn::Zero(d))...};
                AddTaps<T>(codes + t, taps, 1, others, vectors);
                ((sums[number] = hn::Max(sums[number], others[number])), ...);
            }
            (hn::StoreU(hn::DemoteTo(d8, code_of(sums[number])), d8, made + t + number * lanes), ...);
        };
        ForNumbers(tile, vectors);
    });
}

template <typename T, size_t kPool>
HWY_INLINE void CountedRow(const uint8_t* codes, const std::vector<Tap>& taps, size_t length, const std::vector<T>& limits,
                           uint8_t* made) {
    const hn::ScalableTag<T> d;
    const auto code_of = [&](auto sum) AMC_INLINE {
        auto code = hn::Zero(d);
        // A comparison that holds is -1 in every bit.
        for (const T limit : limits) code = hn::Sub(code, hn::VecFromMask(d, hn::Gt(sum, hn::Set(d, limit))));
        return code;
    };
    CodesOfSums<T, kPool>(codes, taps, length, code_of, made);
}

// A rounding with its numbers in all lanes.
struct RoundingVectors {
    using D = hn::ScalableTag<int16_t>;
    hn::Vec<D> low, high, centre, factor, offset;
    int shift, fraction;
    const Rounding& rounding;

    HWY_INLINE explicit RoundingVectors(const Rounding& rounding)
        : low(hn::Set(D(), rounding.low)),
          high(hn::Set(D(), rounding.high)),
          centre(hn::Set(D(), rounding.centre)),
          factor(hn::Set(D(), rounding.factor)),
          offset(hn::Set(D(), rounding.offset)),
          shift(rounding.shift),
          fraction(rounding.fraction),
          rounding(rounding) {}

    HWY_INLINE hn::Vec<D> operator()(hn::Vec<D> sum) const {
        const auto clipped = hn::Min(hn::Max(sum, low), high);
        const auto half = hn::MulHigh(hn::ShiftLeftSame(hn::Sub(clipped, centre), shift), factor);
        const auto code = hn::ShiftRightSame(hn::Add(half, offset), fraction);
        // A comparison that holds is -1 in every bit.
        return rounding.exact ? code : hn::Sub(code, hn::VecFromMask(D(), hn::Gt(sum, Limit(code))));
    }

    HWY_INLINE hn::Vec<D> Limit(hn::Vec<D> code) const {
        const hn::Repartition<uint8_t, D> d8;
        const auto both = hn::BitCast(d8, hn::Or(code, hn::ShiftLeft<8>(code)));
        const auto place = hn::And(both, hn::Set(d8, kTable - 1));
        const auto first = Looked(0, place), second = Looked(2, place);
        return hn::BitCast(D(), hn::IfThenElse(hn::Gt(both, hn::Set(d8, kTable - 1)), second, first));
    }

    // A lane's lower byte by the one table, its upper byte by the other.
    HWY_INLINE hn::Vec<hn::Repartition<uint8_t, D>> Looked(size_t table, hn::Vec<hn::Repartition<uint8_t, D>> place) const {
        const hn::Repartition<uint8_t, D> d8;
        const auto lower = hn::TableLookupBytes(hn::LoadDup128(d8, rounding.limits[table].data()), place);
        const auto upper = hn::TableLookupBytes(hn::LoadDup128(d8, rounding.limits[table + 1].data()), place);
        return hn::OddEven(upper, lower);
    }
};
#endif  // HWY_SCALAR

// x86 adds the products of two neighbouring bytes at once, unsigned by signed: of two taps, each with half the loads and
// sums. It saturates where two products leave 16 bits, which they cannot where the whole sum never does.
#define AMC_HAS_PAIRS (HWY_ARCH_X86 && HWY_TARGET <= HWY_SSSE3)

#if AMC_HAS_PAIRS
using D8 = hn::ScalableTag<uint8_t>;
using V8 = hn::Vec<D8>;
using D16 = hn::ScalableTag<int16_t>;
using V16 = hn::Vec<D16>;

HWY_INLINE V16 PairProducts(V8 codes, V16 weights) {
#if HWY_TARGET <= HWY_AVX3
    return V16{_mm512_maddubs_epi16(codes.raw, weights.raw)};
#elif HWY_TARGET <= HWY_AVX2
    return V16{_mm256_maddubs_epi16(codes.raw, weights.raw)};
#else
    return V16{_mm_maddubs_epi16(codes.raw, weights.raw)};
#endif
}

// Loads codes that several instructions take; else compilers have each of them load its own.
HWY_INLINE V8 LoadOnce(const uint8_t* HWY_RESTRICT codes) {
    auto loaded = hn::LoadU(D8(), codes);
    asm("" : "+v"(loaded.raw));
    return loaded;
}

// Adds the products of a vector of codes of each of two taps: to "low" those of the lower half of every block of 16
// codes, to "high" those of the upper half.
HWY_INLINE void AddPair(const uint8_t* HWY_RESTRICT first_codes, const uint8_t* HWY_RESTRICT second_codes, V16 weights,
                        V16& low, V16& high) {
    const auto first = LoadOnce(first_codes), second = LoadOnce(second_codes);
    auto new_low = hn::Add(low, PairProducts(hn::InterleaveLower(first, second), weights));
    auto new_high = hn::Add(high, PairProducts(hn::InterleaveUpper(D8(), first, second), weights));
    // One vector after the other: else compilers begin all of them at once and run out of registers.
    asm volatile("" : "+v"(new_low.raw), "+v"(new_high.raw));
    low = new_low;
    high = new_high;
}

// Both halves of every block of 16 codes, side by side again.
HWY_INLINE V8 JoinBlocks(V16 low, V16 high) {
#if HWY_TARGET <= HWY_AVX3
    return V8{_mm512_packus_epi16(low.raw, high.raw)};
#elif HWY_TARGET <= HWY_AVX2
    return V8{_mm256_packus_epi16(low.raw, high.raw)};
#else
    return V8{_mm_packus_epi16(low.raw, high.raw)};
#endif
}

// Stores codes from number "at" of a row on.
HWY_INLINE void StoreMade(V8 codes, size_t at, const MadeRows& made) {
    if (made.odd == 0) {
        hn::StoreU(codes, D8(), made.codes + at);
        return;
    }
    const hn::Repartition<uint16_t, D8> d16;
    const hn::Rebind<uint8_t, decltype(d16)> d8;
    const auto both = hn::BitCast(d16, codes);
    hn::StoreU(hn::TruncateTo(d8, both), d8, made.codes + at / 2);
    hn::StoreU(hn::TruncateTo(d8, hn::ShiftRight<8>(both)), d8, made.codes + made.odd + at / 2);
}

// Codes of so many vectors, as CodesOfSums makes them, from number "at" of a row on.
template <size_t kPool, size_t... kVectors>
HWY_INLINE void PairTile(const uint8_t* HWY_RESTRICT codes, const std::vector<PairTap>& taps, const RoundingVectors& round,
                         size_t at, const MadeRows& made, std::index_sequence<kVectors...>) {
    const D16 d16;
    const size_t lanes = hn::Lanes(D8());
    V16 low[] = {((void)kVectors, hn::Zero(d16))...}, high[] = {((void)kVectors, hn::Zero(d16))...};
    V16 other_low[] = {((void)kVectors, hn::Zero(d16))...}, other_high[] = {((void)kVectors, hn::Zero(d16))...};
    for (const PairTap& tap : taps) {
        const auto weights = hn::BitCast(d16, hn::Set(hn::ScalableTag<int32_t>(), tap.weights));
        const uint8_t *first = codes + tap.first[0], *second = codes + tap.second[0];
        (AddPair(first + kVectors * lanes, second + kVectors * lanes, weights, low[kVectors], high[kVectors]), ...);
        if (kPool == 2) {
            const uint8_t *other_first = codes + tap.first[1], *other_second = codes + tap.second[1];
            (AddPair(other_first + kVectors * lanes, other_second + kVectors * lanes, weights, other_low[kVectors],
                     other_high[kVectors]),
             ...);
        }
    }
    if (kPool == 2) {
        ((low[kVectors] = hn::Max(low[kVectors], other_low[kVectors])), ...);
        ((high[kVectors] = hn::Max(high[kVectors], other_high[kVectors])), ...);
    }
    (StoreMade(JoinBlocks(round(low[kVectors]), round(high[kVectors])), at + kVectors * lanes, made), ...);
}
#endif

// AVX-512 and what goes beyond it. Highway has no sums of four products of bytes everywhere; what the processor has is
// asked when the kernel is.
#define AMC_HAS_QUADS (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3)

#if AMC_HAS_QUADS
using D32 = hn::ScalableTag<int32_t>;
using V32 = hn::Vec<D32>;

// Adds to each of 16 sums the products of four codes, unsigned, with four weights, signed.
HWY_INLINE void AddProducts(V32& sums, V32 codes, V32 weights) {
    // The compiler is not told of this instruction set, so that it has no intrinsic function.
    asm("vpdpbusd %2, %1, %0" : "+v"(sums.raw) : "v"(codes.raw), "v"(weights.raw));
}

HWY_INLINE V32 LoadQuads(const uint8_t* codes) { return hn::LoadU(D32(), reinterpret_cast<const int32_t*>(codes)); }

HWY_INLINE V32 QuadCode(V32 sum, const QuadOutput& output) {
    const D32 d;
    if (const auto& rounding = output.rounding) {
        const auto clipped = hn::Min(hn::Max(sum, hn::Set(d, rounding->low)), hn::Set(d, rounding->high));
        const auto product = hn::Mul(clipped, hn::Set(d, rounding->factor));
        const auto code = hn::ShiftRightSame(hn::Add(product, hn::Set(d, rounding->offset)), rounding->shift);
        if (rounding->exact) return code;
        const auto limit = hn::GatherIndex(d, output.limits.data(), code);
        return hn::Sub(code, hn::VecFromMask(d, hn::Gt(sum, limit)));
    }
    auto code = hn::Zero(d);
    for (const int32_t limit : output.limits) code = hn::Sub(code, hn::VecFromMask(d, hn::Gt(sum, hn::Set(d, limit))));
    return code;
}

// Of each output a vector of sums for each number in kVectors, and of their codes as many vectors of quads. The vectors are
// named one by one, so that all of them stay in registers while the taps are added.
template <size_t kPool, size_t... kVectors>
HWY_INLINE void QuadTile(const uint8_t* HWY_RESTRICT codes, const QuadOutput* outputs, size_t count,
                         uint8_t* HWY_RESTRICT made, std::index_sequence<kVectors...>) {
    const D32 d;
    V32 packed[] = {((void)kVectors, hn::Zero(d))...};
    for (size_t o = 0; o < count; ++o) {
        V32 sums[] = {((void)kVectors, hn::Zero(d))...}, others[] = {((void)kVectors, hn::Zero(d))...};
        for (const QuadTap& tap : outputs[o].taps) {
            int32_t four;
            hwy::CopyBytes<4>(tap.weights, &four);
            const auto weights = hn::Set(d, four);
            (AddProducts(sums[kVectors], LoadQuads(codes + tap.offsets[0] + 64 * kVectors), weights), ...);
            if (kPool == 2) (AddProducts(others[kVectors], LoadQuads(codes + tap.offsets[1] + 64 * kVectors), weights), ...);
        }
        if (kPool == 2) ((sums[kVectors] = hn::Max(sums[kVectors], others[kVectors])), ...);
        const auto shift = static_cast<int>(8 * o);
        ((packed[kVectors] = hn::Or(packed[kVectors], hn::ShiftLeftSame(QuadCode(sums[kVectors], outputs[o]), shift))), ...);
    }
    (hn::StoreU(packed[kVectors], d, reinterpret_cast<int32_t*>(made + 64 * kVectors)), ...);
}

template <size_t kPool>
HWY_INLINE void QuadRowsOf(const uint8_t* codes, const QuadOutput* outputs, size_t count, size_t length, uint8_t* made) {
    size_t t = 0;
    const auto tile = [&](auto vectors) AMC_INLINE {
        QuadTile<kPool>(codes + 4 * t, outputs, count, made + 4 * t, vectors);
        t += 16 * vectors.size();
    };
    while (t + 112 < length) tile(std::make_index_sequence<8>());
    while (t + 48 < length) tile(std::make_index_sequence<4>());
    while (t + 16 < length) tile(std::make_index_sequence<2>());
    while (t < length) tile(std::make_index_sequence<1>());
}

void QuadRows(const uint8_t* codes, const QuadOutput* outputs, size_t count, size_t length, size_t pool, uint8_t* made) {
    if (pool == 2) {
        QuadRowsOf<2>(codes, outputs, count, length, made);
    } else {
        QuadRowsOf<1>(codes, outputs, count, length, made);
    }
}
#endif

size_t MachineVectorSizeHere() {
#if HWY_ARCH_X86_64 && HWY_TARGET <= HWY_AVX2
    return hn::Lanes(hn::ScalableTag<uint8_t>());
#else
    return 0;
#endif
}

QuadKernel QuadKernelHere() {
#if AMC_HAS_QUADS
    if (__builtin_cpu_supports("avx512vnni")) return &QuadRows;
#endif
    return nullptr;
}

void InterleaveRowsOf(const uint8_t* const rows[4], size_t length, uint8_t* quads) {
#if HWY_TARGET == HWY_SCALAR
    for (size_t t = 0; t < length; ++t) {
        for (size_t r = 0; r < 4; ++r) quads[4 * t + r] = rows[r][t];
    }
#else
    const hn::ScalableTag<uint8_t> d;
    for (size_t t = 0; t < length; t += hn::Lanes(d)) {
        hn::StoreInterleaved4(hn::LoadU(d, rows[0] + t), hn::LoadU(d, rows[1] + t), hn::LoadU(d, rows[2] + t),
                              hn::LoadU(d, rows[3] + t), d, quads + 4 * t);
    }
#endif
}

void SeparateRowsOf(const uint8_t* quads, size_t length, uint8_t* const rows[4]) {
#if HWY_TARGET == HWY_SCALAR
    for (size_t t = 0; t < length; ++t) {
        for (size_t r = 0; r < 4; ++r) rows[r][t] = quads[4 * t + r];
    }
#else
    const hn::ScalableTag<uint8_t> d;
    for (size_t t = 0; t < length; t += hn::Lanes(d)) {
        hn::Vec<decltype(d)> first, second, third, fourth;
        hn::LoadInterleaved4(d, quads + 4 * t, first, second, third, fourth);
        hn::StoreU(first, d, rows[0] + t);
        hn::StoreU(second, d, rows[1] + t);
        hn::StoreU(third, d, rows[2] + t);
        hn::StoreU(fourth, d, rows[3] + t);
    }
#endif
}

#if HWY_TARGET != HWY_SCALAR
// Codes of each row side by side, 16 of them, for places "step" apart.
template <size_t kFrames>
HWY_INLINE void LaySixteen(const uint8_t* rows, size_t pitch, uint8_t* made, size_t step) {
    const hn::Full128<uint8_t> d;
    const hn::Full128<uint16_t> d16;
    const hn::Full128<uint32_t> d32;
    const hn::Full64<uint8_t> half;
    hn::Vec<decltype(d)> pairs[2][kFrames / 2], fours[4][kFrames / 4];
    for (size_t f = 0; f < kFrames / 2; ++f) {
        const auto one = hn::LoadU(d, rows + 2 * f * pitch), other = hn::LoadU(d, rows + (2 * f + 1) * pitch);
        pairs[0][f] = hn::InterleaveLower(d, one, other);
        pairs[1][f] = hn::InterleaveUpper(d, one, other);
    }
    for (size_t part = 0; part < 2; ++part) {
        for (size_t f = 0; f < kFrames / 4; ++f) {
            const auto one = hn::BitCast(d16, pairs[part][2 * f]), other = hn::BitCast(d16, pairs[part][2 * f + 1]);
            fours[2 * part][f] = hn::BitCast(d, hn::InterleaveLower(d16, one, other));
            fours[2 * part + 1][f] = hn::BitCast(d, hn::InterleaveUpper(d16, one, other));
        }
    }
    for (size_t part = 0; part < 4; ++part) {
        if (kFrames == 4) {
            alignas(16) uint8_t codes[16];
            hn::Store(fours[part][0], d, codes);
            for (size_t s = 0; s < 4; ++s, made += step) hwy::CopyBytes<4>(codes + 4 * s, made);
            continue;
        }
        const auto one = hn::BitCast(d32, fours[part][0]), other = hn::BitCast(d32, fours[part][kFrames / 4 - 1]);
        const auto store = [&](auto both) AMC_INLINE {
            const auto codes = hn::BitCast(d, both);
            hn::StoreU(hn::LowerHalf(half, codes), half, made);
            hn::StoreU(hn::UpperHalf(half, codes), half, made + step);
            made += 2 * step;
        };
        store(hn::InterleaveLower(d32, one, other));
        store(hn::InterleaveUpper(d32, one, other));
    }
}
#endif

void LayInStripesOf(const uint8_t* rows, size_t pitch, size_t frames, size_t segments, size_t length, uint8_t* made,
                    size_t step) {
    for (size_t segment = 0; segment < segments; ++segment, rows += length, made += frames) {
        size_t s = 0;
#if HWY_TARGET != HWY_SCALAR
        for (; s + 16 <= length; s += 16) {
            (frames == 8 ? &LaySixteen<8> : &LaySixteen<4>)(rows + s, pitch, made + s * step, step);
        }
#endif
        for (; s < length; ++s) {
            for (size_t f = 0; f < frames; ++f) made[s * step + f] = rows[f * pitch + s];
        }
    }
}

void SplitRowOf(const uint8_t* codes, size_t length, uint8_t* even, uint8_t* odd) {
    const hn::ScalableTag<uint8_t> d;
    for (size_t t = 0; t < length; t += hn::Lanes(d)) {
        hn::Vec<decltype(d)> first, second;
        hn::LoadInterleaved2(d, codes + 2 * t, first, second);
        hn::StoreU(first, d, even + t);
        hn::StoreU(second, d, odd + t);
    }
}

void SplitQuadsOf(const uint8_t* quads, size_t length, uint8_t* even, uint8_t* odd) {
    const hn::ScalableTag<uint32_t> d;
    for (size_t t = 0; t < length; t += hn::Lanes(d)) {
        hn::Vec<decltype(d)> first, second;
        hn::LoadInterleaved2(d, reinterpret_cast<const uint32_t*>(quads) + 2 * t, first, second);
        hn::StoreU(first, d, reinterpret_cast<uint32_t*>(even) + t);
        hn::StoreU(second, d, reinterpret_cast<uint32_t*>(odd) + t);
    }
}

void SumRowOf(const uint8_t* codes, const std::vector<Tap>& taps, size_t length, int32_t* sums) {
#if HWY_TARGET == HWY_SCALAR
    plain::Sum(codes, taps, 0, length, sums);
#else
    const hn::ScalableTag<int32_t> d;
    const size_t lanes = hn::Lanes(d);
    ForTiles(length, lanes, [&](auto vectors, size_t t) AMC_INLINE {
        const auto tile = [&](auto... number) AMC_INLINE {
            hn::Vec<decltype(d)> made[] = {((void)number, hn::Zero(d))...};
            AddTaps<int32_t>(codes + t, taps, 0, made, vectors);
            (hn::StoreU(made[number], d, sums + t + number * lanes), ...);
        };
        ForNumbers(tile, vectors);
    });
#endif
}

int32_t SumOfCodesHere(const uint8_t* codes, size_t length) {
    size_t t = 0;
    int32_t total = 0;
#if HWY_TARGET != HWY_SCALAR
    const hn::ScalableTag<uint8_t> d;
    const hn::Repartition<uint64_t, decltype(d)> d64;
    auto sums = hn::Zero(d64);
    for (; t + hn::Lanes(d) <= length; t += hn::Lanes(d)) sums = hn::Add(sums, hn::SumsOf8(hn::LoadU(d, codes + t)));
    total = static_cast<int32_t>(hn::GetLane(hn::SumOfLanes(d64, sums)));
#endif
    for (; t < length; ++t) total += codes[t];
    return total;
}

void SumStripesOf(const uint8_t* codes, size_t count, size_t step, size_t length, uint16_t* sums) {
    const hn::ScalableTag<uint16_t> d;
    const hn::Rebind<uint8_t, decltype(d)> d8;
    for (size_t t = 0; t < length; t += hn::Lanes(d)) {
        auto sum = hn::Zero(d);
        for (size_t n = 0; n < count; ++n) sum = hn::Add(sum, hn::PromoteTo(d, hn::LoadU(d8, codes + n * step + t)));
        hn::StoreU(sum, d, sums + t);
    }
}

template <size_t kPool>
HWY_INLINE void RowInOrder(const uint8_t* codes, const RowOutput& output, size_t length, uint8_t* made) {
#if HWY_TARGET == HWY_SCALAR
    plain::Row(codes, output, length, kPool, made);
#else
    if (!output.limits32.empty()) {
        CountedRow<int32_t, kPool>(codes, output.taps, length, output.limits32, made);
    } else if (output.rounding) {
        CodesOfSums<int16_t, kPool>(codes, output.taps, length, RoundingVectors(*output.rounding), made);
    } else {
        CountedRow<int16_t, kPool>(codes, output.taps, length, output.limits16, made);
    }
#endif
}

template <size_t kPool>
HWY_INLINE void RowOf(const uint8_t* codes, const RowOutput& output, size_t length, const MadeRows& made) {
#if AMC_HAS_PAIRS
    // In a row of half a vector's codes half of the work would be for nothing.
    if (output.rounding && !output.pairs.empty() && length > hn::Lanes(D16())) {
        const RoundingVectors round(*output.rounding);
        // A vector of codes has two of sums, and of a pool four; AVX2 has 16 registers.
        constexpr size_t kMost = HWY_TARGET > HWY_AVX3 && kPool == 2 ? 2 : 4;
        ForTiles<kMost>(length, hn::Lanes(D8()), [&](auto vectors, size_t t) AMC_INLINE {
            PairTile<kPool>(codes + t, output.pairs, round, t, made, vectors);
        });
        return;
    }
#endif
    if (made.odd == 0) {
        RowInOrder<kPool>(codes, output, length, made.codes);
        return;
    }
    constexpr size_t kPart = 256;
    uint8_t part[kPart + kRowOverrun];
    for (size_t t = 0; t < length; t += kPart) {
        const size_t some = std::min(kPart, length - t);
        RowInOrder<kPool>(codes + t, output, some, part);
        SplitRowOf(part, (some + 1) / 2, made.codes + t / 2, made.codes + made.odd + t / 2);
    }
}

void RowsOf(const uint8_t* codes, const std::vector<RowOutput>& outputs, size_t length, size_t pool, MadeRows made) {
    for (const RowOutput& output : outputs) {
        if (!output.specialised) (pool == 2 ? &RowOf<2> : &RowOf<1>)(codes, output, length, made);
        made.codes += made.step;
    }
}

#if HWY_TARGET == HWY_SCALAR
void QuantiseRowOf(const float* values, size_t length, float scale, float low, float high, uint8_t* codes) {
    plain::Quantise(values, 1, length, 1, scale, low, high, codes);
}

void QuantisePairsOf(const float* values, size_t length, float divisor, float scale, float low, float high,
                     uint8_t* first, uint8_t* second) {
    plain::Quantise(values, 2, length, divisor, scale, low, high, first);
    plain::Quantise(values + 1, 2, length, divisor, scale, low, high, second);
}
#else
template <class V>
HWY_INLINE void StoreCodes(V value, V least, V most, uint8_t* codes) {
    const hn::DFromV<V> d;
    const hn::RebindToSigned<decltype(d)> d32;
    const hn::Rebind<uint8_t, decltype(d)> d8;
    // What is no number fails this comparison, and becomes the least.
    const auto clipped = hn::IfThenElse(hn::Ge(value, least), hn::Min(value, most), least);
    const auto code = hn::ConvertTo(d32, hn::Sub(hn::Round(clipped), least));
    hn::StoreU(hn::DemoteTo(d8, code), d8, codes);
}

// Calls call(a function that divides a vector by "divisor"): by a power of two a product says the same, and sooner.
template <class Call>
HWY_INLINE void Divided(float divisor, const Call& call) {
    const hn::ScalableTag<float> d;
    int exponent;
    const auto by = hn::Set(d, divisor), factor = hn::Set(d, 1.0f / divisor);
    if (std::frexp(divisor, &exponent) == 0.5f && std::isnormal(1.0f / divisor)) {
        call([&](auto value) AMC_INLINE { return hn::Mul(value, factor); });
    } else {
        call([&](auto value) AMC_INLINE { return hn::Div(value, by); });
    }
}

// Where as many values as are wanted can be read: where they are or, if fewer are left, with others behind in "rest".
HWY_INLINE const float* Readable(const float* values, size_t left, size_t wanted, float* rest) {
    if (left >= wanted) return values;
    std::memcpy(rest, values, left * sizeof(float));
    return rest;
}

void QuantiseRowOf(const float* values, size_t length, float scale, float low, float high, uint8_t* codes) {
    const hn::ScalableTag<float> d;
    const auto least = hn::Set(d, low), most = hn::Set(d, high);
    const size_t lanes = hn::Lanes(d);
    float rest[hn::MaxLanes(d)] = {};
    Divided(scale, [&](auto divided) AMC_INLINE {
        for (size_t t = 0; t < length; t += lanes) {
            const float* from = Readable(values + t, length - t, lanes, rest);
            StoreCodes(divided(hn::LoadU(d, from)), least, most, codes + t);
        }
    });
}

void QuantisePairsOf(const float* values, size_t length, float divisor, float scale, float low, float high,
                     uint8_t* first, uint8_t* second) {
    const hn::ScalableTag<float> d;
    const auto least = hn::Set(d, low), most = hn::Set(d, high), by = hn::Set(d, divisor);
    const size_t lanes = hn::Lanes(d);
    float rest[2 * hn::MaxLanes(d)] = {};
    Divided(scale, [&](auto divided) AMC_INLINE {
        for (size_t t = 0; t < length; t += lanes) {
            const float* from = Readable(values + 2 * t, 2 * (length - t), 2 * lanes, rest);
            hn::Vec<decltype(d)> one, other;
            hn::LoadInterleaved2(d, from, one, other);
            if (divisor != 1.0f) {  // a division that changes nothing takes as long as any
                one = hn::Div(one, by);
                other = hn::Div(other, by);
            }
            // Divided twice, as the definition is; a product of the two divisors would round otherwise.
            StoreCodes(divided(one), least, most, first + t);
            StoreCodes(divided(other), least, most, second + t);
        }
    });
}
#endif

// --- the limits of the processor ------------------------------------------------------------------

// Sums that do not wait for each other, enough to hide how long one addition takes, or one sum of four products.
constexpr size_t kChains = 12, kQuadChains = 16;

size_t RunProductsHere(size_t rounds, int32_t* result) {
    const hn::ScalableTag<int16_t> d;
    hn::Vec<decltype(d)> sums[kChains];
    for (auto& sum : sums) sum = hn::Set(d, 3);
    const auto weights = hn::Set(d, 0x0101);
    for (size_t round = 0; round < rounds; ++round) {
        // Made of the sums themselves, or the product would be moved out of the loop.
        for (auto& sum : sums) {
#if AMC_HAS_PAIRS
            sum = hn::Add(sum, PairProducts(hn::BitCast(D8(), sum), weights));
#else
            sum = hn::Add(sum, hn::Mul(sum, weights));
#endif
        }
    }
    auto total = sums[0];
    for (const auto& sum : sums) total = hn::Add(total, sum);
    *result = hn::GetLane(total);
#if AMC_HAS_PAIRS
    constexpr size_t kEach = 2;
#else
    constexpr size_t kEach = 1;
#endif
    return rounds * kChains * hn::Lanes(d) * kEach;
}

size_t RunQuadsHere(size_t rounds, int32_t* result) {
#if AMC_HAS_QUADS
    if (QuadKernelHere()) {
        const auto weights = hn::Set(D32(), 0x01010101);
        const auto run = [&](auto... number) AMC_INLINE {
            V32 sums[] = {((void)number, hn::Set(D32(), 3))...};
            for (size_t round = 0; round < rounds; ++round) (AddProducts(sums[number], weights, weights), ...);
            auto total = hn::Zero(D32());
            ((total = hn::Add(total, sums[number])), ...);
            *result = hn::GetLane(total);
        };
        ForNumbers(run, std::make_index_sequence<kQuadChains>());
        return rounds * kQuadChains * hn::Lanes(D32()) * 4;
    }
#endif
    *result = static_cast<int32_t>(rounds);
    return 0;
}

size_t RunLoadsHere(const uint8_t* codes, size_t size, size_t step, size_t rounds, int32_t* result) {
    const hn::ScalableTag<uint8_t> d;
    const size_t lanes = hn::Lanes(d);
    auto first = hn::Zero(d), second = first, third = first, fourth = first;
    for (size_t round = 0; round < rounds; ++round) {
        for (size_t t = 0; t + 4 * lanes <= size; t += 4 * lanes) {
            first = hn::Or(first, hn::LoadU(d, codes + t));
            second = hn::Or(second, hn::LoadU(d, codes + t + lanes));
            third = hn::Or(third, hn::LoadU(d, codes + t + 2 * lanes));
            fourth = hn::Or(fourth, hn::LoadU(d, codes + t + 3 * lanes));
        }
        // Else one round would do for all of them.
        codes = round % 2 ? codes - step : codes + step;
    }
    *result = hn::GetLane(hn::Or(hn::Or(first, second), hn::Or(third, fourth)));
    return rounds * (size / (4 * lanes)) * 4 * lanes;
}

#undef AMC_HAS_PAIRS
#undef AMC_HAS_QUADS

}  // namespace HWY_NAMESPACE
}  // namespace amc
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace amc {

HWY_EXPORT(SumRowOf);
HWY_EXPORT(SumOfCodesHere);
HWY_EXPORT(SumStripesOf);
HWY_EXPORT(RowsOf);
HWY_EXPORT(MachineVectorSizeHere);
HWY_EXPORT(QuadKernelHere);
HWY_EXPORT(InterleaveRowsOf);
HWY_EXPORT(SeparateRowsOf);
HWY_EXPORT(LayInStripesOf);
HWY_EXPORT(SplitRowOf);
HWY_EXPORT(SplitQuadsOf);
HWY_EXPORT(QuantiseRowOf);
HWY_EXPORT(QuantisePairsOf);
HWY_EXPORT(RunProductsHere);
HWY_EXPORT(RunQuadsHere);
HWY_EXPORT(RunLoadsHere);

void SumRow(const uint8_t* codes, const std::vector<Tap>& taps, size_t length, int32_t* sums) {
    HWY_DYNAMIC_DISPATCH(SumRowOf)(codes, taps, length, sums);
}

int32_t SumOfCodes(const uint8_t* codes, size_t length) { return HWY_DYNAMIC_DISPATCH(SumOfCodesHere)(codes, length); }

void SumStripes(const uint8_t* codes, size_t count, size_t step, size_t length, uint16_t* sums) {
    HWY_DYNAMIC_DISPATCH(SumStripesOf)(codes, count, step, length, sums);
}

void MakeRows(const uint8_t* codes, const std::vector<RowOutput>& outputs, size_t length, size_t pool, MadeRows made) {
    HWY_DYNAMIC_DISPATCH(RowsOf)(codes, outputs, length, pool, made);
}

std::vector<PairTap> InPairs(const std::vector<Tap>& taps) {
    const auto fits = [](const Tap& tap) { return tap.weight == static_cast<int8_t>(tap.weight); };
    std::vector<PairTap> pairs;
    if (!std::all_of(taps.begin(), taps.end(), fits)) return pairs;
    for (size_t i = 0; i < taps.size(); i += 2) {
        const Tap& first = taps[i];
        const Tap second = i + 1 < taps.size() ? taps[i + 1] : Tap{{first.offsets[0], first.offsets[1]}, 0};
        const auto both = static_cast<uint32_t>(first.weight & 0xff) | static_cast<uint32_t>(second.weight & 0xff) << 8;
        pairs.push_back({{first.offsets[0], first.offsets[1]},
                         {second.offsets[0], second.offsets[1]},
                         static_cast<int32_t>(both | both << 16)});
    }
    return pairs;
}

size_t MachineVectorSize() { return HWY_DYNAMIC_DISPATCH(MachineVectorSizeHere)(); }

QuadKernel QuadKernelInUse() { return HWY_DYNAMIC_DISPATCH(QuadKernelHere)(); }

void InterleaveRows(const uint8_t* const rows[4], size_t length, uint8_t* quads) {
    HWY_DYNAMIC_DISPATCH(InterleaveRowsOf)(rows, length, quads);
}

void SeparateRows(const uint8_t* quads, size_t length, uint8_t* const rows[4]) {
    HWY_DYNAMIC_DISPATCH(SeparateRowsOf)(quads, length, rows);
}

void LayInStripes(const uint8_t* rows, size_t pitch, size_t frames, size_t segments, size_t length, uint8_t* made, size_t step) {
    HWY_DYNAMIC_DISPATCH(LayInStripesOf)(rows, pitch, frames, segments, length, made, step);
}

void SplitRow(const uint8_t* codes, size_t length, uint8_t* even, uint8_t* odd) {
    HWY_DYNAMIC_DISPATCH(SplitRowOf)(codes, length, even, odd);
}

void SplitQuads(const uint8_t* quads, size_t length, uint8_t* even, uint8_t* odd) {
    HWY_DYNAMIC_DISPATCH(SplitQuadsOf)(quads, length, even, odd);
}

void QuantiseRow(const float* values, size_t length, float scale, int low, int high, uint8_t* codes) {
    HWY_DYNAMIC_DISPATCH(QuantiseRowOf)
    (values, length, scale, static_cast<float>(low), static_cast<float>(high), codes);
}

void QuantisePairs(const float* values, size_t length, float divisor, float scale, int low, int high, uint8_t* first,
                   uint8_t* second) {
    HWY_DYNAMIC_DISPATCH(QuantisePairsOf)
    (values, length, divisor, scale, static_cast<float>(low), static_cast<float>(high), first, second);
}

size_t RunProducts(size_t rounds, int32_t* result) { return HWY_DYNAMIC_DISPATCH(RunProductsHere)(rounds, result); }

size_t RunQuads(size_t rounds, int32_t* result) { return HWY_DYNAMIC_DISPATCH(RunQuadsHere)(rounds, result); }

size_t RunLoads(const uint8_t* codes, size_t size, size_t step, size_t rounds, int32_t* result) {
    return HWY_DYNAMIC_DISPATCH(RunLoadsHere)(codes, size, step, rounds, result);
}

namespace {

std::vector<int64_t> SupportedHere() {
    hwy::SetSupportedTargetsForTest(0);  // what the processor has, whatever UseTarget said
    auto targets = hwy::SupportedAndGeneratedTargets();
    std::sort(targets.begin(), targets.end());  // the best one has the lowest bit
    return targets;
}

int64_t target_in_use = 0;

}  // namespace

std::vector<std::string> Targets() {
    const auto all = SupportedHere();
    if (target_in_use != 0) hwy::SetSupportedTargetsForTest(target_in_use);
    std::vector<std::string> names;
    for (const auto target : all) names.emplace_back(hwy::TargetName(target));
    return names;
}

std::string TargetInUse() { return target_in_use != 0 ? hwy::TargetName(target_in_use) : Targets().front(); }

void UseTarget(const std::string& name) {
    for (const auto target : SupportedHere()) {
        if (name == hwy::TargetName(target)) {
            target_in_use = target;
            hwy::SetSupportedTargetsForTest(target);
            hwy::GetChosenTarget().Update(hwy::SupportedTargets());
            return;
        }
    }
    throw std::invalid_argument("the engine has no instruction set '" + name + "' on this machine");
}

}  // namespace amc
#endif
