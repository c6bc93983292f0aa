// SPDX-License-Identifier: GPL-3.0-or-later
//
// Frames whose symbols lie at the same places.
#pragma once

#include <complex>
#include <cstddef>

namespace amc {

inline constexpr size_t kTimedSamplesPerSymbol = 8;

// aligned[t] = samples[(t + late) % length], where "late", from 0 to 7, brings the middle of each symbol of a linear
// modulation at 8 samples per symbol between the fourth and the fifth of the eight samples from t = 0, 8, 16, ...
// What is at +-1/16 cycles a sample, the edges of the band, tells where symbols are (D. Godard, "Passband timing recovery
// in an all-digital modem receiver", IEEE Trans. Communications 26(5), 1978): the product of both has the phase of the
// symbol clock. A frame too short to tell stays as it is.
void AlignSymbols(const std::complex<float>* samples, size_t length, std::complex<float>* aligned);

// The same to a fraction of a sample: the cubic polynomials through four samples in turn (C. Farrow, "A continuously
// variable digital delay element", ISCAS 1988) tell what lies between.
void InterpolateSymbols(const std::complex<float>* samples, size_t length, std::complex<float>* aligned);

}  // namespace amc
