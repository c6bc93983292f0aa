# SPDX-License-Identifier: GPL-3.0-or-later
"""A model file with everything needed to use it."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .decide import SCORES, Rejection
from .errors import AmcError
from .normalise import KINDS
from .runtime import Runtime, open_runtime
from .windows import LONGEST_WINDOW, checked_count

DEFAULT_MODEL = "vgg10-w4a4-first"
RECEIVER_MODEL = "conditioned"  # for signals as a conditioner gives them
DEFAULT_SAMPLES_PER_SYMBOL = 8.0
MOST_SAMPLES_PER_SYMBOL = 1000
LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 1e-6, 1e6
MODELS = Path(__file__).parent / "models"


@dataclass(frozen=True)
class Model:
    """An opened model: what it expects, what it answers, and ``run``.

    ``samples_per_symbol`` are the fewest and the most that it was trained for.
    """

    path: Path
    classes: tuple[str, ...]
    window: int
    normalise: str
    temperature: float
    rejection: Rejection | None
    runtime: Runtime
    samples_per_symbol: tuple[float, float] = (DEFAULT_SAMPLES_PER_SYMBOL, DEFAULT_SAMPLES_PER_SYMBOL)

    def start(self, frames: np.ndarray, divisors: np.ndarray) -> Callable[[], np.ndarray]:
        """Begins the inference of complex64 windows (n, window), each divided by its own of ``divisors`` float32 (n,).

        What is returned waits for the logits, float32 (n, classes). Both raise AmcError.
        """
        if len(frames) == 0:  # not every file can be run without any
            return lambda: np.empty((0, len(self.classes)), np.float32)
        wait = self.runtime.start(frames, divisors)
        return lambda: self._checked(wait(), len(frames))

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Logits float32 (n, classes) of normalised windows float32 (n, 2, window); raises AmcError."""
        return self._checked(self.runtime.run(batch), len(batch))

    def _checked(self, logits: np.ndarray, count: int) -> np.ndarray:
        if logits.shape != (count, len(self.classes)) or not np.isfinite(logits).all():
            raise AmcError(
                f"the model {self.path} gave logits of shape {logits.shape}, or not finite, "
                f"where {(count, len(self.classes))} finite numbers are due; use another model."
            )
        return logits


def released_models() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(path.name.removesuffix(".onnx") for path in MODELS.glob("*.onnx"))


def _find(name_or_path: str) -> Path:
    name = name_or_path or DEFAULT_MODEL
    released = MODELS / f"{name}.onnx"
    if "/" not in name and not name.endswith(".onnx"):
        if os.path.isfile(released):
            return released
        known = ", ".join(released_models()) or "none"
        raise AmcError(f"there is no released model '{name}'; give a path to a .onnx file or one of: {known}.")
    return Path(name)


def load_model(
    name_or_path: str = "",
    *,
    classes: tuple[str, ...] | list[str] = (),
    window: int = 0,
    normalise: str = "",
    temperature: float = 0.0,
    samples_per_symbol: str = "",
    runtime: str = "auto",
    threads: int = 1,
) -> Model:
    """Opens a released model by name ("" is the default one) or any ONNX file (N, 2, L) -> (N, C) by path.

    ``classes``, ``window``, ``normalise``, ``temperature`` and ``samples_per_symbol`` (such as "8" or "2..16") win
    over the file's ``amc.*`` metadata where given (neither empty nor zero); a temperature that is given ends the file's
    rejection of what is none of its classes. Raises AmcError when anything is missing or does not fit.
    """
    path = _find(str(name_or_path))
    session = open_runtime(path, runtime, checked_count("threads", threads, 1024))
    names = _classes(path, session, tuple(classes))
    length = _window(path, session, window)
    kind = normalise or session.metadata.get("amc.normalise", "none")
    if kind not in KINDS:
        raise AmcError(f"the normalisation '{kind}' of model {path} is unknown; choose one of {', '.join(KINDS)}.")
    # The file's threshold was measured with the file's temperature.
    rejection = None if temperature else _rejection(path, session)
    symbols = _samples_per_symbol(path, session, samples_per_symbol)
    model = Model(path, names, length, kind, _temperature(path, session, temperature), rejection, session, symbols)
    # One window of zeros finds a model that cannot run here before a flowgraph starts.
    model.run(np.zeros((1, 2, length), np.float32))
    return model


