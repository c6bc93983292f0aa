// SPDX-License-Identifier: GPL-3.0-or-later
#include "network.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>

namespace amc {
namespace {

// Linear layers take so many frames side by side, as a convolution takes the samples of one.
constexpr size_t kBlock = 32;
constexpr size_t kLargestSize = size_t{1} << 24;
constexpr int64_t kLargestSum = int64_t{1} << 30;

void Require(bool condition, const char* message) {
    if (!condition) throw std::invalid_argument(message);
}

size_t RoundUp(size_t value, size_t step) { return (value + step - 1) / step * step; }

void CheckTensor(const Tensor& tensor) {
    Require(tensor.channels > 0 && tensor.length > 0, "a tensor is empty");
    Require(tensor.channels <= kLargestSize / tensor.length, "a tensor is larger than the engine takes");
    Require(tensor.largest > 0 && tensor.largest <= 255, "codes must have 1 to 8 bits");
    Require(tensor.zero >= 0 && tensor.zero <= tensor.largest, "the code of zero is none of the codes");
}

// Between these lies any sum of some of the products, so that no order of adding exceeds them.
struct Reach {
    int64_t least = 0;
    int64_t most = 0;

    Reach(const int16_t* weights, size_t count, int largest) {
        for (size_t i = 0; i < count; ++i) (weights[i] > 0 ? most : least) += weights[i] * largest;
    }
    int64_t Magnitude() const { return std::max(most, -least); }
};

// A sum reaches a threshold where it exceeds the integer below it. Sums never get to the ends of their type.
template <typename T>
std::vector<T> Limits(const int32_t* thresholds, size_t count) {
    std::vector<T> limits(count);
    for (size_t i = 0; i < count; ++i) {
        const int64_t below = int64_t{thresholds[i]} - 1;
        limits[i] = static_cast<T>(std::clamp<int64_t>(below, std::numeric_limits<T>::min(), std::numeric_limits<T>::max()));
    }
    return limits;
}

// Whether each output is a multiple of the sum of one channel's codes, as an average is. The kernel is as long as they are.
bool IsSumOfRows(const Convolution& layer, const Tensor& input) {
    if (input.length == 1 || layer.groups != input.channels || layer.outputs != input.channels) return false;
    for (size_t o = 0; o < layer.outputs; ++o) {
        const int16_t* weights = &layer.weights[o * input.length];
        const auto same = [&](int16_t weight) { return weight == *weights && weight != 0; };
        if (!std::all_of(weights, weights + input.length, same)) return false;
    }
    return true;
}

// Whether the layer is faster with sums of four products. Measured: such a sum takes about as long as two products of 16
// bits; those of 32 bits are slower than either.
bool PaysInQuads(const Convolution& layer, size_t inputs, bool wide) {
    // A quad that is not full must be the last one of a place.
    if ((inputs % 4 != 0 && layer.groups > 1) || layer.pool > 2) return false;
    const auto fits = [](int16_t weight) {
        return weight >= std::numeric_limits<int8_t>::min() && weight <= std::numeric_limits<int8_t>::max();
    };
    if (!std::all_of(layer.weights.begin(), layer.weights.end(), fits)) return false;
    size_t singles = 0, quads = 0;
    for (size_t o = 0; o < layer.outputs; ++o) {
        for (size_t i = 0; i < inputs; i += 4) {
            for (size_t k = 0; k < layer.kernel; ++k) {
                size_t found = 0;
                for (size_t c = i; c < std::min(i + 4, inputs); ++c) {
                    found += layer.weights[(o * inputs + c) * layer.kernel + k] != 0;
                }
                singles += found;
                quads += found > 0;
            }
        }
    }
    return wide || singles > 2 * quads;
}

}  // namespace

// Working memory of one thread.
struct Network::Scratch {
    // Has room for the columns of the tensors from number "first" on.
    Scratch(const Network& network, size_t first) : tensors(network.empty_) {
        size_t longest = kBlock, features = 1;
        for (const auto& layer : network.layers_) longest = std::max(longest, layer.sums);
        for (size_t n = 0; n < network.tensors_.size(); ++n) {
            const Tensor& tensor = network.tensors_[n];
            longest = std::max(longest, tensor.length);
            if (n >= first) features = std::max(features, tensor.channels * tensor.length);
        }
        sums16.resize(longest + kSlack);
        sums32.resize(longest + kSlack);
        for (auto& row : four) row.resize(longest + kSlack);
        for (auto* quads : {&packed, &beside}) quads->resize(4 * (longest + kSlack));
        signal.resize(longest + kSlack);
        for (auto* side : {&columns, &next_columns}) side->resize(features * kBlock + kSlack);
    }

