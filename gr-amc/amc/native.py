# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine of this project as a runtime: integer arithmetic, proved equal to the file's definition."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from .compiler import compile_model, read_model
from .engine import load_engine
from .errors import AmcError, first_line
from .integer import IntegerNetwork, Layer, Sum


def build(network: IntegerNetwork):
    """The engine's form of ``network``; raises AmcError where the engine refuses it, or was not built."""
    module = load_engine()
    signal, logits = network.input, network.logits
    try:
        engine = module.Network(
            channels=signal.output.channels,
            length=signal.output.length,
            scale=signal.scale,
            low=signal.low,
            high=signal.high,
        )
        for layer in network.layers:
            if isinstance(layer, Sum):
                engine.add_sum(
                    first=layer.first,
                    second=layer.second,
                    shifts=layer.shifts,
                    thresholds=layer.thresholds,
                    zero=layer.output.zero,
                )
                continue
            engine.add(
                source=layer.source,
                weights=layer.weights,
                stride=layer.stride,
                padding=layer.padding,
                groups=layer.groups,
                pool=layer.pool,
                thresholds=layer.thresholds,
                zero=layer.output.zero,
            )
        engine.finish(weights=logits.weights, shift=logits.shift, scale=logits.scale, offset=logits.offset)
    except (ValueError, TypeError) as error:
        raise AmcError(f"the engine refuses the network: {first_line(error)}.") from None
    return engine


class NativeRuntime:
    """A QCDQ model (N, 2, L) float32 -> (N, C) float32 on the engine.

    ``window`` and ``class_count`` are what the file says; ``is_slow`` says whether onnxruntime is the faster one.
    Raises CannotCompile for a model that the engine has no form for, AmcError for a missing or broken file.
    """

    name = "native"

    def __init__(self, path: Path, threads: int) -> None:
        model = read_model(path)
        network = compile_model(path, model)
        if network.input.output.channels != 2:
            raise AmcError(
                f"the model {path} takes {network.input.output.channels} channels, not in-phase and quadrature."
            )
        self.metadata = {item.key: item.value for item in model.metadata_props}
        self.window = network.input.output.length
        self.class_count = len(network.logits.shift)
        self._engine, self._threads = build(network), threads
        self.is_slow = self._is_slow(network)

    def _is_slow(self, network: IntegerNetwork) -> bool:
        """Whether most products are added up in 32 bits one by one, of which there are half as many in a vector."""
        products = [_products(layer) for layer in network.layers]
        slow = [
            count
            for number, count in enumerate(products, 1)
            if self._engine.is_wide(number) and not self._engine.takes_quads(number)
        ]
        return sum(slow) > sum(products) / 2

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Logits float32 (n, C) of windows float32 (n, 2, L); raises AmcError for another shape."""
        with _sentences():
            return self._engine.run(batch, self._threads)

    def start(self, frames: np.ndarray, divisors: np.ndarray) -> Callable[[], np.ndarray]:
        """Begins ``run`` of ``divide(frames, divisors)`` on threads of the engine's own, which divide as well.

        Complex64 frames (n, L) may overlap in memory, and nobody may write to them until the logits are there.
        ``divisors`` are float32 (n,). What is returned waits for the logits. Raises AmcError for another shape or
        type, and for a divisor that is not finite and above zero.
        """
        with _sentences():
            return self._engine.start(frames, self._threads, divisors).result


def _products(layer: Layer | Sum) -> int:
    return 0 if isinstance(layer, Sum) else np.count_nonzero(layer.weights) * layer.output.length * layer.pool


@contextmanager
def _sentences() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise AmcError(f"the engine cannot take the windows: {first_line(error)}.") from None
