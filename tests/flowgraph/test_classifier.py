# SPDX-License-Identifier: GPL-3.0-or-later
"""The block in real flowgraphs; each runs under the suite's time limit, so a hang is a failure."""

import re
import threading
import time

import numpy as np
import pmt
import pytest
from gnuradio import amc, blocks, gr
from gnuradio.amc.errors import AmcError
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.flowgraphs import DEADLINE, Chopper, MessageSink, Run, eventually, running, rx_time, steps, tag
from tests.helpers.tiny_models import write_failing_model, write_model

pytestmark = pytest.mark.hard_timeout(240)

LOW, MIDDLE, HIGH = 0.001, 0.5, 1.0


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_model(tmp_path_factory.mktemp("model") / "tiny.onnx"))


@pytest.fixture(scope="module")
def failing_model(tmp_path_factory):
    return str(write_failing_model(tmp_path_factory.mktemp("model") / "failing.onnx"))


# --- windows --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "windows"), [(0, 0), (1, 0), (1023, 0), (1024, 1), (1025, 1), (2047, 1), (2048, 2)]
)
def test_the_last_full_window_is_classified_when_the_stream_ends(model, samples, windows):
    run = Run(np.ones(samples), model=model)
    assert run.offsets == [1024 * index for index in range(windows)]
    assert run.status[-1]["windows"] == windows


@pytest.mark.parametrize("hop", [1, 100, 1023, 1024, 1025, 5000])
def test_hops(model, hop):
    count = 6000 if hop == 1 else 40_000
    run = Run(np.ones(count), model=model, hop=hop)
    assert run.offsets == list(range(0, count - 1023, hop))


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(1, 5000), min_size=1, max_size=6), hop=st.sampled_from([512, 1024, 1500]))
def test_windows_do_not_depend_on_the_pattern_of_calls(model, lengths, hop):
    levels = np.random.default_rng(5).choice([LOW, MIDDLE, HIGH], size=40)
    samples = steps(*levels, length=700)
    whole, pieces = Run(samples, model=model, hop=hop), Run(samples, model=model, hop=hop, lengths=lengths)
    assert pieces.offsets == whole.offsets
    assert pieces.names == whole.names
    for one, other in zip(pieces.labels, whole.labels, strict=True):
        np.testing.assert_allclose(one["probabilities"], other["probabilities"], atol=1e-5)


@pytest.mark.parametrize("window", [128, 4096])
def test_the_hop_is_the_models_window_unless_given(tmp_path, window):
    path = str(write_model(tmp_path / "other.onnx", window=window))
    assert Run(np.ones(10_000), model=path).offsets == list(range(0, 10_000 - window + 1, window))


@pytest.mark.parametrize(("batch", "largest"), [(1, 1), (5, 5), (32, 32), (200, 200)])
def test_waiting_windows_are_given_to_the_model_together(model, batch, largest):
    block = amc.classifier(model=model, batch=batch)
    sizes = slow(block, 0.01 if batch > 1 else 0.0)
    top = gr.top_block()
    top.connect(blocks.vector_source_c(np.ones(1000 * 1024)), block)
    top.run()
    assert sum(sizes) == 1000
    assert largest / 2 < max(sizes) <= largest


def test_every_label_in_order_on_a_long_stream(model):
    levels = np.random.default_rng(1).choice([LOW, MIDDLE, HIGH], size=2000)
    run = Run(steps(*levels), model=model)
    assert run.names == [{LOW: "LOW", MIDDLE: "MIDDLE", HIGH: "HIGH"}[level] for level in levels]
    assert run.status[-1] == {"windows": 2000, "dropped": 0, "ignored": 0, "errors": 0}


def test_small_buffers_do_not_hang(model):
    block, sink = amc.classifier(model=model), MessageSink()
    top = gr.top_block()
    top.connect(blocks.vector_source_c(np.ones(5000)), block)
    top.msg_connect(block, "labels", sink, "labels")
    top.run(100)  # no call carries as much as a window
    assert len(sink.labels) == 4


