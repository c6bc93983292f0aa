# SPDX-License-Identifier: GPL-3.0-or-later
"""The signal generator against GNU Radio's modulators and channel model making the same frames.

That both make the same is for tests/training/test_signals.py; here is only how fast. Frames of a dataset
have each its own carrier phase, offset, delay and noise level, which takes GNU Radio a flowgraph a frame. Beside
that stands one long stream, whose frames are alike in all of these: the most that its blocks can do.
"""

import time
from functools import partial

import numpy as np
import torch
from gnuradio import analog, blocks, channels, digital, filter, gr
from gnuradio.filter import firdes

from training.signals import CLASSES, FRAME, PRESETS, generate

from .measure import Effort, interleaved, ratios, summary

PRESET = "radioml2018"
LABEL = 10
BATCH = 256
SPEED_AIM = 20.0
STREAM, FLOWGRAPHS = "GNU Radio, one stream", "GNU Radio, a flowgraph a frame"

# A frame's worth and more; made once, so that it is not timed.
_NUMBERS = {below: np.random.default_rng(1).integers(below, size=4096).tolist() for below in (4, 64, 256)}


def _random_bytes(below: int) -> blocks.vector_source_b:
    return blocks.vector_source_b(_NUMBERS[below], True)


def _pulse() -> list[float]:
    """The preset's: the root-raised cosine, three times."""
    once = np.array(firdes.root_raised_cosine(1.0, 8.0, 1.0, 0.41, 8 * 10 + 1))
    return (8 * np.convolve(np.convolve(once, once), once)).tolist()


_PULSE = _pulse()


def _linear(order: int, points: list[complex]) -> tuple:
    return _random_bytes(order), digital.chunks_to_symbols_bc(points), filter.interp_fir_filter_ccf(8, _PULSE)


def _gmsk() -> tuple:
    return _random_bytes(256), digital.gmsk_mod(samples_per_symbol=8, bt=0.35)


def _fm() -> tuple:
    tone = analog.sig_source_f(1.0, analog.GR_COS_WAVE, 1e-4, 1.0)
    return tone, analog.frequency_modulator_fc(2 * np.pi * 0.0315)


# Chains of GNU Radio blocks that make an endless stream of each class.
MODULATORS = {
    "QPSK": partial(_linear, 4, digital.constellation_qpsk().points()),
    "64QAM": partial(_linear, 64, digital.qam.qam_constellation(64, differential=False).points()),
    "GMSK": _gmsk,
    "FM": _fm,
}


def _gnuradio_speed(name: str, frames: int, flowgraphs: int) -> float:
    """Frames a second of ``flowgraphs``, one after the other, that make ``frames`` together."""
    began = time.perf_counter()
    for number in range(flowgraphs):
        # Its own offset and noise for each flowgraph; within one they cannot change from frame to frame.
        channel = channels.channel_model(noise_voltage=0.1, frequency_offset=3.3e-5, noise_seed=number)
        head = blocks.head(gr.sizeof_gr_complex, frames // flowgraphs * FRAME)
        top = gr.top_block()
        top.connect(*MODULATORS[name](), channel, head, blocks.null_sink(gr.sizeof_gr_complex))
        top.run()
    return frames // flowgraphs * flowgraphs / (time.perf_counter() - began)


def _generator_speed(name: str, frames: int, device: torch.device) -> float:
    """Frames a second, in batches as training takes them."""
    generator = torch.Generator(device).manual_seed(1)
    classes = torch.full((BATCH,), CLASSES.index(name), device=device)
    labels = torch.full((BATCH,), LABEL, device=device)
    batches = max(1, frames // BATCH)
    began = time.perf_counter()
    for _ in range(batches):
        made = generate(PRESETS[PRESET], classes, labels, generator)
    float(made[0, 0, 0])  # waits for a GPU
    return batches * BATCH / (time.perf_counter() - began)


def measure(effort: Effort) -> tuple[list[dict], list[dict]]:
    """Ratios and thousands of frames a second, on all cores and, where there is one, on a GPU."""
    devices = [torch.device("cpu")] + ([torch.device("cuda")] if torch.cuda.is_available() else [])
    frames = max(BATCH, round(4000 * effort.block_seconds))
    single = max(1, round(60 * effort.block_seconds))
    variants = {(STREAM, name): partial(_gnuradio_speed, name, frames, 1) for name in MODULATORS}
    variants |= {(FLOWGRAPHS, name): partial(_gnuradio_speed, name, single, single) for name in MODULATORS}
    for device in devices:
        variants |= {(_ours(device), name): partial(_generator_speed, name, frames, device) for name in MODULATORS}
    figures = interleaved(variants, effort.runtime_repetitions)
    compared = []
    for device in devices:
        for name in MODULATORS:
            ratio = ratios(figures[_ours(device), name], figures[FLOWGRAPHS, name])
            aim = {"aim": f"at least {SPEED_AIM:g}", "met": ratio["median"] >= SPEED_AIM}
            compared.append({"name": f"{_ours(device)} / {FLOWGRAPHS}, {name}", **ratio, **aim})
            ratio = ratios(figures[_ours(device), name], figures[STREAM, name])
            compared.append({"name": f"{_ours(device)} / {STREAM}, {name}", **ratio})
    table = [
        {"what": what, "class": name, "thousand_frames": summary([value / 1000 for value in values])}
        for (what, name), values in figures.items()
    ]
    return compared, table


def _ours(device: torch.device) -> str:
    return f"generator on {device.type}"
