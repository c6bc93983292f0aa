# SPDX-License-Identifier: GPL-3.0-or-later
"""Which weights of different layers count as the smallest: what pruning ranks them by."""

import torch
from torch import Tensor


def magnitude(remaining: Tensor) -> Tensor:
    """The magnitudes themselves, as the challenge's second place ranked them."""
    return remaining


def movement(moved: Tensor) -> Tensor:
    """How far training would have moved weights (n,) away from zero, less than zero where towards it.

    V. Sanh, T. Wolf, A. Rush, "Movement Pruning: Adaptive Sparsity by Fine-Tuning", NeurIPS 2020, section 4.
    """
    return moved


def saliency(raised: Tensor) -> Tensor:
    """How much the loss rises without weights (n,), to the second order: their squares times those of their gradients.

    Y. LeCun, J. Denker, S. Solla, "Optimal Brain Damage", NIPS 1989, equation 5, the second derivatives by the mean
    squares of gradients. Unlike the others it compares layers by what they do to the loss.
    """
    return raised


def layer_adaptive(remaining: Tensor) -> Tensor:
    """The share of a weight in the energy of all of its layer that are no smaller.

    J. Lee, S. Park, S. Mo, S. Ahn, J. Shin, "Layer-adaptive Sparsity for the Magnitude-based Pruning", ICLR 2021,
    equation 2. The size of a layer's weights says nothing where batch normalisation follows; this does not depend on
    it, and never empties a layer before the others.
    """
    energies, order = remaining.square().sort(descending=True)
    shares = torch.empty_like(remaining)
    shares[order] = energies / energies.cumsum(0).clamp(min=torch.finfo(remaining.dtype).tiny)
    return shares


# From the magnitudes float32 (n,) of a layer's remaining weights to what all layers are ranked by.
RANKINGS = {"magnitude": magnitude, "layer_adaptive": layer_adaptive}
MOVEMENT = "movement"
SALIENCY = "saliency"
# What a stage of training knows of weights, in place of their magnitudes.
LEARNED_RANKINGS = {MOVEMENT: movement, SALIENCY: saliency}
TRAINED_RANKINGS = RANKINGS | LEARNED_RANKINGS
