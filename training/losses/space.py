"""The quantity that a loss compares, from a network's natural log depth."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from training.losses.masked import kept, known

#: metres; natural log of metres; z / far; (log z - log near) / (log far - log near); near / z.
SPACES = ('metres', 'log', 'unit', 'unit_log', 'inverse')


class DepthSpace:
    """Brings depth into one of :data:`SPACES`.

    The last three are 0..1 for depths between `near` and `far` metres (``inverse``: large is
    near); the truth is clamped to that, the prediction is not, so that its gradient stays.

    Raises
    ------
    ValueError
        Unknown space, or limits that are not 0 < near < far.
    """

    def __init__(self, name: str, near: float, far: float) -> None:
        if name not in SPACES:
            raise ValueError(f"space {name!r} is unknown; choose one of {', '.join(SPACES)}")
        if not 0 < near < far:
            raise ValueError(f'near {near} and far {far} must satisfy 0 < near < far, in metres')
        self.name = name
        self.log_near, self.log_far = math.log(near), math.log(far)

    @property
    def is_bounded(self) -> bool:
        """Whether depths between the limits are 0..1."""
        return self.name in SPACES[2:]

    def __call__(self, log_depth: Tensor) -> Tensor:
        """Convert natural log of metres."""
        if self.name == 'log':
            return log_depth
        if self.name == 'unit_log':
            return (log_depth - self.log_near) / (self.log_far - self.log_near)
        if self.name == 'inverse':
            return torch.exp(self.log_near - log_depth)
        return torch.exp(log_depth - (self.log_far if self.name == 'unit' else 0.0))

    def pair(self, log_depth: Tensor, depth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Prediction, target and mask, each (B, 1, H, W), from log metres and metres with holes.

        Both are finite behind the mask, if the prediction is where it counts.
        """
        mask = known(depth)
        target = self(torch.where(mask, depth, torch.ones_like(depth)).log())
        if self.is_bounded:
            target = target.clamp(0, 1)
        return self(kept(log_depth, mask)), kept(target, mask), mask
