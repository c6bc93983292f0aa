# SPDX-License-Identifier: GPL-3.0-or-later
"""The label display: what it takes out of the messages, what it paints, and that flowgraphs live and end with it."""

import re
import subprocess
import sys
import threading
import time
import tracemalloc

import numpy as np
import pmt
import pytest
from gnuradio import amc, blocks, gr
from gnuradio.amc.display_state import COLUMNS, EMPTY, MOST_ROWS, TAKEN_LABELS, DisplayState
from gnuradio.amc.errors import AmcError
from gnuradio.amc.report import Result
from gnuradio.amc.strips import label_colours

from tests.helpers.flowgraphs import message_of, steps
from tests.helpers.tiny_models import write_model

pytestmark = pytest.mark.hard_timeout(120)

CLASSES = ("A", "B", "C")
MANY_CLASSES = (
    "OOK", "4ASK", "8ASK", "BPSK", "QPSK", "8PSK", "16PSK", "32PSK", "16APSK", "32APSK", "64APSK", "128APSK", "16QAM",
    "32QAM", "64QAM", "128QAM", "256QAM", "AM-SSB-WC", "AM-SSB-SC", "AM-DSB-WC", "AM-DSB-SC", "FM", "GMSK", "OQPSK",
)  # fmt: skip
HISTORY = 12.0  # seconds: 100 columns a second


def label(name, frequency=None, probabilities=None, confidence=0.75):
    if probabilities is None:
        probabilities = np.full(len(CLASSES), 0.125)
        probabilities[CLASSES.index(name) if name in CLASSES else 0] = 0.75
    return message_of(Result(name, confidence, np.asarray(probabilities, np.float32), 0, 1024, -3.0, None, frequency))


def status(windows=0, dropped=0, ignored=0, errors=0):
    message = pmt.make_dict()
    for name, count in {"windows": windows, "dropped": dropped, "ignored": ignored, "errors": errors}.items():
        message = pmt.dict_add(message, pmt.intern(name), pmt.from_uint64(count))
    return message


class Scene:
    """A display state with a clock that the test moves."""

    def __init__(self, classes=CLASSES, history=HISTORY):
        self.time = 1000.0
        self.warnings = []
        self.state = DisplayState(classes, history, warn=self.warnings.append, clock=lambda: self.time)

    def at(self, seconds, *messages, to="label"):
        self.time = 1000.0 + seconds
        for message in messages:
            getattr(self.state, f"hear_{to}")(message)
        return self.state.update()

    def repeat(self, name, begin, end, step=0.02, frequency=None):
        for number in range(round((end - begin) / step) + 1):
            self.at(begin + number * step, label(name, frequency))

    def strip(self, row=0):
        """[(label, seconds)] from the oldest to now, without what is empty at the begin."""
        cells = self.state.rows[row][2]
        assert cells.shape == (COLUMNS,)
        edges = np.flatnonzero(np.diff(cells, prepend=-9)).tolist() + [COLUMNS]
        runs = [
            (None if cells[begin] == EMPTY else self.state.labels[cells[begin]], (end - begin) * HISTORY / COLUMNS)
            for begin, end in zip(edges, edges[1:], strict=False)
        ]
        return runs[1:] if runs[0][0] is None else runs


def about(*runs):
    return [(name, pytest.approx(seconds, abs=0.035)) for name, seconds in runs]


# --- what is shown --------------------------------------------------------------------------------


def test_before_any_message():
    scene = Scene()
    assert scene.at(0) in (True, False)
    state = scene.state
    assert (state.shown, state.rows, state.names, state.counters, state.rate) == (None, [], CLASSES, {}, 0)
    assert not scene.at(5), "nothing is heard, nothing is drawn again"


def test_the_newest_label_is_shown_with_its_probabilities():
    scene = Scene()
    scene.at(0, label("A"), label("B", probabilities=[0.25, 0.5, 0.25], confidence=0.5))
    assert (scene.state.shown.result.label, scene.state.shown.result.confidence) == ("B", 0.5)
    assert scene.state.shown.result.probabilities.tolist() == [0.25, 0.5, 0.25]
    scene.at(7)
    assert scene.state.shown.result.label == "B" and scene.state.age == pytest.approx(7)


