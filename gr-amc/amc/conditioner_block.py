# SPDX-License-Identifier: GPL-3.0-or-later
"""The block that finds signals in a wide stream, and makes of each what a classifier wants."""

import numpy as np
import pmt
from gnuradio import gr

from .bands import SHORTEST_SAMPLES
from .conditioner_work import ConditionerWork
from .conditioning import NARROWEST_BAND
from .errors import AmcError
from .limits import checked_frequency, checked_rate
from .model import DEFAULT_SAMPLES_PER_SYMBOL
from .signal_tracker import SignalTracker
from .stream_tags import TagReader
from .thread_state import KeptThreadState
from .windows import checked_count
from .word_to_end import begin_to_publish, prepare_to_end

SIGNALS = "signals"
MOST_SIGNALS = 8
LONGEST_INTERVAL = 60.0  # seconds
SAMPLES_PER_SYMBOL = 2.0, 64.0

_MILLISECONDS_TO_CALL_AGAIN = 1  # a source that had nothing to give; GNU Radio's own choice is 250


class _Intake(gr.sync_block):
    """Takes the samples from the flowgraph and parts them at discontinuities."""

    def __init__(self, work: ConditionerWork) -> None:
        gr.sync_block.__init__(self, name="amc_intake", in_sig=[np.complex64], out_sig=None)
        self._work = work
        self._tags = TagReader(self, lambda sentence: self.logger.warn(sentence))
        self._thread_state = KeptThreadState()

    def start(self) -> bool:
        self._thread_state.keep()
        self._work.start()
        return True

    def stop(self) -> bool:
        self._work.end_stream()
        self._thread_state.release()
        return True

    def work(self, input_items, output_items) -> int:
        samples = input_items[0]
        try:
            if self._work.wait_for_room():
                self._take(samples.copy())
                return len(samples)
        except Exception as error:  # one that leaves work() would leave the flowgraph hanging
            self._work.fail(error)
        # -1 is WORK_DONE: the flowgraph ends, and the caller finds the reason in `error`.
        return -1 if self._work.is_over else 0

    def _take(self, samples: np.ndarray) -> None:
        first = self.nitems_read(0)
        done = 0
        self._work.follow_setting(first)
        for offset, known in self._tags.places(len(samples)):
            self._work.put(samples[done : offset - first])
            done = offset - first
            self._work.change(offset, known)
        self._work.put(samples[done:])


class _Outlet(gr.basic_block):
    """Source of the conditioned samples.

    Owns the message port too: it ends when all has left, and GNU Radio ends the subscribers with it.
    """

    def __init__(self, outputs: int) -> None:
        gr.basic_block.__init__(self, name="amc_outlet", in_sig=None, out_sig=[np.complex64] * outputs)
        self.source: ConditionerWork
        self._port = pmt.intern(SIGNALS)
        self.message_port_register_out(self._port)
        self.set_blkd_input_timer_value(_MILLISECONDS_TO_CALL_AGAIN)

    def publish(self, message) -> None:
        self.message_port_pub(self._port, message)

    def say(self, sentence: str) -> None:
        self.logger.error(sentence)

    def start(self) -> bool:
        begin_to_publish(self)
        return True

    def stop(self) -> bool:
        self.source.stop()
        prepare_to_end(self)
        return True

    def general_work(self, input_items, output_items) -> int:
        try:
            given = self.source.give(output_items)
        except Exception as error:  # one that leaves general_work() would leave the flowgraph hanging
            self.source.fail(error)
            given = None
        if given is None:
            self.stop()  # while GNU Radio has not told the subscribers to end
            return -1
        for output, (count, tags) in enumerate(given):
            for key, value in tags.items():
                self.add_item_tag(output, self.nitems_written(output), pmt.intern(key), value)
            self.produce(output, count)
        return gr.WORK_CALLED_PRODUCE


