# SPDX-License-Identifier: GPL-3.0-or-later
"""Inference cost by the rules of the challenge ITU-ML5G-PS-007 (2021): of a QONNX file, and of a network's weights."""

from pathlib import Path

import onnx
import torch
from qonnx.core.datatype import DataType
from qonnx.util.inference_cost import inference_cost
from torch import Tensor

from .errors import TrainingError, first_line
from .networks import Chain, prunable_weights, weight_counts
from .signals import FRAME

BASELINE_BIT_OPERATIONS = 807_699_904  # VGG10 at 8 bits with its own zero weights discounted
BASELINE_WEIGHT_BITS = 1_244_936

# What timing a frame multiplies, in float32: in each of 61 segments 16 sums of four samples, both rails, with a window,
# and six products of what that gives.
_TIMING_PRODUCTS = 61 * (16 * 2 + 6)
_TIMING_WEIGHTS = 16
# To compress a frame is to square all its values and to divide them.
_COMPRESSION_PRODUCTS = 2 * 2 * FRAME
# To turn a frame is to filter 128 symbols, both rails by 24 taps, to scale each and make its powers (34), and to look
# for lines in these: at 22 frequencies and their negatives 8 sums take four products, and four more to go on to the
# next, and 40 lines are compared (4). Then each sample is turned (4) by an angle that goes on (4).
_TURNING_PRODUCTS = 128 * (2 * 24 + 34) + 22 * 8 * 8 + 40 * 4 + FRAME * 8
# The half of the filter, and where the sums lie on the circle.
_TURNING_WEIGHTS = 12 + 2 * 8
# By kinds of `normalise` whose cost is told beside a network's.
PRODUCTS_BEFORE = {
    "timed": _TIMING_PRODUCTS,
    "timed_compressed": _TIMING_PRODUCTS + _COMPRESSION_PRODUCTS,
    "timed_turned": _TIMING_PRODUCTS + _COMPRESSION_PRODUCTS + _TURNING_PRODUCTS,
}
_WEIGHTS_BEFORE = {
    "timed": _TIMING_WEIGHTS,
    "timed_compressed": _TIMING_WEIGHTS,
    "timed_turned": _TIMING_WEIGHTS + _TURNING_WEIGHTS,
}
FLOAT_BITS = 32


def _score(bit_operations: float, weight_bits: float) -> float:
    return 0.5 * bit_operations / BASELINE_BIT_OPERATIONS + 0.5 * weight_bits / BASELINE_WEIGHT_BITS


def _layer(name: str, entry: dict, dense: dict) -> dict:
    return {
        "name": name,
        "bit_ops": round(entry["total_bops"]),
        "weight_bits": round(entry["total_mem_w_bits"]),
        "macs": round(dense["total_macs"]),
        "weights": round(dense["total_mem_w_elems"]),
        "nonzero_weights": round(entry["total_mem_w_elems"]),
    }


def _refuse_unscored(path: Path, total: dict, layers: list[dict]) -> None:
    """A model is not silently scored when the tool bills a part of it at nothing or at 32 bits."""
    if total["unsupported"] != "set()":
        raise TrainingError(f"the model {path} has operations that the cost does not know: {total['unsupported']}.")
    kinds = {kind for key in total if key.startswith("op_mac") for kind in key.split("_")[2:4]}
    wide = sorted(kind for kind in kinds if DataType[kind].bitwidth() >= 32)
    if wide:
        raise TrainingError(f"the model {path} multiplies tensors of type {', '.join(wide)}; quantise them first.")
    if not layers or not all(layer["macs"] and layer["weights"] for layer in layers):
        raise TrainingError(f"the model {path} has no layers that can be counted; give one for a batch of one frame.")


