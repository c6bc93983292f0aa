# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenVINO, which users know as the fast one; measured where it is installed (``pip install openvino``)."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

INSTALLED = find_spec("openvino") is not None


class OpenVinoRuntime:
    """A model file on OpenVINO's CPU device, which chooses the precision of its arithmetic itself.

    It is compiled for each size of a batch when that first comes, since fixed shapes are its fastest.
    """

    def __init__(self, path: Path, threads: int) -> None:
        import openvino

        self._core = openvino.Core()
        self._path = path
        self._settings = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
        self._compiled: dict[tuple[int, ...], openvino.CompiledModel] = {}

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Logits float32 (n, C) of windows float32 (n, 2, L)."""
        if batch.shape not in self._compiled:
            model = self._core.read_model(self._path)
            model.reshape(batch.shape)
            self._compiled[batch.shape] = self._core.compile_model(model, "CPU", self._settings)
        return self._compiled[batch.shape](batch)[0]