class conditioner(gr.hier_block2):
    """Finds the signals in a wide stream, and gives each on an output of its own: at 0 Hz, filtered, and at the
    samples per symbol that a classifier's model knows.

    Input: complex64 samples. A tag ``rx_freq``, or an ``rx_rate`` that changes, says that the receiver was retuned:
    all signals are forgotten. A tag ``rx_time`` says that samples were lost: the signals stay on their outputs.

    Outputs: ``signals`` streams of complex64 samples, each with the tags ``rx_freq`` (tuning and centre, in Hz),
    ``rx_rate`` (its sample rate) and, where the input has it, ``rx_time`` at the first sample of every stretch of a
    signal. There a ``classifier`` begins anew.

    Output, message port ``signals``: a PMT dictionary for each signal at each look, and one when it is gone:

    ==============  ==============================================================================
    output          long: number of the output, from 0
    present         bool: False once, when the signal is gone
    frequency       double: tuning and centre in Hz, as tagged
    bandwidth       double: occupied bandwidth in Hz
    symbol_rate     double: symbols per second; only where there is one
    confidence      double: of the symbol rate, see ``symbol_rate.SymbolRate``
    power           double: dBFS, without the noise
    snr             double: dB, to the noise in the band
    ==============  ==============================================================================

    Every ``interval`` there is a look at so many samples as are needed: bands are found (``bands.find_bands``) and
    symbol rates measured (``conditioning.measure_symbol_rate``), and the carriers of those that have one
    (``conditioning.tuned``). What it tells holds from its first sample on up to the next look, so a signal's first
    samples are not lost, for which its samples are held back until it is decided. A signal stays on its output, and its
    filter as it is, while it moves by less than 0.2 % of the output's sample rate, or 1 % where its carrier is not
    measured; beyond that a new stretch begins. An output whose signal is gone gives nothing, and the next signal takes
    it.

    The decisions are those of the samples and not of the moment: the same samples give the same output to the bit,
    in whatever pieces they come, unless settings change in mid-run. Each stretch goes through GNU Radio blocks of its
    own (``signal_chain.SignalChain``), so no setting ever changes within one. Output sample m of a stretch is the
    signal at m / rx_rate seconds from the begin of the stretch, to half a sample in ten million: GNU Radio's resampler
    keeps its step as a float32.

    Parameters
    ----------
    sample_rate : samples per second of the input, until a tag ``rx_rate`` says otherwise
    frequency : what the receiver is tuned to in Hz, until a tag ``rx_freq`` says otherwise
    signals : number of outputs, and so of signals at a time, up to 8
    interval : seconds of samples from one look to the next, up to 60
    samples_per_symbol : at the outputs, from 2 to 64. A signal without a symbol rate is resampled as if it were
        a linear modulation with a roll-off of 0.35.
    centre : frequency of the signal in Hz, tuning included; None: found. Only with one output. With a ``bandwidth``
        besides, the output has it whether there is a signal or not.
    bandwidth : of the signals in Hz; 0: found
    symbol_rate : of the signals, per second; 0: found

    Raises AmcError for settings out of range. An error in mid-stream ends the flowgraph; it is kept in ``error``.
    """

    def __init__(
        self,
        sample_rate: float,
        frequency: float = 0.0,
        signals: int = 1,
        interval: float = 0.25,
        samples_per_symbol: float = DEFAULT_SAMPLES_PER_SYMBOL,
        centre: float | None = None,
        bandwidth: float = 0.0,
        symbol_rate: float = 0.0,
    ) -> None:
        outputs = checked_count("signals", signals, MOST_SIGNALS)
        gr.hier_block2.__init__(
            self,
            "amc_conditioner",
            gr.io_signature(1, 1, gr.sizeof_gr_complex),
            gr.io_signature(outputs, outputs, gr.sizeof_gr_complex),
        )
        sample_rate = checked_rate("sample_rate", sample_rate)
        if not SHORTEST_SAMPLES / sample_rate <= interval <= LONGEST_INTERVAL:
            raise AmcError(
                f"interval is {interval} s; at this sample_rate a look needs {SHORTEST_SAMPLES / sample_rate:g} s, "
                f"and {LONGEST_INTERVAL:g} s is the most."
            )
        low, high = SAMPLES_PER_SYMBOL
        if not low <= samples_per_symbol <= high:
            raise AmcError(f"samples_per_symbol is {samples_per_symbol}; it must be from {low:g} to {high:g}.")
        self._outlet = _Outlet(outputs)
        self._work = ConditionerWork(
            outputs,
            SignalTracker(outputs, (samples_per_symbol, samples_per_symbol)),
            interval,
            sample_rate,
            checked_frequency("frequency", frequency),
            self._outlet.publish,
            self._outlet.say,
        )
        self._outlet.source = self._work
        self._one_output = outputs == 1
        self.set_centre(centre)
        self.set_bandwidth(bandwidth)
        self.set_symbol_rate(symbol_rate)
        self._intake = _Intake(self._work)
        self.connect(self, self._intake)
        for output in range(outputs):
            self.connect((self._outlet, output), (self, output))
        self.message_port_register_hier_out(SIGNALS)
        self.msg_connect(self._outlet, SIGNALS, self, SIGNALS)

    @property
    def error(self) -> AmcError | None:
        """What ended the flowgraph, or None."""
        return self._work.error

    def set_frequency(self, frequency: float) -> None:
        """A retune: all signals are forgotten, from the next samples on."""
        self._work.frequency = checked_frequency("frequency", frequency)

    def set_centre(self, centre: float | None) -> None:
        """From the next look on, as the other settings of what is not to be found."""
        if centre is not None and not self._one_output:
            raise AmcError("centre is given, and signals is more than 1; give one of them.")
        # Whether that is within what is received, the tags decide: where it is not, nothing is found.
        self._set("centre", None if centre is None else checked_frequency("centre", centre))

    def set_bandwidth(self, bandwidth: float) -> None:
        self._set("bandwidth", self._checked_width("bandwidth", bandwidth))

    def set_symbol_rate(self, symbol_rate: float) -> None:
        self._set("symbol_rate", self._checked_width("symbol_rate", symbol_rate))

    def _checked_width(self, name: str, hertz: float) -> float | None:
        least, most = NARROWEST_BAND * self._work.sample_rate, self._work.sample_rate
        if hertz != 0 and not least <= hertz <= most:
            raise AmcError(f"{name} is {hertz}; it must be from {least:g} to the sample rate, {most:g}, or 0 (found).")
        return hertz or None

    def _set(self, name: str, hertz: float | None) -> None:
        setattr(self._work.settings, name, hertz)
        self._work.look_anew()
