# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole job on one page: make a recording with known modulations, replay it through the block, compare.

GNU Radio's own modulators and channel model write a SigMF recording; the classifier block labels it
in a flowgraph; a table, a picture and an annotated SigMF file say what came out.
"""

import argparse
import json
import math
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pmt
from gnuradio import analog, blocks, channels, digital, filter, gr
from gnuradio.filter import firdes

from .annotate import SIGMF_VERSION, annotation_path, write_annotations
from .block import LABELS, classifier
from .decide import UNKNOWN
from .errors import AmcError
from .files import replacing
from .model import Model, load_model
from .plot import Picture, check_matplotlib
from .readers import open_recording
from .recordings import Recording
from .report import Result, from_pmt, iso_time

SAMPLE_RATE = 200e3
SAMPLES_PER_SYMBOL = 8
ROLL_OFF = 0.35
CENTRE_FREQUENCY = 433.92e6
RECORDED_AT = (1_767_225_600, 0.0)  # 2026-01-01T00:00:00Z
CARRIER_OFFSET = 1e-4  # cycles per sample: 20 Hz at this rate
LEVEL = 0.1  # rms of the recording, full scale is 1
LONGEST_PASSAGE = 1 << 20  # samples; all passages together lie in memory
LARGEST_SEED = (1 << 31) - 1
SNRS_DB = (20, 10)
NOISE = "noise"


# --- GNU Radio's modulators: each a list of blocks to be connected in a row ------------------------


def _symbols(order: int, seed: int) -> gr.basic_block:
    values = np.random.default_rng(seed).integers(0, order, 1 << 16)
    return blocks.vector_source_b(values.tolist(), True)


def _pulse_shaped(points: list[complex]) -> Callable[[int], list]:
    """Points through a root-raised cosine, as in GNU Radio's constellation modulator."""

    def chain(seed: int) -> list:
        scale = 1 / math.sqrt(np.mean(np.abs(points) ** 2))
        taps = firdes.root_raised_cosine(SAMPLES_PER_SYMBOL, SAMPLES_PER_SYMBOL, 1.0, ROLL_OFF, 11 * SAMPLES_PER_SYMBOL)
        return [
            _symbols(len(points), seed),
            digital.chunks_to_symbols_bc([complex(point) * scale for point in points]),
            filter.interp_fir_filter_ccf(SAMPLES_PER_SYMBOL, taps),
        ]

    return chain


def _gmsk(seed: int) -> list:
    return [_symbols(256, seed), digital.gmsk_mod(samples_per_symbol=SAMPLES_PER_SYMBOL, bt=0.35)]


def _audio(seed: int) -> list:
    """Noise in the band of speech, of unit power."""
    low, high = 300.0, 3400.0
    taps = firdes.band_pass(math.sqrt(SAMPLE_RATE / (2 * (high - low))), SAMPLE_RATE, low, high, 200.0)
    return [analog.noise_source_f(analog.GR_GAUSSIAN, 1.0, seed), filter.fir_filter_fff(1, taps)]


def _fm(seed: int) -> list:
    deviation = 5e3  # Hz rms
    return [*_audio(seed), analog.frequency_modulator_fc(2 * math.pi * deviation / SAMPLE_RATE)]


def _am_with_carrier(seed: int) -> list:
    return [*_audio(seed), blocks.multiply_const_ff(0.4), blocks.add_const_ff(1.0), blocks.float_to_complex()]


def _am_suppressed_carrier(seed: int) -> list:
    return [*_audio(seed), blocks.float_to_complex()]


def _am_single_sideband(seed: int) -> list:
    return [*_audio(seed), filter.hilbert_fc(401)]


def _noise(seed: int) -> list:
    return [analog.noise_source_c(analog.GR_GAUSSIAN, 1.0, seed)]


def _points(constellation) -> list[complex]:
    return list(constellation.points())


MODULATORS: dict[str, Callable[[int], list]] = {
    "OOK": _pulse_shaped([0, 1]),
    "4ASK": _pulse_shaped([0, 1, 2, 3]),
    "BPSK": _pulse_shaped(_points(digital.constellation_bpsk())),
    "QPSK": _pulse_shaped(_points(digital.constellation_qpsk())),
    "8PSK": _pulse_shaped(_points(digital.constellation_8psk())),
    "16QAM": _pulse_shaped(_points(digital.constellation_16qam())),
    "64QAM": _pulse_shaped(_points(digital.qam.qam_constellation(64, differential=False))),
    "GMSK": _gmsk,
    "FM": _fm,
    "AM-DSB-WC": _am_with_carrier,
    "AM-DSB-SC": _am_suppressed_carrier,
    "AM-SSB-SC": _am_single_sideband,
}


