# SPDX-License-Identifier: GPL-3.0-or-later
"""SigMF annotations of a recording that is still being made: a metadata file that is whole at any moment.

Each write makes the file anew under another name. What the last one held is copied from it by its bytes, so that
neither memory nor the work of Python grows with the recording.
"""

import math
import os
import threading
import weakref
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from .annotate import Place, Run, complete_capture, global_fields, json_text
from .errors import AmcError
from .files import replacing
from .limits import LATEST_TIME, usable_frequency
from .recordings import Recording, Segment
from .report import Result
from .sigmf_metadata import LARGEST_INDEX
from .windows import StreamContext

# Annotations that may wait for a file that cannot be written: some 100 MB.
LARGEST_WAITING = 1 << 18
_COPIED_AT_ONCE = 1 << 20


class _Items:
    """A JSON list that grows: bytes ``start`` to ``end`` of the last file hold its first items, the others wait.

    ``waiting`` are, for each, how many samples the recording must have before it may be said, and the text.
    """

    def __init__(self) -> None:
        self.start = self.end = 0
        self.waiting: list[tuple[int, bytes]] = []

    def ready(self, recorded: float) -> list[bytes]:
        """The first of those that wait, as far as they lie in the samples that were recorded."""
        count = next((n for n, (needed, _) in enumerate(self.waiting) if needed > recorded), len(self.waiting))
        return [text for _, text in self.waiting[:count]]


class LiveAnnotations:
    """Keeps the metadata file ``path`` of a recording that grows; ``add`` and ``write`` may run in two threads.

    ``recording`` says what is known of it beforehand: format, rate, the ``global`` fields of its metadata, and where
    its samples will be. ``frequency`` in Hz holds where results say none. The results are those of a stream of
    which the recording has every sample. ``merge`` makes consecutive windows of one label one annotation.

    A program can be killed before the last samples are in the recording, so nothing is said of samples that are not:
    their annotations wait. Where there is no file with the samples, nothing waits.
    """

    def __init__(self, path: Path, recording: Recording, place: Place, frequency: float | None, merge: bool) -> None:
        self.path = path
        self._recording, self._frequency, self._merge = recording, frequency, merge
        self._head = head_of_file(recording, place)
        self._lock = threading.Lock()
        self._run: Run | None = None
        self._old: int | None = None
        self._close_old = weakref.finalize(self, lambda: None)
        self._begin(0)
        self._recorded_at_begin = math.inf

    @property
    def crowded(self) -> bool:
        """Whether so much waits that it should be written before long."""
        return len(self._annotations.waiting) > LARGEST_WAITING // 2

    def set_frequency(self, frequency: float | None) -> None:
        """Holds from the next result on."""
        with self._lock:
            self._frequency = frequency

    def begin(self) -> None:
        """A stream begins, whose results count its samples from 0; call it while nothing is being written.

        Where the recording grew since the last call, it goes on there, and so do the annotations. Otherwise it is
        made, or replayed, from its beginning: the file begins anew.
        """
        recorded = self._recorded()
        with self._lock:
            grown = self._recorded_at_begin < recorded < math.inf
            self._begin(int(recorded) if grown else 0)
            self._recorded_at_begin = 0 if recorded == math.inf else recorded

    def add(self, result: Result) -> None:
        """One more window, in the order of the stream; raises AmcError for one that cannot be noted."""
        _check(result)
        with self._lock:
            start = self._base + result.sample_start
            result = replace(result, sample_start=start)
            if start < self._context.offset:
                raise AmcError(f"the window at sample {start} comes behind a later one; connect one classifier.")
            if start + result.sample_count > LARGEST_INDEX:
                raise AmcError(f"the window at sample {start} is beyond what SigMF can count; start again.")
            if len(self._annotations.waiting) >= LARGEST_WAITING:
                raise AmcError(f"{len(self._annotations.waiting)} annotations wait for {self.path} already; make room.")
            self._follow(result)
            if self._merge and self._run and self._run.takes(result, self._segment):
                self._run.extend(result)
            else:
                if self._run:
                    self._annotations.waiting.append((self._run.end, self._annotation(math.inf)))
                self._run = Run(result, self._segment)
            self._changed = True

    def write(self, final: bool = False) -> None:
        """Writes what was said since the last time; raises AmcError, and keeps all of it, where that fails.

        ``final``: the recording is complete, or will be.
        """
        recorded = self._recorded()
        with self._lock:
            if not self._changed:
                return
            reach = math.inf if final else recorded
            parts = []
            for items in (self._captures, self._annotations):
                ready = items.ready(recorded)
                parts.append((ready, [text for _, text in items.waiting[len(ready) :]] if final else []))
            if self._capture[0] <= reach:
                parts[0][1].append(self._capture[1])
            if self._run and self._run.start < reach:
                parts[1][1].append(self._annotation(reach))
            # What lies beyond the recorded samples is to be said once they are there.
            self._changed = self._run is not None and self._run.end > recorded
        try:
            new, places = self._write_file(parts)
        except BaseException:
            self._changed = True
            raise
        with self._lock:
            self._keep(new)
            for items, (ready, _), place in zip((self._captures, self._annotations), parts, places, strict=True):
                items.start, items.end = place
                del items.waiting[: len(ready)]

    def _keep(self, descriptor: int | None) -> None:
        """Keeps the file that was written last open, for the next one to be made from, and closes the one before."""
        self._close_old()
        self._old = descriptor
        if descriptor is not None:
            self._close_old = weakref.finalize(self, os.close, descriptor)

    def _write_file(self, parts: list[tuple[list[bytes], list[bytes]]]) -> tuple[int, list[tuple[int, int]]]:
        """The descriptor of the new file, and where in it the items lie that will not change."""
        new, places = None, []
        try:
            with replacing(str(self.path), "wb+") as file:
                file.write(self._head)
                for items, (ready, changing) in zip((self._captures, self._annotations), parts, strict=True):
                    if places:
                        file.write(b'\n],\n"annotations": [')
                    start = file.tell()
                    if self._old is not None:
                        _copy(self._old, items.start, items.end, file)
                    _write_items(file, ready, first=items.start == items.end)
                    places.append((start, file.tell()))
                    _write_items(file, changing, first=places[-1][0] == places[-1][1])
                file.write(b"\n]\n}\n")
                file.flush()
                os.fsync(file.fileno())
                # Its content is then at hand even where somebody takes the file away.
                new = os.dup(file.fileno())
        except BaseException:
            if new is not None:
                os.close(new)
            raise
        return new, places

    def _recorded(self) -> float:
        """Whole samples in the recording, infinite where there is none."""
        try:
            return os.stat(self._recording.source.path).st_size // self._recording.format.size
        except OSError:
            return math.inf

    def _follow(self, result: Result) -> None:
        """Begins a capture where frequency or time do not go on as before."""
        # With a bandwidth, it is the frequency of a signal and not what the receiver is tuned to.
        has_tuning = result.frequency is not None and result.bandwidth is None
        frequency = result.frequency if has_tuning else self._frequency
        expected = self._context.time_at(result.sample_start)
        context = self._context.changed(result.sample_start, time=result.time, frequency=frequency)
        segment = self._segment
        if self._nothing_said:
            # What is known of the first window is taken to hold from the first sample on.
            segment = Segment(self._base, 0, 0, context.time_at(self._base), context.frequency)
        elif context.frequency != segment.frequency or self._is_jump(expected, result.time):
            segment = Segment(result.sample_start, 0, 0, context.time, context.frequency)
        if segment is not self._segment:
            capture = _capture(segment)
            if not self._nothing_said:
                self._captures.waiting.append(self._capture)
            self._segment, self._capture = segment, capture
        self._context = context
        self._nothing_said = False

    def _is_jump(self, expected: tuple[int, float] | None, said: tuple[int, float] | None) -> bool:
        """Whether a time is not the one expected: samples were lost. Without a rate none can be expected."""
        rate = self._recording.sample_rate
        if rate is None or said is None:
            return False
        return expected is None or abs(said[0] - expected[0] + said[1] - expected[1]) > 1 / rate

    def _begin(self, base: int) -> None:
        """A stream whose first sample is number ``base`` of the recording; what was said goes on only beyond 0."""
        if base:
            self._end_stream(base)
        else:
            self._captures, self._annotations = _Items(), _Items()
            self._keep(None)
        self._base = base
        self._run = None
        self._segment = Segment(base, 0, 0, None, self._frequency)
        self._capture = _capture(self._segment)
        self._context = StreamContext(base, sample_rate=self._recording.sample_rate)
        self._nothing_said = True
        self._changed = True

    def _end_stream(self, end: int) -> None:
        """Keeps what was said of the samples before ``end``; others take the place of those beyond."""
        if self._run and self._run.start < end:
            self._annotations.waiting.append((end, self._annotation(end)))
        self._captures.waiting.append(self._capture)
        for items in (self._captures, self._annotations):
            items.waiting = [item for item in items.waiting if item[0] <= end]

    def _annotation(self, reach: float) -> bytes:
        """The text of the run so far, up to the sample ``reach``."""
        annotation = self._run.annotation(self._recording)
        annotation["core:sample_count"] = min(annotation["core:sample_count"], reach - self._run.start)
        return json_text(annotation).encode()


