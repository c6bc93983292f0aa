// SPDX-License-Identifier: GPL-3.0-or-later
#include "network.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>

namespace amc {
namespace {

// Linear layers take so many frames side by side, as a convolution takes the samples of one.
constexpr size_t kBlock = 32;
// Convolutions take so many frames one behind the other where a row of one frame is too short to be worth its beginning.
constexpr size_t kSideBySide = kBlock;
constexpr size_t kLongRow = 256;
// About so many codes of every output are made before the next ones, or sums where a pool takes more than two, so that the
// codes which they read stay in the first cache.
constexpr size_t kTile = 256;
// Codes of frames that lie one behind the other, and codes of the first tensor for one of the last.
constexpr size_t kLargestSideBySide = size_t{1} << 22, kLargestStep = 4096;
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

// Whether the layer's products can be added four at a time.
bool FitsQuads(const Convolution& layer, size_t inputs) {
    // A quad that is not full must be the last one of a place.
    if ((inputs % 4 != 0 && layer.groups > 1) || layer.pool > 2) return false;
    const auto fits = [](int16_t weight) { return weight == static_cast<int8_t>(weight); };
    return std::all_of(layer.weights.begin(), layer.weights.end(), fits);
}

// As many sums as fit the tile in whole pools, one at least.
size_t TileOf(size_t pool) { return std::max(kTile / pool, size_t{1}) * pool; }

// Tiles of a row that are all as long: a short one at its end would have all outputs begin anew for it.
size_t EvenTile(size_t length) {
    const size_t tiles = std::max((length + kTile / 2) / kTile, size_t{1});
    return RoundUp((length + tiles - 1) / tiles, kCacheLine);
}

size_t UnpooledPitch(size_t pool) { return RoundUp(TileOf(pool) + kRowOverrun, kCacheLine); }

}  // namespace

// Working memory of one thread.
struct Network::Scratch {
    explicit Scratch(const Network& network) : tensors(network.empty_) {
        if (network.stripes_) stripes = network.stripes_->MakeRoom();
        size_t longest = 0, features = 1, most_phases = 0, most_unpooled = 0;
        for (size_t n = 0; n < network.pitches_.size(); ++n) longest = std::max(longest, network.Slots(n) * network.pitches_[n]);
        for (auto& row : four) row.resize(longest + kSlack);
        halves.resize(2 * longest + kSlack + 64 * (kRowOverrun + kCacheLine));
        for (const Rows& rows : network.rows_) {
            const size_t places = network.Slots(rows.tensor) * network.pitches_[rows.tensor] / rows.phases + 1;
            most_phases = std::max(most_phases, rows.phases * (places + kRowOverrun + kCacheLine));
        }
        for (auto& row : phases) row.resize(most_phases + kSlack);
        for (size_t n = 0; n < network.tensors_.size(); ++n) {
            features = std::max(features, network.tensors_[n].channels * network.tensors_[n].length);
        }
        for (const auto& layer : network.layers_) {
            if (layer.given.pool <= 2) continue;
            most_unpooled = std::max(most_unpooled, layer.given.outputs * UnpooledPitch(layer.given.pool));
        }
        unpooled.resize(most_unpooled + kSlack);
        sums.resize(kBlock + kSlack);
        for (auto* side : {&columns, &next_columns}) side->resize(features * kBlock + kSlack);
    }

