# SPDX-License-Identifier: GPL-3.0-or-later
"""The block in a flowgraph against the bare runtime, and the latency of its messages."""

import time
from functools import partial
from pathlib import Path

import numpy as np
import pmt
from gnuradio import amc, blocks, gr
from gnuradio.amc.errors import AmcError
from gnuradio.amc.model import Model
from gnuradio.amc.normalise import normalise
from gnuradio.amc.pipeline import DEFAULT_BATCH

from tests.helpers.flowgraphs import Run

from .measure import Effort, interleaved, megasamples_per_second, ratios, summary

BATCH = DEFAULT_BATCH
THREADS = (1, 2)
SHARE_AIM = 0.8
BLOCKS = {"block": False, "block behind another": True}  # whether another block is between it and the source
LATENCY_AIM_SECONDS = 5e-3
RATE = 1e6
FAST_RATE = 20e6
WARM_UP_WINDOWS = 100


def verify(model: Model, path: Path, windows: np.ndarray) -> list[str]:
    """A sentence on what agrees; raises AmcError where the block's answers are not those of the bare runtime.

    ``windows`` complex64 (n, window).
    """
    logits = [model.run(normalise(windows[at : at + BATCH], model.normalise)) for at in range(0, len(windows), BATCH)]
    expected = [model.classes[index] for index in np.concatenate(logits).argmax(1)]
    run = Run(windows.ravel(), model=str(path), batch=BATCH, threshold=0.0)
    if run.offsets != list(range(0, windows.size, model.window)):
        raise AmcError("the block did not label each window once and in order.")
    different = sum(name != label for name, label in zip(expected, run.names, strict=True))
    if different:
        raise AmcError(f"the block labels {different} of {len(windows)} windows otherwise than the bare runtime.")
    return [f"the block labels each of {len(windows)} windows once, in order, as the bare runtime does"]


def _flowgraph_speed(path: Path, windows: np.ndarray, threads: int, is_behind: bool, seconds: float) -> float:
    """Msps of the windows whose messages reach a subscriber, which keeps them, from the start of a flowgraph on.

    Samples come from a source that only copies them. Where the block ``is_behind`` another, that one and the source
    have GNU Radio's own 8192 samples between them, and wake each other for every few windows.
    """
    source = blocks.vector_source_c(windows.ravel(), True)
    block = amc.classifier(str(path), hop=windows.shape[1], batch=BATCH, threads=threads, publish="every")
    messages = blocks.message_debug()
    top = gr.top_block()
    top.connect(source, *([blocks.copy(gr.sizeof_gr_complex)] if is_behind else []), block)
    top.msg_connect(block, "labels", messages, "store")
    began = time.perf_counter()
    top.start()
    time.sleep(seconds)
    while not (count := messages.num_messages()) and block.error is None:
        time.sleep(1e-3)  # a slow runtime takes longer than that for its first batch
    elapsed = time.perf_counter() - began
    top.stop()
    top.wait()
    if block.error is not None:
        raise block.error
    return count * windows.shape[1] / elapsed / 1e6


def measure_share(path: Path, windows: np.ndarray, effort: Effort) -> tuple[list[dict], list[dict]]:
    """Ratios and Msps of the block against the bare runtime, at the block's default batch."""
    variants = {}
    for threads in THREADS:
        model = amc.load_model(str(path), threads=threads)
        batch = normalise(windows[:BATCH], model.normalise)
        variants["runtime", threads] = partial(megasamples_per_second, model.run, batch, effort.block_seconds)
        for what, is_behind in BLOCKS.items():
            variants[what, threads] = partial(_flowgraph_speed, path, windows, threads, is_behind, effort.block_seconds)
    figures = interleaved(variants, effort.block_repetitions)
    compared = []
    for what, threads in ((what, threads) for what in BLOCKS for threads in THREADS):
        ratio = ratios(figures[what, threads], figures["runtime", threads])
        name = f"{what} / bare runtime, batch {BATCH}, threads {threads}"
        compared.append({"name": name, **ratio, "aim": f"at least {SHARE_AIM}", "met": ratio["median"] >= SHARE_AIM})
    table = [
        {"what": what, "batch": BATCH, "threads": threads, "msps": summary(values)}
        for (what, threads), values in figures.items()
    ]
    return compared, table


