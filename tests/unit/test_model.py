# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening a model: what fits, and one sentence for each thing that does not."""

import json
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from gnuradio.amc import AmcError, load_model
from gnuradio.amc.decide import Rejection
from onnx import TensorProto, helper

from tests.helpers.tiny_models import DEFAULT_CLASSES, write_failing_model, write_model


def constant(level, count=3, window=1024):
    rails = np.zeros((count, 2, window), np.float32)
    rails[:, 0] = level
    return rails


def test_metadata_is_read(tmp_path):
    model = load_model(write_model(tmp_path / "m.onnx", window=256, normalise="unit_power", temperature=1.7))
    assert model.classes == DEFAULT_CLASSES
    assert (model.window, model.normalise, model.temperature) == (256, "unit_power", 1.7)


REJECTION = {"amc.classes": json.dumps(DEFAULT_CLASSES)}


def test_what_a_model_says_of_windows_of_no_class(tmp_path):
    said = json.dumps({"score": "energy", "threshold": -1.5})
    path = write_model(tmp_path / "m.onnx", metadata=REJECTION | {"amc.rejection": said})
    assert load_model(path).rejection == Rejection("energy", -1.5)
    assert load_model(path, temperature=2.0).rejection is None
    assert load_model(write_model(tmp_path / "n.onnx")).rejection is None


@pytest.mark.parametrize(
    "text",
    ["nothing", "3", '{"score": "energy"}', '{"score": "luck", "threshold": 1}', '{"score": [], "threshold": 1}',
     '{"score": "energy", "threshold": NaN}', '{"score": "energy", "threshold": "high"}',
     '{"score": "energy", "threshold": 1' + 400 * "0" + "}"],
)  # fmt: skip
def test_a_rejection_that_makes_no_sense(tmp_path, text):
    path = write_model(tmp_path / "m.onnx", metadata=REJECTION | {"amc.rejection": text})
    assert "must be JSON with a score, one of max_probability, max_logit, energy" in sentence(path)


def test_settings_win_over_metadata(tmp_path):
    path = write_model(tmp_path / "m.onnx", normalise="unit_power")
    model = load_model(path, classes=["x", "y", "z"], normalise="none", temperature=2.0)
    assert (model.classes, model.normalise, model.temperature) == (("x", "y", "z"), "none", 2.0)


@pytest.mark.parametrize(("text", "expected"), [("8", (8, 8)), ("2..16", (2, 16)), ("4.5", (4.5, 4.5)), ("", (8, 8))])
def test_samples_per_symbol(tmp_path, text, expected):
    path = write_model(tmp_path / "m.onnx", sample_per_symbol=text)
    assert load_model(path).samples_per_symbol == expected
    assert load_model(path, samples_per_symbol="3..5").samples_per_symbol == (3, 5)


def test_a_third_party_model_needs_only_its_classes(tmp_path):
    path = write_model(tmp_path / "m.onnx", metadata={}, input_name="x", output_name="y")
    model = load_model(path, classes=DEFAULT_CLASSES)
    assert (model.window, model.normalise, model.temperature) == (1024, "none", 1.0)
    assert model.run(constant(1.0)).argmax(axis=1).tolist() == [2, 2, 2]


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_fixed_batch_is_filled_up(tmp_path, rows):
    path = write_model(tmp_path / "m.onnx", batch=rows)
    batch = np.concatenate([constant(0.0, 1), constant(0.5, 1), constant(1.0, 1)])
    if rows == 1:
        assert load_model(path).run(batch).argmax(axis=1).tolist() == [0, 1, 2]
    else:
        np.testing.assert_allclose(load_model(path).run(batch), load_model(write_model(tmp_path / "n.onnx")).run(batch))


def test_weights_in_a_file_of_their_own(tmp_path, monkeypatch):
    path = write_model(tmp_path / "whole.onnx")
    onnx.save(
        onnx.load(path), tmp_path / "split.onnx", save_as_external_data=True, location="weights", size_threshold=0
    )
    monkeypatch.chdir("/")
    assert load_model(tmp_path / "split.onnx").run(constant(1.0)).argmax(axis=1).tolist() == [2, 2, 2]


def sentence(*arguments, **settings):
    with pytest.raises(AmcError) as caught:
        load_model(*arguments, **settings)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_missing_file(tmp_path):
    path = tmp_path / "none.onnx"
    assert f"the model {path} cannot be read: No such file" in sentence(path)


def test_folder_in_place_of_a_file(tmp_path):
    (tmp_path / "folder.onnx").mkdir()
    assert "cannot be read: Is a directory" in sentence(tmp_path / "folder.onnx")


def test_unknown_name():
    assert "there is no released model 'resnet99'" in sentence("resnet99")


