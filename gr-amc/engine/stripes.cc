// SPDX-License-Identifier: GPL-3.0-or-later
#include "stripes.h"

#include <algorithm>
#include <cstring>

namespace amc {
namespace {

// Bytes that a tile reads: larger ones leave the first cache, smaller ones begin each output more often.
constexpr size_t kTileSize = size_t{48} << 10;
// Larger ones fit no second cache.
constexpr size_t kLargestTensor = size_t{1} << 22;
// Sums of so many codes have 16 bits.
constexpr size_t kMostSummed = 257;

size_t RoundUp(size_t value, size_t step) { return (value + step - 1) / step * step; }

// How many of "stripes" a layer makes at a time, where each that it reads has so many bytes: tiles that are all as long.
size_t TileOf(const Layer& layer, size_t stripes, size_t size) {
    const size_t beside = layer.given.kernel - std::min(layer.given.kernel, layer.given.stride);
    const size_t read = std::max(kTileSize / size, beside + layer.Step()), most = (read - beside) / layer.Step();
    const size_t tiles = (stripes + most - 1) / most;
    return (stripes + tiles - 1) / tiles;
}

}  // namespace

std::unique_ptr<const Stripes> Stripes::Of(const std::vector<Tensor>& tensors, const std::vector<Layer>& layers, size_t count) {
    std::unique_ptr<Stripes> made(new Stripes(tensors, layers));
    if (made->frames_ == 0 || count == 0 || !made->FindForms(count)) return nullptr;
    made->makers_.resize(count);
    for (size_t number = 1; number <= count; ++number) {
        const Layer& layer = layers[number - 1];
        if (layer.IsConvolution() && !made->AddMaker(layer, number)) return nullptr;
    }
    return made;
}

// Whether all tensors up to number "count" have one.
bool Stripes::FindForms(size_t count) {
    const auto margins = FindMargins(layers_, count);
    for (size_t n = 0; n <= count; ++n) {
        const Tensor& tensor = tensors_[n];
        const Layer* layer = n > 0 ? &layers_[n - 1] : nullptr;
        const bool sums_rows = layer && !layer->row_sums.empty();
        // Such a tensor has one code of each frame, and nothing here reads it.
        if (sums_rows && (n < count || forms_[layer->given.source].stripes > kMostSummed)) return false;
        if (!sums_rows && tensor.length % kSegments != 0) return false;
        if (layer && layer->IsConvolution() && tensors_[layer->given.source].length != tensor.length * layer->Step()) return false;
        // An odd number of vectors, so that the same channel of all stripes does not compete for the same sets of the cache.
        const Form form{sums_rows ? 1 : tensor.length / kSegments, margins[n], tensor.channels | 1};
        if (std::max(form.margins.before, form.margins.behind) > form.stripes) return false;
        if (form.Vectors() > kLargestTensor / vector_size_) return false;
        forms_.push_back(form);
    }
    return true;
}

bool Stripes::AddMaker(const Layer& layer, size_t number) {
    const Convolution& given = layer.given;
    const Tensor& input = tensors_[given.source];
    const Form &from = forms_[given.source], &to = forms_[number];
    if (!layer.specialised || given.pool > 2) return false;
    const auto offset = [&](size_t channel, size_t k) {
        const auto stripe = static_cast<int32_t>(k) - static_cast<int32_t>(given.padding_left);
        return (stripe * static_cast<int32_t>(from.pitch) + static_cast<int32_t>(channel)) * static_cast<int32_t>(vector_size_);
    };
    Maker& maker = makers_[number - 1];
    maker.rows = layer.rows;
    for (size_t o = 0; o < given.outputs; ++o) {
        maker.rows[o].specialised = false;
        maker.rows[o].taps = TapsOf(given, input.channels / given.groups, o, offset);
        maker.rows[o].pairs = InPairs(maker.rows[o].taps);
    }
    const size_t pool = layer.PoolsSums() ? 2 : 1;
    maker.specialised = SpecialisedRows::Of(maker.rows, layer.Reached(input), input.largest,
                                            {pool, false, layer.Step() * from.pitch, to.pitch});
    const auto left = std::count_if(maker.rows.begin(), maker.rows.end(), [](const auto& row) { return !row.specialised; });
    // What MakeRows makes it makes stripe by stripe, which takes longer than whole rows.
    if (!maker.specialised || 4 * static_cast<size_t>(left) > given.outputs) return false;
    maker.tile = TileOf(layer, to.stripes, from.pitch * vector_size_);
    return true;
}

// The number of the last tensor that is made of each, or its own.
std::vector<size_t> Stripes::LastReaders() const {
    std::vector<size_t> last(forms_.size());
    for (size_t n = 0; n < forms_.size(); ++n) {
        last[n] = n;
        if (n == 0) continue;
        last[layers_[n - 1].given.source] = n;
        if (layers_[n - 1].addition) last[layers_[n - 1].second] = n;
    }
    return last;
}

Stripes::Room Stripes::MakeRoom() const {
    Room room;
    const auto last_readers = LastReaders();
    std::vector<size_t> memory, owner;  // of each tensor, and the newest tensor of each memory
    for (size_t n = 0; n < forms_.size(); ++n) {
        const auto found = std::find_if(owner.begin(), owner.end(), [&](size_t other) { return last_readers[other] < n; });
        memory.push_back(static_cast<size_t>(found - owner.begin()));
        if (found == owner.end()) {
            owner.push_back(n);
            room.memories.emplace_back();
        }
        owner[memory[n]] = n;
        CodeRoom& codes = room.memories[memory[n]];
        codes.resize(std::max(codes.size(), forms_[n].Vectors() * vector_size_ + kSlack));
    }
    for (const size_t n : memory) room.tensors.push_back(room.memories[n].data());
    room.rows.resize(frames_ * tensors_[0].channels * InputPitch());
    room.sums.resize(vector_size_);
    return room;
}

size_t Stripes::InputPitch() const { return RoundUp(tensors_[0].length + kRowOverrun, kCacheLine); }

uint8_t* Stripes::InputRow(size_t frame, size_t channel, Room& room) const {
    return room.rows.data() + (frame * tensors_[0].channels + channel) * InputPitch();
}

void Stripes::MakeTensor(size_t number, Room& room) const {
    if (number == 0) {
        TakeInput(room);
    } else if (layers_[number - 1].addition) {
        AddTensors(number, room);
    } else if (!layers_[number - 1].row_sums.empty()) {
        SumRows(number, room);
    } else {
        Convolve(number, room);
    }
    FillMargins(number, room);
}

// Of the channels of a stripe the first one.
uint8_t* Stripes::Stripe(size_t number, size_t stripe, const Room& room) const {
    return room.tensors[number] + (forms_[number].margins.before + stripe) * forms_[number].pitch * vector_size_;
}

void Stripes::TakeInput(Room& room) const {
    const size_t channels = tensors_[0].channels;
    for (size_t channel = 0; channel < channels; ++channel) {
        uint8_t* made = Stripe(0, 0, room) + channel * vector_size_;
        LayInStripes(InputRow(0, channel, room), channels * InputPitch(), frames_, kSegments, forms_[0].stripes, made,
                     forms_[0].pitch * vector_size_);
    }
}

void Stripes::Convolve(size_t number, Room& room) const {
    const Layer& layer = layers_[number - 1];
    const Maker& maker = makers_[number - 1];
    const size_t source = layer.given.source, pool = layer.PoolsSums() ? 2 : 1;
    const auto codes = [&](size_t s) { return Stripe(source, s * layer.Step(), room); };
    const auto made = [&](size_t s) { return Stripe(number, s, room); };
    const size_t stripes = forms_[number].stripes;
    for (size_t part = 0; part < maker.specialised->Parts(); ++part) {
        for (size_t s = 0; s < stripes; s += maker.tile) {
            const size_t length = std::min(maker.tile, stripes - s) * vector_size_;
            maker.specialised->Make(part, codes(s), length, {made(s), vector_size_, 0});
        }
    }
    if (maker.specialised->IsComplete()) return;
    for (size_t s = 0; s < stripes; ++s) MakeRows(codes(s), maker.rows, vector_size_, pool, {made(s), vector_size_, 0});
}

void Stripes::AddTensors(size_t number, Room& room) const {
    const Layer& layer = layers_[number - 1];
    const size_t length = tensors_[number].channels * vector_size_;
    for (size_t s = 0; s < forms_[number].stripes; ++s) {
        AddRows(Stripe(layer.given.source, s, room), Stripe(layer.second, s, room), length, *layer.addition,
                Stripe(number, s, room));
    }
}

void Stripes::SumRows(size_t number, Room& room) const {
    const Layer& layer = layers_[number - 1];
    const size_t source = layer.given.source;
    const Form& from = forms_[source];
    for (size_t channel = 0; channel < layer.row_sums.size(); ++channel) {
        const uint8_t* codes = Stripe(source, 0, room) + channel * vector_size_;
        SumStripes(codes, from.stripes, from.pitch * vector_size_, vector_size_, room.sums.data());
        uint8_t* made = Stripe(number, 0, room) + channel * vector_size_;
        for (size_t frame = 0; frame < frames_; ++frame) {
            int32_t sum = 0;
            for (size_t segment = 0; segment < kSegments; ++segment) sum += room.sums[segment * frames_ + frame];
            made[frame] = layer.row_sums[channel].CodeOf(sum);
        }
    }
}

// What lies beside a segment is in the one before or behind, and beside a frame zero.
void Stripes::FillMargins(size_t number, Room& room) const {
    const Form& form = forms_[number];
    const size_t size = form.pitch * vector_size_, rest = size - frames_;
    const auto clear = [&](uint8_t* codes) {
        for (size_t at = 0; at < size; at += vector_size_) std::memset(codes + at, tensors_[number].zero, frames_);
    };
    for (size_t n = 0; n < form.margins.before; ++n) {
        uint8_t* made = room.tensors[number] + n * size;
        std::memcpy(made + frames_, Stripe(number, form.stripes - form.margins.before + n, room), rest);
        clear(made);
    }
    for (size_t n = 0; n < form.margins.behind; ++n) {
        uint8_t* made = Stripe(number, form.stripes + n, room);
        std::memcpy(made, Stripe(number, n, room) + frames_, rest);
        clear(made + vector_size_ - frames_);
    }
}

void Stripes::FillColumns(size_t number, const Room& room, size_t pitch, uint8_t* columns) const {
    const Form& form = forms_[number];
    const size_t length = tensors_[number].length;
    for (size_t channel = 0; channel < tensors_[number].channels; ++channel) {
        for (size_t t = 0; t < length; ++t, columns += pitch) {
            const uint8_t* stripe = Stripe(number, t % form.stripes, room) + channel * vector_size_;
            std::memcpy(columns, stripe + t / form.stripes * frames_, frames_);
        }
    }
}

}  // namespace amc
