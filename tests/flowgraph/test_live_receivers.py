# SPDX-License-Identifier: GPL-3.0-or-later
"""Live sources: gr-osmosdr's own client of rtl_tcp, retunes, lost samples, and receivers that go away."""

import importlib.util
import subprocess
import sys
import threading
import time

import numpy as np
import pmt
import pytest
from gnuradio import amc, blocks, gr
from gnuradio.amc.errors import AmcError

from tests.grc.flowgraphs import GRC, generate, open_flowgraph, open_platform
from tests.helpers.flowgraphs import DEADLINE, MessageSink, eventually, modulated, running, rx_time
from tests.helpers.rtl_tcp_server import FREQUENCY, GAIN, SAMPLE_RATE, RtlTcpServer, to_bytes
from tests.helpers.tiny_models import write_model

pytestmark = pytest.mark.hard_timeout(240)

LOW, HIGH = 0.001, 1.0

needs_osmosdr = pytest.mark.skipif(not importlib.util.find_spec("osmosdr"), reason="gr-osmosdr is not installed")
needs_released_model = pytest.mark.skipif(not amc.released_models(), reason="no released model is in the package")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_model(tmp_path_factory.mktemp("model") / "tiny.onnx"))


# --- lost samples ---------------------------------------------------------------------------------


class LossySource(gr.sync_block):
    """A receiver that loses samples and says so as gr-uhd does: time, rate and frequency at the first sample behind.

    Sample n of the antenna has the level ``antenna[n]``; ``losses`` are (first sample lost, samples lost).
    """

    RATE, SECONDS = 1e6, 1_700_000_000

    def __init__(self, antenna, losses):
        gr.sync_block.__init__(self, name="lossy_source", in_sig=None, out_sig=[np.complex64])
        self.antenna, self.losses = antenna, list(losses)
        self.at, self.lost = 0, True

    def work(self, input_items, output_items):
        if self.losses and self.at == self.losses[0][0]:
            self.at += self.losses.pop(0)[1]
            self.lost = True
        if self.lost:
            self.lost = False
            first = self.nitems_written(0)
            self.add_item_tag(0, first, *rx_time_of(self.SECONDS, self.at / self.RATE))
            self.add_item_tag(0, first, pmt.intern("rx_rate"), pmt.from_double(self.RATE))
            self.add_item_tag(0, first, pmt.intern("rx_freq"), pmt.from_double(433e6))
        end = self.losses[0][0] if self.losses else len(self.antenna)
        count = min(len(output_items[0]), end - self.at)
        if count == 0:
            return -1
        output_items[0][:count] = self.antenna[self.at : self.at + count]
        self.at += count
        return count


def rx_time_of(seconds, fraction):
    made = rx_time(0, seconds, fraction)
    return made.key, made.value


@pytest.mark.parametrize("watched", [False, True])
def test_no_window_spans_lost_samples(model, watched):
    """The level changes with every loss, so the power of a window across one would be neither."""
    rng = np.random.default_rng(3)
    pieces = rng.integers(1500, 9000, 30)
    lost = rng.integers(1, 3000, 29)
    parts, losses, at = [], [], 0
    for number, piece in enumerate(pieces):
        parts.append(np.full(piece, (LOW, HIGH)[number % 2], np.complex64))
        at += piece
        if number < len(lost):
            parts.append(np.full(lost[number], np.nan, np.complex64))
            losses.append((at, lost[number]))
            at += lost[number]
    source = LossySource(np.concatenate(parts), losses)
    watch = [amc.receiver_watch(433e6)] if watched else []
    block, sink = amc.classifier(model=model), MessageSink()
    top = gr.top_block()
    top.connect(source, *watch, block)
    top.msg_connect(block, "labels", sink, "labels")
    top.run()

    messages = [pmt.to_python(message) for message in sink.labels]
    starts = np.cumsum([0, *(pieces[:-1] + lost)])
    expected = [
        (start + window, ("LOW", "HIGH")[number % 2])
        for number, (start, piece) in enumerate(zip(starts, pieces, strict=True))
        for window in range(0, piece - 1023, 1024)
    ]
    assert block.counters == {"windows": len(expected), "dropped": 0, "ignored": 0, "errors": 0}
    assert [message["label"] for message in messages] == [label for _, label in expected]
    for message, (true_sample, label) in zip(messages, expected, strict=True):
        assert message["power"] == pytest.approx({"LOW": -60.0, "HIGH": 0.0}[label], abs=1e-3)
        seconds, fraction = message["time"]
        assert seconds - LossySource.SECONDS + fraction == pytest.approx(true_sample / LossySource.RATE, abs=1e-9)


