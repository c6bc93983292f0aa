# SPDX-License-Identifier: GPL-3.0-or-later
"""The analytic signal of a real one."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


class AnalyticSignal:
    """Makes a real signal, given in pieces, analytic: y = x + j H(x), H a Hilbert transformer without delay.

    The filter has 2 * REACH + 1 taps (a type III linear-phase design with a Hamming window); negative frequencies
    are down by more than 40 dB but for the lowest and highest 0.5 % of the sample rate. Before and after the signal
    there is silence. As many samples come out as go in, and how it is divided does not change them.
    """

    REACH = 256
    FRAME = 8192 - 2 * REACH

    def __init__(self) -> None:
        taps = np.arange(-self.REACH, self.REACH + 1)
        with np.errstate(divide="ignore"):
            ideal = np.where(taps % 2, 2 / (np.pi * taps), 0.0)
        self._response = np.fft.rfft(ideal * np.hamming(len(taps)), self.FRAME + 2 * self.REACH)
        self._held = np.zeros(self.REACH, np.float32)

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Appends float32 samples (n,); returns complex64 samples, which are up to a frame behind."""
        self._held = np.concatenate((self._held, samples))
        return self._take((len(self._held) - 2 * self.REACH) // self.FRAME)

    def finish(self) -> np.ndarray:
        """The samples still owed."""
        owed = len(self._held) - self.REACH
        frames = -(-owed // self.FRAME)
        missing = frames * self.FRAME + 2 * self.REACH - len(self._held)
        self._held = np.concatenate((self._held, np.zeros(missing, np.float32)))
        return self._take(frames)[:owed]

    def _take(self, count: int) -> np.ndarray:
        if count <= 0:
            return np.empty(0, np.complex64)
        length = self.FRAME + 2 * self.REACH
        frames = sliding_window_view(self._held, length)[:: self.FRAME][:count]
        # A sample that is no number would spoil its whole frame in the transform, not only its surroundings.
        bad = ~np.isfinite(frames)
        spectrum = np.fft.rfft(np.where(bad, 0, frames))
        filtered = np.fft.irfft(spectrum * self._response, length)[:, 2 * self.REACH :]
        with np.errstate(over="ignore"):
            imaginary = filtered.astype(np.float32).reshape(-1)
        analytic = np.empty(count * self.FRAME, np.complex64)
        analytic.real = frames[:, self.REACH : self.REACH + self.FRAME].reshape(-1)
        analytic.imag = imaginary
        if bad.any():
            near = sliding_window_view(bad, 2 * self.REACH + 1, axis=1).any(axis=2).reshape(-1)
            analytic[near] = np.nan
        self._held = self._held[count * self.FRAME :].copy()
        return analytic
