# SPDX-License-Identifier: GPL-3.0-or-later
"""The conditioner in real flowgraphs: signals of GNU Radio's own modulators at known places and rates."""

import os
import threading
import time

import numpy as np
import pmt
import pytest
from gnuradio import amc, analog, blocks, digital, gr
from gnuradio.amc.conditioner_work import ConditionerWork
from gnuradio.amc.errors import AmcError
from gnuradio.amc.signal_chain import SignalChain
from gnuradio.amc.signal_tracker import SignalTracker

from tests.helpers.flowgraphs import Chopper, MessageSink, eventually, rx_time, tag
from tests.helpers.linear_signals import white_noise
from tests.helpers.tiny_models import write_model

pytestmark = pytest.mark.hard_timeout(240)

RATE = 400e3
TUNING = 433e6
INTERVAL = 0.1
LOOK = int(INTERVAL * RATE)  # samples, all of which are looked at
LOOKS = 5


def run_modulator(modulator, count, settled):
    """Complex64 (count,) of power 1, less the first ``settled`` samples."""
    source = analog.random_uniform_source_b(0, 256, 1)
    head, sink = blocks.head(gr.sizeof_gr_complex, settled + count), blocks.vector_sink_c()
    top = gr.top_block()
    top.connect(source, modulator, head, sink)
    top.run()
    samples = np.array(sink.data()[settled:], np.complex64)
    return samples / np.sqrt(np.mean(np.abs(samples) ** 2))


def qpsk(samples_per_symbol, count=LOOKS * LOOK):
    modulator = digital.generic_mod(
        digital.constellation_qpsk(), differential=False, samples_per_symbol=samples_per_symbol, excess_bw=0.35
    )
    # The modulator's filter is as long as 11 symbols in its input, which are samples per symbol as many here.
    return run_modulator(modulator, count, 12 * samples_per_symbol**2)


def gmsk(samples_per_symbol, count=LOOKS * LOOK):
    return run_modulator(digital.gmsk_mod(samples_per_symbol, bt=0.35), count, 1000)


def at(frequency, samples):
    """The samples, brought to ``frequency`` in Hz."""
    return samples * np.exp(2j * np.pi * frequency / RATE * np.arange(len(samples)))


# Symbols per second and frequency: QPSK is the stronger one.
QPSK_RATE, QPSK_AT = 20e3, 90e3
GMSK_RATE, GMSK_AT = 10e3, -70e3


@pytest.fixture(scope="module")
def signals():
    """QPSK and GMSK at their places, complex64 (LOOKS * LOOK,) each, 26 dB and 26 dB over the noise in their bands."""
    return at(QPSK_AT, 0.1 * qpsk(20)).astype(np.complex64), at(GMSK_AT, 0.05 * gmsk(40)).astype(np.complex64)


NOISE = white_noise(LOOKS * LOOK, 4e-4, seed=7)


@pytest.fixture(scope="module")
def scene(signals):
    return sum(signals) + NOISE


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_model(tmp_path_factory.mktemp("model") / "tiny.onnx"))


class SignalSink(gr.basic_block):
    """Keeps what the port ``signals`` says, as dictionaries."""

    def __init__(self):
        gr.basic_block.__init__(self, name="signal_sink", in_sig=None, out_sig=None)
        self.said = []
        self.message_port_register_in(pmt.intern("signals"))
        self.set_msg_handler(pmt.intern("signals"), self._on_message)

    def _on_message(self, message):
        self.said.append(pmt.to_python(message))