def test_the_source_may_be_far_ahead(model, monkeypatch):
    """Over twenty times as far as with GNU Radio's own buffer, while the inference pauses and its queue is full."""
    monkeypatch.setattr("gnuradio.amc.block.QUEUED_WINDOWS", 32)
    source, block = blocks.vector_source_c(np.ones(1 << 19)), amc.classifier(model=model)
    go_on, begin = threading.Event(), block._pipeline.begin
    monkeypatch.setattr(block._pipeline, "begin", lambda windows: go_on.wait(DEADLINE) and begin(windows))
    top = gr.top_block()
    top.connect(source, block)
    top.start()
    try:
        assert eventually(lambda: source.nitems_written(0) - block._sink.nitems_read(0) > 20 * 8192)
    finally:
        go_on.set()
        top.wait()
    assert block.counters == {"windows": 512, "dropped": 0, "ignored": 0, "errors": 0}


def test_the_block_takes_all_samples_that_there_are(model, monkeypatch):
    """Each window at once when it is whole, however large the buffer is."""
    block = amc.classifier(model=model)
    take, taken = block._sink._take, []
    monkeypatch.setattr(block._sink, "_take", lambda samples: taken.append(len(samples)) or take(samples))
    source = Chopper(np.ones(40 * 1024, np.complex64), [1024])
    top = gr.top_block()
    top.connect(source, block)
    top.run()
    assert sum(taken) == 40 * 1024
    assert all(count % 1024 == 0 for count in taken)


def test_while_windows_wait_few_samples_are_followed_by_a_pause(model, monkeypatch):
    block = amc.classifier(model=model, overload="drop")
    go_on, begin, pauses = threading.Event(), block._pipeline.begin, []
    monkeypatch.setattr(block._pipeline, "begin", lambda windows: go_on.wait(DEADLINE) and begin(windows))
    sleep = time.sleep
    monkeypatch.setattr("gnuradio.amc.block.time.sleep", lambda seconds: pauses.append(seconds) or sleep(seconds))
    throttle = blocks.throttle(gr.sizeof_gr_complex, 1e6)
    top = gr.top_block()
    top.connect(blocks.vector_source_c(np.ones(1024), True), throttle, block)
    top.start()
    try:
        assert eventually(lambda: pauses.count(1e-3) > 10)
    finally:
        go_on.set()
        top.stop()
        top.wait()


def test_without_subscribers(model):
    block = amc.classifier(model=model)
    top = gr.top_block()
    top.connect(blocks.vector_source_c(np.ones(5000)), block)
    top.run()
    assert block.counters["windows"] == 4


def test_run_again_and_again(model):
    """One subscriber to both ports: a second word to end must not wait for it in the next run."""
    block, sink = amc.classifier(model=model), MessageSink()
    source = blocks.vector_source_c(np.ones(3000))
    top = gr.top_block()
    top.connect(source, block)
    top.msg_connect(block, "labels", sink, "labels")
    top.msg_connect(block, "status", sink, "status")
    for _ in range(20):
        source.rewind()
        top.run()
    offsets = [pmt.to_python(message)["offset"] for message in sink.labels]
    assert offsets == [0, 1024] * 20
    assert pmt.to_python(sink.status[-1])["windows"] == 2


# --- tags -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1500, 2047, 2048, 2049, 20_000])
@pytest.mark.parametrize("key", ["rx_time", "rx_freq"])
def test_windows_begin_anew_at_a_tag_in_mid_stream(model, key, cut):
    mark = rx_time(cut, 7, 0.5) if key == "rx_time" else tag(cut, "rx_freq", pmt.from_double(1e8))
    run = Run(np.ones(30_000), tags=[mark], model=model)
    before = list(range(0, cut - 1023, 1024))
    assert run.offsets == before + list(range(cut, 30_000 - 1023, 1024))


