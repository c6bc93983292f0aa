// SPDX-License-Identifier: GPL-3.0-or-later
//
// A quantised network on integers: rows of codes, sparse weights, thresholds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "code_room.h"
#include "layers.h"
#include "stripes.h"
#include "thread_pool.h"

namespace amc {

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

// Layers, each of which makes a tensor of tensors that were made before; those that are linear stand at the end, in a
// chain, and the logits are made of the last tensor. Whatever does not fit is a std::invalid_argument when it is added,
// or when the network is finished; Run cannot fail but for memory.
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

    // Codes of a tensor, count x channels x length of it: 0 is the input, n what layer n makes. Needs Finish, as all that
    // follows does.
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
    // For how many outputs of a layer there is code of their own.
    size_t Specialised(size_t number) const;
    // How many frames go through the layers before the linear ones in stripes, at once; none where they do not fit these.
    size_t FramesInStripes() const { return stripes_ ? stripes_->FramesAtOnce() : 0; }
    // How many outputs of a layer are rounded in fixed point; the others count thresholds, or sums look them up.
    size_t Rounded(size_t number) const;

   private:
    // How a tensor lies in memory, as it is made or for a reader: a row for each channel, or for each four of them where
    // "channels" is 4, whose codes then stand side by side in every place. A reader that takes every so manieth code finds
    // each phase in a row of its own. In a row lie the frames one behind the other; before the first one and between
    // any two there is room that holds the code of zero, which kernels reach into.
    struct Rows {
        size_t tensor;
        size_t channels;
        size_t phases;
        size_t margin;  // places before the first frame
        size_t pitch;   // places from one row to the next

        size_t Begin(size_t channel, size_t phase = 0) const {
            return ((channel / channels * phases + phase) * pitch + margin) * channels;
        }
        // Of a code of a row, counted from where it begins.
        size_t At(size_t code) const {
            return phases == 1 ? code * channels : (code % phases * pitch + code / phases) * channels;
        }
    };

    struct Scratch;

    void AddSumOfRows(const Convolution& layer, const Tensor& output, bool wide);
    bool FindPitches(size_t first);
    size_t Place(size_t tensor, size_t channels, size_t phases);
    size_t HomePhases(size_t tensor) const;
    void LayOut();
    void AddTaps(Layer& layer) const;
    void AddCode(Layer& layer, size_t phases) const;
    std::function<void()> Work(const Frames& frames, size_t count, float* logits, size_t threads) const;
    void RunBlock(const Frames& frames, size_t count, float* logits, Scratch& scratch) const;
    template <class Make>
    void ForTensors(size_t count, size_t last, const Make& make) const;
    template <class Timed>
    void FillBlock(const Frames& frames, size_t count, size_t last, Scratch& scratch, const Timed& timed) const;
    void MakeTensor(const Frames& frames, size_t number, size_t slot, size_t count, Scratch& scratch) const;
    template <class Row>
    void Quantise(const Frames& frame, const Row& row) const;
    void QuantiseInput(const Frames& frames, size_t slot, size_t count, Scratch& scratch) const;
    void PoolCodes(const Layer& layer, const Rows& home, size_t place, size_t made, Scratch& scratch) const;
    void Convolve(const Layer& layer, const Rows& home, size_t slot, size_t count, Scratch& scratch) const;
    void AddTensors(const Layer& layer, const Rows& home, size_t slot, size_t count, Scratch& scratch) const;
    void SumRows(const Layer& layer, const Rows& home, size_t slot, size_t count, Scratch& scratch) const;
    void ClearMargins(const Rows& home, size_t slot, size_t count, Scratch& scratch) const;
    void Copy(const Rows& home, size_t reader, size_t slot, size_t count, Scratch& scratch) const;
    void FillColumns(size_t number, size_t count, size_t column, Scratch& scratch) const;
    void RunLinear(size_t number, Scratch& scratch) const;
    void RunLogits(size_t count, float* logits, Scratch& scratch) const;
    size_t Slots(size_t tensor) const;
    size_t FirstPlace(const Rows& rows, size_t slot) const;
    std::unique_ptr<Scratch> Borrow() const;
    void GiveBack(std::unique_ptr<Scratch> scratch) const;

    float scale_;
    int low_;
    int high_;
    std::vector<Tensor> tensors_;
    std::vector<Layer> layers_;
    size_t linear_from_ = 0;  // the first layer that is linear, or the number of layers
    size_t side_by_side_from_ = 0;          // the first tensor whose rows have several frames
    std::vector<Margins> margins_;          // of each tensor before the linear layers
    std::vector<size_t> pitches_;           // of the same: codes from one frame to the next
    std::vector<Rows> rows_;                // first of each of these tensors as it is made, then for other readers
    std::vector<std::vector<size_t>> cleared_;  // of each: where in a row the codes beside its first frame lie
    std::unique_ptr<const Stripes> stripes_;  // where frames go through these layers so
    std::vector<CodeRoom> empty_;           // and these with nothing but zero in them
    size_t classes_ = 0;
    std::vector<std::vector<Tap>> logit_taps_;
    Logits logits_;
    mutable std::mutex mutex_;
    mutable std::vector<std::unique_ptr<Scratch>> idle_;  // of threads that are through
    mutable ThreadPool pool_;                             // the last member: its threads end before what they use
};

}  // namespace amc