# --- the receiver watch ---------------------------------------------------------------------------


class TagSink(gr.sync_block):
    """Keeps the samples and the tags (offset, key, value)."""

    def __init__(self):
        gr.sync_block.__init__(self, name="tag_sink", in_sig=[np.complex64], out_sig=None)
        self.samples, self.tags = [], []

    def work(self, input_items, output_items):
        for item in self.get_tags_in_window(0, 0, len(input_items[0])):
            self.tags.append((item.offset, pmt.symbol_to_string(item.key), pmt.to_python(item.value)))
        self.samples.extend(input_items[0])
        return len(input_items[0])


class Retuner(gr.sync_block):
    """Source of ones in pieces of 1000 that tells ``watch`` of a retune at sample ``at``."""

    def __init__(self, watch, at, count):
        gr.sync_block.__init__(self, name="retuner", in_sig=None, out_sig=[np.complex64])
        self.watch, self.at, self.count, self.done = watch, at, count, 0

    def work(self, input_items, output_items):
        if self.done == self.at:
            # The watch has taken what came before, so this is the sample at which it hears of the retune.
            assert eventually(lambda: self.watch.nitems_written(0) == self.at)
            self.watch.set_frequency(200e6)
        if self.done == self.count:
            return -1
        output_items[0][:1000] = 1
        self.done += 1000
        return 1000


@pytest.mark.parametrize("settle", [0, 1, 2500])
def test_a_retune_is_tagged_and_what_was_under_way_is_silenced(settle):
    watch, sink = amc.receiver_watch(100e6, settle=settle), TagSink()
    source = Retuner(watch, 4000, 9000)
    top = gr.top_block()
    top.connect(source, watch, sink)
    top.run()
    behind = [(4000 + settle, "rx_freq", 200e6)] if settle else []
    assert sink.tags == [(0, "rx_freq", 100e6), (4000, "rx_freq", 200e6), *behind]
    expected = np.ones(9000)
    expected[4000 : 4000 + settle] = 0
    np.testing.assert_array_equal(sink.samples, expected)


def test_windows_around_a_retune(model):
    watch = amc.receiver_watch(100e6, settle=2500)
    source = Retuner(watch, 4000, 9000)
    block, sink = amc.classifier(model=model), MessageSink()
    top = gr.top_block()
    top.connect(source, watch, block)
    top.msg_connect(block, "labels", sink, "labels")
    top.run()
    messages = [pmt.to_python(message) for message in sink.labels]
    assert [(message["offset"], message["frequency"]) for message in messages] == [
        (0, 100e6), (1024, 100e6), (2048, 100e6), (6500, 200e6), (7524, 200e6),
    ]  # fmt: skip
    assert block.counters["ignored"] == 2  # the two silent ones


class Pausing(gr.sync_block):
    """Source of ones that pauses at sample 3000 until it is told to go on."""

    def __init__(self):
        gr.sync_block.__init__(self, name="pausing", in_sig=None, out_sig=[np.complex64])
        self.go_on, self.done = threading.Event(), 0

    def work(self, input_items, output_items):
        if self.done == 6000:
            return -1
        if self.done == 3000:
            assert self.go_on.wait(DEADLINE)
        output_items[0][:1000] = 1
        self.done += 1000
        return 1000


