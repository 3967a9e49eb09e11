"""Mean squared and mean absolute difference over the known pixels of a batch."""

from __future__ import annotations

from torch import Tensor, nn

from training.losses.masked import masked_mean
from training.losses.space import DepthSpace


def mse(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean (p - t)^2 over `mask`; SPT-Depth eq. 9, Realtime U-Net eq. 8."""
    return masked_mean((prediction - target).square(), mask)


def l1(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean |p - t| over `mask`; the first term of Realtime U-Net eq. 7."""
    return masked_mean((prediction - target).abs(), mask)


class MSELoss(nn.Module):
    """:func:`mse` in a :class:`~training.losses.space.DepthSpace`, metres by default."""

    def __init__(self, *, space: str = 'metres', near: float = 0.25, far: float = 12.0) -> None:
        super().__init__()
        self.space = DepthSpace(space, near, far)

    def forward(self, log_depth: Tensor, depth: Tensor, image: Tensor) -> Tensor:
        """Loss of log metres against metres with holes, each (B, 1, H, W)."""
        return mse(*self.space.pair(log_depth, depth))


class L1Loss(nn.Module):
    """:func:`l1` in a :class:`~training.losses.space.DepthSpace`, metres by default."""

    def __init__(self, *, space: str = 'metres', near: float = 0.25, far: float = 12.0) -> None:
        super().__init__()
        self.space = DepthSpace(space, near, far)

    def forward(self, log_depth: Tensor, depth: Tensor, image: Tensor) -> Tensor:
        """Loss of log metres against metres with holes, each (B, 1, H, W)."""
        return l1(*self.space.pair(log_depth, depth))