def test_time_and_frequency_come_from_tags(model):
    tags = [
        rx_time(0, 1000, 0.25),
        tag(0, "rx_rate", pmt.from_double(1024.0)),
        tag(0, "rx_freq", pmt.from_double(433e6)),
        tag(5000, "rx_freq", pmt.from_double(434e6)),
        rx_time(9000, 2000, 0.0),
    ]
    run = Run(np.ones(12_000), tags=tags, model=model)
    said = [(m["offset"], m["time"][0] + m["time"][1], m["frequency"]) for m in run.labels]
    assert said == [
        (0, 1000.25, 433e6), (1024, 1001.25, 433e6), (2048, 1002.25, 433e6), (3072, 1003.25, 433e6),
        (5000, pytest.approx(1000.25 + 5000 / 1024), 434e6), (6024, pytest.approx(1000.25 + 6024 / 1024), 434e6),
        (7048, pytest.approx(1000.25 + 7048 / 1024), 434e6),
        (9000, 2000.0, 434e6), (10024, 2001.0, 434e6),
    ]  # fmt: skip


def test_without_tags_there_is_neither_time_nor_frequency(model):
    message = Run(np.ones(1024), model=model).labels[0]
    assert "time" not in message
    assert "frequency" not in message


def test_a_rate_said_again_is_no_discontinuity(model):
    rates = [tag(offset, "rx_rate", pmt.from_double(1e6)) for offset in (0, 1500, 2500)]
    assert Run(np.ones(4096), tags=rates, model=model).offsets == [0, 1024, 2048, 3072]
    rates[1] = tag(1500, "rx_rate", pmt.from_double(2e6))
    assert Run(np.ones(4096), tags=rates[:2], model=model).offsets == [0, 1500, 2524]


def test_tags_of_the_wrong_kind_are_ignored(model):
    tags = [
        tag(500, "rx_time", pmt.from_double(1.0)),
        tag(600, "rx_freq", pmt.intern("high")),
        tag(700, "other", pmt.PMT_T),
    ]
    assert Run(np.ones(2048), tags=tags, model=model).offsets == [0, 1024]


@pytest.mark.parametrize(
    "strange",
    [
        tag(500, "rx_rate", pmt.from_double(float("nan"))),
        tag(500, "rx_rate", pmt.from_double(-1.0)),
        tag(500, "rx_freq", pmt.from_double(float("inf"))),
        rx_time(500, 1, float("nan")),
        rx_time(500, 1, 1.5),
        rx_time(500, 2**63, 0.0),
    ],
)
def test_tags_beyond_belief_are_ignored(model, strange):
    run = Run(np.ones(2048), tags=[rx_time(0, 0, 0.0), strange], model=model)
    assert run.offsets == [0, 1024]
    assert run.block.error is None


def test_the_average_begins_anew_at_a_tag(tmp_path):
    # So unsure of single windows that it does not see the change by itself.
    model = str(write_model(tmp_path / "unsure.onnx", margin=1.0))
    samples = np.concatenate([steps(*[HIGH] * 4), steps(*[LOW] * 4)])
    joined = Run(samples, model=model, average=4).names
    parted = Run(samples, tags=[rx_time(4096, 1, 0.0)], model=model, average=4).names
    assert joined[4] != "LOW"
    assert parted == ["HIGH"] * 4 + ["LOW"] * 4


def test_the_average_begins_anew_where_the_signal_changes(model):
    samples = np.concatenate([steps(*[HIGH] * 4), steps(*[LOW] * 4)])
    assert Run(samples, model=model, average=4).names == ["HIGH"] * 4 + ["LOW"] * 4


# --- what is left out -----------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, complex(0, -np.inf)])
def test_windows_with_bad_samples_are_counted_and_skipped(model, bad):
    samples = steps(*[HIGH] * 20)
    samples[5 * 1024 + 3] = bad
    run = Run(samples, model=model)
    assert run.offsets == [1024 * index for index in range(20) if index != 5]
    assert run.status[-1] == {"windows": 19, "dropped": 0, "ignored": 1, "errors": 0}


def test_silence_and_squelch(model):
    run = Run(steps(0.0, HIGH, 0.09, HIGH, 0.0), model=model, squelch=-20.0)
    assert run.offsets == [1024, 3072]
    assert run.status[-1] == {"windows": 2, "dropped": 0, "ignored": 3, "errors": 0}
    assert Run(steps(0.0, 0.0), model=model, squelch=-1000.0).labels == []


def test_unknown_below_the_threshold(model):
    between = steps(0.25)
    assert Run(between, model=model, threshold=0.9).names == ["unknown"]
    assert Run(between, model=model, threshold=0.0).names[0] in ("LOW", "MIDDLE")


