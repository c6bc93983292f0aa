# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's recording is what it says, and its outputs are there."""

import json
import os
import re
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from gnuradio import blocks, gr
from gnuradio.amc import demo, released_models

from tests.helpers.tiny_models import write_model


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    meta, passages = demo.write_recording(folder, 8192, 3)
    return np.fromfile(meta.with_suffix(".sigmf-data"), np.complex64), passages, meta


def test_the_metadata_tells_the_truth(recording):
    samples, passages, meta = recording
    content = json.loads(meta.read_text())
    told = [(a["core:label"], a["core:sample_start"], a["core:sample_count"]) for a in content["annotations"]]
    assert told == [(p.truth, p.start, p.count) for p in passages]
    assert sum(p.count for p in passages) == len(samples)
    assert {p.truth for p in passages} == {*demo.MODULATORS, demo.NOISE}


def test_the_signal_to_noise_ratio_is_as_stated(recording):
    """Noise is measured where no modulation has power: beyond a quarter of the sample rate."""
    samples, passages, _ = recording
    for passage in passages:
        if passage.snr_db is None:
            continue
        part = samples[passage.start : passage.start + passage.count]
        spectrum = np.abs(np.fft.fft(part * np.hanning(len(part)))) ** 2
        outside = np.abs(np.fft.fftfreq(len(part))) > 0.25
        noise = spectrum[outside].mean() * len(part)
        ratio = 10 * np.log10(spectrum.sum() / noise - 1)
        assert ratio == pytest.approx(passage.snr_db, abs=1.0), passage


def test_the_same_seed_gives_the_same_recording(recording, tmp_path):
    samples, _, _ = recording
    meta, _ = demo.write_recording(tmp_path, 8192, 3)
    # But for the last bit, which depends on where GNU Radio's buffers begin.
    np.testing.assert_allclose(np.fromfile(meta.with_suffix(".sigmf-data"), np.complex64), samples, atol=1e-6)


@pytest.mark.parametrize(("window", "per_passage"), [(1024, 2), (4096, 1), (3000, 1)])
def test_the_whole_demo(tmp_path, capsys, window, per_passage):
    model = write_model(tmp_path / "tiny.onnx", classes=("BPSK", "QPSK", "OOK"), window=window)
    out = tmp_path / "out"
    assert demo.main(["--out", str(out), "--model", str(model), "--windows", str(per_passage)]) == 0
    table = capsys.readouterr().out
    rows = re.findall(r"^ *\d+\.\d\d  (\S+)", table, re.MULTILINE)
    assert rows == [*demo.MODULATORS, *demo.MODULATORS, demo.NOISE]
    names = {path.name for path in out.iterdir()}
    assert {"amc-demo.sigmf-meta", "amc-demo.sigmf-data", "amc-demo.amc.sigmf-meta", "amc-demo.png"} <= names
    assert (out / "amc-demo.png").read_bytes().startswith(b"\x89PNG")
    annotated = json.loads((out / "amc-demo.amc.sigmf-meta").read_text())
    windows = sum(a["core:sample_count"] for a in annotated["annotations"] if a.get("core:generator"))
    assert windows == len(rows) * per_passage * window
    # Viewers that go by the name alone, such as inspectrum, find the samples too.
    assert os.readlink(out / "amc-demo.amc.sigmf-data") == "amc-demo.sigmf-data"


def test_windows_that_are_all_ignored_are_no_fault(capsys):
    demo.print_table([demo.Passage("BPSK", 20, 0, 1024), demo.Passage(demo.NOISE, None, 1024, 1024)], [])
    assert [line.split()[-2:] for line in capsys.readouterr().out.splitlines()[1:3]] == [["nothing", "-"]] * 2


def test_mistakes_are_one_sentence_before_any_work(tmp_path, capsys, monkeypatch):
    def refused(*arguments):
        assert demo.main(["--out", str(tmp_path / "out"), *map(str, arguments)]) == 1
        printed = capsys.readouterr()
        assert printed.out == "" and not (tmp_path / "out").exists()
        (said,) = printed.err.splitlines()
        return said

    assert refused("--model", "no-such-model").startswith("demo: there is no released model 'no-such-model'")
    model = write_model(tmp_path / "tiny.onnx", classes=("BPSK", "QPSK"), window=4096)
    assert "give --windows 256 or fewer" in refused("--model", model, "--windows", 257)
    (tmp_path / "file").write_text("")
    assert demo.main(["--out", str(tmp_path / "file"), "--model", str(model)]) == 1
    assert "File exists" in capsys.readouterr().err
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)  # an import of it then fails
    assert "needs matplotlib" in refused("--model", model)


@pytest.mark.parametrize("option", ["--windows=0", "--seed=-1", f"--seed={1 << 31}"])
def test_wrong_usage_is_told(capsys, option):
    with pytest.raises(SystemExit) as stop:
        demo.main([option])
    assert stop.value.code == 2
    assert option.partition("=")[0] in capsys.readouterr().err.splitlines()[-1]


def test_the_seeds_at_the_edges_are_taken(tmp_path):
    model = write_model(tmp_path / "tiny.onnx", classes=("BPSK", "QPSK"))
    for seed in (0, (1 << 31) - 1):
        arguments = ["--out", str(tmp_path / str(seed)), "--model", str(model), "--windows", "1", "--seed", str(seed)]
        assert demo.main(arguments) == 0


class Sink(gr.sync_block):
    """Knows whether its flowgraph has ended; GNU Radio stops a block in the block's own thread."""

    def __init__(self):
        gr.sync_block.__init__(self, name="sink", in_sig=[np.complex64], out_sig=None)
        self.stopped = False

    def work(self, input_items, output_items):
        return len(input_items[0])

    def stop(self):
        self.stopped = True
        return True


def test_an_interrupt_ends_a_flowgraph_and_is_not_lost():
    endless, sink = gr.top_block(), Sink()
    endless.connect(blocks.null_source(8), blocks.throttle(8, 1e5), sink)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        demo._run_to_end(endless)
    assert sink.stopped


@pytest.mark.parametrize(("lines", "left"), [(1, []), (2, ["amc-demo.sigmf-data", "amc-demo.sigmf-meta"])])
def test_an_interrupted_demo_says_so_and_leaves_nothing_half_written(tmp_path, lines, left):
    model = write_model(tmp_path / "tiny.onnx", classes=("BPSK", "QPSK"))
    with subprocess.Popen(
        [sys.executable, "-m", "gnuradio.amc.demo", "--out", str(tmp_path / "out"), "--model", str(model)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for _ in range(lines):
            process.stdout.readline()  # what it says before making the recording, and before replaying it
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 130
    assert said == "demo: interrupted.\n"
    assert sorted(os.listdir(tmp_path / "out")) == left


@pytest.mark.skipif(not released_models(), reason="no released model is in the package")
def test_the_released_network_gets_most_of_it_right(tmp_path, capsys):
    assert demo.main(["--out", str(tmp_path)]) == 0
    shares = dict(re.findall(r"^right (at \d+ dB|on noise)[^:]*: (\d+)%", capsys.readouterr().out, re.MULTILINE))
    assert int(shares["at 20 dB"]) >= 75
    assert int(shares["at 10 dB"]) >= 60
    assert int(shares["on noise"]) >= 90
