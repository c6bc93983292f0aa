# SPDX-License-Identifier: GPL-3.0-or-later
"""The forms of a result: what is known is in all of them, what is not in none."""

import dataclasses

import numpy as np
import pmt
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


@pytest.mark.parametrize("names", [(), ("time",), ("frequency",), ("frequency", "bandwidth"), tuple(KNOWN)])
@pytest.mark.parametrize("label", ["QPSK", "π/4-DQPSK", "x" * 300])
def test_a_message_is_what_gnu_radio_puts_together(names, label):
    probabilities = np.random.default_rng(len(names)).random(300).astype(np.float32)
    known = {name: KNOWN[name] for name in names}
    values = {
        "label": pmt.intern(label),
        "confidence": pmt.from_double(0.1),
        "probabilities": pmt.init_f32vector(300, probabilities.tolist()),
        "offset": pmt.from_uint64(2**63 + 1),
        "length": pmt.from_uint64(1024),
        "power": pmt.from_double(-1e-300),
    }
    if "time" in known:
        values["time"] = pmt.make_tuple(pmt.from_uint64(known["time"][0]), pmt.from_double(known["time"][1]))
    values |= {name: pmt.from_double(value) for name, value in known.items() if name != "time"}
    expected = pmt.make_dict()
    for name, value in values.items():
        expected = pmt.dict_add(expected, pmt.intern(name), value)
    message = to_pmt(Result(label, 0.1, probabilities, 2**63 + 1, 1024, -1e-300, **known))
    assert pmt.is_dict(message)
    assert pmt.equal(message, expected)
    assert pmt.eq(pmt.dict_ref(message, pmt.intern("label"), pmt.PMT_NIL), values["label"])
    assert str(message) == str(expected)


def test_the_edges_of_a_signal():
    result = Result("A", 1.0, np.ones(1, np.float32), 0, 1024, 0.0, frequency=100e3, bandwidth=20e3)
    assert result.edges == (90e3, 110e3)
    content = to_json(result, ("A",))
    assert (content["frequency_lower_edge"], content["frequency_upper_edge"]) == (90e3, 110e3)
