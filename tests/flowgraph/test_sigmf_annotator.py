# SPDX-License-Identifier: GPL-3.0-or-later
"""SigMF annotations that grow with a recording: those of the command line, and whole whenever the program ends."""

import errno
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pmt
import pytest
import sigmf
from gnuradio import amc, blocks, gr
from gnuradio.amc import annotator as annotator_module
from gnuradio.amc import live_annotations
from gnuradio.amc.cli import main
from gnuradio.amc.readers import open_recording
from gnuradio.amc.report import Result

from tests.helpers.flowgraphs import LabelSource, message_of, rx_time, tag
from tests.helpers.tiny_models import write_model

pytestmark = pytest.mark.hard_timeout(240)

DEADLINE = 60
MEANS = (0.5, 0.5, 1, 0.5, 0, 0.5, 1, 1)
RUNS = [(0, 2048, "MIDDLE"), (2048, 1024, "HIGH"), (3072, 1024, "MIDDLE"), (5120, 1024, "MIDDLE"), (6144, 2048, "HIGH")]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_model(tmp_path_factory.mktemp("model") / "tiny.onnx"))


@pytest.fixture(autouse=True)
def end_what_a_failed_test_left():
    """A flowgraph that is forgotten while it runs hangs the interpreter."""
    yield
    for graph in Labels.started:
        graph.top.stop()
        graph.top.wait()
    Labels.started.clear()


@pytest.fixture
def meta(tmp_path):
    return tmp_path / "a.sigmf-meta"


def levels(*means, length=1024):
    """Noisy levels, which the tiny model takes for LOW, MIDDLE and HIGH; a level of 0 is silence without noise."""
    rng = np.random.default_rng(0)
    samples = np.repeat(np.array(means, complex), length)
    noise = 0.05 * (rng.standard_normal(len(samples)) + 1j * rng.standard_normal(len(samples)))
    return np.where(samples == 0, 0, samples + noise).astype(np.complex64)


def parsed(path):
    """The metadata of a file, empty where there is none yet."""
    return json.loads(path.read_text()) if path.exists() else {"captures": [], "annotations": []}


def read(path):
    """The metadata of a file, after the sigmf package has found them valid."""
    metadata = json.loads(path.read_text())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sigmf.validate.validate(metadata)
    return metadata


def runs(metadata):
    return [(a["core:sample_start"], a["core:sample_count"], a["core:label"]) for a in metadata["annotations"]]


class Recorder:
    """A flowgraph that records samples to a.sigmf-data and annotates them; run it as often as needed."""

    def __init__(self, meta, model, samples, tags=(), hop=None, **settings):
        self.source = blocks.vector_source_c(samples, False, 1, list(tags))
        self.classifier = amc.classifier(model=model, hop=hop)
        self.sink = blocks.file_sink(gr.sizeof_gr_complex, str(meta.with_suffix(".sigmf-data")))
        self.annotator = amc.sigmf_annotator(str(meta), **settings)
        self.top = gr.top_block()
        self.top.connect(self.source, self.classifier)
        self.top.connect(self.source, self.sink)
        self.top.msg_connect(self.classifier, "labels", self.annotator, "labels")

    def run(self):
        self.source.rewind()
        self.top.run()
        assert self.annotator.error is None


class Labels:
    """A flowgraph whose annotator is given labels one by one; ``end`` waits for its last write."""

    started = []

    def __init__(self, meta, **settings):
        self.source = LabelSource()
        self.annotator = amc.sigmf_annotator(str(meta), **settings)
        self.top = gr.top_block()
        self.top.msg_connect(self.source, "labels", self.annotator, "labels")
        self.started.append(self)
        self.top.start()

    def say(self, *results):
        self.source.publish(*(message_of(result) for result in results))

    def end(self):
        self.source.finish()
        self.top.wait()


def label(number, name="BPSK", **known):
    probabilities = np.array([0.75, 0.25], np.float32)
    return Result(name, 0.75, probabilities, 1024 * number, 1024, -3.0, **known)


def alternating(first, end):
    return [label(number, ("BPSK", "QPSK")[number % 2]) for number in range(first, end)]


def alternating_runs(end):
    return [(1024 * number, 1024, ("BPSK", "QPSK")[number % 2]) for number in range(end)]