    std::vector<CodeRoom> tensors;  // as rows_ says
    Stripes::Room stripes;
    std::vector<int32_t> sums;
    CodeRoom unpooled;   // rows of a tile before a pool
    CodeRoom four[4];    // rows on their way from one form to another
    CodeRoom phases[4];  // and their phases, one behind the other
    CodeRoom halves;     // and half a row, twice, and so on
    CodeRoom columns;  // features x kBlock frames, before the linear layer at work
    CodeRoom next_columns;
};

std::unique_ptr<Network::Scratch> Network::Borrow() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (idle_.empty()) return std::make_unique<Scratch>(*this);
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
    CheckTensor(tensors_[0]);
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
    made.sums = sums / layer.pool * layer.pool;
    const QuadKernel kernel = QuadKernelInUse();
    // Measured: sums of 16 bits are faster row by row, those of 32 bits are not.
    made.makes_quads = kernel && made.wide && !made.linear && FitsQuads(layer, inputs);
    if (made.makes_quads) {
        made.quad_kernel = kernel;
        made.quads.resize(layer.outputs);
    } else {
        made.rows.resize(layer.outputs);
    }
    for (size_t o = 0; o < layer.outputs; ++o) {
        const int32_t* begin = &layer.thresholds[o * levels];
        const Reach reached(&layer.weights[o * each], each, input.largest);
        const auto least = static_cast<int32_t>(reached.least), most = static_cast<int32_t>(reached.most);
        if (made.makes_quads) {
            QuadOutput& output = made.quads[o];
            output.limits = Limits<int32_t>(begin, levels);
            output.rounding = FindWideRounding(output.limits, least, most);
            output.limits.push_back(std::numeric_limits<int32_t>::max());
        } else if (made.wide) {
            made.rows[o].limits32 = Limits<int32_t>(begin, levels);
        } else {
            made.rows[o].limits16 = Limits<int16_t>(begin, levels);
            made.rows[o].rounding = FindRounding(made.rows[o].limits16, least, most);
        }
    }
    made.given = layer;
    made.given.stride = stride;
    if (!made.linear) linear_from_ = layers_.size() + 1;
    layers_.push_back(std::move(made));
    tensors_.push_back(output);
}

// Of a convolution whose sums are those of whole rows. To lay their codes into columns takes longer than to add them.
void Network::AddSumOfRows(const Convolution& layer, const Tensor& output, bool wide) {
    const size_t length = tensors_[layer.source].length;
    const auto levels = static_cast<size_t>(layer.largest);
    Layer made;
    made.given = layer;
    made.wide = wide;
    made.sums = 1;
    for (size_t o = 0; o < layer.outputs; ++o) {
        SumOfRow& sum = made.row_sums.emplace_back();
        sum.weight = layer.weights[o * length];
        const int32_t farthest = sum.weight * static_cast<int32_t>(length) * tensors_[layer.source].largest;
        sum.limits = Limits<int32_t>(&layer.thresholds[o * levels], levels);
        sum.rounding = FindWideRounding(sum.limits, std::min(farthest, 0), std::max(farthest, 0));
        sum.limits.push_back(std::numeric_limits<int32_t>::max());
    }
    linear_from_ = layers_.size() + 1;
    layers_.push_back(std::move(made));
    tensors_.push_back(output);
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
    made.given.source = sum.first;
    made.second = sum.second;
    const auto is_in_quads = [this](size_t number) { return number > 0 && layers_[number - 1].makes_quads; };
    made.makes_quads = is_in_quads(sum.first) || is_in_quads(sum.second);
    linear_from_ = layers_.size() + 1;
    layers_.push_back(std::move(made));
    tensors_.push_back(output);
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
            const auto place = static_cast<int32_t>(f * kBlock);
            if (weight != 0) taps.push_back({{place, place}, weight});
        }
    }
    logits_ = logits;
    LayOut();
    classes_ = classes;
}

