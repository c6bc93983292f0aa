# SPDX-License-Identifier: GPL-3.0-or-later
"""The forms of a result: what is known is in all of them, what is not in none."""

import dataclasses

import numpy as np
import pytest
from gnuradio.amc.report import Result, from_pmt, to_json, to_pmt

KNOWN = {"time": (1_700_000_000, 0.25), "frequency": 433.92e6, "bandwidth": 25e3}


@pytest.mark.parametrize("names", [(), ("frequency",), ("bandwidth",), tuple(KNOWN)])
def test_a_message_holds_the_whole_result(names):
    known = {name: KNOWN[name] for name in names}
    result = Result("A", 0.75, np.array([0.75, 0.25], np.float32), 10, 1024, -3.5, **known)
    again = from_pmt(to_pmt(result))
    np.testing.assert_array_equal(again.probabilities, result.probabilities)
    assert dataclasses.replace(again, probabilities=None) == dataclasses.replace(result, probabilities=None)
    content = to_json(result, ("A", "B"))
    assert {name for name in KNOWN if name in content} == set(names)
    assert ("frequency_lower_edge" in content) == ({"frequency", "bandwidth"} <= set(names))


def test_the_edges_of_a_signal():
    result = Result("A", 1.0, np.ones(1, np.float32), 0, 1024, 0.0, frequency=100e3, bandwidth=20e3)
    assert result.edges == (90e3, 110e3)
    content = to_json(result, ("A",))
    assert (content["frequency_lower_edge"], content["frequency_upper_edge"]) == (90e3, 110e3)
