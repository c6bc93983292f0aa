# SPDX-License-Identifier: GPL-3.0-or-later
"""What the label display shows, worked out of the classifier's messages; it draws nothing."""

import math
import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pmt

from .decide import UNKNOWN
from .errors import first_line
from .report import Result, from_pmt

COLUMNS = 1200  # of the history, however wide it is drawn
EMPTY = -1  # in a column: nothing was heard
MOST_ROWS = 12  # frequencies shown at a time; the one that was heard longest ago makes room
MOST_FOREIGN_LABELS = 256
# So many of the newest labels are taken in at an update: at 20 updates a second, all up to 5,000 a second.
TAKEN_LABELS = 256
SHORTEST_GAP = 0.5  # seconds: slow streams come in pieces, and so do their labels
HELD = 0.5  # seconds that the display stays with a frequency that is silent, where others are heard
RATE_SECONDS = 0.9  # at least, from status to status

_LABEL, _FREQUENCY = pmt.intern("label"), pmt.intern("frequency")
Frequency = int | None  # in whole Hz, so that rounding does not make two signals of one


class Strip:
    """Numbers of labels over time at one frequency, a column for each ``seconds`` of the history."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._cells = np.full(COLUMNS, EMPTY, np.int16)  # column c is cell c % COLUMNS
        self._column = 0
        self._intervals: deque[float] = deque(maxlen=8)
        self.label = ""
        self.message = pmt.PMT_NIL
        self.heard = -math.inf  # when a label came last
        self._known = -math.inf  # up to when the label is known to have lasted

    def put(self, when: float, number: int) -> None:
        """A label heard at ``when``; the one before lasted until then, unless that is a gap for this signal."""
        before = self._cells[self._column % COLUMNS]
        self._fill(when, before if self._lasted(when) else EMPTY)
        self._cells[self._column % COLUMNS] = number
        if math.isfinite(self.heard):
            self._intervals.append(when - self.heard)
        self.heard = self._known = when

    def extend(self, when: float) -> None:
        """The last label is said to have lasted until ``when``."""
        self._fill(when, self._cells[self._column % COLUMNS])
        self._known = when

    def _lasted(self, when: float) -> bool:
        silence = when - self._known
        # A slow classifier is known by its usual interval; what was just heard after a gap must not widen it.
        return silence <= SHORTEST_GAP or (
            len(self._intervals) > 0 and silence <= 4 * statistics.median(self._intervals)
        )

    def _fill(self, when: float, number: int) -> None:
        """Moves on to the column of ``when``, with ``number`` in the columns up to there."""
        column = int(when / self._seconds)
        passed = min(column - self._column, COLUMNS)
        if passed > 0:
            self._cells[np.arange(column - passed + 1, column + 1) % COLUMNS] = number
            self._column = column

    def cells(self, now: float) -> np.ndarray:
        """Label numbers int16 (COLUMNS,), oldest first, the last one now; EMPTY where there was none.

        A label lasts until now for as long as it is too early to call that a gap.
        """
        passed = int(np.clip(int(now / self._seconds) - self._column, 0, COLUMNS))
        oldest_first = np.roll(self._cells, -(self._column + 1) % COLUMNS)
        since = oldest_first[-1] if self._lasted(now) else EMPTY
        return np.concatenate((oldest_first[passed:], np.full(passed, since, np.int16)))

    def is_over(self, now: float) -> bool:
        """Whether nothing of it is in the history any more."""
        return now - self._known > COLUMNS * self._seconds


@dataclass(frozen=True)
class Shown:
    """The label in large letters: its result, where and when it was heard."""

    result: Result
    frequency: Frequency
    heard: float


class DisplayState:
    """What is shown. ``hear_label`` and ``hear_status`` come from the flowgraph's thread and never wait; all else
    belongs to the thread that draws, which calls ``update`` and then reads.

    ``classes`` names the probabilities, ``history`` is in seconds, ``warn`` takes a sentence on what is no message of
    a classifier, ``clock`` gives seconds.
    """

    def __init__(
        self,
        classes: tuple[str, ...],
        history: float,
        warn: Callable[[str], None] = lambda sentence: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._warn, self._clock = warn, clock
        self._labels: deque[tuple[float, object]] = deque(maxlen=TAKEN_LABELS)
        self._statuses: deque[tuple[float, object]] = deque(maxlen=1)
        self.heard = 0  # labels so far
        self.classes = classes
        self.labels = [*classes, UNKNOWN]
        self._numbers = {label: number for number, label in enumerate(self.labels)}
        self._warned = False
        self._drawn: tuple = ()
        self.now = clock()
        self.history = history
        self.chosen: Frequency | str = ""  # "" for none, as None is the signal without a frequency
        self.shown: Shown | None = None
        self.counters: dict[str, int] = {}
        self.is_silent = False  # windows come, but none is labelled
        self._status_at = self._confirmed = -math.inf
        self._status_interval = 0.0
        self._rate, self._rate_from = 0.0, (-math.inf, 0)

    # --- flowgraph's thread -----------------------------------------------------------------------

    def hear_label(self, message) -> None:
        # One more item pushes the oldest out, so neither memory nor the flowgraph ever waits for a slow screen.
        self._labels.append((self._clock(), message))
        self.heard += 1

    def hear_status(self, message) -> None:
        self._statuses.append((self._clock(), message))

    # --- drawing thread ---------------------------------------------------------------------------

    @property
    def history(self) -> float:
        """Seconds that the strips cover; a new value empties them."""
        return self._history

    @history.setter
    def history(self, seconds: float) -> None:
        self._history = seconds
        self._strips: dict[Frequency, Strip] = {}

    def update(self) -> bool:
        """Takes in what was heard; whether a picture drawn before is out of date."""
        heard = self.heard
        self._take_labels()
        self.now = self._clock()
        self._take_status()
        for frequency in [key for key, strip in self._strips.items() if strip.is_over(self.now)]:
            del self._strips[frequency]
        self._show()
        column = int(self.now * COLUMNS / self.history) if self._strips else 0
        age = int(self.age) if math.isfinite(self.age) else -1
        drawn = (heard, self._status_at, column, age, self.chosen, self.rate)
        changed, self._drawn = drawn != self._drawn, drawn
        return changed

    def _take_labels(self) -> None:
        for _ in range(len(self._labels)):
            try:
                when, message = self._labels.popleft()
            except IndexError:  # the flowgraph has just pushed it out
                return
            try:
                label = pmt.symbol_to_string(pmt.dict_ref(message, _LABEL, pmt.PMT_NIL))
                tuning = pmt.dict_ref(message, _FREQUENCY, pmt.PMT_NIL)
                frequency = None if pmt.is_null(tuning) else round(pmt.to_double(tuning))
            except Exception as error:  # pmt has its own exception types and raises standard ones too
                self._refuse("labels", error)
                continue
            strip = self._strip(frequency)
            strip.put(when, self._number(label))
            strip.label, strip.message = label, message
            self.is_silent = False

    def _strip(self, frequency: Frequency) -> Strip:
        strip = self._strips.get(frequency)
        if strip is None:
            if len(self._strips) == MOST_ROWS:
                del self._strips[min(self._strips, key=lambda key: self._strips[key].heard)]
            strip = self._strips[frequency] = Strip(self.history / COLUMNS)
        return strip

    def _number(self, label: str) -> int:
        number = self._numbers.get(label)
        if number is None:
            if len(self.labels) > len(self.classes) + MOST_FOREIGN_LABELS:
                return self._numbers[UNKNOWN]
            number = self._numbers[label] = len(self.labels)
            self.labels.append(label)
        return number

    def _take_status(self) -> None:
        if not self._statuses:
            return
        when, message = self._statuses.popleft()
        try:
            counters = {name: int(pmt.to_python(message)[name]) for name in ("windows", "dropped", "ignored", "errors")}
        except Exception as error:
            self._refuse("status", error)
            return
        windows = counters["windows"] - self.counters.get("windows", 0)
        ignored = counters["ignored"] - self.counters.get("ignored", 0)
        newest = max(self._strips.values(), key=lambda strip: strip.heard, default=None)
        if newest is None or newest.heard <= self._status_at:
            if windows > 0 and newest is not None and self.counters:
                newest.extend(when)  # a classifier that publishes changes goes on without a word
                self._confirmed = when
            elif windows == 0 and ignored > 0:
                self.is_silent = True
        self._count(when, counters["windows"], restarted=windows < 0)
        self._status_interval = when - self._status_at
        self.counters, self._status_at = counters, when

    def _count(self, when: float, windows: int, restarted: bool) -> None:
        since, before = self._rate_from
        if restarted or not math.isfinite(since):
            self._rate_from = when, windows
        elif when - since >= RATE_SECONDS:
            self._rate, self._rate_from = (windows - before) / (when - since), (when, windows)

    def _refuse(self, port: str, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            self._warn(
                f"what came to the port {port} is no message of a classifier and is not shown: {first_line(error)}"
            )

    def _show(self) -> None:
        """Chooses the frequency of the large label: the chosen one, or the last one for as long as it is heard."""
        frequency = self.chosen if self.chosen in self._strips else self.followed
        strip = self._strips.get(frequency)
        if strip is None:
            return
        if self.shown and (frequency, strip.heard) == (self.shown.frequency, self.shown.heard):
            return
        try:
            result = from_pmt(strip.message)
            if result.probabilities.ndim != 1:
                raise ValueError("its probabilities are no vector")
            float(result.confidence)  # raises for what is no number
            self.shown = Shown(result, frequency, strip.heard)
        except Exception as error:
            self._refuse("labels", error)

    @property
    def followed(self) -> Frequency:
        """Where no frequency is chosen: the one shown before, unless it fell silent; else the one heard last."""
        newest = max(self._strips, key=lambda key: self._strips[key].heard, default=None)
        shown = self.shown.frequency if self.shown else newest
        if shown in self._strips and self._strips[newest].heard - self._strips[shown].heard < HELD:
            return shown
        return newest

    def choose(self, frequency: Frequency) -> None:
        """The large label stays with that frequency; chosen again, it is free."""
        self.chosen = "" if frequency == self.chosen else frequency

    @property
    def rows(self) -> list[tuple[Frequency, str, np.ndarray]]:
        """(frequency, label heard last, ``Strip.cells``) by frequency, the highest first."""
        order = sorted(self._strips, key=lambda key: math.inf if key is None else -key)
        return [(key, self._strips[key].label, self._strips[key].cells(self.now)) for key in order]

    @property
    def names(self) -> tuple[str, ...]:
        """One for each probability; numbers where ``classes`` are not those of the classifier."""
        count = len(self.shown.result.probabilities) if self.shown else len(self.classes)
        return self.classes if count == len(self.classes) else tuple(f"class {n + 1}" for n in range(count))

    @property
    def age(self) -> float:
        """Seconds since the label in large letters was heard, or is known to have lasted."""
        return self.now - max(self.shown.heard, self._confirmed) if self.shown else math.inf

    @property
    def rate(self) -> float:
        """Windows a second, from one status to another; 0 once there are none."""
        return self._rate if self.now - self._status_at < 3 * max(RATE_SECONDS, self._status_interval) else 0.0