class Run:
    """One flowgraph run to its end: for each output its samples, and its tags as (sample, key, value)."""

    def __init__(self, samples, *, tags=(), lengths=None, largest=10_000_000, **given):
        samples = np.asarray(samples, np.complex64)
        self.source = Chopper(samples, lengths) if lengths else blocks.vector_source_c(samples, False, 1, list(tags))
        self.block = amc.conditioner(**{"sample_rate": RATE, "interval": INTERVAL, **given})
        self._sinks = [blocks.vector_sink_c() for _ in range(given.get("signals", 1))]
        self._signals = SignalSink()
        self._largest = largest
        self.top = gr.top_block()
        self.top.connect(self.source, self.block)
        for output, sink in enumerate(self._sinks):
            self.top.connect((self.block, output), sink)
        self.top.msg_connect(self.block, "signals", self._signals, "signals")
        self.again()

    def again(self):
        for sink in self._sinks:
            sink.reset()
        self._signals.said.clear()
        self.top.run(self._largest)
        self.outputs = [np.array(sink.data(), np.complex64) for sink in self._sinks]
        self.tags = [
            [(mark.offset, pmt.symbol_to_string(mark.key), pmt.to_python(mark.value)) for mark in sink.tags()]
            for sink in self._sinks
        ]
        self.said = list(self._signals.said)

    def marks(self, key, output=0):
        return [(offset, value) for offset, name, value in self.tags[output] if name == key]

    def ratio(self, output=0):
        """Samples out for one in, of the first stretch."""
        return self.marks("rx_rate", output)[0][1] / RATE


def centre_of_gravity(samples):
    """Of the power spectrum, in cycles per sample."""
    power = np.abs(np.fft.fft(samples)) ** 2
    return np.sum(power * np.fft.fftfreq(len(samples))) / np.sum(power)


def line(samples, power):
    """Frequency in cycles per sample of the strongest line of the samples to that power, from 0.05 to 0.3."""
    product = np.abs(samples) ** 2 if power == 0 else samples**power
    spectrum = np.abs(np.fft.fft(product * np.hanning(len(product))))
    frequencies = np.fft.fftfreq(len(product))
    searched = np.where((frequencies > 0.05) & (frequencies < 0.3), spectrum, 0)
    return frequencies[np.argmax(searched)]


# --- what comes out -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both(scene):
    return Run(scene, signals=2, frequency=TUNING)


@pytest.mark.parametrize(("output", "symbol_rate", "frequency"), [(0, QPSK_RATE, QPSK_AT), (1, GMSK_RATE, GMSK_AT)])
def test_each_signal_comes_out_centred_at_8_samples_per_symbol(both, output, symbol_rate, frequency):
    samples = both.outputs[output]
    assert abs(centre_of_gravity(samples)) < 0.01
    assert both.ratio(output) * RATE == pytest.approx(8 * symbol_rate, rel=2e-4)
    assert len(samples) == int(LOOKS * LOOK * both.ratio(output) + 1e-6)
    ((offset, tagged),) = both.marks("rx_freq", output)
    assert offset == 0
    assert tagged == pytest.approx(TUNING + frequency, abs=2e-4 * symbol_rate)


def test_the_symbols_are_where_they_should_be(both):
    """The square timing line of QPSK, and of GMSK's square the line a half symbol rate above twice the carrier."""
    assert line(both.outputs[0], 0) == pytest.approx(1 / 8, rel=0.01)
    carrier = (GMSK_AT + TUNING - both.marks("rx_freq", 1)[0][1]) / both.marks("rx_rate", 1)[0][1]
    assert line(both.outputs[1], 2) - 2 * carrier == pytest.approx(1 / 16, rel=0.01)


def test_nothing_else_comes_out(both, signals):
    """The strength of each signal is what it was, and what is left besides is the noise within the filter."""
    for samples, signal in zip(both.outputs, signals, strict=True):
        power = np.mean(np.abs(samples[500:-500]) ** 2)
        assert power == pytest.approx(np.mean(np.abs(signal) ** 2), rel=0.03)


def test_the_messages_say_what_was_found(both):
    assert [message["output"] for message in both.said] == [0, 1] * LOOKS
    for message in both.said:
        frequency, symbol_rate = ((QPSK_AT, QPSK_RATE), (GMSK_AT, GMSK_RATE))[message["output"]]
        assert message["present"] is True
        assert message["frequency"] == pytest.approx(TUNING + frequency, abs=0.01 * 8 * symbol_rate)
        assert message["symbol_rate"] == pytest.approx(symbol_rate, rel=0.01)
        assert 0.8 * symbol_rate < message["bandwidth"] < 1.5 * symbol_rate
        assert message["power"] == pytest.approx((-20, -26)[message["output"]], abs=0.5)
        noise = 10 * np.log10(4e-4 * message["bandwidth"] / RATE)
        assert message["snr"] == pytest.approx(message["power"] - noise, abs=1)
        assert 0.9 <= message["confidence"] <= 1


