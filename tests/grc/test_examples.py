# SPDX-License-Identifier: GPL-3.0-or-later
"""The example flowgraphs open, are complete, and do what they show."""

import importlib.util
import json
import math
import py_compile
import re
import shutil
import subprocess
import sys
from collections import Counter

import matplotlib.image
import numpy as np
import pytest
from gnuradio import amc
from gnuradio.amc.strips import label_colours

from tests.grc.flowgraphs import EXAMPLES, GRC, generate, open_flowgraph, open_platform
from tests.grc.pictures import run_display, run_window
from tests.helpers.tiny_models import write_model

SECONDS = 240
MODULATIONS = ["OOK", "4ASK", "BPSK", "QPSK", "8PSK", "16QAM", "64QAM", "GMSK", "FM"]

needs_released_model = pytest.mark.skipif(not amc.released_models(), reason="no released model is installed")


@pytest.fixture(scope="module")
def platform():
    return open_platform()


@pytest.fixture(scope="module")
def generated(platform, tmp_path_factory):
    """Generates an example by its name and returns the Python file to run."""
    folder = tmp_path_factory.mktemp("generated")
    return lambda name: generate(platform, open_flowgraph(platform, GRC / "examples" / f"{name}.grc"), folder)


def replay(python_file, *arguments):
    return subprocess.run(
        [sys.executable, python_file, *arguments], timeout=SECONDS, capture_output=True, text=True, check=False
    )


def assert_shows_something(picture, width, height, colours):
    """The picture is larger than ``width`` x ``height`` pixels and has more than so many colours."""
    pixels = matplotlib.image.imread(picture)
    assert pixels.shape[0] > height and pixels.shape[1] > width
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > colours


def test_the_examples_are_there():
    assert [path.stem for path in EXAMPLES] == [
        "amc_conditioner",
        "amc_file_replay",
        "amc_live_osmosdr",
        "amc_live_soapy",
        "amc_simulation",
        "amc_zeromq_classifier",
        "amc_zeromq_receiver",
    ]


def skip_without_gr_osmosdr(path):
    if "osmosdr_source" in path.read_text() and not importlib.util.find_spec("osmosdr"):
        pytest.skip("gr-osmosdr is not installed")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_complete_and_generates_python(platform, path, tmp_path):
    skip_without_gr_osmosdr(path)
    flowgraph = open_flowgraph(platform, path)
    assert [block.name for block in flowgraph.blocks if block.is_dummy_block] == []
    assert [(str(element), message) for element, message in flowgraph.iter_error_messages()] == []
    assert all(block.enabled for block in flowgraph.blocks)
    assert any(block.key.startswith("amc_") for block in flowgraph.blocks)
    assert flowgraph.get_option("id") == path.stem
    py_compile.compile(str(generate(platform, flowgraph, tmp_path)), doraise=True)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_what_gnu_radio_companion_would_save(platform, path, tmp_path):
    skip_without_gr_osmosdr(path)
    platform.save_flow_graph(str(tmp_path / path.name), open_flowgraph(platform, path))

    def content(file):
        data = platform.parse_flow_graph(str(file))
        # The version that saves is written into the file, and later ones know more parameters.
        return data["connections"], {block["name"]: block["id"] for block in data["blocks"]}

    assert content(tmp_path / path.name) == content(path)


@pytest.mark.hard_timeout(900)
def test_simulation_runs_with_every_modulation_at_the_stated_ratio(generated, tmp_path):
    """The power of signal and noise together shows that the ratio is that of the slider, for each modulation."""
    classes = ("OOK", "BPSK", "QPSK", "8PSK")
    model = write_model(tmp_path / "model.onnx", classes=classes, normalise="unit_power")
    picture = tmp_path / "simulation.png"
    ratios = {name: -10 + 5 * number for number, name in enumerate(MODULATIONS)}
    ratios["FM"] = 0
    stages = [f"--stage=samp_rate=1e6,modulation={name},snr={ratio}" for name, ratio in ratios.items()]
    arguments = ["--picture", picture, "--model", model, "--labels=100", *stages]
    results = run_window(generated("amc_simulation"), *arguments)

    assert len(results) == len(ratios)
    for (name, ratio), result in zip(ratios.items(), results, strict=True):
        assert {label for label, _ in result} <= {*classes, "unknown"}
        power = np.mean([10 ** (dbfs / 10) for _, dbfs in result])
        # 100 windows of 128 symbols: one sigma of their mean power is 0.9 % for OOK and 4ASK, less for the others.
        assert power == pytest.approx(1 + 10 ** (-ratio / 10), rel=0.05), name

    assert_shows_something(picture, width=600, height=400, colours=50)
    pixels = matplotlib.image.imread(picture)[:, :, :3]
    labels = (*classes, "unknown")
    label = Counter(label for label, _ in results[-1]).most_common(1)[0][0]
    colour = label_colours(labels)[labels.index(label)] / 255
    assert (np.abs(pixels - colour).max(axis=2) < 0.01).sum() > 500, label


