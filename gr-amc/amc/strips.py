# SPDX-License-Identifier: GPL-3.0-or-later
"""What a strip of labels over time looks like, in a picture and on the screen."""

from collections.abc import Sequence

import numpy as np

from .decide import UNKNOWN

_UNKNOWN_COLOUR = "999999"
# Chosen one by one, each as far as possible in OKLab from those before, from white, dark grey and the grey of
# unknown, among colours that are neither pale nor near black: neighbours in a list of classes differ most.
_COLOURS = (
    "1e78d2", "a82a1e", "007200", "fc9cfc", "f6ba18", "3cd890", "a84ea8", "00c6fc", "fc7866", "729c0c", "9c8afc",
    "126672", "ba6c00", "725a24", "009684", "6048ae", "de72ba", "fcaeae", "bac0f6", "cc4e66", "7e4e6c", "a8b466",
    "549cd8", "de9000",
)  # fmt: skip


def label_colours(labels: Sequence[str]) -> np.ndarray:
    """RGB uint8 (labels, 3): one for each by its place, the same again beyond 24, and grey for unknown."""
    texts = [_UNKNOWN_COLOUR if label == UNKNOWN else _COLOURS[n % len(_COLOURS)] for n, label in enumerate(labels)]
    return np.array([list(bytes.fromhex(text)) for text in texts], np.uint8).reshape(-1, 3)


def is_dark(colour: np.ndarray) -> bool:
    """Whether white is the better colour of letters on the RGB uint8 ``colour`` (3,)."""
    return bool(np.dot(colour, (0.299, 0.587, 0.114)) < 0.55 * 255)


def long_runs(numbers: np.ndarray, shortest: int) -> list[tuple[int, int, int]]:
    """(number, first column, column after the last) of runs of one number, which short interruptions do not end."""
    runs: list[tuple[int, int, int]] = []
    edges = np.flatnonzero(np.diff(numbers, prepend=-2, append=-2))
    for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        number = int(numbers[begin])
        for place in reversed(range(len(runs))):
            if begin - runs[place][2] >= shortest:
                break
            if runs[place][0] == number:
                begin = runs[place][1]
                del runs[place:]
                break
        runs.append((number, begin, end))
    return runs