// Pitches with which a convolution or sum of tensors from "first" on is one of whole rows, frames, gaps and all: those of
// what it makes then lie as far apart as those that it reads, or where it leaves out codes, in proportion. Whether there
// are any that are worth it.
bool Network::FindPitches(size_t first) {
    // Between two frames the one's room behind is the other's before.
    const auto needed_by = [this](size_t n) { return tensors_[n].length + std::max(margins_[n].before, margins_[n].behind); };
    const size_t last = linear_from_;
    // Tensors whose pitches hang together have the same "root", of which "steps" codes are one code of theirs.
    std::vector<size_t> root(last + 1), steps(last + 1, 1), common(last + 1, 1), units(last + 1, 1);
    for (size_t n = first; n <= last; ++n) {
        root[n] = n;
        if (n == first) continue;
        const Layer& layer = layers_[n - 1];
        const size_t source = layer.given.source;
        if (source < first) return false;
        if (layer.addition) {
            const size_t second = layer.second;
            if (second < first || root[source] != root[second] || steps[source] != steps[second]) return false;
            root[n] = root[source];
            steps[n] = steps[source];
        } else if (layer.IsConvolution()) {
            if (layer.sums > kLongRow || layer.given.stride > kLargestStep || layer.given.pool > kLargestStep) return false;
            root[n] = root[source];
            steps[n] = steps[source] * layer.given.stride * layer.given.pool;
        }
        common[root[n]] = std::lcm(common[root[n]], steps[n]);
        if (common[root[n]] > kLargestStep) return false;
    }
    // A unit is as many codes of each tensor as make whole numbers of codes of all that hang together with it.
    const auto codes_a_unit = [&](size_t n) { return common[root[n]] / steps[n]; };
    for (size_t n = first; n <= last; ++n) {
        const size_t each = codes_a_unit(n);
        units[root[n]] = std::max(units[root[n]], (needed_by(n) + each - 1) / each);
    }
    for (size_t n = 0; n <= last; ++n) {
        const size_t needed = needed_by(n);
        pitches_[n] = n < first ? needed : units[root[n]] * codes_a_unit(n);
        if (n >= first && first < last &&
            (pitches_[n] > needed + needed / 4 || tensors_[n].channels > kLargestSideBySide / kSideBySide / pitches_[n])) {
            return false;
        }
    }
    return true;
}

// Where in rows_ a tensor lies like that, from now on.
size_t Network::Place(size_t tensor, size_t channels, size_t phases) {
    for (size_t n = 0; n < rows_.size(); ++n) {
        if (rows_[n].tensor == tensor && rows_[n].channels == channels && rows_[n].phases == phases) return n;
    }
    const size_t aligned = kCacheLine / channels;
    const size_t each = RoundUp(tensors_[tensor].channels, channels) / channels * phases;
    const size_t margin = RoundUp(margins_[tensor].before, aligned);
    // An odd number of cache lines, so that the same places of all rows do not compete for the same few sets of the cache.
    const size_t needed = margin + Slots(tensor) * pitches_[tensor] / phases + 1 + kRowOverrun;
    const size_t pitch = (needed + aligned) / (2 * aligned) * (2 * aligned) + aligned;
    Require(each <= 4 * kLargestSize / channels / pitch, "the layer is larger than the engine takes");
    rows_.push_back({tensor, channels, phases, margin, pitch});
    empty_.emplace_back(each * pitch * channels + kSlack, static_cast<uint8_t>(tensors_[tensor].zero));
    return rows_.size() - 1;
}

// In how many phases a tensor is made: in two where all who read it take it so, and the kernels write it.
size_t Network::HomePhases(size_t tensor) const {
    if (tensor == 0 || tensor == linear_from_) return 1;
    const Layer& maker = layers_[tensor - 1];
    if (!maker.IsConvolution() || maker.quad_kernel || maker.given.pool > 2) return 1;
    for (const Layer& layer : layers_) {
        if (layer.given.source != tensor && !(layer.addition && layer.second == tensor)) continue;
        if (!layer.IsConvolution() || layer.Step() != 2) return 1;
    }
    return 2;
}

// Says how all tensors lie in memory, and where the layers' taps find them.
void Network::LayOut() {
    margins_ = FindMargins(layers_, linear_from_);
    pitches_.assign(linear_from_ + 1, 0);
    for (side_by_side_from_ = 0; !FindPitches(side_by_side_from_); ++side_by_side_from_) {
    }
    for (size_t n = 0; n <= linear_from_; ++n) {
        const Rows& home = rows_[Place(n, n > 0 && layers_[n - 1].makes_quads ? 4 : 1, HomePhases(n))];
        auto& cleared = cleared_.emplace_back();
        for (size_t c = 0; c < home.channels; ++c) {
            for (size_t i = 0; i < margins_[n].behind; ++i) cleared.push_back(home.At(tensors_[n].length + i) + c);
            for (size_t i = 1; i <= margins_[n].before; ++i) cleared.push_back(home.At(pitches_[n] - i) + c);
        }
    }
    for (size_t number = 1; number <= layers_.size(); ++number) {
        Layer& layer = layers_[number - 1];
        if (layer.addition) {
            const size_t channels = layer.makes_quads ? 4 : 1;
            layer.sources = {Place(layer.given.source, channels, 1), Place(layer.second, channels, 1)};
            continue;
        }
        if (!layer.linear) {
            layer.sources = {Place(layer.given.source, layer.quad_kernel ? 4 : 1, layer.IsConvolution() ? layer.Step() : 1)};
        }
        if (layer.row_sums.empty()) AddTaps(layer);
        if (!layer.rows.empty() && !layer.wide) AddCode(layer, layer.linear ? 1 : rows_[number].phases);
    }
    stripes_ = Stripes::Of(tensors_, layers_, linear_from_);
    for (Layer& layer : layers_) {
        layer.given.weights.clear();
        layer.given.thresholds.clear();
    }
}

