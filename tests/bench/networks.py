# SPDX-License-Identifier: GPL-3.0-or-later
"""The float32 counterpart of a quantised model file, and the windows that both are given."""

import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from gnuradio.amc.errors import AmcError

from training.networks import Vgg10
from training.signals import CLASSES, FRAME, PRESETS, generate

PRESET = "simulation"
WINDOWS_PER_CLASS = 8
SNR_DB = 10


def example_windows() -> np.ndarray:
    """Windows complex64 (192, 1024) of all 24 classes at 10 dB, the same ones each time."""
    classes = torch.arange(len(CLASSES)).repeat(WINDOWS_PER_CLASS)
    generator = torch.Generator().manual_seed(1)
    frames = generate(PRESETS[PRESET], classes, torch.full_like(classes, SNR_DB), generator).numpy()
    return (frames[:, 0] + 1j * frames[:, 1]).astype(np.complex64)


def layer_sizes(path: Path) -> list[tuple[int, ...]]:
    """Shape of the weights of each convolution and linear layer of an ONNX file, in order."""
    graph = onnx.load(path).graph
    shapes = {item.name: tuple(item.dims) for item in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}
    sizes = []
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            name = node.input[1]
            while name not in shapes and name in producers:  # through the weights' quantisers
                name = producers[name].input[0]
            # Exporters store a linear layer either way round.
            size = shapes.get(name, ())
            sizes.append(size if node.op_type == "Conv" else tuple(sorted(size)))
    return sizes


def write_float32(path: Path, classes: int, filters: int, hidden: int) -> Vgg10:
    """Writes a float32 VGG10 of these sizes with random weights as ONNX and returns it."""
    torch.manual_seed(1)
    network = Vgg10(classes, filters=filters, hidden=hidden).eval()
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
    return network


def write_counterpart(model: Path, path: Path) -> Vgg10:
    """Writes the float32 network of the same layers as ``model``; raises AmcError where that is no VGG10."""
    sizes = layer_sizes(model)
    if len(sizes) == 10 and all(sizes):
        filters = sizes[0][0]
        hidden = int(np.prod(sizes[7])) // (filters * FRAME // 2**7)
        classes = int(np.prod(sizes[9])) // max(hidden, 1)
        network = write_float32(path, max(classes, 1), filters, max(hidden, 1))
        if layer_sizes(path) == sizes:
            return network
    raise AmcError(f"the model {model} is not a VGG10, so it has no float32 counterpart here; give one that is.")
