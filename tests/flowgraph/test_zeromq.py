# SPDX-License-Identifier: GPL-3.0-or-later
"""A receiver host and a classifier host, joined by GNU Radio's ZeroMQ blocks over loopback."""

import importlib.util
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager

import numpy as np
import pmt
import pytest
from gnuradio import amc, blocks, gr

from tests.grc.flowgraphs import GRC, generate, open_flowgraph, open_platform
from tests.helpers.flowgraphs import DEADLINE, MessageSink, eventually, modulated, running
from tests.helpers.rtl_tcp_server import FREQUENCY, RtlTcpServer
from tests.helpers.tiny_models import write_model

zeromq = pytest.importorskip("gnuradio.zeromq", reason="this GNU Radio was built without ZeroMQ")

pytestmark = pytest.mark.hard_timeout(240)


def test_the_tags_of_a_retune_reach_the_other_side(tmp_path):
    source = blocks.vector_source_c(np.ones(1000), True)
    pace = blocks.throttle(gr.sizeof_gr_complex, 1e6)
    watch = amc.receiver_watch(100e6)
    publisher = zeromq.pub_sink(gr.sizeof_gr_complex, 1, "tcp://127.0.0.1:*", 100, True, -1, "")
    receiver = gr.top_block()
    receiver.connect(source, pace, watch, publisher)

    subscriber = zeromq.sub_source(gr.sizeof_gr_complex, 1, publisher.last_endpoint(), 100, True, -1, "")
    block, sink = amc.classifier(model=str(write_model(tmp_path / "tiny.onnx"))), MessageSink()
    host = gr.top_block()
    host.connect(subscriber, block)
    host.msg_connect(block, "labels", sink, "labels")

    def last_frequency():
        return pmt.to_python(sink.labels[-1]).get("frequency") if sink.labels else 0

    with running(host), running(receiver):
        assert eventually(lambda: last_frequency() != 0)
        watch.set_frequency(200e6)
        assert eventually(lambda: last_frequency() == 200e6)


def free_addresses(count):
    """Addresses on loopback whose ports nobody has at this moment."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"tcp://127.0.0.1:{one.getsockname()[1]}" for one in listeners]
    for one in listeners:
        one.close()
    return addresses


class Example:
    """An example that runs as a process of its own; ``lines`` fills with what it prints."""

    def __init__(self, python_file, *arguments):
        command = [sys.executable, "-u", str(python_file), *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)

    def said(self, word, since=0):
        return eventually(lambda: any(word in line for line in self.lines[since:]))

    def end(self, number):
        """Sends the signal and returns the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        self.process.stdout.close()
        return code


@contextmanager
def processes():
    """A function that starts an example; what still runs at the end is killed."""
    started = []

    def start(*arguments):
        started.append(Example(*arguments))
        return started[-1]

    try:
        yield start
    finally:
        for example in started:
            if example.process.poll() is None:
                example.end(signal.SIGKILL)


@pytest.mark.skipif(not importlib.util.find_spec("osmosdr"), reason="gr-osmosdr is not installed")
@pytest.mark.skipif(not amc.released_models(), reason="no released model is in the package")
def test_a_classifier_that_is_killed_and_started_again_disturbs_nothing_else(tmp_path):
    platform = open_platform()
    receiver_file, classifier_file = (
        generate(platform, open_flowgraph(platform, GRC / "examples" / f"amc_zeromq_{host}.grc"), tmp_path)
        for host in ("receiver", "classifier")
    )
    samples, labels = free_addresses(2)
    addresses = [f"--samples={samples}", f"--labels={labels}"]
    station = 100_000_000
    with RtlTcpServer({station: modulated("QPSK")}) as server, processes() as start:
        device = f"--device=rtl_tcp={server.address}"
        receiver = start(receiver_file, device, "--frequency=100e6", "--samp-rate=1.024e6", *addresses)
        assert server.commands_until(FREQUENCY, station)
        first = start(classifier_file, *addresses)
        assert receiver.said("QPSK")
        server.play({station: modulated("GMSK")})
        assert receiver.said("GMSK")

        assert first.end(signal.SIGKILL) == -signal.SIGKILL
        sent, commands, printed = server.sent(), list(server.commands), len(receiver.lines)
        assert eventually(lambda: server.sent() > sent + 1_000_000)
        assert len(receiver.lines) == printed

        second = start(classifier_file, *addresses)
        assert receiver.said("GMSK", since=printed)
        server.play({station: modulated("QPSK")})
        assert receiver.said("QPSK", since=printed)
        assert receiver.process.poll() is None
        sent = server.sent()
        assert server.commands == commands  # no second connection, no other setting

        assert second.end(signal.SIGTERM) == 0
        assert eventually(lambda: server.sent() > sent + 100_000)
        assert receiver.end(signal.SIGTERM) == 0
    counts = "".join(second.lines)
    assert "errors . 0" in counts
    assert re.search(r"windows \. [1-9]", counts)
