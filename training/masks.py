# SPDX-License-Identifier: GPL-3.0-or-later
"""Which weights go when a network is pruned to a share of its weights, or to a cost."""

import torch
from torch import Tensor

from .errors import TrainingError
from .ranking import RANKINGS, TRAINED_RANKINGS


def _group_size(weight: Tensor, group: int) -> int:
    """A layer with fewer inputs than ``group`` has one group a tap; raises TrainingError if groups do not fit."""
    inputs = weight.shape[1]
    size = min(group, inputs)
    if inputs % size:
        raise TrainingError(f"a layer of {inputs} inputs has no whole groups of {group}; choose another group.")
    return size


def _grouped(values: Tensor, size: int) -> Tensor:
    """Weights (outputs, inputs, taps...) as (outputs, inputs / size, size, taps): groups of inputs of one tap."""
    outputs, inputs = values.shape[:2]
    return values.reshape(outputs, inputs // size, size, -1)


def smaller_masks(
    weights: dict[str, Tensor], masks: dict[str, Tensor], share: float, group: int = 1, ranking: str = "magnitude"
) -> dict[str, Tensor]:
    """Masks of the weights that stay when the ``share`` of all remaining ones that are smallest go.

    Layers are compared with each other as ``ranking`` says. Of ``group`` above one, groups are ranked by the mean
    magnitude of their members, and go as a whole. ``masks`` may lack layers: nothing of those is pruned yet.
    """
    with torch.no_grad():
        sizes = {name: _group_size(weight, group) for name, weight in weights.items()}
        before = {name: masks.get(name, torch.ones_like(weight, dtype=torch.bool)) for name, weight in weights.items()}
        left = {name: _grouped(mask, sizes[name]).any(2) for name, mask in before.items()}
        means = {name: _grouped(weight.abs(), sizes[name]).mean(2) for name, weight in weights.items()}
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
        return {
            name: flags.unsqueeze(2).expand(-1, -1, sizes[name], -1).reshape(weights[name].shape).clone()
            for name, flags in staying.items()
        }


def masks_within_cost(
    values: dict[str, Tensor], masks: dict[str, Tensor], costs: dict[str, float], limit: float, ranking: str
) -> dict[str, Tensor]:
    """Masks of the weights that stay when those worth least for their cost go, until ``limit`` is kept.

    ``costs`` of one weight by layer; ``ranking`` says what weights are worth by their ``values``, which are magnitudes
    or movements. Nothing goes where the cost is lower already. ``masks`` may lack layers: nothing of those is pruned
    yet.
    """
    with torch.no_grad():
        left = {name: masks.get(name, torch.ones_like(value, dtype=torch.bool)) for name, value in values.items()}
        worth_of = TRAINED_RANKINGS[ranking]
        worths = [_per_cost(worth_of(values[name][flags]), costs[name]) for name, flags in left.items()]
        each = torch.cat(
            [torch.full_like(worth, costs[name], dtype=torch.double) for name, worth in zip(left, worths, strict=True)]
        )
        order = torch.cat(worths).argsort(descending=True, stable=True)
        staying = torch.zeros_like(each, dtype=torch.bool)
        staying[order] = each[order].cumsum(0) <= limit
        parts = staying.split([len(worth) for worth in worths])
        kept = {name: flags.clone() for name, flags in left.items()}
        for flags, part in zip(kept.values(), parts, strict=True):
            flags[flags.clone()] = part
        return kept


def _per_cost(worth: Tensor, cost: float) -> Tensor:
    """What is worth less than nothing goes the sooner, the more it costs."""
    return torch.where(worth < 0, worth * cost, worth / cost)
