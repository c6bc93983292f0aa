# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done to each frame before the model sees it, as the model was trained with."""

import numpy as np

from .engine import load_engine
from .gate import mean_power

KINDS = (
    "none",
    "timed",
    "timed_compressed",
    "timed_turned",
    "unit_power",
    "unit_power_centred",
    "unit_power_timed",
    "unit_variance",
)
_UNSCALED = ("none", "timed")
# Up to the knee a level stays; what is above it is divided by the ratio.
COMPRESSION_KNEE, COMPRESSION_RATIO = 2, 5


def prepare(frames: np.ndarray, power: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Complex64 frames (n, window) of that non-zero ``mean_power``, and what is to divide them: float32 (n,), above 0.

    ``unit_power`` is the root of the frame's mean power; ``unit_variance`` the root of its variance, while the mean
    stays in (the scaling of RadioML 2018.01A, per frame); ``none`` keeps the samples as they are. For
    ``unit_power_centred`` frames are turned back by their centre of gravity in frequency, the phase of their
    autocorrelation at a lag of one sample (K. Miller, M. Rochwarger, "A covariance approach to spectral moment
    estimation", IEEE Trans. Information Theory 1972). For ``timed`` frames are moved in a circle by up to 7 samples, so
    that symbols of a linear modulation at 8 samples per symbol lie at the same places in each: where they are tells the
    product of both edges of the band (D. Godard, "Passband timing recovery in an all-digital modem receiver", IEEE
    Trans. Communications 26(5), 1978). ``timed_compressed`` is ``timed``, and frames whose level, the root of their
    mean power, is above 2 are divided so that a fifth of what is above stays: the loudest fit a range that need not
    make the others coarse, and are still louder than others. ``timed_turned`` is ``timed_compressed``, and frames are
    turned back by their carrier phase and offset, as a power of their symbols shows them, so that constellations stand
    the same way up to their symmetry (A. Viterbi, A. Viterbi, "Nonlinear estimation of PSK-modulated carrier phase",
    IEEE Trans. Information Theory 29(4), 1983). ``unit_power_timed`` is ``timed`` to a fraction of a
    sample, by interpolation, and divided by the root of the frame's mean power.
    Raises AmcError where any of that needs an engine that was not built.
    """
    if kind == "unit_power_centred":
        frames = load_engine().centred(frames)
    if kind in ("timed", "timed_compressed", "timed_turned"):
        frames = load_engine().timed(frames)
    if kind == "timed_turned":
        frames = load_engine().turned(frames)
    if kind == "unit_power_timed":
        frames = load_engine().interpolated(frames)
    if kind in _UNSCALED:
        return frames, np.ones(len(frames), np.float32)
    if kind in ("timed_compressed", "timed_turned"):
        level = np.sqrt(power)
        above = np.maximum(level - COMPRESSION_KNEE, 0)
        return frames, level / (level - above + above / COMPRESSION_RATIO)
    if kind == "unit_variance":
        mean = frames.mean(axis=1)
        # A constant frame has no variance; the floor keeps the division finite, however weak the frame.
        floor = np.maximum(np.float32(1e-12) * power, np.finfo(np.float32).tiny)
        power = np.maximum(power - np.abs(mean) ** 2, floor)
    return frames, np.sqrt(power)


def divide(frames: np.ndarray, divisors: np.ndarray) -> np.ndarray:
    """Complex64 frames (n, window), each divided by its own of ``divisors`` (n,), as models take them.

    That is float32 (n, 2, window): in-phase, quadrature.
    """
    rails = np.stack((frames.real, frames.imag), axis=1)
    rails /= divisors[:, None, None]
    return rails


def normalise(frames: np.ndarray, kind: str) -> np.ndarray:
    """Complex64 frames (n, window) of non-zero power as float32 (n, 2, window); for the kinds see ``prepare``."""
    return divide(*prepare(frames, mean_power(frames), kind))
