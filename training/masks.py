# SPDX-License-Identifier: GPL-3.0-or-later
"""Which weights go when a network is pruned to a share of its weights, or to a cost."""

import torch
from torch import Tensor

from .errors import TrainingError
from .ranking import RANKINGS, TRAINED_RANKINGS


def group_size(weight: Tensor, group: int) -> int:
    """How many weights of a layer go together; raises TrainingError if groups do not fit.

    A convolution with fewer inputs than ``group`` has one group a tap. Linear layers have no groups: the engine takes
    their inputs, which have no taps, one by one for many windows at once.
    """
    if weight.dim() == 2:
        return 1
    inputs = weight.shape[1]
    size = min(group, inputs)
    if inputs % size:
        raise TrainingError(f"a layer of {inputs} inputs has no whole groups of {group}; choose another group.")
    return size


def grouped(values: Tensor, size: int) -> Tensor:
    """Weights (outputs, inputs, taps...) as (outputs, inputs / size, size, taps): groups of inputs of one tap."""
    outputs, inputs = values.shape[:2]
    return values.reshape(outputs, inputs // size, size, -1)


def _in_groups(
    values: dict[str, Tensor], masks: dict[str, Tensor], group: int
) -> tuple[dict[str, int], dict[str, Tensor], dict[str, Tensor]]:
    """By layer: how many weights a group has, which groups ``masks`` leave, and the mean of ``values`` in each.

    ``masks`` may lack layers: nothing of those is pruned yet. Raises TrainingError if groups do not fit.
    """
    sizes = {name: group_size(value, group) for name, value in values.items()}
    before = {name: masks.get(name, torch.ones_like(value, dtype=torch.bool)) for name, value in values.items()}
    left = {name: grouped(mask, sizes[name]).any(2) for name, mask in before.items()}
    return sizes, left, {name: grouped(value, sizes[name]).mean(2) for name, value in values.items()}


def _of_groups(
    staying: dict[str, Tensor], masks: dict[str, Tensor], weights: dict[str, Tensor], sizes: dict[str, int]
) -> dict[str, Tensor]:
    """What of ``masks`` is left where ``staying`` has one flag a group, in the shapes of ``weights``."""
    expanded = {
        name: flags.unsqueeze(2).expand(-1, -1, sizes[name], -1).reshape(weights[name].shape).clone()
        for name, flags in staying.items()
    }
    return {name: mask & masks[name] if name in masks else mask for name, mask in expanded.items()}


def smaller_masks(
    weights: dict[str, Tensor], masks: dict[str, Tensor], share: float, group: int = 1, ranking: str = "magnitude"
) -> dict[str, Tensor]:
    """Masks of the weights that stay when the ``share`` of all remaining ones that are smallest go.

    Layers are compared with each other as ``ranking`` says. Of ``group`` above one, groups are ranked by the mean
    magnitude of their members, and go as a whole. ``masks`` may lack layers: nothing of those is pruned yet.
    """
    with torch.no_grad():
        magnitudes = {name: weight.abs() for name, weight in weights.items()}
        sizes, left, means = _in_groups(magnitudes, masks, group)
        ranks = {name: torch.zeros_like(mean) for name, mean in means.items()}
        for name, mean in means.items():
            ranks[name][left[name]] = RANKINGS[ranking](mean[left[name]])
        remaining, order = torch.cat([ranks[name][left[name]] for name in weights]).sort()
        members = torch.cat(
            [torch.full_like(ranks[name][left[name]], size, dtype=torch.long) for name, size in sizes.items()]
        )
        if len(remaining) == 0:
            raise TrainingError("there is no weight left to prune; set fewer rounds, or a smaller share.")
        # From the smallest on, until the share of the weights is reached.
        gone = members[order].cumsum(0)
        limit = remaining[int((gone < round(share * int(gone[-1]))).sum())]
        staying = {name: left[name] & (ranks[name] > limit) for name in weights}
        return _of_groups(staying, masks, weights, sizes)


def masks_within_cost(
    values: dict[str, Tensor],
    masks: dict[str, Tensor],
    costs: dict[str, float],
    limit: float,
    ranking: str,
    group: int = 1,
    prices: dict[str, float] | None = None,
) -> dict[str, Tensor]:
    """Masks of the weights that stay when those worth least for their price go, until ``limit`` is kept.

    ``costs`` of one weight by layer, which are ``prices`` too where none are given; ``ranking`` says what weights are
    worth by their ``values``, which are magnitudes or what a stage of training learned. Of ``group`` above one, groups
    are worth what the mean of their members is, and go as a whole. Nothing goes where the cost is lower already.
    ``masks`` may lack layers: nothing of those is pruned yet.
    """
    with torch.no_grad():
        sizes, left, means = _in_groups(values, masks, group)
        worth_of = TRAINED_RANKINGS[ranking]
        prices = prices or costs
        worths = [
            _per_price(worth_of(sizes[name] * means[name][flags]), sizes[name] * prices[name])
            for name, flags in left.items()
        ]
        each = torch.cat(
            [
                torch.full_like(worth, sizes[name] * costs[name], dtype=torch.double)
                for name, worth in zip(left, worths, strict=True)
            ]
        )
        order = torch.cat(worths).argsort(descending=True, stable=True)
        staying = torch.zeros_like(each, dtype=torch.bool)
        staying[order] = each[order].cumsum(0) <= limit
        parts = staying.split([len(worth) for worth in worths])
        for flags, part in zip(left.values(), parts, strict=True):
            flags[flags.clone()] = part
        return _of_groups(left, masks, values, sizes)


def _per_price(worth: Tensor, price: float) -> Tensor:
    """What is worth less than nothing goes the sooner, the dearer it is."""
    return torch.where(worth < 0, worth * price, worth / price)
