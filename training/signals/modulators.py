# SPDX-License-Identifier: GPL-3.0-or-later
"""Modulated signals without noise, a whole batch at a time."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .draw import Draw
from .presets import (
    Amplitude,
    BandNoise,
    Carriers,
    Chirp,
    Frequency,
    FrequencyShift,
    Message,
    MinimumShift,
    Modulation,
    Multicarrier,
    Preset,
    Silence,
    Tone,
    Voice,
)
from .spectrum import BLOCK, GUARD, chirp_z, frequencies, impulse_spectrum, raised_cosine, times, turned


class Modulated(NamedTuple):
    """Signals complex64 (N, BLOCK); ensemble variance and power of the mean, together 1, and bandwidth, (N,) each."""

    signal: Tensor
    variance: Tensor
    mean_power: Tensor
    bandwidth: Tensor


def _without_mean(signal: Tensor, bandwidth: Tensor) -> Modulated:
    return Modulated(signal, torch.ones_like(bandwidth), torch.zeros_like(bandwidth), bandwidth)


# --- digital --------------------------------------------------------------------------------------


def linear(preset: Preset, names: tuple[str, ...], which: Tensor, draw: Draw) -> Modulated:
    """Random symbols of the constellations ``names[which]``, ``which`` int64 (N,), through the preset's pulse."""
    count = len(which)
    tables = _Tables(preset, names, draw.device)
    spacing = _samples_per_symbol(preset, count, draw)
    places = _places(spacing)
    orders = tables.orders[which]
    index = (draw.uniform(count, places) * orders[:, None]).long()
    symbols = tables.points.flatten()[which[:, None] * tables.points.shape[1] + index]

    frequency = frequencies(draw.device)
    spectrum = impulse_spectrum(symbols, spacing)
    staggered = tables.staggered[which].nonzero()[:, 0]
    if len(staggered):
        half_symbol = turned(-0.5 * frequency * spacing[staggered, None])
        spectrum[staggered] = _delayed_quadrature(spectrum[staggered], half_symbol)
    roll_off = draw.sample(preset.roll_off, count)
    exponent = draw.sample(preset.pulse_exponents, count)[:, None]
    places = frequency * spacing[:, None]
    response = raised_cosine(places, roll_off[:, None]) ** exponent
    bandwidth = (1 + roll_off) / spacing
    if preset.rectangular_share:
        rectangular = draw.uniform(count) < preset.rectangular_share
        response = torch.where(rectangular[:, None], torch.sinc(places), response)
        bandwidth = torch.where(rectangular, 2 / spacing, bandwidth)
    response = spacing[:, None] * response
    signal = torch.fft.ifft(spectrum * response * _shift(frequency, _delay(preset, spacing, draw)))

    # Ensemble moments: independent symbols every so many samples through the pulse.
    variance = tables.variances[which] * (response**2).mean(1) / spacing
    mean_power = tables.means[which].abs() ** 2
    power = variance + mean_power
    return Modulated(signal / power.sqrt()[:, None], variance / power, mean_power / power, bandwidth)


class _Tables:
    """Constellations as tensors: points (classes, largest order), and order, mean and variance of each."""

    def __init__(self, preset: Preset, names: tuple[str, ...], device: torch.device) -> None:
        points = [preset.constellations[name].to(torch.complex64) for name in names]
        self.orders = torch.tensor([len(row) for row in points], device=device)
        self.points = torch.nn.utils.rnn.pad_sequence(points, batch_first=True).to(device)
        means = [row.mean() for row in points]
        self.means = torch.stack(means).to(device)
        variances = [((row - mean).abs() ** 2).mean() for row, mean in zip(points, means, strict=True)]
        self.variances = torch.stack(variances).to(device)
        self.staggered = torch.tensor([name == "OQPSK" for name in names], device=device)


def _samples_per_symbol(preset: Preset, count: int, draw: Draw) -> Tensor:
    return draw.sample(preset.samples_per_symbol, count) * (1 + draw.sample(preset.clock_error, count))


def _places(spacing: Tensor) -> int:
    """Symbols that a block has room for at the smallest spacing."""
    return math.ceil(BLOCK / float(spacing.min()))


