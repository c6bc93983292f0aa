# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the signals of a recording, follows each through it, and classifies each on its own.

The recording is looked at in stretches of about half a second. A band found in two of them one after the other is one
signal, which is conditioned and classified as one stream; where it is missing its stream ends.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from .bands import SHORTEST_SAMPLES, Band, as_wanted, find_bands
from .conditioning import (
    NARROWEST_BAND,
    Conditioner,
    Plan,
    digital_cores,
    make_plan,
    measure_symbol_rate,
    symbol_bandwidth,
    tuned,
)
from .errors import AmcError
from .model import Model
from .pipeline import Counters, Pipeline
from .recordings import Recording, Segment
from .report import Result
from .windows import StreamContext

DEFAULT_SIGNALS = 4
STRETCH_SECONDS = 0.5
STRETCH_SAMPLES = 1 << 16  # where the sample rate is not known
_SHORTEST_STRETCH, _LONGEST_STRETCH = 1 << 14, 1 << 20
_SAME_BAND = 0.4  # share of the wider band that two stretches must have in common to be of one signal
_SAME_RATE, _SAME_BANDWIDTH = 1.02, 1.5  # a signal that differs by more is conditioned anew
_SAME_CENTRE = 0.05  # bandwidths that a signal may be off the centre before it is tuned to again
_FILTERED = 1.65  # bandwidths of noise that pass the conditioner's filter
_CLEAR = 10.0  # dB over the noise that a window with the signal never has to have


# --- what is known beforehand ----------------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """What is not left to the search, in Hz: None is found. At most ``signals`` are followed at a time.

    ``centre`` is at radio frequency where the recording knows its tuning, and an offset from its centre otherwise.
    """

    centre: float | None = None
    bandwidth: float | None = None
    symbol_rate: float | None = None
    signals: int = DEFAULT_SIGNALS

    def check(self, recording: Recording) -> None:
        """Raises AmcError where a recording cannot have what is wanted, or is too short to be searched."""
        longest = max(segment.sample_count for segment in recording.segments)
        if longest < SHORTEST_SAMPLES:
            raise AmcError(
                f"{recording.path} has at most {longest} samples without a gap, and finding signals needs "
                f"{SHORTEST_SAMPLES}; record for longer."
            )
        if self.centre is None and self.bandwidth is None and self.symbol_rate is None:
            return
        rate = recording.sample_rate
        if not rate:
            raise AmcError(
                f"{recording.path} does not tell its sample rate, without which --centre, --bandwidth and "
                "--symbol-rate mean nothing; give --sample-rate."
            )
        lowest = NARROWEST_BAND * rate
        for name, value in (("bandwidth", self.bandwidth), ("symbol rate", self.symbol_rate)):
            if value is not None and not lowest <= value <= rate:
                raise AmcError(
                    f"the {name} of {value:.12g} Hz does not go with the {rate:.12g} samples/s of {recording.path}; "
                    f"give one from {lowest:.12g} to {rate:.12g} Hz."
                )
        if self.centre is None:
            return
        half = (self.bandwidth or 0.0) / 2
        for segment in recording.segments:
            tuning = segment.frequency or 0.0
            lowest, highest = tuning + _lowest(recording) * rate, tuning + rate / 2
            if self.centre - half < lowest or self.centre + half > highest:
                raise AmcError(
                    f"the band wanted at {self.centre:.12g} Hz is not within {recording.path}, which reaches from "
                    f"{lowest:.12g} to {highest:.12g} Hz; give one that is."
                )

    def in_cycles(self, rate: float | None, tuning: float) -> "Wanted":
        """The same in cycles per sample from the centre of the recording."""

        def divided(hertz: float | None) -> float | None:
            return None if hertz is None else hertz / rate

        centre = None if self.centre is None else self.centre - tuning
        return Wanted(divided(centre), divided(self.bandwidth), divided(self.symbol_rate), self.signals)


def _lowest(recording: Recording) -> float:
    """The lowest frequency in cycles per sample: that of a real recording's analytic signal is 0."""
    return -0.5 if recording.format.complex else 0.0


