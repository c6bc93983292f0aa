# SPDX-License-Identifier: GPL-3.0-or-later
"""Which numbers are taken at their word, wherever they were said: sample rates, frequencies, times."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from .errors import AmcError

LARGEST_HERTZ = 1e12
LOWEST_RATE = 1e-6
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST_TIME = (datetime(1, 1, 1, tzinfo=UTC) - EPOCH).total_seconds()
LATEST_TIME = (datetime(9999, 12, 31, tzinfo=UTC) - EPOCH).total_seconds()


def usable_rate(value: float) -> float | None:
    """A sample rate per second, or None for one that cannot be meant."""
    return value if LOWEST_RATE <= value <= LARGEST_HERTZ else None


def usable_frequency(value: float) -> float | None:
    """A frequency in Hz, or None for one that cannot be meant."""
    return value if abs(value) <= LARGEST_HERTZ else None


def checked_rate(name: str, value: float) -> float:
    """``value`` per second if it is usable; raises AmcError that names the setting."""
    return checked_number(name, value, usable_rate, f"from {LOWEST_RATE:g} to {LARGEST_HERTZ:g} Hz")


def checked_frequency(name: str, value: float) -> float:
    """``value`` in Hz if it is usable; raises AmcError that names the setting."""
    return checked_number(name, value, usable_frequency, f"within {LARGEST_HERTZ:g} Hz")


def checked_number(name: str, value: float, usable: Callable[[float], float | None], allowed: str) -> float:
    """What ``usable`` makes of ``value``; raises AmcError that names the setting and what is ``allowed``."""
    try:
        number = usable(float(value))
    except (TypeError, ValueError, OverflowError):  # no number, or one beyond all floats
        number = None
    if number is None:
        raise AmcError(f"{name} is {value}; it must be {allowed}.")
    return number


def whole_seconds(moment: datetime) -> int:
    """Seconds since 1970 of a moment with a time zone, rounded down."""
    return (moment - EPOCH) // timedelta(seconds=1)