// Of a convolution or a linear layer.
void Network::AddTaps(Layer& layer) const {
    const Convolution& given = layer.given;
    const Tensor& input = tensors_[given.source];
    const size_t inputs = input.channels / given.groups, together = layer.quad_kernel ? 4 : 1;
    const auto padding = static_cast<int64_t>(given.padding_left), step = static_cast<int64_t>(layer.Step());
    const auto offset = [&](size_t channel, size_t k) {
        if (layer.linear) return static_cast<int64_t>((channel * input.length + k) * kBlock);
        const Rows& rows = rows_[layer.sources[0]];
        const int64_t at = static_cast<int64_t>(k) - padding, phase = (at % step + step) % step;
        const size_t begin = rows.Begin(channel, static_cast<size_t>(phase)) - rows.margin * together;
        return static_cast<int64_t>(begin) + (at - phase) / step * static_cast<int64_t>(together);
    };
    const auto checked = [&](size_t channel, size_t k) {
        const int64_t place = offset(channel, k);
        Require(place <= std::numeric_limits<int32_t>::max(), "the layer is larger than the engine takes");
        return static_cast<int32_t>(place);
    };
    for (size_t o = 0; o < given.outputs; ++o) {
        if (!layer.quad_kernel) {
            layer.rows[o].taps = TapsOf(given, inputs, o, checked);
            if (!layer.wide) layer.rows[o].pairs = InPairs(layer.rows[o].taps);
            continue;
        }
        const size_t first = o / (given.outputs / given.groups) * inputs;
        const int16_t* weights = &given.weights[o * inputs * given.kernel];
        for (size_t i = 0; i < inputs; i += 4) {
            for (size_t k = 0; k < given.kernel; ++k) {
                QuadTap tap{{checked(first + i, k), checked(first + i, k + given.stride)}, {}};
                for (size_t c = 0; c < std::min<size_t>(4, inputs - i); ++c) {
                    tap.weights[c] = static_cast<int8_t>(weights[(i + c) * given.kernel + k]);
                }
                const bool any = std::any_of(tap.weights, tap.weights + 4, [](int8_t weight) { return weight != 0; });
                if (any) layer.quads[o].taps.push_back(tap);
            }
        }
    }
}

// Of a layer with sums of 16 bits, for rows of what it makes in one phase or two.
void Network::AddCode(Layer& layer, size_t phases) const {
    const Tensor& input = tensors_[layer.given.source];
    const bool splits = layer.given.pool <= 2 && phases == 2;
    layer.specialised =
        SpecialisedRows::Of(layer.rows, layer.Reached(input), input.largest, {layer.PoolsSums() ? size_t{2} : 1, splits});
}

namespace {

// phases[step * p + t] = codes[count * t + p], for each of "count" phases. "halves" is room for the row twice, the second
// half of which is left for what calls it of half a row.
void SplitPhases(const uint8_t* codes, size_t length, size_t count, uint8_t* phases, size_t step, uint8_t* halves) {
    if (count == 2) {
        SplitRow(codes, (length + 1) / 2, phases, phases + step);
        return;
    }
    if (count % 2 == 0) {
        const size_t half = RoundUp((length + 1) / 2 + kRowOverrun, kCacheLine);
        SplitRow(codes, (length + 1) / 2, halves, halves + half);
        for (size_t odd = 0; odd < 2; ++odd) {
            SplitPhases(halves + odd * half, (length + 1) / 2, count / 2, phases + odd * step, 2 * step, halves + 2 * half);
        }
        return;
    }
    for (size_t phase = 0; phase < std::min(count, length); ++phase) {
        uint8_t* target = phases + step * phase;
        for (size_t t = phase; t < length; t += count) *target++ = codes[t];
    }
}

}  // namespace

