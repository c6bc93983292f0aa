# SPDX-License-Identifier: GPL-3.0-or-later
"""From logits to a label: calibrated softmax, average over windows, threshold."""

import numpy as np

from .errors import AmcError
from .windows import checked_count

UNKNOWN = "unknown"
LARGEST_AVERAGE = 1 << 16


def log_softmax(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Calibrated log-probabilities, float64 (n, C) after C. Guo et al., "On Calibration ...", ICML 2017."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    return scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))


class Decider:
    """Keeps the log-probabilities of the last windows and names the class of their mean.

    ``average`` windows are averaged (fewer after ``restart``); a class whose probability is below
    ``threshold`` is UNKNOWN. Raises AmcError for settings out of range.
    """

    def __init__(self, classes: tuple[str, ...], temperature: float, average: int, threshold: float) -> None:
        self.classes, self.temperature = classes, temperature
        self.average = average
        self.threshold = threshold
        self.restart()

    @property
    def average(self) -> int:
        return self._average

    @average.setter
    def average(self, average: int) -> None:
        self._average = checked_count("average", average, LARGEST_AVERAGE)

    @property
    def threshold(self) -> float:
        return self._threshold

    @threshold.setter
    def threshold(self, threshold: float) -> None:
        if not 0 <= threshold <= 1:
            raise AmcError(f"threshold is {threshold}; it must be a probability from 0 to 1.")
        self._threshold = float(threshold)

    def restart(self) -> None:
        """Forgets the windows so far: what follows is another signal."""
        self._history = np.empty((0, len(self.classes)))

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities float32 (n, C) for each of the consecutive windows of ``logits`` (n, C)."""
        count = self.average
        held = self._history[max(0, len(self._history) - count + 1) :]
        values = np.concatenate((held, log_softmax(logits, self.temperature)))
        self._history = values[max(0, len(values) - count + 1) :]
        if count == 1:
            return np.exp(values).astype(np.float32)
        sums = np.concatenate((np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)))
        ends = np.arange(len(held), len(values)) + 1
        begins = np.maximum(0, ends - count)
        means = (sums[ends] - sums[begins]) / (ends - begins)[:, None]
        return np.exp(log_softmax(means, 1.0)).astype(np.float32)

    def labels(self, probabilities: np.ndarray) -> list[str]:
        """Name of the most probable class, or UNKNOWN, for each row of ``probabilities`` (n, C)."""
        best = probabilities.argmax(axis=1).tolist()
        sure = (probabilities.max(axis=1) >= self.threshold).tolist()
        return [self.classes[index] if is_sure else UNKNOWN for index, is_sure in zip(best, sure, strict=True)]
