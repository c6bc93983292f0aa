# SPDX-License-Identifier: GPL-3.0-or-later
"""What a signal meets between its modulator and the samples of a receiver, except for noise."""

import math

import torch
from torch import Tensor

from .draw import Draw
from .modulators import Modulated, linear
from .presets import Amplifier, Multipath, Neighbour, Preset, Selectivity
from .spectrum import frequencies, times, turned


def amplify(preset: Preset, rule: Amplifier, signal: Tensor, classes: Tensor, draw: Draw) -> Tensor:
    """``signal`` complex64 (N, samples) behind an amplifier, in the frames that have one; its power stays."""
    linear_ones = torch.tensor([name in preset.constellations for name in preset.classes], device=draw.device)[classes]
    rows = ((draw.uniform(len(signal)) < rule.share) & linear_ones).nonzero()[:, 0]
    if len(rows) == 0:
        return signal
    driven = torch.tensor([name in rule.phase_only for name in preset.classes], device=draw.device)[classes[rows]]
    back_off = draw.sample(rule.back_off_db, len(rows))
    level_db = torch.where(driven, draw.sample(rule.driven_db, len(rows)), back_off)
    twice = 2 * draw.sample(rule.sharpness, len(rows))[:, None]
    sent = signal[rows]
    power = _power(sent)
    saturation = power.sqrt() * 10 ** (level_db[:, None] / 20)
    amplified = sent * (1 + (sent.abs() / saturation) ** twice) ** (-1 / twice)
    return signal.index_copy(0, rows, amplified * (power / _power(amplified).clamp(min=1e-12)).sqrt())


def echo(rule: Multipath, signal: Tensor, draw: Draw) -> Tensor:
    """``signal`` complex64 (N, BLOCK) over several paths, in the frames that have them; its power stays."""
    rows = draw.rows(rule.share, len(signal))
    if len(rows) == 0:
        return signal
    spread = draw.sample(rule.delay_spread, len(rows))[:, None]
    first = 10 ** (draw.sample(rule.k_factor_db, len(rows)) / 20)[:, None]
    delays = spread * -torch.log(1 - draw.uniform(len(rows), rule.paths))
    # Late paths are rare, not weak: together they have the same profile.
    scattered = draw.complex_normal(len(rows), rule.paths)
    scattered = scattered / scattered.abs().square().sum(1, keepdim=True).sqrt()
    frequency = frequencies(draw.device)
    response = first.to(torch.complex64).expand(-1, signal.shape[1])
    for path in range(rule.paths):
        response = response + scattered[:, path, None] * turned(-frequency * delays[:, path, None])
    sent = signal[rows]
    received = torch.fft.ifft(torch.fft.fft(sent) * response)
    received = received * (_power(sent) / _power(received).clamp(min=1e-12)).sqrt()
    return signal.index_copy(0, rows, received)


def _power(signal: Tensor) -> Tensor:
    return signal.abs().square().mean(1, keepdim=True)


def neighbours(preset: Preset, rule: Neighbour, sent: Modulated, draw: Draw) -> tuple[Tensor, Tensor]:
    """Signals beside ``sent``, complex64 (N, BLOCK), and their powers (N,); zero where there is none."""
    count = len(sent.signal)
    signal, power = torch.zeros_like(sent.signal), torch.zeros(count, device=draw.device)
    rows = draw.rows(rule.share, count)
    if len(rows) == 0:
        return signal, power
    other = linear(preset, rule.classes, draw.index(len(rule.classes), len(rows)), draw)
    distance = (sent.bandwidth[rows] + other.bandwidth) / 2 * draw.sample(rule.spacing, len(rows))
    # Without a signal there is nothing to stand beside: noise stays noise.
    has_room = (distance + other.bandwidth / 2 <= 0.5) & (sent.bandwidth[rows] > 0)
    power[rows] = 10 ** (draw.sample(rule.level_db, len(rows)) / 10) * has_room
    side = torch.where(draw.uniform(len(rows)) < 0.5, distance, -distance)[:, None]
    cycles = side * times(draw.device) + draw.uniform(len(rows), 1)
    signal[rows] = other.signal * turned(cycles) * power[rows, None].sqrt()
    return signal, power


def oscillate(preset: Preset, signal: Tensor, offset: Tensor, draw: Draw) -> Tensor:
    """Carrier ``offset`` (N,), uniform carrier phase and phase noise, on signals complex64 (N, samples)."""
    count, length = signal.shape
    time = torch.arange(length, device=draw.device)[None]
    cycles = offset[:, None] * time + draw.uniform(count, 1)
    step = draw.sample(preset.phase_noise, count)
    if bool((step > 0).any()):
        cycles = cycles + torch.cumsum(step[:, None] / (2 * math.pi) * draw.normal(count, length), 1)
    return signal * turned(cycles)


def receive(preset: Preset, frames: Tensor, draw: Draw) -> Tensor:
    """Imbalance of the rails, constant offset, level and quantiser of a receiver: float32 (N, 2, samples).

    ``frames`` float32 (N, 2, samples) have power 1 in the ensemble.
    """
    count = len(frames)
    in_phase, quadrature = frames.unbind(1)
    ratio = 10 ** (draw.sample(preset.gain_imbalance_db, count) / 40)[:, None]
    angle = draw.sample(preset.phase_imbalance, count)[:, None]
    rails = torch.stack(
        (in_phase * ratio, (quadrature * torch.cos(angle) + in_phase * torch.sin(angle)) / ratio), dim=1
    )
    offset = torch.stack([draw.sample(preset.dc_offset, count) for _ in range(2)], dim=1)
    level = 10 ** (draw.sample(preset.level_db, count) / 20)
    rails = (rails + offset[:, :, None]) * level[:, None, None]
    if preset.quantiser_bits is None:
        return rails.contiguous()
    bits = draw.sample(preset.quantiser_bits, count)[:, None, None]
    # As cs8 is read: codes from -full to full, which mean -1 to 1.
    full = 2 ** (bits - 1) - 1
    quantised = torch.round(rails * full).clamp(-full, full) / full
    return torch.where(bits > 0, quantised, rails).contiguous()


def select(rule: Selectivity, rails: Tensor, bandwidth: Tensor, centre: Tensor, draw: Draw) -> Tensor:
    """What was received, float32 (N, 2, BLOCK), through a filter, in the frames that have one.

    ``bandwidth`` (N,) of the signals, zero where there is none, and ``centre`` (N,), where they lie.
    """
    rows = draw.rows(rule.share, len(rails))
    if len(rows) == 0:
        return rails
    own = bandwidth[rows]
    own = torch.where(own > 0, own, draw.sample(rule.noise_bandwidth, len(rows)))
    width = (own * draw.sample(rule.width, len(rows)))[:, None]
    middle = centre[rows, None] + width * draw.sample(rule.offset, len(rows))[:, None]
    edge = width * draw.sample(rule.edge, len(rows))[:, None]
    distance = (frequencies(draw.device) - middle).abs()
    passed = 0.5 * (1 + torch.cos(math.pi * ((distance - width / 2) / edge + 0.5).clamp(0, 1)))
    spectrum = torch.fft.fft(torch.complex(*rails[rows].unbind(1)))
    filtered = torch.view_as_real(torch.fft.ifft(spectrum * passed)).transpose(1, 2)
    return rails.index_copy(0, rows, filtered)