def wait_until(condition):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# --- what is written ------------------------------------------------------------------------------


def by_command_line(meta, model, *arguments):
    assert main([str(meta), "--model", model, "--output", "sigmf", *map(str, arguments)]) == 0
    return read(meta.with_name("a.amc.sigmf-meta"))


@pytest.mark.parametrize("hop", [512, 1024, 1500])
def test_annotations_are_those_of_the_command_line(meta, model, hop):
    samples = levels(*np.random.default_rng(3).choice([0, 0.5, 1], 200))
    Recorder(meta, model, samples, hop=hop, sample_rate=1e6, frequency=433e6).run()
    written = read(meta)
    expected = by_command_line(meta, model, "--hop", hop, "--frequency", "433M")
    assert len(written["annotations"]) > 60
    assert written["annotations"] == expected["annotations"]
    assert written["captures"] == expected["captures"] == [{"core:sample_start": 0, "core:frequency": 433e6}]
    assert {**written["global"], "core:dataset": "a.sigmf-data"} == expected["global"]
    np.testing.assert_array_equal(sigmf.fromfile(str(meta)).read_samples(), samples)


def test_retunes_and_lost_samples_are_captures(meta, model):
    samples = levels(1, 1, 1, 1, 1, 1, 1, 1)
    tags = [
        rx_time(0, 1_700_000_000, 0.25),
        tag(0, "rx_rate", pmt.from_double(1e6)),
        tag(0, "rx_freq", pmt.from_double(100e6)),
        tag(2048, "rx_freq", pmt.from_double(101e6)),
        rx_time(4096, 1_700_000_000, 0.25 + 4096e-6),  # in time: nothing was lost
        rx_time(6144, 1_700_000_009, 0.0),
    ]
    Recorder(meta, model, samples, tags, sample_rate=1e6, frequency=5.0).run()
    written = read(meta)
    assert runs(written) == [(0, 2048, "HIGH"), (2048, 4096, "HIGH"), (6144, 2048, "HIGH")]
    assert written["captures"] == [
        {"core:sample_start": 0, "core:frequency": 100e6, "core:datetime": "2023-11-14T22:13:20.250000Z"},
        {"core:sample_start": 2048, "core:frequency": 101e6, "core:datetime": "2023-11-14T22:13:20.252048Z"},
        {"core:sample_start": 6144, "core:frequency": 101e6, "core:datetime": "2023-11-14T22:13:29.000000Z"},
    ]
    edges = [(a["core:freq_lower_edge"], a["core:freq_upper_edge"]) for a in written["annotations"]]
    assert edges == [(99.5e6, 100.5e6), (100.5e6, 101.5e6), (100.5e6, 101.5e6)]
    # The command line reads these captures, and finds the same in them.
    expected = by_command_line(meta, model)
    assert written["annotations"] == expected["annotations"]
    assert written["captures"] == expected["captures"]


def test_what_the_first_label_tells_holds_from_the_first_sample_on(meta):
    graph = Labels(meta, sample_rate=1024.0)
    graph.say(label(3, time=(100, 0.5), frequency=7e6), label(4, time=(101, 0.5), frequency=7e6))
    graph.end()
    assert read(meta)["captures"] == [
        {"core:sample_start": 0, "core:frequency": 7e6, "core:datetime": "1970-01-01T00:01:37.500000Z"}
    ]


def test_without_a_rate_there_are_no_edges_and_times_begin_no_captures(meta):
    graph = Labels(meta)
    graph.say(*(label(number, time=(number * 5, 0.0)) for number in range(3)))
    graph.end()
    metadata = read(meta)
    assert "core:sample_rate" not in metadata["global"]
    assert "core:freq_lower_edge" not in metadata["annotations"][0]
    assert metadata["captures"] == [{"core:sample_start": 0, "core:datetime": "1970-01-01T00:00:00.000000Z"}]


def test_windows_are_not_merged_when_that_is_asked(meta, model):
    Recorder(meta, model, levels(*MEANS), merge=False).run()
    metadata = read(meta)
    expected = [(1024 * n, 1024, "HIGH" if mean == 1 else "MIDDLE") for n, mean in enumerate(MEANS) if mean]
    assert runs(metadata) == expected
    assert all(a["core:comment"].endswith(" over 1 window") for a in metadata["annotations"])