class _PacedSource(gr.sync_block):
    """Hands over one window at a time, when its last sample is due: t0 + n / ``RATE``."""

    def __init__(self, windows: np.ndarray, count: int) -> None:
        gr.sync_block.__init__(self, name="paced_source", in_sig=None, out_sig=[np.complex64])
        self.windows = windows
        self.due = np.zeros(count)
        self.handed_over = np.zeros(count)
        self.sent = 0
        self.set_output_multiple(windows.shape[1])

    def start(self) -> bool:
        window = self.windows.shape[1]
        self.due = time.perf_counter() + (1 + np.arange(len(self.due))) * window / RATE
        return True

    def work(self, input_items, output_items) -> int:
        if self.sent == len(self.due):
            return -1
        samples = self.windows[self.sent % len(self.windows)]
        output_items[0][: len(samples)] = samples
        time.sleep(max(0.0, self.due[self.sent] - time.perf_counter()))
        self.handed_over[self.sent] = time.perf_counter()
        self.sent += 1
        return len(samples)


class _ArrivalSink(gr.basic_block):
    """Keeps each message and the time at which its Python handler was called."""

    def __init__(self) -> None:
        gr.basic_block.__init__(self, name="arrival_sink", in_sig=None, out_sig=None)
        self.arrivals = []
        self.message_port_register_in(pmt.intern("labels"))
        self.set_msg_handler(pmt.intern("labels"), self._on_message)

    def _on_message(self, message) -> None:
        self.arrivals.append((time.perf_counter(), message))


def measure_latency(path: Path, windows: np.ndarray, effort: Effort) -> dict:
    """Latency in seconds from the last sample of a window to its message, at 1 Msps with ``overload="drop"``."""
    window = windows.shape[1]
    count = WARM_UP_WINDOWS + max(1, round(effort.latency_seconds * RATE / window))
    source, sink = _PacedSource(windows, count), _ArrivalSink()
    block = amc.classifier(str(path), hop=window, batch=BATCH, threads=1, publish="every", overload="drop")
    top = gr.top_block()
    top.connect(source, block)
    top.msg_connect(block, "labels", sink, "labels")
    top.run()
    if block.error is not None:
        raise block.error
    offset = pmt.intern("offset")
    numbers = [pmt.to_uint64(pmt.dict_ref(message, offset, pmt.PMT_NIL)) // window for _, message in sink.arrivals]
    arrived = np.array([moment for moment, _ in sink.arrivals])
    latency = (arrived - source.handed_over[numbers])[np.array(numbers) >= WARM_UP_WINDOWS]
    lateness = (source.handed_over - source.due)[WARM_UP_WINDOWS:]
    if len(latency) == 0:
        raise AmcError("the block dropped every window at 1 Msps, so there is no latency to report.")
    return {
        "what": "from the moment a Python source hands over the last sample of a window (one window a call, on the "
        "wall clock) to the call of the subscriber's Python message handler; it includes GNU Radio's "
        "scheduler, cutting, queue, normalisation, inference, decision, message and its delivery, and not "
        "the source's own lateness",
        "rate_msps": RATE / 1e6,
        "batch": BATCH,
        "threads": 1,
        "windows": count,
        "dropped": block.counters["dropped"],
        "not_counted_at_start": WARM_UP_WINDOWS,
        "seconds": {**summary(latency), "percentile_99": float(np.percentile(latency, 99))},
        "source_lateness_seconds": {**summary(lateness), "percentile_99": float(np.percentile(lateness, 99))},
    }


def measure_fast_receiver(path: Path, windows: np.ndarray, effort: Effort) -> dict:
    """Windows lost, and the time of all threads in cores, where samples come live at 20 Msps, ``overload="drop"``."""
    samples = round(effort.latency_seconds * FAST_RATE)
    source = blocks.vector_source_c(windows.ravel(), True)
    throttle = blocks.throttle(gr.sizeof_gr_complex, FAST_RATE)
    head = blocks.head(gr.sizeof_gr_complex, samples)
    block = amc.classifier(str(path), batch=BATCH, threads=1, publish="every", overload="drop")
    messages = blocks.message_debug()
    top = gr.top_block()
    top.connect(source, throttle, head, block)
    top.msg_connect(block, "labels", messages, "store")
    began, spent = time.perf_counter(), time.process_time()
    top.run()
    elapsed, spent = time.perf_counter() - began, time.process_time() - spent
    if block.error is not None:
        raise block.error
    return {
        "rate_msps": samples / elapsed / 1e6,
        "windows": samples // windows.shape[1],
        "dropped": block.counters["dropped"],
        "cores": spent / elapsed,
    }


def latency_ratio(latency: dict) -> dict:
    """The 99th percentile as a share of its aim, in the form of the other ratios; there is only one of it."""
    share = latency["seconds"]["percentile_99"] / LATENCY_AIM_SECONDS
    return {
        "name": "latency, 99th percentile / aim of 5 ms",
        **summary([share]),
        "aim": "below 1 with nothing dropped",
        "met": share < 1 and latency["dropped"] == 0,  # windows that wait longest are the ones dropped
    }
