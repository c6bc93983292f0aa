# SPDX-License-Identifier: GPL-3.0-or-later
"""Which signal is on which output, from one look at the capture to the next."""

from dataclasses import dataclass, replace

import numpy as np

from .bands import Band, as_wanted, find_bands
from .conditioning import NARROWEST_BAND, Plan, digital_cores, make_plan, measure_symbol_rate, symbol_bandwidth, tuned
from .symbol_rate import SymbolRate

_SAME_RATE = 0.01  # relative
_SAME_BANDWIDTH = 1 / 3, 1.3  # of that in the plan; the plan's filter passes so much, or hides the signal in noise
_SAME_CENTRE = 0.01  # of the output's sample rate, more than what occupied bands vary by from look to look
_SAME_CARRIER = 0.002  # of the same, where the carrier itself was measured
_RECIPROCAL_BANDWIDTHS = 4096  # so long must a signal be looked at for its symbol rate; more takes only time


@dataclass(frozen=True)
class Settings:
    """What is not to be estimated, in cycles per sample; None where it is."""

    centre: float | None = None
    bandwidth: float | None = None
    symbol_rate: float | None = None

    @property
    def fit(self) -> bool:
        """Whether there can be such a signal at this sample rate, which a receiver may have changed."""
        widths = [width for width in (self.bandwidth, self.symbol_rate) if width is not None]
        return all(NARROWEST_BAND <= width <= 1 for width in widths)


@dataclass(frozen=True)
class Signal:
    """A signal at the last look: its band, its symbol rate, and the plan by which it is conditioned.

    The plan stays the same object for as long as the signal stays where it is. ``rate_is_settled`` says that two
    looks in a row have told the same symbol rate.
    """

    band: Band
    symbol_rate: SymbolRate
    plan: Plan
    rate_is_settled: bool


class SignalTracker:
    """Keeps each signal on its output for as long as it is there.

    A signal is the same as the one of the look before if their bands overlap by half of the narrower one. What is new
    goes to the output on which it was before, or else to the first free one, the most powerful first.

    ``samples_per_symbol`` is (lowest, highest) of what the model knows.
    """

    def __init__(self, outputs: int, samples_per_symbol: tuple[float, float]) -> None:
        self._samples_per_symbol = samples_per_symbol
        self.signals: list[Signal | None] = [None] * outputs
        self.forget()

    def forget(self) -> None:
        """What comes next has nothing to do with what was before."""
        self.signals = [None] * len(self.signals)
        self._last_bands: list[Band | None] = [None] * len(self.signals)

    def look(self, samples: np.ndarray, settings: Settings) -> list[Signal | None]:
        """What is on each output from complex64 samples (n,) on; ``settings`` win over what these tell."""
        bands = _bands(samples, settings)
        found: list[Signal | None] = [None] * len(self.signals)
        for output, before in enumerate(self.signals):
            band = before and _nearest(bands, before.band)
            if band:
                bands.remove(band)
                found[output] = self._seen_again(before, band, samples, settings)
        for band in bands:
            output = self._place(found, band)
            if output is None:
                break
            found[output] = self._new(band, samples, settings)
        self.signals = found
        self._last_bands = [
            signal.band if signal else last for signal, last in zip(found, self._last_bands, strict=True)
        ]
        return found

    def _place(self, taken: list[Signal | None], band: Band) -> int | None:
        """The output for a new signal, None where all are taken."""
        free = [output for output, signal in enumerate(taken) if signal is None]
        known = [output for output in free if (last := self._last_bands[output]) and _overlap(last, band)]
        return next(iter(known + free), None)

    def _new(self, band: Band, samples: np.ndarray, settings: Settings) -> Signal:
        symbol_rate = _symbol_rate(samples, band, settings)
        band = _tuned(samples, band, symbol_rate, settings) or band
        return Signal(band, symbol_rate, self._plan(band, symbol_rate, settings), settings.symbol_rate is not None)

    def _seen_again(self, before: Signal, band: Band, samples: np.ndarray, settings: Settings) -> Signal:
        """The signal with its plan of before, unless it has moved or changed."""
        if not _SAME_BANDWIDTH[0] < band.bandwidth / before.plan.bandwidth < _SAME_BANDWIDTH[1]:
            return self._new(band, samples, settings)
        symbol_rate, settled = before.symbol_rate, before.rate_is_settled
        if not settled:
            told = _symbol_rate(samples, band, settings)
            if told.rate is not None:
                settled = symbol_rate.rate is not None and _near(told.rate, symbol_rate.rate)
                symbol_rate = symbol_rate if settled else told
        band, moved = self._followed(before, band, symbol_rate, samples, settings)
        if moved or symbol_rate.rate != before.symbol_rate.rate:
            return Signal(band, symbol_rate, self._plan(band, symbol_rate, settings), settled)
        return replace(before, band=band, rate_is_settled=settled)

    def _followed(
        self, before: Signal, band: Band, symbol_rate: SymbolRate, samples: np.ndarray, settings: Settings
    ) -> tuple[Band, bool]:
        """The band, around its carrier where that can be measured, and whether it has moved too far for the plan."""
        rate, centre = float(before.plan.ratio), before.plan.centre
        # Nothing is measured where the band itself is where it was.
        if abs(band.centre - centre) <= _SAME_CARRIER * rate:
            return band, False
        at_carrier = _tuned(samples, band, symbol_rate, settings)
        if at_carrier is not None:
            return at_carrier, abs(at_carrier.centre - centre) > _SAME_CARRIER * rate
        return band, abs(band.centre - centre) > _SAME_CENTRE * rate

    def _plan(self, band: Band, symbol_rate: SymbolRate, settings: Settings) -> Plan:
        bandwidth = settings.bandwidth or symbol_bandwidth(band.bandwidth, symbol_rate.rate)
        return make_plan(band.centre, bandwidth, symbol_rate.rate, self._samples_per_symbol)


def _bands(samples: np.ndarray, settings: Settings) -> list[Band]:
    """The occupied bands, the most powerful first, as the settings have them; none where these fit no signal."""
    if not settings.fit:
        return []
    centre, bandwidth = settings.centre, settings.bandwidth
    cores = digital_cores(samples, find_bands(samples), lambda core: _symbol_rate(samples, core, Settings()))
    bands = as_wanted(cores, centre, bandwidth)
    if not bands and centre is not None and bandwidth is not None and abs(centre) <= 0.5:
        bands = [Band(centre, bandwidth, -np.inf, -np.inf)]
    return bands


def _symbol_rate(samples: np.ndarray, band: Band, settings: Settings) -> SymbolRate:
    if settings.symbol_rate is not None:
        return SymbolRate(settings.symbol_rate, 1.0)
    return measure_symbol_rate(samples[: int(_RECIPROCAL_BANDWIDTHS / band.bandwidth)], band)


def _tuned(samples: np.ndarray, band: Band, symbol_rate: SymbolRate, settings: Settings) -> Band | None:
    return None if settings.centre is not None else tuned(samples, band, symbol_rate.rate)


def _near(one: float, other: float) -> bool:
    return abs(one / other - 1) < _SAME_RATE


def _overlap(one: Band, other: Band) -> bool:
    """Whether two bands have more than half of the narrower one in common."""
    common = min(one.upper, other.upper) - max(one.lower, other.lower)
    return common > min(one.bandwidth, other.bandwidth) / 2


def _nearest(bands: list[Band], before: Band) -> Band | None:
    """The band that overlaps with the one of before, the nearest if there are several."""
    overlapping = [band for band in bands if _overlap(band, before)]
    return min(overlapping, key=lambda band: abs(band.centre - before.centre), default=None)
