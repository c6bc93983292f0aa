# SPDX-License-Identifier: GPL-3.0-or-later
"""Generated frames: each is a function of a seed and of the stream it belongs to."""

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor

from .config import NORMALISATIONS, check_seed
from .errors import TrainingError
from .signals import PRESETS, SNR_LABELS, generate

# Batches count from 0; what a decision is taken on and what is fresh must never be the same frames.
VALIDATION_STREAM = 1 << 40
FRESH_STREAM = 1 << 41
MOST_FRAMES_PER_PAIR = 1 << 20
CHUNK = 4096  # frames made at a time: some 200 MB with all that is in between


def normalise(frames: Tensor, kind: str) -> Tensor:
    """What the model file names in ``amc.normalise``, of each of the frames (N, 2, L)."""
    if kind == "none":
        return frames
    if kind == "unit_power_centred":
        return normalise(centred(frames), "unit_power")
    if kind == "unit_power":
        return frames / frames.square().sum(1, keepdim=True).mean(2, keepdim=True).sqrt()
    if kind == "unit_variance":
        around_mean = frames - frames.mean(2, keepdim=True)
        return frames / around_mean.square().sum(1, keepdim=True).mean(2, keepdim=True).sqrt()
    raise TrainingError(f"normalise '{kind}' is unknown; choose one of {', '.join(NORMALISATIONS)}.")


def centred(frames: Tensor) -> Tensor:
    """Frames (N, 2, L), each turned back by its own centre of gravity in frequency.

    That is the phase of the autocorrelation at a lag of one sample, the pulse-pair estimate (K. Miller, M. Rochwarger,
    "A covariance approach to spectral moment estimation", IEEE Trans. Information Theory 1972).
    """
    signal = torch.complex(*frames.unbind(1))
    step = torch.angle((signal[:, 1:] * signal[:, :-1].conj()).sum(1))
    turns = torch.arange(frames.shape[2], device=frames.device) * step[:, None]
    turned_back = signal * torch.polar(torch.ones_like(turns), -turns)
    return torch.view_as_real(turned_back).transpose(1, 2).contiguous()


def generator_of(seed: int, stream: int, device: torch.device) -> torch.Generator:
    """The random numbers of one ``stream``, a batch or a class, of a run or a dataset with this ``seed``."""
    # torch's generator on a CPU looks at 32 bits of its seed only, so all bits of both must reach them.
    digest = hashlib.sha256(f"{seed} {stream}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def check_amount(frames_per_pair: int, seed: int) -> None:
    """Raises TrainingError for numbers that no dataset can have."""
    if not 1 <= frames_per_pair <= MOST_FRAMES_PER_PAIR:
        raise TrainingError(
            f"frames per pair is {frames_per_pair}; it must be at least 1, at most {MOST_FRAMES_PER_PAIR}."
        )
    check_seed(seed)


def every_pair(
    preset_name: str,
    frames_per_pair: int,
    seed: int,
    device: torch.device,
    chunk: int = CHUNK,
    stream: int = FRESH_STREAM,
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yields (class, frames (n, 2, 1024), SNR labels (n,)), n up to ``chunk``, by class, then by label.

    In the default ``stream`` they are frames that no run, whatever its seed, trains or decides on.
    """
    preset = PRESETS[preset_name]
    labels = torch.tensor(SNR_LABELS, device=device).repeat_interleave(frames_per_pair)
    for index in range(len(preset.classes)):
        generator = generator_of(seed, stream + index, device)
        for part in labels.split(chunk):
            yield index, generate(preset, torch.full_like(part, index), part, generator), part
