// SPDX-License-Identifier: GPL-3.0-or-later
#include "centre.h"

#include <cmath>

#include "turn.h"

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
    TurnBack(samples, length, 0, Step(reinterpret_cast<const float*>(samples), length), turned);
}

}  // namespace amc
