# SPDX-License-Identifier: GPL-3.0-or-later
"""The released networks beside each other: what they cost by the challenge's count, and what they take in time."""

import json
from functools import partial
from pathlib import Path

import numpy as np
from gnuradio.amc.compiler import CannotCompile
from gnuradio.amc.model import MODELS
from gnuradio.amc.native import NativeRuntime

from .measure import Effort, interleaved, megasamples_per_second, summary

CARDS = Path(__file__).parents[2] / "models"
# Of fewer windows the fastest networks are through before a second thread has woken up.
BATCH = 256
THREADS = (1, 2)


def _engines(path: Path) -> dict[int, NativeRuntime]:
    """By number of threads; none where the engine cannot take the network."""
    try:
        return {threads: NativeRuntime(path, threads) for threads in THREADS}
    except CannotCompile:
        return {}


def measure(windows: np.ndarray, effort: Effort) -> list[dict]:
    """For each network, the cheapest first: accuracy on each preset, cost score and bit operations as its card has
    them, and Msps in the engine by number of threads.

    ``windows`` float32 (n, 2, window), the same for all, again and again.
    """
    batch = np.resize(windows, (BATCH, *windows.shape[1:]))
    cards = [json.loads(path.read_text()) for path in sorted(CARDS.glob("*.json"))]
    cards.sort(key=lambda card: card["cost"]["score"])
    variants = {
        (card["name"], threads): partial(megasamples_per_second, engine.run, batch, effort.runtime_seconds)
        for card in cards
        for threads, engine in _engines(MODELS / f"{card['name']}.onnx").items()
    }
    figures = interleaved(variants, effort.runtime_repetitions)
    return [
        {
            "network": card["name"],
            "accuracy": {preset: test["accuracy"] for preset, test in card["test"]["presets"].items()},
            "cost": card["cost"]["score"],
            "bit_operations": card["cost"]["bit_ops"],
            "msps": {
                threads: summary(figures[card["name"], threads])
                for threads in THREADS
                if (card["name"], threads) in figures
            },
        }
        for card in cards
    ]