def test_strip_shows_labels_for_as_long_as_they_came():
    scene = Scene()
    scene.repeat("A", 0, 3)
    scene.repeat("B", 3.02, 5)
    scene.repeat("unknown", 5.02, 6)
    assert scene.strip() == about(("A", 3), ("B", 2), ("unknown", 1))
    scene.at(10.5)
    assert scene.strip() == about(("A", 3), ("B", 2), ("unknown", 1), (None, 4.5))
    scene.at(14)
    assert scene.strip() == about(("A", 1), ("B", 2), ("unknown", 1), (None, 8))
    scene.at(18.5)
    assert scene.state.rows == []


def test_a_gap_in_the_labels_is_a_gap_in_the_strip():
    scene = Scene()
    scene.repeat("A", 0, 2)
    scene.repeat("A", 2.45, 3)  # shorter than a gap
    scene.repeat("A", 4, 5)
    assert scene.strip() == about(("A", 3), (None, 1), ("A", 1))


def test_a_label_lasts_until_now_while_it_is_too_early_for_a_gap():
    scene = Scene()
    scene.repeat("A", 0, 2)
    scene.at(2.45)
    assert scene.strip() == about(("A", 2.45))
    scene.at(2.55)
    assert scene.strip() == about(("A", 2), (None, 0.55))


def test_labels_that_come_slowly_are_joined_once_their_pace_is_known():
    scene = Scene()
    scene.repeat("A", 0, 4, step=1)
    scene.repeat("B", 5, 7, step=1)
    # The label before lasts until the next one; the first interval could as well be a gap.
    assert scene.strip() == about(("A", 0), (None, 1), ("A", 4), ("B", 2))
    scene.repeat("B", 11.5, 11.5)
    assert scene.strip()[-2:] == about((None, 4.5), ("B", 0))


def test_a_label_lasts_while_windows_are_counted_without_a_new_one():
    """As with ``publish`` on change."""
    scene = Scene()
    scene.at(0, status(), to="status")
    scene.at(0.5, label("A"))
    for second in range(1, 6):
        scene.at(second, status(windows=100 * second), to="status")
    assert scene.strip() == about(("A", 4.5))
    assert scene.state.age == 0
    for second in range(6, 9):
        scene.at(second, status(windows=500, ignored=100 * second), to="status")
    assert scene.strip() == about(("A", 4.5), (None, 3))


def test_no_signal_where_windows_are_ignored_and_none_is_labelled():
    scene = Scene()
    scene.at(0, status(windows=1, ignored=1), to="status")
    scene.at(0.1, label("A"))
    scene.at(1, status(windows=2, ignored=7), to="status")
    assert not scene.state.is_silent
    scene.at(2, status(windows=2, ignored=7), to="status")
    assert not scene.state.is_silent
    scene.at(3, status(windows=2, ignored=8), to="status")
    assert scene.state.is_silent
    scene.at(3.1, label("A"))
    assert not scene.state.is_silent


def test_counts_and_rate_follow_the_status_and_begin_anew():
    scene = Scene()
    for second in range(4):
        scene.at(second, status(windows=200 * second, dropped=second, ignored=7, errors=2), to="status")
    assert scene.state.counters == {"windows": 600, "dropped": 3, "ignored": 7, "errors": 2}
    assert scene.state.rate == pytest.approx(200)
    scene.at(4, status(windows=50), to="status")
    assert scene.state.counters["windows"] == 50
    scene.at(5, status(windows=150), to="status")
    assert scene.state.rate == pytest.approx(100)
    scene.at(60)
    assert scene.state.rate == 0, "nothing is classified any more"


# --- several frequencies --------------------------------------------------------------------------


def test_each_frequency_has_a_strip_of_its_own():
    scene = Scene()
    for number in range(200):
        names = {433.9e6: "A", 434.1e6: "B" if number < 100 else "C", 145e6: "unknown"}
        scene.at(number * 0.02, *(label(name, frequency) for frequency, name in names.items()))
    rows = scene.state.rows
    assert [(frequency, name) for frequency, name, _ in rows] == [
        (434_100_000, "C"), (433_900_000, "A"), (145_000_000, "unknown"),
    ]  # fmt: skip
    assert scene.strip(0) == about(("B", 2), ("C", 2))
    assert scene.strip(1) == about(("A", 4))
    assert scene.strip(2) == about(("unknown", 4))


