# SPDX-License-Identifier: GPL-3.0-or-later
"""How samples are stored: the names of formats, and decoding."""

import re
from dataclasses import dataclass

import numpy as np

from .errors import AmcError


@dataclass(frozen=True)
class SampleFormat:
    """How a sample is stored: ``name`` as SigMF says it, ``kind`` f, i or u, ``bits`` of each number, byte ``order``.

    ``zero`` and ``full`` are the stored numbers that mean 0 and 1.
    """

    name: str
    complex: bool
    kind: str
    bits: int
    order: str
    zero: float
    full: float

    @property
    def size(self) -> int:
        """Bytes of one sample, I and Q together."""
        return self.bits // 8 * (2 if self.complex else 1)

    def decode(self, raw: bytes) -> np.ndarray:
        """Whole samples as stored, to complex64 (n,), or float32 (n,) where they are real."""
        if self.bits == 24:
            # The three bytes become the upper ones of an int32.
            wide = np.zeros((len(raw) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
            stored = wide.view("<i4")[:, 0] >> 8
        else:
            stored = np.frombuffer(raw, f"{self.order}{self.kind}{self.bits // 8}")
        with np.errstate(over="ignore", invalid="ignore"):  # a float64 too large for float32 becomes infinite
            if self.bits > 16 and self.kind != "f":
                stored = stored.astype(np.float64)
            values = (
                stored.astype(np.float32) if self.zero == 0 else (stored - np.float64(self.zero)).astype(np.float32)
            )
            if self.full != 1:
                values /= np.float32(self.full)
        return values.view(np.complex64) if self.complex else values


def stored_as(domain: str, kind: str, bits: int, order: str = "<", zero: float | None = None) -> SampleFormat:
    """The format of numbers of a kind and size, ``domain`` c or r; ``zero`` where it is not the usual one."""
    suffix = "" if bits == 8 else {"<": "_le", ">": "_be"}[order]
    full = {"f": 1.0, "i": 2.0 ** (bits - 1) - 1, "u": (2.0**bits - 1) / 2}[kind]
    centre = full if kind == "u" else 0.0
    return SampleFormat(
        f"{domain}{kind}{bits}{suffix}", domain == "c", kind, bits, order, centre if zero is None else zero, full
    )


ALIASES = {
    alias: datatype
    for datatype, aliases in {
        "cf32_le": "cf32 fc32 cfile c64 cfloat iq",
        "cf64_le": "cf64 fc64 c128",
        "ci16_le": "cs16 sc16 ci16 c16",
        "ci8": "cs8 sc8 ci8 c8",
        "cu8": "cu8 uc8",
    }.items()
    for alias in aliases.split()
}
FORMATS = "cf32, cs16, cs8, cu8, wav, sigmf or a SigMF datatype such as ri16_le"


def parse_format(text: str) -> SampleFormat:
    """The sample format of that name (``cs16``) or SigMF datatype (``ri16_le``); raises AmcError for another."""
    name = text.strip().lower()
    match = re.fullmatch(r"([cr])(f32|f64|i32|i16|i8|u32|u16|u8)(_le|_be)?", ALIASES.get(name, name), re.ASCII)
    if not match:
        raise AmcError(f"the sample format '{text[:40]}' is unknown; give one of {FORMATS}.")
    domain, number, order = match.groups()
    return stored_as(domain, number[0], int(number[1:]), ">" if order == "_be" else "<")