def cost(path: Path) -> dict:
    """Bit operations, weight bits, multiply-accumulates, non-zero weights, sparsity, score and layers.

    Zero weights are discounted, but for ``dense_bit_ops`` and ``dense_weight_bits``. Raises TrainingError
    for a file that is missing, not QONNX, or has operations or float tensors that the rules do not cover.
    """
    if not path.is_file():
        raise TrainingError(f"the model {path} does not exist.")
    try:
        kinds = {node.op_type for node in onnx.load(path).graph.node}
        sparse = inference_cost(str(path), discount_sparsity=True, cost_breakdown=True)
        dense = inference_cost(str(path), discount_sparsity=False, cost_breakdown=True)
    except Exception as error:  # qonnx and onnx raise many kinds for files they cannot take
        raise TrainingError(
            f"the model {path} cannot be scored ({first_line(error)}); give a .qonnx.onnx file."
        ) from None
    if "DequantizeLinear" in kinds:
        raise TrainingError(f"the model {path} hides widths under 8 bits from the cost; give its .qonnx.onnx file.")
    total = sparse["total_cost"]
    layers = [_layer(name, entry, dense["node_cost"][name]) for name, entry in sparse["node_cost"].items()]
    _refuse_unscored(path, total, layers)
    weights = sum(layer["weights"] for layer in layers)
    nonzero = sum(layer["nonzero_weights"] for layer in layers)
    bit_operations, weight_bits = round(total["total_bops"]), round(total["total_mem_w_bits"])
    return {
        "bit_ops": bit_operations,
        "weight_bits": weight_bits,
        "macs": sum(layer["macs"] for layer in layers),
        "nonzero_weights": nonzero,
        "sparsity": round(1 - nonzero / weights, 6),
        "dense_bit_ops": round(dense["total_cost"]["total_bops"]),
        "dense_weight_bits": round(dense["total_cost"]["total_mem_w_bits"]),
        "score": round(_score(bit_operations, weight_bits), 6),
        "layers": layers,
    }


def cost_with_timing(costs: dict, normalise: str) -> dict:
    """The ``score`` of ``costs`` with what a kind of ``normalise`` in PRODUCTS_BEFORE multiplies, at 32 bits, and that.

    The rules of the challenge do not say what is done to frames before a network is paid for, and no entry had any.
    """
    bit_operations = PRODUCTS_BEFORE[normalise] * FLOAT_BITS**2
    weight_bits = _WEIGHTS_BEFORE[normalise] * FLOAT_BITS
    score = _score(costs["bit_ops"] + bit_operations, costs["weight_bits"] + weight_bits)
    return {"bit_ops": bit_operations, "weight_bits": weight_bits, "score": round(score, 6)}


def weight_costs(network: Chain, operations: float = 1) -> dict[str, float]:
    """Cost score of one weight by layer name; the sum over a network's weights that are not zero is its score.

    ``operations``: bit operations are counted so many times. Raises TrainingError for a float network, which has none.
    """
    if network.bits.is_float:
        raise TrainingError("a float network has no cost; give its stage bits.")
    products: dict[str, int] = {}
    layers = {name: network.get_submodule(name) for name in prunable_weights(network)}
    handles = [
        # A weight takes part in every output of its own filter.
        layer.register_forward_hook(lambda _, __, output, name=name: products.update({name: output[0, 0].numel()}))
        for name, layer in layers.items()
    ]
    was_training = network.training
    with torch.no_grad():
        network.eval()(torch.zeros(1, 2, FRAME, device=next(network.parameters()).device))
    network.train(was_training)
    for handle in handles:
        handle.remove()
    widths = zip(layers, network.weight_widths, network.input_widths, strict=True)
    return {name: _score(operations * products[name] * weight * value, weight) for name, weight, value in widths}


def cost_left(network: Chain, masks: dict[str, Tensor]) -> float:
    """Cost score of the weights that ``masks`` leave, of layers without one all; those of code 0 are counted too."""
    left = weight_counts(network) | {name: int(mask.sum()) for name, mask in masks.items()}
    return sum(cost * left[name] for name, cost in weight_costs(network).items())