def test_the_frequency_heard_longest_ago_makes_room():
    scene = Scene()
    for number in range(MOST_ROWS + 3):
        scene.at(0.1 * number, label("A", 1e6 + number))
    assert [frequency for frequency, _, _ in scene.state.rows] == [1_000_000 + n for n in range(MOST_ROWS + 2, 2, -1)]


def test_large_label_stays_with_a_frequency_until_it_is_silent():
    scene = Scene()
    for number in range(10):
        scene.at(0.1 * number, label("A", 1e6), label("B", 2e6))
        assert scene.state.shown.frequency == 1_000_000
    for number in range(10, 20):
        scene.at(0.1 * number, label("B", 2e6))
    assert (scene.state.shown.frequency, scene.state.shown.result.label) == (2_000_000, "B")


def test_large_label_follows_the_chosen_frequency():
    scene = Scene()
    scene.at(0, label("A", 1e6), label("B", 2e6), label("C"))
    for frequency, name in ((2_000_000, "B"), (None, "C"), (1_000_000, "A")):
        scene.state.choose(frequency)
        assert scene.at(0), "a choice is seen at once"
        assert scene.state.shown.result.label == name
    scene.state.choose(1_000_000)
    scene.at(0.1, label("A", 1e6))
    scene.at(1, label("B", 2e6))
    assert scene.state.shown.result.label == "B"


# --- messages that do not fit ---------------------------------------------------------------------


@pytest.mark.parametrize("message", [pmt.PMT_NIL, pmt.from_double(1), pmt.intern("QPSK"), pmt.make_dict()])
def test_what_is_no_message_of_a_classifier_is_refused_in_one_sentence(message):
    scene = Scene()
    scene.at(0, message, message)
    scene.at(0, message, to="status")
    assert len(scene.warnings) == 1 and "labels" in scene.warnings[0]
    scene.at(0, label("A"))
    assert scene.state.shown.result.label == "A"
    assert scene.state.counters == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [("probabilities", pmt.from_double(1)), ("probabilities", pmt.PMT_NIL), ("confidence", pmt.intern("high"))],
)
def test_a_label_without_its_numbers_is_refused(name, value):
    scene = Scene()
    scene.at(0, label("A"))
    scene.at(1, pmt.dict_add(label("B"), pmt.intern(name), value))
    assert len(scene.warnings) == 1 and scene.state.shown.result.label == "A"


@pytest.mark.parametrize("frequency", [float("nan"), float("inf")])
def test_a_frequency_that_is_no_number_is_refused(frequency):
    scene = Scene()
    scene.at(0, label("A", frequency))
    assert scene.state.rows == [] and len(scene.warnings) == 1


def test_probabilities_of_other_classes_are_numbered():
    scene = Scene()
    scene.at(0, label("D", probabilities=[0.1, 0.2, 0.3, 0.4]))
    assert scene.state.names == ("class 1", "class 2", "class 3", "class 4")
    assert scene.strip() == about(("D", 0))


def test_endlessly_many_labels_are_kept_as_unknown():
    scene = Scene()
    for number in range(1000):
        scene.at(0.01 * number, label(f"label {number}"))
    assert len(scene.state.labels) < 300
    assert scene.state.shown.result.label == "label 999"
    assert scene.strip()[-1] == about(("unknown", 7.44))[0]


# --- many messages --------------------------------------------------------------------------------


def test_a_hundred_thousand_messages_do_not_grow_memory_and_the_newest_is_shown():
    state = DisplayState(CLASSES, HISTORY)
    message, last = label("A"), label("B")
    for _ in range(2 * TAKEN_LABELS):
        state.hear_label(message)
    tracemalloc.start()
    for _ in range(100_000):
        state.hear_label(message)
        state.hear_status(message)
    state.hear_label(last)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 400_000  # the newest messages, with a number for the time of each
    assert state.update()
    assert state.heard == 100_001 + 2 * TAKEN_LABELS and state.shown.result.label == "B"
    assert not state._labels


def test_messages_are_taken_in_while_others_come():
    state, message = DisplayState(CLASSES, HISTORY), label("A")
    feeder = threading.Thread(target=lambda: [state.hear_label(message) for _ in range(100_000)])
    feeder.start()
    while feeder.is_alive():
        state.update()
    state.update()
    assert state.heard == 100_000 and state.shown.result.label == "A"


# --- what is painted ------------------------------------------------------------------------------


