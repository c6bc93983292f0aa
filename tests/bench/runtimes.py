# SPDX-License-Identifier: GPL-3.0-or-later
"""onnxruntime on the shipped network and on its float32 counterpart."""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from gnuradio.amc.errors import AmcError
from gnuradio.amc.runtime import OnnxRuntime
from torch import nn

from .measure import Effort, interleaved, megasamples_per_second, ratios, summary

BATCHES = (1, 8, 32)
THREADS = (1, 2)
LARGEST_DIFFERENCE = 1e-4
"""Of a logit from that of torch, relative to the largest one: float32 sums in another order."""


def _in_batches(runtime: OnnxRuntime, windows: np.ndarray, batch: int) -> np.ndarray:
    return np.concatenate([runtime.run(windows[at : at + batch]) for at in range(0, len(windows), batch)])


def verify(shipped: Path, float32: Path, network: nn.Module, windows: np.ndarray) -> list[str]:
    """Sentences on what agrees; raises AmcError where the answers differ.

    ``windows`` float32 (n, 2, window). The shipped network must name the same classes at every batch
    and number of threads, the float32 one must compute what torch does.
    """
    with torch.inference_mode():
        expected = network(torch.from_numpy(windows)).numpy()
    scale = np.abs(expected).max()
    labels = _in_batches(OnnxRuntime(shipped, 1), windows, BATCHES[-1]).argmax(1)
    largest = 0.0
    for threads in THREADS:
        quantised, plain = OnnxRuntime(shipped, threads), OnnxRuntime(float32, threads)
        for batch in BATCHES:
            where = f"batch {batch}, threads {threads}"
            different = int((_in_batches(quantised, windows, batch).argmax(1) != labels).sum())
            if different:
                raise AmcError(
                    f"{shipped} names {different} of {len(windows)} windows otherwise at {where} than at "
                    f"batch {BATCHES[-1]}, threads 1."
                )
            largest = max(largest, float(np.abs(_in_batches(plain, windows, batch) - expected).max() / scale))
            if not largest <= LARGEST_DIFFERENCE:
                raise AmcError(
                    f"the float32 network differs from torch by {largest:.1e} of its largest logit at {where}."
                )
    return [
        f"the shipped network names the same class for each of {len(windows)} windows at every batch and thread count",
        f"the float32 network gives torch's logits (largest difference {largest:.1e} of the largest logit)",
    ]


def measure(shipped: Path, float32: Path, windows: np.ndarray, effort: Effort) -> tuple[list[dict], list[dict]]:
    """Ratios, and Msps of both networks at each batch and number of threads."""
    runtimes = {
        (network, threads): OnnxRuntime(path, threads)
        for threads in THREADS
        for network, path in (("shipped", shipped), ("float32", float32))
    }
    variants = {
        (network, batch, threads): partial(
            megasamples_per_second, runtimes[network, threads].run, windows[:batch], effort.runtime_seconds
        )
        for batch in BATCHES
        for threads in THREADS
        for network in ("shipped", "float32")
    }
    figures = interleaved(variants, effort.runtime_repetitions)
    compared = [
        (
            f"shipped / float32, batch {batch}, threads {threads}",
            ("shipped", batch, threads),
            ("float32", batch, threads),
        )
        for batch in BATCHES
        for threads in THREADS
    ]
    compared += [
        (f"shipped, 2 threads / 1, batch {batch}", ("shipped", batch, 2), ("shipped", batch, 1)) for batch in BATCHES
    ]
    compared += [
        (f"shipped, batch {batch} / 1, threads 1", ("shipped", batch, 1), ("shipped", 1, 1)) for batch in BATCHES[1:]
    ]
    table = [
        {"network": network, "batch": batch, "threads": threads, "msps": summary(values)}
        for (network, batch, threads), values in figures.items()
    ]
    return [{"name": name, **ratios(figures[above], figures[below])} for name, above, below in compared], table
