# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of a window, and its forms: JSON object, PMT dictionary."""

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

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


# How GNU Radio serialises what a message has: a byte that says the type (pmt-serialize-tags.scm), and the value,
# big-endian. A dictionary is a pair, its first entry, and another dictionary, the last one of which is empty.
_ENTRY, _EMPTY = b"\x09\x07", b"\x06"
_DOUBLE, _UINT64, _F32VECTOR, _TIME = (struct.Struct(form).pack for form in (">Bd", ">BQ", ">BBIBx", ">BIBQBd"))


@cache
def _symbol(text: str) -> bytes:
    """The symbol of a key or a label, which are few."""
    import pmt

    return pmt.serialize_str(pmt.intern(text))


@cache
def _key(name: str) -> bytes:
    return _ENTRY + _symbol(name)


def to_pmt(result: Result):
    """The PMT dictionary of the block's ``labels`` port; its keys are listed in ``gnuradio.amc.classifier``.

    It is read from its serialised form, in one call: twenty calls that put it together take nearly twice as long.
    """
    import pmt

    known = []
    if result.bandwidth is not None:
        known += [_key("bandwidth"), _DOUBLE(4, result.bandwidth)]
    if result.frequency is not None:
        known += [_key("frequency"), _DOUBLE(4, result.frequency)]
    if result.time is not None:
        known += [_key("time"), _TIME(12, 2, 11, result.time[0], 4, result.time[1])]
    parts = [
        *known,
        _key("power"),
        _DOUBLE(4, result.power_dbfs),
        _key("length"),
        _UINT64(11, result.sample_count),
        _key("offset"),
        _UINT64(11, result.sample_start),
        _key("probabilities"),
        _F32VECTOR(10, 8, len(result.probabilities), 1),
        result.probabilities.astype(">f4").tobytes(),
        _key("confidence"),
        _DOUBLE(4, result.confidence),
        _key("label"),
        _symbol(result.label),
        _EMPTY,
    ]
    return pmt.deserialize_str(b"".join(parts))


def from_pmt(message) -> Result:
    """The result that ``to_pmt`` made the message of."""
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
