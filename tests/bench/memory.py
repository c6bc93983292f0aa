# SPDX-License-Identifier: GPL-3.0-or-later
"""Resident memory of a flowgraph with the block, while it runs.

``python -m tests.bench.memory MODEL SMALL LARGE`` is the process looked at: nothing but the flowgraph
is in it. It prints JSON.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pmt
from gnuradio import amc, blocks, gr
from gnuradio.amc.errors import AmcError

from .measure import Effort, summary

ROOT = Path(__file__).parents[2]
LOOKS = 10
FLAT = 1.05
"""Largest ratio of the two sizes that counts as flat."""


def resident_bytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class _Looker(gr.basic_block):
    """Counts label messages and looks at the memory when their number reaches one of ``windows``."""

    def __init__(self, windows: list[int]) -> None:
        gr.basic_block.__init__(self, name="looker", in_sig=None, out_sig=None)
        self.sizes = dict.fromkeys(windows, 0)
        self.count = 0
        self.message_port_register_in(pmt.intern("labels"))
        self.set_msg_handler(pmt.intern("labels"), self._on_message)

    def _on_message(self, message) -> None:
        self.count += 1
        if self.count in self.sizes:
            self.sizes[self.count] = resident_bytes()


def _look(model: str, small: int, large: int) -> list[dict]:
    """Resident bytes after ``small`` and after each tenth of ``large`` samples; raises AmcError."""
    window = amc.load_model(model).window
    block = amc.classifier(model, hop=window, publish="every")
    generator = np.random.default_rng(1)
    noise = generator.standard_normal((64 * window, 2), np.float32).view(np.complex64).ravel()
    marks = sorted({small, *(large * look // LOOKS for look in range(1, LOOKS + 1))})
    looker = _Looker([mark // window for mark in marks])
    top = gr.top_block()
    top.connect(blocks.vector_source_c(noise, True), blocks.head(gr.sizeof_gr_complex, large), block)
    top.msg_connect(block, "labels", looker, "labels")
    top.run()
    if block.error is not None:
        raise block.error
    return [{"samples": mark, "bytes": looker.sizes[mark // window]} for mark in marks]


def measure(path: Path, effort: Effort) -> tuple[list[dict], dict]:
    """The ratio of resident memory after the larger number of samples to that after the smaller, and all looks."""
    small, large = effort.memory_samples
    command = [sys.executable, "-m", "tests.bench.memory", str(path.resolve()), str(small), str(large)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    if done.returncode:
        raise AmcError(f"the flowgraph whose memory is measured ended with code {done.returncode}; see above.")
    looks = json.loads(done.stdout)
    sizes = {look["samples"]: look["bytes"] for look in looks}
    ratio = sizes[large] / sizes[small]
    name = f"resident memory after {large:.0e} samples / after {small:.0e}"
    found = {"name": name, **summary([ratio]), "aim": f"flat, at most {FLAT}", "met": ratio <= FLAT}
    return [found], {"looks": looks}


if __name__ == "__main__":
    try:
        print(json.dumps(_look(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
    except AmcError as error:
        sys.exit(str(error))