def test_global_fields(meta):
    settings = {"sample_rate": 48e3, "datatype": "cs16", "description": 'the "roof" antenna\n', "author": "Ä. Nonym"}
    graph = Labels(meta, **settings)
    graph.end()
    fields = read(meta)["global"]
    assert fields.pop("core:version") and fields.pop("core:extensions")[0]["name"] == "signal"
    assert fields == {
        "core:recorder": "gr-amc",
        "core:datatype": "ci16_le",
        "core:sample_rate": 48e3,
        "core:description": settings["description"],
        "core:author": settings["author"],
    }


def test_another_name_of_the_dataset_is_named_and_linked(meta, tmp_path):
    levels(1, 1).tofile(tmp_path / "a.cfile")
    graph = Labels(meta, dataset="a.cfile")
    graph.say(label(0), label(1))
    graph.end()
    assert read(meta)["global"]["core:dataset"] == "a.cfile"
    assert os.readlink(tmp_path / "a.sigmf-data") == "a.cfile"
    assert open_recording(meta).source.path == tmp_path / "a.cfile"


def test_the_frequency_can_change_while_it_runs(meta):
    graph = Labels(meta, frequency=1e6, interval=0)
    graph.say(label(0), label(1))
    wait_until(lambda: runs(parsed(meta)) == [(0, 2048, "BPSK")])
    graph.annotator.set_frequency(2e6)
    graph.say(label(2), label(3, frequency=3e6), label(4))
    graph.end()
    metadata = read(meta)
    captures = [(c["core:sample_start"], c["core:frequency"]) for c in metadata["captures"]]
    assert captures == [(0, 1e6), (2048, 2e6), (3072, 3e6), (4096, 2e6)]
    assert runs(metadata) == [(start, count, "BPSK") for start, count in
                              [(0, 2048), (2048, 1024), (3072, 1024), (4096, 1024)]]  # fmt: skip


def test_the_frequency_of_a_signal_is_no_retune(meta):
    """A label with a bandwidth is of a signal in a wider capture: its band is annotated, and the tuning stays."""
    labels = Labels(meta, sample_rate=1e6, frequency=100e6)
    labels.say(label(0, frequency=100.2e6, bandwidth=30e3), label(1, frequency=100.3e6, bandwidth=20e3))
    labels.end()
    metadata = read(meta)
    assert [capture["core:frequency"] for capture in metadata["captures"]] == [100e6]
    edges = [(item["core:freq_lower_edge"], item["core:freq_upper_edge"]) for item in metadata["annotations"]]
    assert edges == [(100.185e6, 100.215e6), (100.29e6, 100.31e6)]


def test_the_file_is_there_from_the_start_and_grows_without_an_end(meta):
    graph = Labels(meta, interval=0)
    wait_until(meta.exists)
    assert runs(read(meta)) == []
    for end in (1, 2, 300, 301):
        known = len(runs(read(meta)))
        graph.say(*alternating(known, end))
        wait_until(lambda end=end: runs(parsed(meta)) == alternating_runs(end))
    graph.end()
    assert runs(read(meta)) == alternating_runs(301)
    assert [path.name for path in meta.parent.iterdir()] == ["a.sigmf-meta"]


def test_nothing_is_said_of_samples_before_they_are_recorded(meta):
    data = meta.with_suffix(".sigmf-data")
    data.write_bytes(b"")
    graph = Labels(meta, interval=0)
    graph.say(label(0), label(1), label(2, "QPSK"), label(3, frequency=9.0), label(4, "FM", frequency=9.0))
    steps = [
        (2047, [], [0]),
        (2048, [(0, 2048, "BPSK")], [0]),
        (3072, [(0, 2048, "BPSK"), (2048, 1024, "QPSK")], [0]),
        (3073, [(0, 2048, "BPSK"), (2048, 1024, "QPSK")], [0, 3072]),
        (4096, [(0, 2048, "BPSK"), (2048, 1024, "QPSK"), (3072, 1024, "BPSK")], [0, 3072]),
        (4100, [(0, 2048, "BPSK"), (2048, 1024, "QPSK"), (3072, 1024, "BPSK"), (4096, 4, "FM")], [0, 3072]),
    ]
    for count, annotations, captures in steps:
        np.zeros(count, np.complex64).tofile(data)

        def is_so(annotations=annotations, captures=captures):
            metadata = parsed(meta)
            return runs(metadata) == annotations and [c["core:sample_start"] for c in metadata["captures"]] == captures

        wait_until(is_so)
        assert open_recording(meta).sample_count == count  # refused, if it claimed more than there is
    graph.end()
    # At the end of a run the recorder may still be about to write the last of them.
    assert runs(read(meta)) == [*steps[-1][1][:-1], (4096, 1024, "FM")]