size_t Network::Slots(size_t tensor) const { return tensor < side_by_side_from_ ? 1 : kSideBySide; }

// Where the frame of that slot begins in a row, counted from the margin on.
size_t Network::FirstPlace(const Rows& rows, size_t slot) const {
    return Slots(rows.tensor) == 1 ? 0 : slot * pitches_[rows.tensor] / rows.phases;
}

size_t Network::Specialised(size_t number) const {
    const auto& rows = layers_.at(number - 1).rows;
    return static_cast<size_t>(std::count_if(rows.begin(), rows.end(), [](const auto& output) { return output.specialised; }));
}

size_t Network::Rounded(size_t number) const {
    const Layer& layer = layers_.at(number - 1);
    if (layer.addition) return layer.addition->rounding ? tensors_[number].channels : 0;
    const auto rounded = [](const auto& outputs) {
        return std::count_if(outputs.begin(), outputs.end(), [](const auto& output) { return output.rounding.has_value(); });
    };
    return static_cast<size_t>(rounded(layer.rows) + rounded(layer.quads) + rounded(layer.row_sums));
}

// One frame, each channel to the codes that row(channel) says.
template <class Row>
void Network::Quantise(const Frames& frame, const Row& row) const {
    const size_t length = tensors_[0].length;
    if (frame.divisors) {
        QuantisePairs(frame.values, length, *frame.divisors, scale_, low_, high_, row(0), row(1));
        return;
    }
    for (size_t channel = 0; channel < tensors_[0].channels; ++channel) {
        QuantiseRow(frame.values + channel * length, length, scale_, low_, high_, row(channel));
    }
}

void Network::QuantiseInput(const Frames& frames, size_t slot, size_t count, Scratch& scratch) const {
    const Rows& home = rows_[0];
    for (size_t n = 0; n < count; ++n) {
        uint8_t* frame = scratch.tensors[0].data() + FirstPlace(home, slot + n);
        Quantise(frames.Behind(n), [&](size_t channel) { return frame + home.Begin(channel); });
    }
}

// Of "made" codes of each output in "unpooled" the largest one of every pool.
void Network::PoolCodes(const Layer& layer, const Rows& home, size_t place, size_t made, Scratch& scratch) const {
    const size_t pool = layer.given.pool;
    for (size_t o = 0; o < layer.given.outputs; ++o) {
        const uint8_t* codes = scratch.unpooled.data() + o * UnpooledPitch(pool);
        uint8_t* row = scratch.tensors[home.tensor].data() + home.Begin(o) + place;
        for (size_t t = 0; t + pool <= made; t += pool) *row++ = *std::max_element(codes + t, codes + t + pool);
    }
}

// The frames of a convolution as if they were one, what lies between them too.
void Network::Convolve(const Layer& layer, const Rows& home, size_t slot, size_t count, Scratch& scratch) const {
    const Rows& rows = rows_[layer.sources[0]];
    const size_t pool = layer.given.pool, pooled = layer.PoolsSums() ? 2 : 1;
    const size_t length = (count - 1) * pitches_[rows.tensor] / rows.phases + layer.sums / pooled;
    const size_t tile = pool > 2 ? TileOf(pool) : EvenTile(length);
    const uint8_t* codes = scratch.tensors[layer.sources[0]].data() + (rows.margin + FirstPlace(rows, slot)) * rows.channels;
    uint8_t* made = scratch.tensors[home.tensor].data();
    for (size_t t = 0; t < length; t += tile) {
        const size_t some = std::min(tile, length - t);
        if (layer.quad_kernel) {
            for (size_t o = 0; o < layer.quads.size(); o += 4) {
                layer.quad_kernel(codes + 4 * t, &layer.quads[o], std::min<size_t>(4, layer.quads.size() - o), some, pooled,
                                  made + home.Begin(o) + 4 * (FirstPlace(home, slot) + t));
            }
        } else if (pool > 2) {
            layer.MakeRows(codes + t, some, {scratch.unpooled.data(), UnpooledPitch(pool), 0});
            PoolCodes(layer, home, FirstPlace(home, slot) + t / pool, some, scratch);
        } else {
            layer.MakeRows(codes + t, some,
                           {made + home.Begin(0) + FirstPlace(home, slot) + t / home.phases, home.pitch * home.phases,
                            home.phases == 2 ? home.pitch : 0});
        }
    }
}

