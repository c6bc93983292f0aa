# SPDX-License-Identifier: GPL-3.0-or-later
"""The symbol rate of a digital signal, by the periodicity that its symbols give to products of its samples."""

from dataclasses import dataclass

import numpy as np
from scipy.fft import fft, next_fast_len
from scipy.signal import windows

from .errors import AmcError

LEAST_CONFIDENCE = 0.99
SMALLEST_SHARE, LARGEST_SHARE = 0.35, 1.35  # the symbol rate in occupied bandwidths: of wide pulses, of GMSK
WIDEST_BAND = 0.36  # cycles per sample: beyond, half the sample rate ends the search
# Quarters and halves of a symbol, where the sample rate is about four bandwidths.
_DELAYS = (0, 2, 4)
_BLOCK = 64  # bins, of which the median tells what a line stands out of
_FEWEST_SAMPLES = 8 * _BLOCK
# Of the mean level within the bandwidth: where a product has next to nothing, what is left must not pass for a line.
_LEAST_LEVEL = 0.05
# The lines of OQPSK are 2 symbol rates apart, which is 1.7 bandwidths; those of GMSK are one, which is 0.8 to 1.4.
_STAGGERED_SPACING = 1.55
_LARGEST_OFFSET = 0.3  # of the carrier from 0 Hz, in bandwidths


@dataclass(frozen=True)
class SymbolRate:
    """``rate`` in cycles per sample, None where there is none.

    ``confidence`` is the probability that products of noise have no line as strong as the strongest one found; a
    rate is given where it is ``LEAST_CONFIDENCE`` or more.
    """

    rate: float | None
    confidence: float


def estimate_symbol_rate(samples: np.ndarray, bandwidth: float) -> SymbolRate:
    """The symbol rate of complex samples (n,) of one signal near 0 Hz, filtered to little more than its bandwidth.

    ``bandwidth`` is the occupied one in cycles per sample, best about 0.25 and at most ``WIDEST_BAND``; the rate is
    looked for from ``SMALLEST_SHARE`` to ``LARGEST_SHARE`` of it. Raises AmcError for another bandwidth.

    Products x(n) x*(n - d) of a linear modulation are periodic with the symbols, so their spectrum has a line at the
    symbol rate: d = 0 is the square timing recovery of M. Oerder and H. Meyr (IEEE Trans. Commun. 36(5), 1988), the
    others serve constant envelopes (W. A. Gardner, Spectral correlation of modulated signals, IEEE Trans. Commun.
    35(6), 1987). Minimum shift keying and staggered rails (OQPSK) are told by x(n)^2, which has a line on either side
    of twice the carrier: half a symbol rate away, and a whole one.
    """
    if not 0 < bandwidth <= WIDEST_BAND:
        raise AmcError(
            f"the bandwidth is {bandwidth:g} cycles per sample; for a symbol rate it must be above 0 and at most "
            f"{WIDEST_BAND}: resample first."
        )
    if len(samples) < _FEWEST_SAMPLES or not np.isfinite(samples).all():
        return SymbolRate(None, 0.0)
    direct = _line(samples, bandwidth)
    if direct.rate is not None:
        return direct
    pair = _pair_of_lines(samples, bandwidth)
    return pair if pair.confidence > direct.confidence else direct


def _line(samples: np.ndarray, bandwidth: float) -> SymbolRate:
    """By the mean of what the products with several delays say."""
    count = next_fast_len(len(samples))
    mean = np.zeros(count)
    for delay in _DELAYS:
        product = samples[delay:] * np.conj(samples[: len(samples) - delay])
        mean += _contrast(product, count, bandwidth) / len(_DELAYS)
    both_sides = (mean[1 : count // 2] + mean[: -(count // 2) : -1]) / 2
    first, last = int(SMALLEST_SHARE * bandwidth * count), int(LARGEST_SHARE * bandwidth * count)
    searched = both_sides[first : last + 1]
    strongest = int(np.argmax(searched))
    # A mean of independent contrasts would fall off faster, but at rates near the bandwidth these are all the same.
    return _found((1 + first + _peak(searched, strongest)) / count, _confidence(searched[strongest], len(searched)))


def _peak(powers: np.ndarray, strongest: int) -> float:
    """Where the line is whose ``strongest`` bin is that: the summit of the parabola through three logarithms."""
    if not 0 < strongest < len(powers) - 1:
        return float(strongest)
    before, at, after = np.log(np.maximum(powers[strongest - 1 : strongest + 2], np.finfo(float).tiny))
    curvature = before - 2 * at + after
    return strongest + (0.5 * (before - after) / curvature if curvature < 0 else 0.0)


def _pair_of_lines(samples: np.ndarray, bandwidth: float) -> SymbolRate:
    """By the two strongest lines of the squared samples, if they stand evenly about what can be twice the carrier."""
    count = next_fast_len(len(samples))
    contrast = np.fft.fftshift(_contrast(samples * samples, count, bandwidth))
    zero = count // 2
    reach = int((LARGEST_SHARE + _LARGEST_OFFSET) * bandwidth * count)
    places = np.arange(max(zero - reach, 0), min(zero + reach + 1, count))
    one = int(places[np.argmax(contrast[places])])
    others = places[np.abs(places - one) > 2]  # the window spreads a line over its neighbours
    if len(others) == 0:  # too few samples for so narrow a band
        return SymbolRate(None, 0.0)
    two = int(others[np.argmax(contrast[others])])
    spacing = abs(_peak(contrast, one) - _peak(contrast, two)) / count
    centre = (one + two - 2 * zero) / 2 / count
    if abs(centre) > 2 * _LARGEST_OFFSET * bandwidth:
        return SymbolRate(None, 0.0)
    rate = spacing / 2 if spacing > _STAGGERED_SPACING * bandwidth else spacing
    if not SMALLEST_SHARE * bandwidth <= rate <= LARGEST_SHARE * bandwidth:
        return SymbolRate(None, 0.0)
    # Both must be lines, so the weaker one counts.
    return _found(rate, _confidence(contrast[two], len(places)))


def _contrast(product: np.ndarray, count: int, bandwidth: float) -> np.ndarray:
    """Power spectrum float64 (count,) of a product in units of its local mean, by which a line stands out."""
    window = windows.hann(len(product), sym=False)
    power = np.abs(fft((product - product.mean()) * window, count)) ** 2
    # The median of the exponential distribution, that noise has here, is ln 2 of its mean.
    blocks = np.median(power[: count // _BLOCK * _BLOCK].reshape(-1, _BLOCK), axis=1) / np.log(2)
    # The steep edge of a sound's spectrum is no line, so the higher side of an edge counts.
    blocks = np.maximum(blocks, np.maximum(np.roll(blocks, 1), np.roll(blocks, -1)))
    middles = (np.arange(len(blocks)) + 0.5) * _BLOCK - 0.5
    around = np.interp(np.arange(count), middles, blocks, period=count)
    within = np.abs(np.fft.fftfreq(len(blocks))) <= bandwidth
    least = max(_LEAST_LEVEL * blocks[within].mean(), np.finfo(float).tiny)
    return power / np.maximum(around, least)


def _confidence(contrast: float, places: int) -> float:
    """The probability that as many places of noise, where a contrast is exponentially distributed, all have less."""
    return float((-np.expm1(-contrast)) ** places)


def _found(rate: float, confidence: float) -> SymbolRate:
    return SymbolRate(rate if confidence >= LEAST_CONFIDENCE else None, confidence)