def test_labels_of_classifiers_behind_carry_the_frequency(scene, model):
    block = amc.conditioner(RATE, TUNING, signals=2, interval=INTERVAL)
    classifiers, sinks = [amc.classifier(model) for _ in range(2)], [MessageSink() for _ in range(2)]
    top = gr.top_block()
    top.connect(blocks.vector_source_c(scene, False, 1, [rx_time(0, 1000, 0.0)]), block)
    for output, (classifier, sink) in enumerate(zip(classifiers, sinks, strict=True)):
        top.connect((block, output), classifier)
        top.msg_connect(classifier, "labels", sink, "labels")
    top.run()
    for sink, expected, symbol_rate in ((sinks[0], QPSK_AT, QPSK_RATE), (sinks[1], GMSK_AT, GMSK_RATE)):
        messages = [pmt.to_python(message) for message in sink.labels]
        assert len(messages) == int(LOOKS * INTERVAL * 8 * symbol_rate) // 1024
        for number, message in enumerate(messages):
            assert message["frequency"] == pytest.approx(TUNING + expected, abs=0.01 * 8 * symbol_rate)
            seconds = message["time"][0] + message["time"][1] - 1000
            assert seconds == pytest.approx(number * 1024 / (8 * symbol_rate), rel=0.01)


def test_a_subscriber_of_conditioner_and_classifier_hears_both_to_their_ends(scene, model, monkeypatch):
    block, classifier, sink = amc.conditioner(RATE, TUNING, interval=INTERVAL), amc.classifier(model), MessageSink()
    classify = classifier._pipeline.finish
    monkeypatch.setattr(classifier._pipeline, "finish", lambda inference: time.sleep(0.01) or classify(inference))
    source, top = blocks.vector_source_c(scene), gr.top_block()
    top.connect(source, block, classifier)
    top.msg_connect(block, "signals", sink, "status")
    top.msg_connect(classifier, "labels", sink, "labels")
    for _ in range(2):
        source.rewind()
        sink.labels.clear()
        sink.status.clear()
        top.run()
        assert len(sink.labels) == int(LOOKS * INTERVAL * 8 * QPSK_RATE) // 1024
        assert len(sink.status) == LOOKS


# --- signals that come, go and move ---------------------------------------------------------------


def test_a_signal_that_comes_back_has_its_output_again(signals):
    """QPSK is away in the third look, and GMSK, which is alone then, stays where it is."""
    first, second = (signal.copy() for signal in signals)
    first[2 * LOOK : 3 * LOOK] = 0
    run = Run(first + second + NOISE, signals=2)
    ratio = run.ratio()
    assert [offset for offset, _ in run.marks("rx_freq")] == [0, int(2 * LOOK * ratio + 1e-6)]
    assert len(run.outputs[0]) == pytest.approx(4 * LOOK * ratio, abs=2)
    assert [offset for offset, _ in run.marks("rx_freq", 1)] == [0]
    presence = [(message["output"], message["present"]) for message in run.said]
    assert presence == [(0, True), (1, True)] * 2 + [(0, False), (1, True)] + [(0, True), (1, True)] * 2


def test_noise_alone_gives_nothing():
    run = Run(NOISE)
    assert len(run.outputs[0]) == 0
    assert run.said == []


@pytest.mark.parametrize(("moved", "stretches"), [(200, 1), (500, 2), (5000, 2)])
def test_a_signal_that_moves_a_little_keeps_its_filter(moved, stretches):
    """A five-hundredth of the output's sample rate is 320 Hz."""
    samples = qpsk(20)
    path = np.where(np.arange(len(samples)) < 2 * LOOK, QPSK_AT, QPSK_AT + moved)
    samples = 0.1 * samples * np.exp(2j * np.pi * np.cumsum(path) / RATE) + NOISE
    marks = Run(samples).marks("rx_freq")
    assert len(marks) == stretches
    expected = [(0, QPSK_AT), (int(2 * LOOK * 0.4 + 1e-6), QPSK_AT + moved)][:stretches]
    for (offset, frequency), (place, true) in zip(marks, expected, strict=True):
        assert offset == pytest.approx(place, rel=0.005)
        assert frequency == pytest.approx(true, abs=1600)