@pytest.fixture
def widget(application):
    """Makes the widget of a state, in a given size, without its timer."""
    from gnuradio.amc.display_widget import LabelWidget

    def make(state, width=600, height=400, window="#efefef", text="#000000"):
        from PyQt5.QtGui import QColor, QPalette

        made = LabelWidget(state)
        made._timer.stop()
        palette = QPalette()
        palette.setColor(QPalette.Window, QColor(window))
        palette.setColor(QPalette.WindowText, QColor(text))
        made.setPalette(palette)
        made.resize(width, height)
        return made

    return make


def pixels(widget):
    """uint8 (height, width, 3) of the widget as it paints itself."""
    from PyQt5.QtGui import QImage

    image = widget.grab().toImage().convertToFormat(QImage.Format_RGB888)
    bits = image.constBits()
    bits.setsize(image.byteCount())
    lines = np.frombuffer(bits, np.uint8).reshape(image.height(), image.bytesPerLine())
    return lines[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).copy()


def part(image, place):
    """The pixels inside a QRectF."""
    return image[int(place.top()) : int(np.ceil(place.bottom())), int(place.left()) : int(np.ceil(place.right()))]


def where(image, colour):
    return (np.abs(image.astype(int) - np.asarray(colour).astype(int)) <= 1).all(axis=2)


def longest(mask):
    """The longest horizontal run of True."""
    padded = np.pad(mask, ((0, 0), (1, 1))).astype(np.int8).ravel()
    edges = np.flatnonzero(np.diff(padded))
    return max((edges[1::2] - edges[::2]).tolist(), default=0)


SIZES = [(320, 180), (400, 300), (1200, 800), (1100, 260)]
PALETTES = [("#efefef", "#000000"), ("#2b2b2b", "#eeeeee"), ("#000000", "#ffffff")]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("colours", PALETTES)
def test_bars_are_as_long_as_their_probabilities(widget, size, colours):
    scene = Scene(MANY_CLASSES)
    values = np.full(24, 0.2 / 22)
    values[[4, 21]] = 0.5, 0.3
    scene.at(0, label("QPSK", probabilities=values, confidence=0.5))
    shown = widget(scene.state, *size, *colours)
    bars = part(pixels(shown), shown.places().bars)
    lengths = [longest(where(bars, colour)) for colour in label_colours(MANY_CLASSES)]
    assert np.argsort(lengths)[-2:].tolist() == [21, 4]
    assert all(lengths), "every class has its colour"
    assert lengths[21] / lengths[4] == pytest.approx(0.6, abs=0.12 if size == SIZES[0] else 0.06)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("colours", PALETTES)
