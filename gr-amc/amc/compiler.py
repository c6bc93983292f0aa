# SPDX-License-Identifier: GPL-3.0-or-later
"""From a QCDQ ONNX file to integers.

Between the sums of a layer and the codes of the next one, a file has float operations for each channel: scales, batch
normalisation, a rectified linear unit, rounding. Each of them is monotone in float32 too, because IEEE 754 rounds
monotonely. So a channel's whole function of its sum is a staircase, and the sums where its steps lie, found by
bisection over all sums that the weights can reach, are that function, exactly.

The sum itself is a whole number of the product of two scales. Where these are powers of two, as in every network of
this project, that is what any float runtime computes too; with others each product is rounded first, and runtimes
differ among themselves in the last bits.

Two tensors are added as whole numbers of the smaller of their scales. The staircase of that is compared with the file's
own float operations on every pair of codes.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from .errors import AmcError, first_line
from .integer import Input, IntegerNetwork, Layer, Logits, Sum, Tensor

LARGEST_SUM = 2**30
LARGEST_ADDITION = 2**15 - 1  # of two tensors' codes
LARGEST_SIZE = 1 << 24  # elements of one tensor or weight: more is no network for this engine
NEVER = 2**31 - 1  # a threshold that no sum reaches


class CannotCompile(AmcError):
    """The engine has no form for something in the file; the sentence names it."""


# --- float operations on the sums of a layer ------------------------------------------------------


@dataclass(frozen=True)
class _Product:
    factor: np.ndarray  # float32 (channels, 1)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        return values * self.factor


@dataclass(frozen=True)
class _Offset:
    offset: np.ndarray  # float32 (channels, 1)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        return values + self.offset


@dataclass(frozen=True)
class _Clip:
    low: np.float32
    high: np.float32

    def __call__(self, values: np.ndarray) -> np.ndarray:
        return np.clip(values, self.low, self.high)


_Function = _Product | _Offset | _Clip


# --- what a name in the graph stands for ----------------------------------------------------------


@dataclass(frozen=True)
class _Weights:
    """``codes`` int64 times ``scale`` float32, whose shape broadcasts to that of the codes."""

    codes: np.ndarray
    scale: np.ndarray


@dataclass(frozen=True)
class _Signal:
    """The model's input, float32, clipped to ``low``..``high``."""

    channels: int
    length: int
    low: np.float32 = np.float32(-np.inf)
    high: np.float32 = np.float32(np.inf)


@dataclass(frozen=True)
class _Codes:
    """Tensor ``number`` of the network: its integers are code + ``low``, its values these times ``scale``."""

    number: int
    tensor: Tensor
    scale: np.float32
    low: int
    flat: bool = False