    std::vector<std::vector<uint8_t>> tensors;  // of one frame, as convolutions and sums read them
    std::vector<int16_t> sums16;
    std::vector<int32_t> sums32;
    std::vector<uint8_t> four[4];  // rows of four channels
    std::vector<uint8_t> packed;   // the same side by side
    std::vector<uint8_t> beside;   // and those of a sum's other tensor
    std::vector<float> signal;
    std::vector<uint8_t> columns;  // features x kBlock frames, before the linear layer at work
    std::vector<uint8_t> next_columns;
};

std::unique_ptr<Network::Scratch> Network::Borrow() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (idle_.empty()) return std::make_unique<Scratch>(*this, linear_from_);
    auto scratch = std::move(idle_.back());
    idle_.pop_back();
    return scratch;
}

void Network::GiveBack(std::unique_ptr<Scratch> scratch) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    idle_.push_back(std::move(scratch));
}

Network::~Network() = default;

Network::Network(size_t channels, size_t length, float scale, int low, int high) : scale_(scale), low_(low), high_(high) {
    Require(scale > 0 && scale <= std::numeric_limits<float>::max(), "the scale of the input is not above zero");
    Require(low <= 0 && high >= 0 && high - low <= 255, "the codes of the input do not fit 8 bits around zero");
    tensors_.push_back({channels, length, high - low, -low});
    readers_.emplace_back();
    CheckTensor(tensors_[0]);
}

// Where in rows_ a tensor lies like that, from now on.
size_t Network::Place(const Rows& rows) {
    const Tensor& tensor = tensors_[rows.tensor];
    Require(tensor.channels * rows.phases <= 4 * kLargestSize / rows.pitch, "the layer is larger than the engine takes");
    for (const size_t reader : readers_[rows.tensor]) {
        const Rows& there = rows_[reader];
        if (there.channels == rows.channels && there.margin == rows.margin && there.pitch == rows.pitch &&
            there.phases == rows.phases) {
            return reader;
        }
    }
    readers_[rows.tensor].push_back(rows_.size());
    rows_.push_back(rows);
    empty_.emplace_back(RoundUp(tensor.channels, rows.channels) * rows.phases * rows.pitch + kSlack,
                        static_cast<uint8_t>(tensor.zero));
    return rows_.size() - 1;
}

