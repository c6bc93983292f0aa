# SPDX-License-Identifier: GPL-3.0-or-later
"""Two steps of the networks that a training batch spends most of its time in, with fewer passes over memory.

Both give the values and gradients of what they stand for: Brevitas' integer quantiser and torch's max-pooling.
"""

from collections.abc import Callable
from shutil import which

import torch
from brevitas.core.quant import IntQuant
from torch import Tensor, nn


def _fused(function: Callable) -> Callable:
    """Compiled to one pass over memory, where there is a C++ compiler or a GPU; else as it is."""
    return torch.compile(function, dynamic=True) if which("g++") or torch.cuda.is_available() else function


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


def _in_memory_order(values: Tensor) -> Tensor:
    """A tensor without gaps as one row, so that one compiled form serves all shapes and layouts.

    It is no view: compiled forms know what they are views of.
    """
    return values.new_empty(0).set_(values.untyped_storage(), values.storage_offset(), (values.numel(),), (1,))


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
