# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of windows, and its forms: JSON object, PMT dictionary."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np


@dataclass(frozen=True)
class Result:
    """One classified window.

    ``probabilities`` float32 (classes,); ``power_dbfs`` relative to a complex tone of amplitude 1;
    ``time`` (whole seconds, fraction) since 1970 of the first sample and ``frequency`` in Hz, or None. ``frequency`` is
    that of the receiver, or of the signal itself where it was found in a wider capture: then ``bandwidth`` is what it
    occupies in Hz, and otherwise None.
    """

    label: str
    confidence: float
    probabilities: np.ndarray
    sample_start: int
    sample_count: int
    power_dbfs: float
    time: tuple[int, float] | None = None
    frequency: float | None = None
    bandwidth: float | None = None

    @property
    def edges(self) -> tuple[float, float] | None:
        """Lowest and highest frequency in Hz of the signal, None where not known."""
        if self.frequency is None or self.bandwidth is None:
            return None
        return self.frequency - self.bandwidth / 2, self.frequency + self.bandwidth / 2


@dataclass(frozen=True)
class Results(Sequence):
    """What is said of windows of one stretch, in order, by columns.

    ``labels`` n names, ``confidences`` float32 (n,), ``probabilities`` float32 (n, classes), ``sample_starts`` int64
    (n,), ``powers_dbfs`` float32 (n,), and ``times`` n pairs or None; see ``Result``.
    """

    labels: list[str]
    confidences: np.ndarray
    probabilities: np.ndarray
    sample_starts: np.ndarray
    sample_count: int
    powers_dbfs: np.ndarray
    times: list[tuple[int, float] | None]
    frequency: float | None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, number: int) -> Result:
        return Result(
            self.labels[number],
            float(self.confidences[number]),
            self.probabilities[number],
            int(self.sample_starts[number]),
            self.sample_count,
            float(self.powers_dbfs[number]),
            self.times[number],
            self.frequency,
        )

    def chosen(self, numbers: list[int]) -> "Results":
        """Those of ``numbers``."""
        return replace(
            self,
            labels=[self.labels[number] for number in numbers],
            confidences=self.confidences[numbers],
            probabilities=self.probabilities[numbers],
            sample_starts=self.sample_starts[numbers],
            powers_dbfs=self.powers_dbfs[numbers],
            times=[self.times[number] for number in numbers],
        )


def iso_time(time: tuple[int, float]) -> str:
    """ISO 8601 in UTC with microseconds, ending in Z, of a time from ``EARLIEST_TIME`` to ``LATEST_TIME``."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=time[0], microseconds=round(time[1] * 1e6))
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def frequency_unit(hertz: float) -> tuple[str, float]:
    """Name and size in Hz of the unit for frequencies of up to ``hertz``."""
    return next(((unit, size) for unit, size in (("MHz", 1e6), ("kHz", 1e3)) if abs(hertz) >= size), ("Hz", 1.0))


def to_json(result: Result, classes: tuple[str, ...]) -> dict:
    """The object that ``amc_classify --output json`` prints for a window."""
    content = {
        "sample_start": result.sample_start,
        "sample_count": result.sample_count,
        "label": result.label,
        "confidence": round(result.confidence, 6),
        "probabilities": dict(zip(classes, (round(float(p), 6) for p in result.probabilities), strict=True)),
        "power_dbfs": round(result.power_dbfs, 3),
    }
    if result.time is not None:
        content["time"] = iso_time(result.time)
    if result.frequency is not None:
        content["frequency"] = result.frequency
    if result.bandwidth is not None:
        content["bandwidth"] = result.bandwidth
    if result.edges is not None:
        content["frequency_lower_edge"], content["frequency_upper_edge"] = result.edges
    return content


def from_pmt(message) -> Result:
    """The result that is in a PMT dictionary of the block's ``labels`` port."""
    import pmt

    fields = pmt.to_python(message)
    return Result(
        label=fields["label"],
        confidence=fields["confidence"],
        probabilities=np.asarray(fields["probabilities"], np.float32),
        sample_start=fields["offset"],
        sample_count=fields["length"],
        power_dbfs=fields["power"],
        time=fields.get("time"),
        frequency=fields.get("frequency"),
        bandwidth=fields.get("bandwidth"),
    )
