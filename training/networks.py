# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks, built from Brevitas layers so that one definition serves float and quantised training.

VGG10 is the baseline of the challenge ITU-ML5G-PS-007 (2021): seven times [convolution of kernel 3
with 64 filters -> batch normalisation -> ReLU -> max-pool by 2], then three linear layers, on frames
of 1024 samples (T. O'Shea, T. Roy, T. Clancy, "Over-the-Air Deep Learning Based Radio Signal
Classification", IEEE JSTSP 2018, with the challenge's quantisers).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from inspect import signature
from typing import get_type_hints

import brevitas.nn as qnn
import torch
from brevitas.inject.enum import ScalingImplType
from brevitas.quant import (
    Int8ActPerTensorFloat,
    Int8ActPerTensorFloatMinMaxInit,
    Int8WeightPerChannelFloat,
    Int8WeightPerTensorFloat,
    Uint8ActPerTensorFloatMSE,
)
from torch import Tensor, nn

from .errors import TrainingError
from .signals import FRAME
from .steps import Features, FusedIntQuant, PairMaxPool

INPUT_RANGE = 2.0
# Of the averages over a frame: they have more levels than the codes that they are made of.
AVERAGE_BITS = 8
# Activation ranges are learned from those of least square error in the first batches; finding them costs more than
# the whole rest of a step on a CPU, and ten batches settle it.
STATISTICS_STEPS = 10

# Of the normalisations' running mean and variance. Batches differ so much in their classes that with torch's 0.1 they
# cost a pruned 4-bit network 2.4 % of its accuracy.
STATISTICS_MOMENTUM = 0.01


@dataclass(frozen=True)
class Bits:
    """Bit widths of a network; ``None`` for all three is the float32 network.

    ``weight`` and ``activation`` are one width for all layers, or one for each in order.
    """

    input: int | None = None
    weight: int | tuple[int, ...] | None = None
    activation: int | tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        widths = (self.input, self.weight, self.activation)
        if any(width is None for width in widths) != all(width is None for width in widths):
            raise TrainingError(f"bit widths {widths} mix float and integer: give all three or none.")
        if not self.is_float and not all(2 <= width <= 8 for kind in widths for width in _each(kind)):
            raise TrainingError(f"bit widths {widths} are outside 2..8.")

    @property
    def is_float(self) -> bool:
        return self.input is None

    def by_layer(self, kind: str, layers: int) -> tuple[int | None, ...]:
        """The widths of ``weight`` or ``activation`` for ``layers`` layers; raises TrainingError if they are others."""
        widths = _each(getattr(self, kind))
        if len(widths) not in (1, layers):
            raise TrainingError(f"bit widths of {kind} are given for {len(widths)} layers; the network has {layers}.")
        return widths * layers if len(widths) == 1 else widths


def _each(widths: int | tuple[int, ...] | None) -> tuple[int | None, ...]:
    return widths if isinstance(widths, tuple) else (widths,)


def _input_quantiser(width: int | None, limit: float) -> nn.Module:
    """Signed quantiser of the constant range -limit to limit, as in the challenge's baseline."""
    if width is None:
        return nn.Hardtanh(-limit, limit)

    class ConstantRange(Int8ActPerTensorFloatMinMaxInit):
        bit_width = width
        min_val = -limit
        max_val = limit
        scaling_impl_type = ScalingImplType.CONST

    return qnn.QuantHardTanh(act_quant=ConstantRange)


def _weight_options(width: int | None, scales: type = Int8WeightPerTensorFloat) -> dict:
    return {"weight_quant": None} if width is None else {"weight_quant": scales, "weight_bit_width": width}


def _relu(width: int | None) -> nn.Module:
    if width is None:
        return nn.ReLU()
    quantiser = Uint8ActPerTensorFloatMSE.let(int_quant=FusedIntQuant)
    return qnn.QuantReLU(act_quant=quantiser, bit_width=width, collect_stats_steps=STATISTICS_STEPS)


def range_of(quantiser: nn.Module) -> nn.Module:
    """What holds the learned range of a QuantReLU or QuantIdentity, as ``value``."""
    return quantiser.act_quant.fused_activation_quant_proxy.tensor_quant.scaling_impl


def _share_range(quantiser: nn.Module, other: nn.Module) -> None:
    quantiser.act_quant.fused_activation_quant_proxy.tensor_quant.scaling_impl = range_of(other)


@dataclass(frozen=True)
class Step:
    """A convolution with batch normalisation and ReLU, which leaves every ``stride``-th sample, or pools pairs.

    ``depthwise``: each filter sees only the channel of its own number, of which there are as many. ``branches`` are
    kernels side by side, each of an equal share of the filters, in the middle of ``kernel`` samples, which is the
    longest.
    """

    filters: int
    kernel: int
    stride: int = 1
    pool: bool = False
    depthwise: bool = False
    branches: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.kernel < self.stride:
            raise TrainingError(
                f"a kernel of {self.kernel} at every sample of {self.stride} leaves some out; give a longer kernel."
            )


def _of_branches(weight: Tensor, kernels: tuple[int, ...]) -> Tensor:
    """Which weights (filters, inputs, ..., kernel) there are where each of ``kernels`` has its share of the filters."""
    present = torch.zeros_like(weight, dtype=torch.bool)
    for branch, kernel in zip(present.tensor_split(len(kernels)), kernels, strict=True):
        first = (weight.shape[-1] - kernel) // 2
        branch[..., first : first + kernel] = True
    return present


@dataclass(frozen=True)
class Residual:
    """Steps of the same shape in and out; what they are given is added to what they make before the last ReLU.

    K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", CVPR 2016.
    """

    steps: tuple[Step, ...]


class ResidualSum(nn.Module):
    """What ``body`` makes of its input, plus that input, rectified.

    Both summands and the sum are multiples of one scale, so that the sum is one of integers and nothing that is not
    quantised reaches a layer: published networks of this kind paid for that at 32 bits.
    """

    def __init__(self, body: nn.Sequential, rectifier: nn.Module) -> None:
        super().__init__()
        self.body, self.rectifier = body, rectifier

    def forward(self, values: Tensor) -> Tensor:
        return self.rectifier(self.body(values) + values)


class Chain(nn.Module):
    """Convolutions, then linear layers: frames (N, 2, 1024) float32 to logits (N, classes) float32.

    A family has ``hidden_layers`` linear layers before the one that gives the logits. They take all samples of the last
    convolution, or of each of its channels one number a frame, as ``summary`` says: "average" or "largest".

    The pooling stands before the ReLU quantiser: both are non-decreasing, so the result is the same
    as in the published order, with half the values to quantise.

    ``scale_per_filter`` gives each filter of a convolution a weight scale of its own, as the batch normalisation takes
    it in; the baseline has one a layer. Linear layers always do: onnxruntime rounds the inputs of others once more.

    ``weight_widths`` and ``input_widths`` are the bit widths of each layer's weights and of what they multiply.

    ``images`` runs the convolutions on (N, channels, 1, samples) in channels-last memory: the same
    function, about twice as fast to train on a CPU. ``one_dimensional`` turns the weights of such a
    network into those of the exported form.
    """

    hidden_layers = 2
    summary = "all"

    @staticmethod
    def steps(filters: int, **shape: int) -> list[Step | Residual]:
        """The convolutions of a family, in order."""
        raise NotImplementedError

    def __init__(
        self,
        classes: int,
        bits: Bits = Bits(),
        filters: int = 64,
        hidden: int = 128,
        input_range: float = INPUT_RANGE,
        scale_per_filter: bool = False,
        learned_ranges: bool = True,
        images: bool = False,
        **shape: int,
    ) -> None:
        super().__init__()
        self.images = images
        self.scales = Int8WeightPerChannelFloat if scale_per_filter else Int8WeightPerTensorFloat
        steps = self.steps(filters, **shape)
        convolutions = sum(len(step.steps) if isinstance(step, Residual) else 1 for step in steps)
        layers = convolutions + self.hidden_layers
        self.bits = bits
        self.weight_widths = bits.by_layer("weight", layers + 1)
        activation_widths = bits.by_layer("activation", layers)
        self.input_widths = [bits.input, *activation_widths]
        if self.summary == "average":
            self.input_widths[convolutions] = AVERAGE_BITS
        widths, activations = iter(self.weight_widths), iter(activation_widths)
        self.input_quantiser = _input_quantiser(bits.input, input_range)
        features: list[nn.Module] = []
        channels, samples = 2, FRAME
        for step in steps:
            if isinstance(step, Residual):
                features.append(self._residual(channels, step, widths, activations, features[-1]))
                continue
            features += [*self._convolved(channels, step, next(widths)), _relu(next(activations))]
            channels, samples = step.filters, samples // step.stride // (2 if step.pool else 1)
        if self.summary != "all":
            features += self._summarised(samples, bits)
            samples = 1
        self.features = Features(*features)
        weights = (_weight_options(width) for width in widths)
        inputs = channels * samples
        head: list[nn.Module] = [nn.Flatten()]
        for _ in range(self.hidden_layers):
            head += [
                qnn.QuantLinear(inputs, hidden, bias=False, **next(weights)),
                nn.BatchNorm1d(hidden, momentum=STATISTICS_MOMENTUM),
            ]
            head.append(_relu(next(activations)))
            inputs = hidden
        head.append(qnn.QuantLinear(inputs, classes, bias=True, bias_quant=None, **next(weights)))
        self.head = nn.Sequential(*head)
        if not (bits.is_float or learned_ranges):
            self._hold_ranges()
            # Brevitas makes them anew when a state is loaded.
            self.register_load_state_dict_post_hook(lambda network, _: network._hold_ranges())

    def _hold_ranges(self) -> None:
        for quantiser in (module for module in self.modules() if isinstance(module, qnn.QuantReLU)):
            range_of(quantiser).value.requires_grad_(False)

    def _convolved(self, inputs: int, step: Step, width: int | None) -> list[nn.Module]:
        """A step without its ReLU."""
        convolution = self._convolution(inputs, step, _weight_options(width, self.scales))
        return [convolution, self._normalisation(step.filters), *self._pool(step)]

    def _convolution(self, inputs: int, step: Step, weights: dict) -> nn.Module:
        # So much on either side that stretches of ``stride`` samples have each their output, and lie in its middle.
        margin = (step.kernel - step.stride + 1) // 2
        options = {"bias": False, "groups": inputs if step.depthwise else 1, **weights}
        if self.images:
            shape = {"kernel_size": (1, step.kernel), "stride": (1, step.stride), "padding": (0, margin)}
            convolution = qnn.QuantConv2d(inputs, step.filters, **shape, **options)
        else:
            shape = {"kernel_size": step.kernel, "stride": step.stride, "padding": margin}
            convolution = qnn.QuantConv1d(inputs, step.filters, **shape, **options)
        if step.branches:
            convolution.register_buffer("present", _of_branches(convolution.weight, step.branches), persistent=False)
            convolution.weight.data.mul_(convolution.present)
        return convolution

    def _residual(
        self,
        channels: int,
        residual: Residual,
        widths: Iterator[int | None],
        activations: Iterator[int | None],
        before: nn.Module,
    ) -> ResidualSum:
        """``before`` makes what the residual steps are given; the sum has its range and its width."""
        body: list[nn.Module] = []
        for step in residual.steps:
            width = next(activations)
            body += [*self._convolved(channels, step, next(widths)), _relu(width)]
            channels = step.filters
        rectifier = body[-1]
        if width is None:
            body[-1] = nn.Identity()
            return ResidualSum(nn.Sequential(*body), rectifier)
        before = before.rectifier if isinstance(before, ResidualSum) else before
        if width != int(before.act_quant.bit_width()):
            raise TrainingError(f"a residual sum of {width} bits adds to a tensor of other bits; give both the same.")
        # One more for the sign: what is subtracted may be as large as what is there.
        signed = Int8ActPerTensorFloat.let(int_quant=FusedIntQuant, narrow_range=True)
        body[-1] = qnn.QuantIdentity(act_quant=signed, bit_width=width + 1)
        for quantiser in (body[-1], rectifier):
            _share_range(quantiser, before)
        return ResidualSum(nn.Sequential(*body), rectifier)

    def _normalisation(self, channels: int) -> nn.Module:
        kind = nn.BatchNorm2d if self.images else nn.BatchNorm1d
        return kind(channels, momentum=STATISTICS_MOMENTUM)

    def _summarised(self, samples: int, bits: Bits) -> list[nn.Module]:
        size = (1, samples) if self.images else samples
        if self.summary == "largest":
            return [nn.MaxPool2d(size) if self.images else nn.MaxPool1d(size)]
        return [
            nn.AvgPool2d(size) if self.images else nn.AvgPool1d(size),
            _relu(None if bits.is_float else AVERAGE_BITS),
        ]

    def _pool(self, step: Step) -> list[nn.Module]:
        if not step.pool:
            return []
        return [PairMaxPool() if self.images else nn.MaxPool1d(2)]

    def forward(self, frames: Tensor) -> Tensor:
        signal = self.input_quantiser(frames)
        if self.images:
            signal = signal.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        return self.head(self.features(signal))


class Vgg10(Chain):
    """The challenge's baseline."""

    @staticmethod
    def steps(filters: int) -> list[Step]:
        return [Step(filters, 3, pool=True)] * 7


class Strided(Chain):
    """A long first kernel every fourth sample, and strides in place of pools: two fifths of VGG10's products.

    Long strided first kernels are what the challenge's cheapest entries have (BacalhauNet, 2021; RFNet, 2022).
    """

    @staticmethod
    def steps(filters: int) -> list[Step]:
        return [Step(filters, 15, stride=4), *[Step(filters, 5, stride=2)] * 5]


class AllConvolutional(Chain):
    """Strides in place of pools, and averages over the frame in place of hidden linear layers.

    J. Springenberg, A. Dosovitskiy, T. Brox, M. Riedmiller, "Striving for Simplicity: The All Convolutional Net", ICLR
    2015, workshop track. A quarter of VGG10's products and a fifth of its weights. The symbols of a frame are alike but
    for their order, so their average says what all of them do.
    """

    hidden_layers = 0
    summary = "average"

    @staticmethod
    def steps(filters: int) -> list[Step]:
        widths = filters, filters, 3 * filters // 2, 2 * filters
        return [Step(filters, 9, stride=2), *(Step(width, 5, stride=2) for width in widths)]


class DeepConvolutional(AllConvolutional):
    """All-convolutional, with twice the products in more channels, and a last layer that sees a quarter of the frame.

    For signals of any symbol rate: at 16 samples a symbol the last layer sees 257 samples, which are 16 symbols.
    """

    @staticmethod
    def steps(filters: int) -> list[Step]:
        widths = filters, 3 * filters // 2, 2 * filters, 3 * filters
        return [Step(filters, 9, stride=2), *(Step(width, 5, stride=2) for width in widths), Step(4 * filters, 5)]


class SymbolSpaced(Chain):
    """One output a symbol of 8 samples, from the first layer on: for frames whose symbols are timed.

    The first layer sees three symbols and is receive filter and sampler in one; the others see what it says of one
    symbol, since at its middle nothing of its neighbours is in the way. What all symbols of a frame say is averaged.
    With 16 filters it has a twentieth of VGG10's products. ``inner`` is the width of those between the first and the
    last, which has twice as many filters.
    """

    hidden_layers = 0
    summary = "average"

    @staticmethod
    def steps(filters: int, kernel: int = 24, stride: int = 8, inner: int | None = None) -> list[Step]:
        inner = inner or 2 * filters
        return [Step(filters, kernel, stride), *[Step(inner, 1)] * 3, Step(2 * inner, 1)]


class SymbolSpacedHidden(SymbolSpaced):
    """The same with five symbols in the first layer, and a hidden layer behind the average.

    The longer receive filter lets less of a symbol's neighbours through, which pays where frames are turned, so that
    constellations stand the same way in each. The hidden layer judges an average by the noise that it shows, which pays
    in few bits (models/README.md).
    """

    hidden_layers = 1

    @staticmethod
    def steps(filters: int, kernel: int = 40, stride: int = 8, inner: int | None = None) -> list[Step]:
        return SymbolSpaced.steps(filters, kernel, stride, inner)


def _separable(inputs: int, outputs: int, kernel: int, stride: int = 1) -> tuple[Step, Step]:
    return Step(inputs, kernel, stride, depthwise=True), Step(outputs, 1)


class Separable(Chain):
    """Depthwise-separable convolutions with long first kernels, residual where they keep the shape.

    The shape of BacalhauNet, the challenge's cheapest entry: a depthwise convolution sees along time, the one of kernel
    1 behind it across channels, and the largest of a frame's samples goes to a single linear layer. Its sums were not
    quantised; these are.
    """

    hidden_layers = 0
    summary = "largest"

    @staticmethod
    def steps(filters: int) -> list[Step | Residual]:
        return [
            *_separable(2, filters, 27, stride=2),
            Residual(_separable(filters, filters, 21)),
            *_separable(filters, 2 * filters, 15, stride=2),
            Residual(_separable(2 * filters, 2 * filters, 9)),
            *_separable(2 * filters, 2 * filters, 9, stride=2),
        ]


class Branched(Chain):
    """Three kernels side by side at every fourth sample, then depthwise-separable blocks and three linear layers.

    The shape of RFNet (2022), the cheapest entry since the challenge. The three kernels are one convolution of the
    longest, which is as cheap, since zeros cost nothing.
    """

    summary = "largest"

    @staticmethod
    def steps(filters: int) -> list[Step | Residual]:
        blocks: list[Step | Residual] = []
        for _ in range(3):
            blocks += [Residual(_separable(filters, filters, 9)), *_separable(filters, filters, 9, stride=2)]
        return [Step(filters, 32, stride=4, branches=(32, 26, 18)), *blocks]


NETWORKS = {
    "vgg10": Vgg10,
    "strided": Strided,
    "all_convolutional": AllConvolutional,
    "deep_convolutional": DeepConvolutional,
    "separable": Separable,
    "branched": Branched,
    "symbol_spaced": SymbolSpaced,
    "symbol_spaced_hidden": SymbolSpacedHidden,
}


def network_options(family: type[Chain]) -> dict[str, object]:
    """The types of a family's options by their names."""
    options = dict.fromkeys(("filters", "input_range", "scale_per_filter", "learned_ranges"))
    if family.hidden_layers:
        options["hidden"] = None
    hints = get_type_hints(family.__init__) | get_type_hints(family.steps)
    shape = [name for name in signature(family.steps).parameters if name not in options]
    return {name: hints[name] for name in (*options, *shape)}


def one_dimensional(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of an ``images`` network as the state of the network with one-dimensional convolutions."""
    return {name: value.squeeze(2) if value.ndim == 4 else value for name, value in state.items()}


def prunable_weights(network: nn.Module) -> dict[str, nn.Parameter]:
    """Weights of the convolution and linear layers by layer name: the ones that are pruned."""
    kinds = (nn.Conv1d, nn.Conv2d, nn.Linear)
    return {name: module.weight for name, module in network.named_modules() if isinstance(module, kinds)}


def chained_convolutions(network: Chain) -> Iterator[tuple[str, str, str]]:
    """Convolutions whose filters may stand in any order, their normalisations, and the one that alone reads them.

    By their names. Those before and after a depthwise convolution or a residual sum are in the order that it has.
    """
    before = None
    for place, layer in network.features.named_children():
        if isinstance(layer, nn.Conv1d | nn.Conv2d):
            whole = layer.groups == 1
            if before is not None and whole:
                yield f"features.{before}", f"features.{int(before) + 1}", f"features.{place}"
            before = place if whole else None
        elif isinstance(layer, ResidualSum):
            before = None


def present_weights(network: nn.Module) -> dict[str, Tensor]:
    """Which weights there are in layers that do not have all of their shape, bool by layer name."""
    return {name: layer.present for name, layer in network.named_modules() if hasattr(layer, "present")}


def weight_counts(network: nn.Module) -> dict[str, int]:
    """How many weights each layer has, by its name."""
    present = present_weights(network)
    weights = prunable_weights(network)
    return {name: int(present[name].sum()) if name in present else weight.numel() for name, weight in weights.items()}


def output_layer(network: nn.Module) -> str:
    """Name of the layer that gives the logits."""
    return list(prunable_weights(network))[-1]