def test_other_messages_are_ignored(meta, capfd):
    graph = Labels(meta)
    graph.source.publish(
        pmt.PMT_NIL,
        pmt.intern("BPSK"),
        pmt.cons(pmt.make_dict(), pmt.init_u8vector(2, [1, 2])),
        message_of(label(0, time=(2**62, 0.0))),
        message_of(label(0, frequency=float("nan"))),
        message_of(label(2**53)),
    )
    graph.say(label(5), label(4), label(6))
    graph.end()
    assert runs(read(meta)) == [(5 * 1024, 2048, "BPSK")]
    assert graph.annotator.error is None
    captured = capfd.readouterr()
    assert "7 messages were ignored" in captured.out + captured.err


# --- killed ---------------------------------------------------------------------------------------

CHILD = """
import os, signal, sys, time
import numpy as np
from gnuradio.amc import annotator, live_annotations
from tests.flowgraph.test_sigmf_annotator import Labels, alternating
from pathlib import Path

meta, moment, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
annotator.LARGEST_SHARE = 0.9  # so that it is writing most of the time

def killed_around(module, name):
    original = getattr(module, name)
    calls = []
    def call(*arguments, **settings):
        calls.append(None)
        if len(calls) == count and "before" in moment:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **settings)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(module, name, call)

if moment.split()[-1] in ("fsync", "replace"):
    killed_around(os, moment.split()[-1])
elif moment == "half written":
    original = live_annotations._write_items
    calls = []
    def write_items(file, texts, first):
        calls.append(None)
        original(file, texts, first)
        if len(calls) >= count and texts:
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    live_annotations._write_items = write_items

graph = Labels(meta, interval=0)
with open(meta.with_suffix(".sigmf-data"), "wb", buffering=0) as data:
    for number in range(1_000_000):
        data.write(bytes(8 * 1024))
        graph.say(*alternating(number, number + 1))
        time.sleep(0.0005)
"""


def start_child(meta, moment, count=0):
    repository = Path(__file__).resolve().parents[2]
    path = os.pathsep.join([str(repository), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(meta), moment, str(count)],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": path},
    )


def assert_whole_after_the_kill(meta, at_least):
    annotated = runs(read(meta))
    assert len(annotated) >= at_least
    *finished, last = alternating_runs(len(annotated))
    assert annotated[:-1] == finished
    assert (last[0], last[2]) == (annotated[-1][0], annotated[-1][2]) and 0 < annotated[-1][1] <= 1024
    # Our own reader refuses metadata that claim samples which are not there.
    assert open_recording(meta).sample_count >= annotated[-1][0] + annotated[-1][1]


@pytest.mark.parametrize("moment", ["half written", "before fsync", "after fsync", "before replace", "after replace"])
def test_a_program_killed_at_any_step_of_a_write_leaves_the_file_whole(meta, moment):
    child = start_child(meta, moment, count=40)
    assert child.wait(DEADLINE) == -signal.SIGKILL
    assert_whole_after_the_kill(meta, at_least=3)
    # What it left half-written is taken away when the next one starts.
    (meta.parent / ".a.sigmf-meta.0123456.tmp").write_bytes(b"not ours")
    meta.with_suffix(".sigmf-data").unlink()
    graph = Labels(meta)
    graph.end()
    assert sorted(os.listdir(meta.parent)) == [".a.sigmf-meta.0123456.tmp", "a.sigmf-meta"]


