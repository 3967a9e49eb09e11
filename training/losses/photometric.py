"""How well depth explains what neighbouring pictures show.

Source: C. Godard, O. Mac Aodha, M. Firman, G. Brostow, "Digging Into Self-Supervised Monocular
Depth Estimation" (Monodepth2, 2019): 0.85 (1 - SSIM) / 2 + 0.15 |difference| of the picture and
its neighbours warped into it; of the neighbours the one that fits best counts at each pixel
(the others do not see it); pixels that fit as well without a motion do not count (the camera
stands, or a thing moves with it). The motion is given here, not learnt.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
import torch.nn.functional as F

from training.losses.masked import masked_mean

SSIM_SHARE = 0.85
C1, C2 = 0.01**2, 0.03**2
NEAREST_M = 0.01  # of a point in front of the neighbouring camera


class Neighbours(NamedTuple):
    """What the neighbours of a batch of B pictures show, and where from.

    Attributes
    ----------
    images : Tensor
        (B, N, 3, h, w) RGB in 0..1.
    rays : Tensor
        (B, 3, 3): pixel (u, v, 1) of the picture -> its point at 1 m in the own camera.
    motions : Tensor
        (B, N, 3, 4): points of the own camera -> those of the neighbour's. All 0: none there.
    cameras : Tensor
        (B, 3, 3): points of the neighbour's camera -> its pixels.
    """

    images: Tensor
    rays: Tensor
    motions: Tensor
    cameras: Tensor


def photometric_loss(metres: Tensor, picture: Tensor, neighbours: Neighbours) -> Tensor:
    """Mean error of the pixels that fit better with the motion than without; 0 where none does.

    Parameters
    ----------
    metres : Tensor
        (B, 1, H, W) depth.
    picture : Tensor
        (B, 3, H, W) RGB in 0..1, of the same colours as the neighbours.
    """
    moved, unmoved = photometric_errors(metres, picture, neighbours)
    return masked_mean(moved, moved < unmoved)  # False where no neighbour shows the pixel


def photometric_residual(metres: Tensor, picture: Tensor, neighbours: Neighbours) -> Tensor:
    """Mean error of each picture, (B,); NaN for one without neighbours.

    It is over the same pixels whatever the depth, so that it compares networks: those that a
    neighbour would show if they were infinitely far. Where depth takes one of them out of all
    neighbours, its error at infinity counts.
    """
    moved, _ = photometric_errors(metres, picture, neighbours)
    turns = neighbours.motions * neighbours.motions.new_tensor([1.0, 1.0, 1.0, 0.0])
    far = _errors(metres, picture, neighbours._replace(motions=turns))
    counts = torch.isfinite(far)
    error = torch.where(torch.isfinite(moved), moved, far)
    return torch.stack([masked_mean(e, c) if c.any() else e.new_tensor(torch.nan)
                        for e, c in zip(error, counts, strict=True)])


def photometric_errors(
    metres: Tensor, picture: Tensor, neighbours: Neighbours
) -> tuple[Tensor, Tensor]:
    """Error of each pixel, (B, 1, H, W), with the motion of the camera and as if it stood.

    Infinite where no neighbour shows the pixel.
    """
    there = neighbours.motions.abs().sum(dim=(2, 3), keepdim=True) > 0  # (B, N, 1, 1)
    still = there * torch.eye(3, 4, dtype=metres.dtype, device=metres.device)
    moved = _errors(metres, picture, neighbours)
    with torch.no_grad():
        unmoved = _errors(metres, picture, neighbours._replace(motions=still))
    return moved, unmoved


def _errors(metres: Tensor, picture: Tensor, around: Neighbours) -> Tensor:
    # Of the neighbour that fits best, (B, 1, H, W).
    exists = around.motions.abs().sum(dim=(2, 3)) > 0  # (B, N)
    found = []
    for n in range(around.images.shape[1]):
        warped, seen = warp(metres, around.images[:, n], around.rays, around.motions[:, n],
                            around.cameras)
        difference = (warped - picture).abs().mean(dim=1)
        similarity = ssim(warped, picture).mean(dim=1)
        error = SSIM_SHARE * (1 - similarity) / 2 + (1 - SSIM_SHARE) * difference
        shown = seen & exists[:, n, None, None]
        found.append(torch.where(shown, error, torch.full_like(error, torch.inf)))
    return torch.stack(found, dim=1).amin(dim=1, keepdim=True)


def warp(
    metres: Tensor, image: Tensor, rays: Tensor, motion: Tensor, camera: Tensor
) -> tuple[Tensor, Tensor]:
    """Look up in a neighbour's image (B, 3, h, w) what the pixels of depth (B, 1, H, W) show.

    Returns
    -------
    tuple of Tensor
        (B, 3, H, W) RGB, and (B, H, W) bool: the neighbour shows the pixel.
    """
    batch, _, height, width = metres.shape
    v, u = torch.meshgrid(
        *(torch.arange(n, dtype=metres.dtype, device=metres.device) for n in (height, width)),
        indexing='ij')
    pixels = torch.stack([u, v, torch.ones_like(u)]).view(3, -1)  # (3, H*W)
    points = (rays @ pixels) * metres.view(batch, 1, -1)  # (B, 3, H*W)
    x, y, z = (camera @ (motion[..., :3] @ points + motion[..., 3:])).unbind(dim=1)
    in_front = z > NEAREST_M
    z = torch.where(in_front, z, torch.ones_like(z))
    h, w = image.shape[-2:]
    x, y = x / z, y / z
    inside = in_front & (x >= 0) & (y >= 0) & (x <= w - 1) & (y <= h - 1)
    # pixel centres are integers: -1 is the left border of pixel 0
    grid = torch.stack([(2 * x + 1) / w - 1, (2 * y + 1) / h - 1], dim=-1)
    grid = torch.where(inside[..., None], grid, torch.zeros_like(grid))
    warped = F.grid_sample(image, grid.view(batch, height, width, 2), align_corners=False,
                           padding_mode='border')
    return warped, inside.view(batch, height, width)


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity of images (B, C, H, W) in 0..1, over windows of 3 x 3 pixels."""
    def mean(image: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode='reflect'), 3, 1)

    mx, my = mean(x), mean(y)
    vx, vy = mean(x * x) - mx * mx, mean(y * y) - my * my
    covariance = mean(x * y) - mx * my
    return ((2 * mx * my + C1) * (2 * covariance + C2)) / (
        (mx * mx + my * my + C1) * (vx + vy + C2))
