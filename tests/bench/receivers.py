# SPDX-License-Identifier: GPL-3.0-or-later
"""How well a model names signals of modulators that it was not trained with, as a receiver delivers them.

    ./run exec python -m tests.bench.receivers [--model wild] [--condition] [--json]

Modulators are GNU Radio's and liquid-dsp's, at 4 to 16 samples per symbol, with a carrier offset of up to 2 % of the
sample rate and white noise. A stretch is 16 windows of one signal; its last average over K of them is what counts. With
``--condition`` each stretch, long enough for 16 windows of what comes out, goes through the conditioner first, which is
told nothing of it.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from gnuradio.amc.decide import UNKNOWN
from gnuradio.amc.model import Model, load_model
from gnuradio.amc.pipeline import DEFAULT_THRESHOLD, Pipeline
from gnuradio.amc.readers import open_recording
from gnuradio.amc.report import Result
from gnuradio.amc.signals import SignalReplay, Wanted

from tests.helpers import modulators

SAMPLES_PER_SYMBOL = (4, 6, 8, 12, 16)
ROLL_OFFS = (0.2, 0.35, 0.5)
LARGEST_OFFSET = 0.02
WINDOWS = 16
AVERAGES = (1, 4, 16)
NOISE = "noise"


def stretches(name: str, model: Model, snr_db: float, seed: int, condition: bool = False) -> list[np.ndarray]:
    """One of each number of samples per symbol and roll-off, complex64 (WINDOWS * window,) or longer."""
    offsets = np.random.default_rng(seed).uniform(-LARGEST_OFFSET, LARGEST_OFFSET, (len(SAMPLES_PER_SYMBOL), 3))
    return [
        modulators.received(
            name,
            spacing,
            WINDOWS * model.window * (max(spacing // 8, 1) + 1 if condition else 1),
            seed * 100 + 10 * row + column,
            snr_db,
            offsets[row, column],
            roll_off,
        )
        for row, spacing in enumerate(SAMPLES_PER_SYMBOL)
        for column, roll_off in enumerate(ROLL_OFFS)
    ]


def labels(model: Model, samples: np.ndarray, average: int, threshold: float, condition: bool = False) -> list[str]:
    """Of every window that has a whole average, or of those of length ``average`` side by side."""
    settings = {"average": average, "threshold": threshold, "squelch": -1000.0}
    results = conditioned(model, samples, settings) if condition else Pipeline(model, **settings).push(samples)
    return [result.label for result in results][average - 1 :: average]


def conditioned(model: Model, samples: np.ndarray, settings: dict) -> list[Result]:
    """Of up to WINDOWS windows of the strongest signal that is found in them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stretch.cf32"
        samples.tofile(path)
        recording = open_recording(path)
        replay = SignalReplay(recording, model, Wanted(signals=1), hop=None, **settings)
        replay.begin(recording.segments[0])
        return [*replay.push(samples), *replay.finish()][:WINDOWS]


def accuracy(model: Model, snr_db: float, seed: int, condition: bool) -> dict[int, dict[str, float]]:
    """By average, then by class: the share of windows, or averages, whose most probable class is the right one."""
    found: dict[int, dict[str, float]] = {average: {} for average in AVERAGES}
    for name in modulators.CLASSES:
        signals = stretches(name, model, snr_db, seed, condition)
        for average in AVERAGES:
            by_stretch = [labels(model, samples, average, 0.0, condition) for samples in signals]
            # Where the conditioner finds nothing, nothing is right.
            found[average][name] = float(np.mean([named.count(name) / max(len(named), 1) for named in by_stretch]))
    return found


def turned_away(model: Model, snr_db: float, seed: int, condition: bool) -> dict[str, float]:
    """By kind of signal that is no class: the share of windows that come out unknown or as noise."""
    shares = {}
    for name in modulators.OTHERS:
        signals = stretches(name, model, snr_db, seed, condition)
        named = [label for samples in signals for label in labels(model, samples, 1, DEFAULT_THRESHOLD, condition)]
        # The conditioner finds no signal in noise.
        shares[name] = sum(label in (UNKNOWN, NOISE) for label in named) / len(named) if named else 1.0
    return shares


def measure(model: Model, condition: bool, seed: int = 1) -> dict:
    by_class = accuracy(model, 15, seed, condition)
    gains = {snr: accuracy(model, snr, seed, condition) for snr in (0, 5, 10)} | {15: by_class}
    return {
        "model": model.path.stem,
        "conditioned": condition,
        "at_15_db": by_class,
        "mean": {
            snr: {k: float(np.mean(list(row.values()))) for k, row in of_snr.items()} for snr, of_snr in gains.items()
        },
        "unknown_or_noise_at_15_db": turned_away(model, 15, seed, condition),
    }


def table(report: dict) -> str:
    lines = [f"{report['model']}: share of the right class, by number of windows averaged", ""]
    lines.append(f"{'SNR':>10}" + "".join(f"{average:>8}" for average in AVERAGES))
    lines += [
        f"{snr:>7} dB" + "".join(f"{row[k]:8.3f}" for k in AVERAGES) for snr, row in sorted(report["mean"].items())
    ]
    lines += ["", "at 15 dB, by class"]
    lines += [
        f"{name:>10}" + "".join(f"{report['at_15_db'][k][name]:8.3f}" for k in AVERAGES)
        for name in report["at_15_db"][AVERAGES[0]]
    ]
    lines += ["", "at 15 dB, unknown or noise"]
    lines += [f"{name:>10}{share:8.3f}" for name, share in report["unknown_or_noise_at_15_db"].items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.receivers", description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="wild", help="a released model or an .onnx file (wild)")
    parser.add_argument("--condition", action="store_true", help="find, shift and resample the signals first")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report = measure(load_model(options.model, threads=2), options.condition)
    print(json.dumps(report, indent=1) if options.json else table(report))


if __name__ == "__main__":
    main()
