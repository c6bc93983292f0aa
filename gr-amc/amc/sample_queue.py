# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples that wait, in the pieces in which they came."""

from collections import deque

import numpy as np


class SampleQueue:
    """First in, first out; its length is the number of samples. Whoever shares it holds a lock."""

    def __init__(self) -> None:
        self._parts: deque[np.ndarray] = deque()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, samples: np.ndarray) -> None:
        """Adds complex64 samples (n,), which are not copied."""
        if len(samples):
            self._parts.append(samples)
            self._count += len(samples)

    def take(self, out: np.ndarray) -> int:
        """Moves what fits into ``out`` complex64 (n,); returns how many samples that were."""
        filled = 0
        while self._parts and filled < len(out):
            part = self._parts.popleft()
            fits = min(len(part), len(out) - filled)
            out[filled : filled + fits] = part[:fits]
            if fits < len(part):
                self._parts.appendleft(part[fits:])
            filled += fits
        self._count -= filled
        return filled
