# SPDX-License-Identifier: GPL-3.0-or-later
"""What the conditioner does between its input and its outputs: look, decide, and lead samples through filters."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pmt

from .bands import SHORTEST_SAMPLES
from .errors import AmcError, first_line
from .sample_queue import SampleQueue
from .signal_chain import SignalChain
from .signal_tracker import Settings, Signal, SignalTracker
from .windows import StreamContext

LONGEST_LOOK = 1 << 19
"""Samples that a look takes at most."""

_PIECE = 1 << 15  # samples handed on at once
_LARGEST_BACKLOG = 1 << 18  # samples that wait before or behind the filters of an output
_SECONDS_TO_WAIT = 0.1  # in a scheduler's thread, before GNU Radio may end it


class _Stopped(Exception):
    """The flowgraph was stopped in mid-stream."""


@dataclass
class HertzSettings:
    """What is not to be estimated, in Hz, the centre with the tuning included; None where it is."""

    centre: float | None = None
    bandwidth: float | None = None
    symbol_rate: float | None = None

    def seen(self, context: StreamContext) -> Settings:
        """The same as seen in samples of this tuning and rate."""

        def cycles(hertz: float | None) -> float | None:
            return None if hertz is None else hertz / context.sample_rate

        centre = None if self.centre is None else self.centre - context.frequency
        return Settings(cycles(centre), cycles(self.bandwidth), cycles(self.symbol_rate))


class _Section:
    """Samples without a discontinuity, on their way from the scheduler's thread to the work's own."""

    def __init__(self, context: StreamContext, is_retuned: bool) -> None:
        self.context, self.is_retuned = context, is_retuned
        self.samples = SampleQueue()
        self.ended = False


class _Output:
    """The stretches of the signals on one output, one after the other; only the last may still be growing."""

    def __init__(self) -> None:
        self.signal: Signal | None = None
        self._stretches: deque[tuple[SignalChain, dict]] = deque()
        self._growing: SignalChain | None = None
        self._tags_are_due = True

    def begin(self, chain: SignalChain, signal: Signal, tags: dict) -> None:
        self.signal, self._growing = signal, chain
        self._stretches.append((chain, tags))

    def end(self) -> None:
        if self._growing is not None:
            self._growing.end()
        self.signal = self._growing = None

    def put(self, samples: np.ndarray) -> None:
        if self._growing is not None:
            self._growing.put(samples)

    @property
    def has_room(self) -> bool:
        chains = [chain for chain, _ in self._stretches]
        return sum(chain.waiting + chain.ready for chain in chains) < _LARGEST_BACKLOG

    @property
    def is_empty(self) -> bool:
        return not self._stretches

    @property
    def is_ready(self) -> bool:
        """Whether samples can be taken, or a stretch of which no more come."""
        return bool(self._stretches) and (self._stretches[0][0].ready > 0 or self._stretches[0][0].ended)

    def take(self, out: np.ndarray) -> tuple[int, dict]:
        """Fills ``out`` from one stretch: how many samples that were, and the tags for the first of them."""
        if self.is_empty:
            return 0, {}
        chain, tags = self._stretches[0]
        count = chain.take(out)
        if not count or not self._tags_are_due:
            return count, {}
        self._tags_are_due = False
        return count, tags

    def used_up(self) -> SignalChain | None:
        """Takes away the first stretch if no more samples come of it."""
        if self.is_empty or self._stretches[0][0].ready or not self._stretches[0][0].ended:
            return None
        self._tags_are_due = True
        return self._stretches.popleft()[0]

    def abort(self) -> list[SignalChain]:
        """Forgets all that is under way, and returns its chains."""
        chains = [chain for chain, _ in self._stretches]
        self._stretches.clear()
        self.signal = self._growing = None
        self._tags_are_due = True
        return chains


class ConditionerWork:
    """Looks at the samples, decides what is on which output, and leads the samples through the chains of the signals.

    It has a thread of its own, so that a look does not hold up the source, and decides by the numbers of the samples
    alone, so that the same samples always give the same output.

    ``publish`` is called with a message for each signal at each look, ``say`` with the sentence of an error.
    """

    def __init__(
        self,
        outputs: int,
        tracker: SignalTracker,
        interval: float,
        sample_rate: float,
        frequency: float,
        publish: Callable,
        say: Callable[[str], None],
    ) -> None:
        self.settings = HertzSettings()
        self.sample_rate, self.frequency = sample_rate, frequency
        self.error: AmcError | None = None
        self.is_over = True
        self._interval, self._tracker = interval, tracker
        self._publish, self._say = publish, say
        # One lock, and a condition for each thread that waits: only the one that can go on is woken.
        self._lock = threading.RLock()
        self._room, self._arrived, self._drained, self._ready = (threading.Condition(self._lock) for _ in range(4))
        self._outputs = [_Output() for _ in range(outputs)]
        self._used_up: list[SignalChain] = []
        self._thread: threading.Thread | None = None
        self._anew = False

    def look_anew(self) -> None:
        """The next look takes up all signals anew, with the settings as they are then."""
        self._anew = True

    # --- threads of the scheduler -----------------------------------------------------------------

    def start(self) -> None:
        self.error = None
        self.is_over = self._is_done = False
        self._followed = self.frequency
        self._context = StreamContext(0, None, self.sample_rate, self.frequency)
        self._sections = deque([_Section(self._context, is_retuned=True)])
        thread = threading.Thread(target=self._run, name="amc conditioner", daemon=True)
        try:
            thread.start()
            self._thread = thread
        except Exception as error:  # one that leaves start() would leave the flowgraph hanging
            self.fail(error)

    def end_stream(self) -> None:
        """No more samples follow."""
        with self._lock:
            self._sections[-1].ended = True
            self._arrived.notify()

    def stop(self) -> None:
        """Ends at once what is still under way."""
        self._end_waiting()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def fail(self, error: Exception) -> None:
        if self.error is None:
            known = isinstance(error, AmcError)
            self.error = (
                error if known else AmcError(f"the conditioner failed: {type(error).__name__}: {first_line(error)}")
            )
            self._say(str(self.error))
        self._end_waiting()

    def _end_waiting(self) -> None:
        with self._lock:
            self.is_over = True
            for condition in (self._room, self._arrived, self._drained, self._ready):
                condition.notify_all()

    def wait_for_room(self) -> bool:
        """Whether there is room for more samples, after some time at most."""
        look, _ = self._lengths(self._context.sample_rate)
        room = look + _PIECE

        def has_room() -> bool:
            return sum(len(section.samples) for section in self._sections) < room

        with self._lock:
            self._room.wait_for(lambda: self.is_over or has_room(), _SECONDS_TO_WAIT)
            return has_room() and not self.is_over

    def put(self, samples: np.ndarray) -> None:
        """Adds complex64 samples (n,), which are not copied and must stay as they are."""
        with self._lock:
            self._sections[-1].samples.put(samples)
            self._arrived.notify()

    def change(self, offset: int, known: dict) -> None:
        """A discontinuity at sample ``offset``, the next one, about which this is known (see ``TagReader``)."""
        if known == {"sample_rate": self._context.sample_rate}:
            return  # a rate said again is no discontinuity; a time or a tuning always is
        self._context = self._context.changed(offset, **known)
        with self._lock:
            self._sections[-1].ended = True
            self._sections.append(_Section(self._context, is_retuned=known.keys() != {"time"}))
            self._arrived.notify()

    def follow_setting(self, offset: int) -> None:
        """A ``frequency`` that was set is the tuning from sample ``offset`` on, the next one."""
        if self._followed != self.frequency:
            self._followed = self.frequency
            self.change(offset, {"frequency": self._followed})

    def give(self, output_items: list[np.ndarray]) -> list[tuple[int, dict]] | None:
        """Fills the outputs; for each how many samples that were and the tags of the first. None when no more comes."""
        with self._lock:
            self._ready.wait_for(
                lambda: self.is_over or self._is_done or any(output.is_ready for output in self._outputs),
                _SECONDS_TO_WAIT,
            )
            if self.is_over or self._is_done:
                return None
            given = [output.take(items) for output, items in zip(self._outputs, output_items, strict=True)]
            used_up = [chain for output in self._outputs if (chain := output.used_up())]
            self._used_up += used_up
            self._drained.notify()
        if any(chain.failed for chain in used_up):
            raise AmcError("a filter of the conditioner ended before all its samples had come; see the log.")
        return given

    # --- thread of its own ------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._condition_all()
            self._wait_until(lambda: all(output.is_empty for output in self._outputs))
        except _Stopped:
            pass
        except Exception as error:
            self.fail(error)
        with self._lock:
            for output in self._outputs:
                self._used_up += output.abort()
        self._close_used_up()
        with self._lock:
            self._is_done = True
            self._ready.notify()

    def _wait_until(self, condition: Callable[[], bool]) -> None:
        """Until the outputs are drained as far as that."""
        with self._lock:
            self._drained.wait_for(lambda: self.is_over or condition())
            if self.is_over:
                raise _Stopped

    def _close_used_up(self) -> None:
        with self._lock:
            chains, self._used_up = self._used_up, []
        for chain in chains:
            chain.close()

    def _condition_all(self) -> None:
        is_last = False
        while not is_last:
            section = self._sections[0]
            if section.is_retuned:
                self._tracker.forget()
            self._condition(section)
            with self._lock:
                for output in self._outputs:
                    output.end()
                is_last = len(self._sections) == 1
                if not is_last:
                    self._sections.popleft()

    def _condition(self, section: _Section) -> None:
        """One look after the other, each at the begin of an interval that is conditioned by what it has told.

        What is too short at the end for a look goes on as before, unless it is all there is.
        """
        look, rest = self._lengths(section.context.sample_rate)
        position = section.context.offset
        while len(samples := self._read(section, look, look)):
            if len(samples) == look or position == section.context.offset:
                self._look(section.context, position, samples)
            self._pass(samples)
            end = position + look + rest
            position += len(samples)
            while position < end and len(samples := self._read(section, 1, min(_PIECE, end - position))):
                self._pass(samples)
                position += len(samples)

    def _lengths(self, sample_rate: float) -> tuple[int, int]:
        """Samples of a look, and those from its end to the next."""
        interval = max(int(self._interval * sample_rate), SHORTEST_SAMPLES)
        look = min(interval, LONGEST_LOOK)
        return look, interval - look

    def _read(self, section: _Section, least: int, most: int) -> np.ndarray:
        """The next samples; fewer than ``least`` only at the end of the section."""
        with self._lock:
            self._arrived.wait_for(lambda: self.is_over or section.ended or len(section.samples) >= least)
            if self.is_over:
                raise _Stopped
            samples = np.empty(min(most, len(section.samples)), np.complex64)
            section.samples.take(samples)
            self._room.notify()
        return samples

    def _pass(self, samples: np.ndarray) -> None:
        """Gives samples to the chains, once all of them have room, so that none runs far ahead."""
        self._wait_until(lambda: all(output.has_room for output in self._outputs))
        with self._lock:
            for output in self._outputs:
                output.put(samples)

    def _look(self, context: StreamContext, position: int, samples: np.ndarray) -> None:
        """Decides what is on each output from sample ``position`` on, where ``samples`` begin."""
        self._close_used_up()
        if self._anew:
            self._anew = False
            self._tracker.forget()
        before = self._tracker.signals
        found = self._tracker.look(samples, self.settings.seen(context))
        for number, (output, signal) in enumerate(zip(self._outputs, found, strict=True)):
            if signal is None:
                with self._lock:
                    output.end()
            elif output.signal is None or output.signal.plan is not signal.plan:
                self._begin(output, signal, context, position)
            if signal or before[number]:
                self._publish(_message(number, signal or before[number], signal is not None, context))

    def _begin(self, output: _Output, signal: Signal, context: StreamContext, position: int) -> None:
        chain = SignalChain(signal.plan, self._lock, self._drained.notify, self._ready.notify)
        chain.start()
        with self._lock:
            output.end()
            output.begin(chain, signal, _tags(signal, context, position))


def _frequency(signal: Signal, context: StreamContext) -> float:
    return context.frequency + signal.plan.centre * context.sample_rate


def _tags(signal: Signal, context: StreamContext, position: int) -> dict:
    """What stands at the first sample of a stretch that begins at sample ``position`` of the input."""
    tags = {
        "rx_freq": pmt.from_double(_frequency(signal, context)),
        "rx_rate": pmt.from_double(context.sample_rate * float(signal.plan.ratio)),
    }
    if (time := context.time_at(position)) is not None:
        tags["rx_time"] = pmt.make_tuple(pmt.from_uint64(time[0]), pmt.from_double(time[1]))
    return tags


def _message(output: int, signal: Signal, is_present: bool, context: StreamContext):
    """The PMT dictionary of the port ``signals``; its keys are listed in ``gnuradio.amc.conditioner``."""
    fields = {
        "output": pmt.from_long(output),
        "present": pmt.from_bool(is_present),
        "frequency": pmt.from_double(_frequency(signal, context)),
        "bandwidth": pmt.from_double(signal.band.bandwidth * context.sample_rate),
        "confidence": pmt.from_double(signal.symbol_rate.confidence),
        "power": pmt.from_double(signal.band.power),
        "snr": pmt.from_double(signal.band.snr),
    }
    if signal.symbol_rate.rate is not None:
        fields["symbol_rate"] = pmt.from_double(signal.symbol_rate.rate * context.sample_rate)
    message = pmt.make_dict()
    for name, value in fields.items():
        message = pmt.dict_add(message, pmt.intern(name), value)
    return message
