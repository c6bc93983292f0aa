// SPDX-License-Identifier: GPL-3.0-or-later
#include "centre.h"

#include <cmath>

namespace amc {
namespace {

// Samples side by side that are computed alike, so that compilers make vectors of them. The order of the sums is theirs
// on every machine.
constexpr size_t kLanes = 16;

double Step(const float* values, size_t length) {
    // In double precision no product of floats overflows or vanishes.
    double real[kLanes] = {}, imaginary[kLanes] = {};
    const auto add = [&](size_t at, size_t lane) {
        const double first_real = values[2 * at], first_imaginary = values[2 * at + 1];
        const double second_real = values[2 * at + 2], second_imaginary = values[2 * at + 3];
        real[lane] += second_real * first_real + second_imaginary * first_imaginary;
        imaginary[lane] += second_imaginary * first_real - second_real * first_imaginary;
    };
    const size_t pairs = length - 1, whole = pairs / kLanes * kLanes;
    for (size_t at = 0; at < whole; at += kLanes) {
        for (size_t lane = 0; lane < kLanes; ++lane) add(at + lane, lane);
    }
    for (size_t at = whole; at < pairs; ++at) add(at, at - whole);
    for (size_t lane = 1; lane < kLanes; ++lane) {
        real[0] += real[lane];
        imaginary[0] += imaginary[lane];
    }
    return std::atan2(imaginary[0], real[0]);
}

}  // namespace

void Centre(const std::complex<float>* samples, size_t length, std::complex<float>* turned) {
    if (length == 0) return;
    const auto* values = reinterpret_cast<const float*>(samples);
    auto* made = reinterpret_cast<float*>(turned);
    const double step = Step(values, length);
    float lane_real[kLanes], lane_imaginary[kLanes];
    for (size_t lane = 0; lane < kLanes; ++lane) {
        lane_real[lane] = static_cast<float>(std::cos(step * static_cast<double>(lane)));
        lane_imaginary[lane] = static_cast<float>(-std::sin(step * static_cast<double>(lane)));
    }
    const std::complex<double> advance = std::polar(1.0, -step * static_cast<double>(kLanes));
    std::complex<double> phase = 1.0;
    const auto turn = [&](size_t at, size_t lane, float block_real, float block_imaginary) {
        const float by_real = block_real * lane_real[lane] - block_imaginary * lane_imaginary[lane];
        const float by_imaginary = block_real * lane_imaginary[lane] + block_imaginary * lane_real[lane];
        const float in_phase = values[2 * at], quadrature = values[2 * at + 1];
        made[2 * at] = in_phase * by_real - quadrature * by_imaginary;
        made[2 * at + 1] = in_phase * by_imaginary + quadrature * by_real;
    };
    for (size_t at = 0; at < length; at += kLanes) {
        const auto real = static_cast<float>(phase.real()), imaginary = static_cast<float>(phase.imag());
        if (at + kLanes <= length) {
            for (size_t lane = 0; lane < kLanes; ++lane) turn(at + lane, lane, real, imaginary);
        } else {
            for (size_t lane = 0; at + lane < length; ++lane) turn(at + lane, lane, real, imaginary);
        }
        phase *= advance;
    }
}

}  // namespace amc
