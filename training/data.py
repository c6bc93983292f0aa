# SPDX-License-Identifier: GPL-3.0-or-later
"""Training and validation frames, generated on the fly: batch ``n`` of a run is a function of its seed."""

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor

from .config import NORMALISATIONS, Run, Source
from .errors import TrainingError
from .signals import PRESETS, SNR_LABELS, generate

# Batches count from 0; what a decision is taken on and what is fresh must never be the same frames.
_VALIDATION_STREAM = 1 << 40
_FRESH_STREAM = 1 << 41
MOST_FRAMES_PER_PAIR = 1 << 20
CHUNK = 4096  # frames made at a time: some 200 MB with all that is in between


def normalise(frames: Tensor, kind: str) -> Tensor:
    """The per-frame scaling that the model file names in ``amc.normalise``; frames (N, 2, L)."""
    if kind == "none":
        return frames
    if kind == "unit_power":
        return frames / frames.square().sum(1, keepdim=True).mean(2, keepdim=True).sqrt()
    if kind == "unit_variance":
        centred = frames - frames.mean(2, keepdim=True)
        return frames / centred.square().sum(1, keepdim=True).mean(2, keepdim=True).sqrt()
    raise TrainingError(f"normalise '{kind}' is unknown; choose one of {', '.join(NORMALISATIONS)}.")


def _generator(seed: int, stream: int, device: torch.device) -> torch.Generator:
    # torch's generator on a CPU looks at 32 bits of its seed only, so all bits of both must reach them.
    digest = hashlib.sha256(f"{seed} {stream}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)


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


def training_batch(run: Run, sources: tuple[Source, ...], index: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Batch number ``index`` of the run: frames float32 (N, 2, 1024), normalised, and classes int64 (N,)."""
    generator = _generator(run.seed, index, device)
    frames, classes = [], []
    for source, count in zip(sources, _counts(sources, run.batch), strict=True):
        preset = PRESETS[source.preset]
        low, high = source.snr
        names = source.classes or preset.classes
        choices = torch.tensor([preset.classes.index(name) for name in names], device=device)
        label = choices[torch.randint(len(choices), (count,), generator=generator, device=device)]
        steps = torch.randint((high - low) // 2 + 1, (count,), generator=generator, device=device)
        frames.append(generate(preset, label, low + 2 * steps, generator))
        classes.append(label)
    return normalise(torch.cat(frames), run.normalise), torch.cat(classes)


def check_amount(frames_per_pair: int, seed: int) -> None:
    """Raises TrainingError for numbers that no dataset can have."""
    if not 1 <= frames_per_pair <= MOST_FRAMES_PER_PAIR:
        raise TrainingError(
            f"frames per pair is {frames_per_pair}; it must be at least 1, at most {MOST_FRAMES_PER_PAIR}."
        )
    if not 0 <= seed < 1 << 63:
        raise TrainingError(f"the seed is {seed}; it must be a whole number from 0 to 2^63 - 1.")


def every_pair(
    preset_name: str,
    frames_per_pair: int,
    seed: int,
    device: torch.device,
    chunk: int = CHUNK,
    stream: int = _FRESH_STREAM,
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yields (class, frames (n, 2, 1024), SNR labels (n,)), n up to ``chunk``, by class, then by label.

    In the default ``stream`` they are frames that no run, whatever its seed, trains or decides on.
    """
    preset = PRESETS[preset_name]
    labels = torch.tensor(SNR_LABELS, device=device).repeat_interleave(frames_per_pair)
    for index in range(len(preset.classes)):
        generator = _generator(seed, stream + index, device)
        for part in labels.split(chunk):
            yield index, generate(preset, torch.full_like(part, index), part, generator), part


def validation_frames(run: Run, device: torch.device) -> tuple[Tensor, Tensor]:
    """All classes and all 26 labels of each preset in the run's sources, never seen in training."""
    frames, classes = [], []
    for name in sorted({source.preset for source in run.sources}):
        for index, part, labels in every_pair(
            name, run.validation_frames_per_pair, run.seed, device, stream=_VALIDATION_STREAM
        ):
            frames.append(part)
            classes.append(torch.full_like(labels, index))
    return normalise(torch.cat(frames), run.normalise), torch.cat(classes)