void Network::Add(const Convolution& layer) {
    Require(classes_ == 0, "the network is finished");
    Require(layer.source < tensors_.size(), "the layer reads a tensor that there is not");
    const Tensor input = tensors_[layer.source];
    Require(layer.outputs > 0 && layer.kernel > 0 && layer.stride > 0 && layer.groups > 0 && layer.pool > 0,
            "a size of the layer is zero");
    Require(input.channels % layer.groups == 0 && layer.outputs % layer.groups == 0, "channels do not divide into groups");
    const size_t inputs = input.channels / layer.groups;
    Require(layer.outputs <= kLargestSize && layer.kernel <= kLargestSize / layer.outputs / inputs,
            "the layer is larger than the engine takes");
    Require(layer.weights.size() == layer.outputs * inputs * layer.kernel, "weights and sizes disagree");
    Require(layer.padding_left < layer.kernel && layer.padding_right < layer.kernel, "the padding is as long as the kernel");
    const size_t padded = input.length + layer.padding_left + layer.padding_right;
    Require(layer.kernel <= padded, "the kernel is longer than the input");
    const size_t stride = std::min(layer.stride, padded);  // a longer one leaves one sum too
    const size_t sums = (padded - layer.kernel) / stride + 1;
    Require(layer.pool <= sums, "the pool is longer than the row");
    const Tensor output{layer.outputs, sums / layer.pool, layer.largest, layer.zero};
    CheckTensor(output);
    const auto levels = static_cast<size_t>(layer.largest);
    Require(layer.thresholds.size() == layer.outputs * levels, "thresholds and codes disagree");

    const size_t each = inputs * layer.kernel;
    int64_t reach = 0;
    for (size_t o = 0; o < layer.outputs; ++o) {
        reach = std::max(reach, Reach(&layer.weights[o * each], each, input.largest).Magnitude());
        const int32_t* begin = &layer.thresholds[o * levels];
        Require(std::is_sorted(begin, begin + levels), "thresholds do not rise");
    }
    Require(reach <= kLargestSum, "sums go beyond 30 bits");

    Layer made;
    made.wide = reach >= std::numeric_limits<int16_t>::max();
    // Nothing but padding could move such a kernel.
    const bool whole = layer.kernel == input.length && padded == input.length;
    const bool in_order = linear_from_ == layers_.size();
    if (whole && in_order && IsSumOfRows(layer, input)) {
        AddSumOfRows(layer, output, made.wide);
        return;
    }
    made.linear = whole;
    Require(made.linear || in_order, "a convolution follows a linear layer");
    Require(!made.linear || layer.source + 1 == tensors_.size(), "a linear layer reads another tensor than the last one");
    made.sums = sums;
    made.pool = layer.pool;
    const QuadKernel kernel = QuadKernelInUse();
    const bool quads = kernel && !made.linear && PaysInQuads(layer, inputs, made.wide);
    const Rows rows{layer.source, quads ? size_t{4} : size_t{1}, layer.padding_left,
                    RoundUp(padded / stride + 1 + kQuadOverrun, 64), stride};
    made.makes_quads = quads;
    if (quads) {
        made.quad_kernel = kernel;
        made.quads.resize(layer.outputs);
    } else {
        made.taps.resize(layer.outputs);
    }
    for (size_t o = 0; o < layer.outputs; ++o) {
        const size_t first = o / (layer.outputs / layer.groups) * inputs;
        const int16_t* weights = &layer.weights[o * each];
        for (size_t i = 0; i < inputs; i += rows.channels) {
            for (size_t k = 0; k < layer.kernel; ++k) {
                const size_t row = made.linear ? (first + i) * input.length + k
                                               : (first + i) / rows.channels * rows.phases + k % stride;
                const size_t offset = made.linear ? row * kBlock : (row * rows.pitch + k / stride) * rows.channels;
                Require(offset <= static_cast<size_t>(std::numeric_limits<int32_t>::max()),
                        "the layer is larger than the engine takes");
                const auto place = static_cast<int32_t>(offset);
                if (quads) {
                    QuadTap tap{place, {}};
                    for (size_t c = 0; c < std::min<size_t>(4, inputs - i); ++c) {
                        tap.weights[c] = static_cast<int8_t>(weights[(i + c) * layer.kernel + k]);
                    }
                    const bool any = std::any_of(tap.weights, tap.weights + 4, [](int8_t weight) { return weight != 0; });
                    if (any) made.quads[o].taps.push_back(tap);
                } else if (const int16_t weight = weights[i * layer.kernel + k]) {
                    made.taps[o].push_back({place, weight});
                }
            }
        }
        const int32_t* begin = &layer.thresholds[o * levels];
        const Reach sums(weights, each, input.largest);
        const auto least = static_cast<int32_t>(sums.least), most = static_cast<int32_t>(sums.most);
        if (quads) {
            made.quads[o].limits = Limits<int32_t>(begin, levels);
            made.quads[o].rounding = FindWideRounding(made.quads[o].limits, least, most);
            made.quads[o].limits.push_back(std::numeric_limits<int32_t>::max());
        } else if (made.wide) {
            made.limits32.push_back(Limits<int32_t>(begin, levels));
        } else {
            made.limits16.push_back(Limits<int16_t>(begin, levels));
            made.roundings.push_back(FindRounding(made.limits16[o], least, most));
            made.pairs.push_back(InPairs(made.taps[o]));
        }
    }
    if (!made.linear) {
        made.sources = {Place(rows)};
        linear_from_ = layers_.size() + 1;
    }
    layers_.push_back(std::move(made));
    tensors_.push_back(output);
    readers_.emplace_back();
}

