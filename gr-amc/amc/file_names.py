# SPDX-License-Identifier: GPL-3.0-or-later
"""What the name of a file tells of the samples in it."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from .limits import usable_frequency, usable_rate, whole_seconds
from .sample_formats import ALIASES


@dataclass(frozen=True)
class NameHints:
    """What the name of a file tells; None where it does not."""

    format: str | None = None
    sample_rate: float | None = None
    frequency: float | None = None
    time: tuple[int, float] | None = None


_SCALES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_GQRX = re.compile(r"gqrx_(\d{8})_(\d{6})_(\d+)_(\d+)_fc\.raw", re.ASCII | re.IGNORECASE)
_RATE = re.compile(
    r"(?:^|[_\- ])(\d+(?:\.\d+)?)(?:(?P<bare>[kKM])|(?P<scale>[kKmMgG]?)(?i:sps))(?=[_\- .]|$)", re.ASCII
)
# With a minus before it, the point may be written as an underscore (Universal Radio Hacker).
_FREQUENCY = re.compile(
    r"(?:-(?=\d+_\d)|^|[_\- ])(\d+(?:\.\d+)?|(?<=-)\d+_\d+)([kmg]?)hz(?=[_\- .]|$)", re.ASCII | re.I
)
_MOMENT = re.compile(r"(?:^|[_\- ])(\d{8})[_\-T](\d{6})Z(?=[_\- .]|$)", re.ASCII)


def hints_from_name(name: str) -> NameHints:
    """What the file name tells of format, rate in samples per second, frequency in Hz and time."""
    gqrx = _GQRX.fullmatch(name)
    if gqrx:
        date, clock, frequency, rate = gqrx.groups()
        return NameHints("cf32", usable_rate(float(rate)), usable_frequency(float(frequency)), _moment(date, clock))
    # What follows the last point may be no ending but half a number, as in rec_2.4Msps.
    ending = name.rpartition(".")[2].lower()
    words = [ending, *re.split(r"[^a-z0-9]+", name.lower())]
    # .iq says only that it is complex, so another word of the name is heard first.
    known = [word for word in words if word in ALIASES or word == "wav"]
    chosen = next((word for word in known if word != "iq"), known[0] if ending == "iq" else None)
    rate = max(_RATE.finditer(name), key=_certainty, default=None)
    frequency, moment = _FREQUENCY.search(name), _MOMENT.search(name)
    return NameHints(
        chosen,
        usable_rate(float(rate[1]) * _SCALES[(rate["bare"] or rate["scale"]).lower()]) if rate else None,
        usable_frequency(float(frequency[1].replace("_", ".")) * _SCALES[frequency[2].lower()]) if frequency else None,
        _moment(*moment.groups()) if moment else None,
    )


def _certainty(rate: re.Match) -> int:
    """How surely a number is a rate: rtl_433 writes that with a bare k, and the frequency before it with a bare M."""
    return {"": 2, "k": 1, "m": 0}[(rate["bare"] or "").lower()]


def _moment(date: str, clock: str) -> tuple[int, float] | None:
    try:
        moment = datetime.strptime(date + clock, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return whole_seconds(moment), 0.0
