# SPDX-License-Identifier: GPL-3.0-or-later
"""Generated frames: each is a function of a seed and of the stream it belongs to."""

import hashlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from .config import NORMALISATIONS, check_seed
from .errors import TrainingError
from .signals import PRESETS, SNR_LABELS, generate

# Batches count from 0; what a decision is taken on and what is fresh must never be the same frames.
VALIDATION_STREAM = 1 << 40
FRESH_STREAM = 1 << 41
MOST_FRAMES_PER_PAIR = 1 << 20
# Of sums of four samples: a Hann window of 8 symbols, every 2 symbols.
_SEGMENT, _HOP = 16, 4
# Half of a filter that is even about the middle of a symbol, from its edge on: it makes the least error of symbols
# whose pulse is a root-raised cosine three times, roll-off 0.41, where samples have a signal-to-noise ratio of 8 dB.
_HALF_FILTER = (0.30, 0.03, -0.18, -0.30, -0.31, -0.22, -0.04, 0.20, 0.46, 0.71, 0.90, 1.00)
# A power's line stands out if it is above so many times the mean of noise, of which it is distributed exponentially.
_ORDERS = {4: 6, 8: 8, 12: 8, 16: 8}
# The standard deviation of offsets, in cycles a sample, and how many of it are searched, every so many cycles a frame.
_OFFSET, _REACH, _SPACING = 3.3e-5, 3, 0.25
_SUMMED = 16  # symbols; within them no power turns by more than a fifth of a circle
CHUNK = 4096  # frames made at a time: some 200 MB with all that is in between


def normalise(frames: Tensor, kind: str) -> Tensor:
    """What the model file names in ``amc.normalise``, of each of the frames (N, 2, L)."""
    if kind == "none":
        return frames
    if kind == "timed":
        return timed(frames)
    if kind == "timed_compressed":
        return compressed(timed(frames))
    if kind == "timed_turned":
        return compressed(turned(timed(frames)))
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


def turned(frames: Tensor) -> Tensor:
    """Frames (N, 2, L), timed, each turned back by the carrier phase and offset that a power of its symbols shows.

    The power of order M has a line in its spectrum where symbols lie at multiples of a part 1/M of the circle, at M
    times the offset and with M times the phase (A. Viterbi, A. Viterbi, "Nonlinear estimation of PSK-modulated carrier
    phase", IEEE Trans. Information Theory 29(4), 1983). The first of the orders 4, 8, 12 and 16 counts whose line
    stands out of noise, and 4 where none does: quadrature amplitudes have one that often does not. So constellations
    stand the same way in all frames, up to turns by that part of the circle. Offsets are taken for normally
    distributed, as those of RadioML 2018.01A are.
    """
    length = frames.shape[2]
    covered = length - length % (8 * _SUMMED)
    powers = _powers(_symbols(frames[:, :, :covered]))
    phase, step, stands_out = _strongest_line(powers[4], 4, covered)
    found = stands_out > _ORDERS[4]
    for order in (8, 12, 16):
        other_phase, other_step, stands_out = _strongest_line(powers[order], order, covered)
        better = ~found & (stands_out > _ORDERS[order])
        phase, step = torch.where(better, other_phase, phase), torch.where(better, other_step, step)
        found |= better
    times = torch.arange(length, device=frames.device) - (covered - 1) / 2
    angles = phase[:, None] + step[:, None] * times
    signal = torch.complex(*frames.unbind(1)) * torch.polar(torch.ones_like(angles), -angles)
    return torch.view_as_real(signal).transpose(1, 2).contiguous()


def _symbols(frames: Tensor) -> Tensor:
    """One value a symbol of timed frames (N, 2, L), of which the largest rail is 1: complex64 (N, L / 8)."""
    half = torch.tensor(_HALF_FILTER, device=frames.device)
    # Complex, since automatic mixed precision would round real ones.
    taps = torch.cat((half, half.flip(0))).to(torch.complex64)
    symbols = nn.functional.pad(torch.complex(*frames.unbind(1)), (8, 8)).unfold(1, 24, 8) @ taps
    rails = torch.view_as_real(symbols)
    return torch.view_as_complex(rails / rails.abs().amax((1, 2), keepdim=True))


def _powers(symbols: Tensor) -> dict[int, Tensor]:
    """By order, of symbols complex64 (N, symbols).

    The fourth as it is, in which the corners of quadrature amplitudes weigh most, the others with the magnitude of the
    symbol, so that those which noise turns most weigh least.
    """
    magnitude = symbols.abs()
    fourth = symbols.square().square()
    unit = fourth / magnitude.square().square().clamp(min=1e-24)
    eighth = unit.square()
    return {4: fourth, 8: magnitude * eighth, 12: magnitude * eighth * unit, 16: magnitude * eighth.square()}


def _strongest_line(power: Tensor, order: int, samples: int) -> tuple[Tensor, Tensor, Tensor]:
    """What the most likely line of powers of symbols (N, samples / 8) says of the carrier, float32 (N,) each.

    Its phase in the middle of the samples, its step from one to the next, in radians, and how strong the line is, in
    means of noise, less what such an offset is unusual.
    """
    sums = power.unflatten(1, (-1, _SUMMED)).sum(2)
    count = sums.shape[1]
    deviation = _OFFSET * samples * order  # of the line, in cycles a frame
    reach = math.ceil(_REACH * deviation / _SPACING)
    frequencies = torch.arange(-reach, reach + 1, device=power.device) * _SPACING
    times = (torch.arange(count, device=power.device) + 0.5) / count - 0.5
    turns = 2 * math.pi * times[:, None] * frequencies
    lines = sums @ torch.polar(torch.ones_like(turns), -turns)
    energy = power.abs().square().sum(1, keepdim=True)
    likelihood = lines.abs().square() / energy - (frequencies / deviation).square() / 2
    peak = likelihood[:, 1:-1].argmax(1, keepdim=True) + 1
    # The parabola through the largest and its neighbours.
    before, largest, after = (likelihood.gather(1, peak + beside)[:, 0] for beside in (-1, 0, 1))
    curvature = before - 2 * largest + after
    beside = torch.where(curvature < 0, ((before - after) / (2 * curvature)).clamp(-0.5, 0.5), 0)
    step = (frequencies[peak[:, 0]] + beside * _SPACING) * (2 * math.pi / (order * samples))
    return lines.gather(1, peak)[:, 0].angle() / order, step, largest


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
