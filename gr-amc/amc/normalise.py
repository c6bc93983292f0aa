# SPDX-License-Identifier: GPL-3.0-or-later
"""Per-frame scaling, as the model was trained with."""

import numpy as np

from .gate import mean_power

KINDS = ("none", "unit_power", "unit_variance")


def normalise(frames: np.ndarray, kind: str) -> np.ndarray:
    """Complex64 frames (n, window) of non-zero power as float32 (n, 2, window): in-phase, quadrature.

    ``unit_power`` divides by the root of the frame's mean power; ``unit_variance`` by the root of its
    variance, while the mean stays in (the scaling of RadioML 2018.01A, per frame); ``none`` keeps
    the samples as they are.
    """
    rails = np.stack((frames.real, frames.imag), axis=1)
    if kind == "none":
        return rails
    power = mean_power(frames)
    if kind == "unit_variance":
        mean = frames.mean(axis=1)
        # A constant frame has no variance; the floor keeps the division finite.
        power = np.maximum(power - np.abs(mean) ** 2, np.float32(1e-12) * power)
    return rails / np.sqrt(power)[:, None, None]
