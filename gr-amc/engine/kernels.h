// SPDX-License-Identifier: GPL-3.0-or-later
//
// The inner loops, compiled for every instruction set that Highway knows here and chosen when they are called.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "rounding.h"

namespace amc {

// A weight that is not zero, and where its codes begin, counted from the first code of the tensor: for a sum, or for the
// first one and the second one of a pool.
struct Tap {
    int32_t offsets[2];
    int32_t weight;
};

// Two taps, one of which may weigh nothing; "weights" has both as bytes, the first one lowest, and both again.
struct PairTap {
    int32_t first[2];
    int32_t second[2];
    int32_t weights;
};

// The taps two by two; nothing where a weight does not fit a byte.
std::vector<PairTap> InPairs(const std::vector<Tap>& taps);

// An output whose products are added one by one, in sums of 32 bits where "limits32" are given.
struct RowOutput {
    std::vector<Tap> taps;
    bool specialised = false;  // a SpecialisedRows makes it
    std::vector<PairTap> pairs;  // the same two by two, or nothing
    std::optional<Rounding> rounding;  // where one does what counting limits16 does
    std::vector<int16_t> limits16;
    std::vector<int32_t> limits32;
};

// Four weights, of which one at least is not zero, for the four codes of each place.
struct QuadTap {
    int32_t offsets[2];
    int8_t weights[4];
};

// What makes the codes of one output from its sums: the rounding, where there is one, else the limits, behind which
// stands one that no sum exceeds.
struct QuadOutput {
    std::vector<QuadTap> taps;
    std::vector<int32_t> limits;
    std::optional<WideRounding> rounding;
};

// Codes that may be read, and sums that may be written, behind the last one that counts.
constexpr size_t kSlack = 1024;

// sums[t] = sum over taps of weight * codes[offsets[0] + t], t < length.
void SumRow(const uint8_t* codes, const std::vector<Tap>& taps, size_t length, int32_t* sums);

// The sum of codes[t], t < length, which must not leave 31 bits. Reads nothing behind.
int32_t SumOfCodes(const uint8_t* codes, size_t length);

// sums[t] = sum of codes[n * step + t] for n < count, t < length: count is 257 at most, and length that of a whole number of
// vectors.
void SumStripes(const uint8_t* codes, size_t count, size_t step, size_t length, uint16_t* sums);

// Where codes of outputs are written, each output "step" behind the one before: in order; or where "odd" is not zero, the
// even ones and, so far behind these, the odd ones.
struct MadeRows {
    uint8_t* codes;
    size_t step;
    size_t odd;
};

// Of outputs that are not specialised: the code of output o at t, t < length, is how many of its limits the sum of its
// products there exceeds; where the pool is 2, the larger of two sums. No sum may overflow its type. Writes up to kRowOverrun codes behind each row, before the next
// one is written; none where the length is that of whole vectors.
void MakeRows(const uint8_t* codes, const std::vector<RowOutput>& outputs, size_t length, size_t pool, MadeRows made);
constexpr size_t kRowOverrun = 128;

// Codes of up to four outputs side by side, as the next layer's taps take them: made[4 * t + o] is what MakeRows gives for
// output o. The pool is 1 or 2. Writes up to kQuadOverrun places behind the last one. Reads as far behind as MakeRows.
using QuadKernel = void (*)(const uint8_t* codes, const QuadOutput* outputs, size_t count, size_t length, size_t pool,
                            uint8_t* made);
constexpr size_t kQuadOverrun = 16;

// Bytes in a vector of the instruction set in use, of those that specialised code is written for; zero of others.
size_t MachineVectorSize();

// The kernel of the instruction set in use; null where that has no sums of four products of bytes, without which it
// would be slow.
QuadKernel QuadKernelInUse();

// quads[4 * t + r] = rows[r][t], t < length, and the other way round. Both read and write up to kRowOverrun places behind.
void InterleaveRows(const uint8_t* const rows[4], size_t length, uint8_t* quads);
void SeparateRows(const uint8_t* quads, size_t length, uint8_t* const rows[4]);

// made[s * step + segment * frames + f] = rows[f * pitch + segment * length + s], s < length, of 4 frames or 8.
void LayInStripes(const uint8_t* rows, size_t pitch, size_t frames, size_t segments, size_t length, uint8_t* made, size_t step);

// even[t] = codes[2 * t], odd[t] = codes[2 * t + 1], t < length. Reads and writes up to kRowOverrun places behind.
void SplitRow(const uint8_t* codes, size_t length, uint8_t* even, uint8_t* odd);

// The same of quads, t < length.
void SplitQuads(const uint8_t* quads, size_t length, uint8_t* even, uint8_t* odd);

// codes[t] = clip(round-half-even(values[t] / scale), low, high) - low; what is no number becomes 0. Reads nothing behind.
void QuantiseRow(const float* values, size_t length, float scale, int low, int high, uint8_t* codes);

// The same of values[2 * t] / divisor and of values[2 * t + 1] / divisor, t < length, in two rows. Reads nothing behind either.
void QuantisePairs(const float* values, size_t length, float divisor, float scale, int low, int high, uint8_t* first,
                   uint8_t* second);

// The arithmetic of the kernels without memory, "rounds" times over: returns how many products that were. What they come
// to goes to "result", so that they cannot be left out. RunQuads returns 0 where there is no QuadKernel.
size_t RunProducts(size_t rounds, int32_t* result);
size_t RunQuads(size_t rounds, int32_t* result);

// And memory without arithmetic: reads "size" bytes from "codes" on, and every other round from "step" bytes behind that;
// returns bytes read.
size_t RunLoads(const uint8_t* codes, size_t size, size_t step, size_t rounds, int32_t* result);

// Instruction sets that run here, the best one first, and the one in use.
std::vector<std::string> Targets();
std::string TargetInUse();

// Uses another one from now on in the whole process, for tests and benchmarks, and for layers that are added from now on
// (those with a QuadKernel or specialised rows keep them); throws std::invalid_argument for a name that Targets does not
// list.
void UseTarget(const std::string& name);

}  // namespace amc
