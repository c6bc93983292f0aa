# SPDX-License-Identifier: GPL-3.0-or-later
"""Presets of the signal generator: tables of numbers, no code.

``radioml2018`` follows the rules found by measuring RadioML 2018.01A. ``simulation`` is what GNU
Radio's own modulators and channel model give at 8 samples per symbol, before or after a matched
filter. Frequencies are in cycles per sample, times in samples.
"""

import math
from dataclasses import dataclass, field

from .constellations import CLASSES


@dataclass(frozen=True)
class Uniform:
    low: float
    high: float


@dataclass(frozen=True)
class LognormalMixture:
    """Lognormal around ``median``, a share of outliers uniform in a range, clipped to ``limits``."""

    median: float
    sigma: float
    limits: tuple[float, float]
    outlier_share: float = 0.0
    outliers: Uniform = Uniform(0.0, 0.0)


Distribution = Uniform | LognormalMixture


def fixed(value: float) -> Uniform:
    return Uniform(value, value)


@dataclass(frozen=True)
class Tone:
    """Message: one sinusoid of unit power, its frequency drawn from ``frequency``."""

    frequency: Uniform


@dataclass(frozen=True)
class BandNoise:
    """Message: Gaussian noise of unit power between ``low`` and an upper edge drawn from ``high``."""

    low: float
    high: Uniform


@dataclass(frozen=True)
class Amplitude:
    """Amplitude modulation: carrier(n) * (carrier_level + message(n) / ratio), scaled to power 1.

    ``ratio`` is carrier over message rms. ``real_carrier`` is a frequency in cycles per sample for a
    real cosine carrier (phase a multiple of 2*pi*f out of ``carrier_steps``), or None for a carrier
    at zero. ``single_sideband`` takes the analytic message, upper or lower at random.
    """

    message: Tone | BandNoise
    ratio: Distribution
    carrier_level: float = 1.0
    real_carrier: float | None = None
    carrier_steps: tuple[int, ...] = (0,)
    single_sideband: bool = False


@dataclass(frozen=True)
class Frequency:
    """Frequency modulation around ``centre`` with rms deviation drawn from ``deviation``."""

    message: Tone | BandNoise
    centre: float
    deviation: Uniform


@dataclass(frozen=True)
class Preset:
    """One row per property of the signals; see the module docstring for the units."""

    description: str
    snr_db_per_label: float
    mean_in_divisor: bool  # False: frames are divided by sqrt(variance + noise), the mean stays out
    pulse_exponents: tuple[float, ...]  # of RC(f): 0.5 root-raised cosine once, 1 twice, 1.5 thrice
    roll_off: Uniform
    delay_grid: float  # symbol delays are multiples of this plus half of it; 0: any delay
    carrier_offset_sigma: float
    oqpsk_rotation: float  # radians by which the points of OQPSK are turned off the axes
    gmsk_bandwidth_time: Uniform
    gmsk_index: Uniform
    analog: dict[str, Amplitude | Frequency] = field(default_factory=dict)
    samples_per_symbol: int = 8
    classes: tuple[str, ...] = CLASSES


_SLOW_TONE = Tone(Uniform(0.0, 2e-4))
_SLOWER_THAN_A_FRAME = Tone(Uniform(0.0, 5e-4))
_AUDIO = BandNoise(0.001, Uniform(0.015, 0.05))

PRESETS = {
    "radioml2018": Preset(
        description="RadioML 2018.01A as measured: 8 samples per symbol, root-raised cosine three times",
        snr_db_per_label=2.0,
        mean_in_divisor=False,
        pulse_exponents=(1.5,),
        roll_off=fixed(0.41),
        delay_grid=1.0,
        carrier_offset_sigma=3.3e-5,
        oqpsk_rotation=0.0,
        gmsk_bandwidth_time=fixed(0.35),
        gmsk_index=fixed(0.65),
        analog={
            "AM-SSB-WC": Amplitude(_SLOWER_THAN_A_FRAME, LognormalMixture(9.5, 0.25, (2.5, 23.0))),
            "AM-SSB-SC": Amplitude(
                _SLOWER_THAN_A_FRAME,
                LognormalMixture(6.0, 0.15, (2.5, 23.0), outlier_share=0.1, outliers=Uniform(13.0, 22.0)),
            ),
            "AM-DSB-WC": Amplitude(_SLOW_TONE, fixed(1 / 0.02), real_carrier=1 / 32, carrier_steps=(3, 4, 5)),
            "AM-DSB-SC": Amplitude(_SLOW_TONE, fixed(1 / 0.15), real_carrier=1 / 32, carrier_steps=(3, 4, 5)),
            "FM": Frequency(_SLOW_TONE, centre=0.0315, deviation=fixed(0.0)),
        },
    ),
    "simulation": Preset(
        description="GNU Radio's modulators and channel model, before or after a matched filter",
        snr_db_per_label=1.0,
        mean_in_divisor=True,
        pulse_exponents=(0.5, 1.0),
        roll_off=Uniform(0.2, 0.5),
        delay_grid=0.0,
        carrier_offset_sigma=2e-4,
        oqpsk_rotation=math.pi / 4,
        gmsk_bandwidth_time=Uniform(0.3, 0.5),
        gmsk_index=fixed(0.5),
        analog={
            "AM-SSB-WC": Amplitude(_AUDIO, Uniform(1.0, 2.0), single_sideband=True),
            "AM-SSB-SC": Amplitude(_AUDIO, fixed(1.0), carrier_level=0.0, single_sideband=True),
            "AM-DSB-WC": Amplitude(_AUDIO, Uniform(1.5, 4.0)),
            "AM-DSB-SC": Amplitude(_AUDIO, fixed(1.0), carrier_level=0.0),
            "FM": Frequency(_AUDIO, centre=0.0, deviation=Uniform(0.01, 0.05)),
        },
    ),
}
