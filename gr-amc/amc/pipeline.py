# SPDX-License-Identifier: GPL-3.0-or-later
"""The one way through: samples -> windows -> gate -> normalise -> model -> decide -> results.

The GNU Radio block and the command line both use it.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from .decide import Averages, Decider
from .gate import gate, mean_power
from .limits import checked_number
from .model import Model
from .normalise import prepare
from .report import Result, Results
from .windows import StreamContext, WindowCutter, checked_count

DEFAULT_THRESHOLD = 0.5
DEFAULT_SQUELCH_DBFS = -100.0
# A window waits for those of its batch only where more of them have come than the inference could take.
DEFAULT_BATCH = 128
LARGEST_BATCH = 1 << 14


@dataclass
class Counters:
    """Windows so far: labelled, dropped on overload, ignored (squelched, silent, NaN), failed in inference."""

    windows: int = 0
    dropped: int = 0
    ignored: int = 0
    errors: int = 0


@dataclass(frozen=True)
class Windows:
    """Windows of one stretch, in order.

    ``starts`` int64 (n,) are the numbers of their first samples, ``frames`` complex64 (n, window) their samples.
    ``stretch`` counts the discontinuities before, so that it is known even where windows between were lost.
    """

    starts: np.ndarray
    frames: np.ndarray
    context: StreamContext
    stretch: int

    def __len__(self) -> int:
        return len(self.starts)

    def divided(self, count: int) -> tuple["Windows", "Windows"]:
        """The first ``count`` windows, and the rest."""
        parts = slice(count), slice(count, None)
        head, rest = (replace(self, starts=self.starts[rows], frames=self.frames[rows]) for rows in parts)
        return head, rest

    @staticmethod
    def joined(parts: list["Windows"], room: np.ndarray | None = None) -> "Windows":
        """One batch of ``parts`` of the same stretch, in their order.

        Where there are several, their samples are copied, into ``room`` complex64 (n or more, window) if it is given.
        """
        if len(parts) == 1:
            return parts[0]
        starts = np.concatenate([part.starts for part in parts])
        out = None if room is None else room[: len(starts)]
        return replace(parts[0], starts=starts, frames=np.concatenate([part.frames for part in parts], out=out))


@dataclass(frozen=True)
class Inference:
    """Windows on their way through the model.

    ``levels`` float32 (n,) are the windows' powers in dBFS, ``keep`` bool (n,) says which pass the gate, ``frames``
    complex64 (kept, window) are those as ``prepare`` gives them, with what divides them: ``divisors`` float32 (kept,).
    ``logits`` waits for the model and returns float32 (kept, classes).
    """

    windows: Windows
    levels: np.ndarray
    keep: np.ndarray
    frames: np.ndarray
    divisors: np.ndarray
    logits: Callable[[], np.ndarray]


class Pipeline:
    """Classifies a stream given in pieces of any length; see ``load_model`` for the model.

    Parameters: ``hop`` samples from window to window (None: the window, no overlap); ``average``
    windows; ``threshold`` probability; ``squelch`` dBFS; ``batch``, the most windows in one
    inference. Raises AmcError for settings out of range and when the inference fails.
    """

    def __init__(
        self,
        model: Model,
        *,
        hop: int | None = None,
        average: int = 1,
        threshold: float = DEFAULT_THRESHOLD,
        squelch: float = DEFAULT_SQUELCH_DBFS,
        batch: int = DEFAULT_BATCH,
    ) -> None:
        self.model = model
        self.cutter = WindowCutter(model.window, hop)
        self.decider = Decider(model.classes, model.temperature, average, threshold, model.rejection)
        self.squelch = squelch
        self.batch = checked_count("batch", batch, LARGEST_BATCH)
        self.counters = Counters()
        self._stretch = self._decided_stretch = 0
        self.restart(0)

    @property
    def squelch(self) -> float:
        return self._squelch

    @squelch.setter
    def squelch(self, squelch: float) -> None:
        self._squelch = checked_number(
            "squelch", squelch, lambda value: None if math.isnan(value) else value, "a power in dBFS"
        )

    def restart(
        self,
        offset: int | None = None,
        *,
        time: tuple[int, float] | None = None,
        sample_rate: float | None = None,
        frequency: float | None = None,
    ) -> int:
        """A new stretch begins at sample ``offset`` (None: the next one), about which only this is known.

        Returns how many samples before it filled no window.
        """
        forgotten = self.cutter.restart(offset)
        self.context = StreamContext(self.cutter.position, time, sample_rate, frequency)
        self._stretch += 1
        return forgotten

    def change(self, offset: int, **known) -> int:
        """As ``restart``, but what is not given of time, rate and frequency goes on as before."""
        after = self.context.changed(offset, **known)
        forgotten = self.restart(offset)
        self.context = after
        return forgotten

    def cut(self, samples: np.ndarray) -> Iterator[Windows]:
        """Appends complex64 samples (n,) and yields the windows they fill, at most ``batch`` at a time."""
        self.cutter.append(samples)
        while True:
            starts, frames = self.cutter.take(self.batch)
            if len(starts) == 0:
                return
            if self.cutter.hop > self.cutter.window:
                frames = frames.copy()  # a view would keep what lies between the windows in memory
            yield Windows(starts, frames, self.context, self._stretch)

    def begin(self, windows: Windows) -> Inference:
        """Begins the inference of the windows that pass the gate."""
        try:
            frames = windows.frames
            power = mean_power(frames)
            keep, levels = gate(power, self.squelch)
            if not keep.all():
                frames, power = frames[keep], power[keep]
            frames, by = prepare(frames, power, self.model.normalise)
            return Inference(windows, levels, keep, frames, by, self.model.start(frames, by))
        except Exception:
            self.counters.errors += len(windows)
            raise

    def finish(self, inference: Inference) -> Results:
        """Results of the windows that pass the gate, in order; the others are counted as ignored.

        Windows are finished in the order in which they were cut.
        """
        windows = inference.windows
        if windows.stretch != self._decided_stretch:
            self.decider.restart()
            self._decided_stretch = windows.stretch
        kept = len(inference.frames)
        self.counters.ignored += len(windows) - kept
        try:
            results = self._results(inference, self._decide(inference.keep, inference.logits()))
        except Exception:
            self.counters.errors += kept
            raise
        self.counters.windows += kept
        return results

    def classify(self, windows: Windows) -> Results:
        """``finish`` of what ``begin`` begins."""
        return self.finish(self.begin(windows))

    def push(self, samples: np.ndarray) -> list[Result]:
        """Appends samples and classifies every window they fill."""
        return [result for windows in self.cut(samples) for result in self.classify(windows)]

    def _decide(self, keep: np.ndarray, logits: np.ndarray) -> Averages:
        """Averages of the kept windows; an ignored window between two ends the average."""
        if keep.all():
            return self.decider.averages(logits)
        breaks = np.cumsum(~keep)[keep]
        parts = np.split(logits, np.flatnonzero(np.diff(breaks)) + 1)
        averages = []
        for number, part in enumerate(parts):
            if number > 0 or not keep[0]:
                self.decider.restart()
            averages.append(self.decider.averages(part))
        if not keep[-1]:
            self.decider.restart()
        return Averages(*map(np.concatenate, zip(*averages, strict=True)))

    def _results(self, inference: Inference, averages: Averages) -> Results:
        context, starts = inference.windows.context, inference.windows.starts[inference.keep]
        return Results(
            labels=self.decider.labels(averages),
            confidences=averages.probabilities.max(axis=1),
            probabilities=averages.probabilities,
            sample_starts=starts,
            sample_count=self.model.window,
            powers_dbfs=inference.levels[inference.keep],
            times=[None] * len(starts) if context.time is None else [context.time_at(n) for n in starts.tolist()],
            frequency=context.frequency,
        )