void Network::AddTensors(const Layer& layer, const Rows& home, size_t slot, size_t count, Scratch& scratch) const {
    const auto row = [&](size_t number, size_t channel) {
        return scratch.tensors[number].data() + rows_[number].Begin(channel) +
               FirstPlace(rows_[number], slot) * rows_[number].channels;
    };
    const size_t length = (count - 1) * pitches_[home.tensor] + tensors_[home.tensor].length;
    for (size_t channel = 0; channel < tensors_[home.tensor].channels; channel += home.channels) {
        AddRows(row(layer.sources[0], channel), row(layer.sources[1], channel), length * home.channels, *layer.addition,
                row(home.tensor, channel));
    }
}

void Network::SumRows(const Layer& layer, const Rows& home, size_t slot, size_t count, Scratch& scratch) const {
    const Rows& rows = rows_[layer.sources[0]];
    for (size_t channel = 0; channel < layer.row_sums.size(); ++channel) {
        const SumOfRow& output = layer.row_sums[channel];
        const uint8_t* codes = scratch.tensors[layer.sources[0]].data() + rows.Begin(channel);
        uint8_t* made = scratch.tensors[home.tensor].data() + home.Begin(channel);
        for (size_t n = slot; n < slot + count; ++n) {
            made[FirstPlace(home, n)] = output.CodeOf(SumOfCodes(codes + FirstPlace(rows, n), tensors_[rows.tensor].length));
        }
    }
}

// Where a layer has written between the frames, but readers look for zero.
void Network::ClearMargins(const Rows& home, size_t slot, size_t count, Scratch& scratch) const {
    const size_t pitch = pitches_[home.tensor] / home.phases * home.channels;
    const auto* const begin = cleared_[home.tensor].data();
    const auto* const end = begin + cleared_[home.tensor].size();
    const auto zero = static_cast<uint8_t>(tensors_[home.tensor].zero);
    for (size_t channel = 0; begin != end && channel < tensors_[home.tensor].channels; channel += home.channels) {
        uint8_t* frame = scratch.tensors[home.tensor].data() + home.Begin(channel) + FirstPlace(home, slot) * home.channels;
        for (size_t n = 0; n < count; ++n, frame += pitch) {
            for (const auto* at = begin; at != end; ++at) frame[*at] = zero;
        }
    }
}

// A tensor as another of its readers takes it.
void Network::Copy(const Rows& home, size_t reader, size_t slot, size_t count, Scratch& scratch) const {
    const Rows& rows = rows_[reader];
    const size_t length = count * pitches_[home.tensor], channels = tensors_[home.tensor].channels;
    const size_t places = (length + rows.phases - 1) / rows.phases, pitch = RoundUp(places + kRowOverrun, kCacheLine);
    uint8_t* tensor = scratch.tensors[reader].data() + FirstPlace(rows, slot) * rows.channels;
    const auto from = [&](size_t channel) {
        return scratch.tensors[home.tensor].data() + home.Begin(channel) + FirstPlace(home, slot) * home.channels;
    };
    for (size_t channel = 0; channel < channels; channel += 4) {
        if (home.channels == 4 && rows.channels == 4 && rows.phases == 2) {
            SplitQuads(from(channel), places, tensor + rows.Begin(channel), tensor + rows.Begin(channel, 1));
            continue;
        }
        const size_t here = std::min<size_t>(4, channels - channel);
        const uint8_t* codes[4];
        uint8_t* separate[4];
        for (size_t c = 0; c < 4; ++c) {
            const bool is_last_step = rows.channels == 1 && rows.phases == 1 && c < here;
            separate[c] = is_last_step ? tensor + rows.Begin(channel + c) : scratch.four[c].data();
            codes[c] = home.channels == 4 ? separate[c] : from(channel + std::min(c, here - 1));
        }
        if (home.channels == 4) SeparateRows(from(channel), length, separate);
        const bool splits = rows.phases > home.phases;
        if (splits) {
            for (size_t c = 0; c < here; ++c) {
                uint8_t* phases = rows.channels == 1 ? tensor + rows.Begin(channel + c) : scratch.phases[c].data();
                SplitPhases(codes[c], length, rows.phases, phases, rows.channels == 1 ? rows.pitch : pitch,
                            scratch.halves.data());
            }
        }
        if (rows.channels == 1) continue;
        for (size_t phase = 0; phase < rows.phases; ++phase) {
            const uint8_t* of_phase[4];
            for (size_t c = 0; c < 4; ++c) {
                const uint8_t* split = scratch.phases[std::min(c, here - 1)].data() + phase * pitch;
                of_phase[c] = splits ? split : codes[c] + phase * home.pitch;
            }
            InterleaveRows(of_phase, places, tensor + rows.Begin(channel, phase));
        }
    }
}

