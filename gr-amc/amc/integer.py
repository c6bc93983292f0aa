# SPDX-License-Identifier: GPL-3.0-or-later
"""A quantised network as integers: what the compiler makes of a model file, and what the engine is given.

Every tensor is unsigned codes 0..``largest``; ``zero`` is the code of the value 0, which padding adds. A layer sums
products of codes and weights, takes the largest sum of each pool, and counts how many of the output's thresholds, in
rising order, it has reached: that is the code. Or it adds two tensors, code by code, and counts in the same way.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tensor:
    """Codes uint8 (channels, length) of a frame."""

    channels: int
    length: int
    largest: int
    zero: int


@dataclass(frozen=True)
class Input:
    """code = clip(round-half-even(value / ``scale``), ``low``, ``high``) - ``low``, in float32."""

    output: Tensor
    scale: float
    low: int
    high: int


@dataclass(frozen=True)
class Layer:
    """A convolution of tensor number ``source``, or a linear layer: one whose kernel is as long as that tensor.

    ``weights`` int16 (outputs, inputs / groups, kernel); the largest of every ``pool`` sums stays; ``thresholds``
    int32 (outputs, largest code of the output).
    """

    output: Tensor
    weights: np.ndarray
    stride: int
    padding: tuple[int, int]
    groups: int
    pool: int
    thresholds: np.ndarray
    source: int


@dataclass(frozen=True)
class Sum:
    """Code by code of the tensors number ``first`` and ``second``, each times two to the power of its ``shifts``.

    ``thresholds`` int32 (largest code of the output,).
    """

    output: Tensor
    first: int
    second: int
    shifts: tuple[int, int]
    thresholds: np.ndarray


@dataclass(frozen=True)
class Logits:
    """float32(``scale`` * (sum + ``shift``)) + ``offset``, with the sum of ``weights`` int16 (classes, features).

    ``shift`` int32, ``scale`` and ``offset`` float32 (classes,).
    """

    weights: np.ndarray
    shift: np.ndarray
    scale: np.ndarray
    offset: np.ndarray


@dataclass(frozen=True)
class IntegerNetwork:
    """Tensor 0 is the input's, tensor n that of ``layers[n - 1]``, made of earlier ones, and the logits are made of the
    last. Linear layers stand at the end, each behind the other.
    """

    input: Input
    layers: tuple[Layer | Sum, ...]
    logits: Logits

    @property
    def tensors(self) -> list[Tensor]:
        return [self.input.output, *(layer.output for layer in self.layers)]
