# SPDX-License-Identifier: GPL-3.0-or-later
"""Rewrites a quantised network so that float32 arithmetic computes it exactly, in whatever order it adds.

A code of the next layer is a rounded number, and two runtimes that add products in another order, or fuse a
multiplication with an addition, now and then round it to different codes. Nothing of that can happen where every
scale is a power of two, so that products and sums of codes are exact, and where the factor of the batch
normalisation has so few bits that its product with any reachable sum is exact too: then one rounding is left, of the
last addition, and IEEE 754 fixes it.

A rectified linear unit passes a positive factor on, so what a scale gains by becoming a power of two is taken from the
next batch normalisation, and the function stays. The shorter factors move only values that lie on the edge between two
codes, as any other order of addition would. Where sums are so wide (8-bit codes) that next to nothing would be left of
a factor, it stays as it is, and the normalisation becomes a product and a sum of their own, each rounded once: IEEE 754
fixes those too, but not what a runtime's batch normalisation does between the two.

An average over a power of two of samples is exact too, and what the scale of its quantiser gains is a product of its
own, rounded once. So is a residual sum, whose summands share their scale.
"""

import math

import brevitas.nn as qnn
import torch
from torch import Tensor, nn

from .errors import TrainingError
from .networks import ResidualSum, range_of

SIGNIFICANT_BITS = 24  # of float32
SPARE_BITS = 4  # that a factor has more than the codes it makes: it then moves no value by over a 32nd of a code
# Of all weights that a normalisation follows, which takes in what a layer's own scale was. Where layers share their
# scale, onnxruntime computes with it; of a linear layer with one of its own it rounds the inputs once more.
WEIGHT_SCALE = 2.0**-5

_WEIGHTED = qnn.QuantConv1d | qnn.QuantLinear
_BLOCK = _WEIGHTED, nn.BatchNorm1d, qnn.QuantReLU | qnn.QuantIdentity
_AVERAGE = nn.AvgPool1d, qnn.QuantReLU


def make_exact(network: nn.Module) -> None:
    """Rewrites ``network``, in evaluation mode, in place: a chain of weighted layers, each but the last followed by
    batch normalisation and a quantiser, with residual sums between them, and averages over a power of two of samples,
    each followed by a rectified quantiser. Its logits are scaled by a constant.

    Raises TrainingError for a chain of other layers.
    """
    steps, last = _steps(network)
    largest = 2 ** (_input_bits(network) - 1)  # of the codes that reach a layer
    gain: float | Tensor = 1.0  # of the values that reach a layer, over those of before; by channel after weights
    gains: dict[nn.Module, float] = {}  # of ranges, of which several quantisers may have the same
    for *work, quantiser in steps:
        if len(work) == 1:
            largest, activation_gain = _power_of_two_range(quantiser, gains)
            _replace(network, work[0], _ScaledAverage(work[0], activation_gain / gain))
        else:
            layer, normalisation = work
            sums, weight_gain = _whole_codes(layer, largest, WEIGHT_SCALE)
            gain *= weight_gain
            largest, activation_gain = _power_of_two_range(quantiser, gains)
            _scale(normalisation, activation_gain / gain, activation_gain)
            if layer.bias is None and isinstance(layer, qnn.QuantLinear):
                # Of products that nothing is added to, onnxruntime rounds what they multiply once more.
                layer.bias = nn.Parameter(torch.zeros(len(sums)))
            if not _shorten(normalisation, sums, largest.bit_length() + SPARE_BITS):
                _replace(network, normalisation, _ProductAndSum(normalisation, isinstance(layer, qnn.QuantConv1d)))
        gain = activation_gain
    after = _power_of_two(float(last.quant_weight().scale))
    sums, weight_gain = _whole_codes(last, largest, after)
    last.bias.data.mul_(gain * weight_gain)
    _align(last.bias, sums * after * float(quantiser.act_quant.scale()))


def _steps(network: nn.Module) -> tuple[list[list[nn.Module]], nn.Module]:
    """Layers with normalisation and quantiser, and averages with theirs, in order; and the last layer."""
    # A residual sum's quantiser has the range of what the sum adds to.
    done = {module.rectifier for module in network.modules() if isinstance(module, ResidualSum)}
    chain = [m for m in network.modules() if isinstance(m, (*_BLOCK, *_AVERAGE)) and m not in done]
    *chain, last = chain
    steps = []
    while chain:
        kinds = _AVERAGE if isinstance(chain[0], nn.AvgPool1d) else _BLOCK
        step, chain = chain[: len(kinds)], chain[len(kinds) :]
        if len(step) != len(kinds) or not all(map(isinstance, step, kinds)):
            break
        steps.append(step)
    else:
        if isinstance(last, _WEIGHTED):
            return steps, last
    raise TrainingError("only chains of quantised layers with batch normalisation can be made exact.")


