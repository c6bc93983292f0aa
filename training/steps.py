# SPDX-License-Identifier: GPL-3.0-or-later
"""Two steps of the networks that a training batch spends most of its time in, with fewer passes over memory.

Both give the values and gradients of what they stand for: Brevitas' integer quantiser and torch's max-pooling.
"""

import torch
from brevitas.core.quant import IntQuant
from torch import Tensor, nn


class _Quantise(torch.autograd.Function):
    """Values to the nearest multiple of a scale, straight-through; the scale learns as in Brevitas."""

    @staticmethod
    def forward(context, values: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
        ratios = values / scale
        codes = ratios.round().clamp_(low, high)
        context.save_for_backward(ratios, codes, scale)
        context.limits = low - 0.5, high + 0.5
        return codes * scale

    @staticmethod
    def backward(context, gradient: Tensor) -> tuple[Tensor | None, ...]:
        ratios, codes, scale = context.saved_tensors
        passed = torch.ops.aten.hardtanh_backward(gradient, ratios, *context.limits)
        # d(code * scale)/d(scale) is the code, less the ratio where the code follows the value.
        by_scale = (gradient * codes).addcmul_(passed, ratios, value=-1).sum()
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
