# SPDX-License-Identifier: GPL-3.0-or-later
"""In which order channels lie side by side, so that groups of neighbours go at the least loss.

J. Pool, C. Yu, "Channel Permutations for N:M Sparsity", NeurIPS 2021: the filters of a convolution may stand in any
order, if what reads them has its weights in the same, and two that gain by it change places until none do.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .masks import group_size, grouped


def channel_order(worths: Tensor, kept: Tensor, group: int) -> Tensor:
    """An order int64 (inputs,) of the input channels of a convolution in which the groups to keep are worth most.

    ``worths`` float (outputs, inputs, taps...) of its weights; ``kept`` bool, like it, says which groups of ``group``
    neighbours at one tap stay in the order that there is: in another those would that are worth no less together.
    """
    size = group_size(worths, group)
    together, staying = grouped(worths, size).sum(2), grouped(kept, size).any(2)
    least = together[staying].min() if staying.any() else together.max()
    return _exchanged(worths.transpose(0, 1).flatten(1).double(), size, float(least))


def _exchanged(channels: Tensor, size: int, least: float) -> Tensor:
    """The order int64 (n,) of ``channels`` (n, places) in which groups of ``size`` are worth most above ``least``."""

    def above(worths: Tensor) -> Tensor:
        return (worths - least).clamp(min=0).sum(-1)

    order = torch.arange(len(channels), device=channels.device)
    groups = channels.unflatten(0, (-1, size)).sum(1)
    # What rounding makes of the same sums is no gain, or two might change places for ever.
    noise = 1e-9 * float(above(groups).sum())
    last = None
    while last is None or not torch.equal(order, last):
        last = order.clone()
        for place in range(len(order)):
            here = groups[place // size]
            change = channels[order] - channels[order[place]]
            others = groups.repeat_interleave(size, 0)
            gains = above(here + change) - above(here) + above(others - change) - above(others)
            gains.view(-1, size)[place // size] = 0
            other = int(gains.argmax())
            if gains[other] > noise:
                order[[place, other]] = order[[other, place]]
                groups = channels[order].unflatten(0, (-1, size)).sum(1)
    return order


def reorder(
    order: Tensor,
    filters: Iterable[nn.Module],
    reader: nn.Module,
    optimiser: torch.optim.Optimizer,
    others: tuple[Iterable[Tensor], Iterable[Tensor]] = ((), ()),
) -> None:
    """Puts filters in ``order`` (n,), so that the network says the same and learns on as it would have.

    ``filters`` are a convolution and its normalisation, ``reader`` is the convolution that reads them. The first of
    ``others`` are tensors that have a row for each of them, the second those of the reader, which have a column.
    """

    def learned(module: nn.Module) -> list[Tensor]:
        moments = (value for each in module.parameters() for value in optimiser.state.get(each, {}).values())
        return [*module.state_dict().values(), *moments]

    rows = [tensor for module in filters for tensor in learned(module) if tensor.ndim and len(tensor) == len(order)]
    columns = [tensor for tensor in learned(reader) if tensor.ndim > 1 and tensor.shape[1] == len(order)]
    with torch.no_grad():
        for axis, tensors in enumerate(((*rows, *others[0]), (*columns, *others[1]))):
            for tensor in tensors:
                tensor.copy_(tensor.index_select(axis, order))
