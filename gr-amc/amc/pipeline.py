# SPDX-License-Identifier: GPL-3.0-or-later
"""The one way through: samples -> windows -> gate -> normalise -> model -> decide -> results.

The GNU Radio block and the command line both use it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from .decide import Decider
from .errors import AmcError
from .gate import gate
from .model import Model
from .normalise import normalise
from .report import Result
from .windows import StreamContext, WindowCutter, checked_count

DEFAULT_THRESHOLD = 0.5
DEFAULT_SQUELCH_DBFS = -100.0
# With one thread onnxruntime is no faster on larger batches, whose first window waits for their last.
DEFAULT_BATCH = 8
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
    """Windows of one stretch, in order: frames complex64 (n, window), first sample numbers int64 (n,).

    ``stretch`` counts the discontinuities before, so that it is known even where windows between were lost.
    """

    frames: np.ndarray
    starts: np.ndarray
    context: StreamContext
    stretch: int

    def joined(self, others: list["Windows"]) -> "Windows":
        """These windows and the ``others`` of the same stretch that follow, as one batch."""
        if not others:
            return self
        frames = np.concatenate([self.frames, *(other.frames for other in others)])
        return replace(self, frames=frames, starts=np.concatenate([self.starts, *(other.starts for other in others)]))


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
        self.decider = Decider(model.classes, model.temperature, average, threshold)
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
        if squelch != squelch:
            raise AmcError("squelch is nan; it must be a power in dBFS.")
        self._squelch = float(squelch)

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
            yield Windows(frames, starts, self.context, self._stretch)

    def classify(self, windows: Windows) -> list[Result]:
        """Results of the windows that pass the gate, in order; the others are counted as ignored."""
        if windows.stretch != self._decided_stretch:
            self.decider.restart()
            self._decided_stretch = windows.stretch
        keep, level = gate(windows.frames, self.squelch)
        self.counters.ignored += int((~keep).sum())
        if not keep.any():
            self.decider.restart()
            return []
        try:
            logits = self.model.run(normalise(windows.frames[keep], self.model.normalise))
        except Exception:
            self.counters.errors += int(keep.sum())
            raise
        probabilities = self._decide(keep, logits)
        results = [
            self._result(row, int(start), float(power), windows.context)
            for row, start, power in zip(probabilities, windows.starts[keep], level[keep], strict=True)
        ]
        self.counters.windows += len(results)
        return results

    def push(self, samples: np.ndarray) -> list[Result]:
        """Appends samples and classifies every window they fill."""
        return [result for windows in self.cut(samples) for result in self.classify(windows)]

    def _decide(self, keep: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """Probabilities of the kept windows; an ignored window between two ends the average."""
        breaks = np.cumsum(~keep)[keep]
        parts = np.split(logits, np.flatnonzero(np.diff(breaks)) + 1)
        probabilities = []
        for number, part in enumerate(parts):
            if number > 0 or not keep[0]:
                self.decider.restart()
            probabilities.append(self.decider.probabilities(part))
        if not keep[-1]:
            self.decider.restart()
        return np.concatenate(probabilities)

    def _result(self, probabilities: np.ndarray, start: int, level: float, context: StreamContext) -> Result:
        return Result(
            label=self.decider.label(probabilities),
            confidence=float(probabilities.max()),
            probabilities=probabilities,
            sample_start=start,
            sample_count=self.model.window,
            power_dbfs=level,
            time=context.time_at(start),
            frequency=context.frequency,
        )
