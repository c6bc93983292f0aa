// SPDX-License-Identifier: GPL-3.0-or-later
//
// A quantised network on integers: rows of codes, sparse weights, thresholds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "addition.h"
#include "kernels.h"
#include "thread_pool.h"

namespace amc {

// Unsigned codes 0..largest (at most 255) of one frame; zero is the code of the value 0.
struct Tensor {
    size_t channels;
    size_t length;
    int largest;
    int zero;
};

// Frames of a batch, each "stride" values behind the one before. A frame is a row of values for each channel; or, where
// there is a divisor for each frame, the values of its two channels in turn, which the divisor divides.
struct Frames {
    const float* values;
    ptrdiff_t stride;
    const float* divisors = nullptr;

    // Without the first "count" of them.
    Frames Behind(size_t count) const {
        return {values + static_cast<ptrdiff_t>(count) * stride, stride, divisors ? divisors + count : nullptr};
    }
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

// Layers, each of which makes a tensor of tensors that were made before; those that are linear stand at the end, in a
// chain, and the logits are made of the last tensor. Whatever does not fit is a std::invalid_argument when it is added;
// Run cannot fail but for memory.
class Network {
   public:
    // code = clip(round-half-even(value / scale), low, high) - low
    Network(size_t channels, size_t length, float scale, int low, int high);
    ~Network();

    void Add(const Convolution& layer);
    void Add(const Sum& sum);
    void Finish(const Logits& logits);

    // logits: count x Classes(). Needs Finish.
    void Run(const Frames& frames, size_t count, float* logits, size_t threads) const;

    // Begins Run on threads of the network's own. Frames and logits stay where they are until Finish, which must be
    // called once for each Start.
    std::shared_ptr<ThreadPool::Task> Start(const Frames& frames, size_t count, float* logits, size_t threads) const;
    void Finish(ThreadPool::Task& task) const { pool_.Finish(task); }

    // Codes of a tensor, count x channels x length of it: 0 is the input, n what layer n makes.
    void Codes(const Frames& frames, size_t count, size_t number, uint8_t* codes) const;

    // Seconds that one thread takes for each tensor of so many frames, and at the end for the logits.
    std::vector<double> Profile(const Frames& frames, size_t count) const;

    const Tensor& At(size_t number) const { return tensors_.at(number); }
    size_t Classes() const { return classes_; }
    // Whether the sums of a layer, counted from 1, need 32 bits.
    bool IsWide(size_t number) const { return layers_.at(number - 1).wide; }
    // Whether it adds four products at a time, as the instruction set has it.
    bool TakesQuads(size_t number) const { return layers_.at(number - 1).quad_kernel != nullptr; }
    bool IsLinear(size_t number) const { return layers_.at(number - 1).linear; }
    // How many outputs of a layer are rounded in fixed point; the others count thresholds, or sums look them up.
    size_t Rounded(size_t number) const;

   private:
    // How a tensor lies in memory for a reader: rows of places with room around them that holds the code of zero. A place
    // has the codes of "channels" channels, side by side: 1, or 4 where the reader takes quads.
    struct Rows {
        size_t tensor;
        size_t channels;
        size_t margin;
        size_t pitch;
        size_t phases;  // of a row whose reader takes every so manieth code: each phase is a row of its own

        bool InOrder() const { return phases == 1; }
        size_t Begin(size_t channel) const { return (channel / channels * phases * pitch + margin) * channels; }
    };

    // Codes that a layer has made of one channel: codes[step * t].
    struct Made {
        const uint8_t* codes;
        size_t step;
    };

    struct Layer {
        std::vector<std::vector<Tap>> taps;  // for each output
        std::vector<std::vector<PairTap>> pairs;  // the same, for sums of 16 bits
        std::vector<std::vector<int16_t>> limits16;
        std::vector<std::optional<Rounding>> roundings;  // where one does what counting limits16 does
        std::vector<std::vector<int32_t>> limits32;
        QuadKernel quad_kernel = nullptr;  // in place of all these
        std::vector<QuadOutput> quads;
        std::optional<Addition> addition;  // or in place of these
        std::vector<int32_t> row_weights;  // or of a sum of rows, for each output, which limits32 belong to
        std::vector<std::optional<WideRounding>> row_roundings;  // where one does what counting those does
        std::vector<size_t> sources;       // in rows_; of a linear layer none
        bool makes_quads = false;
        bool wide = false;
        bool linear = false;
        size_t sums = 0;  // of a row, before the pool
        size_t pool = 1;
    };

    struct Scratch;

    size_t Place(const Rows& rows);
    void AddSumOfRows(const Convolution& layer, const Tensor& output, bool wide);
    std::function<void()> Work(const Frames& frames, size_t count, float* logits, size_t threads) const;
    void RunBlock(const Frames& frames, size_t count, float* logits, Scratch& scratch) const;
    // Of the first one of the frames.
    void MakeTensor(const Frames& frame, size_t number, size_t column, size_t last, Scratch& scratch) const;
    void RunFrame(const Frames& frame, size_t column, size_t last, Scratch& scratch) const;
    void RunLinear(size_t number, Scratch& scratch) const;
    void RunLogits(size_t count, float* logits, Scratch& scratch) const;
    void MakeRow(const Layer& layer, size_t output, const uint8_t* codes, size_t sums, Scratch& scratch,
                 uint8_t* made) const;
    void MakeFour(const Frames& frame, size_t number, size_t channel, size_t count, Scratch& scratch, uint8_t* place) const;
    const uint8_t* Quads(size_t source, size_t channel, Scratch& scratch) const;
    void AddFour(const Layer& layer, size_t channel, size_t count, Scratch& scratch, uint8_t* place) const;
    void PlaceRow(Made made, const Rows& rows, size_t channel, uint8_t* tensor) const;
    void PlaceFour(size_t reader, size_t channel, size_t count, const uint8_t* quads, Scratch& scratch) const;
    std::unique_ptr<Scratch> Borrow() const;
    void GiveBack(std::unique_ptr<Scratch> scratch) const;

    float scale_;
    int low_;
    int high_;
    std::vector<Tensor> tensors_;
    std::vector<Rows> rows_;                   // of the tensors that convolutions and sums read
    std::vector<std::vector<uint8_t>> empty_;  // and these tensors with nothing but zero in them
    std::vector<std::vector<size_t>> readers_;  // of each tensor, in rows_
    std::vector<Layer> layers_;
    size_t linear_from_ = 0;  // the first layer that is linear, or the number of layers
    size_t classes_ = 0;
    std::vector<std::vector<Tap>> logit_taps_;
    Logits logits_;
    mutable std::mutex mutex_;
    mutable std::vector<std::unique_ptr<Scratch>> idle_;  // of threads that are through
    mutable ThreadPool pool_;                             // the last member: its threads end before what they use
};

}  // namespace amc