def _input_bits(network: nn.Module) -> int:
    return int(network.input_quantiser.act_quant.bit_width())


def _power_of_two(scale: float) -> float:
    return 2.0 ** round(math.log2(scale))


def _whole_codes(layer: nn.Module, largest: int, after: float) -> tuple[Tensor, Tensor]:
    """Makes the weights codes times ``after``; returns each output's largest reachable sum, and its gain."""
    quantised = layer.quant_weight()
    before = quantised.scale.detach().double()
    codes = torch.round(quantised.value.detach() / before)
    layer.weight.data.copy_(codes * after)
    return codes.abs().flatten(1).sum(1) * largest, (after / before).flatten()


def _power_of_two_range(quantiser: nn.Module, gains: dict[nn.Module, float]) -> tuple[int, float]:
    """Makes the quantiser's scale a power of two, unless ``gains`` says that is done; returns its largest code and the
    gain.
    """
    largest = 2 ** (int(quantiser.act_quant.bit_width()) - int(quantiser.act_quant.is_signed)) - 1
    learned = range_of(quantiser)
    if learned not in gains:
        before = float(quantiser.act_quant.scale().detach())
        after = _power_of_two(before)
        learned.value.data.fill_(after * largest)
        gains[learned] = after / before
    return largest, gains[learned]


def _scale(normalisation: nn.Module, factor_gain: Tensor, offset_gain: float) -> None:
    """Makes the normalisation x * weight + bias, with both multiplied by their gains."""
    factor = normalisation.weight.detach().double() / (normalisation.running_var.double() + normalisation.eps).sqrt()
    offset = normalisation.bias.detach().double() - normalisation.running_mean.double() * factor
    normalisation.weight.data.copy_(factor * factor_gain)
    normalisation.bias.data.copy_(offset * offset_gain)
    normalisation.running_mean.zero_()
    normalisation.running_var.fill_(1.0)
    normalisation.eps = 0.0


def _shorten(normalisation: nn.Module, sums: Tensor, fewest: int) -> bool:
    """Rounds each factor so that its product with ``sums`` is exact, where ``fewest`` bits at least are left of it.

    Returns whether that was so for all of them.
    """
    bits = SIGNIFICANT_BITS - torch.ceil(torch.log2(sums.double() + 1))
    narrow = bits >= fewest
    mantissa, exponent = torch.frexp(normalisation.weight.detach().double())
    bits = torch.where(narrow, bits, SIGNIFICANT_BITS)
    normalisation.weight.data.copy_(torch.ldexp(torch.round(mantissa * 2**bits) / 2**bits, exponent))
    return bool(narrow.all())


def _align(bias: nn.Parameter, sums: Tensor) -> None:
    """Rounds each number to the last binary place of the largest that it can become with the sum it is added to.

    A runtime may begin with the bias, and add the products one after the other.
    """
    most = sums.double() + bias.detach().double().abs()
    place = 2.0 ** (torch.ceil(torch.log2(most.clamp(min=torch.finfo(torch.float32).tiny))) - SIGNIFICANT_BITS)
    bias.data.copy_(torch.round(bias.detach().double() / place) * place)


class _ProductAndSum(nn.Module):
    """A normalisation with mean 0 and variance 1, as two operations on (N, channels, samples) or (N, channels)."""

    def __init__(self, normalisation: nn.Module, in_time: bool) -> None:
        super().__init__()
        shape = (1, -1, 1) if in_time else (1, -1)
        self.register_buffer("factor", normalisation.weight.detach().reshape(shape))
        self.register_buffer("offset", normalisation.bias.detach().reshape(shape))

    def forward(self, values: Tensor) -> Tensor:
        return values * self.factor + self.offset


class _ScaledAverage(nn.Module):
    """An average times a constant."""

    def __init__(self, average: nn.Module, factor: float) -> None:
        super().__init__()
        self.average = average
        self.register_buffer("factor", torch.tensor(factor))

    def forward(self, values: Tensor) -> Tensor:
        return self.average(values) * self.factor


def _replace(network: nn.Module, old: nn.Module, new: nn.Module) -> None:
    name = next(name for name, module in network.named_modules() if module is old)
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, new)
