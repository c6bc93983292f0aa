# SPDX-License-Identifier: GPL-3.0-or-later
"""The picture: what is drawn, on data whose picture is known."""

import io
import sys

import numpy as np
import pytest
from gnuradio.amc.cli import main
from gnuradio.amc.plot import BINS, COLUMNS, Picture
from gnuradio.amc.readers import open_recording
from gnuradio.amc.report import Result
from matplotlib.image import imread

from tests.helpers.tiny_models import write_model


def picture_of(path, classes=("A", "B"), block=1000, **known):
    recording = open_recording(path, **known)
    picture = Picture(recording, classes, "title")
    for segment in recording.segments:
        for samples in recording.blocks(segment, block):
            picture.add_samples(samples, segment)
    return picture


def result(label, start, count=1024):
    return Result(label, 0.9, np.array([0.9, 0.1], np.float32), start, count, -3.0)


def png(picture):
    file = io.BytesIO()
    picture.save(file)
    file.seek(0)
    return imread(file)


@pytest.mark.parametrize("block", [200, 1000, 7777, 1 << 18])
def test_a_tone_that_moves_is_where_it_should_be(tmp_path, block):
    count = 200_000
    frequency = np.where(np.arange(count) < count // 2, 0.125, -0.25)
    np.exp(2j * np.pi * np.cumsum(frequency)).astype(np.complex64).tofile(tmp_path / "a.cf32")
    picture = picture_of(tmp_path / "a.cf32", block=block)
    columns = len(picture._power)
    strongest = np.fft.fftfreq(picture._bins)[picture._power.argmax(axis=1)]
    assert (picture._frames > 0).all()
    half = columns // 2
    np.testing.assert_allclose(strongest[: half - 1], 0.125)
    np.testing.assert_allclose(strongest[half + 1 :], -0.25)
    assert picture._power.sum(axis=1) == pytest.approx(picture._frames * 512 * (picture._window**2).sum(), rel=1e-3)


def test_its_memory_does_not_depend_on_the_recording(tmp_path):
    with open(tmp_path / "a.cf32", "wb") as file:
        file.truncate(1 << 36)
    recording = open_recording(tmp_path / "a.cf32")
    picture = Picture(recording, ("A", "B"), "title")
    picture.add_samples(np.ones(1 << 18, np.complex64), recording.segments[0])
    for start in range(0, recording.sample_count - 1024, 1 << 20):
        picture.add_result(result("A", start))
    assert picture._power.shape == (COLUMNS, BINS)
    assert png(picture).shape[2] == 4


def test_labels_take_their_columns_and_colours(tmp_path):
    np.ones(102_400, np.complex64).tofile(tmp_path / "a.cf32")
    picture = picture_of(tmp_path / "a.cf32")
    for start in range(0, 102_400, 1024):
        picture.add_result(result("A" if start < 51_200 else "unknown", start))
    assert (picture._votes.argmax(axis=1)[: picture._columns // 2] == 0).all()
    assert (picture._votes.argmax(axis=1)[picture._columns // 2 :] == 2).all()
    image = png(picture)
    assert image.shape == (704, 1320, 4)
    # The strip lies under the spectrogram: its left half in the first colour, its right half grey.
    blue, grey = (0.118, 0.471, 0.824), (0.6, 0.6, 0.6)
    for colour, side in ((blue, slice(0, 550)), (grey, slice(550, None))):
        near = np.abs(image[480:560, side, :3] - colour).max(axis=2) < 0.01
        assert near.sum() > 10_000


@pytest.mark.parametrize("known", [{}, {"sample_rate": 48e3}, {"sample_rate": 48e3, "frequency": 145.8e6}])
@pytest.mark.parametrize("kind", ["cf32", "rf32"])
def test_axes_of_every_kind(tmp_path, known, kind):
    np.ones(20_000, np.float32).tofile(tmp_path / "a.bin")
    picture = picture_of(tmp_path / "a.bin", sample_format=kind, **known)
    picture.add_result(result("B", 0))
    name, lower, upper = picture._frequency_axis()
    expected = {
        (0, "cf32"): ("frequency in cycles per sample", -0.5, 0.5),
        (0, "rf32"): ("frequency in cycles per sample", 0.0, 0.5),
        (1, "cf32"): ("frequency from the centre in kHz", -24.0, 24.0),
        (1, "rf32"): ("frequency in kHz", 0.0, 24.0),
        (2, "cf32"): ("frequency in MHz", 145.776, 145.824),
        (2, "rf32"): ("frequency in MHz", 145.8, 145.824),
    }[len(known), kind]
    assert name == expected[0]
    assert (lower, upper) == pytest.approx(expected[1:])
    assert png(picture).size


@pytest.mark.parametrize("level", [0.0, np.nan, np.inf, 1e30])
def test_samples_that_show_nothing(tmp_path, level):
    np.full(3000, level, np.complex64).tofile(tmp_path / "a.cf32")
    assert png(picture_of(tmp_path / "a.cf32")).size


def test_names_that_mean_something_to_matplotlib(tmp_path):
    model = write_model(tmp_path / "m.onnx", classes=["$x", "_hidden", "\u4e2d\U0001f600"])
    np.repeat([0, 0.5, 1], 2048).astype(np.complex64).tofile(tmp_path / "a$\\frac{_^.cf32")
    arguments = [str(tmp_path / "a$\\frac{_^.cf32"), "--model", str(model), "--squelch", "-1000"]
    assert main([*arguments, "--out", str(tmp_path / "a.txt"), "--plot", str(tmp_path / "a.png")]) == 0
    assert imread(tmp_path / "a.png").size


def test_without_matplotlib_a_picture_is_refused_before_the_work(tmp_path, monkeypatch, capsys):
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)  # an import of it then fails
    model = write_model(tmp_path / "m.onnx")
    np.ones(5000, np.complex64).tofile(tmp_path / "a.cf32")
    assert main([str(tmp_path / "a.cf32"), "--model", str(model), "--plot", str(tmp_path / "a.png")]) == 1
    printed = capsys.readouterr()
    (said,) = printed.err.splitlines()
    assert said.startswith("amc_classify: a picture needs matplotlib") and sys.executable in said
    assert not [line for line in printed.out.splitlines() if "HIGH" in line]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.cf32", "m.onnx"]
    assert main([str(tmp_path / "a.cf32"), "--model", str(model)]) == 0


def test_no_window_system_is_asked_for(tmp_path):
    np.ones(5000, np.complex64).tofile(tmp_path / "a.cf32")
    picture = picture_of(tmp_path / "a.cf32")
    picture.add_result(result("A", 0))
    before = "matplotlib.pyplot" in sys.modules
    assert png(picture).size
    assert ("matplotlib.pyplot" in sys.modules) == before