# --- discontinuities of the input -----------------------------------------------------------------

CUT = 2 * LOOK + 12_345


def test_a_retune_ends_all_stretches_at_its_sample(signals):
    """The receiver goes up by 20 kHz, so that the signal lies as much lower."""
    samples = signals[0] + NOISE
    samples[CUT:] = at(-20e3, samples[CUT:])
    run = Run(
        samples, tags=[tag(0, "rx_freq", pmt.from_double(TUNING)), tag(CUT, "rx_freq", pmt.from_double(TUNING + 20e3))]
    )
    (first, second) = run.marks("rx_freq")
    assert first == (0, pytest.approx(TUNING + QPSK_AT, abs=1600))
    assert second == (int(CUT * run.ratio() + 1e-6), pytest.approx(TUNING + QPSK_AT, abs=1600))
    assert abs(centre_of_gravity(run.outputs[0][second[0] :])) < 0.01


def test_lost_samples_end_all_stretches_and_the_signals_stay_on_their_outputs(scene):
    """At the loss GMSK is the stronger one, which does not take QPSK's output."""
    louder = scene.copy()
    louder[CUT:] += 9 * 0.1 * at(GMSK_AT, gmsk(40, len(louder) - CUT))
    tags = [rx_time(0, 7, 0.5), rx_time(CUT, 9, 0.25)]
    run = Run(louder, tags=tags, signals=2)
    for output, true in ((0, QPSK_AT), (1, GMSK_AT)):
        places = [0, int(CUT * run.ratio(output) + 1e-6)]
        assert [offset for offset, _ in run.marks("rx_freq", output)] == places
        assert [frequency for _, frequency in run.marks("rx_freq", output)] == [pytest.approx(true, abs=1600)] * 2
        assert run.marks("rx_time", output) == [(places[0], (7, 0.5)), (places[1], (9, 0.25))]


def test_a_rate_said_again_is_no_discontinuity_and_another_is_one(signals):
    tags = [
        tag(offset, "rx_rate", pmt.from_double(rate)) for offset, rate in ((0, RATE), (50_000, RATE), (CUT, 2 * RATE))
    ]
    rates = Run(signals[0] + NOISE, tags=tags).marks("rx_rate")
    assert [rate for _, rate in rates] == [pytest.approx(160e3, rel=0.01), pytest.approx(320e3, rel=0.01)]
    assert rates[1][0] == int(CUT * rates[0][1] / RATE + 1e-6)


def test_a_frequency_that_was_set_is_in_the_tags(signals):
    run = Run(signals[0] + NOISE)
    run.block.set_frequency(TUNING)
    run.source.rewind()
    run.again()
    assert run.marks("rx_freq") == [(0, pytest.approx(TUNING + QPSK_AT, abs=1600))]


# --- settings -------------------------------------------------------------------------------------


def test_with_all_settings_given_the_output_never_pauses():
    centre = TUNING - 30e3
    run = Run(NOISE, frequency=TUNING, centre=centre, bandwidth=20e3, symbol_rate=16e3)
    assert run.tags == [[(0, "rx_freq", centre), (0, "rx_rate", pytest.approx(8 * 16e3, rel=0.002))]]
    assert len(run.outputs[0]) == int(len(NOISE) * run.ratio() + 1e-6)


def test_settings_win_over_what_is_found(signals):
    found = Run(sum(signals) + NOISE, centre=GMSK_AT + 300)
    assert found.marks("rx_freq") == [(0, GMSK_AT + 300)]
    assert found.ratio() * RATE == pytest.approx(8 * GMSK_RATE, rel=0.01)
    assert Run(NOISE, centre=GMSK_AT).tags == [[]]
    assert Run(sum(signals) + NOISE, symbol_rate=15e3).ratio() * RATE == pytest.approx(8 * 15e3, rel=0.002)
    wide = Run(sum(signals) + NOISE, bandwidth=30e3).said[0]
    assert (wide["bandwidth"], wide["symbol_rate"]) == (30e3, pytest.approx(QPSK_RATE, rel=0.01))


