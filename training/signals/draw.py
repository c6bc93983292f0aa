# SPDX-License-Identifier: GPL-3.0-or-later
"""Random numbers of a batch, all from one generator, so that a seed fixes the frames."""

import math

import torch
from torch import Tensor

from .presets import Choice, Distribution, LognormalMixture, LogUniform, Normal, SignedLogUniform, Uniform


class Draw:
    """Draws from the laws of a preset, on the device of ``generator``."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.device = generator.device
        self._laws = {
            Uniform: self._uniform,
            LogUniform: self._log_uniform,
            SignedLogUniform: self._signed_log_uniform,
            Normal: self._normal,
            LognormalMixture: self._lognormal_mixture,
            Choice: self._choice,
        }

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.device)

    def complex_normal(self, *shape: int) -> Tensor:
        """Circular, of mean power 1."""
        return torch.view_as_complex(self.normal(*shape, 2)) * math.sqrt(0.5)

    def index(self, below: int, count: int) -> Tensor:
        """Whole numbers from 0, int64 (count,)."""
        return torch.randint(below, (count,), generator=self.generator, device=self.device)

    def rows(self, share: float, count: int) -> Tensor:
        """Which of ``count`` frames belong to a ``share`` of them, int64 (n,)."""
        return (self.uniform(count) < share).nonzero()[:, 0]

    def sample(self, law: Distribution, count: int) -> Tensor:
        """Float32 (count,) from ``law``."""
        return self._laws[type(law)](law, count)

    def _uniform(self, law: Uniform, count: int) -> Tensor:
        return law.low + (law.high - law.low) * self.uniform(count)

    def _log_uniform(self, law: LogUniform, count: int) -> Tensor:
        return law.low * (law.high / law.low) ** self.uniform(count)

    def _signed_log_uniform(self, law: SignedLogUniform, count: int) -> Tensor:
        return self._log_uniform(law, count) * (2 * self.index(2, count) - 1)

    def _normal(self, law: Normal, count: int) -> Tensor:
        return law.sigma * self.normal(count)

    def _lognormal_mixture(self, law: LognormalMixture, count: int) -> Tensor:
        value = law.median * torch.exp(law.sigma * self.normal(count))
        outlier = self.sample(law.outliers, count)
        value = torch.where(self.uniform(count) < law.outlier_share, outlier, value)
        return value.clamp(*law.limits)

    def _choice(self, law: Choice, count: int) -> Tensor:
        if len(law.values) == 1:
            return torch.full((count,), law.values[0], dtype=torch.float32, device=self.device)
        return torch.tensor(law.values, dtype=torch.float32, device=self.device)[self.index(len(law.values), count)]
