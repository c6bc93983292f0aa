# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the JSON of SigMF metadata, and takes fields out of it that are as they must be."""

import json
import math
import re
from datetime import datetime
from typing import BinaryIO

from .errors import AmcError
from .limits import EARLIEST_TIME, LATEST_TIME, usable_frequency, whole_seconds

LARGEST_INDEX = (1 << 63) - 1
LARGEST_METADATA = 1 << 28


class Fields:
    """Takes fields out of metadata; raises an AmcError that names file and field when one is not as it must be.

    A field that is not there is None, or the default; an object is always due, and a list of them then empty.
    """

    def __init__(self, where: str) -> None:
        self.where = where

    def wrong(self, key: str, due: str) -> AmcError:
        """What to raise when a field is not what is due."""
        return AmcError(f"{key} in {self.where} is not {due}; correct the metadata.")

    def object(self, parent: dict, key: str) -> dict:
        value = parent.get(key) if isinstance(parent, dict) else None
        if not isinstance(value, dict):
            raise self.wrong(f"'{key}'", "there as a JSON object")
        return value

    def objects(self, parent: dict, key: str) -> list[dict]:
        value = parent.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.wrong(f"'{key}'", "a list of JSON objects")
        return value

    def number(self, parent: dict, key: str) -> float | None:
        """A frequency or rate."""
        value = parent.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or usable_frequency(value) is None:
            raise self.wrong(key, "a number of at most 1e12")
        return float(value)

    def index(self, parent: dict, key: str, default: int | None = None) -> int | None:
        """A number of samples or bytes. A default of -1 refuses a field that is not there."""
        value = parent.get(key, default)
        if value is None and default is None:
            return None
        whole = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value) and value == int(value))
        if isinstance(value, bool) or not whole or not 0 <= value <= LARGEST_INDEX:
            raise self.wrong(key, "a whole number from 0")
        return int(value)

    def time(self, parent: dict, key: str) -> tuple[int, float] | None:
        """An ISO 8601 time as whole seconds since 1970 and fraction; in UTC where it names no zone."""
        text = parent.get(key)
        if text is None:
            return None
        pattern = r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d):(\d\d)(?:[.,](\d{1,30}))?([Zz]|[+-]\d\d:?\d\d)?"
        match = re.fullmatch(pattern, text, re.ASCII) if isinstance(text, str) else None
        try:
            date, clock, second, fraction, zone = match.groups()
            zone = "+00:00" if zone in (None, "Z", "z") else zone
            minute = datetime.strptime(f"{date} {clock} {zone}", "%Y-%m-%d %H:%M %z")
        except (AttributeError, ValueError):
            raise self.wrong(key, "a time such as 2024-01-31T23:59:59.5Z") from None
        # By hand, because a leap second is 60 and a fraction may have more digits than a datetime holds.
        seconds = whole_seconds(minute) + min(int(second), 60)
        # Another zone's first or last hours may lie outside the years that UTC can be written in.
        if not EARLIEST_TIME <= seconds <= LATEST_TIME:
            raise self.wrong(key, "a time from year 1 to 9999-12-30 in UTC")
        return seconds, min(float(f"0.{fraction or 0}"), math.nextafter(1.0, 0.0))


def read_metadata(file: BinaryIO, where: str) -> dict:
    """The metadata in an open file that is named ``where``; raises AmcError if it is not a JSON object."""
    content = file.read(LARGEST_METADATA + 1)
    if len(content) > LARGEST_METADATA:
        raise AmcError(
            f"{where} is larger than {LARGEST_METADATA >> 20} MiB, so it is no SigMF metadata; name another."
        )

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON number")

    try:
        metadata = json.loads(content.decode("utf-8-sig"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, ValueError) else "nested too deeply"
        raise AmcError(f"{where} is not valid JSON ({reason[:120]}); correct it or fetch it again.") from None
    if not isinstance(metadata, dict):
        raise AmcError(f"{where} is not SigMF metadata, which is a JSON object; fetch it again.")
    return metadata
