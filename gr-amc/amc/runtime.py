# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a model file: float32 windows in, logits out."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np

from .errors import AmcError, first_line
from .native import NativeRuntime
from .normalise import divide

RUNTIMES = ("auto", "onnxruntime", "native")


class Runtime(Protocol):
    """What runs a model; ``window`` and ``class_count`` are None where its file leaves the size open."""

    name: str
    metadata: dict[str, str]
    window: int | None
    class_count: int | None

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Logits float32 (n, C) of windows float32 (n, 2, L); raises AmcError when the inference fails."""

    def start(self, frames: np.ndarray, divisors: np.ndarray) -> Callable[[], np.ndarray]:
        """Begins ``run`` of ``divide(frames, divisors)`` where that takes none of the caller's time.

        ``frames`` are complex64 (n, L), ``divisors`` float32 (n,); what is returned waits for the logits.
        """


class OnnxRuntime:
    """An ONNX model (N, 2, L) float32 -> (N, C) float32 on onnxruntime.

    ``window`` and ``class_count`` are what the file says, None where it leaves the size open. Raises
    AmcError when the file is missing, is not ONNX or has another shape.
    """

    name = "onnxruntime"

    def __init__(self, path: Path, threads: int) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise AmcError(f"onnxruntime cannot be imported ({error}); install it with pip.") from None
        onnxruntime.set_default_logger_severity(4)  # its errors are raised as well: say them once
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # A spinning pool takes a whole core at 50 runs a second.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.path = path
        try:
            with open(path, "rb") as file:
                file.read(1)
        except OSError as error:
            raise AmcError(f"the model {path} cannot be read: {error.strerror}; give a .onnx file.") from None
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a kind for every status and none in common
            raise AmcError(f"the model {path} is not a valid ONNX file: {first_line(error)}") from None
        self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        self._input, self.window, self._rows = self._checked_input()
        self.class_count = self._checked_output()

    def _checked_input(self) -> tuple[str, int | None, int | None]:
        inputs = self._session.get_inputs()
        shape = inputs[0].shape if len(inputs) == 1 else None
        if shape is None or len(shape) != 3 or shape[1] != 2 or inputs[0].type != "tensor(float)":
            found = ", ".join(f"{item.name} {item.type} {item.shape}" for item in inputs) or "none"
            raise AmcError(f"the model {self.path} must have one float32 input of shape (N, 2, L); it has {found}.")
        rows, window = (size if isinstance(size, int) else None for size in (shape[0], shape[2]))
        return inputs[0].name, window, rows

    def _checked_output(self) -> int | None:
        output = self._session.get_outputs()[0]
        if len(output.shape) != 2 or output.type != "tensor(float)":
            found = f"{output.name} {output.type} {output.shape}"
            raise AmcError(f"the model {self.path} must have a float32 output of shape (N, classes); it has {found}.")
        return output.shape[1] if isinstance(output.shape[1], int) else None

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Logits float32 (n, C) of windows float32 (n, 2, L); raises AmcError when the inference fails."""
        try:
            if self._rows in (None, len(batch)):
                return self._session.run(None, {self._input: batch})[0]
            return self._run_in_fixed_rows(batch)
        except AmcError:
            raise
        except Exception as error:  # see __init__
            raise AmcError(f"the model {self.path} failed in inference: {first_line(error)}") from None

    def start(self, frames: np.ndarray, divisors: np.ndarray) -> Callable[[], np.ndarray]:
        """Nothing is begun before the logits are waited for."""
        return lambda: self.run(divide(frames, divisors))

    def _run_in_fixed_rows(self, batch: np.ndarray) -> np.ndarray:
        missing = -len(batch) % self._rows
        padded = np.concatenate((batch, np.zeros((missing, *batch.shape[1:]), np.float32)))
        parts = [
            self._session.run(None, {self._input: part})[0] for part in np.split(padded, len(padded) // self._rows)
        ]
        return np.concatenate(parts)[: len(batch)]


def open_runtime(path: Path, runtime: str, threads: int) -> Runtime:
    """The runtime of that name for the model; raises AmcError for an unknown or unavailable one.

    ``auto`` is the native engine where it can take the model and is the faster one here, else onnxruntime.
    """
    if runtime not in RUNTIMES:
        raise AmcError(f"the runtime '{runtime}' is unknown; choose one of {', '.join(RUNTIMES)}.")
    if runtime == "native":
        return NativeRuntime(path, threads)
    if runtime == "auto":
        # What is wrong with a file is left to onnxruntime to say.
        with suppress(AmcError):
            native = NativeRuntime(path, threads)
            if not native.is_slow:
                return native
    return OnnxRuntime(path, threads)
