// SPDX-License-Identifier: GPL-3.0-or-later
//
// What a network is made of: as it is described, and as the engine keeps it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "addition.h"
#include "kernels.h"
#include "specialised.h"

namespace amc {

// Unsigned codes 0..largest (at most 255) of one frame; zero is the code of the value 0.
struct Tensor {
    size_t channels;
    size_t length;
    int largest;
    int zero;
};

// What a convolution is given; a linear layer is one with a kernel as long as its input, unless it adds whole rows.
struct Convolution {
    size_t source;                 // number of the tensor that it reads
    std::vector<int16_t> weights;  // outputs x (inputs / groups) x kernel
    size_t outputs;
    size_t kernel;
    size_t stride;
    size_t padding_left;
    size_t padding_right;
    size_t groups;
    size_t pool;                      // the largest of so many sums stays
    std::vector<int32_t> thresholds;  // outputs x largest, rising for each output
    int largest;                      // of the output's codes
    int zero;
};

// Of each two codes of tensors "first" and "second" the sum (code << first_shift) + (code << second_shift), and how many
// thresholds that has reached.
struct Sum {
    size_t first;
    size_t second;
    int first_shift;
    int second_shift;
    std::vector<int32_t> thresholds;  // rising, one for each code but the lowest
    int zero;
};

// float(scale * (sum + shift)) + offset for each class; weights are classes x features.
struct Logits {
    std::vector<int16_t> weights;
    std::vector<int32_t> shift;
    std::vector<float> scale;
    std::vector<float> offset;
};

// Between these lies any sum of some of the products, so that no order of adding exceeds them.
struct Reach {
    int64_t least = 0;
    int64_t most = 0;

    Reach(const int16_t* weights, size_t count, int largest) {
        for (size_t i = 0; i < count; ++i) (weights[i] > 0 ? most : least) += weights[i] * largest;
    }
    int64_t Magnitude() const { return std::max(most, -least); }
};

// An output that is a multiple of the sum of one channel's codes.
struct SumOfRow {
    int32_t weight;
    std::vector<int32_t> limits;           // behind which stands one that no sum exceeds
    std::optional<WideRounding> rounding;  // where one does what counting those does

    uint8_t CodeOf(int32_t sum_of_codes) const;
};

struct Layer {
    Convolution given{};  // of a sum nothing but the source
    std::vector<RowOutput> rows;
    std::unique_ptr<const SpecialisedRows> specialised;  // of these, where some are
    QuadKernel quad_kernel = nullptr;                    // in place of these
    std::vector<QuadOutput> quads;
    std::optional<Addition> addition;  // or in place of these
    size_t second = 0;                 // the other tensor of a sum
    std::vector<SumOfRow> row_sums;    // or in place of these
    std::vector<size_t> sources;       // rows that it reads, once the network is finished; of a linear layer none
    bool makes_quads = false;
    bool wide = false;
    bool linear = false;
    size_t sums = 0;  // of a row, of which each is a code, or two are where the kernels pool

    bool IsConvolution() const { return !addition && row_sums.empty() && !linear; }
    // The kernels pool by two, of sums that lie in rows of their own. Of longer pools the largest code is taken.
    bool PoolsSums() const { return given.pool == 2; }
    // Codes of the source from one of those that the kernels make to the next.
    size_t Step() const { return given.stride * (PoolsSums() ? 2 : 1); }
    // Of a convolution whose sums have 16 bits.
    std::vector<SumRange> Reached(const Tensor& input) const;
    void MakeRows(const uint8_t* codes, size_t length, const MadeRows& made) const;
};

// The taps of an output, whose codes begin at offset(channel, place in the kernel) for the first sum of a pool. Throws
// std::invalid_argument where these are too far.
template <class Offset>
std::vector<Tap> TapsOf(const Convolution& given, size_t inputs, size_t output, const Offset& offset) {
    const size_t first = output / (given.outputs / given.groups) * inputs;
    const int16_t* weight = &given.weights[output * inputs * given.kernel];
    std::vector<Tap> taps;
    for (size_t i = 0; i < inputs; ++i) {
        for (size_t k = 0; k < given.kernel; ++k, ++weight) {
            if (*weight != 0) taps.push_back({{offset(first + i, k), offset(first + i, k + given.stride)}, *weight});
        }
    }
    return taps;
}

// Places beside a frame that kernels reach into.
struct Margins {
    size_t before = 0;
    size_t behind = 0;
};

// Of tensors 0 to "last" of these layers.
std::vector<Margins> FindMargins(const std::vector<Layer>& layers, size_t last);

}  // namespace amc