// Of a convolution whose sums are those of whole rows. To lay their codes into columns takes longer than to add them.
void Network::AddSumOfRows(const Convolution& layer, const Tensor& output, bool wide) {
    const size_t length = tensors_[layer.source].length;
    const auto levels = static_cast<size_t>(layer.largest);
    Layer made;
    made.wide = wide;
    made.sums = 1;
    for (size_t o = 0; o < layer.outputs; ++o) {
        const int32_t weight = layer.weights[o * length];
        const int32_t farthest = weight * static_cast<int32_t>(length) * tensors_[layer.source].largest;
        auto limits = Limits<int32_t>(&layer.thresholds[o * levels], levels);
        made.row_weights.push_back(weight);
        made.row_roundings.push_back(FindWideRounding(limits, std::min(farthest, 0), std::max(farthest, 0)));
        limits.push_back(std::numeric_limits<int32_t>::max());
        made.limits32.push_back(std::move(limits));
    }
    made.sources = {Place({layer.source, 1, 0, RoundUp(length + kQuadOverrun, 64), 1})};
    linear_from_ = layers_.size() + 1;
    layers_.push_back(std::move(made));
    tensors_.push_back(output);
    readers_.emplace_back();
}

void Network::Add(const Sum& sum) {
    Require(classes_ == 0, "the network is finished");
    Require(sum.first < tensors_.size() && sum.second < tensors_.size(), "the sum reads a tensor that there is not");
    Require(linear_from_ == layers_.size(), "a sum follows a linear layer");
    const Tensor first = tensors_[sum.first], second = tensors_[sum.second];
    Require(first.channels == second.channels && first.length == second.length, "the tensors of a sum have different shapes");
    const auto fits = [](int shift) { return shift >= 0 && shift < 15; };
    Require(fits(sum.first_shift) && fits(sum.second_shift), "a sum shifts codes by less than 0 or more than 14 bits");
    const int most = (first.largest << sum.first_shift) + (second.largest << sum.second_shift);
    Require(most <= kLargestAddition, "sums of two tensors go beyond 15 bits");
    Require(sum.thresholds.size() <= 255, "codes must have 1 to 8 bits");
    Require(std::is_sorted(sum.thresholds.begin(), sum.thresholds.end()), "thresholds do not rise");
    const Tensor output{first.channels, first.length, static_cast<int>(sum.thresholds.size()), sum.zero};
    CheckTensor(output);

    Layer made;
    made.addition = {sum.first_shift, sum.second_shift, {}, std::nullopt};
    size_t reached = 0;
    for (int value = 0; value <= most; ++value) {
        while (reached < sum.thresholds.size() && sum.thresholds[reached] <= value) ++reached;
        made.addition->codes.push_back(static_cast<uint8_t>(reached));
    }
    made.addition->rounding = FindHalfRounding(made.addition->codes);
    for (const size_t number : {sum.first, sum.second}) {
        // As another reader has it, or as it is made.
        const auto& readers = readers_[number];
        const auto found = std::find_if(readers.begin(), readers.end(), [&](size_t reader) { return rows_[reader].InOrder(); });
        const bool quads = number > 0 && layers_[number - 1].makes_quads;
        made.sources.push_back(found != readers.end() ? *found
                                                      : Place({number, quads ? size_t{4} : size_t{1}, 0,
                                                               RoundUp(first.length + kQuadOverrun, 64), 1}));
        made.makes_quads |= rows_[made.sources.back()].channels == 4;
    }
    linear_from_ = layers_.size() + 1;
    layers_.push_back(std::move(made));
    tensors_.push_back(output);
    readers_.emplace_back();
}

