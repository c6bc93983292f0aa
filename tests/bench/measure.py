# SPDX-License-Identifier: GPL-3.0-or-later
"""Interleaved repetitions and what they come to, and the machine they ran on."""

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from gnuradio import gr


@dataclass(frozen=True)
class Effort:
    """How long each benchmark runs: ``*_seconds`` a repetition, and samples at the two looks at the memory."""

    runtime_seconds: float
    runtime_repetitions: int
    block_seconds: float
    block_repetitions: int
    latency_seconds: float
    memory_samples: tuple[int, int]


FULL = Effort(0.4, 15, 1.5, 11, 20.0, (10**7, 10**8))
QUICK = Effort(0.15, 5, 0.5, 5, 3.0, (10**6, 10**7))
TINY = Effort(0.01, 2, 0.02, 2, 0.2, (10**5, 10**6))


def summary(values: list[float]) -> dict:
    """Smallest, median and largest of the repetitions."""
    return {"min": float(np.min(values)), "median": float(np.median(values)), "max": float(np.max(values))}


def interleaved(variants: dict[tuple, Callable[[], float]], repetitions: int) -> dict[tuple, list[float]]:
    """What each variant returns in each repetition, after one that is not counted.

    All variants take turns, so that a machine that slows down does so for all alike; each repetition
    begins with another one.
    """
    order = list(variants)
    figures: dict[tuple, list[float]] = {key: [] for key in order}
    for run in variants.values():
        run()
    for repetition in range(repetitions):
        first = repetition % len(order)
        for key in order[first:] + order[:first]:
            figures[key].append(variants[key]())
    return figures


def ratios(above: list[float], below: list[float]) -> dict:
    """Summary of the ratios within each repetition."""
    return summary([a / b for a, b in zip(above, below, strict=True)])


def megasamples_per_second(run: Callable[[np.ndarray], np.ndarray], batch: np.ndarray, seconds: float) -> float:
    """Millions of samples that ``run`` classifies in a second, given float32 (n, 2, window) again and again."""
    runs, elapsed, began = 0, 0.0, time.perf_counter()
    while elapsed < seconds:
        run(batch)
        runs += 1
        elapsed = time.perf_counter() - began
    return runs * batch.shape[0] * batch.shape[2] / elapsed / 1e6


def machine() -> dict:
    """Processor, cores this process may use, load when it began, and versions."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average_at_start": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "gnuradio": gr.version(),
        "onnxruntime": onnxruntime.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()
