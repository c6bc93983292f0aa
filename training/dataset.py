# SPDX-License-Identifier: GPL-3.0-or-later
"""Dataset files in the HDF5 layout of RadioML 2018.01A, real or generated, and the official split.

X float32 (N, 1024, 2), Y int64 one-hot (N, classes), Z int64 (N, 1) in dB; ordered by class, then by
signal-to-noise label, the same number of frames for each pair. Generated files name their classes in the
attribute ``classes``; a file without it is taken for the real one, whose columns have the order ``CLASSES``.
"""

import ast
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from .data import CHUNK, check_amount, every_pair
from .errors import TrainingError, first_line
from .files import replacing
from .signals import CLASSES, FRAME, PRESETS, SNR_LABELS

TEST_SHARE = 0.1
VALIDATION_SHARE = 0.1

# The order in the classes.txt that the real set ships, which is not that of its columns.
WRONG_ORDER = (
    "32PSK", "16APSK", "32QAM", "FM", "GMSK", "32APSK", "OQPSK", "8ASK", "BPSK", "8PSK", "AM-SSB-SC", "4ASK",
    "16PSK", "64APSK", "128QAM", "128APSK", "AM-DSB-SC", "AM-SSB-WC", "64QAM", "QPSK", "256QAM", "AM-DSB-WC",
    "OOK", "16QAM",
)  # fmt: skip


# --- the split ------------------------------------------------------------------------------------


@cache
def official_split(frames_per_pair: int = 4096, pairs: int = len(CLASSES) * len(SNR_LABELS)) -> dict[str, np.ndarray]:
    """Frame numbers of ``train``, ``validation`` and ``test``, sorted int64 arrays that share none.

    ``test`` by the rule of the challenge ITU-ML5G-PS-007: numpy's legacy generator, seeded once with 2018,
    shuffles every pair in order, and the first tenth (rounded up) of each is for test. ``validation``, on
    which decisions may be taken, is the next tenth of each, so that the challenge's training part is
    ``train`` and ``validation`` together.
    """
    generator = np.random.RandomState(2018)
    tested = math.ceil(TEST_SHARE * frames_per_pair)
    validated = min(math.ceil(VALIDATION_SHARE * frames_per_pair), frames_per_pair - tested)
    parts: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for pair in range(pairs):
        indices = list(range(pair * frames_per_pair, (pair + 1) * frames_per_pair))
        generator.shuffle(indices)
        parts["test"] += indices[:tested]
        parts["validation"] += indices[tested : tested + validated]
        parts["train"] += indices[tested + validated :]
    arrays = {name: np.sort(np.array(part, np.int64)) for name, part in parts.items()}
    for array in arrays.values():
        array.flags.writeable = False  # all callers have the same ones
    return arrays


# --- writing --------------------------------------------------------------------------------------


def write_dataset(preset: str, frames_per_pair: int, seed: int, path: Path) -> None:
    """Generates a dataset file; it appears under ``path`` only when complete. Raises TrainingError."""
    if preset not in PRESETS:
        raise TrainingError(f"preset '{preset}' is unknown; choose one of {', '.join(PRESETS)}.")
    check_amount(frames_per_pair, seed)
    classes = PRESETS[preset].classes
    total = len(classes) * len(SNR_LABELS) * frames_per_pair
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        frames = file.create_dataset("X", (total, FRAME, 2), np.float32)
        one_hot = file.create_dataset("Y", (total, len(classes)), np.int64)
        labels = file.create_dataset("Z", (total, 1), np.int64)
        file.attrs.update(preset=preset, seed=seed, classes=list(classes))
        parts = every_pair(preset, frames_per_pair, seed, torch.device("cpu"))
        steps = len(classes) * math.ceil(len(SNR_LABELS) * frames_per_pair / CHUNK)
        done = 0
        # Standard output is for the path of what was written.
        for index, part, snr in track(parts, "generating", steps, console=Console(stderr=True), transient=True):
            rows = slice(done, done + len(part))
            frames[rows] = part.transpose(1, 2).numpy()
            one_hot[rows] = np.eye(len(classes), dtype=np.int64)[index]
            labels[rows] = snr[:, None].numpy()
            done = rows.stop


# --- reading --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """Some frames of a dataset: raw float32 (n, 2, 1024), classes int64 (n,), labels in dB int64 (n,)."""

    frames: np.ndarray
    classes: np.ndarray
    snr: np.ndarray


