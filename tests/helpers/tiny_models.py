# SPDX-License-Identifier: GPL-3.0-or-later
"""Small ONNX classifiers whose answer a test can work out by hand."""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

DEFAULT_CLASSES = ("LOW", "MIDDLE", "HIGH")


def level_weights(classes, window, margin=10.0):
    """Weights of a classifier that looks only at the mean of I over the window.

    With C classes the label is the one whose level is nearest: class k stands for a mean of k / (C - 1). A sample of
    constant value k / (C - 1) is therefore class k, with a lead of ``margin`` over its neighbours in the logits.

    Returns weights float32 (2 * window, classes), for iq flattened as all of I, then all of Q, and bias float32
    (classes,).
    """
    count = len(classes)
    levels = np.arange(count) / max(count - 1, 1)
    # Nearest level: the largest of -(m - level)^2, less the m^2 that all have in common, is linear in m.
    scale = margin * max(count - 1, 1) ** 2
    weights = np.zeros((2 * window, count), np.float32)
    weights[:window] = 2 * scale * levels / window
    return weights, (-scale * levels**2).astype(np.float32)


def write_model(
    path,
    classes=DEFAULT_CLASSES,
    window=1024,
    normalise="none",
    *,
    weights=None,
    bias=None,
    temperature=1.0,
    sample_per_symbol=8,
    batch=None,
    metadata=None,
    input_name="iq",
    output_name="logits",
    margin=10.0,
    extra_nodes=(),
    extra_initializers=(),
    logits_from="linear",
):
    """Write an ONNX model that computes logits = flatten(iq) @ weights + bias, and return ``path``.

    classes: the names written to ``amc.classes``. window: samples of each input. weights: float32 (2 * window, C), bias
    float32 (C,); left out, ``level_weights``. C may differ from the number of names, for a test of that very fault.
    batch: None for any number of windows, or a fixed one. metadata: None for the full set of ``amc.`` properties, or a
    dict that takes its place; {} leaves the model without any, as a third party's would be.
    extra_nodes, extra_initializers, logits_from: further steps of the graph, see ``write_failing_model``.
    """
    if weights is None:
        weights, default_bias = level_weights(classes, window, margin)
        bias = default_bias if bias is None else bias
    weights = np.asarray(weights, np.float32)
    bias = np.zeros(weights.shape[1], np.float32) if bias is None else np.asarray(bias, np.float32)
    size = "N" if batch is None else batch
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", [input_name], ["flat"], axis=1),
            helper.make_node("MatMul", ["flat", "weights"], ["product"]),
            helper.make_node("Add", ["product", "bias"], ["linear"]),
            *extra_nodes,
            helper.make_node("Identity", [logits_from], [output_name]),
        ],
        "tiny",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, [size, 2, window])],
        [helper.make_tensor_value_info(output_name, TensorProto.FLOAT, [size, weights.shape[1]])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias"), *extra_initializers],
    )
    # Old enough a version for every onnxruntime that may be there.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    if metadata is None:
        metadata = {
            "amc.classes": json.dumps(list(classes)),
            "amc.window": str(window),
            "amc.normalise": normalise,
            "amc.temperature": str(temperature),
            "amc.sample_per_symbol": str(sample_per_symbol),
            "amc.version": "1",
        }
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def write_failing_model(path, classes=DEFAULT_CLASSES, window=1024, limit=100.0):
    """Like ``write_model``, but its inference raises for a batch in which a window's first I sample is over ``limit``.

    The index into a table of one entry is then 1; no shape inference can foresee that.
    """
    return write_model(
        path,
        classes,
        window,
        extra_nodes=[
            helper.make_node("Gather", ["flat", "zero"], ["first"], axis=1),
            helper.make_node("Greater", ["first", "limit"], ["over"]),
            helper.make_node("Cast", ["over"], ["index"], to=TensorProto.INT64),
            helper.make_node("Gather", ["table", "index"], ["nothing"], axis=0),
            helper.make_node("Add", ["linear", "nothing"], ["guarded"]),
        ],
        extra_initializers=[
            numpy_helper.from_array(np.array([0], np.int64), "zero"),
            numpy_helper.from_array(np.array(limit, np.float32), "limit"),
            numpy_helper.from_array(np.array([0], np.float32), "table"),
        ],
        logits_from="guarded",
    )
