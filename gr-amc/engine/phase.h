// SPDX-License-Identifier: GPL-3.0-or-later
//
// Frames whose constellations stand the same way.
#pragma once

#include <complex>
#include <cstddef>

namespace amc {

// aligned[t] = samples[t] * exp(-i * (phase + step * t)), with the carrier phase and offset that a power of the symbols
// shows: that of order M has a line in its spectrum where symbols lie at multiples of a part 1/M of the circle, at M times
// the offset and with M times the phase (A. Viterbi, A. Viterbi, "Nonlinear estimation of PSK-modulated carrier phase", IEEE
// Trans. Information Theory 29(4), 1983). The first of the orders 4, 8, 12 and 16 counts whose line stands out of noise,
// and 4 where none does. Symbols lie as AlignSymbols leaves them, and offsets are as small as those of RadioML 2018.01A. A
// frame of less than 16 symbols, without power or with samples that are not finite stays as it is.
void AlignPhase(const std::complex<float>* samples, size_t length, std::complex<float>* aligned);

}  // namespace amc
