# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a generated Qt flowgraph with a classifier through some stages, and takes a picture of its window.

    python -m tests.grc.run_window FLOWGRAPH.py --stage NAME=VALUE,... [--stage ...] [--model M] [--picture FILE.png]

A stage sets variables while the flowgraph runs and then takes ``--labels`` labels. Prints a JSON list with one
list a stage of [label, power in dBFS]. Meant for a process of its own with a time limit: it waits for the labels.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path

import pmt
from gnuradio import gr
from PyQt5 import Qt

SIZE = 1100, 800  # pixels, whatever size the user's own window was left with
MILLISECONDS_TO_DRAW = 500
# Samples of before a stage that may still be on their way, in buffers and in the classifier's queue, as windows.
UNDERWAY = 300


class Recorder(gr.basic_block):
    """Keeps label and power of every message."""

    def __init__(self):
        gr.basic_block.__init__(self, name="recorder", in_sig=None, out_sig=None)
        self.results = []
        self.message_port_register_in(pmt.intern("labels"))
        self.set_msg_handler(pmt.intern("labels"), self.keep)

    def keep(self, message):
        content = pmt.to_python(message)
        self.results.append((content["label"], content["power"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("flowgraph", type=Path)
    parser.add_argument("--stage", action="append", required=True, metavar="NAME=VALUE,...")
    parser.add_argument("--model", default="", help="empty: the network that comes with gr-amc")
    parser.add_argument("--labels", type=int, default=50)
    parser.add_argument("--picture", type=Path, help="of the window in the last stage")
    options = parser.parse_args()

    sys.path.insert(0, str(options.flowgraph.parent))
    name = options.flowgraph.stem
    application = Qt.QApplication(sys.argv[:1])
    top = getattr(importlib.import_module(name), name)(model=options.model)
    recorder = Recorder()
    top.msg_connect((top.classifier, "labels"), (recorder, "labels"))
    stages = [dict(setting.split("=") for setting in stage.split(",")) for stage in options.stage]
    results = []

    def begin():
        for variable, value in stages[len(results)].items():
            getattr(top, f"set_{variable}")(type(getattr(top, variable))(value))
        recorder.results.clear()

    def look():
        if top.classifier.error:
            finish()
        elif len(recorder.results) >= UNDERWAY + options.labels:
            results.append(recorder.results[UNDERWAY : UNDERWAY + options.labels])
            if len(results) < len(stages):
                begin()
            else:
                timer.stop()
                Qt.QTimer.singleShot(MILLISECONDS_TO_DRAW, finish)

    def finish():
        timer.stop()
        if options.picture:
            top.grab().save(str(options.picture))
        top.stop()
        top.wait()
        application.quit()

    timer = Qt.QTimer()
    timer.timeout.connect(look)
    timer.start(20)
    top.resize(*SIZE)
    top.start()
    top.show()
    begin()
    application.exec_()
    if top.classifier.error:
        sys.exit(str(top.classifier.error))
    print(json.dumps(results))


if __name__ == "__main__":
    main()
