# SPDX-License-Identifier: GPL-3.0-or-later
"""Spectra of a block of samples that is taken to be periodic.

Pulse shaping is one product there, and every sample of the block is as good as any other. A block is a
little longer than a frame, so that what does not close over its ends stays out of the frame.
"""

import math

import torch
from torch import Tensor

FRAME = 1024
BLOCK = 1152  # 144 symbols of 8 samples; has only small prime factors, so its FFT is fast
GUARD = (BLOCK - FRAME) // 2


def frequencies(device: torch.device) -> Tensor:
    """Cycles per sample of a block's bins, float32 (1, BLOCK), in the order of an FFT."""
    return torch.fft.fftfreq(BLOCK, device=device)[None]


def times(device: torch.device) -> Tensor:
    """Sample numbers of a block, float32 (1, BLOCK), 0 at the first of the frame."""
    return torch.arange(-GUARD, BLOCK - GUARD, dtype=torch.float32, device=device)[None]


def turned(cycles: Tensor) -> Tensor:
    """exp(2j pi cycles), complex64, of float32 cycles; several times as fast on a CPU as a complex exponential."""
    return torch.polar(torch.ones_like(cycles), 2 * math.pi * cycles)


def raised_cosine(frequency: Tensor, roll_off: Tensor) -> Tensor:
    """Frequency response of the raised cosine, ``frequency`` in cycles per symbol, 1 at zero.

    J. Proakis, "Digital Communications", eq. 9.2-26.
    """
    edge = (frequency.abs() - (1 - roll_off) / 2) / roll_off
    return 0.5 * (1 + torch.cos(math.pi * edge.clamp(0, 1)))


def impulse_spectrum(impulses: Tensor, spacing: Tensor) -> Tensor:
    """Spectrum (N, BLOCK) of impulses (N, K), complex64, that stand ``spacing`` (N,) samples apart from sample 0 on."""
    same = float(spacing[0])
    if same.is_integer() and BLOCK % int(same) == 0 and bool((spacing == same).all()):
        # They fill the block evenly: its spectrum is that of the numbers alone, again and again.
        return torch.fft.fft(impulses[:, : BLOCK // int(same)]).tile(1, int(same))
    inside = torch.arange(impulses.shape[1], device=spacing.device)[None] * spacing[:, None] < BLOCK
    spectrum = chirp_z(impulses * inside, spacing.double() / BLOCK, -BLOCK // 2, BLOCK)
    return torch.fft.ifftshift(spectrum, dim=1)


def chirp_z(values: Tensor, step: Tensor, first: int, count: int) -> Tensor:
    """sum_n values[n] exp(-2j pi step n k) for k = first .. first + count - 1: complex64 (N, count).

    ``values`` complex64 (N, K), ``step`` float64 (N,) in cycles, another for each row. L. Bluestein, "A linear
    filtering approach to the computation of the discrete Fourier transform", IEEE Trans. Audio 1970:
    n k = (n^2 + k^2 - (k - n)^2) / 2 makes it a convolution.
    """
    terms = values.shape[1]
    size = _fast_size(terms + count - 1)

    def chirp(numbers: Tensor) -> Tensor:
        # In double precision: the squares reach millions of cycles, of which only the fraction counts.
        cycles = (step[:, None] * (numbers.double() ** 2 / 2)[None]) % 1.0
        return torch.polar(torch.ones_like(cycles, dtype=torch.float32), (-2 * math.pi * cycles).float())

    index = torch.arange(first, first + count, device=values.device)
    lags = torch.arange(first - terms + 1, first + count, device=values.device)
    filtered = torch.fft.ifft(
        torch.fft.fft(values * chirp(torch.arange(terms, device=values.device)), size)
        * torch.fft.fft(chirp(lags).conj(), size)
    )
    return filtered[:, terms - 1 : terms - 1 + count] * chirp(index)


def _fast_size(least: int) -> int:
    """The smallest size from ``least`` on whose FFT is fast: 2^a or 3 * 2^a or 9 * 2^a."""
    return min(m << max(0, math.ceil(math.log2(least / m))) for m in (1, 3, 9))