void Network::Finish(const Logits& logits) {
    Require(classes_ == 0, "the network is finished");
    const Tensor& input = tensors_.back();
    const size_t features = input.channels * input.length, classes = logits.shift.size();
    Require(classes > 0 && classes <= kLargestSize / features, "the number of classes is zero, or too large");
    Require(logits.weights.size() == classes * features && logits.scale.size() == classes && logits.offset.size() == classes,
            "weights and sizes disagree");
    for (size_t c = 0; c < classes; ++c) {
        Require(Reach(&logits.weights[c * features], features, input.largest).Magnitude() + std::abs(int64_t{logits.shift[c]}) <= kLargestSum,
                "sums go beyond 30 bits");
        auto& taps = logit_taps_.emplace_back();
        for (size_t f = 0; f < features; ++f) {
            const int16_t weight = logits.weights[c * features + f];
            if (weight != 0) taps.push_back({static_cast<int32_t>(f * kBlock), weight});
        }
    }
    logits_ = logits;
    classes_ = classes;
}

namespace {

// How many of the limits a sum exceeds, behind which stands one that no sum does.
int32_t CodeOf(int32_t sum, const std::optional<WideRounding>& rounding, const std::vector<int32_t>& limits) {
    if (!rounding) return static_cast<int32_t>(std::lower_bound(limits.begin(), limits.end(), sum) - limits.begin());
    const auto clipped = static_cast<uint32_t>(std::clamp(sum, rounding->low, rounding->high));
    const uint32_t line = clipped * static_cast<uint32_t>(rounding->factor) + static_cast<uint32_t>(rounding->offset);
    const int32_t code = static_cast<int32_t>(line) >> rounding->shift;
    return rounding->exact ? code : code + (sum > limits[static_cast<size_t>(code)]);
}

// The usual stride: of a step that it knows, the compiler takes many codes at a time.
void TakeEverySecond(const uint8_t* __restrict__ codes, size_t count, uint8_t* __restrict__ target) {
    for (size_t i = 0; i < count; ++i) target[i] = codes[2 * i];
}

}  // namespace

// Writes a row of codes to where the reader of the tensor looks for it.
void Network::PlaceRow(Made made, const Rows& rows, size_t channel, uint8_t* tensor) const {
    const size_t length = tensors_[rows.tensor].length;
    if (rows.InOrder() && rows.channels == 1 && made.step == 1) {
        std::memcpy(tensor + rows.Begin(channel), made.codes, length);
        return;
    }
    uint8_t* row = tensor + channel / rows.channels * rows.phases * rows.pitch * rows.channels + channel % rows.channels;
    // Phase by phase: a division for each code would take longer than most layers do.
    for (size_t first = 0; first < std::min(rows.phases, length); ++first) {
        const size_t place = first + rows.margin;
        uint8_t* target = row + (place % rows.phases * rows.pitch + place / rows.phases) * rows.channels;
        if (rows.phases == 2 && rows.channels == 1 && made.step == 1) {
            TakeEverySecond(made.codes + first, (length - first + 1) / 2, target);
            continue;
        }
        for (size_t t = first; t < length; t += rows.phases, target += rows.channels) *target = made.codes[t * made.step];
    }
}

// One output of a layer: its sums from "codes" on, and the codes that they make.
void Network::MakeRow(const Layer& layer, size_t output, const uint8_t* codes, size_t sums, Scratch& scratch,
                      uint8_t* made) const {
    const auto& taps = layer.taps[output];
    if (layer.wide) {
        amc::MakeRow(codes, taps, sums, layer.pool, layer.limits32[output], scratch.sums32.data(), made);
    } else if (const auto& rounding = layer.roundings[output]) {
        amc::MakeRow(codes, taps, layer.pairs[output], sums, layer.pool, *rounding, scratch.sums16.data(), made);
    } else {
        amc::MakeRow(codes, taps, sums, layer.pool, layer.limits16[output], scratch.sums16.data(), made);
    }
}

