# SPDX-License-Identifier: GPL-3.0-or-later
"""A live receiver for a while: rtl_tcp's protocol over loopback, gr-osmosdr's client, the block with overload drop.

    ./run exec python -m tests.bench.live [--seconds 60] [--rate 2.4e6]

prints a JSON object that says what became of every window. On the air is QPSK at 20 dB, as the demo makes it.
"""

import argparse
import json
import time

from gnuradio import amc, blocks, gr

from tests.helpers.flowgraphs import MessageSink, modulated
from tests.helpers.rtl_tcp_server import RtlTcpServer

FREQUENCY = 433_920_000
SIGNAL = "QPSK"


def measure(seconds: float, rate: float) -> dict:
    """Counts of windows: ``sent``, those of the block's status port, and ``right``; ``seconds`` is how long it took."""
    import osmosdr  # tells of itself on the terminal when imported

    count = round(seconds * rate / 1024)
    with RtlTcpServer({FREQUENCY: modulated(SIGNAL)}) as server:
        source = osmosdr.source(args=f"rtl_tcp={server.address}")
        source.set_sample_rate(rate)
        source.set_center_freq(FREQUENCY)
        watch, block, sink = amc.receiver_watch(FREQUENCY), amc.classifier(overload="drop"), MessageSink()
        top = gr.top_block()
        top.connect(source, blocks.head(gr.sizeof_gr_complex, count * 1024), watch, block)
        top.msg_connect(block, "labels", sink, "labels")
        began = time.perf_counter()
        top.run()
        took = time.perf_counter() - began
    right = sum(name == SIGNAL for name in sink.names)
    return {"sent": count, **block.counters, "right": right, "seconds": took, "rate_msps": count * 1024 / took / 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.live", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=2.4e6, help="samples per second (2.4e6)")
    options = parser.parse_args()
    print(json.dumps(measure(options.seconds, options.rate), indent=1))


if __name__ == "__main__":
    main()
