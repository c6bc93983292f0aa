# SPDX-License-Identifier: GPL-3.0-or-later
"""One stretch of a signal through GNU Radio's filter and resampler blocks, in a flowgraph of its own."""

import threading
from collections.abc import Callable

import numpy as np
from gnuradio import analog, blocks, filter, gr
from gnuradio.fft import window
from gnuradio.filter import firdes

from .conditioning import Plan
from .sample_queue import SampleQueue

_BUFFER = 1 << 16  # samples, so that Python is called for many at once
_PHASES = 32  # filters of the resampler, between which it interpolates
_KAISER_BETA = 5.65  # 60 dB of attenuation
_DRIFT = 1e-6  # more than the resampler's rate, a float32, is ever off
_VECTOR = 16  # VOLK multiplies what is less than a vector with another rounding
_UNREAD = 2  # samples that the resampler may read before they are there, so its filters make nothing of them
_LEFT_BEHIND = 64  # decimated samples; fewer than this stay in the blocks at the end


class _Feed(gr.sync_block):
    """Source of the samples that it is given, for as long as it is not ended."""

    def __init__(self, lock: threading.RLock, on_taken: Callable[[], None]) -> None:
        gr.sync_block.__init__(self, name="amc_feed", in_sig=None, out_sig=[np.complex64])
        self.set_min_output_buffer(0, _BUFFER)
        self._changed = threading.Condition(lock)
        self._on_taken = on_taken
        self._ended = False
        self.samples = SampleQueue()
        self.count = 0

    def put(self, samples: np.ndarray) -> None:
        with self._changed:
            self.samples.put(samples)
            self.count += len(samples)
            self._changed.notify()

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()

    def work(self, input_items, output_items) -> int:
        with self._changed:
            # GNU Radio would call again only after a while if there were nothing to return.
            self._changed.wait_for(lambda: len(self.samples) or self._ended)
            count = self.samples.take(output_items[0])
            self._on_taken()
        return count or -1


class _Collect(gr.sync_block):
    """Keeps what comes, less the first ``skipped`` samples and what is more than expected."""

    def __init__(self, skipped: int, lock: threading.RLock, on_ready: Callable[[], None]) -> None:
        gr.sync_block.__init__(self, name="amc_collect", in_sig=[np.complex64], out_sig=None)
        self._lock, self._on_ready = lock, on_ready
        self._to_skip = skipped
        self._expected = np.inf
        self.samples = SampleQueue()
        self.count = 0
        self.ended = False

    def expect(self, count: int) -> None:
        """``count`` samples in all."""
        with self._lock:
            self._expected = count

    @property
    def missing(self) -> bool:
        return self.ended and self.count < self._expected

    def work(self, input_items, output_items) -> int:
        samples = input_items[0]
        kept = samples[self._to_skip :]
        self._to_skip -= len(samples) - len(kept)
        with self._lock:
            kept = kept[: int(min(len(kept), self._expected - self.count))]
            self.samples.put(kept.copy())
            self.count += len(kept)
            self._on_ready()
        return len(samples)

    def stop(self) -> bool:
        with self._lock:
            self.ended = True
            self._on_ready()
        return True


class SignalChain:
    """Brings one stretch of a signal to 0 Hz and to another sample rate.

    It is a band-pass that decimates (fir_filter_ccc), an oscillator (sig_source_c, multiply_cc) and a polyphase
    resampler with the sharp low-pass (pfb_arb_resampler_ccf). Their settings cannot be changed at a chosen sample
    while they run, so each stretch has blocks of its own. What comes out depends, to the bit, only on what is put in
    and not on the pieces in which it comes: n samples in give floor(n * ratio) out, and output sample m is the signal
    at input sample m / ratio, to within half an output sample in ten million (GNU Radio's resampler keeps its step as
    a float32), as if there were zeros before and behind the stretch.

    The ratio is that of ``plan``. ``lock`` is held while samples are moved, and when ``on_taken`` is called because
    samples were taken, and ``on_ready`` because some have come out, or none will any more. Behind ``start`` and
    ``end`` comes ``close``.
    """

    def __init__(
        self, plan: Plan, lock: threading.RLock, on_taken: Callable[[], None], on_ready: Callable[[], None]
    ) -> None:
        ratio = float(plan.ratio)
        passed, stopped = plan.edges
        decimation = max(1, int(1 / max(ratio, 3 * stopped)))
        band_pass = _band_pass(plan.centre, passed, 1 / decimation - stopped) if decimation > 1 else [1.0]
        low_pass = firdes.low_pass(
            _PHASES,
            _PHASES,
            decimation * (passed + stopped) / 2,
            decimation * (stopped - passed),
            window.WIN_KAISER,
            _KAISER_BETA,
        )
        # The resampler begins with that one of its filters which leaves a whole number of its input samples.
        delay = (len(band_pass) - 1) / 2 + decimation * (len(low_pass) // 2 // _PHASES + _UNREAD)
        self._ratio = ratio
        self._flush = int(delay + decimation * _LEFT_BEHIND)
        self._feed = _Feed(lock, on_taken)
        self._collect = _Collect(round(delay * ratio), lock, on_ready)
        mixer = blocks.multiply_cc()
        mixer.set_output_multiple(_VECTOR)
        self._blocks = [
            self._feed,
            filter.fir_filter_ccc(decimation, band_pass),
            mixer,
            filter.pfb_arb_resampler_ccf(ratio * decimation, [0.0] * (_UNREAD * _PHASES) + list(low_pass), _PHASES),
            self._collect,
        ]
        turn = np.remainder(plan.centre * decimation, 1.0)
        oscillator = analog.sig_source_c(1.0, analog.GR_COS_WAVE, -turn, 1.0)
        self._top = gr.top_block("amc_signal_chain")
        self._top.connect(*self._blocks)
        self._top.connect(oscillator, (mixer, 1))

    def start(self) -> None:
        self._top.start()

    @property
    def waiting(self) -> int:
        """Samples that were put in and not yet taken by the first block."""
        return len(self._feed.samples)

    def put(self, samples: np.ndarray) -> None:
        """Adds complex64 samples (n,), which are not copied and must stay as they are; never waits."""
        self._feed.put(samples)

    def end(self) -> None:
        """No more samples follow; the rest comes out."""
        count = self._feed.count
        self._collect.expect(int(count * self._ratio))
        self._feed.put(np.zeros(self._flush + int(_DRIFT * count), np.complex64))
        self._feed.end()

    def take(self, out: np.ndarray) -> int:
        """Fills ``out`` complex64 (n,) with what has come out; returns how many samples that were."""
        return self._collect.samples.take(out)

    @property
    def ready(self) -> int:
        """Samples that have come out and were not taken."""
        return len(self._collect.samples)

    @property
    def ended(self) -> bool:
        """Whether no more samples come out."""
        return self._collect.ended

    @property
    def failed(self) -> bool:
        """Whether a block has ended before all had come out."""
        return self._collect.missing

    def close(self) -> None:
        """Ends what is still under way, and waits for the blocks.

        Without the lock, and in no thread of GNU Radio's, whose end would interrupt the waiting.
        """
        self._feed.end()
        self._top.stop()
        self._top.wait()


def _band_pass(centre: float, edge: float, stop: float) -> list[complex]:
    """Taps of a filter that lets pass up to ``edge`` on either side of ``centre``, and nothing from ``stop`` on."""
    taps = np.array(firdes.low_pass(1.0, 1.0, (edge + stop) / 2, stop - edge, window.WIN_KAISER, _KAISER_BETA))
    return (taps * np.exp(2j * np.pi * centre * np.arange(len(taps)))).tolist()
