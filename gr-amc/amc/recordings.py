# SPDX-License-Identifier: GPL-3.0-or-later
"""A recording that was opened: where its samples are, and their blocks, so that a file may be larger than memory."""

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .analytic import AnalyticSignal
from .errors import AmcError
from .reading import read_exactly, reading
from .sample_formats import SampleFormat

BLOCK = 1 << 18


@dataclass(frozen=True)
class Segment:
    """Samples without a gap: number of the first in the recording, how many, and where its bytes begin.

    ``time`` (whole seconds, fraction) since 1970 of the first sample, and ``frequency`` in Hz, are None if not known.
    """

    sample_start: int
    sample_count: int
    byte_start: int
    time: tuple[int, float] | None = None
    frequency: float | None = None


@dataclass(frozen=True)
class Source:
    """Bytes ``start`` to ``start + size`` of the file ``path``, or of a member of a compressed archive."""

    path: Path
    start: int
    size: int
    member: str | None = None

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The file or member as a whole: seek to ``start``."""
        if self.member is None:
            with open(self.path, "rb", buffering=0) as file:
                yield file
        else:
            with tarfile.open(self.path) as archive, archive.extractfile(self.member) as file:
                yield file


@dataclass(frozen=True)
class Recording:
    """A recording that was opened and found sound; its samples are read by ``blocks``.

    ``sample_rate`` is per second or None; ``metadata`` what a SigMF file said of it, None for other files.
    ``inferred`` are those of sample_rate and frequency that only the name told.
    """

    path: Path
    format: SampleFormat
    sample_rate: float | None
    segments: tuple[Segment, ...]
    source: Source
    metadata: dict | None = None
    inferred: tuple[str, ...] = ()

    @property
    def sample_count(self) -> int:
        return sum(segment.sample_count for segment in self.segments)

    def blocks(self, segment: Segment, size: int = BLOCK) -> Iterator[np.ndarray]:
        """The samples of a segment, once and in order, as complex64 arrays of about ``size`` (other, if not whole).

        Raises AmcError when the file cannot be read or is shorter than when it was opened.
        """
        analytic = None if self.format.complex else AnalyticSignal()
        for raw in self._raw_blocks(segment, size):
            samples = self.format.decode(raw)
            if analytic:
                samples = analytic.push(samples)
            if len(samples):
                yield samples
        if analytic:
            yield analytic.finish()

    def _raw_blocks(self, segment: Segment, size: int) -> Iterator[bytes]:
        left = segment.sample_count * self.format.size
        with reading(self.source.path), self.source.open() as file:
            file.seek(self.source.start + segment.byte_start)
            while left:
                raw = read_exactly(file, min(left, size * self.format.size), self.source.path)
                left -= len(raw)
                yield raw


def whole_samples(path: Path, size: int, sample_format: SampleFormat) -> int:
    """How many samples ``size`` bytes of ``path`` are; raises AmcError for none, or a broken last one."""
    if size == 0:
        raise AmcError(f"{path} holds no samples; record it again.")
    if size % sample_format.size:
        raise AmcError(
            f"{path} holds {size} bytes of samples, which is no whole number of {sample_format.name} samples of "
            f"{sample_format.size} bytes; it is truncated, or of another format (--format)."
        )
    return size // sample_format.size
