// SPDX-License-Identifier: GPL-3.0-or-later
#include "layers.h"

namespace amc {

uint8_t SumOfRow::CodeOf(int32_t sum_of_codes) const {
    const int32_t sum = sum_of_codes * weight;
    if (!rounding) return static_cast<uint8_t>(std::lower_bound(limits.begin(), limits.end(), sum) - limits.begin());
    const auto clipped = static_cast<uint32_t>(std::clamp(sum, rounding->low, rounding->high));
    const uint32_t line = clipped * static_cast<uint32_t>(rounding->factor) + static_cast<uint32_t>(rounding->offset);
    const int32_t code = static_cast<int32_t>(line) >> rounding->shift;
    return static_cast<uint8_t>(rounding->exact ? code : code + (sum > limits[static_cast<size_t>(code)]));
}

std::vector<SumRange> Layer::Reached(const Tensor& input) const {
    const size_t each = input.channels / given.groups * given.kernel;
    std::vector<SumRange> reached;
    for (size_t o = 0; o < given.outputs; ++o) {
        const Reach reach(&given.weights[o * each], each, input.largest);
        reached.push_back({static_cast<int>(reach.least), static_cast<int>(reach.most)});
    }
    return reached;
}

void Layer::MakeRows(const uint8_t* codes, size_t length, const MadeRows& made) const {
    for (size_t part = 0; specialised && part < specialised->Parts(); ++part) specialised->Make(part, codes, length, made);
    if (!specialised || !specialised->IsComplete()) amc::MakeRows(codes, rows, length, PoolsSums() ? 2 : 1, made);
}

std::vector<Margins> FindMargins(const std::vector<Layer>& layers, size_t last) {
    std::vector<Margins> margins(last + 1);
    for (const Layer& layer : layers) {
        if (!layer.IsConvolution()) continue;
        Margins& margin = margins[layer.given.source];
        margin.before = std::max(margin.before, layer.given.padding_left);
        margin.behind = std::max(margin.behind, layer.given.padding_right);
    }
    return margins;
}

}  // namespace amc
