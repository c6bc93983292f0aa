# SPDX-License-Identifier: GPL-3.0-or-later
"""Short flowgraphs around the classifier, what their messages said, and messages like its own."""

import time
from contextlib import contextmanager

import numpy as np
import pmt
from gnuradio import amc, blocks, gr
from gnuradio.amc import demo

DEADLINE = 60.0
"""Seconds to wait for what should come at once."""


def eventually(condition):
    """Whether the condition comes true before the deadline."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@contextmanager
def running(top):
    """A flowgraph that runs, and is stopped whatever happens."""
    top.start()
    try:
        yield
    finally:
        top.stop()
        top.wait()


class MessageSink(gr.basic_block):
    """Keeps every message of the classifier's two ports as PMT, in order of arrival."""

    def __init__(self):
        gr.basic_block.__init__(self, name="message_sink", in_sig=None, out_sig=None)
        self.labels, self.status = [], []
        for port, handler in (("labels", self._on_label), ("status", self._on_status)):
            self.message_port_register_in(pmt.intern(port))
            self.set_msg_handler(pmt.intern(port), handler)

    def _on_label(self, message):
        self.labels.append(message)

    def _on_status(self, message):
        self.status.append(message)

    @property
    def names(self):
        return [pmt.to_python(message)["label"] for message in self.labels]

    @property
    def frequencies(self):
        """Of messages that all have one."""
        return [pmt.to_double(pmt.dict_ref(message, pmt.intern("frequency"), pmt.PMT_NIL)) for message in self.labels]


def message_of(result):
    """The PMT dictionary that a classifier publishes of a result, as GNU Radio puts it together."""
    values = {
        "label": pmt.intern(result.label),
        "confidence": pmt.from_double(result.confidence),
        "probabilities": pmt.init_f32vector(len(result.probabilities), result.probabilities.tolist()),
        "offset": pmt.from_uint64(result.sample_start),
        "length": pmt.from_uint64(result.sample_count),
        "power": pmt.from_double(result.power_dbfs),
    }
    if result.time is not None:
        values["time"] = pmt.make_tuple(pmt.from_uint64(result.time[0]), pmt.from_double(result.time[1]))
    for name in ("frequency", "bandwidth"):
        if getattr(result, name) is not None:
            values[name] = pmt.from_double(getattr(result, name))
    message = pmt.make_dict()
    for name, value in values.items():
        message = pmt.dict_add(message, pmt.intern(name), value)
    return message


class LabelSource(gr.basic_block):
    """Publishes messages on a port ``labels`` when it is told to, as a classifier does."""

    def __init__(self):
        gr.basic_block.__init__(self, name="label_source", in_sig=None, out_sig=None)
        self._port = pmt.intern("labels")
        self.message_port_register_out(self._port)

    def publish(self, *messages):
        for message in messages:
            self.message_port_pub(self._port, message)

    def finish(self):
        """Ends this block and its subscribers, after the messages so far."""
        self.to_basic_block()._post(pmt.intern("system"), pmt.cons(pmt.intern("done"), pmt.from_long(1)))


class Chopper(gr.sync_block):
    """Source of given samples in pieces of given lengths, then again from the first length."""

    def __init__(self, samples, lengths):
        gr.sync_block.__init__(self, name="chopper", in_sig=None, out_sig=[np.complex64])
        self.samples, self.lengths = samples, lengths
        self.done, self.calls = 0, 0

    def work(self, input_items, output_items):
        if self.done == len(self.samples):
            return -1
        length = self.lengths[self.calls % len(self.lengths)]
        part = self.samples[self.done : self.done + min(length, len(output_items[0]))]
        output_items[0][: len(part)] = part
        self.done += len(part)
        self.calls += 1
        return len(part)


class Run:
    """One flowgraph run to its end: ``labels`` and ``status`` as Python dictionaries, and the block."""

    def __init__(self, samples, *, tags=(), lengths=None, **settings):
        samples = np.asarray(samples, np.complex64)
        source = Chopper(samples, lengths) if lengths else blocks.vector_source_c(samples, False, 1, list(tags))
        self.block = amc.classifier(**settings)
        self.sink = MessageSink()
        self.top = gr.top_block()
        self.top.connect(source, self.block)
        for port in ("labels", "status"):
            self.top.msg_connect(self.block, port, self.sink, port)
        self.top.run()
        self.labels = [pmt.to_python(message) for message in self.sink.labels]
        self.status = [pmt.to_python(message) for message in self.sink.status]

    @property
    def offsets(self):
        return [message["offset"] for message in self.labels]

    @property
    def names(self):
        return [message["label"] for message in self.labels]


def tag(offset, key, value):
    made = gr.tag_t()
    made.offset, made.key, made.value, made.srcid = offset, pmt.intern(key), value, pmt.PMT_F
    return made


def rx_time(offset, seconds, fraction):
    return tag(offset, "rx_time", pmt.make_tuple(pmt.from_uint64(seconds), pmt.from_double(fraction)))


def steps(*levels, length=1024):
    """Samples of constant level, ``length`` each: the tiny models tell 0, 0.5 and 1 apart."""
    return np.repeat(np.array(levels, np.complex64), length)


def modulated(name, windows=256, snr_db=20):
    """Samples of a demo modulation at 8 samples per symbol, at a level that leaves 8-bit samples their noise."""
    return 3 * demo.make_passage(name, snr_db, windows * 1024, seed=1)
