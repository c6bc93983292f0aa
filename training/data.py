# SPDX-License-Identifier: GPL-3.0-or-later
"""Training and validation frames, generated on the fly: batch ``n`` of a run is a function of its seed."""

from collections.abc import Iterator

import torch
from torch import Tensor

from .config import NORMALISATIONS, Run, Source
from .errors import TrainingError
from .signals import PRESETS, SNR_LABELS, generate

_VALIDATION_STREAM = 1 << 40
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
    # Neighbouring seeds give related first numbers in some generators, so mix before seeding.
    mixed = (seed * 0x9E3779B97F4A7C15 + stream * 0xBF58476D1CE4E5B9) % 2**63
    return torch.Generator(device).manual_seed(mixed)


def _counts(sources: tuple[Source, ...], batch: int) -> list[int]:
    total = sum(source.share for source in sources)
    counts = [round(batch * source.share / total) for source in sources]
    counts[0] += batch - sum(counts)
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


def every_pair(
    preset_name: str, frames_per_pair: int, seed: int, device: torch.device, chunk: int = CHUNK
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yields (class, frames (n, 2, 1024), SNR labels (n,)), n up to ``chunk``: by class, then by label."""
    preset = PRESETS[preset_name]
    labels = torch.tensor(SNR_LABELS, device=device).repeat_interleave(frames_per_pair)
    for index in range(len(preset.classes)):
        generator = _generator(seed, _VALIDATION_STREAM + index, device)
        for part in labels.split(chunk):
            yield index, generate(preset, torch.full_like(part, index), part, generator), part


def validation_frames(run: Run, device: torch.device) -> tuple[Tensor, Tensor]:
    """All classes and all 26 labels of each preset in the run's sources, never seen in training."""
    frames, classes = [], []
    for name in sorted({source.preset for source in run.sources}):
        for index, part, labels in every_pair(name, run.validation_frames_per_pair, run.seed, device):
            frames.append(part)
            classes.append(torch.full_like(labels, index))
    return normalise(torch.cat(frames), run.normalise), torch.cat(classes)
