# SPDX-License-Identifier: GPL-3.0-or-later
"""The 24 classes of RadioML 2018.01A and the constellations of its linear modulations.

Geometry and ring radii: measured on frames of the real set (T. O'Shea, T. Roy, T. Clancy, IEEE JSTSP
2018). The first point of every ring stands at half the ring's angular step.
"""

import math

import torch
from torch import Tensor

CLASSES = (
    "OOK", "4ASK", "8ASK", "BPSK", "QPSK", "8PSK", "16PSK", "32PSK",
    "16APSK", "32APSK", "64APSK", "128APSK", "16QAM", "32QAM", "64QAM", "128QAM", "256QAM",
    "AM-SSB-WC", "AM-SSB-SC", "AM-DSB-WC", "AM-DSB-SC", "FM", "GMSK", "OQPSK",
)  # fmt: skip

RINGS = {
    "16APSK": ((4, 1.0), (12, 2.57)),
    "32APSK": ((4, 1.0), (12, 2.72), (16, 5.4)),
    "64APSK": ((4, 1.0), (12, 2.53), (20, 4.3), (28, 6.2)),
    "128APSK": ((4, 1.0), (12, 2.33), (28, 3.77), (36, 4.63), (48, 6.97)),
}


def unipolar_ask(order: int) -> Tensor:
    """Amplitude levels 0 .. order-1 on the in-phase axis (OOK is order 2)."""
    return torch.arange(order, dtype=torch.float64).to(torch.complex128)


def psk(order: int) -> Tensor:
    """``order`` points on the unit circle, the first at angle zero."""
    angles = 2 * math.pi * torch.arange(order, dtype=torch.float64) / order
    return torch.polar(torch.ones_like(angles), angles)


def apsk(rings: tuple[tuple[int, float], ...]) -> Tensor:
    """Concentric rings of (number of points, radius)."""
    points = []
    for count, radius in rings:
        angles = 2 * math.pi * (torch.arange(count, dtype=torch.float64) + 0.5) / count
        points.append(torch.polar(torch.full((count,), radius, dtype=torch.float64), angles))
    return torch.cat(points)


def square_qam(order: int) -> Tensor:
    side = math.isqrt(order)
    rail = torch.arange(-(side - 1), side, 2, dtype=torch.float64)
    return torch.complex(*torch.meshgrid(rail, rail, indexing="ij")).flatten()


def cross_qam(order: int) -> Tensor:
    """A square of the next even side without its corners (32: 6x6 less 4, 128: 12x12 less 16)."""
    side = math.isqrt(order * 9 // 8)
    corner = side // 6
    points = square_qam(side**2)
    limit = side - 1 - 2 * corner
    return points[(points.real.abs() <= limit) | (points.imag.abs() <= limit)]


def rotated(points: Tensor, angle: float) -> Tensor:
    """``points`` turned by ``angle`` in radians."""
    return points * complex(math.cos(angle), math.sin(angle))


CONSTELLATIONS = {
    "OOK": unipolar_ask(2),
    "4ASK": unipolar_ask(4),
    "8ASK": unipolar_ask(8),
    "BPSK": psk(2),
    "QPSK": psk(4),
    "8PSK": psk(8),
    "16PSK": psk(16),
    "32PSK": psk(32),
    **{name: apsk(rings) for name, rings in RINGS.items()},
    "16QAM": square_qam(16),
    "32QAM": cross_qam(32),
    "64QAM": square_qam(64),
    "128QAM": cross_qam(128),
    "256QAM": square_qam(256),
    "OQPSK": psk(4),
}
