# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a network's confidence can be believed, and how it tells what is none of its classes."""

import math

import numpy as np
import torch
from torch import Tensor

BINS = 15
LARGEST_TEMPERATURE = 4.0
# Of the windows of known classes, in which signals can be told at all, so many are not to be rejected.
KEPT_SHARE = 0.95
KEPT_FROM_LABEL = 0

# As in gnuradio.amc.decide.SCORES, where their sources are: of logits divided by the temperature, (N, classes) to (N,).
SCORES = {
    "max_probability": lambda scaled: scaled.log_softmax(1).max(1).values,
    "max_logit": lambda scaled: scaled.max(1).values,
    "energy": lambda scaled: scaled.logsumexp(1),
}


def fit_temperature(logits: Tensor, classes: Tensor) -> float:
    """The temperature of least expected calibration error, of those from 1/4 to 4 that are 1 % apart.

    One of least cross-entropy (C. Guo et al., "On Calibration of Modern Neural Networks", 2017) leaves a network that
    was taught what is none of its classes less sure of the others than it may be.
    """
    scaled, truth = logits.double(), classes.numpy()

    def error(temperature: float) -> float:
        reliability = Reliability()
        reliability.add((scaled / temperature).softmax(1).numpy(), truth)
        return reliability.error()

    steps = round(math.log(LARGEST_TEMPERATURE) / math.log(1.01))
    return min((1.01**step for step in range(-steps, steps + 1)), key=error)


class Reliability:
    """Confidence against accuracy, in BINS bins of the confidence of equal width (Guo et al., section 2)."""

    def __init__(self) -> None:
        self._count, self._confidence, self._right = np.zeros((3, BINS))

    def add(self, probabilities: np.ndarray, classes: np.ndarray) -> None:
        """Probabilities float (n, classes) of frames, and their true classes int64 (n,)."""
        confidence = probabilities.max(axis=1)
        bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
        self._count += np.bincount(bins, minlength=BINS)
        self._confidence += np.bincount(bins, confidence, BINS)
        self._right += np.bincount(bins, probabilities.argmax(axis=1) == classes, BINS)

    def error(self) -> float:
        """Expected calibration error: the mean over all frames of |accuracy - confidence| of their bins."""
        return float(np.abs(self._right - self._confidence).sum() / self._count.sum())


def area_under_roc(known: Tensor, others: Tensor) -> float:
    """The probability that a frame of ``known`` scores above one of ``others``, ties counted half (Mann, Whitney)."""
    values = np.sort(others.double().numpy())
    scores = known.double().numpy()
    below = np.searchsorted(values, scores, "left") + np.searchsorted(values, scores, "right")
    return float(below.mean() / 2 / len(values))


def choose_rejection(known: Tensor, others: Tensor, temperature: float) -> dict:
    """The score that best tells ``known`` from ``others``, logits (N, classes) each, by the area under its curve.

    Its threshold keeps KEPT_SHARE of the known.
    """
    areas = {
        name: area_under_roc(score(known / temperature), score(others / temperature)) for name, score in SCORES.items()
    }
    best = max(areas, key=areas.get)
    scores = SCORES[best](known / temperature).double()
    return {
        "score": best,
        "threshold": float(torch.quantile(scores, 1 - KEPT_SHARE)),
        "area_under_roc": {name: round(area, 4) for name, area in areas.items()},
    }


def kept(logits: Tensor, rejection: dict, temperature: float) -> Tensor:
    """Which frames, of logits (N, classes), are not rejected: bool (N,)."""
    return SCORES[rejection["score"]](logits / temperature).double() >= rejection["threshold"]