def test_other_samples_per_symbol(signals):
    assert Run(signals[0] + NOISE, samples_per_symbol=4).ratio() * RATE == pytest.approx(4 * QPSK_RATE, rel=0.01)


def test_settings_can_change(signals):
    """Between two runs, where it is known which samples they hold for."""
    run = Run(signals[0] + NOISE)
    run.block.set_centre(QPSK_AT - 1000)
    run.block.set_symbol_rate(25e3)
    run.source.rewind()
    run.again()
    assert run.marks("rx_freq") == [(0, QPSK_AT - 1000)]
    assert run.ratio() * RATE == pytest.approx(8 * 25e3, rel=0.002)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"sample_rate": 0}, "sample_rate is 0"),
        ({"sample_rate": float("nan")}, "sample_rate is nan"),
        ({"frequency": float("inf")}, "frequency is inf"),
        ({"signals": 0}, "signals is 0"),
        ({"signals": 9}, "signals is 9"),
        ({"signals": 1.5}, "signals is 1.5"),
        ({"interval": 0.001}, "interval is 0.001 s; at this sample_rate a look needs 0.00384 s"),
        ({"interval": float("inf")}, "interval is inf s; .*, and 60 s is the most"),
        ({"interval": float("nan")}, "interval is nan"),
        ({"samples_per_symbol": 1}, "samples_per_symbol is 1"),
        ({"centre": float("nan")}, "centre is nan; it must be within"),
        ({"centre": 1e3, "signals": 2}, "centre is given, and signals is more than 1"),
        ({"bandwidth": -1}, "bandwidth is -1"),
        ({"bandwidth": 39}, "bandwidth is 39; it must be from 40 to the sample rate"),
        ({"symbol_rate": 0.01}, "symbol_rate is 0.01; it must be from 40"),
        ({"symbol_rate": 401e3}, "symbol_rate is 401000.0"),
    ],
)
def test_settings_that_cannot_work_are_refused_in_a_sentence(given, sentence):
    with pytest.raises(AmcError, match=sentence) as raised:
        amc.conditioner(**{"sample_rate": RATE, **given})
    assert "\n" not in str(raised.value)


# --- the same samples give the same output --------------------------------------------------------


@pytest.mark.parametrize(("lengths", "largest"), [([997, 3, 4001], 10_000_000), ([8000, 7], 300), (None, 128)])
def test_what_comes_out_does_not_depend_on_the_pattern_of_calls(scene, both, lengths, largest):
    other = Run(scene, signals=2, frequency=TUNING, lengths=lengths, largest=largest)
    for one, again in zip(both.outputs, other.outputs, strict=True):
        np.testing.assert_array_equal(one, again)
    assert other.tags == both.tags
    assert other.said == both.said


def test_run_again(scene, both):
    run = Run(scene, signals=2, frequency=TUNING)
    for _ in range(3):
        run.source.rewind()
        run.again()
        for one, again in zip(both.outputs, run.outputs, strict=True):
            np.testing.assert_array_equal(one, again)
        assert run.tags == both.tags


@pytest.mark.parametrize("count", [0, 1, 1000, LOOK - 1, LOOK + 1])
def test_short_streams_end(signals, count):
    """What is there is looked at if it is too short for a look, unless it is too short to have a band."""
    run = Run((signals[0] + NOISE)[:count])
    assert run.block.error is None
    assert len(run.outputs[0]) == (int(count * run.ratio() + 1e-6) if count > 1000 else 0)


# --- how it ends ----------------------------------------------------------------------------------


def endless(samples, **given):
    """A flowgraph that repeats the samples for ever: itself, the conditioner and the sink behind it."""
    block, sink = amc.conditioner(RATE, interval=INTERVAL, **given), blocks.probe_signal_c()
    top = gr.top_block()
    top.connect(blocks.vector_source_c(samples, True), block, sink)
    return top, block, sink


