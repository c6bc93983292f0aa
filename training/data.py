# SPDX-License-Identifier: GPL-3.0-or-later
"""Generated frames: each is a function of a seed and of the stream it belongs to."""

import hashlib
import math
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
# Of sums of four samples: a Hann window of 8 symbols, every 2 symbols.
_SEGMENT, _HOP = 16, 4
CHUNK = 4096  # frames made at a time: some 200 MB with all that is in between


def normalise(frames: Tensor, kind: str) -> Tensor:
    """What the model file names in ``amc.normalise``, of each of the frames (N, 2, L)."""
    if kind == "none":
        return frames
    if kind == "timed":
        return timed(frames)
    if kind == "timed_compressed":
        return compressed(timed(frames))
    if kind == "unit_power_centred":
        return normalise(centred(frames), "unit_power")
    if kind == "unit_power_timed":
        return interpolated(frames) / _root_of_power(frames)
    if kind == "unit_power":
        return frames / _root_of_power(frames)
    if kind == "unit_variance":
        around_mean = frames - frames.mean(2, keepdim=True)
        return frames / _root_of_power(around_mean)
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


def _root_of_power(frames: Tensor) -> Tensor:
    return frames.square().sum(1, keepdim=True).mean(2, keepdim=True).sqrt()


def compressed(frames: Tensor) -> Tensor:
    """Frames (N, 2, L), of whose levels, the roots of their mean powers, a fifth of what is above 2 stays.

    The twin's single sidebands are up to 23 times as loud as its other frames, and tell apart by their levels only.
    """
    level = _root_of_power(frames)
    above = (level - 2).clamp(min=0)
    return frames / (level / (level - above + above / 5))


def timed(frames: Tensor) -> Tensor:
    """Frames (N, 2, L), each moved in a circle so that symbols at 8 samples per symbol lie at the same places.

    The middle of a symbol of a linear modulation comes between the fourth and the fifth of eight samples. Where it was
    tells the product of what is at both edges of the band, +-1/16 cycles a sample, seen through Hann windows of 8
    symbols (D. Godard, "Passband timing recovery in an all-digital modem receiver", IEEE Trans. Communications 26(5),
    1978). Sums of four samples stand for these, of which 1/16 cycles is a quarter of the rate.
    """
    late = torch.floor(_late(frames) + 0.5).long() % 8
    return frames.gather(2, _circle(late, frames))


def interpolated(frames: Tensor) -> Tensor:
    """``timed`` to a fraction of a sample: cubic polynomials through four samples in turn tell what lies between.

    C. Farrow, "A continuously variable digital delay element", ISCAS 1988.
    """
    late = _late(frames)
    whole = torch.floor(late)
    part = (late - whole)[:, None, None]
    taps = (
        -part * (part - 1) * (part - 2) / 6,
        (part + 1) * (part - 1) * (part - 2) / 2,
        -(part + 1) * part * (part - 2) / 2,
        (part + 1) * part * (part - 1) / 6,
    )
    return sum(tap * frames.gather(2, _circle(whole.long() + at - 1, frames)) for at, tap in enumerate(taps))


def _circle(late: Tensor, frames: Tensor) -> Tensor:
    """Which samples are where frames (N, 2, L) are moved back by ``late`` (N,) in a circle: int64 (N, 2, L)."""
    order = (torch.arange(frames.shape[2], device=frames.device) + late[:, None]) % frames.shape[2]
    return order[:, None].expand_as(frames)


def _late(frames: Tensor) -> Tensor:
    """By how many samples the middle of a symbol is late, from 0 up to 8: (N,)."""
    length = frames.shape[2]
    signal = torch.complex(*frames.unbind(1))
    fours = signal[:, : length // 4 * 4].unflatten(1, (-1, 4)).sum(2)
    window = (torch.arange(_SEGMENT, device=frames.device) + 0.5).mul(2 * math.pi / _SEGMENT).cos().mul(-0.5).add(0.5)
    turns = torch.tensor([1, -1j, -1, 1j], device=frames.device).repeat(_SEGMENT // 4)
    segments = fours.unfold(1, _SEGMENT, _HOP)
    upper, lower = segments @ (window * turns), segments @ (window * turns.conj())
    place = 1.5 - torch.angle((upper * lower.conj()).sum(1)) * 8 / (2 * math.pi)
    return (place - 3.5) % 8


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
