// SPDX-License-Identifier: GPL-3.0-or-later
//
// Random descriptions of networks, most of them sound and some absurd, through the engine built with sanitizers: each is
// refused with std::invalid_argument, or runs on every instruction set with the same logits.
//
//   fuzz_network SECONDS SEED
#include <algorithm>
#include <chrono>
#include <complex>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <random>
#include <stdexcept>

#include "centre.h"
#include "network.h"
#include "phase.h"
#include "timing.h"

namespace {

std::mt19937_64 generator;

int Draw(int low, int high) { return std::uniform_int_distribution<int>(low, high)(generator); }

bool Rarely() { return Draw(0, 60) == 0; }

// A size that is now and then one that nobody means.
size_t Size(int low, int high) {
    static const size_t absurd[] = {0, 1, size_t{1} << 31, size_t{1} << 62, std::numeric_limits<size_t>::max()};
    return Rarely() ? absurd[Draw(0, 4)] : static_cast<size_t>(Draw(low, high));
}

std::vector<int16_t> Weights(size_t count) {
    const int heaviest = Rarely() ? 32767 : Draw(1, 127);
    std::vector<int16_t> weights(count);
    for (auto& weight : weights) weight = static_cast<int16_t>(Draw(0, 3) ? 0 : Draw(-heaviest, heaviest));
    return weights;
}

// The number of a tensor, most often of the newest one, and now and then of none.
size_t Source(size_t newest) {
    if (Rarely()) return Size(static_cast<int>(newest) + 1, 20);
    return Draw(0, 2) ? newest : static_cast<size_t>(Draw(0, static_cast<int>(newest)));
}

amc::Convolution Layer(const amc::Network& network, size_t newest) {
    amc::Convolution layer;
    layer.source = Source(newest);
    const amc::Tensor& input = network.At(std::min(layer.source, newest));
    const bool linear = Draw(0, 7) == 0;
    layer.groups = input.channels % 2 == 0 && Draw(0, 1) ? 2 : 1;
    layer.outputs = layer.groups * static_cast<size_t>(Draw(1, 5));
    layer.kernel = linear ? input.length : Size(1, 7);
    layer.stride = linear ? 1 : Size(1, 3);
    layer.padding_left = linear ? 0 : Size(0, 2);
    layer.padding_right = linear ? 0 : Size(0, 2);
    layer.pool = linear ? 1 : Size(1, 3);
    if (!linear && Draw(0, 1)) {  // of the shape of what it reads, so that the two can be added
        layer.groups = layer.padding_left = layer.padding_right = layer.stride = layer.pool = 1;
        layer.outputs = input.channels;
        layer.kernel = 3;
    }
    layer.largest = Rarely() ? Draw(-1, 300) : Draw(1, 20);
    layer.zero = Rarely() ? Draw(-1, 300) : 0;
    const size_t inputs = input.channels / layer.groups;
    const bool small = layer.kernel < 4096 && layer.largest > 0;
    layer.weights = Weights(small && !Rarely() ? layer.outputs * inputs * layer.kernel : static_cast<size_t>(Draw(0, 50)));
    for (size_t o = 0; small && o < layer.outputs; ++o) {
        int threshold = Draw(-3000, 0);
        for (int k = 0; k < layer.largest; ++k) {
            layer.thresholds.push_back(Rarely() ? std::numeric_limits<int32_t>::max() : threshold);
            threshold += Draw(0, 300);
        }
    }
    return layer;
}

// One that stripes may take: as long as what it reads, or a half or a quarter as long, with steps as even as code of its own
// needs them.
amc::Convolution EvenLayer(const amc::Network& network, size_t newest) {
    amc::Convolution layer;
    layer.source = Draw(0, 2) ? newest : static_cast<size_t>(Draw(0, static_cast<int>(newest)));
    const amc::Tensor& input = network.At(layer.source);
    const bool shorter = input.length % 32 == 0;
    layer.groups = input.channels % 2 == 0 && Draw(0, 1) ? 2 : 1;
    layer.outputs = layer.groups * static_cast<size_t>(Draw(1, 5));
    layer.stride = shorter ? static_cast<size_t>(Draw(1, 2)) : 1;
    layer.pool = shorter ? static_cast<size_t>(Draw(1, 2)) : 1;
    const size_t beside = std::min<size_t>(static_cast<size_t>(Draw(0, 4)), input.length - layer.stride);
    layer.kernel = layer.stride + beside;
    layer.padding_left = static_cast<size_t>(Draw(0, static_cast<int>(beside)));
    layer.padding_right = beside - layer.padding_left;
    layer.largest = Draw(0, 1) ? 15 : 3;
    layer.zero = Draw(0, layer.largest);
    layer.weights = Weights(layer.outputs * input.channels / layer.groups * layer.kernel);
    for (auto& weight : layer.weights) weight = static_cast<int16_t>(weight % 8);
    for (size_t o = 0; o < layer.outputs; ++o) {
        const int first = Draw(-100, 50), step = Draw(1, 40);
        for (int k = 0; k < layer.largest; ++k) layer.thresholds.push_back(first + k * step);
    }
    return layer;
}

bool SameShape(const amc::Tensor& one, const amc::Tensor& other) {
    return one.channels == other.channels && one.length == other.length;
}

amc::Sum Sum(const amc::Network& network, size_t newest) {
    amc::Sum sum;
    sum.first = Source(newest);
    const amc::Tensor& first = network.At(std::min(sum.first, newest));
    do {
        sum.second = Source(newest);
    } while (sum.second <= newest && !Rarely() && !SameShape(network.At(sum.second), first));
    sum.first_shift = Rarely() ? Draw(-3, 40) : Draw(0, 3);
    sum.second_shift = Rarely() ? Draw(-3, 40) : Draw(0, 3);
    const int step = 1 << Draw(0, 5), largest = Rarely() ? Draw(0, 300) : Draw(1, 20);
    int threshold = Draw(-100, 20);
    for (int k = 0; k < largest; ++k) {
        // As of a rounding half to even, or anyhow.
        sum.thresholds.push_back(threshold + (step > 1 ? k % 2 : 0));
        threshold += Rarely() ? Draw(-1, 300) : step;
    }
    sum.zero = Rarely() ? Draw(-1, 300) : 0;
    return sum;
}

amc::Logits Last(const amc::Tensor& input) {
    const size_t classes = Size(1, 5), few = classes < 10 ? classes : 1;
    amc::Logits logits;
    logits.weights = Weights(few * input.channels * input.length);
    logits.shift.assign(few, Rarely() ? std::numeric_limits<int32_t>::min() : Draw(-100, 100));
    logits.scale.assign(few, 0.25f);
    logits.offset.assign(Rarely() ? classes % 100 : few, 1.0f);
    return logits;
}

std::vector<float> Values(const amc::Tensor& input, size_t count) {
    std::vector<float> frames(count * input.channels * input.length);
    for (auto& value : frames) value = std::normal_distribution<float>(0, 3)(generator);
    if (Rarely()) frames[0] = std::numeric_limits<float>::quiet_NaN();
    if (Rarely()) frames.back() = std::numeric_limits<float>::infinity();
    return frames;
}

std::unique_ptr<amc::Network> Made() {
    const int low = Rarely() ? Draw(-400, 400) : -8;
    const bool even = Draw(0, 1);
    const size_t length = even ? 32 * static_cast<size_t>(Draw(1, 6)) : Size(1, 150);
    auto network = std::make_unique<amc::Network>(Rarely() ? Size(1, 4) : 2, length, Rarely() ? -1.0f : 0.25f, low, low + 15);
    size_t layers = 0;
    for (const size_t wanted = static_cast<size_t>(Draw(1, 7)); layers < wanted; ++layers) {
        if (even && Draw(0, 3)) {
            network->Add(EvenLayer(*network, layers));
        } else if (Draw(0, 2) == 0) {
            network->Add(Sum(*network, layers));
        } else {
            network->Add(Layer(*network, layers));
        }
    }
    network->Finish(Last(network->At(layers)));
    return network;
}

int in_stripes = 0;

// Whether the network was sound; ends the program where two instruction sets differ.
bool Try() {
    try {
        // The same for each instruction set, since some of a network is made for the one in use.
        const auto before = generator;
        std::vector<std::unique_ptr<amc::Network>> networks;
        for (const auto& target : amc::Targets()) {
            generator = before;
            amc::UseTarget(target);
            networks.push_back(Made());
        }
        in_stripes += networks[0]->FramesInStripes() > 0;
        const size_t count = static_cast<size_t>(Draw(0, 70));
        const amc::Tensor& input = networks[0]->At(0);
        const auto values = Values(input, count + 1);
        const std::vector<float> divisors(count, Draw(0, 1) ? 1.0f : 0.3f);
        const bool is_complex = input.channels == 2 && Draw(0, 1);
        const auto size = static_cast<ptrdiff_t>(input.channels * input.length);
        // No value may be read behind the last one of these.
        const auto* begin = is_complex ? values.data() + size : values.data();
        const amc::Frames frames{begin, size, is_complex ? divisors.data() : nullptr};
        if (is_complex) {
            std::vector<std::complex<float>> made(input.length);
            for (size_t at = 0; at < count; ++at) {
                const auto* one = reinterpret_cast<const std::complex<float>*>(begin + static_cast<ptrdiff_t>(at) * size);
                amc::Centre(one, input.length, made.data());
                amc::AlignSymbols(one, input.length, made.data());
                amc::InterpolateSymbols(one, input.length, made.data());
                amc::AlignPhase(one, input.length, made.data());
            }
        }
        std::vector<float> first;
        for (size_t number = 0; number < networks.size(); ++number) {
            const auto target = amc::Targets()[number];
            const amc::Network& network = *networks[number];
            amc::UseTarget(target);
            std::vector<float> logits(count * network.Classes());
            const auto threads = static_cast<size_t>(Draw(1, 3));
            if (Draw(0, 1)) {
                network.Run(frames, count, logits.data(), threads);
            } else {
                network.Finish(*network.Start(frames, count, logits.data(), threads));
            }
            if (first.empty()) first = logits;
            if (logits != first) {
                std::fprintf(stderr, "%s differs from %s\n", target.c_str(), amc::Targets().front().c_str());
                std::exit(1);
            }
        }
        return true;
    } catch (const std::invalid_argument&) {
        return false;
    }
}

}  // namespace

int main(int count, char** arguments) {
    if (count != 3) return 2;
    generator.seed(std::strtoull(arguments[2], nullptr, 10));
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(std::atoi(arguments[1]));
    int sound = 0, refused = 0;
    while (std::chrono::steady_clock::now() < end) ++(Try() ? sound : refused);
    std::printf("%d networks ran, %d of them in stripes, %d were refused\n", sound, in_stripes, refused);
    // No stripes where no code of its own is written.
    return sound > 10 && refused > 10 && (in_stripes > 10 || amc::MachineVectorSize() == 0) ? 0 : 1;
}