# --- one stretch -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """A signal in a stretch: its band, its symbol rate in cycles per sample where there is one, and the power in dBFS
    that a conditioned window must have to hold it. ``is_tuned``: the centre of the band is the carrier, measured.
    """

    band: Band
    symbol_rate: float | None
    least_power: float
    is_tuned: bool

    def in_common(self, other: "Found") -> float:
        """The share of the wider band that the other one takes."""
        common = min(self.band.upper, other.band.upper) - max(self.band.lower, other.band.lower)
        return common / max(self.band.bandwidth, other.band.bandwidth)

    def is_as_wide_as(self, other: "Found") -> bool:
        return _are_near(self.band.bandwidth, other.band.bandwidth, _SAME_BANDWIDTH)

    def is_like(self, other: "Found") -> bool:
        """Whether one plan is good for both."""
        if self.symbol_rate is None or other.symbol_rate is None:
            return self.symbol_rate == other.symbol_rate and self.is_as_wide_as(other)
        return _are_near(self.symbol_rate, other.symbol_rate, _SAME_RATE)


def _are_near(one: float, other: float, ratio: float) -> bool:
    return max(one, other) < ratio * min(one, other)


def find_signals(samples: np.ndarray, wanted: Wanted, lowest: float = -0.5) -> list[Found]:
    """The signals of complex64 samples (n,), the strongest first; ``wanted`` and ``lowest`` in cycles per sample.

    A band of which both centre and bandwidth are wanted counts as found.
    """
    if wanted.centre is not None and wanted.bandwidth is not None:
        bands = [Band(wanted.centre, wanted.bandwidth, -np.inf, -np.inf)]
    else:
        found_bands = find_bands(samples, lowest=lowest)
        cores = digital_cores(samples, found_bands, lambda core: measure_symbol_rate(samples, core))
        bands = as_wanted(cores, wanted.centre, wanted.bandwidth)
    found = []
    for band in bands:
        symbol_rate = wanted.symbol_rate or measure_symbol_rate(samples, band).rate
        if wanted.bandwidth is None:
            band = replace(band, bandwidth=symbol_bandwidth(band.bandwidth, symbol_rate))
        at_carrier = tuned(samples, band, symbol_rate) if wanted.centre is None else None
        found.append(Found(at_carrier or band, symbol_rate, _least_power(band), at_carrier is not None))
    return found


def _least_power(band: Band) -> float:
    """Half way, in dB, from the noise in the conditioned band to the noise with the signal, if that was found."""
    if band.power == -np.inf:
        return -np.inf
    noise = band.power - band.snr + 10 * np.log10(_FILTERED)
    both = 10 * np.log10(10 ** (noise / 10) + 10 ** (band.power / 10))
    return float(noise + min((both - noise) / 2, _CLEAR))


# --- from stretch to stretch -----------------------------------------------------------------------


class _Signal:
    """A signal that is followed: conditioned and classified as one stream from the sample ``start`` on."""

    def __init__(self, found: Found, start: int, pipeline: Pipeline) -> None:
        self.found, self.start, self.pipeline = found, start, pipeline
        self._conditioner = Conditioner(_plan(found, pipeline.model))
        self._doubt: Found | None = None
        self.next = start  # no later window begins before

    def follow(self, found: Found) -> bool:
        """Goes on with what was found of it in the next stretch; False where it must be conditioned anew.

        One stretch may be wrong, so another plan is made only for a symbol rate that was not known at all, or when
        the next stretch says the same.
        """
        known = self.found
        if not found.is_like(known) and not (found.symbol_rate is None and known.symbol_rate is not None):
            if known.symbol_rate is None and found.symbol_rate is not None:
                return False
            if self._doubt is not None and self._doubt.is_like(found):
                return False
            self._doubt = found
        else:
            self._doubt = None
        if found.is_as_wide_as(known):
            centre = known.band.centre
            if found.is_tuned or abs(found.band.centre - centre) > _SAME_CENTRE * known.band.bandwidth:
                centre = found.band.centre
                self._conditioner.tune(centre)
            self.found = replace(known, band=replace(known.band, centre=centre), least_power=found.least_power)
        return True

    def push(self, samples: np.ndarray, squelch: float) -> Iterator[Result]:
        """Results of the windows that hold the signal, with sample numbers of the recording; ``squelch`` in dBFS."""
        self.pipeline.squelch = max(squelch, self.found.least_power)
        return self._classified(self._conditioner.push(samples))

    def finish(self) -> Iterator[Result]:
        return self._classified(self._conditioner.finish())

    def _classified(self, samples: np.ndarray) -> Iterator[Result]:
        for windows in self.pipeline.cut(samples):
            self.next = self._place(int(windows.starts[-1]) + self.pipeline.cutter.hop)
            for result in self.pipeline.classify(windows):
                begin, end = (self._place(result.sample_start + n) for n in (0, result.sample_count))
                yield replace(result, sample_start=begin, sample_count=end - begin)

    def _place(self, number: int) -> int:
        """The sample of the recording that a conditioned one belongs to."""
        plan = self._conditioner.plan
        return self.start + number * plan.decimation // plan.interpolation


def _plan(found: Found, model: Model) -> Plan:
    return make_plan(found.band.centre, found.band.bandwidth, found.symbol_rate, model.samples_per_symbol)


class SignalReplay:
    """Classifies the signals in a recording, given in pieces of any length, segment by segment.

    ``wanted`` says what is known of them; ``settings`` are those of ``Pipeline``, of which each signal has one. Memory
    is that of a few stretches and of one window of each signal. Results come in the order of their first samples.
    They have the ``frequency`` of their signal, an offset from the centre where the tuning is not known, and its
    ``bandwidth``, both None without a sample rate.
    """

    why_ignored = "without their signal, below the squelch, or with samples that are no finite number"

    def __init__(self, recording: Recording, model: Model, wanted: Wanted, **settings) -> None:
        self._recording, self._model, self._wanted = recording, model, wanted
        self._squelch = settings.pop("squelch")
        self._settings = settings
        self.counters = Counters()
        self._signals = 0  # so far
        self._length = STRETCH_SAMPLES
        if recording.sample_rate:
            self._length = int(np.clip(STRETCH_SECONDS * recording.sample_rate, _SHORTEST_STRETCH, _LONGEST_STRETCH))

    @property
    def remark(self) -> str:
        """What else is to be said in the end."""
        return f", {self._signals} signal{'s' * (self._signals != 1)}"

    def begin(self, segment: Segment) -> None:
        """The samples of a segment follow."""
        rate, tuning = self._recording.sample_rate, segment.frequency or 0.0
        self._segment = segment
        self._context = StreamContext(segment.sample_start, segment.time, rate, tuning)
        self._searched = self._wanted.in_cycles(rate, tuning)
        self._held: list[np.ndarray] = []
        self._position = segment.sample_start
        self._followed: list[_Signal] = []
        self._waiting: list[tuple[int, int, Result]] = []
        self._number = count()

    def push(self, samples: np.ndarray) -> Iterator[Result]:
        """Appends complex64 samples (n,) and yields what can be said before later ones are known."""
        self._held.append(samples)
        # What is left in the end is then no shorter than a stretch, unless all is.
        while sum(map(len, self._held)) >= 2 * self._length:
            held = np.concatenate(self._held)
            self._held = [held[self._length :]]
            yield from self._classify(held[: self._length])

    def finish(self) -> Iterator[Result]:
        """The segment has ended."""
        if self._held:
            yield from self._classify(np.concatenate(self._held))
        for signal in self._followed:
            self._end(signal)
        while self._waiting:
            yield heapq.heappop(self._waiting)[-1]

    def _classify(self, samples: np.ndarray) -> Iterator[Result]:
        self._follow(find_signals(samples, self._searched, _lowest(self._recording)))
        for signal in self._followed:
            self._take(signal, signal.push(samples, self._squelch))
        self._position += len(samples)
        # Until then, no result that may still come belongs before one that waits.
        known = min((signal.next for signal in self._followed), default=self._position)
        while self._waiting and self._waiting[0][0] < known:
            yield heapq.heappop(self._waiting)[-1]

    def _follow(self, found: list[Found]) -> None:
        """Goes on with the signals that were found again, ends the others, begins new ones."""
        followed = []
        for signal in self._followed:
            again = max(found, key=signal.found.in_common, default=None)
            if again is None or signal.found.in_common(again) < _SAME_BAND:
                self._end(signal)
                continue
            found = [other for other in found if other is not again]
            if signal.follow(again):
                followed.append(signal)
            else:
                self._end(signal)
                followed.append(self._begun(again))
        fresh = found[: max(self._wanted.signals - len(followed), 0)]
        self._signals += len(fresh)
        self._followed = followed + [self._begun(item) for item in fresh]

    def _begun(self, found: Found) -> _Signal:
        return _Signal(found, self._position, Pipeline(self._model, **self._settings))

    def _end(self, signal: _Signal) -> None:
        self._take(signal, signal.finish())
        self.counters.windows += signal.pipeline.counters.windows
        self.counters.ignored += signal.pipeline.counters.ignored

    def _take(self, signal: _Signal, results: Iterator[Result]) -> None:
        segment, context = self._segment, self._context
        rate, band = context.sample_rate, signal.found.band
        last = segment.sample_start + segment.sample_count
        for result in results:
            complete = replace(
                result,
                # The last conditioned sample may reach a little further than the one that it belongs to.
                sample_count=min(result.sample_count, last - result.sample_start),
                time=context.time_at(result.sample_start),
                frequency=context.frequency + band.centre * rate if rate else None,
                bandwidth=band.bandwidth * rate if rate else None,
            )
            heapq.heappush(self._waiting, (complete.sample_start, next(self._number), complete))
