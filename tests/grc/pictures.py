# SPDX-License-Identifier: GPL-3.0-or-later
"""The pictures of the README: two examples running, a flowgraph in GNU Radio Companion, and the display.

    ./run exec python -m tests.grc.pictures FOLDER [--model MODEL] [--stages NAME=VALUE,... ...]

writes FOLDER/simulation.png, conditioner.png, display.png and flowgraph.png in a minute or two. Needs no display; the
last one needs Xvfb (package xvfb) and what GNU Radio Companion needs (gir1.2-gtk-3.0, python3-gi-cairo).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from unittest import mock

from .flowgraphs import GRC, generate, open_flowgraph, open_platform

SECONDS = 240
STAGES = [f"modulation={name},snr=20" for name in ("OOK", "8PSK", "BPSK", "GMSK", "FM", "16QAM", "QPSK")]
LABELS = 300  # of a stage, after those that are on their way: three seconds together
MOVES = [f"qpsk_frequency={frequency}" for frequency in (90e3, 120e3)]
MOVE_LABELS = 600


def run_window(python_file, *arguments):
    """Runs a generated Qt flowgraph without a display; ``arguments`` and what is returned: see ``run_window.py``."""
    return _without_display("tests.grc.run_window", python_file, *arguments)


def run_display(picture, *arguments):
    """Picture of a display with several frequencies; ``arguments`` and what is returned: see ``run_display.py``."""
    return _without_display("tests.grc.run_display", picture, *arguments)


def _without_display(module, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=GRC.parent,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
        timeout=SECONDS,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])  # blocks may have printed lines of their own before


@contextmanager
def display():
    """A display in memory, named in the environment while the context lasts."""
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1600x1200x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    try:
        with os.fdopen(read) as answer:
            number = answer.readline().strip()
        if not number:
            raise RuntimeError("Xvfb gave no display")
        with mock.patch.dict(os.environ, DISPLAY=f":{number}", GDK_BACKEND="x11"):
            yield
    finally:
        server.terminate()
        server.wait()


def take_window(example, picture, model, labels, stages):
    """Picture of a flowgraph's window in the last of the stages, each of so many labels."""
    platform = open_platform()
    with tempfile.TemporaryDirectory() as folder:
        python_file = generate(platform, open_flowgraph(platform, example), folder)
        settings = [f"--stage={stage}" for stage in stages]
        run_window(python_file, "--picture", picture, "--model", model, f"--labels={labels}", *settings)


def take_canvas(example, picture):
    """Picture of a flowgraph as GNU Radio Companion draws it, and the pairs of blocks that overlap there.

    Works once in a process, since GTK does not let go of its display.
    """
    with display():
        import gi

        gi.require_version("Gtk", "3.0")
        gi.require_version("PangoCairo", "1.0")
        from gi.repository import Gtk
        from gnuradio import gr
        from gnuradio.grc.gui.Platform import Platform  # isort: skip  # the others import each other in a circle
        from gnuradio.grc.gui import Actions, Utils
        from gnuradio.grc.gui.canvas import flowgraph as canvas

        application = Gtk.Application()
        application.register()
        Gtk.Application.set_default(application)
        # The context menu wants the main window, which a picture does without.
        with mock.patch.object(canvas, "_ContextMenu"):
            flowgraph = open_flowgraph(open_platform(Platform, install_prefix=gr.prefix()), example)
        # Whatever the settings of the user's own GNU Radio Companion are.
        Actions.TOGGLE_SHOW_BLOCK_COMMENTS.set_active(True)
        Actions.TOGGLE_HIDE_VARIABLES.set_active(False)
        Actions.TOGGLE_SHOW_FLOWGRAPH_COMPLEXITY.set_active(False)
        flowgraph.update()
        Utils.make_screenshot(flowgraph, str(picture))
        return overlaps(flowgraph)


def overlaps(flowgraph):
    """Names of the blocks, two by two, that cover each other on a canvas that has been drawn."""
    boxes = {
        block.name: (
            [*block.coordinate],
            [at + size for at, size in zip(block.coordinate, (block.width, block.height), strict=True)],
        )
        for block in flowgraph.blocks
    }
    return [
        (first, second)
        for first, second in combinations(boxes, 2)
        if all(boxes[first][0][axis] < boxes[second][1][axis] for axis in (0, 1))
        and all(boxes[second][0][axis] < boxes[first][1][axis] for axis in (0, 1))
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="", help="empty: the network that comes with gr-amc")
    parser.add_argument(
        "--stages",
        nargs="+",
        default=STAGES,
        help="variables of the simulation, one after the other; the window "
        "shows the last of them, and the slider stays at its 20 dB",
    )
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    example = GRC / "examples" / "amc_simulation.grc"
    take_window(example, options.folder / "simulation.png", options.model, LABELS, options.stages)
    take_window(
        example.with_name("amc_conditioner.grc"), options.folder / "conditioner.png", options.model, MOVE_LABELS, MOVES
    )
    run_display(options.folder / "display.png", "--model", options.model)
    take_canvas(example, options.folder / "flowgraph.png")


if __name__ == "__main__":
    main()
