# SPDX-License-Identifier: GPL-3.0-or-later
"""Training frames from a dataset file, in an order that mixes its pairs though it reads block by block.

A file is ordered by class, then by SNR label, so a batch read in sequence holds one pair only, and one drawn frame by
frame costs a seek for each. Here a block of consecutive frames is read of every pair, and they are shuffled together.
"""

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .dataset import Dataset, official_split
from .errors import TrainingError
from .signals import SNR_LABELS

BLOCK = 32  # frames of each pair at a time: 164 MB for all 624 pairs


class StoredFrames:
    """The training part of ``pairs`` (class, SNR label) of a dataset, over and over, each pass in another order.

    Frame ``n`` of it is a function of ``seed`` alone. Raises TrainingError for a file with no training frames.
    """

    def __init__(self, dataset: Dataset, pairs: Sequence[tuple[int, int]], seed: int) -> None:
        self._dataset, self._seed = dataset, seed
        self._pairs = [kind * len(SNR_LABELS) + SNR_LABELS.index(label) for kind, label in pairs]
        per_pair = dataset.frames_per_pair
        trained = np.zeros((len(dataset.classes) * len(SNR_LABELS), per_pair), bool)
        trained.flat[official_split(per_pair, len(trained))["train"]] = True
        self._trained = trained[self._pairs]
        edges = np.arange(0, per_pair, BLOCK)
        self._block_sizes = np.add.reduceat(self._trained.sum(axis=0), edges)
        self._total = int(self._block_sizes.sum())
        if self._total == 0:
            raise TrainingError(
                f"the dataset {dataset.path} has too few frames for a training part; give a larger one."
            )
        self._order_of: tuple[int, np.ndarray, list[int]] | None = None
        self._held: tuple[tuple[int, int], tuple[np.ndarray, np.ndarray]] | None = None

    def take(self, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Frames ``start`` to ``start + count``: float32 (count, 2, 1024), classes int64 (count,)."""
        frames, classes = [], []
        while count:
            turn, within = divmod(start, self._total)
            order, ends = self._order(turn)
            place = bisect_right(ends, within)
            offset = within - (ends[place - 1] if place else 0)
            part, label = self._block(turn, int(order[place]))
            part, label = part[offset : offset + count], label[offset : offset + count]
            frames.append(part)
            classes.append(label)
            start += len(label)
            count -= len(label)
        return np.concatenate(frames), np.concatenate(classes)

    def _order(self, turn: int) -> tuple[np.ndarray, list[int]]:
        """The blocks in the order of pass ``turn``, and how many frames there are up to the end of each."""
        if self._order_of is None or self._order_of[0] != turn:
            order = np.random.default_rng([self._seed, turn]).permutation(len(self._block_sizes))
            self._order_of = turn, order, np.cumsum(self._block_sizes[order]).tolist()
        return self._order_of[1:]

    def _block(self, turn: int, block: int) -> tuple[np.ndarray, np.ndarray]:
        if self._held is None or self._held[0] != (turn, block):
            begin = block * BLOCK
            keep = self._trained[:, begin : begin + BLOCK]
            frames = np.concatenate(
                [part[rows] for part, rows in zip(self._dataset.blocks(self._pairs, begin, BLOCK), keep, strict=True)]
            )
            kinds = np.array(self._pairs) // len(SNR_LABELS)
            classes = np.repeat(kinds, keep.sum(axis=1))
            mixed = np.random.default_rng([self._seed, turn, block]).permutation(len(classes))
            self._held = (turn, block), (frames[mixed], classes[mixed])
        return self._held[1]


def stored_validation(dataset: Dataset, frames_per_pair: int) -> tuple[Tensor, Tensor]:
    """The first frames of each pair's validation part: float32 (N, 2, 1024), classes int64 (N,).

    Raises TrainingError where the dataset has fewer.
    """
    pairs = len(dataset.classes) * len(SNR_LABELS)
    rows = official_split(dataset.frames_per_pair, pairs)["validation"].reshape(pairs, -1)
    if rows.shape[1] < frames_per_pair:
        raise TrainingError(
            f"the dataset {dataset.path} has {rows.shape[1]} validation frames for each pair, and "
            f"validation_frames_per_pair is {frames_per_pair}; lower it, or give a larger dataset."
        )
    rows = rows[:, :frames_per_pair]
    frames = torch.from_numpy(dataset.rows(rows.ravel()))
    return frames, torch.arange(len(dataset.classes)).repeat_interleave(len(SNR_LABELS) * frames_per_pair)