@pytest.mark.parametrize("content", [b"", b"not a model at all", b"\x08\x08" * 400])
def test_not_onnx(tmp_path, content):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    assert f"the model {path} is not a valid ONNX file" in sentence(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated(tmp_path, share):
    path = write_model(tmp_path / "m.onnx")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert str(path) in sentence(path)


def write_identity(path, input_shape, output_shape, kind=TensorProto.FLOAT):
    node = helper.make_node("Identity", ["in"], ["out"])
    if len(input_shape) != len(output_shape):
        node = helper.make_node("Flatten", ["in"], ["out"])
    graph = helper.make_graph(
        [node],
        "identity",
        [helper.make_tensor_value_info("in", kind, input_shape)],
        [helper.make_tensor_value_info("out", kind, output_shape)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@pytest.mark.parametrize(
    ("input_shape", "kind"),
    [
        (["N", 1, 1024], TensorProto.FLOAT),
        (["N", 1024, 2], TensorProto.FLOAT),
        (["N", 2048], TensorProto.FLOAT),
        (["N", 2, 1024], TensorProto.DOUBLE),
    ],
)
def test_wrong_input(tmp_path, input_shape, kind):
    path = write_identity(tmp_path / "m.onnx", input_shape, ["N", "C"] if len(input_shape) == 3 else input_shape, kind)
    assert "must have one float32 input of shape (N, 2, L); it has in" in sentence(path, classes=("A", "B"))


def test_wrong_output(tmp_path):
    path = write_identity(tmp_path / "m.onnx", ["N", 2, 1024], ["N", 2, 1024])
    assert "must have a float32 output of shape (N, classes)" in sentence(path, classes=("A", "B"))


def test_output_of_another_size_than_the_file_says(tmp_path):
    path = write_identity(tmp_path / "m.onnx", ["N", 2, 16], ["N", "C"])
    assert "has 32 outputs but 2 class names" in sentence(path, classes=("A", "B"))


def test_another_number_of_classes(tmp_path):
    assert "has 3 outputs but 2 class names" in sentence(write_model(tmp_path / "m.onnx"), classes=("A", "B"))


def test_no_classes(tmp_path):
    assert "has no class list in its metadata; give classes" in sentence(write_model(tmp_path / "m.onnx", metadata={}))


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "7",
        '"AB"',
        '"ABC"',
        "[" * 100_000,
        '["A","A","B"]',
        "[1,2,3]",
        "[]",
        "null",
        r'["A","\udc80"]',
        r'["A\n","B"]',
    ],
)
def test_unusable_class_list(tmp_path, text):
    assert "class" in sentence(write_model(tmp_path / "m.onnx", metadata={"amc.classes": text}))


@pytest.mark.parametrize(
    ("metadata", "part"),
    [
        ({"amc.window": "512"}, "the window is 512 samples but the model"),
        ({"amc.window": "wide"}, "amc.window in the metadata"),
        ({"amc.window": "nan"}, "window is nan"),
        ({"amc.window": "inf"}, "window is inf"),
        ({"amc.normalise": "loud"}, "the normalisation 'loud'"),
        ({"amc.temperature": "warm"}, "amc.temperature in the metadata"),
        *(({"amc.temperature": text}, "must be from 1e-06 to 1e+06") for text in ("0", "-1", "nan", "inf", "1e-310")),
        *(
            ({"amc.sample_per_symbol": text}, "they must be a number from 1 to 1000, or two such as 2..16")
            for text in ("many", "16..2", "0", "nan", "2..inf", "..8", "2..4..8")
        ),
    ],
)
def test_unusable_metadata(tmp_path, metadata, part):
    path = write_model(tmp_path / "m.onnx", metadata={"amc.classes": json.dumps(DEFAULT_CLASSES)} | metadata)
    assert part in sentence(path)


@pytest.mark.parametrize("window", [-1, 3.5, 10**9, 512])
def test_absurd_window(tmp_path, window):
    assert "window" in sentence(write_model(tmp_path / "m.onnx"), window=window)


def test_runtimes(tmp_path):
    path = write_model(tmp_path / "m.onnx")
    assert load_model(path, runtime="onnxruntime").run(constant(0.5)).shape == (3, 3)
    assert "the runtime 'gpu' is unknown; choose one of auto, onnxruntime, native" in sentence(path, runtime="gpu")
    assert "the engine cannot take the model" in sentence(path, runtime="native")
    assert "threads is 0" in sentence(path, threads=0)


def test_windows_that_are_started_are_divided_first(tmp_path):
    model = load_model(write_model(tmp_path / "m.onnx"))
    frames = np.array([[0.0], [1.0], [3.0]], np.complex64) * np.ones(1024, np.complex64)
    assert model.start(frames, np.array([7, 2, 3], np.float32))().argmax(axis=1).tolist() == [0, 1, 2]


def test_failing_inference_is_one_sentence(tmp_path):
    model = load_model(write_failing_model(tmp_path / "m.onnx"))
    model.run(constant(1.0))
    with pytest.raises(AmcError, match="failed in inference") as caught:
        model.run(constant(200.0))
    assert "\n" not in str(caught.value)


def test_logits_that_are_not_finite_are_refused(tmp_path):
    weights = np.full((2 * 16, 3), 3e38, np.float32)
    model = load_model(write_model(tmp_path / "m.onnx", window=16, weights=weights))
    with pytest.raises(AmcError, match="not finite"):
        model.run(constant(100.0, 1, 16))


@pytest.mark.parametrize("package", ["gnuradio.amc.runtime", "training.evaluate"])
def test_onnxruntime_reports_nothing(tmp_path, package):
    """Where it may, it leaves an identifier of the machine in the home folder as soon as it is imported."""
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    program = f"import {package}, onnxruntime, gnuradio; onnxruntime.get_available_providers()"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == "" or "onnxruntime" not in done.stderr
    assert not [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name.lower()]