size_t Network::Rounded(size_t number) const {
    const Layer& layer = layers_.at(number - 1);
    if (layer.addition) return layer.addition->rounding ? tensors_[number].channels : 0;
    const auto& ours = layer.roundings;
    const auto& quads = layer.quads;
    const auto& rows = layer.row_roundings;
    return std::count_if(ours.begin(), ours.end(), [](const auto& rounding) { return rounding.has_value(); }) +
           std::count_if(quads.begin(), quads.end(), [](const auto& output) { return output.rounding.has_value(); }) +
           std::count_if(rows.begin(), rows.end(), [](const auto& rounding) { return rounding.has_value(); });
}

// Four channels of a tensor side by side, from its first code on.
const uint8_t* Network::Quads(size_t source, size_t channel, Scratch& scratch) const {
    const Rows& rows = rows_[source];
    const uint8_t* tensor = scratch.tensors[source].data();
    if (rows.channels == 4) return tensor + rows.Begin(channel);
    const Tensor& shape = tensors_[rows.tensor];
    const uint8_t* four[4];
    for (size_t c = 0; c < 4; ++c) four[c] = tensor + rows.Begin(std::min(channel + c, shape.channels - 1));
    InterleaveRows(four, shape.length, scratch.beside.data());
    return scratch.beside.data();
}

// A sum's codes of up to four channels, where MakeFour has them.
void Network::AddFour(const Layer& layer, size_t channel, size_t count, Scratch& scratch, uint8_t* place) const {
    const size_t first = layer.sources[0], second = layer.sources[1];
    const size_t length = tensors_[rows_[first].tensor].length;
    if (layer.makes_quads) {
        // One of the two lies in quads, so that there is room beside it for the other.
        AddRows(Quads(first, channel, scratch), Quads(second, channel, scratch), 4 * length, *layer.addition, place);
        return;
    }
    for (size_t c = 0; c < count; ++c) {
        AddRows(scratch.tensors[first].data() + rows_[first].Begin(channel + c),
                scratch.tensors[second].data() + rows_[second].Begin(channel + c), length, *layer.addition,
                scratch.four[c].data());
    }
}

// Codes of up to four channels of a tensor, as rows in "scratch", or by a layer that makes quads at "place".
void Network::MakeFour(const Frames& frame, size_t number, size_t channel, size_t count, Scratch& scratch,
                       uint8_t* place) const {
    const size_t length = tensors_[0].length;
    const Layer* layer = number > 0 ? &layers_[number - 1] : nullptr;
    if (layer && layer->addition) {
        AddFour(*layer, channel, count, scratch, place);
        return;
    }
    const uint8_t* codes = layer ? scratch.tensors[layer->sources[0]].data() : nullptr;
    if (layer && !layer->row_weights.empty()) {
        const Rows& rows = rows_[layer->sources[0]];
        for (size_t c = 0; c < count; ++c) {
            const int32_t sum = SumOfCodes(codes + rows.Begin(channel + c), tensors_[rows.tensor].length);
            scratch.four[c][0] = static_cast<uint8_t>(CodeOf(sum * layer->row_weights[channel + c],
                                                             layer->row_roundings[channel + c], layer->limits32[channel + c]));
        }
        return;
    }
    if (layer && layer->quad_kernel) {
        layer->quad_kernel(codes, &layer->quads[channel], count, layer->sums, layer->pool, place);
        return;
    }
    if (!layer && frame.divisors) {
        QuantisePairs(frame.values, length, *frame.divisors, scale_, low_, high_, scratch.four[0].data(),
                      scratch.four[1].data());
        return;
    }
    for (size_t c = 0; c < count; ++c) {
        uint8_t* made = scratch.four[c].data();
        if (layer) {
            MakeRow(*layer, channel + c, codes, layer->sums, scratch, made);
        } else {
            std::memcpy(scratch.signal.data(), frame.values + (channel + c) * length, length * sizeof(float));
            QuantiseRow(scratch.signal.data(), length, scale_, low_, high_, made);
        }
    }
}