@pytest.mark.parametrize("milliseconds", [0, 7, 53, 211])
def test_a_program_killed_at_any_time_leaves_the_file_whole(meta, milliseconds):
    child = start_child(meta, "any time")
    wait_until(lambda: len(runs(parsed(meta))) > 20)
    time.sleep(milliseconds / 1000)
    child.kill()
    assert child.wait(DEADLINE) == -signal.SIGKILL
    assert_whole_after_the_kill(meta, at_least=20)


# --- cost -----------------------------------------------------------------------------------------


def test_at_most_a_twentieth_of_the_time_is_spent_writing(meta, monkeypatch):
    graph = Labels(meta, interval=0)
    write, written = graph.annotator._annotations.write, []

    def write_slowly(final):
        began = time.monotonic()
        time.sleep(0.02)
        write(final)
        written.append((began, time.monotonic(), final))

    monkeypatch.setattr(graph.annotator._annotations, "write", write_slowly)
    for number in itertools.count():
        if len(written) > 4:
            break
        graph.say(*alternating(number, number + 1))
        time.sleep(0.005)
    graph.end()
    for (began, ended, _), (following, _, final) in itertools.pairwise(written):
        assert final or following - ended >= 18 * (ended - began)
    assert runs(read(meta)) == alternating_runs(number)


def test_much_that_waits_is_written_before_its_time(meta, monkeypatch):
    monkeypatch.setattr(live_annotations, "LARGEST_WAITING", 100)
    graph = Labels(meta, interval=float("inf"))
    wait_until(meta.exists)
    graph.say(*alternating(0, 60))
    wait_until(lambda: runs(parsed(meta)) == alternating_runs(60))
    graph.end()


def test_what_was_written_is_not_held_in_memory(meta):
    graph = Labels(meta, interval=0)
    for end in range(500, 2001, 500):
        graph.say(*alternating(end - 500, end))
        wait_until(lambda end=end: runs(parsed(meta)) == alternating_runs(end))
        wait_until(lambda: graph.annotator._annotations._annotations.waiting == [])
    graph.end()


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"file": "a.json"}, "is no name for SigMF metadata"),
        ({"file": ".sigmf-meta"}, "is no name for SigMF metadata"),
        ({"file": "no/folder/a.sigmf-meta"}, "there is no folder"),
        ({"file": "folder.sigmf-meta"}, "is a folder"),
        ({"file": "other.sigmf-meta"}, "never overwritten"),
        ({"file": "pipe.sigmf-meta"}, "is a pipe"),
        ({"file": "a" * 300 + ".sigmf-meta"}, "File name too long"),
        ({"dataset": "../a.sigmf-data"}, "dataset is '../a.sigmf-data'"),
        ({"dataset": "a.sigmf-meta"}, "dataset is 'a.sigmf-meta'"),
        ({"sample_rate": 1e-9}, "sample_rate is 1e-09; it must be from 1e-06 to 1e+12 Hz"),
        ({"sample_rate": float("nan")}, "sample_rate is nan"),
        ({"frequency": float("inf")}, "frequency is inf"),
        ({"datatype": "cf33"}, "'cf33' is unknown"),
        ({"datatype": "rf32_le"}, "datatype is 'rf32_le'"),
        ({"interval": -1}, "interval is -1"),
        ({"interval": float("nan")}, "interval is nan"),
    ],
)
def test_bad_settings_are_refused_before_anything_starts(tmp_path, monkeypatch, settings, part):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.sigmf-meta").mkdir()
    other = json.dumps({"global": {"core:datatype": "cf32_le", "core:version": "1.0.0"}, "captures": []}, indent=4)
    (tmp_path / "other.sigmf-meta").write_text(other)
    os.mkfifo(tmp_path / "pipe.sigmf-meta")
    with pytest.raises(amc.AmcError) as caught:
        amc.sigmf_annotator(**({"file": "a.sigmf-meta"} | settings))
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "other.sigmf-meta").read_text() == other
    assert not (tmp_path / "a.sigmf-meta").exists()


def test_a_frequency_that_cannot_be_is_refused_while_it_runs(meta):
    with pytest.raises(amc.AmcError, match="frequency is nan"):
        amc.sigmf_annotator(str(meta)).set_frequency(float("nan"))


