# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a block's calls find Python's state of their thread as the last one left it."""

import threading

import numpy as np
import pytest
from gnuradio import blocks, gr
from gnuradio.amc.thread_state import KeptThreadState


class Remembering(gr.sync_block):
    """Leaves a mark in its thread's state at ``start``, and says of each later call whether it was there."""

    def __init__(self, keeps):
        gr.sync_block.__init__(self, name="remembering", in_sig=[np.complex64], out_sig=None)
        self.state = KeptThreadState() if keeps else None
        self.local = threading.local()
        self.found, self.stopped = [], []

    def start(self):
        if self.state:
            self.state.keep()
        self.local.mark = True
        return True

    def work(self, input_items, output_items):
        self.found.append(hasattr(self.local, "mark"))
        return len(input_items[0])

    def stop(self):
        self.stopped.append(hasattr(self.local, "mark"))
        if self.state:
            self.state.release()
        return True


@pytest.mark.parametrize("keeps", [True, False])
def test_the_state_of_a_thread_is_kept_until_its_block_stops(keeps):
    block = Remembering(keeps)
    top = gr.top_block()
    top.connect(blocks.null_source(gr.sizeof_gr_complex), blocks.head(gr.sizeof_gr_complex, 100_000), block)
    for _ in range(2):
        top.run()
    assert len(block.found) > 2
    assert block.found == [keeps] * len(block.found)
    assert block.stopped == [keeps] * 2
    assert not hasattr(block.local, "mark")


def test_a_state_that_was_never_kept_is_not_released():
    KeptThreadState().release()