// Writes up to four channels to where a reader looks for them: from "quads", or from the rows in "scratch" where there
// are none.
void Network::PlaceFour(size_t reader, size_t channel, size_t count, const uint8_t* quads, Scratch& scratch) const {
    const Rows& rows = rows_[reader];
    uint8_t* tensor = scratch.tensors[reader].data();
    if (rows.channels == 4 && rows.InOrder()) {
        const size_t length = tensors_[rows.tensor].length;
        if (!quads) {
            const uint8_t* four[4];
            for (size_t c = 0; c < 4; ++c) four[c] = scratch.four[c].data();
            InterleaveRows(four, length, scratch.packed.data());
            quads = scratch.packed.data();
        }
        std::memcpy(tensor + rows.Begin(channel), quads, 4 * length);
        return;
    }
    for (size_t c = 0; c < count; ++c) {
        PlaceRow(quads ? Made{quads + c, 4} : Made{scratch.four[c].data(), 1}, rows, channel + c, tensor);
    }
}

// A tensor, for all its readers; number "last" becomes a column of the block, for the linear layers.
void Network::MakeTensor(const Frames& frame, size_t number, size_t column, size_t last, Scratch& scratch) const {
    const Tensor& tensor = tensors_[number];
    const bool makes_quads = number > 0 && layers_[number - 1].makes_quads;
    // What makes quads writes them to where the first one who takes them looks.
    const auto& readers = readers_[number];
    const auto direct = std::find_if(readers.begin(), readers.end(), [&](size_t reader) {
        return makes_quads && number < last && rows_[reader].channels == 4 && rows_[reader].InOrder();
    });
    for (size_t channel = 0; channel < tensor.channels; channel += 4) {
        const size_t count = std::min<size_t>(4, tensor.channels - channel);
        uint8_t* place = direct != readers.end() ? scratch.tensors[*direct].data() + rows_[*direct].Begin(channel)
                                                 : scratch.packed.data();
        MakeFour(frame, number, channel, count, scratch, place);
        const uint8_t* quads = makes_quads ? place : nullptr;
        if (number == last) {
            for (size_t c = 0; c < count; ++c) {
                const Made made = makes_quads ? Made{quads + c, 4} : Made{scratch.four[c].data(), 1};
                uint8_t* column_of = scratch.columns.data() + (channel + c) * tensor.length * kBlock + column;
                for (size_t t = 0; t < tensor.length; ++t) column_of[t * kBlock] = made.codes[t * made.step];
            }
            continue;
        }
        if (direct != readers.end()) std::memset(place + 4 * tensor.length, tensor.zero, 4 * kQuadOverrun);
        for (const size_t reader : readers) {
            if (direct == readers.end() || reader != *direct) PlaceFour(reader, channel, count, quads, scratch);
        }
    }
}

// The convolutions of one frame, up to tensor number "last".
void Network::RunFrame(const Frames& frame, size_t column, size_t last, Scratch& scratch) const {
    for (size_t number = 0; number <= last; ++number) MakeTensor(frame, number, column, last, scratch);
}

// A linear layer, counted from 1, of a block.
void Network::RunLinear(size_t number, Scratch& scratch) const {
    const Layer& layer = layers_[number - 1];
    for (size_t o = 0; o < layer.taps.size(); ++o) {
        MakeRow(layer, o, scratch.columns.data(), kBlock, scratch, scratch.next_columns.data() + o * kBlock);
    }
    std::swap(scratch.columns, scratch.next_columns);
}

