# SPDX-License-Identifier: GPL-3.0-or-later
"""Cuts a stream of samples into windows: each one once, in order, never across a discontinuity."""

import sys
from dataclasses import dataclass, replace

import numpy as np

from .errors import AmcError

LONGEST_WINDOW = 1 << 20
LONGEST_HOP = 1 << 31


def checked_count(name: str, value: int, largest: int, least: int = 1) -> int:
    """``value`` as an int from ``least`` to ``largest``; raises AmcError that names the setting."""
    try:
        whole = not isinstance(value, bool) and int(value) == value and least <= value <= largest
    except (TypeError, ValueError, OverflowError):  # no number, NaN, infinity
        whole = False
    if not whole:
        raise AmcError(f"{name} is {value!r}; it must be a whole number from {least} to {largest}.")
    return int(value)


class _Rooms:
    """Memory for samples, used again once nobody refers to it: new memory takes the system longer than a copy does."""

    MOST = 8

    def __init__(self) -> None:
        # The first is never given away, so that as many refer to it as to any that is free.
        self._rooms = [np.empty(0, np.complex64)]

    def take(self, count: int) -> np.ndarray:
        """Complex64 (``count``,) with anything in it."""
        # What else these count differs between versions of Python, but is the same for all.
        free, *references = [sys.getrefcount(room) for room in self._rooms]
        for number, found in enumerate(references, 1):
            if found == free and len(self._rooms[number]) >= count:
                return self._rooms[number][:count]
        room = np.empty(count, np.complex64)
        self._rooms = [self._rooms[0], *self._rooms[1:][1 - self.MOST :], room]
        return room


class WindowCutter:
    """Cuts windows of ``window`` samples, one every ``hop`` samples (overlap below, gaps above).

    A hop of None is the window: neither overlap nor gap.

    Samples are appended as they come and windows are taken until none is left; what the windows are
    does not depend on how the stream was divided. Raises AmcError for a window or hop out of range.
    """

    def __init__(self, window: int, hop: int | None = None) -> None:
        self.window = checked_count("window", window, LONGEST_WINDOW)
        self.hop = hop
        self._rooms = _Rooms()
        self._buffer = np.empty(0, np.complex64)
        self._buffer_start = 0
        self._next = 0

    @property
    def hop(self) -> int:
        return self._hop

    @hop.setter
    def hop(self, hop: int | None) -> None:
        self._hop = self.window if hop is None else checked_count("hop", hop, LONGEST_HOP)

    @property
    def position(self) -> int:
        """Number of the next sample to be appended."""
        return self._buffer_start + len(self._buffer)

    def restart(self, position: int | None = None) -> int:
        """Forgets the samples that fill no window; the next sample has number ``position``.

        Without ``position`` the numbers go on. Returns how many samples were forgotten.
        """
        forgotten = max(0, self.position - self._next)
        self._buffer_start = self.position if position is None else int(position)
        self._buffer = np.empty(0, np.complex64)
        self._next = self._buffer_start
        return forgotten

    def append(self, samples: np.ndarray) -> None:
        """Adds complex64 samples (n,); they are copied."""
        held = self._buffer[max(0, self._next - self._buffer_start) :]
        end = self.position + len(samples)
        fresh = samples[max(0, self._next - self.position) :]
        # Windows already taken are views of the old buffer, which is not written to as long as there are any.
        self._buffer = np.concatenate((held, fresh), out=self._rooms.take(len(held) + len(fresh)))
        self._buffer_start = end - len(self._buffer)

    def take(self, limit: int) -> tuple[np.ndarray, np.ndarray]:
        """At most ``limit`` windows: first sample numbers int64 (n,), frames complex64 (n, window), read-only."""
        hop, ready = self.hop, self.position - self.window - self._next
        count = min(limit, ready // hop + 1) if ready >= 0 else 0
        starts = self._next + hop * np.arange(count, dtype=np.int64)
        if count == 0:
            return starts, np.empty((0, self.window), np.complex64)
        first = self._next - self._buffer_start
        size = self._buffer.itemsize
        frames = np.ndarray((count, self.window), np.complex64, self._buffer, size * first, (size * hop, size))
        frames.flags.writeable = False
        self._next += hop * count
        return starts, frames


@dataclass(frozen=True)
class StreamContext:
    """What is known of a stretch of the stream: when sample ``offset`` was taken, rate, tuning.

    ``time`` is (whole seconds, fraction) since 1970 as in GNU Radio's ``rx_time`` tag, ``sample_rate``
    in samples per second, ``frequency`` in Hz; None where not known.
    """

    offset: int = 0
    time: tuple[int, float] | None = None
    sample_rate: float | None = None
    frequency: float | None = None

    def time_at(self, sample: int) -> tuple[int, float] | None:
        if self.time is None or (sample != self.offset and not self.sample_rate):
            return None
        elapsed = (sample - self.offset) / self.sample_rate if sample != self.offset else 0.0
        whole, fraction = divmod(self.time[1] + elapsed, 1.0)
        return self.time[0] + int(whole), fraction

    def changed(
        self,
        offset: int,
        time: tuple[int, float] | None = None,
        sample_rate: float | None = None,
        frequency: float | None = None,
    ) -> "StreamContext":
        """The context from sample ``offset`` on; what is not given goes on as before."""
        known = {"time": time, "sample_rate": sample_rate, "frequency": frequency}
        carried = self.time_at(offset)
        return replace(self, offset=offset, **{"time": carried} | {k: v for k, v in known.items() if v is not None})
