# SPDX-License-Identifier: GPL-3.0-or-later
"""Per-frame scaling, as the model was trained with."""

import numpy as np

from .gate import mean_power

KINDS = ("none", "unit_power", "unit_variance")


def divisors(frames: np.ndarray, power: np.ndarray, kind: str) -> np.ndarray:
    """What divides each of the complex64 frames (n, window) of that non-zero ``mean_power``: float32 (n,), above zero.

    ``unit_power`` is the root of the frame's mean power; ``unit_variance`` the root of its variance, while the mean
    stays in (the scaling of RadioML 2018.01A, per frame); ``none`` keeps the samples as they are.
    """
    if kind == "none":
        return np.ones(len(frames), np.float32)
    if kind == "unit_variance":
        mean = frames.mean(axis=1)
        # A constant frame has no variance; the floor keeps the division finite, however weak the frame.
        floor = np.maximum(np.float32(1e-12) * power, np.finfo(np.float32).tiny)
        power = np.maximum(power - np.abs(mean) ** 2, floor)
    return np.sqrt(power)


def divide(frames: np.ndarray, divisors: np.ndarray) -> np.ndarray:
    """Complex64 frames (n, window), each divided by its own of ``divisors`` (n,), as models take them.

    That is float32 (n, 2, window): in-phase, quadrature.
    """
    rails = np.stack((frames.real, frames.imag), axis=1)
    rails /= divisors[:, None, None]
    return rails


def normalise(frames: np.ndarray, kind: str) -> np.ndarray:
    """Complex64 frames (n, window) of non-zero power as float32 (n, 2, window); for the kinds see ``divisors``."""
    return divide(frames, divisors(frames, mean_power(frames), kind))