// Tensor "number" of so many frames, the first one of which is in "slot", for all its readers.
void Network::MakeTensor(const Frames& frames, size_t number, size_t slot, size_t count, Scratch& scratch) const {
    const Rows& home = rows_[number];
    const Layer* layer = number > 0 ? &layers_[number - 1] : nullptr;
    if (!layer) {
        QuantiseInput(frames, slot, count, scratch);
    } else if (layer->addition) {
        AddTensors(*layer, home, slot, count, scratch);
    } else if (!layer->row_sums.empty()) {
        SumRows(*layer, home, slot, count, scratch);
    } else {
        Convolve(*layer, home, slot, count, scratch);
    }
    ClearMargins(home, slot, count, scratch);
    for (size_t reader = linear_from_ + 1; reader < rows_.size(); ++reader) {
        if (rows_[reader].tensor == number) Copy(home, reader, slot, count, scratch);
    }
}

// Calls make(first frame, tensor, slot, number of frames) for all tensors up to number "last" of up to kSideBySide
// frames, which are one where "last" has no room for more.
template <class Make>
void Network::ForTensors(size_t count, size_t last, const Make& make) const {
    const size_t alone = std::min(last, side_by_side_from_);
    for (size_t frame = 0; frame < count; ++frame) {
        for (size_t number = 0; number <= alone; ++number) make(frame, number, number < side_by_side_from_ ? 0 : frame, 1);
    }
    for (size_t number = alone + 1; number <= last; ++number) make(0, number, 0, count);
}

// Frames of a tensor become columns of the block, from number "column" on.
void Network::FillColumns(size_t number, size_t count, size_t column, Scratch& scratch) const {
    const Tensor& tensor = tensors_[number];
    // Copied, since compilers think that what is written might be these.
    const Rows home = rows_[number];
    const size_t pitch = pitches_[number], length = tensor.length;
    for (size_t channel = 0; channel < tensor.channels; ++channel) {
        const uint8_t* row = scratch.tensors[number].data() + home.Begin(channel) + channel % home.channels;
        uint8_t* made = scratch.columns.data() + channel * length * kBlock + column;
        for (size_t n = 0; n < count; ++n) {
            for (size_t t = 0; t < length; ++t) made[t * kBlock + n] = row[home.At(n * pitch + t)];
        }
    }
}

// A linear layer, counted from 1, of a block.
void Network::RunLinear(size_t number, Scratch& scratch) const {
    layers_[number - 1].MakeRows(scratch.columns.data(), kBlock, {scratch.next_columns.data(), kBlock, 0});
    std::swap(scratch.columns, scratch.next_columns);
}

void Network::RunLogits(size_t count, float* logits, Scratch& scratch) const {
    for (size_t c = 0; c < classes_; ++c) {
        SumRow(scratch.columns.data(), logit_taps_[c], kBlock, scratch.sums.data());
        for (size_t n = 0; n < count; ++n) {
            // Rounded twice, as the file's own operations are: this file is compiled without contraction.
            const float product = static_cast<float>(scratch.sums[n] + logits_.shift[c]) * logits_.scale[c];
            logits[n * classes_ + c] = product + logits_.offset[c];
        }
    }
}

