# SPDX-License-Identifier: GPL-3.0-or-later
"""Presets of the signal generator: tables of numbers, no code.

``radioml2018`` follows the rules found by measuring RadioML 2018.01A. ``simulation`` is what GNU
Radio's own modulators and channel model give at 8 samples per symbol, before or after a matched
filter. ``wild`` is what receivers deliver: broad ranges of everything, impairments, neighbours. ``others`` are
signals of no class there.
Frequencies are in cycles per sample, times in samples, unless said otherwise.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from .constellations import CLASSES, CONSTELLATIONS, rotated

NOISE = "noise"  # the class of frames without a signal

# --- laws that a number is drawn from -------------------------------------------------------------


@dataclass(frozen=True)
class Uniform:
    low: float
    high: float


@dataclass(frozen=True)
class LogUniform:
    """Its logarithm is uniform: as many between 2 and 4 as between 4 and 8."""

    low: float
    high: float


@dataclass(frozen=True)
class SignedLogUniform:
    """Its magnitude is as by ``LogUniform``, its sign either."""

    low: float
    high: float


@dataclass(frozen=True)
class Normal:
    """Of mean zero."""

    sigma: float


@dataclass(frozen=True)
class LognormalMixture:
    """Lognormal around ``median``, a share of outliers uniform in a range, clipped to ``limits``."""

    median: float
    sigma: float
    limits: tuple[float, float]
    outlier_share: float = 0.0
    outliers: Uniform = Uniform(0.0, 0.0)


@dataclass(frozen=True)
class Choice:
    """One of ``values``, all alike."""

    values: tuple[float, ...]


Distribution = Uniform | LogUniform | SignedLogUniform | Normal | LognormalMixture | Choice


def fixed(value: float) -> Choice:
    return Choice((value,))


NONE = fixed(0.0)

# --- messages of analog modulations, all of unit power --------------------------------------------


@dataclass(frozen=True)
class Tone:
    """One sinusoid."""

    frequency: Distribution


@dataclass(frozen=True)
class BandNoise:
    """Gaussian noise between ``low`` and an upper edge drawn from ``high``."""

    low: float
    high: Distribution


@dataclass(frozen=True)
class Voice:
    """Speech-like sound of the telephone band, whose upper edge of 3400 Hz is drawn from ``high``.

    Voiced: harmonics of a pitch, weighted by three formants. Unvoiced (``unvoiced`` of the frames): noise
    weighted by them. Pitch, formants and their bandwidths are ranges of adult speech (G. Fant, "Acoustic
    Theory of Speech Production", 1960; G. Peterson, H. Barney, JASA 1952).
    """

    high: Distribution
    unvoiced: float = 0.25
    pitch_hz: Distribution = LogUniform(80.0, 300.0)
    formants_hz: tuple[Uniform, ...] = (Uniform(300.0, 850.0), Uniform(850.0, 2300.0), Uniform(2300.0, 3100.0))
    formant_gains: tuple[float, ...] = (1.0, 0.5, 0.25)
    formant_bandwidth_hz: float = 120.0


Message = Tone | BandNoise | Voice

# --- modulations that no constellation describes --------------------------------------------------


@dataclass(frozen=True)
class Amplitude:
    """Amplitude modulation: carrier(n) * (carrier_level + message(n) / ratio), scaled to power 1.

    ``messages`` are drawn alike. ``ratio`` is carrier over message rms. ``real_carrier`` is a frequency for
    a real cosine carrier (phase a multiple of 2*pi*f out of ``carrier_steps``), or None for a carrier at
    zero. ``single_sideband`` takes the analytic message, upper or lower at random; where ``is_centred`` the middle of
    that sideband lies at zero, not the carrier.
    """

    messages: tuple[Message, ...]
    ratio: Distribution
    carrier_level: float = 1.0
    real_carrier: float | None = None
    carrier_steps: tuple[int, ...] = (0,)
    single_sideband: bool = False
    is_centred: bool = False


@dataclass(frozen=True)
class Frequency:
    """Frequency modulation around ``centre`` with rms deviation drawn from ``deviation``."""

    messages: tuple[Message, ...]
    centre: float
    deviation: Distribution


@dataclass(frozen=True)
class MinimumShift:
    """GMSK: bandwidth-time product of the Gaussian filter, and modulation index."""

    bandwidth_time: Distribution
    index: Distribution


@dataclass(frozen=True)
class Silence:
    """No signal at all: what remains is noise."""


# What no preset of ours has as a class, for a network to learn that it does not know everything.


@dataclass(frozen=True)
class Multicarrier:
    """OFDM: points of ``constellations``, one a frame, on a share ``occupied`` of ``carriers``, and a cyclic prefix."""

    carriers: Choice
    occupied: Distribution
    prefix: Choice  # relative to the symbol without it
    constellations: tuple[str, ...]


@dataclass(frozen=True)
class Chirp:
    """Linear sweeps over ``bandwidth`` in ``period`` samples, up or down.

    In a share ``jumping`` of the frames each sweep begins anywhere and wraps around, which is LoRa's message.
    """

    bandwidth: Distribution
    period: Distribution
    jumping: float


@dataclass(frozen=True)
class FrequencyShift:
    """Frequency shift keying of continuous phase and rectangular pulses; ``index`` is tone spacing over symbol rate."""

    tones: Choice
    index: Distribution
    samples_per_symbol: Distribution


@dataclass(frozen=True)
class Carriers:
    """``count`` carriers without modulation at any of ``frequency``, all but the first ``level_db`` beside it."""

    count: Choice
    frequency: Uniform
    level_db: Distribution


Modulation = Amplitude | Frequency | MinimumShift | Silence | Multicarrier | Chirp | FrequencyShift | Carriers

# --- channel and receiver -------------------------------------------------------------------------


@dataclass(frozen=True)
class Multipath:
    """Echoes that stand still over a frame, in ``share`` of the frames.

    The first path is constant and ``k_factor_db`` above the power of all scattered ones together (Rice; far
    below zero it is Rayleigh). Scattered paths, ``paths`` of them, have complex normal gains and exponential
    delays, so that their power falls by e each ``delay_spread``. The received power is that of the signal sent.
    """

    share: float
    paths: int
    delay_spread: Distribution
    k_factor_db: Distribution


@dataclass(frozen=True)
class Neighbour:
    """Another signal beside this one, in ``share`` of the frames that have room for it.

    One of ``classes`` (linear modulations), its power ``level_db`` relative to this one, its centre
    ``spacing`` times half the sum of both bandwidths away.
    """

    share: float
    classes: tuple[str, ...]
    level_db: Distribution
    spacing: Distribution


@dataclass(frozen=True)
class Amplifier:
    """An amplifier near its saturation, in ``share`` of the frames of linear modulations.

    Saturation lies ``back_off_db`` above the rms of what it amplifies, for ``phase_only`` modulations ``driven_db``:
    those stand being driven hard, and are. ``sharpness`` is the exponent p of C. Rapp's model ("Effects of
    HPA-Nonlinearity on a 4-DPSK/OFDM-Signal ...", 1991).
    """

    share: float
    back_off_db: Distribution
    phase_only: tuple[str, ...]
    driven_db: Distribution
    sharpness: Distribution


@dataclass(frozen=True)
class Selectivity:
    """A receiver's filter around signal and noise, in ``share`` of the frames.

    It is ``width`` times as wide as the signal, ``offset`` of that width beside its centre, with raised-cosine edges of
    ``edge`` of the width. Where there is no signal, ``noise_bandwidth`` takes the place of its bandwidth.
    """

    share: float
    width: Distribution
    offset: Distribution
    edge: Distribution
    noise_bandwidth: Distribution


@dataclass(frozen=True)
class Preset:
    """One row per property of the signals; see the module docstring for the units."""

    description: str
    snr_db_per_label: float
    mean_in_divisor: bool  # False: frames are divided by sqrt(variance + noise), the mean stays out
    modulations: Mapping[str, Modulation]  # of the classes that have no constellation
    pulse_exponents: Choice  # of RC(f): 0.5 root-raised cosine once, 1 twice, 1.5 thrice
    roll_off: Distribution
    carrier_offset: Distribution
    constellations: Mapping[str, Tensor] = field(default_factory=lambda: CONSTELLATIONS)
    samples_per_symbol: Distribution = fixed(8.0)
    clock_error: Distribution = NONE  # of the symbol rate, relative
    delay_grid: float = 0.0  # symbol delays are multiples of this plus half of it; 0: any delay
    rectangular_share: float = 0.0  # of linear modulations with rectangular pulses in place of raised cosines
    amplifier: Amplifier | None = None  # the transmitter's
    multipath: Multipath | None = None
    neighbour: Neighbour | None = None
    limiter: Amplifier | None = None  # the receiver's, noise and neighbours included
    selectivity: Selectivity | None = None
    phase_noise: Distribution = NONE  # rms step of a random walk, radians a sample
    gain_imbalance_db: Distribution = NONE  # of in-phase over quadrature
    phase_imbalance: Distribution = NONE  # radians by which they miss the right angle
    dc_offset: Distribution = NONE  # relative to the rms of signal and noise
    level_db: Distribution = NONE  # of signal and noise together, relative to full scale
    quantiser_bits: Choice | None = None  # of either rail, full scale 1; 0: none
    classes: tuple[str, ...] = CLASSES


# --- the presets ----------------------------------------------------------------------------------

_SLOW_TONE = (Tone(Uniform(0.0, 2e-4)),)
_SLOWER_THAN_A_FRAME = (Tone(Uniform(0.0, 5e-4)),)
_AUDIO = (BandNoise(0.001, Uniform(0.015, 0.05)),)
# Telephone bandwidth at receivers of 16 to 200 thousand samples a second, and test tones.
_BANDS = (Voice(LogUniform(0.017, 0.2)), BandNoise(0.001, LogUniform(0.017, 0.2)))
_SOUND = (*_BANDS, Tone(LogUniform(0.003, 0.05)))
_DIAGONAL_OQPSK = CONSTELLATIONS | {"OQPSK": rotated(CONSTELLATIONS["OQPSK"], math.pi / 4)}

_AMPLIFIER = Amplifier(
    share=0.4,
    back_off_db=Uniform(4.0, 12.0),
    phase_only=("BPSK", "QPSK", "8PSK", "16PSK", "32PSK", "OQPSK"),
    driven_db=Uniform(-4.0, 8.0),
    sharpness=Uniform(1.0, 3.0),
)

_MULTIPATH = Multipath(
    share=0.5, paths=4, delay_spread=LogUniform(0.3, 6.0), k_factor_db=Choice((-60.0, 0.0, 6.0, 12.0))
)

_WILD = Preset(
    description="real receivers: 2 to 16 samples per symbol, offsets, echoes, neighbours, 8-bit quantisation",
    snr_db_per_label=1.0,
    mean_in_divisor=True,
    pulse_exponents=Choice((0.5, 1.0)),
    roll_off=Uniform(0.1, 0.5),
    samples_per_symbol=LogUniform(2.0, 16.0),
    clock_error=Normal(5e-5),
    carrier_offset=Uniform(-0.05, 0.05),
    constellations=_DIAGONAL_OQPSK,
    modulations={
        # One sideband of a tone is a bare carrier, which is none of the classes.
        "AM-SSB-WC": Amplitude(_BANDS, Uniform(1.0, 3.0), single_sideband=True),
        "AM-SSB-SC": Amplitude(_BANDS, fixed(1.0), carrier_level=0.0, single_sideband=True),
        "AM-DSB-WC": Amplitude(_SOUND, Uniform(1.2, 5.0)),
        "AM-DSB-SC": Amplitude(_SOUND, fixed(1.0), carrier_level=0.0),
        "FM": Frequency(_SOUND, centre=0.0, deviation=LogUniform(0.005, 0.12)),
        "GMSK": MinimumShift(bandwidth_time=Uniform(0.2, 0.5), index=Uniform(0.45, 0.7)),
        NOISE: Silence(),
    },
    rectangular_share=0.15,
    amplifier=_AMPLIFIER,
    multipath=_MULTIPATH,
    neighbour=Neighbour(
        share=0.25,
        classes=("BPSK", "QPSK", "8PSK", "16QAM"),
        level_db=Uniform(-20.0, 10.0),
        spacing=Uniform(1.1, 2.0),
    ),
    limiter=replace(_AMPLIFIER, share=0.2),
    selectivity=Selectivity(
        share=0.5,
        width=LogUniform(0.75, 3.0),
        offset=Uniform(-0.2, 0.2),
        edge=Uniform(0.05, 0.3),
        noise_bandwidth=LogUniform(0.07, 0.6),
    ),
    phase_noise=LogUniform(1e-4, 1e-2),
    gain_imbalance_db=Normal(0.5),
    phase_imbalance=Normal(0.05),
    dc_offset=Normal(0.03),
    level_db=Uniform(-35.0, -6.0),
    quantiser_bits=Choice((0, 8)),
    classes=(*CLASSES, NOISE),
)

# As wide as a linear modulation of 8 samples per symbol and roll-off 0.17, for which the conditioner takes a signal
# without symbols.
# One sideband of noise is what OFDM is to a network that sees a few symbols of it: sound, for the most.
_SIDEBAND = (*(Voice(LogUniform(0.1, 0.25)),) * 3, BandNoise(0.001, LogUniform(0.1, 0.2)))
_CONDITIONED_SOUND = (
    Voice(LogUniform(0.05, 0.12)),
    BandNoise(0.001, LogUniform(0.05, 0.1)),
    Tone(LogUniform(0.03, 0.08)),
)
_NARROW_SOUND = (
    Voice(LogUniform(0.01, 0.07)),
    BandNoise(0.0005, LogUniform(0.01, 0.07)),
    Tone(LogUniform(0.005, 0.05)),
)
_CONDITIONED = replace(
    _WILD,
    description="what the conditioner gives: 8 samples per symbol, at zero, filtered, from receivers as in wild",
    samples_per_symbol=fixed(8.0),
    clock_error=Normal(5e-5),
    # Where no carrier was measured, or it drifts, up to two turns in a frame are left.
    carrier_offset=SignedLogUniform(1e-7, 2e-3),
    modulations=_WILD.modulations
    | {
        "AM-SSB-WC": Amplitude(_SIDEBAND, Uniform(1.0, 3.0), single_sideband=True, is_centred=True),
        "AM-SSB-SC": Amplitude(_SIDEBAND, fixed(1.0), carrier_level=0.0, single_sideband=True, is_centred=True),
        "AM-DSB-WC": Amplitude(_CONDITIONED_SOUND, Uniform(1.2, 5.0)),
        "AM-DSB-SC": Amplitude(_CONDITIONED_SOUND, fixed(1.0), carrier_level=0.0),
        "FM": Frequency(_NARROW_SOUND, centre=0.0, deviation=LogUniform(0.01, 0.05)),
    },
    rectangular_share=0.05,
    amplifier=replace(_AMPLIFIER, share=0.2),
    multipath=replace(_MULTIPATH, share=0.2),
    neighbour=None,
    limiter=replace(_AMPLIFIER, share=0.1),
    selectivity=Selectivity(
        share=1.0,
        width=Uniform(1.2, 2.0),
        # A carrier is found where it is, also where a receiver's filter has cut one side of its band.
        offset=Choice((0.0,) * 8 + (-0.25, -0.15, 0.15, 0.25)),
        edge=Uniform(0.1, 0.4),
        noise_bandwidth=LogUniform(0.1, 0.6),
    ),
    phase_noise=LogUniform(1e-5, 3e-3),
    level_db=Uniform(-25.0, -6.0),
)

PRESETS = {
    "radioml2018": Preset(
        description="RadioML 2018.01A as measured: 8 samples per symbol, root-raised cosine three times",
        snr_db_per_label=2.0,
        mean_in_divisor=False,
        pulse_exponents=fixed(1.5),
        roll_off=fixed(0.41),
        delay_grid=1.0,
        carrier_offset=Normal(3.3e-5),
        modulations={
            "AM-SSB-WC": Amplitude(_SLOWER_THAN_A_FRAME, LognormalMixture(9.5, 0.25, (2.5, 23.0))),
            "AM-SSB-SC": Amplitude(
                _SLOWER_THAN_A_FRAME,
                LognormalMixture(6.0, 0.15, (2.5, 23.0), outlier_share=0.1, outliers=Uniform(13.0, 22.0)),
            ),
            "AM-DSB-WC": Amplitude(_SLOW_TONE, fixed(1 / 0.02), real_carrier=1 / 32, carrier_steps=(3, 4, 5)),
            "AM-DSB-SC": Amplitude(_SLOW_TONE, fixed(1 / 0.15), real_carrier=1 / 32, carrier_steps=(3, 4, 5)),
            "FM": Frequency(_SLOW_TONE, centre=0.0315, deviation=NONE),
            "GMSK": MinimumShift(bandwidth_time=fixed(0.35), index=fixed(0.65)),
        },
    ),
    "simulation": Preset(
        description="GNU Radio's modulators and channel model, before or after a matched filter",
        snr_db_per_label=1.0,
        mean_in_divisor=True,
        pulse_exponents=Choice((0.5, 1.0)),
        roll_off=Uniform(0.2, 0.5),
        carrier_offset=Normal(2e-4),
        constellations=_DIAGONAL_OQPSK,
        modulations={
            "AM-SSB-WC": Amplitude(_AUDIO, Uniform(1.0, 2.0), single_sideband=True),
            "AM-SSB-SC": Amplitude(_AUDIO, fixed(1.0), carrier_level=0.0, single_sideband=True),
            "AM-DSB-WC": Amplitude(_AUDIO, Uniform(1.5, 4.0)),
            "AM-DSB-SC": Amplitude(_AUDIO, fixed(1.0), carrier_level=0.0),
            "FM": Frequency(_AUDIO, centre=0.0, deviation=Uniform(0.01, 0.05)),
            "GMSK": MinimumShift(bandwidth_time=Uniform(0.3, 0.5), index=fixed(0.5)),
        },
    ),
    "wild": _WILD,
    "cabled": replace(
        _WILD,
        description="receivers joined to their transmitters by a cable: as wild, but no echoes, neighbours, limits",
        amplifier=None,
        multipath=None,
        neighbour=None,
        limiter=None,
        selectivity=None,
        phase_noise=LogUniform(1e-5, 1e-3),
        level_db=Uniform(-20.0, -6.0),
    ),
    "others": replace(
        _WILD,
        description="what is none of the 24 modulations, at receivers as in wild",
        modulations={
            "OFDM": Multicarrier(
                carriers=Choice((64.0, 128.0, 256.0)),
                occupied=LogUniform(0.1, 0.9),
                prefix=Choice((1 / 16, 1 / 8, 1 / 4)),
                constellations=("BPSK", "QPSK", "16QAM", "64QAM"),
            ),
            "chirp": Chirp(bandwidth=LogUniform(0.02, 0.8), period=LogUniform(64.0, 8192.0), jumping=0.5),
            "FSK": FrequencyShift(
                tones=Choice((2.0, 4.0, 8.0)), index=LogUniform(1.0, 6.0), samples_per_symbol=LogUniform(6.0, 64.0)
            ),
            "carrier": Carriers(
                count=Choice((1.0, 1.0, 2.0, 3.0)), frequency=Uniform(-0.2, 0.2), level_db=Uniform(-20.0, 0.0)
            ),
        },
        classes=("OFDM", "chirp", "FSK", "carrier"),
    ),
    "conditioned": _CONDITIONED,
    "conditioned_others": replace(
        _CONDITIONED,
        description="what is none of the 24 modulations, as the conditioner gives it",
        modulations={
            "OFDM": Multicarrier(
                carriers=Choice((128.0, 256.0, 512.0)),
                occupied=LogUniform(0.1, 0.2),
                prefix=Choice((1 / 16, 1 / 8, 1 / 4)),
                constellations=("BPSK", "QPSK", "16QAM", "64QAM"),
            ),
            "chirp": Chirp(bandwidth=LogUniform(0.08, 0.25), period=LogUniform(64.0, 8192.0), jumping=0.5),
            "FSK": FrequencyShift(
                tones=Choice((2.0, 4.0, 8.0)), index=LogUniform(1.0, 3.0), samples_per_symbol=LogUniform(12.0, 128.0)
            ),
            "carrier": Carriers(
                count=Choice((1.0, 1.0, 2.0, 3.0)), frequency=Uniform(-0.07, 0.07), level_db=Uniform(-20.0, 0.0)
            ),
        },
        classes=("OFDM", "chirp", "FSK", "carrier"),
    ),
}