def test_publish_on_change(model):
    samples = steps(LOW, LOW, HIGH, HIGH, HIGH, LOW)
    run = Run(samples, model=model, publish="change")
    assert list(zip(run.names, run.offsets, strict=True)) == [("LOW", 0), ("HIGH", 2048), ("LOW", 5120)]


def test_a_signal_that_comes_back_and_a_retune_are_changes(model):
    samples = steps(HIGH, HIGH, 0.0, HIGH, HIGH, HIGH)
    tags = [tag(5 * 1024, "rx_freq", pmt.from_double(1e6))]
    assert Run(samples, tags=tags, model=model, publish="change").offsets == [0, 3 * 1024, 5 * 1024]


def test_a_change_is_one_from_what_was_published_last_under_either_policy(model):
    block, sink = amc.classifier(model=model, publish="change", batch=1), MessageSink()
    run, policies = block._pipeline.model.runtime.run, iter(["every", "change", "every", "change"])

    def switch_policy(batch):
        block.set_publish(next(policies))
        return run(batch)

    block._pipeline.model.runtime.run = switch_policy
    top = gr.top_block()
    top.connect(blocks.vector_source_c(steps(HIGH, HIGH, LOW, HIGH)), block)
    top.msg_connect(block, "labels", sink, "labels")
    top.run()
    said = [(message["label"], message["offset"]) for message in map(pmt.to_python, sink.labels)]
    assert said == [("HIGH", 0), ("LOW", 2048), ("HIGH", 3072)]


# --- overload -------------------------------------------------------------------------------------


def slow(block, seconds):
    """Makes the block's inference take ``seconds`` a batch; returns a list that fills with the batches' sizes."""
    model = block._pipeline.model
    run = model.runtime.run
    sizes = []

    def run_slowly(batch):
        time.sleep(seconds)
        sizes.append(len(batch))
        return run(batch)

    model.runtime.run = run_slowly
    return sizes


@pytest.mark.parametrize("overload", ["block", "drop"])
def test_overload(model, overload, monkeypatch):
    monkeypatch.setattr("gnuradio.amc.block.QUEUED_WINDOWS", 128)
    total = 600
    block, sink = amc.classifier(model=model, overload=overload, batch=4), MessageSink()
    slow(block, 0.005)
    top = gr.top_block()
    top.connect(blocks.vector_source_c(np.ones(total * 1024)), block)
    for port in ("labels", "status"):
        top.msg_connect(block, port, sink, port)
    top.run()
    counters = pmt.to_python(sink.status[-1])
    assert counters["windows"] == len(sink.labels)
    assert counters["windows"] + counters["dropped"] == total
    offsets = [pmt.to_python(message)["offset"] for message in sink.labels]
    assert offsets == sorted(set(offsets))
    if overload == "block":
        assert counters["dropped"] == 0
    else:
        assert counters["dropped"] > total / 2


class SlowSink(gr.basic_block):
    """Takes messages on ``labels`` as ``handle`` has time, and keeps how many others waited at most."""

    def __init__(self, handle):
        gr.basic_block.__init__(self, name="slow_sink", in_sig=None, out_sig=None)
        self.port, self.taken, self.most_waiting, self._handle = pmt.intern("labels"), 0, 0, handle
        self.message_port_register_in(self.port)
        self.set_msg_handler(self.port, self._on_message)

    def _on_message(self, message):
        self.most_waiting = max(self.most_waiting, self.to_basic_block().nmsgs(self.port))
        self._handle()
        self.taken += 1


def test_a_replay_waits_for_a_subscriber_that_is_slow(model):
    total = 20_000
    block, sink, top = amc.classifier(model=model), SlowSink(lambda: time.sleep(1e-5)), gr.top_block()
    top.connect(blocks.null_source(gr.sizeof_gr_complex), blocks.add_const_cc(1), windows_of(total), block)
    top.msg_connect(block, "labels", sink, "labels")
    top.run()
    assert sink.taken == block.counters["windows"] == total
    assert 500 < sink.most_waiting < 3000


