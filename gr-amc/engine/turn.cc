// SPDX-License-Identifier: GPL-3.0-or-later
#include "turn.h"

#include <cmath>

namespace amc {

void TurnBack(const std::complex<float>* samples, size_t length, double phase, double step, std::complex<float>* turned) {
    // Samples side by side that are computed alike, so that compilers make vectors of them.
    constexpr size_t kLanes = 16;
    const auto* values = reinterpret_cast<const float*>(samples);
    auto* made = reinterpret_cast<float*>(turned);
    float lane_real[kLanes], lane_imaginary[kLanes];
    for (size_t lane = 0; lane < kLanes; ++lane) {
        lane_real[lane] = static_cast<float>(std::cos(step * static_cast<double>(lane)));
        lane_imaginary[lane] = static_cast<float>(-std::sin(step * static_cast<double>(lane)));
    }
    const std::complex<double> advance = std::polar(1.0, -step * static_cast<double>(kLanes));
    std::complex<double> block = std::polar(1.0, -phase);
    const auto turn = [&](size_t at, size_t lane, float block_real, float block_imaginary) {
        const float by_real = block_real * lane_real[lane] - block_imaginary * lane_imaginary[lane];
        const float by_imaginary = block_real * lane_imaginary[lane] + block_imaginary * lane_real[lane];
        const float in_phase = values[2 * at], quadrature = values[2 * at + 1];
        made[2 * at] = in_phase * by_real - quadrature * by_imaginary;
        made[2 * at + 1] = in_phase * by_imaginary + quadrature * by_real;
    };
    for (size_t at = 0; at < length; at += kLanes) {
        const auto real = static_cast<float>(block.real()), imaginary = static_cast<float>(block.imag());
        if (at + kLanes <= length) {
            for (size_t lane = 0; lane < kLanes; ++lane) turn(at + lane, lane, real, imaginary);
        } else {
            for (size_t lane = 0; at + lane < length; ++lane) turn(at + lane, lane, real, imaginary);
        }
        block *= advance;
    }
}

}  // namespace amc
