# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs four classifiers on signals at four frequencies into one label display, and takes a picture of it.

    python -m tests.grc.run_display FILE.png [--model M] [--seconds 30]

Signals come, change and go in the course of the seconds, at the speed of a receiver. Prints a JSON object with what
the display's strips show at the end: for each frequency in Hz, its labels in order, the short ones left out.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pmt
from gnuradio import amc, blocks, gr
from gnuradio.amc.demo import NOISE, make_passage
from gnuradio.amc.display_state import COLUMNS, EMPTY
from gnuradio.amc.strips import long_runs
from PyQt5.QtCore import QTimer
from PyQt5.QtWidgets import QApplication

from tests.helpers.flowgraphs import tag

SIZE = 800, 520
RATE = 20e3  # samples a second: twenty windows
WINDOWS = 40  # of a passage, repeated for as long as it lasts
SILENCE = ""
# For each frequency in Hz: what is sent, and its share of the time.
SIGNALS = {
    446.00625e6: [("FM", 0.3), (SILENCE, 0.2), ("FM", 0.5)],
    434.1e6: [("8PSK", 0.55), ("BPSK", 0.45)],
    433.92e6: [("OOK", 0.2), (NOISE, 0.15), ("OOK", 0.15), (NOISE, 0.25), ("OOK", 0.25)],
    433.3255e6: [("GMSK", 0.4), (SILENCE, 0.1), ("QPSK", 0.5)],
}
SNR_DB = 20


def signal(parts, seconds, seed):
    """Complex64 samples of the parts, one after the other."""
    made = []
    for number, (name, share) in enumerate(parts):
        count = round(share * seconds * RATE)
        if name == SILENCE:
            made.append(np.zeros(count, np.complex64))
        else:
            passage = make_passage(name, None if name == NOISE else SNR_DB, 1024 * WINDOWS, seed + number)
            made.append(np.resize(passage, count))
    return np.concatenate(made)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("picture", type=Path)
    parser.add_argument("--model", default="", help="empty: the network that comes with gr-amc")
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()

    application = QApplication(sys.argv[:1])
    top = gr.top_block()
    display = amc.label_display(model=options.model, history=options.seconds)
    classifiers = []  # Python blocks live as long as something in Python holds them
    for number, (frequency, parts) in enumerate(SIGNALS.items()):
        samples = signal(parts, options.seconds, 100 * number)
        source = blocks.vector_source_c(samples.tolist(), False, 1, [tag(0, "rx_freq", pmt.from_double(frequency))])
        classifier = amc.classifier(model=options.model)
        classifiers.append(classifier)
        # A vector source with tags gives all of its samples at once; behind the copy there is room for two windows.
        copy = blocks.copy(gr.sizeof_gr_complex)
        copy.set_max_output_buffer(0, 2048)
        top.connect(source, copy, blocks.throttle(gr.sizeof_gr_complex, RATE), classifier)
        top.msg_connect(classifier, "labels", display, "labels")
        if number == 0:
            top.msg_connect(classifier, "status", display, "status")
    widget = display.qwidget()
    widget.resize(*SIZE)
    widget.show()
    top.start(1024)  # by default a stream as slow as these comes in pieces of half a second
    # A little before the end, so that it is seen at work.
    QTimer.singleShot(round(970 * options.seconds), application.quit)
    application.exec_()
    widget.grab().save(str(options.picture))
    short = COLUMNS // 20
    shown = {
        frequency: [
            display.state.labels[number]
            for number, begin, end in long_runs(cells, short)
            if number != EMPTY and end - begin > short
        ]
        for frequency, _, cells in display.state.rows
    }
    top.stop()
    top.wait()
    print(json.dumps(shown))


if __name__ == "__main__":
    main()
