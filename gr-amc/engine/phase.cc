// SPDX-License-Identifier: GPL-3.0-or-later
#include "phase.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <vector>

#include "timing.h"
#include "turn.h"

namespace amc {
namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr size_t kSymbol = kTimedSamplesPerSymbol;

// Half of a filter that is even about the middle of a symbol, from its edge on: it makes the least error of symbols whose
// pulse is a root-raised cosine three times, roll-off 0.41, where samples have a signal-to-noise ratio of 8 dB.
constexpr std::array<float, 12> kHalf = {0.30f, 0.03f, -0.18f, -0.30f, -0.31f, -0.22f, -0.04f, 0.20f, 0.46f, 0.71f, 0.90f, 1.00f};
// It sees the symbols on either side as well.
static_assert(2 * kHalf.size() == 3 * kSymbol);

// A line stands out if its power is above so many times the mean of noise, of which it is distributed exponentially.
struct Order {
    size_t power;
    double least;
};
constexpr std::array<Order, 4> kOrders = {{{4, 6}, {8, 8}, {12, 8}, {16, 8}}};
// The standard deviation of offsets, in cycles a sample, and how many of it are searched, every so many cycles a frame.
constexpr double kOffset = 3.3e-5, kReach = 3, kSpacing = 0.25;
// Symbols that are added up before: within them no power turns by more than a fifth of a circle.
constexpr size_t kSummed = 16;

// One of the powers, added up by kSummed symbols, and the sum of its squared magnitudes before.
struct Sums {
    std::vector<float> real, imaginary;
    float energy = 0;
};
using Powers = std::array<Sums, kOrders.size()>;

struct Carrier {
    double phase, step;  // in the middle of the sums; a sample
    double stands_out;   // the power of its line, in means of noise, less what such an offset is unusual
};

// One value a symbol, of which the largest rail is 1; all are zero where there is nothing or one is not finite.
std::vector<float> Symbols(const float* values, size_t count) {
    constexpr size_t kLanes = 2 * kSymbol;
    static const std::array<float, 3 * kLanes> taps = [] {
        std::array<float, 3 * kLanes> both_rails{};
        for (size_t at = 0; at < 3 * kLanes; ++at) both_rails[at] = kHalf[std::min(at / 2, 2 * kHalf.size() - 1 - at / 2)];
        return both_rails;
    }();
    std::vector<float> symbols(2 * count);
    for (size_t symbol = 0; symbol < count; ++symbol) {
        float sums[kLanes] = {};
        // Nothing is before the first and behind the last.
        for (size_t third = symbol == 0 ? 1 : 0; third < (symbol + 1 == count ? 2 : 3); ++third) {
            const float* from = values + (symbol + third - 1) * kLanes;
            for (size_t lane = 0; lane < kLanes; ++lane) sums[lane] += taps[third * kLanes + lane] * from[lane];
        }
        for (size_t half = kLanes / 2; half > 1; half /= 2) {
            for (size_t lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
        }
        symbols[2 * symbol] = sums[0];
        symbols[2 * symbol + 1] = sums[1];
    }
    float largest[kLanes] = {}, finite[kLanes] = {};
    for (size_t at = 0; at < symbols.size(); at += kLanes) {
        for (size_t lane = 0; lane < kLanes; ++lane) {
            largest[lane] = std::max(largest[lane], std::abs(symbols[at + lane]));
            finite[lane] += 0 * symbols[at + lane];
        }
    }
    for (size_t lane = 1; lane < kLanes; ++lane) {
        largest[0] = std::max(largest[0], largest[lane]);
        finite[0] += finite[lane];
    }
    const float scale = finite[0] == 0 && std::isnormal(largest[0]) ? 1 / largest[0] : 0;
    for (float& value : symbols) value = scale == 0 ? 0 : value * scale;
    return symbols;
}

// The fourth power as it is, in which the corners of quadrature amplitudes weigh most, the others with the magnitude of the
// symbol, so that those which noise turns most weigh least. Symbols side by side are computed alike, so that compilers make
// vectors of them.
Powers Raised(const std::vector<float>& symbols) {
    const size_t count = symbols.size() / 2 / kSummed;
    Powers powers;
    for (Sums& sums : powers) {
        sums.real.resize(count);
        sums.imaginary.resize(count);
    }
    for (size_t sum = 0; sum < count; ++sum) {
        const float* from = &symbols[2 * kSummed * sum];
        float lanes[kOrders.size()][2][kSummed], square[kSummed], energy[kSummed];
        for (size_t at = 0; at < kSummed; ++at) {
            const float in_phase = from[2 * at], quadrature = from[2 * at + 1];
            const float squared = in_phase * in_phase + quadrature * quadrature;
            const float inverse = 1 / std::max(squared, 1e-12f);  // a symbol that is nothing has no phase
            const float real2 = in_phase * in_phase - quadrature * quadrature, imaginary2 = 2 * in_phase * quadrature;
            const float unit_real2 = real2 * inverse, unit_imaginary2 = imaginary2 * inverse;
            const float real4 = unit_real2 * unit_real2 - unit_imaginary2 * unit_imaginary2;
            const float imaginary4 = 2 * unit_real2 * unit_imaginary2;
            const float real8 = real4 * real4 - imaginary4 * imaginary4, imaginary8 = 2 * real4 * imaginary4;
            const float magnitude = std::sqrt(squared), fourth = squared * squared;
            lanes[0][0][at] = fourth * real4;
            lanes[0][1][at] = fourth * imaginary4;
            lanes[1][0][at] = magnitude * real8;
            lanes[1][1][at] = magnitude * imaginary8;
            lanes[2][0][at] = magnitude * (real8 * real4 - imaginary8 * imaginary4);
            lanes[2][1][at] = magnitude * (real8 * imaginary4 + imaginary8 * real4);
            lanes[3][0][at] = magnitude * (real8 * real8 - imaginary8 * imaginary8);
            lanes[3][1][at] = magnitude * (2 * real8 * imaginary8);
            square[at] = squared;
            energy[at] = fourth * fourth;
        }
        for (size_t at = 0; at < kSummed; ++at) {
            powers[0].energy += energy[at];
            powers[1].energy += square[at];
            for (size_t order = 0; order < kOrders.size(); ++order) {
                powers[order].real[sum] += lanes[order][0][at];
                powers[order].imaginary[sum] += lanes[order][1][at];
            }
        }
    }
    powers[2].energy = powers[3].energy = powers[1].energy;
    return powers;
}

// What the most likely line of a power says, where offsets are distributed normally.
Carrier StrongestLine(const Sums& sums, size_t power) {
    const size_t count = sums.real.size();
    const double samples = static_cast<double>(count * kSummed * kSymbol), order = static_cast<double>(power);
    const double deviation = kOffset * samples * order;  // in cycles a frame, as the lines have it
    const auto reach = static_cast<size_t>(std::ceil(kReach * deviation / kSpacing));
    // Turns of kSpacing cycles a frame at each sum, and their multiples one after the other.
    std::vector<float> cosine(count), sine(count), real(count, 1), imaginary(count);
    for (size_t sum = 0; sum < count; ++sum) {
        const double time = (static_cast<double>(sum) + 0.5) / static_cast<double>(count) - 0.5;
        cosine[sum] = static_cast<float>(std::cos(2 * kPi * kSpacing * time));
        sine[sum] = static_cast<float>(std::sin(2 * kPi * kSpacing * time));
    }
    std::vector<std::complex<double>> lines(2 * reach + 1);
    std::vector<double> likelihood(lines.size());
    for (size_t multiple = 0; multiple <= reach; ++multiple) {
        float real_cosine = 0, real_sine = 0, imaginary_cosine = 0, imaginary_sine = 0;
        for (size_t sum = 0; sum < count; ++sum) {
            real_cosine += sums.real[sum] * real[sum];
            real_sine += sums.real[sum] * imaginary[sum];
            imaginary_cosine += sums.imaginary[sum] * real[sum];
            imaginary_sine += sums.imaginary[sum] * imaginary[sum];
            const float before = real[sum];
            real[sum] = before * cosine[sum] - imaginary[sum] * sine[sum];
            imaginary[sum] = before * sine[sum] + imaginary[sum] * cosine[sum];
        }
        lines[reach + multiple] = {real_cosine + imaginary_sine, imaginary_cosine - real_sine};
        lines[reach - multiple] = {real_cosine - imaginary_sine, imaginary_cosine + real_sine};
        const double unusual = static_cast<double>(multiple) * kSpacing / deviation;
        for (const size_t at : {reach + multiple, reach - multiple}) {
            likelihood[at] = std::norm(lines[at]) / sums.energy - unusual * unusual / 2;
        }
    }
    const auto peak = static_cast<size_t>(std::max_element(likelihood.begin() + 1, likelihood.end() - 1) - likelihood.begin());
    // The parabola through the largest and its neighbours.
    const double before = likelihood[peak - 1], largest = likelihood[peak], after = likelihood[peak + 1];
    const double curvature = before - 2 * largest + after;
    const double beside = curvature < 0 ? std::clamp((before - after) / (2 * curvature), -0.5, 0.5) : 0;
    const double frequency = (static_cast<double>(peak) - static_cast<double>(reach) + beside) * kSpacing;
    return {std::arg(lines[peak]) / order, 2 * kPi * frequency / (order * samples), largest};
}

}  // namespace

void AlignPhase(const std::complex<float>* samples, size_t length, std::complex<float>* aligned) {
    const size_t sums = length / (kSummed * kSymbol);
    const Powers powers = Raised(Symbols(reinterpret_cast<const float*>(samples), sums * kSummed));
    if (sums == 0 || !(powers[0].energy > 0)) {
        std::copy(samples, samples + length, aligned);
        return;
    }
    Carrier carrier = StrongestLine(powers[0], kOrders[0].power);
    bool stands_out = carrier.stands_out > kOrders[0].least;
    // Where none stands out the first is still the best guess: that of quadrature amplitudes is often weak.
    for (size_t order = 1; order < kOrders.size() && !stands_out; ++order) {
        const Carrier other = StrongestLine(powers[order], kOrders[order].power);
        stands_out = other.stands_out > kOrders[order].least;
        if (stands_out) carrier = other;
    }
    const double middle = (static_cast<double>(sums * kSummed * kSymbol) - 1) / 2;
    TurnBack(samples, length, carrier.phase - middle * carrier.step, carrier.step, aligned);
}

}  // namespace amc