// The columns of tensor "last" of up to kBlock frames. Whatever makes a tensor goes through timed(its number, work).
template <class Timed>
void Network::FillBlock(const Frames& frames, size_t count, size_t last, Scratch& scratch, const Timed& timed) const {
    for (size_t begin = 0; begin < count;) {
        const Frames rest = frames.Behind(begin);
        size_t each = FramesInStripes();
        if (each > 0 && each <= count - begin) {
            timed(0, [&] {
                for (size_t n = 0; n < each; ++n) {
                    Quantise(rest.Behind(n), [&](size_t channel) { return stripes_->InputRow(n, channel, scratch.stripes); });
                }
            });
            for (size_t number = 0; number <= last; ++number) {
                timed(number, [&] { stripes_->MakeTensor(number, scratch.stripes); });
            }
            timed(last, [&] { stripes_->FillColumns(last, scratch.stripes, kBlock, scratch.columns.data() + begin); });
        } else {
            each = std::min(Slots(last), count - begin);
            ForTensors(each, last, [&](size_t frame, size_t number, size_t slot, size_t some) {
                timed(number, [&] { MakeTensor(rest.Behind(frame), number, slot, some, scratch); });
            });
            timed(last, [&] { FillColumns(last, each, begin, scratch); });
        }
        begin += each;
    }
}

void Network::RunBlock(const Frames& frames, size_t count, float* logits, Scratch& scratch) const {
    FillBlock(frames, count, linear_from_, scratch, [](size_t, const auto& work) { work(); });
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
    return count == 0 ? pool_.Start(0, 0, [] {}) : pool_.Start(threads, threads, Work(frames, count, logits, threads));
}

void Network::Run(const Frames& frames, size_t count, float* logits, size_t threads) const {
    Require(classes_ > 0, "the network is not finished");
    if (count == 0) return;
    // To wake another thread for a single frame takes as long as some frames do.
    threads = std::min(threads, count);
    if (threads > 1) {
        Finish(*pool_.Start(threads, threads - 1, Work(frames, count, logits, threads)));
    } else {
        Work(frames, count, logits, 1)();
    }
}

void Network::Codes(const Frames& frames, size_t count, size_t number, uint8_t* codes) const {
    Require(classes_ > 0, "the network is not finished");
    const Tensor& tensor = tensors_.at(number);
    const size_t made = tensor.channels * tensor.length;
    const size_t last = std::min(number, linear_from_);
    Scratch scratch(*this);
    for (size_t begin = 0; begin < count; begin += kBlock) {
        const size_t each = std::min(kBlock, count - begin);
        FillBlock(frames.Behind(begin), each, last, scratch, [](size_t, const auto& work) { work(); });
        for (size_t linear = linear_from_ + 1; linear <= number; ++linear) RunLinear(linear, scratch);
        for (size_t n = 0; n < each; ++n) {
            for (size_t f = 0; f < made; ++f) codes[(begin + n) * made + f] = scratch.columns[f * kBlock + n];
        }
    }
}

std::vector<double> Network::Profile(const Frames& frames, size_t count) const {
    Require(classes_ > 0, "the network is not finished");
    std::vector<double> seconds(tensors_.size() + 1);
    std::vector<float> logits(kBlock * classes_);
    Scratch scratch(*this);
    const auto timed = [&seconds](size_t number, const auto& work) {
        const auto begin = std::chrono::steady_clock::now();
        work();
        seconds[number] += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    };
    for (size_t begin = 0; begin < count; begin += kBlock) {
        const size_t each = std::min(kBlock, count - begin);
        FillBlock(frames.Behind(begin), each, linear_from_, scratch, timed);
        for (size_t number = linear_from_ + 1; number <= layers_.size(); ++number) {
            timed(number, [&] { RunLinear(number, scratch); });
        }
        timed(layers_.size() + 1, [&] { RunLogits(each, logits.data(), scratch); });
    }
    return seconds;
}

}  // namespace amc