@dataclass(frozen=True)
class Dataset:
    """A dataset file that was opened and found sound; ``parts`` reads it.

    ``classes`` in the order of Y's columns; ``remark``, where not empty, tells what was put right.
    """

    path: Path
    classes: tuple[str, ...]
    frames_per_pair: int
    remark: str = ""

    def parts(self, split: str = "all", chunk: int = CHUNK) -> Iterator[Part]:
        """Frames of ``train``, ``validation``, ``test`` or ``all``, up to ``chunk`` at a time, read in sequence.

        Raises TrainingError when the file cannot be read or has labels that are not RadioML's.
        """
        total = len(self.classes) * len(SNR_LABELS) * self.frames_per_pair
        wanted = np.ones(total, bool)
        if split != "all":
            wanted[:] = False
            wanted[official_split(self.frames_per_pair, total // self.frames_per_pair)[split]] = True
        with _reading(self.path) as file:
            for begin in range(0, total, chunk):
                rows = slice(begin, min(begin + chunk, total))
                keep = wanted[rows]
                if not keep.any():
                    continue
                snr = file["Z"][rows][keep][:, 0].astype(np.int64)
                if foreign := set(snr.tolist()) - set(SNR_LABELS):
                    raise TrainingError(
                        f"the dataset {self.path} has the SNR label {min(foreign)}, not one of -20..30 dB."
                    )
                yield Part(_channels_first(file["X"][rows][keep]), file["Y"][rows][keep].argmax(axis=1), snr)

    def blocks(self, pairs: Sequence[int], begin: int, count: int) -> Iterator[np.ndarray]:
        """Of each of ``pairs``, numbered in the file's order, up to ``count`` raw frames from ``begin`` on.

        Raises TrainingError when the file cannot be read.
        """
        with _reading(self.path) as file:
            for pair in pairs:
                first = pair * self.frames_per_pair
                rows = slice(first + begin, first + min(begin + count, self.frames_per_pair))
                yield _channels_first(file["X"][rows])

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """The raw frames of these numbers, in rising order; raises TrainingError when the file cannot be read."""
        with _reading(self.path) as file:
            return _channels_first(file["X"][numbers])


def _channels_first(frames: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(frames.transpose(0, 2, 1), np.float32)


def open_dataset(path: Path) -> Dataset:
    """Raises TrainingError when the file is missing, truncated, not of this layout, or in another order."""
    with _reading(path) as file:
        named = _named_classes(file)
        if named is None:
            classes, remark = _classes_beside(path)
        elif named == WRONG_ORDER:
            classes, remark = CLASSES, _repaired(f"the attribute 'classes' of {path}")
        else:
            classes, remark = named, ""
        frames_per_pair = _frames_per_pair(file, path, len(classes))
        _check_order(file, path, len(classes), frames_per_pair)
    return Dataset(path, classes, frames_per_pair, remark)


@contextmanager
def _reading(path: Path) -> Iterator[h5py.File]:
    try:
        with h5py.File(path, "r") as file:
            yield file
    except OSError as error:
        raise TrainingError(
            f"the dataset {path} cannot be read: {first_line(error)}; fetch or generate it again."
        ) from None


def _named_classes(file: h5py.File) -> tuple[str, ...] | None:
    if "classes" not in file.attrs:
        return None
    names = np.atleast_1d(file.attrs["classes"]).tolist()
    return tuple(name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in names)


def _classes_beside(path: Path) -> tuple[tuple[str, ...], str]:
    """The order of a file that does not name its classes, checked against a list that lies beside it."""
    beside = path.with_name("classes.txt")
    try:
        text = beside.read_text()
    except FileNotFoundError:
        return CLASSES, ""
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"the list of classes {beside} cannot be read: {error}; remove it.") from None
    names = _listed_names(text)
    if names == WRONG_ORDER:
        return CLASSES, _repaired(str(beside))
    if names != CLASSES:
        raise TrainingError(
            f"{beside} lists other classes than RadioML 2018.01A, or in another order; "
            f"remove it, or correct it to {', '.join(CLASSES[:4])} ... {CLASSES[-1]}."
        )
    return CLASSES, ""


def _listed_names(text: str) -> tuple[str, ...]:
    """Names from ``classes = ['A', 'B']``, as RadioML ships them, or one a line."""
    match = re.search(r"\[.*\]", text, re.DOTALL)
    try:
        return tuple(str(name) for name in ast.literal_eval(match[0])) if match else tuple(text.split())
    except (ValueError, SyntaxError):
        return ()


def _repaired(where: str) -> str:
    return f"{where} has the order that RadioML 2018.01A is known to ship wrong; the true one is used."


def _frames_per_pair(file: h5py.File, path: Path, classes: int) -> int:
    found = {name: file[name] for name in ("X", "Y", "Z") if name in file}
    shapes = {name: item.shape for name, item in found.items() if isinstance(item, h5py.Dataset)}
    total, pairs = (shapes.get("X") or (0,))[0], classes * len(SNR_LABELS)
    expected = {"X": (total, FRAME, 2), "Y": (total, classes), "Z": (total, 1)}
    if shapes != expected or total == 0 or total % pairs:
        raise TrainingError(
            f"the file {path} has datasets of shapes {shapes}, not X (N, {FRAME}, 2), Y (N, {classes}) and "
            f"Z (N, 1) with N a multiple of {pairs}; give a file in RadioML 2018.01A's layout."
        )
    if foreign := [name for name, item in found.items() if item.dtype.kind not in "biuf"]:
        raise TrainingError(
            f"the dataset {foreign[0]} of the file {path} is of type {found[foreign[0]].dtype}, not of numbers; give a "
            "file in RadioML 2018.01A's layout."
        )
    return total // pairs


def _check_order(file: h5py.File, path: Path, classes: int, frames_per_pair: int) -> None:
    """The first frame of every pair is of the class and label due there: the split goes by that order."""
    first = slice(None, None, frames_per_pair)
    found = file["Y"][first].argmax(axis=1), file["Z"][first][:, 0]
    due = np.repeat(np.arange(classes), len(SNR_LABELS)), np.tile(SNR_LABELS, classes)
    if not all(np.array_equal(one, other) for one, other in zip(found, due, strict=True)):
        raise TrainingError(
            f"the dataset {path} is not ordered by class, then by SNR label, so the official split does not fit it; "
            "give the file as it was published."
        )
