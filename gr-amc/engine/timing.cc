// SPDX-License-Identifier: GPL-3.0-or-later
#include "timing.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace amc {
namespace {

constexpr double kPi = 3.14159265358979323846;
// Sums of four samples, of which 1/16 cycles a sample is a quarter of the rate: there a turn is a change of sign or rail.
constexpr size_t kSummed = 4;
// A band edge is looked at through Hann windows of 8 symbols, as wide in frequency as a roll-off of 0.4 makes it.
constexpr size_t kSegment = 16, kHop = 4;

std::array<double, kSegment> SignedWindow() {
    std::array<double, kSegment> window;
    for (size_t at = 0; at < kSegment; ++at) {
        const double value = 0.5 - 0.5 * std::cos(2 * kPi * (static_cast<double>(at) + 0.5) / kSegment);
        window[at] = at % 4 < 2 ? value : -value;
    }
    return window;
}

// Where the middle of a symbol is, in samples from the first one.
double Place(const float* values, size_t length) {
    static const std::array<double, kSegment> window = SignedWindow();
    // In double precision no product of floats overflows or vanishes.
    std::vector<double> real(length / kSummed), imaginary(real.size());
    for (size_t at = 0; at < real.size(); ++at) {
        const float* first = values + 2 * kSummed * at;
        real[at] = (static_cast<double>(first[0]) + first[2]) + (static_cast<double>(first[4]) + first[6]);
        imaginary[at] = (static_cast<double>(first[1]) + first[3]) + (static_cast<double>(first[5]) + first[7]);
    }
    // The upper edge is even - i odd, the lower one even + i odd; this is the sum of upper * conj(lower).
    double in_phase = 0, quadrature = 0;
    for (size_t start = 0; start + kSegment <= real.size(); start += kHop) {
        double even_real = 0, even_imaginary = 0, odd_real = 0, odd_imaginary = 0;
        for (size_t at = 0; at < kSegment; at += 2) {
            even_real += window[at] * real[start + at];
            even_imaginary += window[at] * imaginary[start + at];
            odd_real += window[at + 1] * real[start + at + 1];
            odd_imaginary += window[at + 1] * imaginary[start + at + 1];
        }
        in_phase += even_real * even_real + even_imaginary * even_imaginary - odd_real * odd_real - odd_imaginary * odd_imaginary;
        quadrature -= 2 * (even_real * odd_real + even_imaginary * odd_imaginary);
    }
    // The first sum of four lies in the middle of its samples.
    return (kSummed - 1) / 2.0 - std::atan2(quadrature, in_phase) * kTimedSamplesPerSymbol / (2 * kPi);
}

// By how many samples the middle of a symbol is late, from 0 up to 8.
double Late(const std::complex<float>* samples, size_t length) {
    constexpr double kMiddle = (kTimedSamplesPerSymbol - 1) / 2.0;
    if (length < kSummed * kSegment) return 0;
    const double late = Place(reinterpret_cast<const float*>(samples), length) - kMiddle + kTimedSamplesPerSymbol;
    // Samples that are not finite have no place.
    return std::isfinite(late) ? std::fmod(late, kTimedSamplesPerSymbol) : 0;
}

}  // namespace

void AlignSymbols(const std::complex<float>* samples, size_t length, std::complex<float>* aligned) {
    const auto late = static_cast<size_t>(std::floor(Late(samples, length) + 0.5)) % kTimedSamplesPerSymbol;
    std::rotate_copy(samples, samples + late, samples + length, aligned);
}

void InterpolateSymbols(const std::complex<float>* samples, size_t length, std::complex<float>* aligned) {
    const double late = Late(samples, length), whole = std::floor(late), part = late - whole;
    if (part == 0) {
        std::rotate_copy(samples, samples + static_cast<size_t>(whole), samples + length, aligned);
        return;
    }
    const std::array<float, 4> taps = {
        static_cast<float>(-part * (part - 1) * (part - 2) / 6),
        static_cast<float>((part + 1) * (part - 1) * (part - 2) / 2),
        static_cast<float>(-(part + 1) * part * (part - 2) / 2),
        static_cast<float>((part + 1) * part * (part - 1) / 6),
    };
    // The frame goes on behind its end as it begins.
    const auto behind_end = [length](size_t place) { return place < length ? place : place - length; };
    size_t from = behind_end(static_cast<size_t>(whole) + length - 1);
    for (size_t at = 0; at < length; ++at, from = behind_end(from + 1)) {
        std::complex<float> sum = 0;
        for (size_t tap = 0; tap < taps.size(); ++tap) sum += taps[tap] * samples[behind_end(from + tap)];
        aligned[at] = sum;
    }
}

}  // namespace amc
