"""Losses in log space that forgive a common scale: Eigen's, and the one that SPT-Depth prints.

With d = log p - log t over the n known pixels of an image. Sources: the Eigen reproduction, eq. 3
and 4 (its eq. 1, without the factor 1/2, is twice eq. 3); Xia et al., SPT-Depth, eq. 10 and 11,
called shift and scale invariant there although no shift is forgiven.
"""

from __future__ import annotations

from torch import Tensor, nn

from training.losses.masked import image_means, mean_of_images
from training.losses.space import DepthSpace


def scale_invariant_log(
    log_prediction: Tensor, log_target: Tensor, mask: Tensor, *, lam: float = 0.5
) -> Tensor:
    """(1/n) sum d^2 - (lam / n^2) (sum d)^2 of each image, then the mean over images; eq. 4.

    Parameters
    ----------
    log_prediction, log_target : Tensor
        (B, 1, H, W), natural logarithms.
    mask : Tensor
        (B, 1, H, W) bool; images without a known pixel do not count.
    lam : float
        0: squared log error; 1: blind to a common scale (eq. 3); 0.5: what Eigen trains with.
    """
    mean = image_means(log_prediction - log_target, mask)
    # (1/n) sum d^2 = variance + mean^2; the direct difference cancels in single precision.
    variance = image_means((log_prediction - log_target - mean).square(), mask)
    return mean_of_images(variance + (1 - lam) * mean.square(), mask)


def silog(log_prediction: Tensor, log_target: Tensor, mask: Tensor) -> Tensor:
    """(1 / 2n) sum (d + alpha)^2 with alpha = -mean d, so half the variance of d; eq. 10, 11.

    Maps are natural logarithms (B, 1, H, W); the mean over images.
    """
    return 0.5 * scale_invariant_log(log_prediction, log_target, mask, lam=1.0)


class ScaleInvariantLogLoss(nn.Module):
    """:func:`scale_invariant_log` of log depth.

    Raises
    ------
    ValueError
        `lam` is outside 0..1.
    """

    def __init__(self, *, lam: float = 0.5) -> None:
        super().__init__()
        if not 0 <= lam <= 1:
            raise ValueError(f'lam is {lam}; it must be in 0 (no scale forgiven) .. 1 (any)')
        self.space, self.lam = DepthSpace('log', 0.25, 12.0), lam

    def forward(self, log_depth: Tensor, depth: Tensor, image: Tensor) -> Tensor:
        """Loss of log metres against metres with holes, each (B, 1, H, W)."""
        return scale_invariant_log(*self.space.pair(log_depth, depth), lam=self.lam)


class SilogLoss(nn.Module):
    """:func:`silog` of log depth."""

    def __init__(self) -> None:
        super().__init__()
        self.space = DepthSpace('log', 0.25, 12.0)

    def forward(self, log_depth: Tensor, depth: Tensor, image: Tensor) -> Tensor:
        """Loss of log metres against metres with holes, each (B, 1, H, W)."""
        return silog(*self.space.pair(log_depth, depth))
