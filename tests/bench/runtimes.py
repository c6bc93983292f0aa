# SPDX-License-Identifier: GPL-3.0-or-later
"""The shipped network on the engine and on onnxruntime, and its float32 counterpart."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import torch
from gnuradio.amc import _engine
from gnuradio.amc.compiler import CannotCompile, compile_model
from gnuradio.amc.errors import AmcError
from gnuradio.amc.native import NativeRuntime
from gnuradio.amc.pipeline import DEFAULT_BATCH
from gnuradio.amc.runtime import OnnxRuntime, Runtime
from torch import nn

from .measure import Effort, interleaved, megasamples_per_second, ratios, summary
from .openvino_runtime import INSTALLED, OpenVinoRuntime

BATCHES = (1, 8, 32, DEFAULT_BATCH)
THREADS = (1, 2)
LARGEST_DIFFERENCE = 1e-4
"""Of a logit from that of torch, relative to the largest one: float32 sums in another order."""


Opener = Callable[[int], Runtime]  # from a number of threads


def openers(shipped: Path, float32: Path) -> dict[str, Opener]:
    """What is compared, by name, the best first; without the engine where it cannot take the shipped network."""
    found: dict[str, Opener] = {}
    with suppress(CannotCompile):
        compile_model(shipped)
        found["engine"] = partial(NativeRuntime, shipped)
    found |= {"onnxruntime": partial(OnnxRuntime, shipped), "float32": partial(OnnxRuntime, float32)}
    if INSTALLED:
        found |= {"openvino": partial(OpenVinoRuntime, shipped), "openvino float32": partial(OpenVinoRuntime, float32)}
    return found


def _in_batches(runtime: Runtime, windows: np.ndarray, batch: int) -> np.ndarray:
    return np.concatenate([runtime.run(windows[at : at + batch]) for at in range(0, len(windows), batch)])


def verify(opened: dict[str, Opener], network: nn.Module, windows: np.ndarray) -> list[str]:
    """Sentences on what agrees; raises AmcError where the answers differ.

    ``windows`` float32 (n, 2, window). The shipped network must name the same classes on every runtime, at every
    batch and number of threads, and the float32 one must compute what torch does. OpenVINO rounds as it likes, so of
    its networks a sentence says how much that is.
    """
    with torch.inference_mode():
        expected = network(torch.from_numpy(windows)).numpy()
    scale = np.abs(expected).max()
    labels = _in_batches(opened["onnxruntime"](1), windows, BATCHES[-1]).argmax(1)
    largest = 0.0
    exact = {name: opener for name, opener in opened.items() if not name.startswith("openvino")}
    for name, opener in exact.items():
        for threads in THREADS:
            runtime = opener(threads)
            for batch in BATCHES:
                where = f"{name} at batch {batch}, threads {threads}"
                logits = _in_batches(runtime, windows, batch)
                if name == "float32":
                    largest = max(largest, float(np.abs(logits - expected).max() / scale))
                    if not largest <= LARGEST_DIFFERENCE:
                        raise AmcError(f"{where} differs from torch by {largest:.1e} of its largest logit.")
                elif different := int((logits.argmax(1) != labels).sum()):
                    raise AmcError(f"{where} names {different} of {len(windows)} windows otherwise than onnxruntime.")
    same = " and ".join(name for name in exact if name != "float32")
    truths = {"openvino": labels, "openvino float32": expected.argmax(1)}
    differences = {
        name: int((_in_batches(opened[name](1), windows, BATCHES[-1]).argmax(1) != truth).sum())
        for name, truth in truths.items()
        if name in opened
    }
    return [
        *(f"{name} names {count} of {len(windows)} windows otherwise" for name, count in differences.items()),
        f"{same} name the same class for each of {len(windows)} windows at every batch and thread count",
        f"the float32 network gives torch's logits (largest difference {largest:.1e} of the largest logit)",
    ]


def _on(target: str, opener: Opener) -> Callable[..., float]:
    """Msps of the engine with another instruction set, which a network must be made with as well."""
    best = _engine.target_in_use()
    _engine.use_target(target)
    run = opener(1).run
    _engine.use_target(best)

    def measured(*arguments) -> float:
        _engine.use_target(target)
        try:
            return megasamples_per_second(run, *arguments)
        finally:
            _engine.use_target(best)

    return measured


def measure(opened: dict[str, Opener], windows: np.ndarray, effort: Effort) -> tuple[list[dict], list[dict]]:
    """Ratios, and Msps of each at each batch and number of threads, and of the engine on each instruction set."""
    runtimes = {(name, threads): opener(threads) for threads in THREADS for name, opener in opened.items()}
    variants = {
        (name, batch, threads): partial(
            megasamples_per_second, runtimes[name, threads].run, windows[:batch], effort.runtime_seconds
        )
        for batch in BATCHES
        for threads in THREADS
        for name in opened
    }
    targets = _engine.targets() if "engine" in opened else []
    variants |= {
        (f"engine on {target}", BATCHES[-1], 1): partial(
            _on(target, opened["engine"]), windows[: BATCHES[-1]], effort.runtime_seconds
        )
        for target in targets
    }
    figures = interleaved(variants, effort.runtime_repetitions)
    best, *others = opened
    compared = [
        (f"{best} / {other}, batch {batch}, threads {threads}", (best, batch, threads), (other, batch, threads))
        for other in others
        for batch in BATCHES
        for threads in THREADS
    ]
    compared += [(f"{best}, 2 threads / 1, batch {batch}", (best, batch, 2), (best, batch, 1)) for batch in BATCHES]
    compared += [(f"{best}, batch {batch} / 1, threads 1", (best, batch, 1), (best, 1, 1)) for batch in BATCHES[1:]]
    largest = BATCHES[-1]
    compared += [
        (
            f"engine on {target} / onnxruntime, batch {largest}, threads 1",
            (f"engine on {target}", largest, 1),
            ("onnxruntime", largest, 1),
        )
        for target in targets
    ]
    table = [
        {"network": name, "batch": batch, "threads": threads, "msps": summary(values)}
        for (name, batch, threads), values in figures.items()
    ]
    return [{"name": name, **ratios(figures[above], figures[below])} for name, above, below in compared], table
