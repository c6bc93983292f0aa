// SPDX-License-Identifier: GPL-3.0-or-later
//
// Samples turned back as a carrier turned them.
#pragma once

#include <complex>
#include <cstddef>

namespace amc {

// turned[t] = samples[t] * exp(-i * (phase + t * step)), t < length, angles in radians.
void TurnBack(const std::complex<float>* samples, size_t length, double phase, double step, std::complex<float>* turned);

}  // namespace amc