def _delay(preset: Preset, spacing: Tensor, draw: Draw) -> Tensor:
    delay = draw.uniform(len(spacing)) * spacing
    if preset.delay_grid:
        delay = (torch.floor(delay / preset.delay_grid) + 0.5) * preset.delay_grid
    return delay


def _shift(frequency: Tensor, delay: Tensor) -> Tensor:
    return turned(-frequency * delay[:, None])


def _delayed_quadrature(spectrum: Tensor, factor: Tensor) -> Tensor:
    """Spectrum of symbols whose imaginary part alone is delayed, by what ``factor`` says."""
    mirrored = torch.roll(spectrum.flip(1), 1, dims=1).conj()
    return 0.5 * (spectrum + mirrored) + 0.5 * (spectrum - mirrored) * factor


def minimum_shift(preset: Preset, rule: MinimumShift, count: int, draw: Draw) -> Modulated:
    """GMSK: Gaussian-filtered rectangular frequency pulses (K. Murota, K. Hirade, IEEE Trans. Comm. 1981)."""
    spacing = _samples_per_symbol(preset, count, draw)
    bits = (draw.uniform(count, _places(spacing)) < 0.5).float() * 2 - 1
    frequency = frequencies(draw.device)
    bandwidth = draw.sample(rule.bandwidth_time, count) / spacing
    gaussian = torch.exp(-math.log(2) / 2 * (frequency / bandwidth[:, None]) ** 2)
    rectangle = spacing[:, None] * torch.sinc(frequency * spacing[:, None])
    spectrum = impulse_spectrum(bits.to(torch.complex64), spacing)
    pulses = torch.fft.ifft(spectrum * gaussian * rectangle * _shift(frequency, _delay(preset, spacing, draw))).real
    index = draw.sample(rule.index, count)
    # The phase need not close over the block: its seam lies outside of the frame.
    signal = turned((0.5 * index / spacing)[:, None] * torch.cumsum(pulses, 1))
    # 99 % of the power of minimum shift keying lies within 1.2 symbol rates.
    return _without_mean(signal, 1.2 / spacing)


# --- messages -------------------------------------------------------------------------------------


def _messages(laws: tuple[Message, ...], count: int, analytic: bool, draw: Draw) -> tuple[Tensor, Tensor]:
    """Messages of unit power, complex64 (count, BLOCK), and their highest frequencies (count,).

    Real, or with positive frequencies only if ``analytic``. Each row has one of ``laws``, all alike.
    """
    makers = {Tone: _tone, BandNoise: _band_noise, Voice: _voice}
    chosen = draw.index(len(laws), count) if len(laws) > 1 else torch.zeros(count, dtype=torch.long, device=draw.device)
    signal = torch.empty(count, BLOCK, dtype=torch.complex64, device=draw.device)
    highest = torch.empty(count, device=draw.device)
    for number, law in enumerate(laws):
        rows = (chosen == number).nonzero()[:, 0]
        if len(rows):
            signal[rows], highest[rows] = makers[type(law)](law, len(rows), analytic, draw)
    return signal, highest


def _tone(law: Tone, count: int, analytic: bool, draw: Draw) -> tuple[Tensor, Tensor]:
    frequency = draw.sample(law.frequency, count)
    cycles = frequency[:, None] * times(draw.device) + draw.uniform(count, 1)
    if analytic:
        return turned(cycles), frequency
    return math.sqrt(2) * torch.cos(2 * math.pi * cycles).to(torch.complex64), frequency


def _band_noise(law: BandNoise, count: int, analytic: bool, draw: Draw) -> tuple[Tensor, Tensor]:
    highest = draw.sample(law.high, count)
    frequency = frequencies(draw.device)
    band = (frequency >= law.low) & (frequency <= highest[:, None])
    return _unit_power(torch.fft.ifft(draw.complex_normal(count, BLOCK) * band), analytic), highest