def test_a_subscriber_that_takes_no_more_holds_up_neither_a_replay_nor_its_end(model):
    total, go_on = 2300, threading.Event()
    block, sink, top = amc.classifier(model=model), SlowSink(go_on.wait), gr.top_block()
    top.connect(blocks.null_source(gr.sizeof_gr_complex), blocks.add_const_cc(1), windows_of(total), block)
    top.msg_connect(block, "labels", sink, "labels")
    with running(top):
        labelled_all = eventually(lambda: block.counters["windows"] == total)
        go_on.set()
        assert labelled_all
        assert eventually(lambda: sink.taken == total)


def test_a_flowgraph_that_waits_for_a_subscriber_can_be_stopped(model):
    block, sink, top = amc.classifier(model=model), SlowSink(lambda: time.sleep(1e-3)), gr.top_block()
    top.connect(blocks.null_source(gr.sizeof_gr_complex), blocks.add_const_cc(1), block)
    top.msg_connect(block, "labels", sink, "labels")
    with running(top):
        assert eventually(lambda: sink.most_waiting > 1000)
    assert block.error is None


def windows_of(count):
    return blocks.head(gr.sizeof_gr_complex, count * 1024)


def test_no_average_spans_a_retune_even_where_its_windows_are_dropped(model, monkeypatch):
    """A retune every 20 windows, the level another each time, and most windows dropped."""
    monkeypatch.setattr("gnuradio.amc.block.QUEUED_WINDOWS", 128)
    levels = np.repeat([LOW, HIGH], 20)
    samples = steps(*np.tile(levels, 20))
    tags = [tag(offset, "rx_freq", pmt.from_double(offset)) for offset in range(0, len(samples), 20 * 1024)]
    block, sink = amc.classifier(model=model, overload="drop", average=64, batch=1), MessageSink()
    slow(block, 0.003)
    top = gr.top_block()
    top.connect(blocks.vector_source_c(samples, False, 1, tags), block)
    top.msg_connect(block, "labels", sink, "labels")
    top.run()
    messages = [pmt.to_python(message) for message in sink.labels]
    assert block.counters["dropped"] > 100
    assert {message["label"] for message in messages} == {"LOW", "HIGH"}
    for message in messages:
        assert message["label"] == ("LOW", "HIGH")[message["offset"] // (20 * 1024) % 2]


def test_a_subscriber_of_two_classifiers_hears_both_to_their_ends(model):
    """GNU Radio ends it with the first of them, and its next run with the second."""
    top, sink, sources, classifiers = gr.top_block(), MessageSink(), [], []
    for windows in (300, 30):
        source, block = blocks.vector_source_c(np.ones(windows * 1024)), amc.classifier(model=model, batch=4)
        top.connect(source, block)
        for port in ("labels", "status"):
            top.msg_connect(block, port, sink, port)
        sources.append(source)
        classifiers.append(block)
    slow(classifiers[0], 0.004)
    for _ in range(2):
        sink.labels.clear()
        for source in sources:
            source.rewind()
        top.run()
        assert [block.counters["windows"] for block in classifiers] == [300, 30]
        assert len(sink.labels) == 330


@pytest.mark.parametrize("overload", ["block", "drop"])
def test_stop_in_mid_stream_ends_soon_and_loses_nothing_queued(model, overload):
    block = amc.classifier(model=model, overload=overload, batch=2)
    slow(block, 0.01)
    top = gr.top_block()
    top.connect(blocks.null_source(gr.sizeof_gr_complex), blocks.add_const_cc(1), block)
    top.start()
    time.sleep(0.3)
    began = time.monotonic()
    top.stop()
    top.wait()
    assert time.monotonic() - began < DEADLINE  # a hang, not a speed, is what this looks for
    assert block.error is None
    assert block.counters["windows"] > 0
    assert not [thread for thread in threading.enumerate() if thread.name == "amc inference"]


def test_a_flowgraph_that_is_stopped_leaves_no_word_to_end_for_its_next_run(model):
    block, sink = amc.classifier(model=model), MessageSink()
    top = gr.top_block()
    top.connect(blocks.vector_source_c(np.ones(1024), True), blocks.throttle(gr.sizeof_gr_complex, 1e6), block)
    top.msg_connect(block, "labels", sink, "labels")
    for _ in range(3):
        sink.labels.clear()
        with running(top):
            assert eventually(lambda: sink.labels)
        assert [one.to_basic_block().nmsgs(pmt.intern("system")) for one in (block._publisher, sink)] == [0, 0]


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("overload", ["block", "drop"])
@pytest.mark.parametrize("endless", [False, True])
def test_an_inference_that_raises_ends_the_flowgraph_and_is_told(failing_model, overload, endless):
    samples = np.ones(100 * 1024, np.complex64)
    samples[50 * 1024] = 1000.0
    block, sink = amc.classifier(model=failing_model, overload=overload), MessageSink()
    top = gr.top_block()
    top.connect(blocks.vector_source_c(samples, endless), block)
    for port in ("labels", "status"):
        top.msg_connect(block, port, sink, port)
    top.run()
    assert isinstance(block.error, AmcError)
    assert "failed in inference" in str(block.error)
    assert pmt.to_python(sink.status[-1])["errors"] > 0
    if overload == "block" and not endless:
        assert 50 <= block.counters["windows"] + block.counters["errors"] <= 100
    assert len(sink.labels) == pmt.to_python(sink.status[-1])["windows"]


def test_any_exception_in_inference_ends_the_flowgraph(model):
    block = amc.classifier(model=model)

    def explode(batch):
        raise MemoryError("no room")

    block._pipeline.model.runtime.run = explode
    top = gr.top_block()
    top.connect(blocks.vector_source_c(np.ones(10_000), True), block)
    top.run()
    assert "MemoryError: no room" in str(block.error)
    assert "\n" not in str(block.error)


def test_an_exception_in_the_scheduler_thread_ends_the_flowgraph(model, monkeypatch):
    block = amc.classifier(model=model)

    def explode(samples):
        raise ValueError("cannot cut")

    monkeypatch.setattr(block._pipeline, "cut", explode)
    top = gr.top_block()
    top.connect(blocks.vector_source_c(np.ones(10_000), True), block)
    top.run()
    assert "ValueError: cannot cut" in str(block.error)


def test_a_thread_that_cannot_start_ends_the_flowgraph(model, monkeypatch):
    block = amc.classifier(model=model)

    start = threading.Thread.start

    def refuse(thread):
        if thread.name == "amc inference":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    top = gr.top_block()
    top.connect(blocks.vector_source_c(np.ones(10_000), True), block)
    top.run()
    assert "can't start new thread" in str(block.error)


def test_a_flowgraph_reconfigured_while_it_runs(model):
    block, sink = amc.classifier(model=model), MessageSink()
    source = blocks.throttle(gr.sizeof_gr_complex, 5e6)
    top = gr.top_block()
    top.connect(blocks.vector_source_c(steps(HIGH), True), source, block)
    top.msg_connect(block, "labels", sink, "labels")
    top.start()
    extra = blocks.null_sink(gr.sizeof_gr_complex)
    deadline = time.monotonic() + 20
    for change in (top.connect, top.disconnect, None):
        seen = len(sink.labels)
        while len(sink.labels) < seen + 20:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        if change:
            top.lock()
            change(source, extra)
            top.unlock()
    top.stop()
    top.wait()
    assert block.error is None


@pytest.mark.parametrize(
    ("setting", "value", "part"),
    [
        ("hop", 0, "hop is 0"),
        ("hop", -5, "hop is -5"),
        ("hop", 2**40, "hop is"),
        ("hop", 10.5, "hop is 10.5"),
        ("average", 0, "average is 0"),
        ("threshold", 1.5, "threshold is 1.5"),
        ("overload", "wait", "overload is 'wait'; choose one of block, drop"),
        ("publish", "never", "publish is 'never'; choose one of every, change"),
        ("batch", 0, "batch is 0"),
        ("runtime", "cuda", "the runtime 'cuda' is unknown"),
        ("threads", 0, "threads is 0"),
        ("window", 7, "the window is 7 samples but the model"),
        ("normalise", "agc", "the normalisation 'agc'"),
        ("temperature", -1.0, "the temperature -1.0"),
        ("classes", ("A",), "has 3 outputs but 1 class names"),
        ("status_interval", -1.0, "status_interval is -1.0"),
        ("model", "/no/such/model.onnx", "cannot be read"),
        ("model", "no-such-model", "there is no released model 'no-such-model'"),
        ("squelch", float("nan"), "squelch is nan"),
        ("squelch", None, "squelch is None; it must be a power in dBFS"),
    ],
)
def test_bad_settings_are_refused_before_anything_starts(model, setting, value, part):
    with pytest.raises(AmcError) as caught:
        amc.classifier(**({"model": model} | {setting: value}))
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


# --- settings at run time -------------------------------------------------------------------------


def test_settings_can_change_while_running(model):
    block, sink = amc.classifier(model=model, hop=1024), MessageSink()
    top = gr.top_block()
    source = blocks.vector_source_c(steps(HIGH), True)
    top.connect(source, blocks.throttle(gr.sizeof_gr_complex, 1e6), block)
    top.msg_connect(block, "labels", sink, "labels")
    top.start()

    def wait_for(condition):
        deadline = time.monotonic() + 20
        while not (sink.labels and condition(pmt.to_python(sink.labels[-1]))):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    wait_for(lambda message: message["label"] == "HIGH")
    block.set_threshold(1.0)
    wait_for(lambda message: message["label"] == "unknown")
    block.set_threshold(0.5)
    block.set_average(3)
    block.set_hop(2048)
    wait_for(lambda message: message["label"] == "HIGH")
    block.set_publish("change")
    block.set_overload("drop")
    ignored = block.counters["ignored"]
    block.set_squelch(6.0)
    deadline = time.monotonic() + 20
    while block.counters["ignored"] == ignored:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for change in (block.set_hop, block.set_average, block.set_threshold, block.set_overload, block.set_publish):
        with pytest.raises(AmcError):
            change(-1)
    top.stop()
    top.wait()
    offsets = np.array([pmt.to_python(message)["offset"] for message in sink.labels])
    assert set(np.diff(offsets)) == {1024, 2048}
    assert block.error is None


# --- messages -------------------------------------------------------------------------------------


def test_the_label_message_is_what_the_docstring_says(model):
    tags = [rx_time(0, 5, 0.5), tag(0, "rx_rate", pmt.from_double(1e6)), tag(0, "rx_freq", pmt.from_double(1e9))]
    message = Run(steps(MIDDLE), tags=tags, model=model).sink.labels[0]
    table = re.findall(r"^    (\w+)  +(symbol|double|f32vector|uint64|tuple)\b", amc.classifier.__doc__, re.MULTILINE)
    kinds = {
        "symbol": pmt.is_symbol,
        "double": pmt.is_real,
        "f32vector": pmt.is_f32vector,
        "uint64": pmt.is_uint64,
        "tuple": pmt.is_tuple,
    }
    assert sorted(pmt.to_python(message)) == sorted(name for name, _ in table)
    for name, kind in table:
        assert kinds[kind](pmt.dict_ref(message, pmt.intern(name), pmt.PMT_NIL)), name


def test_values_of_a_label_message(model):
    message = Run(steps(HIGH, MIDDLE), model=model).labels[1]
    assert (message["label"], message["offset"], message["length"]) == ("MIDDLE", 1024, 1024)
    assert message["power"] == pytest.approx(20 * np.log10(0.5), abs=1e-3)
    assert sum(message["probabilities"]) == pytest.approx(1.0, abs=1e-5)
    assert message["confidence"] == pytest.approx(max(message["probabilities"]))


def test_status_messages_are_rate_limited(model):
    samples = np.ones(3000 * 1024, np.complex64)
    assert len(Run(samples, model=model, status_interval=1e6).status) == 2  # the first and the last
    assert len(Run(samples, model=model, status_interval=0.0).status) > 10


def test_live_stream_at_rate_is_not_dropped(model):
    block = amc.classifier(model=model, overload="drop")
    top = gr.top_block()
    source = Chopper(np.ones(200_000, np.complex64), [4096])
    top.connect(source, blocks.throttle(gr.sizeof_gr_complex, 200_000), block)
    top.run()
    assert block.counters == {"windows": 195, "dropped": 0, "ignored": 0, "errors": 0}
