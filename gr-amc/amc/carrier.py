# SPDX-License-Identifier: GPL-3.0-or-later
"""The carrier of a digital signal, by the lines that powers of its symbols have."""

from functools import cache

import numpy as np
from scipy.fft import fft, fftfreq, next_fast_len
from scipy.signal import fftconvolve, windows

SAMPLES_PER_SYMBOL = 8
# Of symbols whose phases are multiples of a part of the circle: rails, quadrature amplitudes, rings of APSK, and PSK.
_ORDERS = (2, 4, 8, 12, 16, 28, 32)
_REACH = 0.4  # cycles per symbol of a power: half a turn from one to the next could be one back as well
_LEAST_CONFIDENCE = 0.9999
_ROLL_OFF = 0.35
_PULSE_SYMBOLS = 16
# Symbols that are timed together: what is left of a clock's error moves them by a fraction of a sample.
_TIMED = 128
_PADDING = 4  # bins for one of the symbols' own, so that none lies far from a line


@cache
def _matched_filter() -> np.ndarray:
    """Taps float32 of a root-raised cosine, by its spectrum: GNU Radio's own would have all of it loaded."""
    frequencies = np.abs(fftfreq(_PULSE_SYMBOLS * SAMPLES_PER_SYMBOL + 1, 1 / SAMPLES_PER_SYMBOL))  # in symbol rates
    beyond = np.clip((frequencies - (1 - _ROLL_OFF) / 2) / _ROLL_OFF, 0, 1)
    return np.fft.fftshift(np.fft.ifft(np.cos(np.pi / 2 * beyond)).real).astype(np.float32)


def estimate_carrier(samples: np.ndarray) -> float | None:
    """The carrier in cycles per symbol of complex64 samples (n,), 8 a symbol, of one signal near 0 Hz.

    None where none is found. One can be told within 0.2 cycles per symbol of 0 Hz for BPSK, 0.1 for QPSK and so on;
    farther away it is taken for another, so bring the centre of the band to 0 Hz first. The phase of symbols of M-ary
    PSK, taken M times, says nothing of what is sent and turns M times as fast as the carrier (A. Viterbi, A. Viterbi,
    "Nonlinear estimation of PSK-modulated carrier phase", IEEE Trans. Information Theory 29(4), 1983), and with other M
    that holds for the most part for quadrature amplitudes and rings of symbols.
    """
    phases = np.angle(_symbols(samples))
    count = len(phases)
    if count < 2 * _TIMED or not np.isfinite(phases).all():
        return None
    window = windows.hann(count, sym=False)
    bins = next_fast_len(_PADDING * count)
    frequencies = fftfreq(bins)
    searched = np.flatnonzero(np.abs(frequencies) <= _REACH)
    for order in _ORDERS:
        # Of symbols with random phases the power is distributed exponentially, with a mean of 1.
        power = np.abs(fft(np.exp(1j * order * phases) * window, bins)) ** 2 / np.sum(window**2)
        strongest = searched[np.argmax(power[searched])]
        if (-np.expm1(-power[strongest])) ** len(searched) >= _LEAST_CONFIDENCE:
            return float(frequencies[strongest]) / order
    return None


def _symbols(samples: np.ndarray) -> np.ndarray:
    """Through a matched filter, one of each 8 samples: those at which the power is largest."""
    filtered = fftconvolve(samples, _matched_filter(), "same")
    stretches = len(filtered) // (_TIMED * SAMPLES_PER_SYMBOL)
    by_place = filtered[: stretches * _TIMED * SAMPLES_PER_SYMBOL].reshape(stretches, _TIMED, SAMPLES_PER_SYMBOL)
    places = (np.abs(by_place) ** 2).mean(axis=1).argmax(axis=1)
    return np.take_along_axis(by_place, places[:, None, None], axis=2).ravel()