def _voice(law: Voice, count: int, analytic: bool, draw: Draw) -> tuple[Tensor, Tensor]:
    highest = draw.sample(law.high, count)
    hertz = highest[:, None] / 3400.0
    centres = [draw.sample(formant, count)[:, None] for formant in law.formants_hz]

    def gain(frequency_hz: Tensor) -> Tensor:
        resonances = [
            weight / (1 + ((frequency_hz - centre) / law.formant_bandwidth_hz) ** 2)
            for weight, centre in zip(law.formant_gains, centres, strict=True)
        ]
        return sum(resonances) * ((frequency_hz >= 300.0) & (frequency_hz <= 3400.0))

    pitch = draw.sample(law.pitch_hz, count)[:, None]
    numbers = torch.arange(int(3400.0 / law.pitch_hz.low) + 1, device=draw.device)[None]
    harmonics = torch.polar(gain(numbers * pitch), 2 * math.pi * draw.uniform(count, numbers.shape[1]))
    voiced = chirp_z(harmonics, -(pitch * hertz).double()[:, 0], -GUARD, BLOCK)
    hiss = torch.fft.ifft(draw.complex_normal(count, BLOCK) * gain(frequencies(draw.device) / hertz))
    signal = torch.where(draw.uniform(count, 1) < law.unvoiced, hiss, voiced)
    return _unit_power(signal, analytic), highest


def _unit_power(signal: Tensor, analytic: bool) -> Tensor:
    if not analytic:
        signal = signal.real.to(torch.complex64)
    return signal / signal.abs().square().mean(1, keepdim=True).sqrt().clamp(min=1e-12)


# --- analog ---------------------------------------------------------------------------------------


def amplitude(preset: Preset, rule: Amplitude, count: int, draw: Draw) -> Modulated:
    depth = 1 / draw.sample(rule.ratio, count)
    message, highest = _messages(rule.messages, count, rule.single_sideband, draw)
    power = rule.carrier_level**2 + depth**2
    signal = (rule.carrier_level + depth[:, None] * message) / power.sqrt()[:, None]
    if rule.is_centred:
        return _without_mean(
            _either_sideband(signal * turned(-0.5 * highest[:, None] * times(draw.device)), draw), highest
        )
    if rule.single_sideband:
        signal = _either_sideband(signal, draw)
    if rule.real_carrier is None:
        return Modulated(signal, depth**2 / power, rule.carrier_level**2 / power, 2 * highest)
    steps = torch.tensor(rule.carrier_steps, device=draw.device)[draw.index(len(rule.carrier_steps), count)]
    carrier = math.sqrt(2) * torch.cos(2 * math.pi * rule.real_carrier * (times(draw.device) + steps[:, None]))
    return _without_mean(signal * carrier, 2 * (rule.real_carrier + highest))


def _either_sideband(signal: Tensor, draw: Draw) -> Tensor:
    return torch.where(draw.uniform(len(signal), 1) < 0.5, signal, signal.conj())


def frequency(preset: Preset, rule: Frequency, count: int, draw: Draw) -> Modulated:
    message, highest = _messages(rule.messages, count, False, draw)
    deviation = draw.sample(rule.deviation, count)
    instantaneous = rule.centre + deviation[:, None] * message.real
    signal = turned(torch.cumsum(instantaneous, 1))
    # J. Carson's rule, for a peak of twice the rms deviation.
    return _without_mean(signal, 2 * (2 * deviation + highest))


def silence(preset: Preset, rule: Silence, count: int, draw: Draw) -> Modulated:
    nothing = torch.zeros(count, device=draw.device)
    return Modulated(torch.zeros(count, BLOCK, dtype=torch.complex64, device=draw.device), nothing, nothing, nothing)


# --- none of the classes --------------------------------------------------------------------------


def multicarrier(preset: Preset, rule: Multicarrier, count: int, draw: Draw) -> Modulated:
    signal = torch.empty(count, BLOCK, dtype=torch.complex64, device=draw.device)
    sizes, occupied = draw.sample(rule.carriers, count), draw.sample(rule.occupied, count)
    prefixes = draw.sample(rule.prefix, count)
    tables = _Tables(preset, rule.constellations, draw.device)
    which = draw.index(len(rule.constellations), count)
    for size in sorted(set(rule.carriers.values)):
        for prefix in sorted(set(rule.prefix.values)):
            rows = ((sizes == size) & (prefixes == prefix)).nonzero()[:, 0]
            if len(rows):
                signal[rows] = _multicarrier(int(size), int(size * prefix), occupied[rows], tables, which[rows], draw)
    return _without_mean(_unit_power(signal, True), occupied)


