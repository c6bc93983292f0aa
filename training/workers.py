# SPDX-License-Identifier: GPL-3.0-or-later
"""The processes of one training run, as ``torchrun`` starts them; without it there is one."""

import os

import torch
import torch.distributed as distributed
from torch import Tensor, nn


class Workers:
    """Averages gradients and keeps the networks of all processes the same.

    ``rank`` of this process, ``count`` of all; ``device`` is this process's own.
    """

    def __init__(self) -> None:
        self.rank = int(os.environ.get("RANK", 0))
        self.count = int(os.environ.get("WORLD_SIZE", 1))
        if torch.cuda.is_available():
            self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
            torch.cuda.set_device(self.device)
        else:
            self.device = torch.device("cpu")
        if self.count > 1 and not distributed.is_initialized():
            distributed.init_process_group("nccl" if self.device.type == "cuda" else "gloo")

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def average_gradients(self, network: nn.Module) -> None:
        """Each gradient becomes its mean over all processes."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        together = self.mean(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, part in zip(gradients, together.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def sum(self, value: Tensor) -> Tensor:
        if self.count > 1:
            distributed.all_reduce(value)
        return value

    def mean(self, value: Tensor) -> Tensor:
        return self.sum(value) / self.count

    def follow_the_leader(self, network: nn.Module) -> None:
        """Parameters and statistics become those of the first process."""
        if self.count == 1:
            return
        for value in network.state_dict().values():
            distributed.broadcast(value, 0)
