# SPDX-License-Identifier: GPL-3.0-or-later
"""The block behind a receiver's source: marks retunes, and notices a receiver that is gone."""

import os
import sys
import threading
import time

import numpy as np
import pmt
from gnuradio import gr

from .errors import AmcError, first_line
from .limits import checked_frequency
from .thread_state import KeptThreadState
from .windows import checked_count

LONGEST_SETTLE = 1 << 31
GONE = 1  # exit code of a process whose receiver is gone


class receiver_watch(gr.sync_block):
    """Hands a receiver's samples on, and says in stream tags what its source does not.

    Of the sources for receivers gr-uhd tags a retune, gr-soapy does so from GNU Radio 3.10.6 on, gr-osmosdr never.

    Input and output: complex64 samples. A tag ``rx_freq`` with ``frequency`` stands at the first sample, at a retune
    and behind it, and at the first sample after silence: each begins a new stretch in ``classifier``. From a retune on
    ``settle`` samples are set to zero, which ``classifier`` ignores: they may still come from before it.

    Parameters
    ----------
    frequency : what the receiver is tuned to, in Hz
    settle : samples that are set to zero at a retune
    patience : seconds without a sample after which the receiver is silent, which is said once in the log
    end_process : whether silence also ends the process, at once and with exit code 1. There are sources that neither
        end nor can be stopped once their receiver is gone, gr-osmosdr's for rtl_tcp among them.

    Raises AmcError for settings out of range.
    """

    def __init__(self, frequency: float, settle: int = 0, patience: float = 5.0, end_process: bool = False) -> None:
        gr.sync_block.__init__(self, name="amc_receiver_watch", in_sig=[np.complex64], out_sig=[np.complex64])
        if not patience > 0:
            raise AmcError(f"patience is {patience}; it must be more than zero seconds.")
        self.set_frequency(frequency)
        self.settle = checked_count("settle", settle, LONGEST_SETTLE, least=0)
        self.patience, self.end_process = patience, end_process
        self._key = pmt.intern("rx_freq")
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._thread_state = KeptThreadState()

    def set_frequency(self, frequency: float) -> None:
        """To be called together with the retune of the source."""
        self.frequency = checked_frequency("frequency", frequency)

    def start(self) -> bool:
        self._thread_state.keep()
        self._tuned = self.frequency
        self._settling = 0
        self._tag_due = True
        self._last_samples = time.monotonic()
        self._stopped.clear()
        thread = threading.Thread(target=self._watch, name="amc receiver watch", daemon=True)
        try:
            thread.start()
            self._thread = thread
        except Exception as error:  # one that leaves start() would leave the flowgraph hanging
            self.logger.error(f"silence of the receiver will not be noticed: {first_line(error)}")
        return True

    def stop(self) -> bool:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._thread_state.release()
        return True

    def work(self, input_items, output_items) -> int:
        self._last_samples = time.monotonic()
        samples, out = input_items[0], output_items[0]
        if self._tuned != self.frequency:
            self._tuned = self.frequency
            self._settling = self.settle
            self._tag_due = True
        if self._tag_due:
            self._tag_due = False
            self.add_item_tag(0, self.nitems_written(0), self._key, pmt.from_double(self._tuned))
        if self._settling:
            count = min(len(samples), self._settling)
            out[:count] = 0
            self._settling -= count
            self._tag_due = self._settling == 0
            return count
        out[:] = samples
        return len(samples)

    def _watch(self) -> None:
        """Says once that the receiver is silent, and again only after samples have come."""
        silent = False
        while not self._stopped.wait(min(self.patience / 10, threading.TIMEOUT_MAX)):
            was_silent, silent = silent, time.monotonic() - self._last_samples > self.patience
            if silent and not was_silent:
                self._tag_due = True
                self.logger.error(f"no samples for {self.patience:g} s: the receiver, or the server it is at, is gone")
                if self.end_process:
                    sys.stdout.flush()
                    os._exit(GONE)