def _multicarrier(size: int, prefix: int, occupied: Tensor, tables: _Tables, which: Tensor, draw: Draw) -> Tensor:
    """Symbols of ``size`` carriers each, from anywhere in the first one on."""
    rows, length = len(which), size + prefix
    symbols = BLOCK // length + 2
    index = (draw.uniform(rows, symbols * size) * tables.orders[which, None]).long()
    points = tables.points[which[:, None], index].reshape(rows, symbols, size)
    used = torch.fft.fftfreq(size, device=draw.device).abs() <= occupied[:, None] / 2
    used[:, 0] = False  # as in every standard, where a receiver's own offset lies
    bodies = torch.fft.ifft(points * used[:, None])
    whole = torch.cat([bodies[..., size - prefix :], bodies], dim=2).reshape(rows, symbols * length)
    begin = draw.index(length, rows)[:, None] + torch.arange(BLOCK, device=draw.device)
    return whole.gather(1, begin)


def chirp(preset: Preset, rule: Chirp, count: int, draw: Draw) -> Modulated:
    bandwidth = draw.sample(rule.bandwidth, count)
    sweep = (times(draw.device) + GUARD) / draw.sample(rule.period, count)[:, None] + draw.uniform(count, 1)
    jumps = draw.uniform(count, int(sweep.max()) + 1) * (draw.uniform(count, 1) < rule.jumping)
    place = (sweep + jumps.gather(1, sweep.long())) % 1.0
    direction = torch.where(draw.uniform(count) < 0.5, 1.0, -1.0)
    signal = turned(torch.cumsum((direction * bandwidth)[:, None] * (place - 0.5), 1))
    return _without_mean(signal, bandwidth)


def frequency_shift(preset: Preset, rule: FrequencyShift, count: int, draw: Draw) -> Modulated:
    tones = draw.sample(rule.tones, count)
    spacing = draw.sample(rule.samples_per_symbol, count)
    # Tones that would not fit into the band are closer.
    index = torch.minimum(draw.sample(rule.index, count), 0.8 * spacing / tones)
    levels = torch.floor(draw.uniform(count, _places(spacing) + 2) * tones[:, None]) - (tones[:, None] - 1) / 2
    number = ((times(draw.device) + GUARD) / spacing[:, None] + draw.uniform(count, 1)).long()
    signal = turned(torch.cumsum((index / spacing)[:, None] * levels.gather(1, number), 1))
    return _without_mean(signal, (tones * index + 1) / spacing)


def carriers(preset: Preset, rule: Carriers, count: int, draw: Draw) -> Modulated:
    number = draw.sample(rule.count, count)
    signal = torch.zeros(count, BLOCK, dtype=torch.complex64, device=draw.device)
    for one in range(int(max(rule.count.values))):
        level = 10 ** (draw.sample(rule.level_db, count) / 20) if one else torch.ones(count, device=draw.device)
        cycles = draw.sample(rule.frequency, count)[:, None] * times(draw.device) + draw.uniform(count, 1)
        signal += (level * (number > one))[:, None] * turned(cycles)
    reach = 2 * max(abs(rule.frequency.low), abs(rule.frequency.high))
    return _without_mean(_unit_power(signal, True), torch.full((count,), reach, device=draw.device))


_MAKERS = {
    Amplitude: amplitude,
    Frequency: frequency,
    MinimumShift: minimum_shift,
    Silence: silence,
    Multicarrier: multicarrier,
    Chirp: chirp,
    FrequencyShift: frequency_shift,
    Carriers: carriers,
}


def unconstellated(preset: Preset, rule: Modulation, count: int, draw: Draw) -> Modulated:
    """Signals of a modulation that no constellation describes."""
    return _MAKERS[type(rule)](preset, rule, count, draw)
