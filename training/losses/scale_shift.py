"""Gradient matching, and the loss that forgives each image a scale and a shift (ssi).

Sources: Ranftl et al., MiDaS, eq. 1, 2, 6 and 11, which SPT-Depth names and trains with; its text
both discards the gradient term and sets its weight to 0.5 (`ssi_alpha`; 0 discards it).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.losses.masked import image_means, kept, masked_mean
from training.losses.space import DepthSpace


def scale_and_shift(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Per image the s and b of least sum (s p + b - t)^2 over `mask`, in closed form.

    s = cov(p, t) / var(p), b = mean t - s mean p: the normal equations, centred for precision.
    s is negative where prediction and target run against each other. A constant prediction leaves
    s open: then s = 1.

    Parameters
    ----------
    prediction, target : Tensor
        (B, 1, H, W).
    mask : Tensor
        (B, 1, H, W) bool.

    Returns
    -------
    scale, shift : Tensor
        (B, 1, 1, 1), with gradients to the prediction.
    """
    mean_p, mean_t = image_means(prediction, mask), image_means(target, mask)
    spread = prediction - mean_p
    variance = image_means(spread.square(), mask)
    covariance = image_means(spread * (target - mean_t), mask)
    constant = variance <= 1e-12 * mean_p.square()
    # The divisor is replaced, not the quotient: where would pass on the gradient of 0 / 0.
    one = torch.ones_like(variance)
    scale = torch.where(constant, one, covariance / torch.where(constant, one, variance))
    return scale, mean_t - scale * mean_p


def gradient_matching(
    prediction: Tensor, target: Tensor, mask: Tensor, *, scales: int = 4
) -> Tensor:
    """sum_k (1 / M_k) sum (|dx R_k| + |dy R_k|), R = p - t taken at every 2^k-th pixel.

    M_k counts the known pixels at scale k; a difference counts where both ends are known.
    Maps and mask are (B, 1, H, W).
    """
    residual = kept(prediction - target, mask)
    strides = [2**k for k in range(scales)]
    return sum(_step(residual[..., ::s, ::s], mask[..., ::s, ::s]) for s in strides)


def _step(residual: Tensor, mask: Tensor) -> Tensor:
    dx = kept(residual.diff(dim=-1).abs(), mask[..., 1:] & mask[..., :-1])
    dy = kept(residual.diff(dim=-2).abs(), mask[..., 1:, :] & mask[..., :-1, :])
    return (dx.sum() + dy.sum()) / mask.sum().clamp(min=1)


def ssi_loss(
    prediction: Tensor,
    target: Tensor,
    mask: Tensor,
    *,
    ssi_alpha: float = 0.5,
    scales: int = 4,
) -> Tensor:
    """(1 / 2M) sum (s p + b - t)^2 + ssi_alpha * gradient matching of s p + b.

    s and b are each image's own, from :func:`scale_and_shift`; M counts the batch's known pixels.
    Maps and mask are (B, 1, H, W).
    """
    scale, shift = scale_and_shift(prediction, target, mask)
    aligned = scale * prediction + shift
    loss = 0.5 * masked_mean((aligned - target).square(), mask)
    if ssi_alpha:
        loss = loss + ssi_alpha * gradient_matching(aligned, target, mask, scales=scales)
    return loss


class GradientMatchingLoss(nn.Module):
    """:func:`gradient_matching` in a depth space; log by default.

    A common offset costs nothing (in log space a common scale): use it as a term of ``weighted``.
    """

    def __init__(
        self, *, scales: int = 4, space: str = 'log', near: float = 0.25, far: float = 12.0
    ) -> None:
        super().__init__()
        self.space, self.scales = DepthSpace(space, near, far), scales

    def forward(self, log_depth: Tensor, depth: Tensor, image: Tensor) -> Tensor:
        """Loss of log metres against metres with holes, each (B, 1, H, W)."""
        return gradient_matching(*self.space.pair(log_depth, depth), scales=self.scales)


class SSILoss(nn.Module):
    """:func:`ssi_loss` in a depth space; near / z by default, as MiDaS predicts."""

    def __init__(
        self,
        *,
        ssi_alpha: float = 0.5,
        scales: int = 4,
        space: str = 'inverse',
        near: float = 0.25,
        far: float = 12.0,
    ) -> None:
        super().__init__()
        self.space = DepthSpace(space, near, far)
        self.settings = {'ssi_alpha': ssi_alpha, 'scales': scales}

    def forward(self, log_depth: Tensor, depth: Tensor, image: Tensor) -> Tensor:
        """Loss of log metres against metres with holes, each (B, 1, H, W)."""
        return ssi_loss(*self.space.pair(log_depth, depth), **self.settings)
