# SPDX-License-Identifier: GPL-3.0-or-later
"""A live flowgraph for long: a source as fast as it goes, retunes, silence, and more windows than can be classified.

    ./run exec python -m tests.bench.soak [--samples 1e9] [--model MODEL]

prints a JSON object: what became of every window, whether that adds up, and the resident memory at each tenth of the
way. The stream is tagged with a retune (``rx_freq``) every 50,021 samples, of which the last 869 fill no window.
"""

import argparse
import json
import sys
import time

import numpy as np
import pmt
from gnuradio import amc, blocks, gr
from gnuradio.amc.errors import AmcError

from tests.helpers.flowgraphs import modulated, tag

from .memory import LOOKS, resident_bytes

STRETCH = 50_021  # samples from one retune to the next
STRETCHES = 8  # after which the stream repeats itself
SILENT = 5  # the stretch of these that is silent


def _stream() -> blocks.vector_source_c:
    samples = np.resize(modulated("QPSK"), STRETCH * STRETCHES)
    samples[SILENT * STRETCH : (SILENT + 1) * STRETCH] = 0
    tags = [tag(number * STRETCH, "rx_freq", pmt.from_double(100e6 + number)) for number in range(STRETCHES)]
    return blocks.vector_source_c(samples, True, 1, tags)


class _Auditor(gr.basic_block):
    """Counts the labels, and those whose window is not where it should be or has another stretch's frequency."""

    def __init__(self, window: int) -> None:
        gr.basic_block.__init__(self, name="auditor", in_sig=None, out_sig=None)
        self.labels = self.misplaced = 0
        self._window = window
        self._offset, self._frequency = pmt.intern("offset"), pmt.intern("frequency")
        self.message_port_register_in(pmt.intern("labels"))
        self.set_msg_handler(pmt.intern("labels"), self._on_message)

    def _on_message(self, message) -> None:
        number, within = divmod(pmt.to_uint64(pmt.dict_ref(message, self._offset, pmt.PMT_NIL)), STRETCH)
        frequency = pmt.to_double(pmt.dict_ref(message, self._frequency, pmt.PMT_NIL))
        self.labels += 1
        if within % self._window or within + self._window > STRETCH or frequency != 100e6 + number % STRETCHES:
            self.misplaced += 1


def measure(samples: int, model: str = "") -> dict:
    """Counts of windows and resident bytes at each tenth of ``samples``; raises AmcError."""
    block = amc.classifier(model, overload="drop")
    window = amc.load_model(model).window
    auditor, head = _Auditor(window), blocks.head(gr.sizeof_gr_complex, samples)
    top = gr.top_block()
    top.connect(_stream(), head, block)
    top.msg_connect(block, "labels", auditor, "labels")
    marks = [samples * look // LOOKS for look in range(1, LOOKS + 1)]
    resident = []
    began = time.perf_counter()
    top.start()
    while len(resident) < LOOKS and block.error is None:
        if head.nitems_written(0) >= marks[len(resident)]:
            resident.append(resident_bytes())
        time.sleep(1e-3)
    top.wait()
    if block.error is not None:
        raise block.error
    took = time.perf_counter() - began
    cut = samples // STRETCH * (STRETCH // window) + samples % STRETCH // window
    return {
        "samples": samples,
        "cut": cut,
        **block.counters,
        "adds_up": sum(block.counters.values()) == cut and auditor.labels == block.counters["windows"],
        "misplaced": auditor.misplaced,
        "samples_in_no_window": samples - cut * window,
        "retunes": -(-samples // STRETCH) - 1,
        "resident_bytes": resident,
        "seconds": took,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=float, default=1e9, help="samples in all (1e9)")
    parser.add_argument("--model", default="", help="name of a released model or a path (the default model)")
    options = parser.parse_args()
    gr.logging().set_default_level(gr.log_levels.warn)  # every retune is a line for debugging
    try:
        print(json.dumps(measure(int(options.samples), options.model), indent=1))
    except AmcError as error:
        sys.exit(f"soak: {error}")


if __name__ == "__main__":
    main()