@needs_released_model
@pytest.mark.hard_timeout(900)
def test_simulation_says_qpsk_for_qpsk(generated):
    (result,) = run_window(generated("amc_simulation"), "--stage=modulation=QPSK,snr=20")
    counts = Counter(label for label, _ in result)
    assert counts["QPSK"] >= 0.8 * len(result), counts


@needs_released_model
@pytest.mark.hard_timeout(900)
def test_conditioner_keeps_up_with_a_signal_that_moves(generated):
    """The strongest signal is QPSK, at three places one after the other."""
    stages = [f"--stage=qpsk_frequency={frequency}" for frequency in (90e3, 120e3, 75e3)]
    for result in run_window(generated("amc_conditioner"), *stages):
        counts = Counter(label for label, _ in result)
        assert counts["QPSK"] >= 0.8 * len(result), counts


def test_simulation_without_its_model_ends_with_the_reason(generated, tmp_path, capfd):
    with pytest.raises(subprocess.CalledProcessError):
        run_window(generated("amc_simulation"), "--model", tmp_path / "missing.onnx", "--stage=snr=20")
    assert "missing.onnx" in capfd.readouterr().err


def test_file_replay_prints_each_window_and_ends(generated, tmp_path):
    """Three levels, two windows each, and half a window that is too short to be labelled."""
    model = write_model(tmp_path / "model.onnx")
    recording = tmp_path / "three levels.cf32"
    levels = np.repeat([0.1, 0.5, 1.0], 2048)
    np.concatenate((levels, np.ones(512))).astype(np.complex64).tofile(recording)

    done = replay(generated("amc_file_replay"), "--recording", recording, "--samp-rate", "10e3", "--model", model)

    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if "dBFS" in line]
    assert [line[2] for line in lines] == ["LOW", "LOW", "MIDDLE", "MIDDLE", "HIGH", "HIGH"]
    assert [float(line[0]) for line in lines] == pytest.approx([0.1024 * window for window in range(6)])
    powers = [20 * math.log10(level) for level in (0.1, 0.1, 0.5, 0.5, 1, 1)]
    assert [float(line[5]) for line in lines] == pytest.approx(powers, abs=0.06)
    assert re.search(r"windows\D*6\b", done.stdout)


@pytest.mark.parametrize("name", ["amc_conditioner", "amc_live_osmosdr", "amc_live_soapy", "amc_simulation"])
def test_display_has_the_model_and_both_ports_of_the_classifier(platform, name):
    flowgraph = open_flowgraph(platform, GRC / "examples" / f"{name}.grc")
    blocks = {block.name: block for block in flowgraph.blocks}
    assert blocks["display"].params["model"].get_value() == blocks["classifier"].params["model"].get_value() == "model"
    wired = [
        (connection.source_port.key, connection.sink_port.key)
        for connection in flowgraph.connections
        if (connection.source_block, connection.sink_block) == (blocks["classifier"], blocks["display"])
    ]
    assert sorted(wired) == [("labels", "labels"), ("status", "status")]


@needs_released_model
def test_picture_of_the_display_shows_each_signal_at_its_frequency(tmp_path):
    picture = tmp_path / "display.png"
    shown = run_display(picture, "--seconds=6")
    assert {int(frequency): set(labels) for frequency, labels in shown.items()} == {
        446_006_250: {"FM"},
        434_100_000: {"8PSK", "BPSK"},
        433_920_000: {"OOK", "unknown"},
        433_325_500: {"GMSK", "QPSK"},
    }
    assert_shows_something(picture, width=600, height=400, colours=50)


@pytest.mark.parametrize("what", ["recording", "model"])
def test_file_replay_without_its_file_ends_with_an_error(generated, tmp_path, what):
    model = write_model(tmp_path / "model.onnx")
    recording = tmp_path / "recording.cf32"
    np.ones(4096, np.complex64).tofile(recording)
    given = {"recording": recording, "model": model, what: tmp_path / "missing.onnx"}
    done = replay(generated("amc_file_replay"), *(f"--{name}={path}" for name, path in given.items()))
    assert done.returncode != 0
    assert "missing.onnx" in done.stderr + done.stdout


@pytest.mark.skipif(
    not (shutil.which("Xvfb") and importlib.util.find_spec("gi")), reason="Xvfb or GTK for Python is not installed"
)
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_picture_of_the_canvas_shows_blocks_that_lie_apart(path, tmp_path):
    skip_without_gr_osmosdr(path)
    picture = tmp_path / "flowgraph.png"
    code = "import json, sys; from tests.grc.pictures import take_canvas; print(json.dumps(take_canvas(*sys.argv[1:])))"
    command = [sys.executable, "-c", code, path, picture]
    done = subprocess.run(command, cwd=GRC.parent, timeout=SECONDS, check=True, stdout=subprocess.PIPE, text=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert_shows_something(picture, width=600, height=300, colours=50)
