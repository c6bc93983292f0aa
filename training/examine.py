# SPDX-License-Identifier: GPL-3.0-or-later
"""What a card says of a network beside its accuracy: signals of no class, noise, and what receivers vary."""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from .calibration import KEPT_FROM_LABEL, choose_rejection, kept
from .config import Run
from .data import FRESH_STREAM, VALIDATION_STREAM, every_pair, generator_of, normalise
from .signals import FRAME, NOISE, PRESETS, Preset, generate
from .signals.presets import Choice, Normal, fixed

# Of generated test frames, the same for every network, so that networks are compared on the same frames.
TEST_SEED = 3026


def logits_of(network: nn.Module, frames: Tensor) -> Tensor:
    """Logits (N, classes) of normalised frames (N, 2, 1024)."""
    with torch.inference_mode():
        return torch.cat([network(part) for part in frames.split(256)])


# --- what is none of the classes ------------------------------------------------------------------

REJECTION_FRAMES_PER_PAIR = 40


def _recognisable(network: nn.Module, run: Run, preset: str, seed: int, stream: int) -> dict[str, Tensor]:
    """Logits of frames of every class of ``preset``, of labels at which signals can be told."""
    logits = {}
    pairs = every_pair(preset, REJECTION_FRAMES_PER_PAIR, seed, torch.device("cpu"), stream=stream)
    for index, frames, labels in pairs:
        frames = frames[labels >= KEPT_FROM_LABEL]
        name = PRESETS[preset].classes[index]
        logits[name] = logits_of(network, normalise(frames, run.normalise))
    return logits


def rejection_of(network: nn.Module, run: Run, temperature: float) -> dict | None:
    """What tells frames of no class, chosen on validation frames, with what it does on test frames.

    None for a run without outliers.
    """
    outliers = run.presets(outliers=True)
    if not outliers:
        return None

    def logits(preset: str, seed: int, stream: int) -> dict[str, Tensor]:
        return _recognisable(network, run, preset, seed, stream)

    def signals(seed: int, stream: int) -> Tensor:
        parts = [logits(preset, seed, stream) for preset in run.presets(outliers=False)]
        return torch.cat([rows for part in parts for name, rows in part.items() if name != NOISE])

    others = [torch.cat(list(logits(preset, run.seed, VALIDATION_STREAM).values())) for preset in outliers]
    chosen = choose_rejection(signals(run.seed, VALIDATION_STREAM), torch.cat(others), temperature)
    tested = {name: rows for preset in outliers for name, rows in logits(preset, TEST_SEED, FRESH_STREAM).items()}

    def turned_away(rows: Tensor) -> float:
        """Rejected, or named noise."""
        stays = kept(rows, chosen, temperature)
        if NOISE in run.classes:
            stays &= rows.argmax(1) != run.classes.index(NOISE)
        return round(1 - float(stays.float().mean()), 4)

    known = kept(signals(TEST_SEED, FRESH_STREAM), chosen, temperature)
    noise = normalise(_white_noise(), run.normalise)
    return chosen | {
        "from_label": KEPT_FROM_LABEL,
        "test": {
            "known_kept": round(float(known.float().mean()), 4),
            "unknown_or_noise": {name: turned_away(rows) for name, rows in tested.items()}
            | {"white noise": turned_away(logits_of(network, noise))},
        },
    }


# --- what receivers vary --------------------------------------------------------------------------

CONDITION_FRAMES = 100  # a class and value
CONDITION_LABEL = 14
CONDITIONS = {
    "samples_per_symbol": (2.0, 4.0, 8.0, 16.0),
    "carrier_offset": (0.0, 0.01, 0.02, 0.05),
}


def by_condition(network: nn.Module, run: Run) -> dict:
    """Accuracy at label CONDITION_LABEL by what a preset of the run leaves open, each set to some values in turn."""
    found: dict = {}
    for name in run.presets(outliers=False):
        preset = PRESETS[name]
        for field, values in CONDITIONS.items():
            law = getattr(preset, field)
            if isinstance(law, Choice | Normal):
                continue
            of_value = found.setdefault(name, {}).setdefault(field, {})
            for value in values:
                fixed_preset = replace(preset, **{field: fixed(value)})
                of_value[f"{value:g}"] = _accuracy_on(network, run, fixed_preset)
    return found


def _accuracy_on(network: nn.Module, run: Run, preset: Preset) -> float:
    classes = torch.arange(len(preset.classes)).repeat_interleave(CONDITION_FRAMES)
    generator = generator_of(TEST_SEED, FRESH_STREAM, torch.device("cpu"))
    frames = generate(preset, classes, torch.full_like(classes, CONDITION_LABEL), generator)
    return round(float((logits_of(network, normalise(frames, run.normalise)).argmax(1) == classes).float().mean()), 4)


# --- nothing but noise ----------------------------------------------------------------------------


def _white_noise() -> Tensor:
    """Of power 1, as the presets without scaling have."""
    return torch.randn(2000, 2, FRAME, generator=torch.Generator().manual_seed(TEST_SEED)) * math.sqrt(0.5)


def noise_confidence(network: nn.Module, run: Run, temperature: float) -> dict:
    """How sure the network is of windows that hold nothing but noise: quantiles of the confidence."""
    noise = normalise(_white_noise(), run.normalise)
    confidence = torch.softmax(logits_of(network, noise) / temperature, 1).max(1).values
    return {q: round(float(confidence.quantile(float(q))), 4) for q in ("0.5", "0.95", "0.99")}
