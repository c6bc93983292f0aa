// SPDX-License-Identifier: GPL-3.0-or-later
//
// Frames turned back by the carrier offset that they have.
#pragma once

#include <complex>
#include <cstddef>

namespace amc {

// turned[t] = samples[t] * exp(-i * t * step), t < length, where "step" is the phase of the sum of
// samples[t + 1] * conj(samples[t]): the centre of gravity of the spectrum, in radians a sample (K. Miller,
// M. Rochwarger, "A covariance approach to spectral moment estimation", IEEE Trans. Information Theory 1972).
void Centre(const std::complex<float>* samples, size_t length, std::complex<float>* turned);

}  // namespace amc
