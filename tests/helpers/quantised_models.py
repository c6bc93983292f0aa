# SPDX-License-Identifier: GPL-3.0-or-later
"""Quantised networks for tests: QCDQ ONNX files, integer networks, and the plainest executor of the latter."""

from dataclasses import dataclass, field

import numpy as np
import onnx
from gnuradio.amc.integer import Input, IntegerNetwork, Layer, Logits, Sum, Tensor
from onnx import TensorProto, helper, numpy_helper


@dataclass
class Graph:
    """Builds a QCDQ graph, as Brevitas exports it, node by node; ``at`` is the name of the value at hand."""

    length: int = 64
    channels: int = 2
    at: str = "iq"
    nodes: list = field(default_factory=list)
    constants: list = field(default_factory=list)

    def constant(self, value, dtype=np.float32) -> str:
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def node(self, kind, *others, **attributes) -> "Graph":
        name = f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [self.at, *others], [name], name=name, **attributes))
        self.at = name
        return self

    def quantise(self, scale, low, high, kind=np.int8) -> "Graph":
        zero, scale = self.constant(0, kind), self.constant(scale)
        self.node("QuantizeLinear", scale, zero)
        self.node("Clip", self.constant(low, kind), self.constant(high, kind))
        return self.node("DequantizeLinear", scale, zero)

    def weights(self, codes, scale) -> str:
        """Name of weights that are codes times scale; one scale, or one for each output."""
        before, self.at = self.at, self.constant(codes, np.int8)
        zero = self.constant(np.zeros_like(scale), np.int8)
        self.node("DequantizeLinear", self.constant(scale), zero, **({"axis": 0} if np.ndim(scale) else {}))
        name, self.at = self.at, before
        return name

    def save(self, path, *shape, metadata=()):
        """Writes the graph, whose output is (N, ``shape``...), and returns ``path``."""
        graph = helper.make_graph(
            self.nodes,
            "quantised",
            [helper.make_tensor_value_info("iq", TensorProto.FLOAT, ["N", self.channels, self.length])],
            [helper.make_tensor_value_info(self.at, TensorProto.FLOAT, ["N", *shape])],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        helper.set_model_props(model, dict(metadata))
        onnx.save(model, str(path))
        return path


def random_even_network(rng: np.random.Generator) -> IntegerNetwork:
    """One to six layers, each as long as what it reads or a half or a quarter of that, and sums of any two tensors that
    fit; at times an average over each row, and a linear layer.

    Lengths are multiples of 8, and thresholds as far from each other as those of a rounding.
    """
    largest = 15
    tensor = Tensor(2, 64 * int(rng.integers(1, 5)), largest, int(rng.integers(0, largest + 1)))
    first = Input(tensor, 0.25, -tensor.zero, largest - tensor.zero)
    layers, tensors = [], [tensor]
    for _ in range(int(rng.integers(1, 7))):
        if len(layers) > 1 and rng.random() < 0.2:
            layers.append(_random_sum(rng, tensors))
            tensors.append(layers[-1].output)
            continue
        source = len(tensors) - 1 if rng.random() < 0.8 else int(rng.integers(len(tensors)))
        tensor = tensors[source]
        stride, pool = (int(n) for n in rng.choice([(1, 1), (1, 2), (2, 1), (2, 2), (4, 1)]))
        if tensor.length % (8 * stride * pool):
            stride = pool = 1
        kernel = stride + int(rng.integers(0, 5))
        left = int(rng.integers(0, kernel - stride + 1))
        groups = int(rng.choice([1, 2])) if tensor.channels % 2 == 0 else 1
        outputs = groups * int(rng.integers(1, 5))
        weights = rng.integers(-7, 8, (outputs, tensor.channels // groups, kernel))
        weights[rng.random(weights.shape) < 0.5] = 0
        layers.append(
            _rounded(
                rng,
                tensor,
                Tensor(outputs, tensor.length // stride // pool, int(rng.choice([3, 15, 31])), 0),
                weights,
                stride=stride,
                padding=(left, kernel - stride - left),
                groups=groups,
                pool=pool,
                source=source,
            )
        )
        tensors.append(layers[-1].output)
    tensor = tensors[-1]
    if rng.random() < 0.5:
        output = Tensor(tensor.channels, 1, 31, 0)
        weights = np.ones((tensor.channels, 1, tensor.length), np.int64)
        layers.append(_rounded(rng, tensor, output, weights, groups=tensor.channels, source=len(layers)))
        tensor = output
    if rng.random() < 0.5:
        output = Tensor(6, 1, 15, 0)
        weights = rng.integers(-7, 8, (6, tensor.channels, tensor.length))
        layers.append(_rounded(rng, tensor, output, weights, source=len(layers)))
        tensor = output
    return IntegerNetwork(first, tuple(layers), _random_logits(rng, tensor, 7))


def _rounded(rng, tensor, output, weights, *, source, stride=1, padding=(0, 0), groups=1, pool=1) -> Layer:
    """A layer whose sums of such a tensor are divided and rounded, each output in its own way."""
    spread = np.abs(weights).sum((1, 2))[:, None] * tensor.largest // 2 + 1
    step = np.maximum(spread * rng.uniform(0.2, 1.2, spread.shape) / output.largest, 1)
    first = -spread * rng.uniform(0, 0.5, spread.shape)
    thresholds = np.ceil(first + step * np.arange(output.largest)).astype(np.int32)
    return Layer(output, weights.astype(np.int16), stride, padding, groups, pool, thresholds, source)


def random_network(rng: np.random.Generator, heaviest: int = 7, bits: int = 4) -> IntegerNetwork:
    """One to eight layers of any kernel, stride, padding, groups and pool, of any tensor before them, and sums of any
    two tensors that fit; then linear layers.

    Thresholds lie among the sums that occur, anywhere or evenly as those of a rounding do.
    """
    largest = 2**bits - 1
    tensor = Tensor(int(rng.choice([1, 2, 4])), int(rng.integers(20, 200)), largest, int(rng.integers(0, largest + 1)))
    first = Input(tensor, float(2.0 ** rng.integers(-4, 1)), -tensor.zero, largest - tensor.zero)
    layers, tensors = [], [tensor]
    for number in range(int(rng.integers(1, 9))):
        if rng.random() < 0.4:
            layers.append(_random_sum(rng, tensors))
            tensors.append(layers[-1].output)
            continue
        linear = number > 0 and rng.random() < 0.2
        source = len(tensors) - 1 if linear or rng.random() < 0.6 else int(rng.integers(len(tensors)))
        tensor = tensors[source]
        kernel = tensor.length if linear else int(rng.integers(1, min(7, tensor.length) + 1))
        padding = (0, 0) if linear else tuple(int(rng.integers(0, kernel)) for _ in range(2))
        stride = 1 if linear else int(rng.integers(1, 4))
        groups = int(rng.choice([g for g in (1, 2, 4) if tensor.channels % g == 0]))
        outputs = groups * int(rng.integers(1, 5))
        sums = (tensor.length + sum(padding) - kernel) // stride + 1
        pool = int(rng.integers(1, min(3, sums) + 1))
        if not linear and rng.random() < 0.6:  # of the shape of what it reads, so that the two can be added
            kernel, padding, stride, pool, sums = 3, (1, 1), 1, 1, tensor.length
            outputs = tensor.channels
        weights = rng.integers(-heaviest, heaviest + 1, (outputs, tensor.channels // groups, kernel))
        weights[rng.random(weights.shape) < rng.choice([0.0, 0.5, 0.9])] = 0
        spread = np.abs(weights).sum((1, 2), keepdims=True)[:, 0] * tensor.largest // 4 + 1
        codes = int(rng.integers(1, largest + 1))
        if rng.random() < 0.5:
            thresholds = np.sort(rng.integers(-spread, spread + 1, (outputs, codes)), axis=1)
        else:
            steps = 2 * spread / codes * rng.uniform(0.1, 1, (outputs, 1))
            thresholds = np.ceil(-spread * rng.random((outputs, 1)) + steps * np.arange(codes)).astype(np.int64)
        output = Tensor(outputs, sums // pool, codes, int(rng.integers(0, codes + 1)))
        layers.append(
            Layer(output, weights.astype(np.int16), stride, padding, groups, pool, thresholds.astype(np.int32), source)
        )
        tensors.append(output)
        if kernel == output.length == 1 or linear:
            break
    return IntegerNetwork(first, tuple(layers), _random_logits(rng, tensors[-1], heaviest))


def _random_logits(rng: np.random.Generator, tensor: Tensor, heaviest: int) -> Logits:
    features, classes = tensor.channels * tensor.length, 5
    return Logits(
        rng.integers(-heaviest, heaviest + 1, (classes, features)).astype(np.int16),
        rng.integers(-50, 51, classes).astype(np.int32),
        (2.0 ** rng.integers(-6, 0, classes)).astype(np.float32),
        rng.normal(size=classes).astype(np.float32),
    )


def _random_sum(rng: np.random.Generator, tensors: list[Tensor]) -> Sum:
    """A sum of two tensors of one shape, most often of the last one, or of one with itself where none is like it."""
    second = len(tensors) - 1 if rng.random() < 0.7 else int(rng.integers(len(tensors)))
    shape = tensors[second].channels, tensors[second].length
    others = [n for n, tensor in enumerate(tensors) if (tensor.channels, tensor.length) == shape and n != second]
    first = int(rng.choice(others or [second]))
    shifts = [(0, 0), (0, 1), (2, 0), (1, 3)][rng.integers(4)]
    most = sum(tensors[number].largest << shift for number, shift in zip((first, second), shifts, strict=True))
    codes = int(rng.integers(1, tensors[second].largest + 1))
    if rng.random() < 0.5:
        thresholds = np.sort(rng.integers(-1, most + 2, codes))
    else:  # rounded to a power of two of the sums, half to even
        factor, offset = 2.0 ** -int(rng.integers(0, 5)), int(rng.integers(-most, most // 2 + 1))
        of_sum = np.clip(np.rint((np.arange(most + 1) + offset) * factor), 0, codes)
        thresholds = np.searchsorted(of_sum, np.arange(1, codes + 1))
    output = Tensor(*shape, codes, int(rng.integers(0, codes + 1)))
    return Sum(output, first, second, shifts, thresholds.astype(np.int32))


def execute(network: IntegerNetwork, frames: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Codes int64 of every tensor, and logits float32, one sum after the other as the definitions say."""
    given = network.input
    codes = np.clip(np.rint(frames / np.float32(given.scale)), given.low, given.high).astype(np.int64) - given.low
    everything = [codes]
    for layer in network.layers:
        if isinstance(layer, Sum):
            sums = (everything[layer.first] << layer.shifts[0]) + (everything[layer.second] << layer.shifts[1])
            everything.append((sums[..., None] >= layer.thresholds).sum(3))
            continue
        codes, tensor = everything[layer.source], network.tensors[layer.source]
        outputs, inputs, kernel = layer.weights.shape
        padded = np.pad(codes, ((0, 0), (0, 0), layer.padding), constant_values=tensor.zero)
        count = (padded.shape[2] - kernel) // layer.stride + 1
        sums = np.zeros((len(frames), outputs, count), np.int64)
        for output in range(outputs):
            first = output // (outputs // layer.groups) * inputs
            for t in range(count):
                part = padded[:, first : first + inputs, t * layer.stride : t * layer.stride + kernel]
                sums[:, output, t] = (part * layer.weights[output].astype(np.int64)).sum((1, 2))
        count = count // layer.pool * layer.pool
        sums = sums[:, :, :count].reshape(len(frames), outputs, -1, layer.pool).max(3)
        everything.append((sums[..., None] >= layer.thresholds[:, None, :]).sum(3))
    logits = network.logits
    sums = everything[-1].reshape(len(frames), -1) @ logits.weights.T.astype(np.int64) + logits.shift
    return everything, sums.astype(np.float32) * logits.scale + logits.offset
