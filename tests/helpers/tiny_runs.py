# SPDX-License-Identifier: GPL-3.0-or-later
"""A training run too small to be good at anything, done in seconds."""

import torch

CONFIG = """
name: tiny
description: a test
seed: 3
batch: 4
frames_per_epoch: 48
validation_frames_per_pair: 1
network_options: {filters: 4, hidden: 8}
sources:
  - {preset: radioml2018, share: 1, snr: [0, 30]}
stages:
  - {name: float, frames: 96, rate: 1.0e-3}
  - {name: quantised, frames: 192, rate: 1.0e-3, bits: {input: 4, weight: 4, activation: 4}}
pruning:
  rounds: 2
  share: 0.2
  threshold: 2.0
  frames: 48
  rate: 1.0e-3
  finish:
    - {name: finish, frames: 48, rate: 1.0e-3, bits: {input: 4, weight: 4, activation: 4}}
    - {name: again, frames: 48, rate: 1.0e-4, bits: {input: 4, weight: 4, activation: 4}}
"""


class Killed(Exception):
    """What a test ends a run with, wherever it is."""


def same(one: dict, other: dict) -> bool:
    """Whether two states hold the same tensors, bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