@dataclass(frozen=True)
class _Sums:
    """The sums of a layer, each ``scale`` times an integer, and the float operations that follow."""

    source: _Codes
    weights: np.ndarray  # int64 (outputs, inputs / groups, kernel)
    scale: np.ndarray  # float64 (outputs, 1)
    stride: int = 1
    padding: tuple[int, int] = (0, 0)
    groups: int = 1
    pool: int = 1
    functions: tuple[_Function, ...] = ()
    before_pool: int = 0  # how many of them stand before the pool

    @property
    def length(self) -> int:
        padded = self.source.tensor.length + sum(self.padding)
        return ((padded - self.weights.shape[2]) // self.stride + 1) // self.pool


@dataclass(frozen=True)
class _Added:
    """Two tensors, value by value, and the float operations that follow."""

    first: _Codes
    second: _Codes
    functions: tuple[_Clip, ...] = ()


@dataclass(frozen=True)
class _Rounded:
    """Between QuantizeLinear and DequantizeLinear: integers ``low``..``high``, the zero point taken off."""

    source: _Signal | _Sums | _Added
    scale: np.float32
    zero: int
    low: int
    high: int


def _array(tensor) -> np.ndarray:
    from onnx import numpy_helper

    try:
        return numpy_helper.to_array(tensor)
    except Exception as error:  # a file may say anything of a tensor
        raise CannotCompile(f"the constant '{tensor.name}' cannot be read: {first_line(error)}.") from None


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise CannotCompile(message)


def _scalar(value, kind: type):
    _require(isinstance(value, np.ndarray) and value.size == 1, "has a parameter that is not one constant number.")
    return kind(value.reshape(()))


def _scale(value) -> np.float32:
    scale = _scalar(value, np.float32)
    _require(bool(np.isfinite(scale)) and scale > 0, f"has the scale {scale}, which is not above zero.")
    return scale


def _by_channel(value, channels: int) -> np.ndarray:
    """A constant as float32 (channels, 1): one number, or one for each channel."""
    if isinstance(value, _Weights):  # a quantised bias
        value = value.codes.astype(np.float32) * value.scale
    _require(isinstance(value, np.ndarray), "has a parameter that is not constant.")
    _require(value.size in (1, channels), f"has {value.size} numbers for {channels} channels.")
    _require(
        value.size == 1 or value.shape in ((channels,), (1, channels), (1, channels, 1), (channels, 1)),
        f"has a constant of shape {value.shape} for {channels} channels.",
    )
    _require(bool(np.isfinite(value).all()), "has a parameter that is not a finite number.")
    return np.broadcast_to(value.astype(np.float32).reshape(-1, 1), (channels, 1))


# --- the compiler ---------------------------------------------------------------------------------


def read_model(path: Path):
    """The onnx.ModelProto in the file; raises AmcError for a missing or broken one."""
    import onnx

    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except Exception as error:  # onnx and protobuf raise many kinds
        raise AmcError(f"the model {path} is not a valid ONNX file: {first_line(error)}") from None
    return model


def compile_model(path: Path, model=None) -> IntegerNetwork:
    """The model as integers, read from ``path`` where it was not read before.

    Raises CannotCompile for what the engine cannot take, AmcError for a broken file.
    """
    try:
        return _Compiler((model or read_model(path)).graph).network()
    except CannotCompile as error:
        raise CannotCompile(f"the engine cannot take the model {path}: {error}") from None


@dataclass
class _Compiler:
    """Walks the graph once, in the order of its nodes; ``values`` says what each name stands for."""

    graph: object
    values: dict = field(default_factory=dict)
    layers: list[Layer | Sum] = field(default_factory=list)
    input: Input | None = None
    codes: list[_Codes] = field(default_factory=list)  # what each tensor of the network holds

    def network(self) -> IntegerNetwork:
        for initializer in self.graph.initializer:
            self.values[initializer.name] = _array(initializer)
        signals = [item for item in self.graph.input if item.name not in self.values]
        _require(len(signals) == 1 and len(self.graph.output) == 1, "it has not one input and one output.")
        sizes = [item.dim_value for item in signals[0].type.tensor_type.shape.dim]
        _require(
            len(sizes) == 3 and all(0 < size <= LARGEST_SIZE for size in sizes[1:]),
            f"its input has the shape {sizes}, not (N, channels, L).",
        )
        self.values[signals[0].name] = _Signal(sizes[1], sizes[2])
        for node in self.graph.node:
            self.values[node.output[0]] = self._value_of(node)
        value = self.values.get(self.graph.output[0].name)
        _require(
            isinstance(value, _Sums)
            and value.pool == value.length == value.groups == 1
            and value.source.number == len(self.layers)
            and self._is_kept(value.source),
            "its output is not that of a linear layer.",
        )
        return IntegerNetwork(self.input, tuple(self.layers), _logits(value))

    def _value_of(self, node):
        from onnx import helper

        operation = getattr(self, f"_{node.op_type}", None)
        _require(
            operation is not None and node.domain in ("", "ai.onnx"),
            f"it has no form for the operation {node.op_type} ('{node.name}').",
        )
        for name in node.input:
            _require(not name or name in self.values, f"the node '{node.name}' reads '{name}', which nothing wrote.")
        inputs = [self.values[name] if name else None for name in node.input]
        try:
            attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
            return operation(*inputs, **attributes)
        except CannotCompile as error:
            raise CannotCompile(f"the node {node.op_type} '{node.name}' {error}") from None
        except (ValueError, IndexError, TypeError, KeyError, AttributeError) as error:
            raise CannotCompile(f"the node {node.op_type} '{node.name}' does not fit: {first_line(error)}.") from None

    # One method for each ONNX operation, by its name.

    def _Identity(self, value):
        return value

    def _Constant(self, *, value):
        return _array(value)

    def _Transpose(self, value, *, perm):
        if isinstance(value, _Weights):
            scale = np.broadcast_to(value.scale, value.codes.shape)
            return _Weights(value.codes.transpose(perm), scale.transpose(perm))
        _require(isinstance(value, np.ndarray), "turns something that is not constant.")
        return value.transpose(perm)

    def _Clip(self, value, low=None, high=None):
        low = -np.inf if low is None else _scalar(low, float)
        high = np.inf if high is None else _scalar(high, float)
        _require(low <= high, f"clips to {low}..{high}.")
        if isinstance(value, np.ndarray):
            return np.clip(value, low, high).astype(value.dtype)
        if isinstance(value, _Signal):
            return replace(value, low=max(value.low, np.float32(low)), high=min(value.high, np.float32(high)))
        if isinstance(value, _Rounded):
            limits = np.clip([value.low + value.zero, value.high + value.zero], low, high) - value.zero
            return replace(value, low=int(limits[0]), high=int(limits[1]))
        return _followed_by(value, _Clip(np.float32(low), np.float32(high)))

    def _Relu(self, value):
        return _followed_by(value, _Clip(np.float32(0), np.float32(np.inf)))

    def _QuantizeLinear(self, value, scale, zero, *, axis=1):
        kind = np.iinfo(zero.dtype)
        scale, zero = _scale(scale), _scalar(zero, int)
        _require(kind.bits == 8, f"makes codes of {kind.bits} bits.")
        if isinstance(value, np.ndarray):
            return np.clip(np.rint(value / scale) + zero, kind.min, kind.max).astype(kind.dtype)
        _require(isinstance(value, _Signal | _Sums | _Added), "quantises what is quantised already.")
        return _Rounded(value, scale, zero, kind.min - zero, kind.max - zero)

    def _DequantizeLinear(self, value, scale, zero=None, *, axis=1):
        if isinstance(value, np.ndarray):
            return _constant_weights(value, scale, zero, axis)
        _require(isinstance(value, _Rounded), "takes something that QuantizeLinear did not make.")
        _require(
            _scale(scale) == value.scale and (0 if zero is None else _scalar(zero, int)) == value.zero,
            "undoes another scale or zero point than was quantised with.",
        )
        _require(value.low < value.high, f"has the single code {value.low}.")
        if isinstance(value.source, _Signal):
            return self._begin(value)
        sources = (
            [value.source.first, value.source.second] if isinstance(value.source, _Added) else [value.source.source]
        )
        _require(all(self._is_kept(codes) for codes in sources), "reads codes of which only a pool is kept.")
        layer = _sum(value) if isinstance(value.source, _Added) else _layer(value)
        self.layers.append(layer)
        return self._made(_Codes(len(self.layers), layer.output, value.scale, value.low))

    def _made(self, codes: _Codes) -> _Codes:
        self.codes.append(codes)
        return codes

    def _is_kept(self, codes: _Codes) -> bool:
        return codes.tensor == self.codes[codes.number].tensor

    def _begin(self, value: _Rounded) -> _Codes:
        _require(self.input is None, "quantises the input a second time.")
        signal = value.source
        limits = [
            int(np.clip(np.rint(np.float32(end) / value.scale), value.low, value.high))
            for end in (signal.low, signal.high)
        ]
        _require(limits[0] <= 0 <= limits[1] and limits[0] < limits[1], f"clips the input to the codes {limits}.")
        tensor = Tensor(signal.channels, signal.length, limits[1] - limits[0], -limits[0])
        self.input = Input(tensor, float(value.scale), *limits)
        return self._made(_Codes(0, tensor, value.scale, limits[0]))

    def _Conv(
        self,
        value,
        weights,
        bias=None,
        *,
        kernel_shape=None,
        strides=(1,),
        pads=(0, 0),
        dilations=(1,),
        group=1,
        auto_pad=b"NOTSET",
    ):
        _require(isinstance(value, _Codes) and not value.flat, "takes something that is not quantised.")
        _require(
            isinstance(weights, _Weights) and weights.codes.ndim == 3,
            "has weights that are not quantised, or not of one dimension.",
        )
        _require(list(dilations) == [1], f"has the dilation {list(dilations)}.")
        _require(auto_pad == b"NOTSET", f"has the padding rule {auto_pad}.")
        (stride,), (left, right) = strides, pads
        kernel = weights.codes.shape[2]
        _require(
            kernel_shape is None or list(kernel_shape) == [kernel], "has weights of another length than its kernel."
        )
        _require(
            stride > 0 and 0 <= left < kernel and 0 <= right < kernel,
            f"has stride {stride} and padding {left}, {right}.",
        )
        _require(
            group > 0
            and weights.codes.shape[1] * group == value.tensor.channels
            and weights.codes.shape[0] % group == 0,
            f"has weights of shape {weights.codes.shape} in {group} groups for {value.tensor.channels} channels.",
        )
        sums = _Sums(value, *_integer_weights(weights, value.scale), stride, (left, right), group)
        _require(sums.length > 0, "has a kernel longer than its input.")
        return sums if bias is None else _followed_by(sums, _Offset(_by_channel(bias, len(weights.codes))))

    def _MatMul(self, value, weights):
        _require(isinstance(weights, _Weights) and weights.codes.ndim == 2, "has weights that are not quantised.")
        return self._Gemm(value, weights, transB=0)

    def _Gemm(self, value, weights, bias=None, *, alpha=1.0, beta=1.0, transA=0, transB=0):
        _require(alpha == 1 and beta == 1 and not transA, "scales or turns what it multiplies.")
        _require(isinstance(weights, _Weights) and weights.codes.ndim == 2, "has weights that are not quantised.")
        _require(
            isinstance(value, _Codes) and (value.flat or value.tensor.length == 1),
            "takes something that is not quantised and flat.",
        )
        if not transB:
            weights = self._Transpose(weights, perm=(1, 0))
        tensor = value.tensor
        _require(
            weights.codes.shape[1] == tensor.channels * tensor.length,
            f"has weights for {weights.codes.shape[1]} features, not {tensor.channels * tensor.length}.",
        )
        codes, scale = _integer_weights(weights, value.scale)
        sums = _Sums(replace(value, flat=False), codes.reshape(len(codes), tensor.channels, tensor.length), scale)
        return sums if bias is None else _followed_by(sums, _Offset(_by_channel(bias, len(codes))))

    def _Flatten(self, value, *, axis=1):
        _require(isinstance(value, _Codes) and axis == 1, "flattens something else than a quantised tensor.")
        return replace(value, flat=True)

    def _BatchNormalization(self, value, weight, bias, mean, variance, *, epsilon=1e-5, momentum=0.9, training_mode=0):
        _require(not training_mode, "is in training mode.")
        _require(isinstance(value, _Sums), "follows something else than a convolution or a linear layer.")
        weight, bias, mean, variance = (
            _by_channel(item, len(value.weights)) for item in (weight, bias, mean, variance)
        )
        _require(bool((variance + np.float32(epsilon) > 0).all()), "has a variance that is not above zero.")
        factor = weight / np.sqrt(variance + np.float32(epsilon))
        return _followed_by(_followed_by(value, _Product(factor)), _Offset(bias - mean * factor))

    def _Mul(self, first, second):
        value, constant = (first, second) if isinstance(first, _Sums) else (second, first)
        _require(isinstance(value, _Sums), "multiplies something else than the sums of a layer.")
        return _followed_by(value, _Product(_by_channel(constant, len(value.weights))))

    def _Add(self, first, second):
        if isinstance(first, _Codes) or isinstance(second, _Codes):
            _require(isinstance(first, _Codes) and isinstance(second, _Codes), "adds what is quantised to what is not.")
            return _added(first, second)
        value, constant = (first, second) if isinstance(first, _Sums) else (second, first)
        _require(isinstance(value, _Sums), "adds to something else than the sums of a layer.")
        return _followed_by(value, _Offset(_by_channel(constant, len(value.weights))))

    def _MaxPool(
        self,
        value,
        *,
        kernel_shape,
        strides=(1,),
        pads=(0, 0),
        dilations=(1,),
        ceil_mode=0,
        auto_pad=b"NOTSET",
        storage_order=0,
    ):
        _require(
            list(kernel_shape) == list(strides) and not any(pads) and list(dilations) == [1] and not ceil_mode,
            f"has windows of {kernel_shape} every {strides}, padding {pads}.",
        )
        size = kernel_shape[0]
        if isinstance(value, _Codes):
            return self._pool_codes(value, size)
        _require(isinstance(value, _Sums) and value.pool == 1, "pools something else than the sums of a layer.")
        _require(0 < size <= value.length, "has a window longer than its input.")
        return replace(value, pool=size, before_pool=len(value.functions))

    def _GlobalMaxPool(self, value):
        _require(isinstance(value, _Codes | _Sums), "pools something else than a layer.")
        length = value.tensor.length if isinstance(value, _Codes) else value.length
        return self._MaxPool(value, kernel_shape=[length], strides=[length])

    def _AveragePool(
        self,
        value,
        *,
        kernel_shape,
        strides=(1,),
        pads=(0, 0),
        dilations=(1,),
        ceil_mode=0,
        count_include_pad=0,
        auto_pad=b"NOTSET",
    ):
        _require(isinstance(value, _Codes) and not value.flat, "takes something that is not quantised.")
        length = value.tensor.length
        _require(
            list(kernel_shape) == [length] and not any(pads) and list(dilations) == [1],
            f"has windows of {kernel_shape} in {length} samples, padding {pads}: only all samples can be averaged.",
        )
        return _average(value)

    def _GlobalAveragePool(self, value):
        _require(isinstance(value, _Codes) and not value.flat, "takes something that is not quantised.")
        return _average(value)

    def _pool_codes(self, value: _Codes, size: int) -> _Codes:
        """Codes never fall where their sums rise, so the largest sum has the largest code: one pool serves both.

        Where no layer made the codes that has no pool yet, one is added that does nothing else.
        """
        _require(not value.flat and self._is_kept(value), "pools what is flat, or codes of which only a pool is kept.")
        _require(0 < size <= value.tensor.length, "has a window longer than its input.")
        tensor = replace(value.tensor, length=value.tensor.length // size)
        last = self.layers[-1] if self.layers else None
        if isinstance(last, Layer) and value.number == len(self.layers) and last.pool == 1:
            self.layers[-1] = replace(last, pool=size, output=tensor)
            self.codes[-1] = replace(value, tensor=tensor)
            return self.codes[-1]
        ones = np.ones((tensor.channels, 1, 1), np.int16)
        counts = np.tile(np.arange(1, tensor.largest + 1, dtype=np.int32), (tensor.channels, 1))
        self.layers.append(Layer(tensor, ones, 1, (0, 0), tensor.channels, size, counts, value.number))
        return self._made(replace(value, number=len(self.layers), tensor=tensor))


def _average(value: _Codes) -> _Sums:
    """Each channel's codes weigh one, and a unit of their sum the scale over their number."""
    channels, length = value.tensor.channels, value.tensor.length
    _require(
        length & (length - 1) == 0,
        f"averages {length} samples, no power of two: runtimes differ in how they round that.",
    )
    ones = np.ones((channels, 1, length), np.int64)
    return _Sums(value, ones, np.full((channels, 1), float(value.scale) / length), groups=channels)


def _added(first: _Codes, second: _Codes) -> _Added:
    _require(
        not first.flat
        and not second.flat
        and (first.tensor.channels, first.tensor.length) == (second.tensor.channels, second.tensor.length),
        "adds tensors of different shapes, or flat ones.",
    )
    ratio = float(first.scale) / float(second.scale)
    _require(
        abs(np.frexp(ratio)[0]) == 0.5,
        f"adds tensors whose scales {first.scale} and {second.scale} have no power of two between them.",
    )
    return _Added(first, second)


def _followed_by(value, function: _Function) -> _Sums | _Added:
    if not (isinstance(value, _Added) and isinstance(function, _Clip)):
        _require(isinstance(value, _Sums), "follows something else than a convolution or a linear layer.")
    if not isinstance(function, _Clip):  # whose ends may be infinite
        (numbers,) = vars(function).values()
        _require(bool(np.isfinite(numbers).all()), "has a parameter that is not a finite number.")
    return replace(value, functions=(*value.functions, function))


def _constant_weights(codes: np.ndarray, scale, zero, axis: int) -> _Weights:
    _require(codes.dtype.kind in "iu" and codes.size <= LARGEST_SIZE, "has weights that are no codes, or too many.")
    _require(
        isinstance(scale, np.ndarray) and bool((np.isfinite(scale) & (scale > 0)).all()),
        "has a scale that is not above zero.",
    )
    _require(zero is None or not np.any(zero), "has weights with a zero point.")
    if scale.size > 1:
        _require(scale.size == codes.shape[axis], f"has {scale.size} scales for {codes.shape[axis]} channels.")
        scale = scale.reshape([-1 if place == axis % codes.ndim else 1 for place in range(codes.ndim)])
    return _Weights(codes.astype(np.int64), scale.astype(np.float32))


def _integer_weights(weights: _Weights, scale: np.float32) -> tuple[np.ndarray, np.ndarray]:
    """Codes, and the value float64 (outputs, 1) of one unit of their sums with codes of ``scale``."""
    whole = np.broadcast_to(weights.scale, weights.codes.shape).reshape(len(weights.codes), -1)
    _require(bool((whole == whole[:, :1]).all()), "has weights with more than one scale for an output.")
    return weights.codes, whole[:, :1].astype(np.float64) * float(scale)


# --- layers ---------------------------------------------------------------------------------------


def _reach(sums: _Sums) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and the largest sum of each output, int64 (outputs, 1), padding included."""
    low, high = min(sums.source.low, 0), max(sums.source.low + sums.source.tensor.largest, 0)
    flat = sums.weights.reshape(len(sums.weights), -1)
    up, down = np.maximum(flat, 0).sum(1, keepdims=True), np.minimum(flat, 0).sum(1, keepdims=True)
    least, most = up * low + down * high, up * high + down * low
    _require(int(np.abs([least, most]).max(initial=0)) <= LARGEST_SUM, "has sums beyond 30 bits.")
    return least, most


def _apply(sums: _Sums, integers: np.ndarray, functions: tuple[_Function, ...]) -> np.ndarray:
    values = (integers * sums.scale).astype(np.float32)
    for function in functions:
        values = function(values)
    return values


def _tensor(rounded: _Rounded, channels: int, length: int) -> Tensor:
    _require(rounded.low <= 0 <= rounded.high, f"has codes from {rounded.low} to {rounded.high}, without zero.")
    return Tensor(channels, length, rounded.high - rounded.low, -rounded.low)


def _layer(rounded: _Rounded) -> Layer:
    sums = rounded.source
    least, most = _reach(sums)
    # The engine keeps the largest sum of a pool, so sums whose function falls are turned over.
    ends = [
        _apply(sums, end, sums.functions[: sums.before_pool] if sums.pool > 1 else sums.functions)
        for end in (least, most)
    ]
    sign = np.where(ends[1] < ends[0], -1, 1)
    least, most = np.where(sign > 0, least, -most), np.where(sign > 0, most, -least)

    def codes(integers: np.ndarray) -> np.ndarray:
        return _codes(_apply(sums, sign * integers, sums.functions), rounded)

    _require(bool((codes(least) <= codes(most)).all()), "takes the largest of values that are then turned over.")
    steps = _bisect(codes, least, most, rounded.high - rounded.low)
    weights = sign[:, :, None] * sums.weights
    # In the engine a code counts from 0, not from the lowest integer of the tensor.
    shift = sums.source.low * weights.sum(axis=(1, 2)).reshape(-1, 1)
    reached = steps <= most
    thresholds = np.where(reached, steps - shift, NEVER)
    return Layer(
        _tensor(rounded, len(weights), sums.length),
        _int16(weights),
        sums.stride,
        sums.padding,
        sums.groups,
        sums.pool,
        thresholds.astype(np.int32),
        sums.source.number,
    )


def _codes(values: np.ndarray, rounded: _Rounded) -> np.ndarray:
    """What QuantizeLinear and Clip make of ``values`` float32, int64 from 0 on."""
    with np.errstate(invalid="ignore"):
        return np.clip(np.rint(values / rounded.scale), rounded.low, rounded.high).astype(np.int64) - rounded.low


def _sum(rounded: _Rounded) -> Sum:
    added = rounded.source
    first, second = added.first, added.second
    scale = min(first.scale, second.scale)
    shifts = tuple(int(np.frexp(float(codes.scale) / float(scale))[1]) - 1 for codes in (first, second))
    most = (first.tensor.largest << shifts[0]) + (second.tensor.largest << shifts[1])
    _require(most <= LARGEST_ADDITION, f"adds tensors whose scales {first.scale} and {second.scale} are too far apart.")
    least = (first.low << shifts[0]) + (second.low << shifts[1])

    def codes(values: np.ndarray) -> np.ndarray:
        for function in added.functions:
            values = function(values)
        return _codes(values, rounded)

    ends = np.array([[0]]), np.array([[most]])
    largest = rounded.high - rounded.low
    steps = _bisect(lambda sums: codes((sums + least).astype(np.float32) * scale), *ends, largest)
    thresholds = np.where(steps <= most, steps, NEVER)[0]
    # The file rounds each product and their sum: to the same codes, for each pair of them?
    ours = np.arange(first.tensor.largest + 1)[:, None]
    theirs = np.arange(second.tensor.largest + 1)
    values = (ours + first.low).astype(np.float32) * first.scale + (theirs + second.low).astype(
        np.float32
    ) * second.scale
    sums = (ours << shifts[0]) + (theirs << shifts[1])
    _require(
        bool((codes(values) == np.searchsorted(thresholds, sums, side="right")).all()),
        f"adds tensors whose scales {first.scale} and {second.scale} round otherwise than their sum does.",
    )
    tensor = _tensor(rounded, first.tensor.channels, first.tensor.length)
    return Sum(tensor, first.number, second.number, shifts, thresholds.astype(np.int32))


def _bisect(codes, least: np.ndarray, most: np.ndarray, largest: int) -> np.ndarray:
    """The smallest integer of ``least``..``most`` (outputs, 1) with each code 1..largest, or ``most`` + 1."""
    wanted = np.arange(1, largest + 1)
    below = np.broadcast_to(least - 1, (len(least), largest)).copy()  # too small, or one before all
    above = np.broadcast_to(most + 1, (len(least), largest)).copy()  # large enough, or one behind all
    while (above - below > 1).any():
        middle = (above + below) // 2
        enough = codes(middle) >= wanted
        above = np.where(enough, middle, above)
        below = np.where(enough, below, middle)
    return above


def _int16(weights: np.ndarray) -> np.ndarray:
    _require(int(np.abs(weights).max(initial=0)) < 2**15, "has weights beyond 15 bits.")
    return weights.astype(np.int16)


def _logits(sums: _Sums) -> Logits:
    _require(
        all(isinstance(function, _Offset) for function in sums.functions) and len(sums.functions) <= 1,
        "its last layer is followed by more than a bias.",
    )
    _reach(sums)
    weights = _int16(sums.weights.reshape(len(sums.weights), -1))
    offset = sums.functions[0].offset[:, 0] if sums.functions else np.zeros(len(weights))
    shift = sums.source.low * weights.sum(axis=1, dtype=np.int64)  # the engine's codes count from 0
    scale = sums.scale[:, 0].astype(np.float32)
    return Logits(weights, shift.astype(np.int32), scale, offset.astype(np.float32))
