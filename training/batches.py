# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run trains and decides on: batch ``n`` is a function of its configuration."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from .config import TWIN, Run, Source
from .data import VALIDATION_STREAM, every_pair, generator_of, normalise
from .dataset import open_dataset
from .errors import TrainingError
from .signals import PRESETS, SNR_LABELS, generate
from .stored import StoredFrames, stored_validation

OUTLIER = -1  # stands for a class where there is none


def _counts(sources: tuple[Source, ...], batch: int) -> list[int]:
    """How many of ``batch`` frames each source gives, by largest remainder; raises TrainingError if one gives none."""
    total = sum(source.share for source in sources)
    exact = [batch * source.share / total for source in sources]
    counts = [int(count) for count in exact]
    by_remainder = sorted(range(len(exact)), key=lambda number: counts[number] - exact[number])
    for number in by_remainder[: batch - sum(counts)]:
        counts[number] += 1
    if 0 in counts:
        source = sources[counts.index(0)]
        raise TrainingError(
            f"a batch of {batch} frames has none of the source {source.preset} with share {source.share:g}; "
            "give it a larger share, or the run a larger batch."
        )
    return counts


class Batches:
    """Training batches of one of ``count`` processes, which has ``rank`` among them and a share of each batch.

    Raises TrainingError for a dataset file that cannot be used.
    """

    def __init__(self, run: Run, device: torch.device, rank: int = 0, count: int = 1) -> None:
        if run.batch % count:
            raise TrainingError(f"a batch of {run.batch} frames cannot be shared by {count} processes alike.")
        if run.batch < 2 * count:
            raise TrainingError(
                f"a batch of {run.batch} frames gives each of {count} processes one, of which batch normalisation "
                "learns nothing; give the run a larger batch."
            )
        self._run, self._device, self._rank = run, device, rank
        self._size = run.batch // count
        self._count = count
        self._stored: dict[Source, StoredFrames] = {}
        self._dataset = open_run_dataset(run) if run.data else None

    def batch(self, sources: tuple[Source, ...], index: int) -> tuple[Tensor, Tensor]:
        """Batch ``index``: frames float32 (N, 2, 1024), as they are, and classes int64 (N,), OUTLIER for those."""
        number = index * self._count + self._rank
        generator = generator_of(self._run.seed, number, self._device)
        frames, classes = [], []
        for source, amount in zip(sources, _counts(sources, self._size), strict=True):
            if self._dataset and source.preset == TWIN:
                part, label = self._read(source, number * amount, amount)
            else:
                part, label = self._generate(source, amount, generator)
            frames.append(part)
            classes.append(torch.full_like(label, OUTLIER) if source.outliers else label)
        return torch.cat(frames), torch.cat(classes)

    def _generate(self, source: Source, amount: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        preset = PRESETS[source.preset]
        low, high = source.snr
        choices = torch.tensor(_class_numbers(source), device=self._device)
        label = choices[torch.randint(len(choices), (amount,), generator=generator, device=self._device)]
        steps = torch.randint((high - low) // 2 + 1, (amount,), generator=generator, device=self._device)
        return generate(preset, label, low + 2 * steps, generator), label

    def _read(self, source: Source, start: int, amount: int) -> tuple[Tensor, Tensor]:
        # The share of a source is no part of what it reads.
        key = replace(source, share=1.0)
        if key not in self._stored:
            labels = [label for label in SNR_LABELS if source.snr[0] <= label <= source.snr[1]]
            pairs = [(kind, label) for kind in _class_numbers(source) for label in labels]
            self._stored[key] = StoredFrames(self._dataset, pairs, self._run.seed)
        frames, classes = self._stored[key].take(start, amount)
        return torch.from_numpy(frames).to(self._device), torch.from_numpy(classes).to(self._device)


def _class_numbers(source: Source) -> list[int]:
    names = PRESETS[source.preset].classes
    return [names.index(name) for name in source.classes or names]


def open_run_dataset(run: Run):
    """The dataset file of a run; raises TrainingError for one that cannot be used or has other classes."""
    dataset = open_dataset(Path(run.data))
    if dataset.classes != run.classes:
        raise TrainingError(f"the dataset {run.data} has other classes than the run {run.name}.")
    return dataset


def validation_frames(run: Run, device: torch.device) -> tuple[Tensor, Tensor]:
    """All classes and all 26 labels of each preset in the run's sources, normalised, never seen in training."""
    frames, classes = [], []
    for name in run.presets(outliers=False):
        if run.data and name == TWIN:
            parts = [stored_validation(open_run_dataset(run), run.validation_frames_per_pair)]
        else:
            parts = every_pair(name, run.validation_frames_per_pair, run.seed, device, stream=VALIDATION_STREAM)
            parts = ((part, torch.full_like(labels, index)) for index, part, labels in parts)
        for part, label in parts:
            frames.append(part.to(device))
            classes.append(label.to(device))
    return normalise(torch.cat(frames), run.normalise), torch.cat(classes)
