# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps windows that hold a signal worth classifying."""

import numpy as np


def mean_power(frames: np.ndarray) -> np.ndarray:
    """Mean of |x|^2 over each row of complex64 frames (n, window): float32 (n,), NaN or inf where a sample is."""
    rails = frames.view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.einsum("ij,ij->i", rails, rails) / np.float32(frames.shape[1])


def power_dbfs(power: np.ndarray) -> np.ndarray:
    """Mean power in dB relative to a full-scale complex tone (amplitude 1); -inf for silence."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return 10 * np.log10(power)


def gate(power: np.ndarray, squelch: float) -> tuple[np.ndarray, np.ndarray]:
    """Which windows of that ``mean_power`` to classify, bool (n,), and their power in dBFS, float32 (n,).

    A window with a NaN or infinite sample, a silent one, and one below ``squelch`` dBFS is not kept.
    """
    level = power_dbfs(power)
    return np.isfinite(level) & (level >= squelch), level
