# SPDX-License-Identifier: GPL-3.0-or-later
"""The stream tags that tell of time, tuning and sample rate, read from a block's input."""

from collections.abc import Callable

import pmt
from gnuradio import gr

from .limits import LATEST_TIME, usable_frequency, usable_rate

_NAMES = {"rx_time": "time", "rx_freq": "frequency", "rx_rate": "sample_rate"}


class TagReader:
    """Reads ``rx_time``, ``rx_freq`` and ``rx_rate`` from the input of ``block``.

    ``warn`` is called with a sentence for each of them that has a value of another type or beyond belief.
    """

    def __init__(self, block: gr.sync_block, warn: Callable[[str], None]) -> None:
        self._block, self._warn = block, warn
        self._keys = {key: pmt.intern(key) for key in _NAMES}

    def places(self, count: int) -> list[tuple[int, dict]]:
        """(sample number, what the tags there say) for each tagged place in the next ``count`` samples.

        What they say are ``time``, ``frequency`` and ``sample_rate`` as in ``StreamContext``.
        """
        places: dict[int, dict] = {}
        for tag in self._block.get_tags_in_window(0, 0, count):
            for key, name in _NAMES.items():
                if pmt.equal(tag.key, self._keys[key]):
                    value = self._value(key, tag)
                    if value is not None:
                        places.setdefault(tag.offset, {})[name] = value
        return sorted(places.items())

    def _value(self, key: str, tag) -> tuple[int, float] | float | None:
        """What the tag says, or None if it is of another type or beyond belief."""
        try:
            if key == "rx_time":
                seconds, fraction = (pmt.tuple_ref(tag.value, index) for index in (0, 1))
                value = pmt.to_uint64(seconds), pmt.to_double(fraction)
                usable = 0 <= value[1] < 1 and value[0] <= LATEST_TIME
            else:
                value = pmt.to_double(tag.value)
                usable = (usable_rate if key == "rx_rate" else usable_frequency)(value) is not None
        except Exception:  # pmt has its own exception types and raises standard ones too
            usable = False
        if usable:
            return value
        self._warn(f"tag {key} at sample {tag.offset} has the value {tag.value}, which is ignored")
        return None