# --- flowgraphs -----------------------------------------------------------------------------------


def _run_to_end(top: gr.top_block) -> None:
    """Runs a flowgraph. An interrupt ends it and is raised; GNU Radio's own wait would take it for the end."""
    ended, failures = threading.Event(), []

    def run() -> None:
        try:
            top.run()
        except Exception as error:
            failures.append(error)
        finally:
            ended.set()

    # Started there too, so that an interrupt can never leave it running: Python would crash at its exit. The event is
    # waited for in place of the thread, because Python 3.11 takes a thread for ended whose join was interrupted.
    runner = threading.Thread(target=run, daemon=True)
    try:
        runner.start()
        ended.wait()
    except KeyboardInterrupt:
        top.stop()
        ended.wait()
        raise
    if failures:
        raise failures[0]


# --- the recording --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Passage:
    """A stretch of the recording with one modulation; ``snr_db`` over the whole sample bandwidth."""

    truth: str
    snr_db: int | None
    start: int
    count: int


def _run(chain: list, count: int, skip: int = 0) -> np.ndarray:
    """The first ``count`` samples out of the chain after ``skip``."""
    sink = blocks.vector_sink_c()
    top = gr.top_block()
    top.connect(*chain, blocks.skiphead(gr.sizeof_gr_complex, skip), blocks.head(gr.sizeof_gr_complex, count), sink)
    _run_to_end(top)
    return np.array(sink.data(), np.complex64)


def make_passage(truth: str, snr_db: int | None, count: int, seed: int) -> np.ndarray:
    """Complex64 (count,) of a signal of ``MODULATORS`` in noise, or of ``NOISE`` alone."""
    settled = 4096  # samples until all filters are full
    if truth == NOISE:
        return LEVEL * _run(_noise(seed), count)
    signal = _run(MODULATORS[truth](seed), count, settled)
    signal *= LEVEL / np.sqrt(np.mean(np.abs(signal) ** 2))
    noise = LEVEL * 10 ** (-snr_db / 20)
    channel = channels.channel_model(noise, CARRIER_OFFSET, 1.0, [1.0], seed, False)
    # The channel model's resampler keeps back a few samples at the end, so the signal runs on.
    return _run([blocks.vector_source_c(np.resize(signal, count + settled).tolist()), channel], count)


def write_recording(folder: Path, count: int, seed: int) -> tuple[Path, list[Passage]]:
    """Writes amc-demo.sigmf-data and -meta, passages of ``count`` samples with the truth as annotations.

    Returns the meta file's path and the passages.
    """
    wanted = [(truth, snr) for snr in SNRS_DB for truth in MODULATORS] + [(NOISE, None)]
    passages, parts, start = [], [], 0
    for number, (truth, snr) in enumerate(wanted):
        part = make_passage(truth, snr, count, seed + 100 * number)
        passages.append(Passage(truth, snr, start, len(part)))
        parts.append(part)
        start += len(part)
    meta = folder / "amc-demo.sigmf-meta"
    with replacing(str(meta.with_suffix(".sigmf-data")), "wb") as file:
        file.write(np.concatenate(parts).tobytes())
    with replacing(str(meta), "w") as file:
        json.dump(_metadata(passages), file, indent=1)
    return meta, passages


def _metadata(passages: list[Passage]) -> dict:
    return {
        "global": {
            "core:datatype": "cf32_le",
            "core:version": SIGMF_VERSION,
            "core:sample_rate": SAMPLE_RATE,
            "core:description": "modulations of known kind, made with GNU Radio's modulators and channel model",
        },
        "captures": [
            {"core:sample_start": 0, "core:frequency": CENTRE_FREQUENCY, "core:datetime": iso_time(RECORDED_AT)}
        ],
        "annotations": [
            {
                "core:sample_start": passage.start,
                "core:sample_count": passage.count,
                "core:label": passage.truth,
                "core:comment": "truth" if passage.snr_db is None else f"truth, {passage.snr_db} dB",
            }
            for passage in passages
        ],
    }


# --- the replay -----------------------------------------------------------------------------------


class _Collector(gr.basic_block):
    """Keeps the results that the classifier's messages carry."""

    def __init__(self) -> None:
        gr.basic_block.__init__(self, name="amc_collector", in_sig=None, out_sig=None)
        self.results: list[Result] = []
        self.message_port_register_in(pmt.intern(LABELS))
        self.set_msg_handler(pmt.intern(LABELS), self._keep)

    def _keep(self, message) -> None:
        self.results.append(from_pmt(message))


