# SPDX-License-Identifier: GPL-3.0-or-later
"""The GNU Radio block: complex samples in, messages with modulation labels out."""

import threading
import time
from collections import deque

import numpy as np
import pmt
from gnuradio import gr

from ._messages import publish
from .errors import AmcError, first_line
from .model import load_model
from .pipeline import DEFAULT_BATCH, DEFAULT_SQUELCH_DBFS, DEFAULT_THRESHOLD, Counters, Inference, Pipeline, Windows
from .report import Results
from .stream_tags import TagReader
from .thread_state import KeptThreadState
from .word_to_end import SYSTEM, begin_to_publish, forget_words_to_end, prepare_to_end

OVERLOADS = ("block", "drop")
PUBLISHES = ("every", "change")
LABELS, STATUS = "labels", "status"

# Windows that may wait for the inference: enough to ride out a pause, few enough to stay current.
QUEUED_WINDOWS = 512
# Batches that the engine has before it while one is published, so that it need not wait for the interpreter.
BATCHES_AHEAD = 2
# The block before may run three times as many samples ahead: with GNU Radio's own 8192, threads wake each other for
# every few windows.
HISTORY = 1 << 16
# Each call of the block takes the interpreter from the inference. While windows wait for that in any case, a call that
# brought few samples is followed by a pause, in which more gather.
FEW_SAMPLES = 1 << 15
PAUSE_SECONDS = 1e-3
SECONDS_BETWEEN_WARNINGS = 1.0


def checked_choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    """``value`` if it is one of ``choices``; raises AmcError that names the setting."""
    if value not in choices:
        raise AmcError(f"{name} is '{value}'; choose one of {', '.join(choices)}.")
    return value


class _Publisher(gr.basic_block):
    """Owns the message ports and outlives the sink.

    When a block ends, GNU Radio tells its message subscribers to end too, before it calls the block's
    ``stop``. The sink still classifies what is queued in its ``stop``, so messages leave through this
    block, which nobody tells to end but the sink, after the last message.
    """

    def __init__(self) -> None:
        gr.basic_block.__init__(self, name="amc_publisher", in_sig=None, out_sig=None)
        self._ports = {name: pmt.intern(name) for name in (LABELS, STATUS)}
        for port in self._ports.values():
            self.message_port_register_out(port)

    def start(self) -> bool:
        forget_words_to_end(self)
        begin_to_publish(self)
        return True

    def publish_labels(self, results: Results, waits: bool) -> None:
        """Publishes them; ``waits`` for subscribers that are so far behind that more would only take memory."""
        publish(
            self.to_basic_block(),
            self._ports[LABELS],
            results.labels,
            results.confidences,
            results.probabilities,
            results.sample_starts,
            results.sample_count,
            results.powers_dbfs,
            results.times,
            results.frequency,
            waits,
        )

    def publish_status(self, message) -> None:
        self.message_port_pub(self._ports[STATUS], message)

    def finish(self, stopped: bool) -> None:
        """Ends this block as GNU Radio would, after the messages so far.

        A flowgraph that is ``stopped`` or reconfigured ends all its blocks, but in no order: told to end besides, this
        one might tell subscribers that are over already, whose next run then ends before a message comes.
        """
        prepare_to_end(self)
        if not stopped:
            self.to_basic_block()._post(SYSTEM, pmt.cons(pmt.intern("done"), pmt.from_long(1)))


