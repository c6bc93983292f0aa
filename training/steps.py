# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps of the networks that a training batch spends most of its time in, with fewer passes over memory.

They give the values and gradients of what they stand for: Brevitas' integer quantiser, torch's max-pooling, and both
behind torch's batch normalisation.
"""

import math
from collections.abc import Callable
from shutil import which

import brevitas.nn as qnn
import torch
from brevitas.core.quant import IntQuant
from torch import Tensor, nn

# So that no value that is needed twice goes through memory in between.
_ONE_PASS = {"realize_reads_threshold": 1000, "realize_opcount_threshold": 1000}


def _fused(function: Callable) -> Callable:
    """Compiled to one pass over memory, where there is a C++ compiler or a GPU; else as it is."""
    can = which("g++") or torch.cuda.is_available()
    return torch.compile(function, dynamic=True, options=_ONE_PASS) if can else function


@_fused
def _quantised(values: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return (values / scale).round().clamp(low, high) * scale


@_fused
def _quantised_back(
    gradient: Tensor, values: Tensor, scale: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor]:
    """What flows back to the values, and to the scale."""
    ratios = values / scale
    codes = ratios.round().clamp(low, high)
    passed = torch.where((ratios > low - 0.5) & (ratios < high + 0.5), gradient, 0.0)
    # d(code * scale)/d(scale) is the code, less the ratio where the code follows the value.
    return passed, (gradient * codes - passed * ratios).sum()


def _without_gaps(values: Tensor) -> Tensor:
    is_image = values.ndim == 4 and values.is_contiguous(memory_format=torch.channels_last)
    return values if is_image else values.contiguous()


def _in_memory_order(values: Tensor, *shape: int) -> Tensor:
    """A tensor without gaps as ``shape``, else one row, so that one compiled form serves all shapes and layouts.

    It is no view: compiled forms know what they are views of.
    """
    shape = shape or (values.numel(),)
    strides = [math.prod(shape[place + 1 :]) for place in range(len(shape))]
    return values.new_empty(0).set_(values.untyped_storage(), values.storage_offset(), shape, strides)


class _Quantise(torch.autograd.Function):
    """Values to the nearest multiple of a scale, straight-through; the scale learns as in Brevitas."""

    @staticmethod
    def forward(context, values: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
        values = _without_gaps(values)
        # As tensors, since every number would have a compiled form of its own.
        limits = tuple(torch.full((), float(limit), device=values.device) for limit in (low, high))
        context.save_for_backward(values, scale, *limits)
        row = _quantised(_in_memory_order(values), scale.detach(), *limits)
        return row.as_strided(values.shape, values.stride())

    @staticmethod
    def backward(context, gradient: Tensor) -> tuple[Tensor | None, ...]:
        values, scale, *limits = context.saved_tensors
        if gradient.stride() != values.stride():
            gradient = torch.empty_like(values).copy_(gradient)
        rows = _in_memory_order(gradient), _in_memory_order(values)
        passed, by_scale = _quantised_back(*rows, scale.detach(), *limits)
        passed = passed.as_strided(values.shape, values.stride())
        return passed, by_scale.reshape(scale.shape).to(scale.dtype), None, None


class FusedIntQuant(IntQuant):
    """Brevitas' IntQuant for a zero point of zero and one scale a tensor."""

    def __init__(self, narrow_range: bool, signed: bool, input_view_impl: nn.Module) -> None:
        super().__init__(narrow_range, signed, input_view_impl)

    def forward(self, scale: Tensor, zero_point: Tensor, bit_width: Tensor, x: Tensor) -> Tensor:
        return _Quantise.apply(x, scale, int(self.min_int(bit_width)), int(self.max_int(bit_width)))


class _PairMaximum(torch.autograd.Function):
    @staticmethod
    def forward(context, values: Tensor) -> Tensor:
        first, second = values[..., 0::2], values[..., 1::2]
        context.save_for_backward(first - second)
        return torch.maximum(first, second)

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        (difference,) = context.saved_tensors
        by_value = torch.empty(
            (*gradient.shape[:3], 2 * gradient.shape[3]),
            dtype=gradient.dtype,
            device=gradient.device,
            memory_format=torch.channels_last,
        )
        first, second = by_value[..., 0::2], by_value[..., 1::2]
        torch.ops.aten.threshold_backward.grad_input(gradient, difference, 0, grad_input=first)
        torch.sub(gradient, first, out=second)
        return by_value


