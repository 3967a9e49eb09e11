"""The three-part loss of the Realtime U-Net paper, masked, on normalised log depth.

Source: Y. Zhang, "Realtime Single Image Depth Estimation" (Stanford CS231A), equations 5 to 7.
The paper leaves beta unstated (1 here) and writes image gradients without absolute values, which
would make the edge weights negative; they are absolute here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from training.losses.edges import edge_weight
from training.losses.masked import masked_mean
from training.losses.ssim import masked_ssim


def relative_error(log_ratio: Tensor) -> Tensor:
    """|prediction / truth - 1| of log_ratio = log(prediction / truth).

    Straight beyond a ratio of e, so that one wild pixel has no exponential gradient.
    """
    inside = torch.expm1(log_ratio.clamp(max=1)).abs()
    return torch.where(log_ratio > 1, math.e * log_ratio - 1, inside)


def realtime_unet_loss(
    prediction: Tensor,
    target: Tensor,
    image: Tensor,
    mask: Tensor,
    *,
    alpha: float = 2.0,
    beta: float = 1.0,
    gamma: float = 5.0,
    log_range: float = 0.0,
) -> Tensor:
    """L = (alpha L1 + beta (1 - SSIM) + gamma Le) / (alpha + beta + gamma), each a masked mean.

    Le = mean[(1 - exp(-|gx|)) |p - t| + (1 - exp(-|gy|)) |p - t|] with g the gradients of the
    grey image.

    Where depth is normalised as a logarithm, |p - t| treats twice too far and twice too near
    alike. With `log_range` it is replaced by the relative error in units of that range, which
    differs from it in second order only and does not.

    Parameters
    ----------
    prediction, target : Tensor
        (B, 1, H, W) float, normalised depth; the target in 0..1 where `mask`.
    image : Tensor
        (B, 3, H, W) RGB in 0..1.
    mask : Tensor
        (B, 1, H, W) bool, True where the target is known. A batch of holes gives 0.
    log_range : float
        log(far / near) of the normalisation for the relative error; 0: |p - t|.

    Returns
    -------
    Tensor
        Scalar.
    """
    difference = torch.where(mask, prediction - target, torch.zeros_like(prediction))
    error = difference.abs()
    if log_range:
        error = relative_error(log_range * difference) / log_range
    l1 = masked_mean(error, mask)
    structure = masked_mean(1 - masked_ssim(prediction, target, mask), mask)
    edges = masked_mean(edge_weight(image) * error, mask)
    return (alpha * l1 + beta * structure + gamma * edges) / (alpha + beta + gamma)


class RealtimeUNetLoss(nn.Module):
    """:func:`realtime_unet_loss` of a network's natural log depth.

    Depth is brought to 0..1 as y = (log z - log near) / (log far - log near), so that L1
    approximates the relative error (`relative`: is it); targets outside [near, far] metres are
    clamped.
    """

    def __init__(
        self,
        *,
        alpha: float = 2.0,
        beta: float = 1.0,
        gamma: float = 5.0,
        near: float = 0.25,
        far: float = 12.0,
        relative: bool = False,
    ) -> None:
        super().__init__()
        if not 0 < near < far:
            raise ValueError(f'near {near} and far {far} must satisfy 0 < near < far, in metres')
        self.log_near, self.log_far = math.log(near), math.log(far)
        log_range = self.log_far - self.log_near if relative else 0.0
        self.weights = {'alpha': alpha, 'beta': beta, 'gamma': gamma, 'log_range': log_range}

    def normalise(self, log_depth: Tensor) -> Tensor:
        """Bring natural log metres to 0 (near) .. 1 (far)."""
        return (log_depth - self.log_near) / (self.log_far - self.log_near)

    def forward(self, log_depth: Tensor, depth: Tensor, image: Tensor) -> Tensor:
        """Loss of `log_depth` (B, 1, H, W) against `depth` (B, 1, H, W) metres.

        Pixels whose depth is not finite or not positive are holes. `image` is (B, 3, H, W) RGB
        in 0..1.
        """
        mask = torch.isfinite(depth) & (depth > 0)
        known = torch.where(mask, depth, torch.ones_like(depth))
        target = self.normalise(known.log()).clamp(0, 1)
        return realtime_unet_loss(self.normalise(log_depth), target, image, mask, **self.weights)