def test_a_folder_that_vanishes_is_told_and_forgiven(tmp_path, capfd):
    folder = tmp_path / "in"
    folder.mkdir()
    meta = folder / "a.sigmf-meta"
    graph = Labels(meta, interval=0)
    graph.say(*alternating(0, 10))
    wait_until(lambda: runs(parsed(meta)) == alternating_runs(10))
    meta.unlink()
    folder.rmdir()
    graph.say(*alternating(10, 20))
    wait_until(lambda: graph.annotator.error is not None)
    assert str(graph.annotator.error) == (
        f"{meta} cannot be written: No such file or directory; make room or give another path."
    )
    folder.mkdir()
    wait_until(lambda: graph.annotator.error is None)
    graph.say(*alternating(20, 25))
    graph.end()
    assert runs(read(meta)) == alternating_runs(25)
    captured = capfd.readouterr()
    assert (captured.out + captured.err).count("No such file or directory") == 1


def test_a_full_disk_leaves_the_file_as_it_was_and_the_flowgraph_ends(meta, monkeypatch, capfd):
    graph = Labels(meta, interval=0)
    graph.say(*alternating(0, 10))
    wait_until(lambda: runs(parsed(meta)) == alternating_runs(10))

    def refuse(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        graph.say(*alternating(10, 20))
        wait_until(lambda: graph.annotator.error is not None)
        graph.end()
    assert "No space left on device" in str(graph.annotator.error)
    assert "No space left on device" in "".join(capfd.readouterr())
    assert runs(read(meta)) == alternating_runs(10)
    assert os.listdir(meta.parent) == ["a.sigmf-meta"]


def test_a_disk_that_does_not_answer_does_not_hang_the_flowgraph(meta, monkeypatch):
    monkeypatch.setattr(annotator_module, "SECONDS_FOR_LAST_WRITE", 0.1)
    answered = threading.Event()
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: answered.wait(DEADLINE) and fsync(descriptor))
    graph = Labels(meta)
    try:
        graph.say(*alternating(0, 10))
        graph.end()
        assert "does not answer" in str(graph.annotator.error)
        graph.top.start()  # and again, with the old write still under way
        graph.end()
        assert "does not answer" in str(graph.annotator.error)
    finally:
        answered.set()
    graph.top.start()
    graph.end()
    assert graph.annotator.error is None
    read(meta)


def test_more_labels_than_may_wait_are_refused(meta, monkeypatch):
    monkeypatch.setattr(live_annotations, "LARGEST_WAITING", 10)
    annotations = amc.sigmf_annotator(str(meta))._annotations
    with pytest.raises(amc.AmcError, match="10 annotations wait"):
        for result in alternating(0, 20):
            annotations.add(result)
    annotations.write()
    assert runs(read(meta)) == alternating_runs(11)
    annotations.add(label(30))
    annotations.write()
    assert runs(read(meta)) == [*alternating_runs(11), (30 * 1024, 1024, "BPSK")]


def test_a_thread_that_cannot_start_is_told(meta, monkeypatch):
    start = threading.Thread.start

    def refuse(thread):
        if thread.name == "amc annotations":
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        graph = Labels(meta)
        graph.say(label(0))
        graph.end()
    assert "can't start new thread" in str(graph.annotator.error)


# --- again ----------------------------------------------------------------------------------------


def test_a_recording_that_goes_on_keeps_its_annotations(meta, model):
    samples = np.concatenate([levels(*MEANS), np.ones(300, np.complex64)])
    graph = Recorder(meta, model, samples, frequency=1e6)
    expected = []
    for run in range(5):
        graph.run()
        expected += [(len(samples) * run + start, count, name) for start, count, name in RUNS]
        metadata = read(meta)
        assert runs(metadata) == expected
        captures = [{"core:sample_start": len(samples) * n, "core:frequency": 1e6} for n in range(run + 1)]
        assert metadata["captures"] == captures
        assert open_recording(meta).sample_count == len(samples) * (run + 1)
    assert by_command_line(meta, model)["annotations"] == metadata["annotations"]


def test_a_replay_begins_anew(meta, model):
    samples = levels(*MEANS)
    graph = Recorder(meta, model, samples)
    graph.top.disconnect(graph.source, graph.sink)
    samples.tofile(meta.with_suffix(".sigmf-data"))
    for _ in range(3):
        graph.run()
        assert runs(read(meta)) == RUNS