class PairMaxPool(nn.Module):
    """Max-pooling by 2 along the samples of (N, channels, 1, samples), an even number, in channels-last memory."""

    def forward(self, values: Tensor) -> Tensor:
        return _PairMaximum.apply(values)


@_fused
def _sums(rows: Tensor, middle: Tensor) -> tuple[Tensor, Tensor]:
    """Of distances from ``middle`` (C,), and of their squares, over all but the last of (N, samples, C)."""
    distances = rows.float() - middle
    # Frame by frame: what is summed then stays in the cache.
    return distances.sum(1).sum(0), distances.square().sum(1).sum(0)


def _largest(rows: Tensor, slope: Tensor, offset: Tensor) -> tuple[Tensor, Tensor | None]:
    """Of (M, 1 or 2, C): of each the one of the larger code, and where that is the first of two."""
    first = rows[:, 0].float()
    if rows.shape[1] == 1:
        return first, None
    second = rows[:, 1].float()
    is_first = first * slope + offset > second * slope + offset
    return torch.where(is_first, first, second), is_first


@_fused
def _rectified(rows: Tensor, slope: Tensor, offset: Tensor, scale: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """What is chosen of (M, 1 or 2, C), and what is made of it; ``slope`` and ``offset`` (C,) are in codes."""
    chosen, _ = _largest(rows, slope, offset)
    return chosen.to(rows.dtype), (_codes(chosen, slope, offset, high) * scale).to(rows.dtype)


def _codes(chosen: Tensor, slope: Tensor, offset: Tensor, high: Tensor) -> Tensor:
    return (chosen * slope + offset).round().clamp(torch.zeros_like(high), high)


def _passed(gradient: Tensor, chosen: Tensor, slope: Tensor, offset: Tensor, high: Tensor) -> Tensor:
    ratios = chosen * slope + offset
    return torch.where((ratios > 0) & (ratios < high + 0.5), gradient.float(), 0.0)


@_fused
def _gradient_sums(
    gradient: Tensor, chosen: Tensor, slope: Tensor, offset: Tensor, high: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Of (N, samples, C), by channel: the gradient that passes, that times what it passes to, all times the codes."""
    gradient, chosen = gradient.float(), chosen.float()
    passed = _passed(gradient, chosen, slope, offset, high)
    codes = _codes(chosen, slope, offset, high)
    return passed.sum(1).sum(0), (passed * chosen).sum(1).sum(0), (gradient * codes).sum(1).sum(0)


@_fused
def _rectified_back(
    gradient: Tensor,
    rows: Tensor,
    slope: Tensor,
    offset: Tensor,
    high: Tensor,
    factor: Tensor,
    by_value: Tensor,
    constant: Tensor,
) -> Tensor:
    """What flows back through the choice and the normalisation to (M, 1 or 2, C): (M, C or 2 C)."""
    chosen, is_first = _largest(rows, slope, offset)
    passed = _passed(gradient, chosen, slope, offset, high) * factor
    parts = [passed] if is_first is None else [torch.where(is_first, passed, 0.0), torch.where(is_first, 0.0, passed)]
    # Joined in this way, they are written in place.
    backs = [part - constant - rows[:, place].float() * by_value for place, part in enumerate(parts)]
    return torch.cat([back.to(rows.dtype) for back in backs], 1)


class _NormaliseQuantise(torch.autograd.Function):
    """Batch normalisation, the larger of each ``pooled`` samples, ReLU and unsigned quantiser, in channels-last memory.

    Returns mean and variance of each channel beside it. The gradient of the normalisation is that of S. Ioffe, C.
    Szegedy, "Batch Normalization", ICML 2015, section 3.
    """

    @staticmethod
    def forward(
        context,
        values: Tensor,
        weight: Tensor,
        bias: Tensor,
        middle: Tensor,
        epsilon: float,
        scale: Tensor,
        high: int,
        pooled: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        frames, channels, _, samples = values.shape
        count = frames * samples
        distance, square = (part / count for part in _sums(_in_memory_order(values, frames, samples, channels), middle))
        # Rounding may leave less than nothing, where all values are alike and far from the middle.
        mean, variance = middle + distance, (square - distance.square()).clamp(min=0)
        deviation = (variance + epsilon).sqrt()
        slope = weight / deviation / scale
        line = slope, bias / scale - mean * slope
        limit = torch.full((), float(high), device=values.device)
        rows = _in_memory_order(values, count // pooled, pooled, channels)
        chosen, made = _rectified(rows, *line, scale, limit)
        context.save_for_backward(values, chosen, *line, mean, deviation, scale, limit)
        context.mark_non_differentiable(mean, variance)
        return made.view(frames, 1, samples // pooled, channels).permute(0, 3, 1, 2), mean, variance

    @staticmethod
    def backward(context, gradient: Tensor, *_) -> tuple[Tensor | None, ...]:
        values, chosen, slope, offset, mean, deviation, scale, limit = context.saved_tensors
        frames, channels, _, samples = values.shape
        count = frames * samples
        pooled = values.numel() // chosen.numel()
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        by_frame = frames, samples // pooled, channels
        passed, by_chosen, by_codes = _gradient_sums(
            _in_memory_order(gradient, *by_frame), _in_memory_order(chosen, *by_frame), slope, offset, limit
        )
        # d(code * scale)/d(scale) is the code, less the ratio where the code follows the value.
        by_scale = (by_codes - slope * by_chosen - offset * passed).sum()
        by_weight = (by_chosen - mean * passed) / deviation
        factor = slope * scale
        by_value = factor * by_weight / deviation / count
        by_values = _rectified_back(
            _in_memory_order(gradient, count // pooled, channels),
            _in_memory_order(values, count // pooled, pooled, channels),
            slope,
            offset,
            limit,
            factor,
            by_value,
            factor * passed / count - mean * by_value,
        )
        by_values = by_values.view(frames, 1, samples, channels).permute(0, 3, 1, 2)
        return by_values, by_weight, passed, None, None, by_scale.reshape(scale.shape).to(scale.dtype), None, None


def _has_settled(quantiser: nn.Module) -> bool:
    """Whether a QuantReLU takes its range from no values any more, but learns or holds it."""
    scaling = quantiser.act_quant.fused_activation_quant_proxy.tensor_quant.scaling_impl
    return scaling.counter >= scaling.collect_stats_steps


def _normalise_quantise(values: Tensor, normalisation: nn.BatchNorm2d, quantiser: qnn.QuantReLU, pooled: int) -> Tensor:
    quantisation = quantiser.act_quant.fused_activation_quant_proxy.tensor_quant
    width = quantisation.msb_clamp_bit_width_impl()
    scale = quantisation.scaling_impl(values, quantisation.int_scaling_impl(width))
    made, mean, variance = _NormaliseQuantise.apply(
        values.contiguous(memory_format=torch.channels_last),
        normalisation.weight,
        normalisation.bias,
        normalisation.running_mean,
        normalisation.eps,
        scale,
        int(quantisation.int_quant.max_int(width)),
        pooled,
    )
    with torch.no_grad():
        count = values.numel() / values.shape[1]
        normalisation.num_batches_tracked += 1
        normalisation.running_mean.lerp_(mean, normalisation.momentum)
        normalisation.running_var.lerp_(variance * count / (count - 1), normalisation.momentum)
    return made


class Features(nn.Sequential):
    """Layers one after the other, of which a normalisation, a pooling and a QuantReLU are one step in training."""

    def forward(self, values: Tensor) -> Tensor:
        layers = list(self)
        while layers:
            pooled = 2 if len(layers) > 1 and isinstance(layers[1], PairMaxPool) else 1
            if self._is_one_step(layers[0], layers[pooled] if len(layers) > pooled else None):
                values = _normalise_quantise(values, layers[0], layers[pooled], pooled)
                layers = layers[pooled + 1 :]
            else:
                values = layers.pop(0)(values)
        return values

    def _is_one_step(self, first: nn.Module, last: nn.Module | None) -> bool:
        # Without gradients statistics are measured, in ways of their own.
        learns = self.training and torch.is_grad_enabled()
        kinds = isinstance(first, nn.BatchNorm2d) and isinstance(last, qnn.QuantReLU)
        return learns and kinds and _has_settled(last)