def _classes(path: Path, session: Runtime, given: tuple[str, ...]) -> tuple[str, ...]:
    text = session.metadata.get("amc.classes", "")
    try:
        listed = given or json.loads(text or "[]")
    except (ValueError, RecursionError):
        listed = None
    if not isinstance(listed, list | tuple):
        raise AmcError(f"the class list in the metadata of model {path} is not a JSON list; give classes.")
    names = tuple(listed)
    if not names:
        raise AmcError(f"the model {path} has no class list in its metadata; give classes.")
    # What cannot be printed breaks the lines that labels are printed in.
    if not all(isinstance(name, str) and name and name.isprintable() for name in names) or len(set(names)) != len(
        names
    ):
        raise AmcError(f"the class list of model {path} must be distinct printable names; it is {list(names)}.")
    if session.class_count not in (None, len(names)):
        raise AmcError(
            f"the model {path} has {session.class_count} outputs but {len(names)} class names; give as many classes."
        )
    return names


def _number(path: Path, session: Runtime, key: str, default: float) -> float:
    text = session.metadata.get(key, "")
    try:
        return float(text) if text else default
    except ValueError:
        raise AmcError(
            f"{key} in the metadata of model {path} is '{text}', not a number; give it as a setting."
        ) from None


def _window(path: Path, session: Runtime, given: int) -> int:
    length = given or _number(path, session, "amc.window", 0) or session.window
    if not length:
        raise AmcError(f"the model {path} leaves its window length open; give the window.")
    length = checked_count("window", length, LONGEST_WINDOW)
    if session.window not in (None, length):
        raise AmcError(f"the window is {length} samples but the model {path} takes {session.window}; leave it out.")
    return length


def _temperature(path: Path, session: Runtime, given: float) -> float:
    value = given or _number(path, session, "amc.temperature", 1.0)
    if not LOWEST_TEMPERATURE <= value <= HIGHEST_TEMPERATURE:
        raise AmcError(
            f"the temperature {value} of model {path} must be from {LOWEST_TEMPERATURE:g} to {HIGHEST_TEMPERATURE:g}."
        )
    return float(value)


def _rejection(path: Path, session: Runtime) -> Rejection | None:
    """What ``amc.rejection`` says of windows that are none of the classes, None where it is missing."""
    text = session.metadata.get("amc.rejection", "")
    if not text:
        return None
    try:
        content = json.loads(text)
        rejection = Rejection(content["score"], float(content["threshold"]))
        usable = rejection.score in SCORES and np.isfinite(rejection.threshold)
    except (ValueError, RecursionError, LookupError, TypeError, OverflowError):
        usable = False
    if not usable:
        raise AmcError(
            f"amc.rejection in the metadata of model {path} is '{text[:80]}'; it must be JSON with a score, one of "
            f"{', '.join(SCORES)}, and a threshold: export the model again."
        )
    return rejection


def _samples_per_symbol(path: Path, session: Runtime, given: str) -> tuple[float, float]:
    text = given or session.metadata.get("amc.sample_per_symbol", "")
    if not text:
        return DEFAULT_SAMPLES_PER_SYMBOL, DEFAULT_SAMPLES_PER_SYMBOL
    first, _, last = text.partition("..")
    try:
        low, high = float(first), float(last or first)
    except ValueError:
        low = high = 0.0
    if not 1 <= low <= high <= MOST_SAMPLES_PER_SYMBOL:
        raise AmcError(
            f"the samples per symbol of model {path} are '{text}'; they must be a number from 1 to "
            f"{MOST_SAMPLES_PER_SYMBOL}, or two such as 2..16."
        )
    return low, high