def test_strip_has_the_colours_of_its_labels_in_order(widget, size, colours):
    scene = Scene()
    scene.repeat("A", 0, 3)
    scene.repeat("B", 5, 8)
    scene.repeat("unknown", 8.02, 12)
    shown = widget(scene.state, *size, *colours)
    strip = part(pixels(shown), shown.places().history)
    middle = strip[: strip.shape[0] // 3]
    a, b, _, unknown = label_colours([*CLASSES, "unknown"])
    columns = [np.flatnonzero(where(middle, colour).any(axis=0)) for colour in (a, b, unknown)]
    assert all(len(found) > 0.15 * strip.shape[1] for found in columns)
    assert columns[0].max() < columns[1].min() and columns[1].max() < columns[2].min()
    gap = middle[0, columns[0].max() + 2 : columns[1].min() - 1]
    assert len(gap) > 0.1 * strip.shape[1]
    assert (gap == gap[0]).all() and np.abs(gap[0].astype(int) - unknown).max() > 25


def test_strips_of_two_frequencies_lie_one_above_the_other(widget):
    scene = Scene()
    for number in range(100):
        scene.at(0.02 * number, label("A", 2e6), label("B", 1e6))
    shown = widget(scene.state)
    strips = part(pixels(shown), shown.places().history)
    rows = [np.flatnonzero(where(strips, colour).sum(axis=1) > 40) for colour in label_colours(CLASSES)[:2]]
    assert len(rows[0]) > 5 and len(rows[1]) > 5 and rows[0].max() < rows[1].min()


def test_a_click_on_a_strip_chooses_its_frequency(widget, application):
    from PyQt5.QtCore import QPoint, Qt
    from PyQt5.QtTest import QTest

    scene = Scene()
    scene.at(0, label("A", 2e6), label("B", 1e6))
    shown = widget(scene.state)
    shown.grab()
    place = shown.places().history
    lower = QPoint(int(place.center().x()), int(place.top() + 0.6 * place.height()))
    QTest.mouseClick(shown, Qt.LeftButton, Qt.NoModifier, lower)
    assert scene.state.shown.result.label == "B"
    QTest.mouseClick(shown, Qt.LeftButton, Qt.NoModifier, lower)
    QTest.mouseClick(shown, Qt.LeftButton, Qt.NoModifier, QPoint(5, 5))
    assert scene.state.chosen == ""


@pytest.mark.parametrize("size", [*SIZES, (1, 1), (40, 4000)])
@pytest.mark.parametrize(
    "messages",
    [
        [],
        [label("A", probabilities=[np.nan, np.inf, -np.inf], confidence=float("nan"))],
        [label("A", probabilities=[])],
        [label("a label that is far longer than any widget is wide " * 9)],
        [label("unknown", probabilities=np.full(300, 1 / 300))],
        [label("A", frequency) for frequency in (None, 0.0, -5.0, 1e3, 1e12)],
    ],
    ids=["none", "not finite", "no probabilities", "long", "300 classes", "frequencies"],
)
def test_anything_can_be_painted_in_any_size(widget, size, messages):
    scene = Scene()
    scene.at(0, *messages)
    scene.at(0, status(windows=10**18, dropped=10**18, ignored=1, errors=10**18), to="status")
    shown = widget(scene.state, *size)
    shown.set_title("a title" * 20)
    image = pixels(shown)
    assert image.shape == (*size[::-1], 3)
    if min(size) > 100:
        assert len(np.unique(image.reshape(-1, 3), axis=0)) > 3


def test_silence_and_the_past_are_not_drawn_as_a_label_of_now(widget):
    scene = Scene()
    scene.at(0, label("A"))
    shown = widget(scene.state)
    now = pixels(shown)
    dark = (part(now, shown.places().label) < 20).all(axis=2).sum()
    scene.at(30)
    past = (part(pixels(shown), shown.places().label) < 20).all(axis=2).sum()
    assert dark > 200 and past == 0


def test_it_is_painted_again_only_after_a_change(widget):
    scene = Scene()
    scene.at(0, label("A"))
    assert not scene.state.update()
    scene.time += HISTORY / COLUMNS
    assert scene.state.update(), "the strip moves"
    scene.at(100)
    scene.time += 0.02
    assert not scene.state.update(), "the strip is empty"
    scene.time += 1
    assert scene.state.update(), "the age is written"


@pytest.mark.parametrize(
    ("hertz", "texts"),
    [
        ([433.92e6], ["433.92 MHz"]),
        ([433.92e6, 433.3255e6], ["433.9200 MHz", "433.3255 MHz"]),
        ([1e6, 2e6], ["1 MHz", "2 MHz"]),
        ([25e3, -12.5e3], ["25.0 kHz", "-12.5 kHz"]),
        ([0, 5], ["0 Hz", "5 Hz"]),
        ([None, 999], ["", "999 Hz"]),
        ([100e6, 100e6 + 1], ["100.000000 MHz", "100.000001 MHz"]),
    ],
)
def test_frequencies_are_written_so_that_they_differ(hertz, texts):
    from gnuradio.amc.display_widget import _frequency_texts

    assert _frequency_texts([None if value is None else round(value) for value in hertz]) == texts


def test_colours_differ_from_each_other_and_from_light_and_dark_grounds():
    linear = ((label_colours([*MANY_CLASSES, "unknown"]) / 255 + 0.055) / 1.055) ** 2.4
    luminance = linear @ (0.2126, 0.7152, 0.0722)
    contrast = [
        np.maximum(luminance + 0.05, ground + 0.05) / np.minimum(luminance + 0.05, ground + 0.05)
        for ground in (1, 0.024, 0)
    ]
    assert np.min(contrast) > 1.6
    colours = label_colours([*MANY_CLASSES, "unknown"]).astype(int)
    apart = np.abs(colours[:, None] - colours).sum(axis=2)[np.triu_indices(25, 1)]
    assert apart.min() > 50
    assert (label_colours(["x"] * 48)[24:] == label_colours(["x"] * 24)).all()


# --- the block ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_model(tmp_path_factory.mktemp("model") / "tiny.onnx"))


class Flowgraph:
    """Source, classifier and display."""

    def __init__(self, model, source):
        self.classifier = amc.classifier(model=model)
        self.display = amc.label_display(model=model)
        self.state = self.display.state
        self.top = gr.top_block()
        self.top.connect(source, self.classifier)
        for port in ("labels", "status"):
            self.top.msg_connect(self.classifier, port, self.display, port)


def test_display_shows_what_the_classifier_says(application, model):
    run = Flowgraph(model, blocks.vector_source_c(steps(*[1.0] * 5, *[0.5] * 10).tolist()))
    run.top.run()
    assert run.state.update()
    assert (run.state.labels, run.state.shown.result.label) == (["LOW", "MIDDLE", "HIGH", "unknown"], "MIDDLE")
    assert run.state.heard == 15
    assert run.state.counters == {"windows": 15, "dropped": 0, "ignored": 0, "errors": 0}


def test_flowgraphs_with_a_display_run_again_and_again(application, model):
    source = blocks.vector_source_c(np.ones(3000).tolist())
    run = Flowgraph(model, source)
    for number in range(20):
        source.rewind()
        run.top.run()
        assert run.state.heard == 2 * (number + 1)


def test_a_flowgraph_stopped_from_outside_starts_again_with_its_display(application, model):
    run = Flowgraph(model, blocks.vector_source_c(np.ones(1024).tolist(), True))
    for _ in range(5):
        before = run.state.heard
        run.top.start()
        deadline = time.monotonic() + 60
        while run.state.heard < before + 50 and time.monotonic() < deadline:
            time.sleep(0.01)
        run.top.stop()
        run.top.wait()
        assert run.state.heard >= before + 50


class Burst(gr.basic_block):
    """Publishes a hundred thousand messages when asked to."""

    def __init__(self):
        gr.basic_block.__init__(self, name="burst", in_sig=None, out_sig=None)
        self.message_port_register_out(pmt.intern("labels"))

    def send(self, message, count):
        port = pmt.intern("labels")
        for _ in range(count):
            self.message_port_pub(port, message)


def test_messages_are_taken_while_nothing_draws(application):
    """No event loop runs here, as if the screen were stuck."""
    burst, display = Burst(), amc.label_display(classes=CLASSES)
    top = gr.top_block()
    top.msg_connect(burst, "labels", display, "labels")
    top.start()
    burst.send(label("B"), 100_000)
    deadline = time.monotonic() + 60
    while display.state.heard < 100_000 and time.monotonic() < deadline:
        time.sleep(0.01)
    top.stop()
    top.wait()
    assert display.state.heard == 100_000
    assert len(display.state._labels) == TAKEN_LABELS
    display.qwidget().refresh()
    assert display.state.shown.result.label == "B"


def test_the_timer_draws_and_takes_a_new_period(application):
    display = amc.label_display(classes=CLASSES, update_period=0.01, title="Receiver")
    display.qwidget().show()
    display.state.hear_label(label("C"))
    deadline = time.monotonic() + 60
    while display.state.shown is None and time.monotonic() < deadline:
        application.processEvents()
    assert display.state.shown.result.label == "C"
    display.set_update_period(0.5)
    assert display.qwidget()._timer.interval() == 500
    display.set_history(5)
    assert display.state.rows == []
    display.qwidget().close()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"history": 0.5}, "history is 0.5"),
        ({"history": float("nan")}, "history is nan"),
        ({"update_period": 0}, "update_period is 0"),
        ({"update_period": float("inf")}, "update_period is inf"),
        ({"update_period": 1e7}, "update_period is 10000000.0"),
        ({"classes": (), "model": "none of ours"}, "none of ours"),
    ],
)
def test_settings_out_of_range_are_refused_in_a_sentence(application, settings, said):
    with pytest.raises(AmcError, match=re.escape(said)):
        amc.label_display(**{"classes": CLASSES, **settings})


@pytest.mark.parametrize(
    ("before", "said"),
    [("", "QApplication"), ("sys.modules['PyQt5'] = None", "needs PyQt5, which .*python.* cannot import")],
)
def test_without_application_or_pyqt_it_is_one_sentence_and_all_else_works(before, said):
    code = f"""
import sys
{before}
from gnuradio import amc
assert amc.classifier and amc.AmcError
try:
    amc.label_display(classes=("A", "B"))
except amc.AmcError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True)
    assert re.search(said, done.stdout) and done.stdout.count("\n") == 1
