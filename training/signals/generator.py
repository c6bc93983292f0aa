# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames of modulated signals in noise, a whole batch at a time, on any torch device."""

from collections.abc import Iterator

import torch
from torch import Tensor

from .channel import amplify, echo, neighbours, oscillate, receive, select
from .draw import Draw
from .modulators import Modulated, linear, unconstellated
from .presets import Preset
from .spectrum import BLOCK, FRAME, GUARD

SNR_LABELS = tuple(range(-20, 31, 2))


def generate(preset: Preset, classes: Tensor, snr_labels: Tensor, generator: torch.Generator) -> Tensor:
    """Frames of the given classes and signal-to-noise labels.

    Parameters: ``classes`` int64 (N,), indices into ``preset.classes``; ``snr_labels`` (N,), in dB as
    the preset counts them (``snr_db_per_label``); ``generator`` fixes the random numbers and the
    device. Returns float32 (N, 2, 1024): in-phase and quadrature, scaled so that the ensemble's
    variance (or power, see the preset) of signal and noise together is 1, times the preset's level;
    noise and level do not depend on what a frame happens to hold.
    """
    draw = Draw(generator)
    sent = _modulate(preset, classes.to(draw.device), draw)
    signal = sent.signal
    if preset.amplifier:
        signal = amplify(preset, preset.amplifier, signal, classes.to(draw.device), draw)
    others = torch.zeros(len(signal), device=draw.device)
    if preset.multipath:
        signal = echo(preset.multipath, signal, draw)
    if preset.neighbour:
        beside, others = neighbours(preset, preset.neighbour, sent, draw)
        signal = signal + beside
    if not preset.selectivity:  # whose filter needs what lies around the frame
        signal = signal[:, GUARD : GUARD + FRAME]
    carrier_offset = draw.sample(preset.carrier_offset, len(signal))
    signal = oscillate(preset, signal, carrier_offset, draw)

    noise_power = 10 ** (-preset.snr_db_per_label * snr_labels.to(draw.device, torch.float32) / 10)
    signal = signal + draw.complex_normal(*signal.shape) * noise_power.sqrt()[:, None]
    if preset.limiter:
        signal = amplify(preset, preset.limiter, signal, classes.to(draw.device), draw)
    scale = sent.variance + others + noise_power
    if preset.mean_in_divisor:
        scale = scale + sent.mean_power
    rails = torch.view_as_real(signal / scale.sqrt()[:, None]).transpose(1, 2)
    received = receive(preset, rails, draw)
    if not preset.selectivity:
        return received
    chosen = select(preset.selectivity, received, sent.bandwidth, carrier_offset, draw)
    return chosen[:, :, GUARD : GUARD + FRAME].contiguous()


def _modulate(preset: Preset, classes: Tensor, draw: Draw) -> Modulated:
    count = len(classes)
    whole = Modulated(
        torch.zeros(count, BLOCK, dtype=torch.complex64, device=draw.device),
        *(torch.zeros(count, device=draw.device) for _ in range(3)),
    )
    for rows, part in _parts(preset, classes, draw):
        for target, values in zip(whole, part, strict=True):
            target[rows] = values
    return whole


def _parts(preset: Preset, classes: Tensor, draw: Draw) -> Iterator[tuple[Tensor, Modulated]]:
    """Row numbers and signals: those with a constellation together, then one class after the other."""
    names = tuple(name for name in preset.classes if name not in preset.modulations)
    places = torch.tensor([names.index(name) if name in names else -1 for name in preset.classes], device=draw.device)[
        classes
    ]
    rows = (places >= 0).nonzero()[:, 0]
    if len(rows):
        yield rows, linear(preset, names, places[rows], draw)
    for name, rule in preset.modulations.items():
        rows = (classes == preset.classes.index(name)).nonzero()[:, 0]
        if len(rows):
            yield rows, unconstellated(preset, rule, len(rows), draw)
