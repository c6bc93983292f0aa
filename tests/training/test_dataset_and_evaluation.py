# SPDX-License-Identifier: GPL-3.0-or-later
import hashlib
import json

import h5py
import numpy as np
import pytest
import torch
from gnuradio.amc.normalise import KINDS
from gnuradio.amc.normalise import normalise as installed_normalise

from tests.helpers.tiny_models import write_model
from training.__main__ import main
from training.config import NORMALISATIONS
from training.data import VALIDATION_STREAM, every_pair, generator_of, normalise
from training.dataset import WRONG_ORDER, official_split, open_dataset, write_dataset
from training.errors import TrainingError
from training.evaluate import Tally
from training.files import replacing
from training.signals import CLASSES, PRESETS, SNR_LABELS, generate


def test_the_official_split_is_the_published_one():
    indices = official_split()["test"]
    assert len(indices) == 255_840
    digest = hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest()
    assert digest == "dc15c999a5f19af95014239145155eaf5a0ef50e96a62947b8887355fd107317"
    assert {2521, 2209, 3417, 1009} <= set(indices.tolist())


@pytest.mark.parametrize("frames_per_pair", [1, 2, 3, 25])
def test_the_parts_of_the_split_are_the_whole(frames_per_pair):
    parts = official_split(frames_per_pair, pairs=7)
    np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(7 * frames_per_pair))
    tenth = -(-frames_per_pair // 10)
    assert len(parts["test"]) == 7 * tenth
    assert len(parts["validation"]) == 7 * min(tenth, frames_per_pair - tenth)


def test_real_files_have_a_train_and_a_validation_part_of_every_pair():
    parts = official_split()
    assert len(parts["train"]) + len(parts["validation"]) == 2_300_064
    for part, count in (("test", 410), ("validation", 410), ("train", 3276)):
        assert set(np.bincount(parts[part] // 4096)) == {count}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "small.hdf5"
    write_dataset("radioml2018", 2, 5, path)
    return path


def test_the_layout_is_radiomls(dataset):
    with h5py.File(dataset) as file:
        assert file["X"].shape == (24 * 26 * 2, 1024, 2)
        assert file["X"].dtype == np.float32
        np.testing.assert_array_equal(file["Y"][:].argmax(1), np.repeat(np.arange(24), 52))
        np.testing.assert_array_equal(file["Y"][:].sum(1), 1)
        np.testing.assert_array_equal(file["Z"][:, 0], np.tile(np.repeat(SNR_LABELS, 2), 24))


def test_the_same_seed_gives_the_same_file(dataset, tmp_path):
    for seed in (5, 6):
        write_dataset("radioml2018", 2, seed, tmp_path / f"{seed}.hdf5")
    with h5py.File(dataset) as one, h5py.File(tmp_path / "5.hdf5") as same, h5py.File(tmp_path / "6.hdf5") as other:
        assert np.array_equal(one["X"], same["X"])
        assert not np.array_equal(one["X"], other["X"])


def test_reading_gives_what_was_written(dataset):
    parts = list(open_dataset(dataset).parts("all", chunk=100))
    with h5py.File(dataset) as file:
        np.testing.assert_array_equal(np.concatenate([part.frames for part in parts]), file["X"][:].transpose(0, 2, 1))
    for split in ("test", "validation"):  # a tenth of two, rounded up
        parts = list(open_dataset(dataset).parts(split, chunk=100))
        assert sum(len(part.classes) for part in parts) == 24 * 26
    assert list(open_dataset(dataset).parts("train")) == []


def test_normalisation_in_training_is_that_of_the_block():
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(4, 2, 256)).astype(np.float32) * 3 + 0.5
    complex_frames = (frames[:, 0] + 1j * frames[:, 1]).astype(np.complex64)
    assert NORMALISATIONS == KINDS
    for kind in KINDS:
        ours = normalise(torch.from_numpy(frames), kind).numpy()
        # Turning takes the sine of a rounded angle.
        np.testing.assert_allclose(ours, installed_normalise(complex_frames, kind), rtol=1e-5, atol=1e-4)


def test_frames_are_turned_in_training_as_they_are_in_the_block():
    """Every class at every label: what stands out in the one does in the other."""
    for _, frames, _ in every_pair("radioml2018", 1, 3, torch.device("cpu")):
        complex_frames = torch.complex(*frames.unbind(1)).numpy()
        ours = normalise(frames, "timed_turned").numpy()
        np.testing.assert_allclose(ours, installed_normalise(complex_frames, "timed_turned"), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kind", NORMALISATIONS)
def test_mixed_precision_rounds_no_frames(kind):
    (_, frames, _), *_ = every_pair("radioml2018", 1, 3, torch.device("cpu"))
    expected = normalise(frames, kind)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(normalise(frames, kind), expected, rtol=0, atol=0)


def test_tally():
    tally = Tally()
    tally.add(np.array([30, 30, 10, 8]), np.array([0, 0, 1, 1]), np.array([0, 5, 1, 2]))
    summary = tally.summary()
    assert summary["frames"] == 4
    assert summary["accuracy"] == 0.5
    assert summary["by_snr"] == {"8": 0.0, "10": 1.0, "30": 0.5}
    assert summary["by_class"] == {"OOK": 0.5, "4ASK": 0.5}
    assert summary["by_class_from_label_10"] == {"OOK": 0.5, "4ASK": 1.0}
    assert summary["confusion"][0][5] == 1


@pytest.mark.parametrize(
    ("content", "part"),
    [(b"", "cannot be read"), (b"not an HDF5 file at all", "cannot be read")],
)
def test_foreign_files(tmp_path, capsys, content, part):
    path = tmp_path / "foreign.hdf5"
    path.write_bytes(content)
    model = tmp_path / "none.onnx"
    assert main(["evaluate", "--model", str(model), "--data", str(path)]) == 1
    with pytest.raises(Exception, match=part):
        open_dataset(path)
    assert capsys.readouterr().err.count("\n") == 1


def test_truncated_and_other_layouts(dataset, tmp_path):
    content = dataset.read_bytes()
    (tmp_path / "cut.hdf5").write_bytes(content[: len(content) // 2])
    with pytest.raises(Exception, match="cannot be read"):
        open_dataset(tmp_path / "cut.hdf5")
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["X"] = np.zeros((10, 2, 128), np.float32)
    with pytest.raises(Exception, match="RadioML 2018.01A's layout"):
        open_dataset(tmp_path / "other.hdf5")
    with pytest.raises(Exception, match="cannot be read"):
        open_dataset(tmp_path / "missing.hdf5")


@pytest.mark.parametrize("label", [-22, 11, 32])
def test_foreign_labels_are_refused(dataset, tmp_path, label):
    path = tmp_path / "labels.hdf5"
    path.write_bytes(dataset.read_bytes())
    with h5py.File(path, "r+") as file:
        file["Z"][7, 0] = label
    with pytest.raises(Exception, match=f"has the SNR label {label}"):
        list(open_dataset(path).parts())


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--preset", "wild9", "--frames-per-pair", "1", "--out", "x.hdf5"], "preset 'wild9' is unknown"),
        (["--frames-per-pair", "0", "--out", "x.hdf5"], "must be at least 1"),
        (["--frames-per-pair", "1000000000000", "--out", "x.hdf5"], "must be at least 1, at most"),
        (["--frames-per-pair", "1", "--seed", "9" * 23, "--out", "x.hdf5"], "the seed is 9999"),
        (["--frames-per-pair", "1", "--seed", "-1", "--out", "x.hdf5"], "the seed is -1"),
        (["--frames-per-pair", "1", "--out", "."], "is a folder"),
        (["--frames-per-pair", "1", "--out", "/"], "is a folder"),
        (["--frames-per-pair", "1", "--out", "/dev/null/x.hdf5"], "cannot be written"),
        (["--frames-per-pair", "1", "--out", "no/such/folder/x.hdf5"], "cannot be written"),
    ],
)
def test_bad_arguments_are_one_sentence(tmp_path, monkeypatch, capsys, arguments, part):
    monkeypatch.chdir(tmp_path)
    assert main(["generate", *arguments]) == 1
    error = capsys.readouterr().err
    assert part in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_class_names_in_the_file(dataset):
    with h5py.File(dataset) as file:
        assert tuple(file.attrs["classes"]) == CLASSES
        assert json.dumps(int(file.attrs["seed"])) == "5"


# --- the order of the classes ---------------------------------------------------------------------


@pytest.fixture
def nameless(dataset, tmp_path):
    """A file as the real one is: nothing in it names the classes."""
    path = tmp_path / "GOLD_XYZ_OSC.0001_1024.hdf5"
    path.write_bytes(dataset.read_bytes())
    with h5py.File(path, "r+") as file:
        del file.attrs["classes"]
    return path


def test_the_wrong_order_is_the_one_that_is_shipped():
    assert sorted(WRONG_ORDER) == sorted(CLASSES)
    assert (WRONG_ORDER[0], WRONG_ORDER[-1]) == ("32PSK", "16QAM")


@pytest.mark.parametrize("text", ["", "classes = ['32PSK',\n '16APSK'", "OOK\nBPSK\n", "classes = [1, 2]"])
def test_a_list_beside_the_file_that_fits_no_order_is_refused(nameless, text):
    nameless.with_name("classes.txt").write_text(text)
    with pytest.raises(Exception, match="classes.txt lists other classes"):
        open_dataset(nameless)


def test_the_wrong_list_that_is_shipped_is_put_right_and_told(nameless, capsys):
    assert (open_dataset(nameless).classes, open_dataset(nameless).remark) == (CLASSES, "")
    beside = nameless.with_name("classes.txt")
    beside.write_text("classes = [" + ",\n ".join(repr(name) for name in WRONG_ORDER) + "]\n")
    assert open_dataset(nameless).classes == CLASSES
    assert main(["evaluate", "--model", "no.onnx", "--data", str(nameless)]) == 1
    assert "classes.txt has the order that RadioML 2018.01A is known to ship wrong" in capsys.readouterr().err
    beside.write_text("\n".join(CLASSES))
    assert open_dataset(nameless).remark == ""


def test_a_file_that_says_the_wrong_order_itself(nameless):
    with h5py.File(nameless, "r+") as file:
        file.attrs["classes"] = list(WRONG_ORDER)
    opened = open_dataset(nameless)
    assert opened.classes == CLASSES
    assert "the true one is used" in opened.remark


def test_frames_in_another_order_are_refused(nameless):
    with h5py.File(nameless, "r+") as file:
        file["Y"][:] = file["Y"][:][::-1]
    with pytest.raises(Exception, match="not ordered by class, then by SNR label"):
        open_dataset(nameless)


def test_a_file_of_another_preset_has_its_classes(tmp_path, capsys):
    write_dataset("wild", 1, 3, tmp_path / "wild.hdf5")
    opened = open_dataset(tmp_path / "wild.hdf5")
    assert opened.classes == (*CLASSES, "noise")
    (part,) = opened.parts()
    np.testing.assert_array_equal(part.classes, np.repeat(np.arange(25), 26))
    model = tmp_path / "radioml.onnx"
    write_model(model, CLASSES)
    assert main(["evaluate", "--model", str(model), "--data", str(opened.path), "--split", "all"]) == 1
    assert "have other classes" in capsys.readouterr().err


def test_large_files_are_made_in_pieces():
    """Pieces that end within a pair hold the same labels in the same order."""
    classes, labels = [], []
    for index, frames, snr in every_pair("radioml2018", 1, 4, torch.device("cpu"), chunk=10):
        assert len(frames) == len(snr) <= 10
        classes += [index] * len(snr)
        labels += snr.tolist()
    assert classes == np.repeat(np.arange(24), 26).tolist()
    assert labels == list(SNR_LABELS) * 24


# --- what others may bring ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"window": 128}, "cannot take frames (N, 2, 1024)"),
        ({"metadata": {"amc.classes": "OOK, BPSK"}}, "is not a JSON list of names"),
        ({"metadata": {}}, "answers with shape (1, 3)"),
        ({"classes": tuple(CLASSES[::-1])}, "have other classes"),
        ({"classes": CLASSES, "temperature": 0.0}, "amc.temperature of the model"),
        ({"classes": CLASSES, "temperature": np.inf}, "amc.temperature of the model"),
        ({"classes": CLASSES, "bias": np.full(24, np.nan, np.float32)}, "answers a frame with what is no number"),
    ],
)
def test_models_that_cannot_be_evaluated_get_a_sentence(dataset, tmp_path, capfd, options, part):
    model = write_model(tmp_path / "model.onnx", **options)
    assert main(["evaluate", "--model", str(model), "--data", str(dataset), "--split", "all"]) == 1
    error = capfd.readouterr().err
    assert part in error
    assert error.count("\n") == 1


def test_double_precision_and_names_as_bytes_are_read(dataset, tmp_path):
    with h5py.File(dataset) as file, h5py.File(tmp_path / "other.hdf5", "w") as other:
        other["X"] = file["X"][:].astype(np.float64)
        other["Y"], other["Z"] = file["Y"][:].astype(np.float32), file["Z"][:].astype(np.float32)
        other.attrs["classes"] = np.array([name.encode() for name in CLASSES])
    opened = open_dataset(tmp_path / "other.hdf5")
    assert opened.classes == CLASSES
    assert {part.frames.dtype for part in opened.parts()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("content", [np.float32(1), None])
def test_strange_contents_are_refused(dataset, tmp_path, content):
    with h5py.File(tmp_path / "strange.hdf5", "w") as file:
        if content is None:
            file.create_group("X")
        else:
            file["X"] = content
        file.attrs["classes"] = 7
    with pytest.raises(Exception, match="RadioML 2018.01A's layout"):
        open_dataset(tmp_path / "strange.hdf5")


@pytest.mark.parametrize(("name", "kind"), [("X", "S1"), ("X", "c8"), ("Y", "S1"), ("Z", "S2")])
def test_contents_that_are_no_numbers_are_refused(dataset, tmp_path, name, kind):
    path = tmp_path / "strange.hdf5"
    path.write_bytes(dataset.read_bytes())
    with h5py.File(path, "r+") as file:
        shape = file[name].shape
        del file[name]
        file.create_dataset(name, shape, kind)
    with pytest.raises(TrainingError, match=f"the dataset {name} of the file .* is of type .*, not of numbers"):
        open_dataset(path)


def test_a_folder_is_no_dataset(tmp_path):
    with pytest.raises(TrainingError, match="cannot be read") as caught:
        open_dataset(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_is_never_what_a_run_of_the_same_seed_decides_on(tmp_path):
    write_dataset("radioml2018", 1, 2026, tmp_path / "fresh.hdf5")
    generator = generator_of(2026, VALIDATION_STREAM, torch.device("cpu"))
    labels = torch.tensor(SNR_LABELS)
    decided = generate(PRESETS["radioml2018"], torch.zeros_like(labels), labels, generator)
    (part,) = open_dataset(tmp_path / "fresh.hdf5").parts()
    assert not np.array_equal(part.frames[:26], decided.numpy())


def test_two_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "file"
    with replacing(path) as one, pytest.raises(TrainingError, match="cannot be written: no room"):
        one.write_text("one")
        with replacing(path) as other:
            other.write_text("other")
            raise OSError("no room")
    assert path.read_text() == "one"
    assert [child.name for child in tmp_path.iterdir()] == ["file"]
