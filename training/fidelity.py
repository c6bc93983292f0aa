# SPDX-License-Identifier: GPL-3.0-or-later
"""How real the twin is: a network trained on the real RadioML 2018.01A, on frames of the twin.

The reference is a folder with the network, ``*.onnx`` (raw frames (N, 2, 1024) to logits (N, 24)), and
its published figures on the real test frames, ``published*.json``: ``overall``, ``accuracy_by_snr`` by
label, and ``confusion`` by label, shares as rows by true class.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .config import TWIN
from .data import check_amount, every_pair
from .errors import TrainingError
from .evaluate import ExportedModel, Tally, draw_confusion
from .files import replacing
from .signals import CLASSES, SNR_LABELS

RECALL_LABELS = (30, 10, 4, -4)


@dataclass(frozen=True)
class Reference:
    """A network that was trained on the real set, and what was published of it."""

    network: ExportedModel
    overall: float
    by_snr: dict[int, float]
    confusion: dict[int, np.ndarray]


def read_reference(folder: Path) -> Reference:
    """Raises TrainingError when network or figures are missing or not as they must be."""
    network = ExportedModel(_only(folder, "*.onnx", "network"))
    figures = _only(folder, "published*.json", "published figures")
    try:
        content = json.loads(figures.read_text(errors="replace"))
        by_snr = {int(label): float(share) for label, share in content["accuracy_by_snr"].items()}
        confusion = {int(label): np.array(rows, float) for label, rows in content["confusion"].items()}
        reference = Reference(network, float(content["overall"]), by_snr, confusion)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainingError(
            f"the published figures {figures} are not as they must be ({error!r}); see --help."
        ) from None
    if network.classes != CLASSES:
        raise TrainingError(f"the network in {folder} has other classes than RadioML 2018.01A, or in another order.")
    square = (len(CLASSES), len(CLASSES))
    if (
        set(by_snr) != set(SNR_LABELS)
        or not confusion
        or not set(confusion) <= set(SNR_LABELS)
        or any(matrix.shape != square for matrix in confusion.values())
    ):
        raise TrainingError(
            f"the published figures {figures} lack a label or have an unknown one, "
            f"or a matrix is not {square[0]} by {square[1]}; see --help."
        )
    return reference


def _only(folder: Path, pattern: str, what: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise TrainingError(
            f"the folder {folder} has {len(found)} files {pattern}, where one is due for the {what}; "
            "name a folder with a reference network (--reference)."
        )
    return found[0]


def measure(reference: Reference, frames_per_pair: int, seed: int) -> Tally:
    """The reference's answers on fresh frames of the twin, ``frames_per_pair`` of each class and label."""
    check_amount(frames_per_pair, seed)
    tally = Tally()
    for index, frames, snr in every_pair(TWIN, frames_per_pair, seed, torch.device("cpu")):
        predicted = reference.network.logits(frames.numpy()).argmax(axis=1)
        tally.add(snr.numpy(), np.full(len(snr), index), predicted)
    return tally


def compare(reference: Reference, tally: Tally) -> dict:
    """Pairs [twin, published], None where not published: ``overall``, ``by_snr``, ``recall`` by label and class."""
    summary = tally.summary()
    shares = tally.shares()
    recall = {}
    for label in RECALL_LABELS:
        twin = np.diag(shares[SNR_LABELS.index(label)])
        published = np.diag(reference.confusion[label]) if label in reference.confusion else [None] * len(CLASSES)
        recall[str(label)] = {
            name: [round(float(ours), 4), None if theirs is None else float(theirs)]
            for name, ours, theirs in zip(CLASSES, twin, published, strict=True)
        }
    return {
        "frames": summary["frames"],
        "overall": [summary["accuracy"], reference.overall],
        "by_snr": {label: [share, reference.by_snr[int(label)]] for label, share in summary["by_snr"].items()},
        "recall": recall,
    }


def table(report: dict) -> str:
    """The comparison as text."""
    twin, published = report["overall"]
    lines = [f"{report['frames']} frames", f"{'':<12}  twin    published  difference"]

    def row(name: str, ours: float, theirs: float | None) -> str:
        if theirs is None:
            return f"{name:<12}  {ours:.3f}"
        return f"{name:<12}  {ours:.3f}   {theirs:.3f}      {ours - theirs:+.3f}"

    lines += [row("overall", twin, published), "", "accuracy by SNR label"]
    lines += [row(f"{label} dB", *pair) for label, pair in report["by_snr"].items()]
    for label, classes in report["recall"].items():
        lines += ["", f"recall at {label} dB"]
        lines += [row(name, *pair) for name, pair in classes.items()]
    return "\n".join(lines)


def plot(reference: Reference, tally: Tally, path: Path) -> None:
    """Draws the confusion matrices of twin and published figures, label by label, as a PNG file."""
    from matplotlib.figure import Figure

    labels = sorted(reference.confusion, reverse=True)
    figure = Figure(figsize=(15, 7 * len(labels)), layout="constrained")
    shares = tally.shares()
    for row, label in zip(figure.subplots(len(labels), 2, squeeze=False), labels, strict=True):
        matrices = (shares[SNR_LABELS.index(label)], reference.confusion[label])
        for axes, matrix, what in zip(row, matrices, ("twin", "published"), strict=True):
            image = draw_confusion(axes, matrix, CLASSES)
            axes.set(title=f"{what}, label {label} dB", xlabel="predicted", ylabel="true")
        figure.colorbar(image, ax=row, label="share of the true class")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=80, format="png")