def replay(data: Path, model: Model) -> list[Result]:
    """File source -> classifier -> messages; returns every result. Raises AmcError."""
    block, collector = classifier(model=str(model.path)), _Collector()
    top = gr.top_block("amc demo")
    top.connect(blocks.file_source(gr.sizeof_gr_complex, str(data), False), block)
    top.msg_connect(block, LABELS, collector, LABELS)
    _run_to_end(top)
    if block.error is not None:
        raise block.error
    return collector.results


# --- what came out --------------------------------------------------------------------------------


def print_table(passages: list[Passage], results: list[Result]) -> None:
    """Truth against labels for every passage, with the share of windows that are right."""
    print(f"{'seconds':>8}  {'truth':<10}{'SNR':>6}   {'mostly labelled':<16}{'right':>6}")
    hits: dict[int | None, list[int]] = {}
    for passage in passages:
        labels = [r.label for r in results if passage.start <= r.sample_start < passage.start + passage.count]
        expected = UNKNOWN if passage.truth == NOISE else passage.truth
        right = labels.count(expected)
        most = Counter(labels).most_common(1)[0][0] if labels else "nothing"
        snr = "" if passage.snr_db is None else f"{passage.snr_db} dB"
        start = passage.start / SAMPLE_RATE
        print(f"{start:>8.2f}  {passage.truth:<10}{snr:>6}   {most:<16}{_share(right, len(labels)):>6}")
        hits.setdefault(passage.snr_db, [0, 0])
        hits[passage.snr_db][0] += right
        hits[passage.snr_db][1] += len(labels)
    for snr, (right, total) in hits.items():
        name = f"on noise alone (called {UNKNOWN})" if snr is None else f"at {snr} dB"
        print(f"right {name}: {_share(right, total)} of {total} windows")


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "-"


def write_picture(recording: Recording, results: list[Result], classes: tuple[str, ...], path: Path) -> None:
    picture = Picture(recording, classes, "Labels of the demo recording")
    segment = recording.segments[0]
    for samples in recording.blocks(segment):
        picture.add_samples(samples, segment)
    for result in results:
        picture.add_result(result)
    with replacing(str(path), "wb") as file:
        picture.save(file)


def _passage_length(model: Model, windows: int) -> int:
    """Samples of a passage, a whole number of windows so that none has two modulations; AmcError for too many."""
    count = windows * model.window
    if count > LONGEST_PASSAGE:
        raise AmcError(
            f"{windows} windows of {model.window} samples are more than the {LONGEST_PASSAGE} of the longest passage; "
            f"give --windows {LONGEST_PASSAGE // model.window} or fewer."
        )
    return count


def main(argv: list[str] | None = None) -> int:
    """Runs the demo; returns the exit code."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("amc-demo"), help="folder for what it writes (amc-demo)")
    parser.add_argument("--model", default="", help="released model or path of an ONNX file")
    parser.add_argument("--windows", type=int, default=40, help="windows of each modulation at each SNR (40)")
    parser.add_argument("--seed", type=int, default=7, help="another one gives another recording (7)")
    options = parser.parse_args(argv)
    if options.windows < 1:
        parser.error(f"--windows is {options.windows}; it must be at least 1")
    if not 0 <= options.seed <= LARGEST_SEED:
        parser.error(f"--seed is {options.seed}; it must be from 0 to {LARGEST_SEED}")
    try:
        # First what may be mistaken or missing, then the work.
        model = load_model(options.model)
        count = _passage_length(model, options.windows)
        check_matplotlib()
        options.out.mkdir(parents=True, exist_ok=True)
        print("Making a recording with GNU Radio's modulators and channel model ...", flush=True)
        meta, passages = write_recording(options.out, count, options.seed)
        print("Replaying it: file source -> classifier block -> messages ...", flush=True)
        results = replay(meta.with_suffix(".sigmf-data"), model)
        print_table(passages, results)
        recording = open_recording(meta)
        picture = options.out / "amc-demo.png"
        write_picture(recording, results, model.classes, picture)
        annotations = annotation_path(recording.path)
        with write_annotations(recording, annotations) as add:
            for result in results:
                add(result, recording.segments[0])
    except (AmcError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted.", file=sys.stderr)
        return 130
    print(f"Written: {meta} (truth), {annotations} (labels), {picture}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
