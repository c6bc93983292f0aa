# SPDX-License-Identifier: GPL-3.0-or-later
"""The forms of a result: what is known is in all of them, what is not in none."""

import dataclasses
import re
import threading
from pathlib import Path

import numpy as np
import pmt
import pytest
from gnuradio import blocks, gr
from gnuradio.amc._messages import publish
from gnuradio.amc.report import Result, from_pmt, to_json

from tests.helpers.flowgraphs import LabelSource, MessageSink, eventually, message_of, running

KNOWN = {"time": (1_700_000_000, 0.25), "frequency": 433.92e6, "bandwidth": 25e3}


@pytest.mark.parametrize("names", [(), ("frequency",), ("bandwidth",), tuple(KNOWN)])
def test_a_message_holds_the_whole_result(names):
    known = {name: KNOWN[name] for name in names}
    result = Result("A", 0.75, np.array([0.75, 0.25], np.float32), 10, 1024, -3.5, **known)
    again = from_pmt(message_of(result))
    np.testing.assert_array_equal(again.probabilities, result.probabilities)
    assert dataclasses.replace(again, probabilities=None) == dataclasses.replace(result, probabilities=None)
    content = to_json(result, ("A", "B"))
    assert {name for name in KNOWN if name in content} == set(names)
    assert ("frequency_lower_edge" in content) == ({"frequency", "bandwidth"} <= set(names))


def publish_batch(source, results):
    publish(
        source.to_basic_block(),
        pmt.intern("labels"),
        [result.label for result in results],
        np.array([result.confidence for result in results]),
        np.array([result.probabilities for result in results]),
        np.array([result.sample_start for result in results]),
        1024,
        np.array([result.power_dbfs for result in results]),
        [result.time for result in results],
        results[0].frequency,
        waits=False,
    )


def numbered(label, numbers):
    return [Result(label, 1.0, np.ones(2, np.float32), number, 1024, 0.0) for number in numbers]


@pytest.mark.parametrize("names", [(), ("time",), ("frequency",), ("time", "frequency")])
def test_a_batch_is_published_as_gnu_radio_puts_its_messages_together(names):
    known = {name: KNOWN[name] for name in names}
    rng = np.random.default_rng(len(names))
    expected = [
        Result(label, confidence, rng.random(300).astype(np.float32), start, 1024, power, **known)
        for label, confidence, start, power in [
            ("QPSK", 0.1, 0, -1e-300),
            ("π/4-DQPSK", 1.0, 2**62 + 1, -100.0),
            ("x" * 300, 0.0, 7, 0.0),
        ]
    ]
    source, sink, top = LabelSource(), MessageSink(), gr.top_block()
    top.msg_connect(source, "labels", sink, "labels")
    with running(top):
        publish_batch(source, expected)
        assert eventually(lambda: len(sink.labels) == len(expected))
    for message, result in zip(sink.labels, expected, strict=True):
        assert pmt.is_dict(message)
        assert pmt.equal(message, message_of(result))
        assert pmt.eq(pmt.dict_ref(message, pmt.intern("label"), pmt.PMT_NIL), pmt.intern(result.label))
        assert str(message) == str(message_of(result))


def test_whoever_subscribes_hears_all_of_several_that_publish_at_once_in_the_order_of_each():
    together, one_by_one = [LabelSource(), LabelSource()], LabelSource()
    sinks, top = [MessageSink(), MessageSink()], gr.top_block()
    sinks[1].set_block_alias("by another name")
    for source in (*together, one_by_one):
        for sink in sinks:
            top.msg_connect(source, "labels", sink, "labels")

    def publish_batches(source, label):
        for begin in range(0, 2000, 20):
            publish_batch(source, numbered(label, range(begin, begin + 20)))

    def publish_one_by_one():
        for result in numbered("C", range(2000)):
            one_by_one.publish(message_of(result))

    with running(top):
        threads = [threading.Thread(target=publish_batches, args=pair) for pair in zip(together, "AB", strict=True)]
        threads.append(threading.Thread(target=publish_one_by_one))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert eventually(lambda: all(len(sink.labels) == 6000 for sink in sinks))
    for sink in sinks:
        results = [from_pmt(message) for message in sink.labels]
        for label in "ABC":
            assert [result.sample_start for result in results if result.label == label] == list(range(2000))


def test_a_subscriber_is_woken_once_for_a_batch():
    source, sink, top = LabelSource(), blocks.message_debug(), gr.top_block()
    top.msg_connect(source, "labels", sink, "store")
    batches, results, others = 100, numbered("A", range(200)), threads()
    with running(top):
        for batch in range(1 + batches):
            publish_batch(source, results)
            assert eventually(lambda count=(1 + batch) * 200: sink.num_messages() == count)
            if batch == 0:
                of_blocks = threads() - others
                begun = voluntary_switches(of_blocks)
        # Woken for each message, it was put to sleep more than 20 times a batch.
        assert voluntary_switches(of_blocks) - begun < 5 * batches


def threads():
    """Where the system keeps what it knows of this process's threads."""
    return set(Path("/proc/self/task").iterdir())


def voluntary_switches(some):
    """How often threads gave their processor away, to wait for something."""
    found = [
        re.search(r"^voluntary_ctxt_switches:\s*(\d+)", (one / "status").read_text(), re.MULTILINE) for one in some
    ]
    return sum(int(match[1]) for match in found)


def test_nobody_need_subscribe():
    source, top = LabelSource(), gr.top_block()
    publish_batch(source, numbered("A", range(3)))
    sink = MessageSink()
    top.msg_connect(source, "labels", sink, "labels")
    with running(top):
        publish_batch(source, numbered("B", range(3)))
        assert eventually(lambda: sink.names == ["B"] * 3)


def test_columns_of_a_batch_that_do_not_fit_are_refused():
    source, port = LabelSource(), pmt.intern("labels")
    with pytest.raises(ValueError, match="each column must have one entry for each label"):
        publish(
            source.to_basic_block(), port, ["A"], np.zeros(2), np.zeros((1, 3)), [0], 1024, [0.0], [None], None, False
        )
    with pytest.raises(TypeError, match="incompatible function arguments"):
        publish(None, port, ["A"], [1.0], np.zeros((1, 3)), [0], 1024, [0.0], [None], None, False)


def test_the_edges_of_a_signal():
    result = Result("A", 1.0, np.ones(1, np.float32), 0, 1024, 0.0, frequency=100e3, bandwidth=20e3)
    assert result.edges == (90e3, 110e3)
    content = to_json(result, ("A",))
    assert (content["frequency_lower_edge"], content["frequency_upper_edge"]) == (90e3, 110e3)
