# SPDX-License-Identifier: GPL-3.0-or-later
"""Dataset files in the HDF5 layout of RadioML 2018.01A, and its official split.

X float32 (N, 1024, 2), Y int64 one-hot (N, 24), Z int64 (N, 1) in dB; ordered by class, then by
signal-to-noise label, the same number of frames for each pair.
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from rich.progress import track

from .data import every_pair
from .errors import TrainingError
from .signals import CLASSES, FRAME, PRESETS, SNR_LABELS

PAIRS = len(CLASSES) * len(SNR_LABELS)


def official_split(frames_per_pair: int = 4096, seed: int = 2018) -> np.ndarray:
    """Indices of the test frames, sorted int64: a tenth of every (class, label) pair.

    The rule of the challenge ITU-ML5G-PS-007: numpy's legacy generator, seeded once, shuffles every
    pair in order, and the first tenth (rounded up) of each is for test.
    """
    generator = np.random.RandomState(seed)
    chosen = []
    for pair in range(PAIRS):
        indices = list(range(pair * frames_per_pair, (pair + 1) * frames_per_pair))
        generator.shuffle(indices)
        chosen += indices[: math.ceil(0.1 * frames_per_pair)]
    return np.sort(np.array(chosen, np.int64))


def write_dataset(preset: str, frames_per_pair: int, seed: int, path: Path) -> None:
    """Generates a dataset file; it appears under ``path`` only when complete. Raises TrainingError."""
    if preset not in PRESETS:
        raise TrainingError(f"preset '{preset}' is unknown; choose one of {', '.join(PRESETS)}.")
    if frames_per_pair < 1:
        raise TrainingError(f"frames per pair is {frames_per_pair}; it must be at least 1.")
    temporary = path.with_name(path.name + ".partial")
    total = PAIRS * frames_per_pair
    per_class = len(SNR_LABELS) * frames_per_pair
    try:
        with h5py.File(temporary, "w") as file:
            frames = file.create_dataset("X", (total, FRAME, 2), np.float32)
            one_hot = file.create_dataset("Y", (total, len(CLASSES)), np.int64)
            labels = file.create_dataset("Z", (total, 1), np.int64)
            file.attrs.update(preset=preset, seed=seed, classes=list(CLASSES))
            parts = every_pair(preset, frames_per_pair, seed, torch.device("cpu"))
            for index, part, snr in track(parts, total=len(CLASSES), description="generating", transient=True):
                rows = slice(index * per_class, (index + 1) * per_class)
                frames[rows] = part.transpose(1, 2).numpy()
                one_hot[rows] = np.eye(len(CLASSES), dtype=np.int64)[index]
                labels[rows] = snr[:, None].numpy()
        os.replace(temporary, path)
    except OSError as error:
        raise TrainingError(f"the dataset {path} cannot be written: {error}.") from None
    finally:
        temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class Part:
    """Some frames of a dataset: raw float32 (n, 2, 1024), classes int64 (n,), labels in dB int64 (n,)."""

    frames: np.ndarray
    classes: np.ndarray
    snr: np.ndarray


def read_dataset(path: Path, split: str = "all", chunk: int = 4096) -> Iterator[Part]:
    """The frames of the ``test`` split or ``all`` of them, in order, read in sequence.

    Raises TrainingError when the file is missing, truncated or not of this layout.
    """
    try:
        with h5py.File(path, "r") as file:
            total = _checked_total(file, path)
            wanted = np.ones(total, bool)
            if split == "test":
                wanted[:] = False
                wanted[official_split(total // PAIRS)] = True
            for begin in range(0, total, chunk):
                rows = slice(begin, min(begin + chunk, total))
                keep = wanted[rows]
                if keep.any():
                    snr = file["Z"][rows][keep][:, 0].astype(np.int64)
                    if foreign := set(snr.tolist()) - set(SNR_LABELS):
                        raise TrainingError(
                            f"the dataset {path} has the SNR label {min(foreign)}, not one of -20..30 dB."
                        )
                    yield Part(file["X"][rows][keep].transpose(0, 2, 1), file["Y"][rows][keep].argmax(axis=1), snr)
    except OSError as error:
        raise TrainingError(f"the dataset {path} cannot be read: {error}.") from None


def _checked_total(file: h5py.File, path: Path) -> int:
    shapes = {name: file[name].shape for name in ("X", "Y", "Z") if name in file}
    total = shapes.get("X", (0,))[0]
    expected = {"X": (total, FRAME, 2), "Y": (total, len(CLASSES)), "Z": (total, 1)}
    if shapes != expected or total == 0 or total % PAIRS:
        raise TrainingError(
            f"the file {path} has datasets of shapes {shapes}, not X (N, {FRAME}, 2), Y (N, {len(CLASSES)}) and "
            f"Z (N, 1) with N a multiple of {PAIRS}; give a file in RadioML 2018.01A's layout."
        )
    return total
