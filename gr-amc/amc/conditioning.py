# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes of one signal in a capture what a model was trained for: at 0 Hz, filtered, at its samples per symbol."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from scipy.signal import firwin, kaiserord, upfirdn

from .bands import Band, find_core
from .carrier import SAMPLES_PER_SYMBOL, estimate_carrier
from .errors import AmcError
from .model import DEFAULT_SAMPLES_PER_SYMBOL
from .symbol_rate import SymbolRate, estimate_symbol_rate

# A root raised cosine of roll-off 0.35 holds 99 % of its power in so many symbol rates.
BANDWIDTH_PER_SYMBOL_RATE = 1.17
NARROWEST_BAND = 1e-4  # cycles per sample: the filter grows with what is narrow
_PASSED = 1.3  # bandwidths that the filter leaves as they are
_STOPPED = 2.0  # bandwidths, beyond which it takes away
_ATTENUATION = 60.0  # dB
_NARROWEST_TRANSITION = 0.02  # cycles per sample
_MOST_PHASES = 256
_RATE_TOLERANCE = 1e-4  # a hundredth of a symbol in a window
_SHORTEST_PIECE = 4096
_ANALYSIS_BAND = 0.25  # cycles per sample, for the symbol rate
_CARRIER_SYMBOLS = 4096  # of which the carrier is measured: it may drift


@dataclass(frozen=True)
class Plan:
    """How a signal is conditioned: ``centre`` is brought to 0, what is beyond ``bandwidth`` is filtered off (both in
    cycles per sample), and ``interpolation`` samples come out for every ``decimation`` that go in.
    """

    centre: float
    bandwidth: float
    interpolation: int
    decimation: int

    @property
    def ratio(self) -> Fraction:
        """Samples out for a sample in."""
        return Fraction(self.interpolation, self.decimation)

    @property
    def edges(self) -> tuple[float, float]:
        """Up to where the low-pass leaves all as it is, and from where on it stops all, in cycles per input sample."""
        # Neither images above half the rate of the input may pass, nor what would fold at that of the output.
        end = min(1.0, float(self.ratio)) / 2
        passed, stopped = _PASSED * self.bandwidth / 2, _STOPPED * self.bandwidth / 2
        if stopped > end:
            stopped = max(end, self.bandwidth / 2 + _NARROWEST_TRANSITION)
            passed = min(passed, stopped - _NARROWEST_TRANSITION)
        return passed, stopped


def symbol_bandwidth(bandwidth: float, symbol_rate: float | None) -> float:
    """The bandwidth, in cycles per sample, of a band of which less may be seen than its symbols take: it is weak."""
    return bandwidth if symbol_rate is None else max(bandwidth, min(BANDWIDTH_PER_SYMBOL_RATE * symbol_rate, 1.0))


def make_plan(
    centre: float,
    bandwidth: float,
    symbol_rate: float | None = None,
    samples_per_symbol: tuple[float, float] = (DEFAULT_SAMPLES_PER_SYMBOL, DEFAULT_SAMPLES_PER_SYMBOL),
) -> Plan:
    """The plan for a band, and its symbol rate in cycles per sample where there is one.

    ``samples_per_symbol`` is the range that the model knows, of which the number nearest to 8 is aimed at. Without a
    symbol rate the band is taken for a linear modulation of roll-off 0.35. Raises AmcError for a band or rate that
    no capture can have.
    """
    if not (-0.5 <= centre <= 0.5 and NARROWEST_BAND <= bandwidth <= 1):
        raise AmcError(
            f"a band of {bandwidth:g} at {centre:g} cycles per sample cannot be conditioned; its centre must be from "
            f"-0.5 to 0.5, its bandwidth from {NARROWEST_BAND:g} to 1."
        )
    rate = bandwidth / BANDWIDTH_PER_SYMBOL_RATE if symbol_rate is None else symbol_rate
    if not 0 < rate <= 1:
        raise AmcError(f"a symbol rate of {rate:g} cycles per sample is impossible; it must be above 0 and at most 1.")
    target = float(np.clip(DEFAULT_SAMPLES_PER_SYMBOL, *samples_per_symbol))
    return Plan(float(centre), float(bandwidth), *_nearest_ratio(target * rate))


def _nearest_ratio(ratio: float) -> tuple[int, int]:
    """The smallest interpolation, with its decimation, that comes near enough."""
    for interpolation in range(1, _MOST_PHASES + 1):
        decimation = max(round(interpolation / ratio), 1)
        if abs(interpolation / decimation / ratio - 1) < _RATE_TOLERANCE:
            return interpolation, decimation
    nearest = Fraction(ratio).limit_denominator(_MOST_PHASES)  # above 1: more phases than that cost only memory
    return nearest.numerator, nearest.denominator


