# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run trains on: generated, or read from a dataset file."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from tests.helpers.tiny_runs import CONFIG
from training.__main__ import main
from training.batches import Batches, _counts, validation_frames
from training.config import Source
from training.dataset import official_split, open_dataset, write_dataset
from training.errors import TrainingError
from training.signals import CLASSES, SNR_LABELS
from training.stored import BLOCK, StoredFrames

CPU = torch.device("cpu")
FRAMES_PER_PAIR = 40  # more than a block, so that passes have an order


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A dataset whose frames hold their own number in every sample."""
    path = tmp_path_factory.mktemp("data") / "numbered.hdf5"
    total = 24 * 26 * FRAMES_PER_PAIR
    with h5py.File(path, "w") as content:
        frames = content.create_dataset("X", (total, 1024, 2), np.float32)
        for begin in range(0, total, 4096):
            count = min(4096, total - begin)
            numbers = np.arange(begin, begin + count, dtype=np.float32)
            frames[begin : begin + count] = np.broadcast_to(numbers[:, None, None], (count, 1024, 2))
        pairs = np.arange(total) // FRAMES_PER_PAIR
        content["Y"] = np.eye(24, dtype=np.int64)[pairs // 26]
        content["Z"] = np.array(SNR_LABELS)[pairs % 26][:, None]
    return path


def test_every_source_gives_its_share_of_a_batch():
    def counts(batch, *shares):
        return _counts(tuple(Source("radioml2018", share) for share in shares), batch)

    assert counts(11, *[1.0] * 7) == [2, 2, 2, 2, 1, 1, 1]
    assert counts(256, 0.4, 0.5, 0.05, 0.05) == [102, 128, 13, 13]
    with pytest.raises(TrainingError, match="has none of the source radioml2018 with share 0.001"):
        counts(256, 0.001, 1.0)


def test_a_source_draws_from_its_classes_and_labels_only(run):
    sources = (Source("radioml2018", 1.0, (30, 30), ("FM", "BPSK")),)
    batches = Batches(run, CPU)
    drawn = torch.cat([batches.batch(sources, number)[1] for number in range(20)])
    assert {CLASSES[index] for index in drawn} == {"FM", "BPSK"}


def test_the_processes_of_a_run_share_its_batches(run):
    parts = [Batches(run, CPU, rank, 2).batch(run.sources, 7) for rank in (0, 1)]
    assert [len(classes) for _, classes in parts] == [2, 2]
    assert not torch.equal(parts[0][0], parts[1][0])
    with pytest.raises(TrainingError, match="4 frames cannot be shared by 3 processes"):
        Batches(run, CPU, 0, 3)


# --- a dataset file -------------------------------------------------------------------------------


def numbers_of(frames):
    assert (frames == frames[:, :1, :1]).all()
    return np.asarray(frames[:, 0, 0], np.int64)


def test_a_pass_over_a_file_has_each_training_frame_once_and_no_other(file):
    dataset = open_dataset(file)
    pairs = [(kind, label) for kind in range(24) for label in SNR_LABELS]
    stored = StoredFrames(dataset, pairs, seed=1)
    trained = official_split(FRAMES_PER_PAIR)["train"]
    passes = []
    for turn in range(2):
        frames, classes = stored.take(turn * len(trained), len(trained))
        passes.append(numbers_of(frames))
        np.testing.assert_array_equal(np.sort(passes[-1]), trained)
        np.testing.assert_array_equal(passes[-1] // FRAMES_PER_PAIR // 26, classes)
    assert not np.array_equal(*passes)


def test_batches_of_a_file_mix_its_pairs(file):
    stored = StoredFrames(open_dataset(file), [(kind, label) for kind in range(24) for label in SNR_LABELS], seed=1)
    numbers = numbers_of(stored.take(0, 624)[0])
    # Drawn at random, 624 frames meet 1 - 1/e of 624 pairs.
    assert len(set(numbers // FRAMES_PER_PAIR)) == pytest.approx(0.632 * 624, rel=0.15)


def test_any_part_of_a_file_may_be_taken_first(file):
    pairs = [(3, 0), (5, 10), (7, -20)]
    whole, other = (StoredFrames(open_dataset(file), pairs, seed=2) for _ in range(2))
    frames, classes = whole.take(0, 500)
    for start in (333, 90, 0, 499):
        part, label = other.take(start, 1)
        np.testing.assert_array_equal(part, frames[start : start + 1])
        assert label == classes[start]
    assert set(classes) == {3, 5, 7}
    assert BLOCK < FRAMES_PER_PAIR


def test_a_run_reads_its_file_and_decides_on_the_validation_part(run, file):
    given = replace(run, data=str(file), normalise="none")
    parts = official_split(FRAMES_PER_PAIR)
    frames, classes = Batches(given, CPU).batch(given.sources, 5)
    numbers = numbers_of(frames)
    assert set(numbers) <= set(parts["train"])
    assert np.array_equal(numbers // FRAMES_PER_PAIR // 26, classes)
    assert all(0 <= SNR_LABELS[number // FRAMES_PER_PAIR % 26] <= 30 for number in numbers)
    frames, classes = validation_frames(given, CPU)
    assert set(numbers_of(frames)) <= set(parts["validation"])
    assert np.array_equal(np.bincount(classes), [26] * 24)
    assert len(set(numbers_of(frames) // FRAMES_PER_PAIR)) == 624


def test_training_from_a_file_end_to_end(config, tmp_path, capsys):
    write_dataset("radioml2018", 4, 1, tmp_path / "real.hdf5")
    assert main(["train", str(config), "--runs", str(tmp_path), "--data", str(tmp_path / "real.hdf5")]) == 0
    assert (tmp_path / "tiny" / "trained.pt").is_file()


@pytest.mark.parametrize(
    ("frames_per_pair", "part"),
    [(None, "cannot be read"), (2, "too few frames for a training part"), (3, "validation_frames_per_pair is 2")],
)
def test_files_that_cannot_be_trained_on(config, tmp_path, capsys, frames_per_pair, part):
    path = tmp_path / "data.hdf5"
    if frames_per_pair:
        write_dataset("radioml2018", frames_per_pair, 1, path)
    changed = tmp_path / "changed.yaml"
    changed.write_text(CONFIG.replace("frames_per_pair: 1", f"frames_per_pair: {2 if frames_per_pair == 3 else 1}"))
    capsys.readouterr()
    assert main(["train", str(changed), "--runs", str(tmp_path), "--data", str(path)]) == 1
    error = capsys.readouterr().err
    assert part in error
    assert error.count("\n") == 1


def test_a_file_of_other_classes(config, tmp_path, capsys):
    write_dataset("wild", 2, 1, tmp_path / "wild.hdf5")
    capsys.readouterr()
    assert main(["train", str(config), "--runs", str(tmp_path), "--data", str(tmp_path / "wild.hdf5")]) == 1
    assert "has other classes than the run tiny" in capsys.readouterr().err