def test_labels_that_were_not_recorded_make_room_for_those_that_are(meta):
    """A flowgraph that is stopped: the classifier was ahead of the recorder, and the next run takes those samples."""
    data = meta.with_suffix(".sigmf-data")
    data.write_bytes(b"")
    graph = Labels(meta)
    graph.say(label(0), label(1, "QPSK"), label(2), label(3, frequency=1.0), label(4, "FM", frequency=1.0))
    np.zeros(2500, np.complex64).tofile(data)
    graph.end()
    assert runs(read(meta))[-1] == (4096, 1024, "FM")
    graph.top.start()
    np.zeros(9000, np.complex64).tofile(data)
    graph.say(label(0, "GMSK"), label(1, "GMSK"))
    graph.end()
    metadata = read(meta)
    assert runs(metadata) == [(0, 1024, "BPSK"), (1024, 1024, "QPSK"), (2500, 2048, "GMSK")]
    assert metadata["captures"] == [{"core:sample_start": 0}, {"core:sample_start": 2500}]


def test_a_flowgraph_stopped_from_outside_writes_what_came_before(meta):
    graph = Labels(meta, interval=float("inf"))
    message = message_of(label(0))
    for _ in range(20):
        wait_until(lambda: runs(parsed(meta)) == [])
        graph.source.publish(message)
        graph.top.stop()
        graph.top.wait()
        assert runs(parsed(meta)) == [(0, 1024, "BPSK")]
        graph.top.start()


def test_labels_that_come_behind_the_end_are_those_of_the_run_before(meta):
    data = meta.with_suffix(".sigmf-data")
    data.write_bytes(b"")
    graph = Labels(meta)
    graph.say(label(0), label(1))
    graph.top.stop()
    graph.top.wait()
    graph.say(label(2))
    np.zeros(5000, np.complex64).tofile(data)
    graph.top.start()
    graph.say(label(0), label(1))
    graph.end()
    assert runs(read(meta)) == [(0, 3072, "BPSK"), (5000, 2048, "BPSK")]


def test_a_word_to_end_that_the_run_before_left_unread_ends_nothing(meta):
    graph = Labels(meta, interval=0)
    graph.end()
    graph.annotator.to_basic_block()._post(pmt.intern("system"), pmt.cons(pmt.intern("done"), pmt.from_long(1)))
    graph.top.start()
    for end in (5, 10):
        graph.say(*alternating(end - 5, end))
        wait_until(lambda end=end: runs(parsed(meta)) == alternating_runs(end))
    graph.end()


def test_a_flowgraph_reconfigured_while_it_runs(meta, model):
    graph = Recorder(meta, model, levels(*MEANS), interval=0)
    graph.source.set_repeat(True)
    throttle, extra = blocks.throttle(gr.sizeof_gr_complex, 2e6), blocks.null_sink(gr.sizeof_gr_complex)
    graph.top.disconnect(graph.source, graph.classifier)
    graph.top.disconnect(graph.source, graph.sink)
    graph.top.connect(graph.source, throttle, graph.classifier)
    graph.top.connect(throttle, graph.sink)
    graph.top.start()
    captures = 1
    for change in (graph.top.connect, graph.top.disconnect, None):
        wait_until(lambda captures=captures: len(parsed(meta)["captures"]) == captures)
        known = len(runs(read(meta)))
        wait_until(lambda known=known: len(runs(parsed(meta))) > known + 20)
        if change:
            graph.top.lock()
            change(throttle, extra)
            graph.top.unlock()
            captures += 1
    graph.top.stop()
    graph.top.wait()
    assert graph.annotator.error is None
    annotated = runs(read(meta))
    assert all(start + count <= following for (start, count, _), (following, _, _) in itertools.pairwise(annotated))
    assert not [thread for thread in threading.enumerate() if thread.name == "amc annotations"]


def test_a_file_of_an_earlier_program_is_replaced_only_if_this_block_wrote_it(meta):
    graph = Labels(meta, author="one")
    graph.say(label(0))
    graph.end()
    graph = Labels(meta, sample_rate=5.0)
    graph.end()
    metadata = read(meta)
    assert runs(metadata) == []
    assert metadata["global"]["core:sample_rate"] == 5.0 and "core:author" not in metadata["global"]
