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

import numpy as np
from gnuradio.amc.conditioning import Conditioner, make_plan
from gnuradio.amc.decide import UNKNOWN
from gnuradio.amc.model import Model, load_model
from gnuradio.amc.pipeline import DEFAULT_THRESHOLD, Pipeline
from gnuradio.amc.signals import Wanted, find_signals

from tests.helpers import modulators

SAMPLES_PER_SYMBOL = (4, 6, 8, 12, 16)
ROLL_OFFS = (0.2, 0.35, 0.5)
LARGEST_OFFSET = 0.02
WINDOWS = 16
AVERAGES = (1, 4, 16)
NOISE = "noise"


def stretches(name: str, model: Model, snr_db: float, seed: int, condition: bool = False) -> list[np.ndarray]:
    """One of each number of samples per symbol and roll-off: complex64, up to WINDOWS windows of the model.

    Fewer, or none, where the conditioner finds less.
    """
    offsets = np.random.default_rng(seed).uniform(-LARGEST_OFFSET, LARGEST_OFFSET, (len(SAMPLES_PER_SYMBOL), 3))
    signals = [
        modulators.received(
            name,
            spacing,
            # A single sideband is half as wide as it could be, and gives fewest windows.
            WINDOWS * model.window * (spacing * 2 // 5 + 1 if condition else 1),
            seed * 100 + 10 * row + column,
            snr_db,
            offsets[row, column],
            roll_off,
        )
        for row, spacing in enumerate(SAMPLES_PER_SYMBOL)
        for column, roll_off in enumerate(ROLL_OFFS)
    ]
    return [conditioned(model, samples) for samples in signals] if condition else signals


def conditioned(model: Model, samples: np.ndarray) -> np.ndarray:
    """What the conditioner makes of the strongest signal that it finds in them."""
    found = find_signals(samples, Wanted(signals=1))
    if not found:
        return samples[:0]
    band = found[0].band
    conditioner = Conditioner(make_plan(band.centre, band.bandwidth, found[0].symbol_rate, model.samples_per_symbol))
    return np.concatenate((conditioner.push(samples), conditioner.finish()))[: WINDOWS * model.window]


def labels(model: Model, samples: np.ndarray, average: int, threshold: float) -> list[str]:
    """Of every window that has a whole average, or of those of length ``average`` side by side."""
    results = Pipeline(model, average=average, threshold=threshold, squelch=-1000.0).push(samples)
    return [result.label for result in results][average - 1 :: average]


def accuracy(model: Model, snr_db: float, seed: int, condition: bool) -> dict[int, dict[str, float]]:
    """By average, then by class: the share of windows, or averages, whose most probable class is the right one."""
    found: dict[int, dict[str, float]] = {average: {} for average in AVERAGES}
    for name in modulators.CLASSES:
        signals = stretches(name, model, snr_db, seed, condition)
        for average in AVERAGES:
            by_stretch = [labels(model, samples, average, 0.0) for samples in signals]
            # Where the conditioner finds nothing, nothing is right.
            found[average][name] = float(np.mean([named.count(name) / max(len(named), 1) for named in by_stretch]))
    return found


def turned_away(model: Model, snr_db: float, seed: int, condition: bool) -> dict[str, float]:
    """By kind of signal that is no class: the share of windows that come out unknown or as noise."""
    shares = {}
    for name in modulators.OTHERS:
        signals = stretches(name, model, snr_db, seed, condition)
        named = [label for samples in signals for label in labels(model, samples, 1, DEFAULT_THRESHOLD)]
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
