# SPDX-License-Identifier: GPL-3.0-or-later
"""Pruning policies: when a round of pruning ends, and what follows it. ``prune.py`` does the rest."""

from dataclasses import dataclass
from typing import Protocol

LEAST_SHARE = 0.05  # under which feedback magnitude pruning stops


class Policy(Protocol):
    """Decides from accuracies on the validation frames; it keeps nothing between its decisions."""

    falling: bool  # the rate falls to zero on a cosine within each round, else it starts as it is set
    undoes: bool  # a round that does not reach the goal is undone

    def ends(self, accuracy: float, goal: float) -> bool:
        """Whether a round ends before its last frame."""

    def next_share(self, share: float, reached: bool) -> float | None:
        """The share of the remaining weights to prune next; None ends the pruning."""


@dataclass(frozen=True)
class Threshold:
    """Prunes as soon as the accuracy is back, as the challenge's second place did.

    A round that never gets there is over with its last frame.
    """

    falling: bool = False
    undoes: bool = False

    def ends(self, accuracy: float, goal: float) -> bool:
        return accuracy >= goal

    def next_share(self, share: float, reached: bool) -> float | None:
        return share


@dataclass(frozen=True)
class Rewind:
    """Trains every round to its end, with the rate back at its start.

    A. Renda, J. Frankle, M. Carbin, "Comparing Rewinding and Fine-tuning in Neural Network Pruning", ICLR 2020.
    """

    falling: bool = True
    undoes: bool = False

    def ends(self, accuracy: float, goal: float) -> bool:
        return False

    def next_share(self, share: float, reached: bool) -> float | None:
        return share


@dataclass(frozen=True)
class Feedback:
    """Feedback magnitude pruning: a round that fails is undone and tried again with half its share."""

    falling: bool = False
    undoes: bool = True

    def ends(self, accuracy: float, goal: float) -> bool:
        return accuracy >= goal

    def next_share(self, share: float, reached: bool) -> float | None:
        if reached:
            return share
        return share / 2 if share / 2 >= LEAST_SHARE else None


POLICIES: dict[str, Policy] = {"threshold": Threshold(), "rewind": Rewind(), "feedback": Feedback()}
