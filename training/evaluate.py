# SPDX-License-Identifier: GPL-3.0-or-later
"""Accuracy of an exported model on labelled frames, through onnxruntime."""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from .calibration import Reliability
from .data import normalise
from .dataset import Part
from .errors import TrainingError, first_line
from .files import make_folder, replacing
from .signals import CLASSES, FRAME, SNR_LABELS

BATCH = 256
HIGH_LABEL = 10


class Tally:
    """Counts of (SNR label, true class, predicted class)."""

    def __init__(self, classes: tuple[str, ...] = CLASSES) -> None:
        self.classes = classes
        self.counts = np.zeros((len(SNR_LABELS), len(classes), len(classes)), np.int64)

    def add(self, snr: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> None:
        np.add.at(self.counts, ((snr - SNR_LABELS[0]) // 2, truth, predicted), 1)

    def shares(self) -> np.ndarray:
        """Confusion matrices as shares of the true class, float64 (labels, classes, classes)."""
        return self.counts / np.maximum(self.counts.sum(axis=2, keepdims=True), 1)

    def summary(self) -> dict:
        """Overall accuracy with its 0.95 half interval, by label, by class, and the confusion counts."""
        total = int(self.counts.sum())
        if total == 0:
            raise TrainingError("there are no frames to evaluate on; choose another split or a larger file.")
        right = np.einsum("sii->si", self.counts)
        accuracy = right.sum() / total
        high = self.counts[[label >= HIGH_LABEL for label in SNR_LABELS]]
        return {
            "frames": total,
            "classes": list(self.classes),
            "accuracy": round(float(accuracy), 6),
            # Normal approximation of the binomial, 1.96 standard deviations.
            "interval_95": round(1.96 * math.sqrt(accuracy * (1 - accuracy) / total), 6),
            "by_snr": _shares(SNR_LABELS, right.sum(axis=1), self.counts.sum(axis=(1, 2))),
            "by_class": _shares(self.classes, right.sum(axis=0), self.counts.sum(axis=(0, 2))),
            "by_class_from_label_10": _shares(self.classes, np.einsum("sii->i", high), high.sum(axis=(0, 2))),
            "confusion": self.counts.sum(axis=0).tolist(),
        }


def _shares(keys: Iterable, right: np.ndarray, total: np.ndarray) -> dict[str, float]:
    return {
        str(key): round(float(hits) / int(count), 4)
        for key, hits, count in zip(keys, right, total, strict=True)
        if count
    }


class ExportedModel:
    """A model file with its normalisation; ``logits`` takes raw frames. Raises TrainingError when unusable."""

    def __init__(self, path: Path) -> None:
        onnxruntime.set_default_logger_severity(4)  # its errors are raised as well: say them once
        self._path = path
        try:
            self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a kind for every status and none in common
            raise TrainingError(f"the model {path} cannot be opened: {first_line(error)}") from None
        metadata = self._session.get_modelmeta().custom_metadata_map
        self._kind = metadata.get("amc.normalise", "none")
        try:
            self.classes = tuple(json.loads(metadata["amc.classes"])) if "amc.classes" in metadata else CLASSES
        except (ValueError, TypeError):
            raise TrainingError(
                f"amc.classes of the model {path} is not a JSON list of names; export it again."
            ) from None
        try:
            self.temperature = float(metadata.get("amc.temperature", 1))
        except ValueError:
            self.temperature = math.nan
        if not 0 < self.temperature < math.inf:
            raise TrainingError(f"amc.temperature of the model {path} is no number above zero; export it again.")
        self._input = self._session.get_inputs()[0].name
        self.logits(np.ones((1, 2, FRAME), np.float32))  # what does not fit is said before any work

    def logits(self, frames: np.ndarray) -> np.ndarray:
        """Logits float32 (n, classes) of raw frames float32 (n, 2, 1024)."""
        ready = normalise(torch.from_numpy(np.ascontiguousarray(frames)), self._kind).numpy()
        batches = [ready[begin : begin + BATCH] for begin in range(0, len(ready), BATCH)]
        try:
            logits = np.concatenate([self._session.run(None, {self._input: batch})[0] for batch in batches])
        except Exception as error:  # see __init__
            raise TrainingError(
                f"the model {self._path} cannot take frames (N, 2, {FRAME}): {first_line(error)}"
            ) from None
        if logits.shape != (len(frames), len(self.classes)):
            raise TrainingError(
                f"the model {self._path} answers with shape {logits.shape} to {len(frames)} frames; "
                f"({len(frames)}, {len(self.classes)}) is due."
            )
        if not np.isfinite(logits).all():
            raise TrainingError(
                f"the model {self._path} answers a frame with what is no number; look for such samples in the frames."
            )
        return logits


def evaluate(model: Path, parts: Iterable[Part], classes: tuple[str, ...] = CLASSES) -> dict:
    """``Tally.summary`` of the model on the frames of ``parts``, whose classes are ``classes``, and how well calibrated
    its confidence is.

    Raises TrainingError for a model of other classes, and for what ``ExportedModel`` raises it.
    """
    exported, tally, reliability = ExportedModel(model), Tally(classes), Reliability()
    if exported.classes != classes:
        raise TrainingError(f"the model {model} and the frames have other classes, or the same in another order.")
    for part in parts:
        logits = exported.logits(part.frames)
        tally.add(part.snr, part.classes, logits.argmax(axis=1))
        reliability.add(torch.from_numpy(logits / exported.temperature).softmax(1).numpy(), part.classes)
    return tally.summary() | {"expected_calibration_error": round(reliability.error(), 4)}


def plot(summary: dict, folder: Path) -> list[Path]:
    """Writes accuracy by label and the confusion matrix as PNG files into ``folder``."""
    from matplotlib.figure import Figure

    make_folder(folder)
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([int(label) for label in summary["by_snr"]], list(summary["by_snr"].values()), marker="o")
    axes.set(xlabel="SNR label (dB)", ylabel="accuracy", ylim=(0, 1), title=f"overall {summary['accuracy']:.4f}")
    axes.grid(alpha=0.3)
    by_snr = folder / "accuracy_by_snr.png"
    _save(figure, by_snr)

    figure = Figure(figsize=(9, 8), layout="constrained")
    axes = figure.subplots()
    figure.colorbar(draw_confusion(axes, summary["confusion"], summary["classes"]), label="share of the true class")
    axes.set(xlabel="predicted", ylabel="true", title="all SNR labels")
    confusion = folder / "confusion.png"
    _save(figure, confusion)
    return [by_snr, confusion]


def _save(figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")


def draw_confusion(axes, confusion: list[list[float]], classes: Sequence[str]):
    """Draws rows of a confusion matrix, scaled to shares, with the names of its classes; returns the image."""
    counts = np.array(confusion, float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-12)
    axes.set_xticks(range(len(classes)), classes, rotation=90)
    axes.set_yticks(range(len(classes)), classes)
    return axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