class _Queue:
    """Windows on their way to the inference thread, taken out in batches of up to ``batch``.

    The samples of a batch may be written over once BATCHES_AHEAD + 1 more have been taken out: memory that is new for
    each batch takes the system as long as copying the samples does.
    """

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self._rooms = deque([np.empty((0, 0), np.complex64)] * (BATCHES_AHEAD + 2))
        self._capacity = max(QUEUED_WINDOWS, batch)
        self._items: deque[Windows] = deque()
        self._count = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, windows: Windows, wait: bool) -> bool:
        """Adds the windows; False if there was no room (``wait`` False) or the queue is closed."""
        with self._changed:
            if wait and self._is_full():
                # Woken for every batch, this thread would take turns with the inference for the interpreter.
                self._changed.wait_for(lambda: self._closed or self._count <= self._capacity // 2)
            if self._closed or self._is_full():
                return False
            self._items.append(windows)
            self._count += len(windows)
            self._changed.notify()
            return True

    def holds_windows(self) -> bool:
        return self._count > 0

    @property
    def is_closed(self) -> bool:
        return self._closed

    def _is_full(self) -> bool:
        return self._count >= self._capacity

    def get(self, wait: bool) -> Windows | None:
        """All that waits of one stretch, up to a batch.

        With ``wait`` None once the queue is closed and empty, without it unless there is enough for a whole batch.
        """
        with self._changed:
            if not wait and self._count < self._batch:
                return None
            while not self._items and not self._closed:
                self._changed.wait()
            if not self._items:
                return None
            parts, count = [], 0
            while count < self._batch and self._items and (not parts or self._items[0].stretch == parts[0].stretch):
                part = self._items.popleft()
                if len(part) > self._batch - count:
                    part, rest = part.divided(self._batch - count)
                    self._items.appendleft(rest)
                parts.append(part)
                count += len(part)
            self._count -= count
            if self._count <= self._capacity // 2:
                self._changed.notify()
        return Windows.joined(parts, self._room(count, parts[0].frames.shape[1]) if len(parts) > 1 else None)

    def _room(self, count: int, window: int) -> np.ndarray:
        """The room that was given longest ago, for so many windows at least."""
        self._rooms.rotate()
        if len(self._rooms[0]) < count:
            self._rooms[0] = np.empty((count, window), np.complex64)
        return self._rooms[0]

    def empty(self) -> int:
        """Takes everything out and returns how many windows that was."""
        with self._changed:
            count, self._count = self._count, 0
            self._items.clear()
            return count

    def close(self) -> None:
        """No more is accepted; never waits, so it cannot deadlock on a full queue."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class _Sink(gr.basic_block):
    """Cuts windows in the scheduler's thread and classifies them in one of its own."""

    def __init__(
        self, pipeline: Pipeline, publisher: _Publisher, overload: str, publish: str, status_interval: float
    ) -> None:
        gr.basic_block.__init__(self, name="amc_windows", in_sig=[np.complex64], out_sig=None)
        # GNU Radio makes the buffer before a block for twice its history, of which nothing else is used here, and twice
        # the inverse of its rate. By that rate it asks for one item, and so hands over all samples that there are.
        self.set_history(HISTORY + 1)
        self.set_relative_rate(1, HISTORY)
        self.pipeline, self.publisher = pipeline, publisher
        self.overload, self.publish_policy = overload, publish
        self.status_interval = status_interval
        self.error: AmcError | None = None
        self._thread: threading.Thread | None = None
        self._thread_state = KeptThreadState()
        self._tags = TagReader(self, self._warn_of_tag)

    # --- scheduler's thread -----------------------------------------------------------------------

    def start(self) -> bool:
        self._thread_state.keep()
        self.error = None
        self.pipeline.counters = Counters()
        self.pipeline.restart(0)
        self._last_said: tuple[int, str] | None = None
        self._last_status = -np.inf
        self._last_warning = -np.inf
        self._dropped_unsaid = 0
        self._queue = _Queue(self.pipeline.batch)
        thread = threading.Thread(target=self._infer, name="amc inference", daemon=True)
        try:
            thread.start()
            self._thread = thread
        except Exception as error:  # one that leaves start() would leave the flowgraph hanging
            self._fail(error)
        return True

    def forecast(self, noutput_items, ninputs) -> list[int]:
        return [HISTORY + 1]

    def general_work(self, input_items, output_items) -> int:
        samples = input_items[0][HISTORY:]
        is_busy = self._queue.holds_windows()
        try:
            self._take(samples)
        except Exception as error:  # one that leaves general_work() would leave the flowgraph hanging
            self._fail(error)
        self.consume(0, len(samples))
        if is_busy and len(samples) < FEW_SAMPLES:
            time.sleep(PAUSE_SECONDS)
        # -1 is WORK_DONE: the flowgraph ends, and the caller finds the reason in `error`.
        return 0 if self.error is None else -1

    def stop(self) -> bool:
        if self._thread is not None:
            self._queue.close()
            self._thread.join()
            self._thread = None
        # What waits behind a failure was cut but never classified.
        self.pipeline.counters.errors += self._queue.empty()
        self._warn_of_drops()
        self._publish_status()
        self.publisher.finish(stopped=not self.detail().done())
        self._thread_state.release()
        return True

    def _take(self, samples: np.ndarray) -> None:
        """Queues the windows that ``samples`` fill, a new stretch beginning at every tag that says so."""
        first = self.nitems_read(0)
        done = 0
        for offset, known in self._tags.places(len(samples)):
            if known == {"sample_rate": self.pipeline.context.sample_rate}:
                continue  # a rate said again is no discontinuity; a time or a tuning always is
            self._cut(samples[done : offset - first])
            done = offset - first
            forgotten = self.pipeline.change(offset, **known)
            if forgotten:
                self.logger.debug(f"{forgotten} samples before the discontinuity at sample {offset} fill no window")
        self._cut(samples[done:])

    def _cut(self, samples: np.ndarray) -> None:
        for windows in self.pipeline.cut(samples):
            if self._queue.put(windows, wait=self.overload == "block"):
                continue
            if self.error is not None:
                self.pipeline.counters.errors += len(windows)
                return
            self.pipeline.counters.dropped += len(windows)
            self._dropped_unsaid += len(windows)
            if self._may_warn():
                self._warn_of_drops()

    def _may_warn(self) -> bool:
        """Whether the last warning is long enough ago; if so, one is due now."""
        now = time.monotonic()
        due = now - self._last_warning >= SECONDS_BETWEEN_WARNINGS
        if due:
            self._last_warning = now
        return due

    def _warn_of_tag(self, sentence: str) -> None:
        if self._may_warn():
            self.logger.warn(sentence)

    def _warn_of_drops(self) -> None:
        if self._dropped_unsaid:
            self.logger.warn(f"overload: {self._dropped_unsaid} windows dropped since the last warning")
            self._dropped_unsaid = 0

    # --- inference thread -------------------------------------------------------------------------

    def _infer(self) -> None:
        """Says what a batch is while the engine works on those behind it."""
        under_way: deque[Inference] = deque()
        try:
            while True:
                windows = self._queue.get(wait=not under_way)
                if windows is None and not under_way:
                    return
                if windows is not None:
                    under_way.append(self.pipeline.begin(windows))
                    if len(under_way) <= BATCHES_AHEAD:
                        continue
                done = under_way.popleft()
                self._publish(done, self.pipeline.finish(done))
                if time.monotonic() - self._last_status >= self.status_interval:
                    self._publish_status()
        except Exception as error:
            self.pipeline.counters.errors += sum(len(inference.windows) for inference in under_way)
            self._fail(error)

    def _publish(self, inference: Inference, results: Results) -> None:
        stretch = inference.windows.stretch
        is_every = self.publish_policy == "every"
        chosen = results if is_every else results.chosen(self._changes(inference.keep, stretch, results.labels))
        # Whatever the policy is now, what was said last counts once it is "change".
        self._last_said = (stretch, results.labels[-1]) if inference.keep[-1] else None
        # Once the flowgraph ends or is stopped, there is little more to come.
        self.publisher.publish_labels(chosen, waits=self.overload == "block" and not self._queue.is_closed)

    def _changes(self, keep: np.ndarray, stretch: int, labels: list[str]) -> list[int]:
        """Numbers of the results whose label is new, or new after a gap in the signal."""
        changes, number, last_said = [], 0, self._last_said
        for is_kept in keep.tolist():
            said = (stretch, labels[number]) if is_kept else None
            if is_kept and said != last_said:
                changes.append(number)
            last_said = said
            number += is_kept
        return changes

    def _publish_status(self) -> None:
        self._last_status = time.monotonic()
        message = pmt.make_dict()
        for name, value in vars(self.pipeline.counters).items():
            message = pmt.dict_add(message, pmt.intern(name), pmt.from_uint64(value))
        self.publisher.publish_status(message)

    # --- either -----------------------------------------------------------------------------------

    def _fail(self, error: Exception) -> None:
        if self.error is None:
            known = isinstance(error, AmcError)
            self.error = (
                error if known else AmcError(f"the classifier failed: {type(error).__name__}: {first_line(error)}")
            )
            self.logger.error(str(self.error))
        self._queue.close()


class classifier(gr.hier_block2):
    """Labels the modulation of a complex baseband stream, window by window.

    Input: complex64 samples, best at the rate the model was trained for (``amc.sample_per_symbol``).
    Stream tags ``rx_time``, ``rx_freq`` and a changed ``rx_rate`` begin a new stretch: no window and
    no average spans one.

    Output, message port ``labels``, a PMT dictionary a window:

    ==============  ==============================================================================
    label           symbol: name of the class, or ``unknown``
    confidence      double: probability of the most probable class
    probabilities   f32vector: one probability a class, in the model's order (``classes``)
    offset          uint64: number of the window's first sample in the stream
    length          uint64: samples in the window
    power           double: mean power in dBFS (0: a complex tone of amplitude 1)
    time            tuple (uint64 seconds, double fraction) of the first sample, where tags gave it
    frequency       double: tuning in Hz, where a tag gave it
    ==============  ==============================================================================

    Output, message port ``status``, a PMT dictionary at most every ``status_interval`` seconds and one
    at the end: ``windows`` labelled, ``dropped`` on overload, ``ignored`` (below the squelch, silent,
    NaN or infinite) and ``errors`` (lost to a failed inference), all uint64.

    Parameters
    ----------
    model : name of a released model, path of an ONNX file, or "" for the default model
    hop : samples from the start of a window to the start of the next; None is the window
    average : windows whose log-probabilities are averaged
    threshold : probability below which the label is ``unknown``, as it is for windows that the model finds like
        none of its classes; zero labels every window
    squelch : power in dBFS below which a window is ignored
    overload : ``block`` waits and loses nothing, also for a subscriber that has 1,024 messages still to take, as
        long as it takes some; ``drop`` keeps the source at rate and counts; the signal goes on behind what was
        dropped, so neither ``average`` nor ``publish`` begins anew there
    batch : most windows in one inference
    runtime : ``auto``, ``onnxruntime`` or ``native``
    publish : ``every`` window, or on ``change``: a label that is new, or new after a gap or retune
    threads : threads of the runtime
    classes, window, normalise, temperature : win over the model file's metadata unless empty or zero
    status_interval : seconds between two status messages

    Raises AmcError for settings out of range and for a model that cannot be used. An error in
    mid-stream ends the flowgraph; it is kept in ``error``. Counts, offsets, time and frequency begin
    anew whenever the flowgraph is started, and when it is reconfigured while running.
    """

    def __init__(
        self,
        model: str = "",
        hop: int | None = None,
        average: int = 1,
        threshold: float = DEFAULT_THRESHOLD,
        squelch: float = DEFAULT_SQUELCH_DBFS,
        overload: str = "block",
        batch: int = DEFAULT_BATCH,
        runtime: str = "auto",
        publish: str = "every",
        threads: int = 1,
        classes: tuple[str, ...] = (),
        window: int = 0,
        normalise: str = "",
        temperature: float = 0.0,
        status_interval: float = 1.0,
    ) -> None:
        gr.hier_block2.__init__(
            self, "amc_classifier", gr.io_signature(1, 1, gr.sizeof_gr_complex), gr.io_signature(0, 0, 0)
        )
        opened = load_model(
            model,
            classes=classes,
            window=window,
            normalise=normalise,
            temperature=temperature,
            runtime=runtime,
            threads=threads,
        )
        self._pipeline = Pipeline(opened, hop=hop, average=average, threshold=threshold, squelch=squelch, batch=batch)
        if not status_interval >= 0:
            raise AmcError(f"status_interval is {status_interval}; it must be zero or more seconds.")
        self._publisher = _Publisher()
        self._sink = _Sink(
            self._pipeline,
            self._publisher,
            checked_choice("overload", overload, OVERLOADS),
            checked_choice("publish", publish, PUBLISHES),
            status_interval,
        )
        self.connect(self, self._sink)
        for port in (LABELS, STATUS):
            self.message_port_register_hier_out(port)
            self.msg_connect(self._publisher, port, self, port)

    @property
    def error(self) -> AmcError | None:
        """What ended the flowgraph, or None."""
        return self._sink.error

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of ``probabilities``."""
        return self._pipeline.model.classes

    @property
    def counters(self) -> dict[str, int]:
        """Windows, dropped, ignored and errors so far, as on the ``status`` port."""
        return dict(vars(self._pipeline.counters))

    def set_hop(self, hop: int | None) -> None:
        """From the next window on."""
        self._pipeline.cutter.hop = hop

    def set_average(self, average: int) -> None:
        self._pipeline.decider.average = average

    def set_threshold(self, threshold: float) -> None:
        self._pipeline.decider.threshold = threshold

    def set_squelch(self, squelch: float) -> None:
        self._pipeline.squelch = squelch

    def set_overload(self, overload: str) -> None:
        self._sink.overload = checked_choice("overload", overload, OVERLOADS)

    def set_publish(self, publish: str) -> None:
        self._sink.publish_policy = checked_choice("publish", publish, PUBLISHES)
