# SPDX-License-Identifier: GPL-3.0-or-later
"""Classifies the samples of a recording as they are, segment by segment."""

from collections.abc import Iterator

import numpy as np

from .model import Model
from .pipeline import Pipeline
from .recordings import Recording, Segment
from .report import Result


class Replay:
    """Takes the samples of a recording in pieces of any length; ``settings`` are those of ``Pipeline``."""

    why_ignored = "silent, below the squelch, or with samples that are no finite number"

    def __init__(self, recording: Recording, model: Model, **settings) -> None:
        self._recording = recording
        self._pipeline = Pipeline(model, **settings)
        self.counters = self._pipeline.counters
        self._unused = 0

    @property
    def remark(self) -> str:
        """What else is to be said in the end."""
        unused = self._unused
        return f", {unused} sample{'s' * (unused != 1)} left over that filled no window" if unused else ""

    def begin(self, segment: Segment) -> None:
        """The samples of a segment follow."""
        self._pipeline.restart(
            segment.sample_start,
            time=segment.time,
            sample_rate=self._recording.sample_rate,
            frequency=segment.frequency,
        )
        self._last = segment.sample_start + segment.sample_count
        self._end = segment.sample_start

    def push(self, samples: np.ndarray) -> Iterator[Result]:
        """Appends complex64 samples (n,) and yields the results of the windows that they fill."""
        # Beyond the last window; what a hop above the window skips was not wanted.
        step = max(self._pipeline.cutter.window, self._pipeline.cutter.hop)
        # Batch by batch: at a small hop, the results of a whole block would be too many to hold.
        for windows in self._pipeline.cut(samples):
            yield from self._pipeline.classify(windows)
            self._end = int(windows.starts[-1]) + step

    def finish(self) -> Iterator[Result]:
        """The segment has ended."""
        self._unused += max(0, self._last - self._end)
        return iter(())