class Conditioner:
    """Carries out a plan on a stream given in pieces of any length.

    Output sample m belongs to input sample m * decimation / interpolation: the filter, of linear phase, is centred
    on it. Before and after the stream there is silence. What comes out does not depend on how the stream was cut.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._taps, self._reach = _filter(plan)
        # The output belongs to the middle of the filter, so that must fall on one of the samples that are kept.
        up, down = plan.interpolation, plan.decimation
        missing = -2 * self._reach * up % down
        self._taps = np.concatenate((np.zeros(missing, self._taps.dtype), self._taps))
        self._skipped = (2 * self._reach * up + missing) // down
        self._pieces = -(-max(_SHORTEST_PIECE, 8 * self._reach) // down)
        self._held = np.zeros(self._reach, np.complex64)
        self._received = self._given = 0
        self._phase, self._tuned_at, self._frequency = 0.0, 0, plan.centre

    def tune(self, centre: float) -> None:
        """From the next sample on, ``centre`` (cycles per sample) is brought to 0, without a jump of the phase."""
        self._phase = self._phase_at(self._received)
        self._tuned_at, self._frequency = self._received, float(centre)

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Appends complex64 samples (n,); returns conditioned ones complex64, which are up to a piece behind."""
        numbers = np.arange(self._received, self._received + len(samples))
        rotation = np.exp(-2j * np.pi * self._phase_at(numbers)).astype(np.complex64)
        self._received += len(samples)
        with np.errstate(over="ignore", invalid="ignore"):
            self._held = np.concatenate((self._held, samples * rotation)).astype(np.complex64, copy=False)
        length = self._pieces * self.plan.decimation
        ready = max(0, (len(self._held) - 2 * self._reach) // length)
        parts = [self._filtered(self._held[n * length : (n + 1) * length + 2 * self._reach]) for n in range(ready)]
        self._held = self._held[ready * length :].copy()
        return self._joined(parts)

    def finish(self) -> np.ndarray:
        """The samples still owed, as the stream has ended."""
        owed = -(-self._received * self.plan.interpolation // self.plan.decimation) - self._given
        length = self._pieces * self.plan.decimation + 2 * self._reach
        parts = []
        while owed > sum(map(len, parts)):
            piece = np.zeros(length, np.complex64)
            available = self._held[:length]
            piece[: len(available)] = available
            parts.append(self._filtered(piece))
            self._held = self._held[self._pieces * self.plan.decimation :]
        return self._joined(parts)[:owed]

    def _phase_at(self, number):
        """Cycles by which sample ``number`` is turned back, from 0 to 1."""
        return (self._phase + self._frequency * (number - self._tuned_at)) % 1.0

    def _filtered(self, piece: np.ndarray) -> np.ndarray:
        out = upfirdn(self._taps, piece, self.plan.interpolation, self.plan.decimation)
        return out[self._skipped : self._skipped + self._pieces * self.plan.interpolation]

    def _joined(self, parts: list[np.ndarray]) -> np.ndarray:
        out = np.concatenate(parts) if parts else np.empty(0, np.complex64)
        self._given += len(out)
        return out


def _filter(plan: Plan) -> tuple[np.ndarray, int]:
    """Taps float32 (2 * reach * interpolation + 1,) of the low-pass, and its reach in input samples."""
    up = plan.interpolation
    passed, stopped = plan.edges
    cutoff = min((passed + stopped) / 2, 0.5)
    if up == 1 and cutoff >= 0.5 - _NARROWEST_TRANSITION / 2:
        return np.ones(1, np.float32), 0
    count, beta = kaiserord(_ATTENUATION, 2 * (stopped - passed) / up)
    reach = -(-count // (2 * up))
    taps = firwin(2 * reach * up + 1, cutoff, window=("kaiser", beta), fs=up)
    return (up * taps).astype(np.float32), reach


def _conditioned(samples: np.ndarray, plan: Plan) -> np.ndarray:
    conditioner = Conditioner(plan)
    return np.concatenate((conditioner.push(samples), conditioner.finish()))


def measure_symbol_rate(samples: np.ndarray, band: Band) -> SymbolRate:
    """The symbol rate of the signal in a band of complex64 samples (n,), in cycles per sample of these."""
    plan = Plan(band.centre, band.bandwidth, *_nearest_ratio(band.bandwidth / _ANALYSIS_BAND))
    signal = _conditioned(samples, plan)
    ratio = float(plan.ratio)
    found = estimate_symbol_rate(signal, band.bandwidth / ratio)
    return SymbolRate(found.rate and found.rate * ratio, found.confidence)


def tuned(samples: np.ndarray, band: Band, symbol_rate: float | None) -> Band | None:
    """The band around the carrier of the symbols in it, where that can be measured, else None.

    Of complex64 samples (n,); ``symbol_rate`` in cycles per sample, None for signals without. What is occupied by 2,000
    symbols tells their centre to a few thousandths of the symbol rate, and the lines of their powers a hundred times
    better.
    """
    if symbol_rate is None:
        return None
    length = int(_CARRIER_SYMBOLS / symbol_rate)
    first = max(len(samples) - length, 0) // 2
    plan = make_plan(band.centre, band.bandwidth, symbol_rate, (SAMPLES_PER_SYMBOL, SAMPLES_PER_SYMBOL))
    offset = estimate_carrier(_conditioned(samples[first : first + length], plan))
    # A carrier beyond half the sample rate is none of this band.
    if offset is None or abs(band.centre + offset * symbol_rate) > 0.5:
        return None
    return replace(band, centre=band.centre + offset * symbol_rate)


def digital_cores(samples: np.ndarray, bands: list[Band], measure: Callable[[Band], SymbolRate]) -> list[Band]:
    """The bands, or in place of one its core where that has a symbol rate by ``measure``, so is a signal of its own."""
    cores = [find_core(samples, band) for band in bands]
    return [
        band if core is None or measure(core).rate is None else core for band, core in zip(bands, cores, strict=True)
    ]
