# SPDX-License-Identifier: GPL-3.0-or-later
"""The float32 counterpart of a quantised model file, and the windows that both are given."""

import json
import warnings
from pathlib import Path

import numpy as np
import torch
from gnuradio.amc.errors import AmcError
from torch import nn

from training.config import run_from_mapping
from training.errors import TrainingError
from training.networks import Bits
from training.signals import CLASSES, FRAME, PRESETS, generate
from training.start import build_network

PRESET = "simulation"
WINDOWS_PER_CLASS = 8
SNR_DB = 10


def example_windows() -> np.ndarray:
    """Windows complex64 (192, 1024) of all 24 classes at 10 dB, the same ones each time."""
    classes = torch.arange(len(CLASSES)).repeat(WINDOWS_PER_CLASS)
    generator = torch.Generator().manual_seed(1)
    frames = generate(PRESETS[PRESET], classes, torch.full_like(classes, SNR_DB), generator).numpy()
    return (frames[:, 0] + 1j * frames[:, 1]).astype(np.complex64)


def write_float32(network: nn.Module, path: Path) -> None:
    """Writes a float32 network as ONNX."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own age
        torch.onnx.export(
            network,
            (torch.zeros(1, 2, FRAME),),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["iq"],
            output_names=["logits"],
            dynamic_axes={"iq": {0: "N"}, "logits": {0: "N"}},
        )


def write_counterpart(model: Path, path: Path) -> nn.Module:
    """Writes the float32 network of the family and the sizes that the card of ``model`` names, with random weights, and
    returns it; raises AmcError where there is no card.
    """
    card = model.with_suffix(".json")
    try:
        run = run_from_mapping(json.loads(card.read_text())["recipe"])
    except (OSError, ValueError, KeyError, TypeError, TrainingError):
        raise AmcError(
            f"the model {model} has no card {card.name} beside it that says which network it is; give one that has."
        ) from None
    torch.manual_seed(1)
    network = build_network(run, Bits(), images=False).eval()
    write_float32(network, path)
    return network
