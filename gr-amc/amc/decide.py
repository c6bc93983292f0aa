# SPDX-License-Identifier: GPL-3.0-or-later
"""From logits to a label: calibrated softmax, average over windows, threshold, and what is no class at all."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .limits import checked_number
from .windows import checked_count

UNKNOWN = "unknown"
LARGEST_AVERAGE = 1 << 16


def log_sum_exp(values: np.ndarray) -> np.ndarray:
    """Logarithm of the sum of exponentials of each row of ``values`` (n, C): (n, 1)."""
    peak = values.max(axis=1, keepdims=True)
    return peak + np.log(np.exp(values - peak).sum(axis=1, keepdims=True))


def log_softmax(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Calibrated log-probabilities, float64 (n, C) after C. Guo et al., "On Calibration ...", ICML 2017."""
    scaled = logits.astype(np.float64) / temperature
    return scaled - log_sum_exp(scaled)


# How much a window looks like any class at all, from logits divided by the temperature: float64 (n,).
SCORES = {
    # D. Hendrycks, K. Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples", ICLR 2017.
    "max_probability": lambda scaled: scaled.max(axis=1) - log_sum_exp(scaled)[:, 0],
    # D. Hendrycks et al., "Scaling Out-of-Distribution Detection for Real-World Settings", ICML 2022.
    "max_logit": lambda scaled: scaled.max(axis=1),
    # W. Liu et al., "Energy-based Out-of-distribution Detection", NeurIPS 2020; the energy is the negative of this.
    "energy": lambda scaled: log_sum_exp(scaled)[:, 0],
}


# Log-likelihood ratio from which on an average begins anew. Windows of one signal reach it rarely: for a calibrated
# network about once in e^CHANGE_EVIDENCE of them, more often for one that is sure of what it takes the signal for.
CHANGE_EVIDENCE = 10.0


@dataclass(frozen=True)
class Rejection:
    """A window whose ``score``, one of SCORES, lies below ``threshold`` is none of the model's classes."""

    score: str
    threshold: float


class Averages(NamedTuple):
    """Of each window and those before: probabilities float32 (n, C), and scores float64 (n,), all zero without any."""

    probabilities: np.ndarray
    scores: np.ndarray


class Decider:
    """Keeps the log-probabilities and scores of the last windows and names the class of their mean.

    ``average`` windows are averaged, fewer after ``restart`` and after a change of the signal: where the windows since
    some moment speak so much more for another class than for that of the average (E. Page, "Continuous Inspection
    Schemes", Biometrika 1954), the average goes on with those alone. A class whose probability is below
    ``threshold`` is UNKNOWN, and so is what ``rejection`` says is none of the classes; with a threshold of
    zero nothing is. Raises AmcError for settings out of range.
    """

    def __init__(
        self,
        classes: tuple[str, ...],
        temperature: float,
        average: int,
        threshold: float,
        rejection: Rejection | None = None,
    ) -> None:
        self.classes, self.temperature, self.rejection = classes, temperature, rejection
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
        self._threshold = checked_number(
            "threshold", threshold, lambda value: value if 0 <= value <= 1 else None, "a probability from 0 to 1"
        )

    def restart(self) -> None:
        """Forgets the windows so far: what follows is another signal."""
        count = len(self.classes)
        self._history = np.empty((0, count + 1))
        self._evidence, self._evidence_age = np.zeros(count), np.zeros(count, np.int64)

    def averages(self, logits: np.ndarray) -> Averages:
        """For each of the consecutive windows of ``logits`` (n, C)."""
        scaled = logits.astype(np.float64) / self.temperature
        # Log-probabilities, and the score as one more column.
        fresh = np.zeros((len(scaled), scaled.shape[1] + 1))
        np.subtract(scaled, log_sum_exp(scaled), out=fresh[:, :-1])
        if self.rejection:
            fresh[:, -1] = SCORES[self.rejection.score](scaled)
        if self.average == 1:
            self.restart()  # what was kept would be out of date when the average becomes longer again
            return Averages(np.exp(fresh[:, :-1]).astype(np.float32), fresh[:, -1])
        # One more than an average of the next window takes: the class that is held is that of the last whole average.
        held = self._history[max(0, len(self._history) - self.average) :]
        values = np.concatenate((held, fresh))
        sums = np.concatenate((np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)))
        begins = self._begins(values[:, :-1], sums[:, :-1], len(held))
        ends = np.arange(len(held), len(values)) + 1
        means = (sums[ends] - sums[begins]) / (ends - begins)[:, None]
        self._history = values[begins[-1] :] if len(begins) else values
        return Averages(np.exp(log_softmax(means[:, :-1], 1.0)).astype(np.float32), means[:, -1])

    def _begins(self, values: np.ndarray, sums: np.ndarray, first: int) -> np.ndarray:
        """Where the average begins of each window from ``first`` on: int64; ``sums[n]`` is of ``values[:n]``."""
        begins = np.empty(len(values) - first, np.int64)
        begin = 0
        for end in range(first, len(values)):
            if end > begin:
                held = int((sums[end] - sums[begin]).argmax())
                evidence = np.maximum(self._evidence + values[end] - values[end, held], 0.0)
                evidence[held] = 0.0  # what it gathered when another class was held
                self._evidence_age = np.where(evidence > 0, self._evidence_age + 1, 0)
                other = int(evidence.argmax())
                if evidence[other] > CHANGE_EVIDENCE:
                    begin = max(begin, end + 1 - int(self._evidence_age[other]))
                    evidence, self._evidence_age = np.zeros_like(evidence), np.zeros_like(self._evidence_age)
                self._evidence = evidence
            begin = max(begin, end + 1 - self.average)
            begins[end - first] = begin
        return begins

    def labels(self, averages: Averages) -> list[str]:
        """Name of the most probable class, or UNKNOWN, for each window."""
        best = averages.probabilities.argmax(axis=1).tolist()
        sure = averages.probabilities.max(axis=1) >= self.threshold
        if self.rejection and self.threshold > 0:
            sure &= averages.scores >= self.rejection.threshold
        return [self.classes[index] if is_sure else UNKNOWN for index, is_sure in zip(best, sure.tolist(), strict=True)]