void Network::RunLogits(size_t count, float* logits, Scratch& scratch) const {
    for (size_t c = 0; c < classes_; ++c) {
        SumRow(scratch.columns.data(), logit_taps_[c], kBlock, scratch.sums32.data());
        for (size_t n = 0; n < count; ++n) {
            // Rounded twice, as the file's own operations are: this file is compiled without contraction.
            const float product = static_cast<float>(scratch.sums32[n] + logits_.shift[c]) * logits_.scale[c];
            logits[n * classes_ + c] = product + logits_.offset[c];
        }
    }
}

void Network::RunBlock(const Frames& frames, size_t count, float* logits, Scratch& scratch) const {
    for (size_t n = 0; n < count; ++n) RunFrame(frames.Behind(n), n, linear_from_, scratch);
    for (size_t number = linear_from_ + 1; number <= layers_.size(); ++number) RunLinear(number, scratch);
    RunLogits(count, logits, scratch);
}

// What each thread calls: it takes blocks of frames until there are none left.
std::function<void()> Network::Work(const Frames& frames, size_t count, float* logits, size_t threads) const {
    const size_t each = std::min(kBlock, (count + threads - 1) / threads);
    const size_t blocks = (count + each - 1) / each;
    auto next = std::make_shared<std::atomic<size_t>>(0);
    return [=] {
        size_t block = (*next)++;
        if (block >= blocks) return;
        auto scratch = Borrow();
        for (; block < blocks; block = (*next)++) {
            const size_t begin = block * each;
            RunBlock(frames.Behind(begin), std::min(each, count - begin), logits + begin * classes_, *scratch);
        }
        GiveBack(std::move(scratch));
    };
}

std::shared_ptr<ThreadPool::Task> Network::Start(const Frames& frames, size_t count, float* logits, size_t threads) const {
    Require(classes_ > 0, "the network is not finished");
    threads = std::clamp<size_t>(threads, 1, std::max<size_t>(count, 1));
    return count == 0 ? pool_.Start(0, [] {}) : pool_.Start(threads, Work(frames, count, logits, threads));
}

void Network::Run(const Frames& frames, size_t count, float* logits, size_t threads) const {
    Require(classes_ > 0, "the network is not finished");
    if (count == 0) return;
    // To wake another thread for a single frame takes as long as some frames do.
    if (threads > 1 && count > 1) {
        Finish(*Start(frames, count, logits, threads));
    } else {
        Work(frames, count, logits, 1)();
    }
}

void Network::Codes(const Frames& frames, size_t count, size_t number, uint8_t* codes) const {
    const Tensor& tensor = tensors_.at(number);
    const size_t made = tensor.channels * tensor.length;
    const size_t last = std::min(number, linear_from_);
    Scratch scratch(*this, last);
    for (size_t n = 0; n < count; ++n) {
        RunFrame(frames.Behind(n), 0, last, scratch);
        for (size_t linear = linear_from_ + 1; linear <= number; ++linear) RunLinear(linear, scratch);
        for (size_t f = 0; f < made; ++f) codes[n * made + f] = scratch.columns[f * kBlock];
    }
}

std::vector<double> Network::Profile(const Frames& frames, size_t count) const {
    Require(classes_ > 0, "the network is not finished");
    std::vector<double> seconds(tensors_.size() + 1);
    std::vector<float> logits(kBlock * classes_);
    Scratch scratch(*this, linear_from_);
    const auto timed = [&seconds](size_t number, const auto& work) {
        const auto begin = std::chrono::steady_clock::now();
        work();
        seconds[number] += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    };
    for (size_t begin = 0; begin < count; begin += kBlock) {
        const size_t each = std::min(kBlock, count - begin);
        for (size_t n = 0; n < each; ++n) {
            for (size_t number = 0; number <= linear_from_; ++number) {
                timed(number, [&] { MakeTensor(frames.Behind(begin + n), number, n, linear_from_, scratch); });
            }
        }
        for (size_t number = linear_from_ + 1; number <= layers_.size(); ++number) {
            timed(number, [&] { RunLinear(number, scratch); });
        }
        timed(layers_.size() + 1, [&] { RunLogits(each, logits.data(), scratch); });
    }
    return seconds;
}

}  // namespace amc
