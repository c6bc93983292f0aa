# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames of modulated signals in noise, a whole batch at a time, on any torch device.

Signals are made periodic in a block a little longer than a frame, so that pulse shaping is one
product in the frequency domain and every sample of the block is as good as any other.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .constellations import CONSTELLATIONS
from .presets import Amplitude, BandNoise, Distribution, Frequency, LognormalMixture, Preset, Tone, Uniform

FRAME = 1024
BLOCK = 1152  # 144 symbols of 8 samples; has only small prime factors, so its FFT is fast
SNR_LABELS = tuple(range(-20, 31, 2))


class _Draw:
    """Random numbers for one batch, all from one generator, so that a seed fixes the frames."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.device = generator.device

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.device)

    def choice(self, values: tuple[float, ...], count: int) -> Tensor:
        index = torch.randint(len(values), (count,), generator=self.generator, device=self.device)
        return torch.tensor(values, dtype=torch.float32, device=self.device)[index]

    def sample(self, law: Distribution, count: int) -> Tensor:
        if isinstance(law, Uniform):
            return law.low + (law.high - law.low) * self.uniform(count)
        return self._lognormal_mixture(law, count)

    def _lognormal_mixture(self, law: LognormalMixture, count: int) -> Tensor:
        value = law.median * torch.exp(law.sigma * self.normal(count))
        outlier = self.sample(law.outliers, count)
        value = torch.where(self.uniform(count) < law.outlier_share, outlier, value)
        return value.clamp(*law.limits)


def raised_cosine(frequency: Tensor, roll_off: Tensor) -> Tensor:
    """Frequency response of the raised cosine, ``frequency`` in cycles per symbol, 1 at zero.

    J. Proakis, "Digital Communications", eq. 9.2-26.
    """
    edge = (frequency.abs() - (1 - roll_off) / 2) / roll_off
    return 0.5 * (1 + torch.cos(math.pi * edge.clamp(0, 1)))


def _linear(preset: Preset, names: list[str], draw: _Draw) -> tuple[Tensor, Tensor]:
    """Linear modulations: random symbols through the preset's pulse; power 1, variance returned."""
    count, sps = len(names), preset.samples_per_symbol
    table, order, offset = _symbol_tables(preset, names, draw.device)
    index = (draw.uniform(count, BLOCK // sps) * order[:, None]).long()
    symbols = table.gather(1, index)
    impulses = torch.zeros(count, BLOCK // sps, sps, dtype=torch.complex64, device=draw.device)
    impulses[:, :, 0] += symbols.real
    impulses.scatter_add_(2, offset[:, None, None].expand(-1, BLOCK // sps, 1), 1j * symbols.imag[..., None])

    frequency = torch.fft.fftfreq(BLOCK, device=draw.device)[None]
    exponent = draw.choice(preset.pulse_exponents, count)[:, None]
    response = sps * raised_cosine(frequency * sps, draw.sample(preset.roll_off, count)[:, None]) ** exponent
    delay = _delay(preset, count, draw)[:, None]
    spectrum = torch.fft.fft(impulses.flatten(1)) * response * torch.exp(-2j * math.pi * frequency * delay)
    signal = torch.fft.ifft(spectrum)

    # Ensemble moments: independent symbols every sps samples through the pulse.
    points = _mask(table, order)
    mean = (table * points).sum(1) / order
    variance = ((table - mean[:, None]).abs() ** 2 * points).sum(1) / order
    variance = variance * (response**2).mean(1) / sps
    power = variance + mean.abs() ** 2
    return signal / power.sqrt()[:, None], variance / power


def _mask(table: Tensor, order: Tensor) -> Tensor:
    return torch.arange(table.shape[1], device=table.device)[None] < order[:, None]


def _symbol_tables(preset: Preset, names: list[str], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Points (padded), number of points and delay of the quadrature rail for each frame's class."""
    distinct = sorted(set(names))
    table = torch.zeros(len(distinct), max(len(CONSTELLATIONS[name]) for name in distinct), dtype=torch.complex64)
    for row, name in enumerate(distinct):
        points = CONSTELLATIONS[name].to(torch.complex64)
        if name == "OQPSK":
            points = points * complex(math.cos(preset.oqpsk_rotation), math.sin(preset.oqpsk_rotation))
        table[row, : len(points)] = points
    rows = torch.tensor([distinct.index(name) for name in names])
    order = torch.tensor([len(CONSTELLATIONS[name]) for name in distinct])
    offset = torch.tensor([preset.samples_per_symbol // 2 if name == "OQPSK" else 0 for name in distinct])
    return table[rows].to(device), order[rows].to(device), offset[rows].to(device)


def _delay(preset: Preset, count: int, draw: _Draw) -> Tensor:
    delay = draw.uniform(count) * preset.samples_per_symbol
    if preset.delay_grid:
        delay = (torch.floor(delay / preset.delay_grid) + 0.5) * preset.delay_grid
    return delay


def _gmsk(preset: Preset, names: list[str], draw: _Draw) -> tuple[Tensor, Tensor]:
    """GMSK: Gaussian-filtered rectangular frequency pulses (K. Murota, K. Hirade, IEEE Trans. Comm. 1981)."""
    count, sps = len(names), preset.samples_per_symbol
    bits = (draw.uniform(count, BLOCK // sps) < 0.5).float() * 2 - 1
    frequency = torch.fft.rfftfreq(BLOCK, device=draw.device)[None]
    bandwidth = draw.sample(preset.gmsk_bandwidth_time, count)[:, None] / sps
    gaussian = torch.exp(-math.log(2) / 2 * (frequency / bandwidth) ** 2)
    pulses = torch.fft.irfft(torch.fft.rfft(bits.repeat_interleave(sps, 1)) * gaussian, n=BLOCK)
    index = draw.sample(preset.gmsk_index, count)[:, None]
    signal = torch.exp(1j * math.pi * index / sps * torch.cumsum(pulses, 1))
    # The phase does not close over the block; rolling by a random delay would put that seam inside.
    start = (draw.uniform(count) * sps).long()
    return _window(signal, start), torch.ones(count, device=draw.device)


def _window(signal: Tensor, start: Tensor) -> Tensor:
    """FRAME samples of each row from its own start, in a BLOCK-wide row (the rest repeats the end)."""
    index = (start[:, None] + torch.arange(BLOCK, device=signal.device)[None]).clamp(max=BLOCK - 1)
    return signal.gather(1, index)


def _message(law: Tone | BandNoise, count: int, analytic: bool, draw: _Draw) -> Tensor:
    """A message of unit power (count, BLOCK): real, or with positive frequencies only if ``analytic``."""
    if isinstance(law, Tone):
        time = torch.arange(BLOCK, device=draw.device)[None]
        frequency = draw.sample(law.frequency, count)[:, None]
        phase = 2 * math.pi * (frequency * time + draw.uniform(count)[:, None])
        return torch.exp(1j * phase) if analytic else math.sqrt(2) * torch.cos(phase).to(torch.complex64)
    frequency = torch.fft.fftfreq(BLOCK, device=draw.device)[None]
    band = (frequency >= law.low) & (frequency <= draw.sample(law.high, count)[:, None])
    spectrum = torch.complex(draw.normal(count, BLOCK), draw.normal(count, BLOCK)) * band
    signal = torch.fft.ifft(spectrum)
    if not analytic:
        signal = signal.real.to(torch.complex64)
    return signal / signal.abs().square().mean(1, keepdim=True).sqrt()


def _amplitude(rule: Amplitude, count: int, draw: _Draw) -> tuple[Tensor, Tensor]:
    depth = 1 / draw.sample(rule.ratio, count)
    message = _message(rule.message, count, rule.single_sideband, draw)
    if rule.single_sideband:
        message = torch.where(draw.uniform(count, 1) < 0.5, message, message.conj())
    power = rule.carrier_level**2 + depth**2
    signal = (rule.carrier_level + depth[:, None] * message) / power.sqrt()[:, None]
    if rule.real_carrier is None:
        return signal, depth**2 / power
    time = torch.arange(BLOCK, device=draw.device)[None] + draw.choice(rule.carrier_steps, count)[:, None]
    carrier = math.sqrt(2) * torch.cos(2 * math.pi * rule.real_carrier * time)
    return signal * carrier, torch.ones(count, device=draw.device)


def _frequency(rule: Frequency, count: int, draw: _Draw) -> tuple[Tensor, Tensor]:
    message = _message(rule.message, count, False, draw).real
    instantaneous = rule.centre + draw.sample(rule.deviation, count)[:, None] * message
    signal = torch.exp(2j * math.pi * torch.cumsum(instantaneous, 1))
    return signal, torch.ones(count, device=draw.device)


def _analog(preset: Preset, names: list[str], draw: _Draw) -> tuple[Tensor, Tensor]:
    rule = preset.analog[names[0]]
    make = _amplitude if isinstance(rule, Amplitude) else _frequency
    return make(rule, len(names), draw)


def _families(preset: Preset) -> list[tuple[set[str], Callable]]:
    linear = set(CONSTELLATIONS) & set(preset.classes)
    return [(linear, _linear), ({"GMSK"}, _gmsk), *(({name}, _analog) for name in preset.analog)]


def generate(preset: Preset, classes: Tensor, snr_labels: Tensor, generator: torch.Generator) -> Tensor:
    """Frames of the given classes and signal-to-noise labels.

    Parameters: ``classes`` int64 (N,), indices into ``preset.classes``; ``snr_labels`` (N,), in dB as
    the preset counts them (``snr_db_per_label``); ``generator`` fixes the random numbers and the
    device. Returns float32 (N, 2, 1024): in-phase and quadrature, scaled so that the ensemble's
    variance (or power, see the preset) of signal and noise together is 1; no per-frame scaling.
    """
    draw = _Draw(generator)
    classes = classes.to(draw.device)
    count = len(classes)
    signal = torch.zeros(count, BLOCK, dtype=torch.complex64, device=draw.device)
    variance = torch.zeros(count, device=draw.device)
    names = [preset.classes[index] for index in classes.tolist()]
    for members, make in _families(preset):
        rows = [row for row, name in enumerate(names) if name in members]
        if rows:
            signal[rows], variance[rows] = make(preset, [names[row] for row in rows], draw)
    signal = signal[:, :FRAME]

    time = torch.arange(FRAME, device=draw.device)[None]
    offset = preset.carrier_offset_sigma * draw.normal(count, 1)
    signal = signal * torch.exp(2j * math.pi * (offset * time + draw.uniform(count, 1)))

    noise_power = 10 ** (-preset.snr_db_per_label * snr_labels.to(draw.device, torch.float32) / 10)[:, None]
    noise = torch.view_as_complex(draw.normal(count, FRAME, 2)) * (noise_power / 2).sqrt()
    scale = (1.0 if preset.mean_in_divisor else variance[:, None]) + noise_power
    return torch.view_as_real((signal + noise) / scale.sqrt()).transpose(1, 2).contiguous()
