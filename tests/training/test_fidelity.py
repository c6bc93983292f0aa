# SPDX-License-Identifier: GPL-3.0-or-later
"""The fidelity report: what it compares, and that the twin is as real as it is said to be."""

import json

import numpy as np
import pytest

from tests.helpers.tiny_models import write_model
from training.__main__ import main
from training.fidelity import RECALL_LABELS, compare, measure, read_reference
from training.signals import CLASSES, SNR_LABELS


@pytest.fixture
def reference(tmp_path):
    """A network that calls everything OOK, and figures as if it were right about half of it."""
    weights, bias = np.zeros((2048, 24), np.float32), np.eye(24, dtype=np.float32)[0]
    write_model(tmp_path / "ook.onnx", CLASSES, weights=weights, bias=bias)
    figures = {
        "overall": 0.5,
        "accuracy_by_snr": {str(label): 0.5 for label in SNR_LABELS},
        "confusion": {"30": np.eye(24).tolist()},
    }
    (tmp_path / "published.json").write_text(json.dumps(figures))
    return tmp_path


def test_what_is_compared(reference):
    opened = read_reference(reference)
    report = compare(opened, measure(opened, 2, seed=1))
    assert report["frames"] == 24 * 26 * 2
    assert report["overall"] == [pytest.approx(1 / 24, abs=1e-6), 0.5]
    assert report["by_snr"]["-20"] == [pytest.approx(1 / 24, abs=1e-4), 0.5]
    assert [int(label) for label in report["recall"]] == list(RECALL_LABELS)
    assert report["recall"]["30"]["OOK"] == [1.0, 1.0]
    assert report["recall"]["30"]["FM"] == [0.0, 1.0]
    assert report["recall"]["10"]["OOK"] == [1.0, None]


def test_the_command(reference, tmp_path, capsys):
    picture = tmp_path / "confusion.png"
    arguments = ["fidelity", "--reference", str(reference), "--frames-per-pair", "1"]
    assert main([*arguments, "--plot", str(picture)]) == 0
    text = capsys.readouterr().out
    assert "accuracy by SNR label" in text
    assert "recall at -4 dB" in text
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 624


@pytest.mark.parametrize(
    ("spoil", "part"),
    [
        (lambda folder: (folder / "ook.onnx").unlink(), "0 files *.onnx"),
        (lambda folder: (folder / "ook.onnx").write_bytes(b"no"), "cannot be opened"),
        (lambda folder: (folder / "published.json").unlink(), "0 files published*.json"),
        (lambda folder: (folder / "published.json").write_text("{}"), "not as they must be"),
        (lambda folder: (folder / "published.json").write_text("[1"), "not as they must be"),
        (lambda folder: (folder / "published_2.json").write_text("{}"), "2 files published*.json"),
        (
            lambda folder: (folder / "published.json").write_text(
                json.dumps({"overall": 1, "accuracy_by_snr": {"0": 1}, "confusion": {}})
            ),
            "lack a label",
        ),
        (lambda folder: write_model(folder / "ook.onnx", CLASSES[::-1]), "has other classes"),
        (
            lambda folder: (folder / "published.json").write_text(
                json.dumps(json.loads((folder / "published.json").read_text()) | {"confusion": {}})
            ),
            "lack a label",
        ),
    ],
)
def test_a_reference_that_cannot_be_used_is_one_sentence(reference, capsys, spoil, part):
    spoil(reference)
    assert main(["fidelity", "--reference", str(reference), "--frames-per-pair", "1"]) == 1
    error = capsys.readouterr().err
    assert part in error
    assert error.count("\n") == 1


def test_no_frames_and_no_place_for_the_picture(reference, capsys):
    arguments = ["fidelity", "--reference", str(reference), "--frames-per-pair"]
    assert main([*arguments, "0"]) == 1
    assert main([*arguments, "1", "--plot", str(reference / "no" / "such.png")]) == 1
    assert capsys.readouterr().err.count("\n") == 2


def test_the_twin_is_as_real_as_the_bar_says(shared):
    """Overall within 0.010, at 30 dB within 0.015; room for chance where few frames tell (4 deviations)."""
    opened = read_reference(shared / "reference")
    report = compare(opened, measure(opened, 60, seed=20_261_125))
    twin, published = report["overall"]
    assert twin == pytest.approx(published, abs=0.010)
    twin, published = report["by_snr"]["30"]
    assert twin == pytest.approx(published, abs=0.015 + 4 * np.sqrt(0.93 * 0.07 / (24 * 60)))
    for label, (twin, published) in report["by_snr"].items():
        assert twin == pytest.approx(published, abs=0.03 + 4 * np.sqrt(0.25 / (24 * 60))), label
    for name, (twin, published) in report["recall"]["30"].items():
        assert twin == pytest.approx(published, abs=0.10 + 4 * np.sqrt(published * (1 - published) / 60)), name
