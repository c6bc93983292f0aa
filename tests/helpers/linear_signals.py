# SPDX-License-Identifier: GPL-3.0-or-later
"""Linear modulations of any symbol rate, of liquid-dsp's symbols and pulses, and white noise."""

from fractions import Fraction

import numpy as np
from scipy.signal import resample_poly, upfirdn

from tests.helpers import liquid

_SAMPLES = 8  # a symbol, as liquid-dsp makes them


def linear_signal(scheme, order, count, symbol_rate, *, roll_off=0.35, staggered=False, seed=0):
    """Samples complex64 (count,) of power 1 at 0 Hz; ``symbol_rate`` in cycles per sample, exact to 1e-4.

    ``staggered`` delays the quadrature rail by half a symbol.
    """
    rng = np.random.default_rng(seed)
    points = liquid.constellation(scheme, order)
    symbols = points[rng.integers(order, size=int(count * symbol_rate) + 60)]
    pulse = liquid.root_raised_cosine(_SAMPLES, 12, roll_off)
    signal = upfirdn(pulse, symbols, _SAMPLES)
    if staggered:
        signal = signal.real[_SAMPLES // 2 :] + 1j * signal.imag[: -_SAMPLES // 2]
    ratio = Fraction(1 / (_SAMPLES * symbol_rate)).limit_denominator(100)
    signal = resample_poly(signal, ratio.numerator, ratio.denominator)
    signal = signal[int(15 / symbol_rate) :][:count]
    return (signal / np.sqrt(np.mean(np.abs(signal) ** 2))).astype(np.complex64)


def white_noise(count, power, seed):
    """Complex Gaussian samples complex64 (count,)."""
    rng = np.random.default_rng(seed)
    rails = rng.standard_normal((count, 2)) * np.sqrt(power / 2)
    return rails.astype(np.float32).view(np.complex64).ravel()