def head_of_file(recording: Recording, place: Place) -> bytes:
    """What the file begins with, up to the first capture."""
    return f'{{\n"global": {json_text(global_fields(recording, place), 4)},\n"captures": ['.encode()


def _capture(segment: Segment) -> tuple[int, bytes]:
    """How many samples there must be before this capture may be said, and its text; the first one always may."""
    text = json_text(complete_capture({"core:sample_start": segment.sample_start}, segment))
    return segment.sample_start + 1 if segment.sample_start else 0, text.encode()


def _check(result: Result) -> None:
    """Raises AmcError for values that a classifier does not give."""
    right = (
        isinstance(result.label, str)
        and isinstance(result.sample_start, int)
        and isinstance(result.sample_count, int)
        and result.sample_count > 0
        and 0 <= result.confidence <= 1
        and (result.time is None or (0 <= result.time[0] <= LATEST_TIME and 0 <= result.time[1] < 1))
        and (result.frequency is None or usable_frequency(result.frequency) is not None)
    )
    if not right:
        raise AmcError(
            f"the label {result.label!r:.40} at sample {result.sample_start!r:.40} is none that a classifier gives; "
            "connect the port labels of one."
        )


def _write_items(file: BinaryIO, texts: list[bytes], first: bool) -> None:
    if texts:
        file.write((b"\n" if first else b",\n") + b",\n".join(texts))


def _copy(old: int, start: int, end: int, file: BinaryIO) -> None:
    while start < end:
        part = os.pread(old, min(end - start, _COPIED_AT_ONCE), start)
        if not part:
            raise OSError(0, "somebody cut it short")
        file.write(part)
        start += len(part)