def test_silence_is_said_once_and_begins_a_new_stretch(model, capfd):
    source, watch = Pausing(), amc.receiver_watch(100e6, patience=0.5)
    block, sink = amc.classifier(model=model), MessageSink()
    said = ""

    def read():
        nonlocal said
        captured = capfd.readouterr()
        said += captured.out + captured.err
        return said.count("no samples for 0.5 s")

    top = gr.top_block()
    top.connect(source, watch, block)
    top.msg_connect(block, "labels", sink, "labels")
    top.start()
    assert eventually(read)
    time.sleep(0.8)  # more than once its patience
    source.go_on.set()
    top.wait()
    assert read() == 1
    assert [pmt.to_python(message)["offset"] for message in sink.labels] == [0, 1024, 3000, 4024]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("frequency", None),
        ("frequency", float("nan")),
        ("frequency", 1e300),
        ("settle", -1),
        ("settle", 0.5),
        ("patience", 0.0),
        ("patience", float("nan")),
    ],
)
def test_settings_out_of_range_are_refused(setting, value):
    with pytest.raises(AmcError, match=f"{setting} is .*; it must be"):
        amc.receiver_watch(**({"frequency": 100e6} | {setting: value}))


def test_a_frequency_out_of_range_is_refused_at_run_time():
    watch = amc.receiver_watch(100e6)
    with pytest.raises(AmcError, match="frequency is nan; it must be"):
        watch.set_frequency(float("nan"))


def test_samples_pass_where_the_thread_that_watches_cannot_start(monkeypatch, capfd):
    begin = threading.Thread.start

    def refuse(thread):
        if thread.name == "amc receiver watch":
            raise RuntimeError("can't start new thread")
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    watch, sink = amc.receiver_watch(100e6), TagSink()
    top = gr.top_block()
    top.connect(blocks.vector_source_c(np.ones(5000)), watch, sink)
    top.run()
    assert len(sink.samples) == 5000
    captured = capfd.readouterr()
    assert "silence of the receiver will not be noticed: can't start new thread" in captured.out + captured.err


def test_patience_without_end(monkeypatch):
    failures = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    watch = amc.receiver_watch(100e6, patience=float("inf"))
    top = gr.top_block()
    top.connect(blocks.vector_source_c(np.ones(5000)), watch, blocks.null_sink(gr.sizeof_gr_complex))
    top.run()
    assert not failures


# --- through gr-osmosdr ---------------------------------------------------------------------------


def test_the_servers_bytes_are_those_of_a_tuner():
    samples = np.array([0, 1, -1, 1j, -1j, 0.5 - 0.25j])
    expected = [(128, 128), (255, 128), (0, 128), (128, 255), (128, 0), (191, 96)]
    assert list(to_bytes(samples)) == [byte for pair in expected for byte in pair]


@needs_osmosdr
@needs_released_model
def test_every_window_of_a_live_receiver_is_accounted_for_and_labelled_right():
    from tests.bench.live import measure

    counts = measure(seconds=5, rate=2.4e6)
    assert counts["windows"] + counts["dropped"] + counts["ignored"] == counts["sent"]
    assert counts["errors"] == 0
    assert counts["windows"] > 0.5 * counts["sent"]
    assert counts["right"] >= 0.95 * counts["windows"]


@needs_osmosdr
@needs_released_model
def test_a_retune_reaches_the_receiver_and_no_label_mixes_two_frequencies():
    import osmosdr

    rate, first, second = 1_024_000, 433_920_000, 868_300_000
    with RtlTcpServer({first: modulated("QPSK"), second: modulated("BPSK")}) as server:
        source = osmosdr.source(args=f"rtl_tcp={server.address}")
        source.set_sample_rate(rate)
        source.set_gain(19.7)
        source.set_center_freq(first)
        watch = amc.receiver_watch(first, settle=rate)
        block, sink = amc.classifier(overload="drop"), MessageSink()
        top = gr.top_block()
        top.connect(source, watch, block)
        top.msg_connect(block, "labels", sink, "labels")
        with running(top):
            assert eventually(lambda: len(sink.labels) > 500)
            came = server.commands_until(FREQUENCY, first)
            assert {(SAMPLE_RATE, rate), (GAIN, 197), (FREQUENCY, first)} <= set(came)
            watch.set_frequency(second)
            source.set_center_freq(second)
            assert server.commands_until(FREQUENCY, second)
            # A busy machine still has many windows of the first frequency under way.
            assert eventually(lambda: sink.frequencies.count(second) > 500)
    messages = [pmt.to_python(message) for message in sink.labels]
    assert block.counters["ignored"] > 0
    for frequency, expected in ((first, "QPSK"), (second, "BPSK")):
        names = [message["label"] for message in messages if message["frequency"] == frequency]
        assert len(names) > 300
        assert names.count(expected) >= 0.95 * len(names)