def no_thread_is_left():
    return not [thread for thread in threading.enumerate() if thread.name == "amc conditioner"]


def test_stop_in_mid_stream_and_start_again(signals):
    """With a signal that comes and goes, so that there are filters in every state; none of their threads stays."""
    samples = signals[0].copy()
    samples[LOOK : 2 * LOOK] = 0
    top, block, sink = endless(samples + NOISE)
    marks = blocks.vector_sink_c()
    top.connect(block, marks)
    before = len(os.listdir("/proc/self/task"))
    for _ in range(3):
        marks.reset()
        top.start()
        assert eventually(lambda: sink.nitems_read(0) > 50_000)
        top.stop()
        top.wait()
        assert block.error is None
        assert no_thread_is_left()
        assert eventually(lambda: len(os.listdir("/proc/self/task")) <= before)
        # The tuning is told at the first sample of every run.
        assert {pmt.symbol_to_string(mark.key) for mark in marks.tags() if mark.offset == 0} == {"rx_freq", "rx_rate"}


def test_a_flowgraph_reconfigured_while_it_runs(scene):
    top, block, sink = endless(scene)
    other = blocks.null_sink(gr.sizeof_gr_complex)
    top.start()
    assert eventually(lambda: sink.nitems_read(0) > 50_000)
    top.lock()
    top.connect(block, other)
    top.unlock()
    assert eventually(lambda: other.nitems_read(0) > 50_000)
    top.stop()
    top.wait()
    assert block.error is None


def test_a_slow_subscriber_holds_up_the_source_and_memory_stays_bounded(scene):
    """Nothing is dropped: what is taken in is little more than what has come out."""
    block = amc.conditioner(RATE, interval=INTERVAL)
    source, throttle = blocks.vector_source_c(scene, True), blocks.throttle(gr.sizeof_gr_complex, 100e3)
    sink = blocks.null_sink(gr.sizeof_gr_complex)
    top = gr.top_block()
    top.connect(source, block, throttle, sink)
    top.start()
    assert eventually(lambda: sink.nitems_read(0) > 50_000)
    taken, given = source.nitems_written(0), sink.nitems_read(0)
    top.stop()
    top.wait()
    # A look, 2^18 samples before and behind the filters, and GNU Radio's buffers.
    assert taken < given / 0.4 + LOOK + 2**18 / 0.4 + 2**18 + 300_000


def test_a_block_behind_that_ends_ends_the_flowgraph(scene):
    block = amc.conditioner(RATE, interval=INTERVAL)
    head, sink = blocks.head(gr.sizeof_gr_complex, 10_000), blocks.vector_sink_c()
    top = gr.top_block()
    top.connect(blocks.vector_source_c(scene, True), block, head, sink)
    top.run()
    assert len(sink.data()) == 10_000
    assert no_thread_is_left()


@pytest.mark.parametrize(
    ("owner", "method"),
    [(SignalTracker, "look"), (SignalChain, "start"), (ConditionerWork, "give"), (ConditionerWork, "put")],
)
def test_any_exception_ends_the_flowgraph_and_is_told(scene, monkeypatch, owner, method):
    def explode(*arguments):
        raise MemoryError("no room")

    monkeypatch.setattr(owner, method, explode)
    top, block, _ = endless(scene)
    top.run()
    assert str(block.error) == "the conditioner failed: MemoryError: no room"
    assert no_thread_is_left()


def test_a_filter_that_ends_early_ends_the_flowgraph(scene, monkeypatch):
    start = SignalChain.start

    def start_and_stop(chain):
        start(chain)
        time.sleep(0.05)
        chain.close()

    monkeypatch.setattr(SignalChain, "start", start_and_stop)
    top, block, _ = endless(scene)
    top.run()
    assert "ended before all its samples had come" in str(block.error)


def test_a_thread_that_cannot_start_ends_the_flowgraph(scene, monkeypatch):
    begin = threading.Thread.start

    def refuse(thread):
        if thread.name == "amc conditioner":
            raise RuntimeError("can't start new thread")
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    top, block, _ = endless(scene)
    top.run()
    assert "can't start new thread" in str(block.error)
