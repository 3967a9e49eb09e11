"""Structural similarity over known pixels, and the loss 1 - SSIM.

Sources: Xia et al., SPT-Depth, eq. 15, and Zhang, Realtime U-Net, eq. 5. As printed, eq. 15 has
2 mx 2 my for 2 mx my and calls itself 0 for equal images; SSIM is 1 there, the loss 1 - SSIM is 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
import torch.nn.functional as F

from training.losses.masked import kept, masked_mean
from training.losses.space import DepthSpace

SSIM_WINDOW = 11
SSIM_SIGMA_PX = 1.5


def _blur(x: Tensor) -> Tensor:
    # (B, C, H, W) -> same; separable Gaussian, zero outside the image
    offsets = torch.arange(SSIM_WINDOW, dtype=x.dtype, device=x.device) - SSIM_WINDOW // 2
    line = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA_PX**2))
    kernel = (line / line.sum()).repeat(x.shape[1], 1, 1, 1)  # (C, 1, 1, 11)
    pad = SSIM_WINDOW // 2
    x = F.conv2d(x, kernel, padding=(0, pad), groups=x.shape[1])
    return F.conv2d(x, kernel.transpose(2, 3), padding=(pad, 0), groups=x.shape[1])


def masked_ssim(x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """Structural similarity per pixel of maps with values in 0..1, over valid pixels only.

    SSIM = (2 mx my + C1)(2 sxy + C2) / ((mx^2 + my^2 + C1)(sx^2 + sy^2 + C2)) with C1 = 0.01^2,
    C2 = 0.03^2 and Gaussian windows (11 px, sigma 1.5) renormalised over the valid pixels in
    them, so that neither holes nor the image border change a statistic.

    Parameters
    ----------
    x, y : Tensor
        (B, 1, H, W) float.
    mask : Tensor
        (B, 1, H, W) bool.

    Returns
    -------
    Tensor
        (B, 1, H, W); meaningless where `mask` is False.
    """
    x, y = kept(x, mask), kept(y, mask)
    weight = mask.to(x.dtype)
    sums = _blur(torch.cat([x, y, x * x, y * y, x * y, weight], dim=1))  # (B, 6, H, W)
    mean = sums[:, :5] / sums[:, 5:].clamp(min=1e-6)
    mx, my, mxx, myy, mxy = mean.split(1, dim=1)
    c1, c2 = 0.01**2, 0.03**2
    covariance = mxy - mx * my
    variances = (mxx - mx * mx).clamp(min=0) + (myy - my * my).clamp(min=0)
    return ((2 * mx * my + c1) * (2 * covariance + c2)) / (
        (mx * mx + my * my + c1) * (variances + c2)
    )


def ssim_loss(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """1 - mean SSIM over `mask` of maps with values in 0..1."""
    return masked_mean(1 - masked_ssim(prediction, target, mask), mask)


class SSIMLoss(nn.Module):
    """:func:`ssim_loss` in a bounded :class:`~training.losses.space.DepthSpace`: z / far."""

    def __init__(self, *, space: str = 'unit', near: float = 0.25, far: float = 12.0) -> None:
        super().__init__()
        self.space = DepthSpace(space, near, far)
        if not self.space.is_bounded:
            # Its constants suppose a range of 1: metres would make the similarity meaningless.
            raise ValueError(f'space {space!r} is unbounded; SSIM needs values in 0..1: '
                             'unit, unit_log or inverse')

    def forward(self, log_depth: Tensor, depth: Tensor, image: Tensor) -> Tensor:
        """Loss of log metres against metres with holes, each (B, 1, H, W)."""
        return ssim_loss(*self.space.pair(log_depth, depth))