@needs_osmosdr
def test_a_receiver_that_pauses_goes_on_with_a_new_stretch(model, capfd):
    import osmosdr

    with RtlTcpServer({100_000_000: np.ones(1024)}) as server:
        source = osmosdr.source(args=f"rtl_tcp={server.address}")
        source.set_center_freq(100e6)
        watch = amc.receiver_watch(100e6, patience=0.5)
        block, sink = amc.classifier(model=model, overload="drop"), MessageSink()
        top = gr.top_block()
        top.connect(source, watch, block)
        top.msg_connect(block, "labels", sink, "labels")
        with running(top):
            assert eventually(lambda: len(sink.labels) > 100)
            server.pause()
            try:
                assert eventually(lambda: "no samples for 0.5 s" in "".join(capfd.readouterr()))
                before = len(sink.labels)
            finally:
                server.resume()  # without samples the source could not be stopped
            assert eventually(lambda: len(sink.labels) > before + 100)
    offsets = [pmt.to_python(message)["offset"] for message in sink.labels]
    assert sum(offset % 1024 != offsets[0] % 1024 for offset in offsets) > 100


# --- the examples ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The command that runs an example."""
    platform, folder = open_platform(), tmp_path_factory.mktemp("generated")

    def command(name, *arguments):
        generated = generate(platform, open_flowgraph(platform, GRC / "examples" / f"{name}.grc"), folder)
        return [sys.executable, "-u", str(generated), *arguments]

    return command


@needs_osmosdr
@needs_released_model
@pytest.mark.parametrize("way", ["leave", "pause"])
def test_the_example_ends_with_a_sentence_when_its_server_is_gone(example, way):
    """gr-osmosdr's client would wait for ever, or turn round and round, and no stop of the flowgraph ends that."""
    with RtlTcpServer({100_000_000: modulated("QPSK")}) as server:
        command = example("amc_live_osmosdr", f"--device=rtl_tcp={server.address}", "--start-frequency=100e6")
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            try:
                assert server.commands_until(FREQUENCY, 100_000_000)
                assert eventually(lambda: server.sent() > 1_000_000)
                getattr(server, way)()
                said, _ = process.communicate(timeout=DEADLINE)
            finally:
                process.kill()
    assert process.returncode == 1
    assert said.count("no samples for 5 s: the receiver, or the server it is at, is gone") == 1


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("amc_live_soapy", ["--driver=nonesuch"], "is a receiver for --driver nonesuch connected"),
        pytest.param(
            "amc_live_osmosdr",
            ["--device=rtl_tcp=127.0.0.1:1"],
            "is the receiver of --device 'rtl_tcp=127.0.0.1:1' connected?",
            marks=needs_osmosdr,
        ),
        pytest.param(
            "amc_zeromq_receiver",
            ["--device=rtl_tcp=127.0.0.1:1"],
            "is the receiver of --device 'rtl_tcp=127.0.0.1:1' connected?",
            marks=needs_osmosdr,
        ),
    ],
)
def test_an_example_without_its_receiver_ends_with_a_sentence(example, name, arguments, sentence):
    done = subprocess.run(example(name, *arguments), capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 1
    (said,) = [line for line in done.stderr.splitlines() if line.startswith(f"{name}: ")]
    assert sentence in said
    assert "Traceback" not in done.stderr
