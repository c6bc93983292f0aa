# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the engine's time goes, layer by layer."""

from pathlib import Path

import numpy as np
from gnuradio.amc._engine import measure_peak
from gnuradio.amc.compiler import compile_model
from gnuradio.amc.integer import Sum
from gnuradio.amc.native import build

from .measure import Effort


def measure(path: Path, windows: np.ndarray, effort: Effort) -> list[dict]:
    """For each tensor and the logits: weights that are not zero, products a window and ns a window in one thread; and
    what share that is of the products that the processor can do with all of them in registers, and of the bytes that it
    can read from its first cache, of which each product takes one: aligned where windows go in stripes, from anywhere
    else.

    ``windows`` float32 (n, 2, window). The least of the repetitions, since all that disturbs makes it more.
    """
    network = compile_model(path)
    engine = build(network)
    runs = [engine.profile(windows) for _ in range(effort.runtime_repetitions)]
    nanoseconds = np.min(runs, axis=0) / len(windows) * 1e9
    rows = [{"layer": "input", "nonzero_weights": 0, "products": 0, "products_at_a_time": 0}]
    for number, layer in enumerate(network.layers, 1):
        if isinstance(layer, Sum):
            rows.append({"layer": f"sum {number}", "nonzero_weights": 0, "products": 0, "products_at_a_time": 0})
            continue
        before = network.tensors[layer.source]
        nonzero = int(np.count_nonzero(layer.weights))
        sums = (before.length + sum(layer.padding) - layer.weights.shape[2]) // layer.stride + 1
        quads = engine.takes_quads(number)
        rows.append(
            {
                "layer": f"layer {number}",
                "nonzero_weights": nonzero,
                "products": nonzero * sums,
                "products_at_a_time": 4 if quads else 1,
            }
        )
    nonzero = int(np.count_nonzero(network.logits.weights))
    rows.append({"layer": "logits", "nonzero_weights": nonzero, "products": nonzero, "products_at_a_time": 1})
    peak = measure_peak()
    read = peak["aligned_bytes" if engine.frames_in_stripes() else "bytes"]
    for row, time in zip(rows, nanoseconds, strict=True):
        rate = row["products"] / time
        of = peak["quads" if row["products_at_a_time"] == 4 else "products"]
        row |= {"nanoseconds": float(time), "share_of_products": rate / of, "share_of_reads": rate / read}
    return rows
