"""Focus stacks from all-in-focus images and depth, in batches and with gradients.

The formulas are those of depth_perception/focus_render.py, see there and psf.py.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from depth_perception.optics import OpticsError
from depth_perception.psf import (
    HOLE_DEPTH_M,
    check_shape,
    fft_size,
    level_radii,
    level_slopes,
    reach_px,
    transfer,
)

LEAST_LIGHT = 1e-6


def fill_holes(depth: Tensor) -> tuple[Tensor, Tensor]:
    """Depth with 1000 m in its holes, and the mask (bool) of what is no hole, for the loss."""
    valid = torch.isfinite(depth) & (depth > 0)
    return torch.where(valid, depth, HOLE_DEPTH_M), valid


def render_stack(image: Tensor, depth: Tensor, focus_distances: Tensor, blur_scale: Tensor,
                 focal_length: Tensor | float = 0.0, *,
                 psf: str = 'gaussian') -> Tensor:
    """What a lens sees when it is focused at one distance after the other.

    Parameters
    ----------
    image : (B, 3, H, W) float, 0..1
        All in focus.
    depth : (B, 1, H, W) float, metres
        Holes (not finite, not above 0) are blurred as what is 1000 m away, without gradient.
    focus_distances : (B, N) metres
    blur_scale : (B,) pixel metres
        `Lens.blur_scale_px_m`: f^2 / (N * pixel pitch); 0 for f-number infinity, where each
        slice is the image.
    focal_length : (B,) or float, metres
        0 takes it as much shorter than the focus distances (equation 2).
    psf : 'gaussian' or 'disc'

    Returns
    -------
    (B, N, 3, H, W), as `image`

    Raises
    ------
    OpticsError
        Shapes do not match, a focus distance is not beyond the focal length, a blur scale is
        negative or not finite, or `psf` is unknown.
    """
    check_shape(psf)
    _check(image, depth, focus_distances, blur_scale, focal_length)
    radius = signed_radius_px(fill_holes(depth)[0], focus_distances, blur_scale, focal_length)
    return _spread(image, radius, psf)


def _check(image: Tensor, depth: Tensor, focus_distances: Tensor, blur_scale: Tensor,
           focal_length: Tensor | float) -> None:
    batch, _, height, width = image.shape
    if (depth.shape != (batch, 1, height, width) or len(focus_distances) != batch
            or focus_distances.ndim != 2 or blur_scale.shape != (batch,)):
        raise OpticsError(
            f'image {tuple(image.shape)}, depth {tuple(depth.shape)}, focus distances '
            f'{tuple(focus_distances.shape)} and blur scale {tuple(blur_scale.shape)}; they must '
            'be (B, 3, H, W), (B, 1, H, W), (B, N) and (B,)')
    # one check, as each waits for the device
    inside = focus_distances <= torch.as_tensor(focal_length).reshape(-1, 1).to(focus_distances)
    if (inside.any() | focus_distances.isnan().any() | ~(blur_scale >= 0).all()
            | blur_scale.isinf().any()):
        raise OpticsError('a focus distance is not beyond the focal length, or a blur scale not '
                          'finite and at least 0')


def signed_radius_px(depth: Tensor, focus_distances: Tensor, blur_scale: Tensor,
                     focal_length: Tensor | float = 0.0) -> Tensor:
    """Blur radius (B, N, H, W) of each pixel, positive behind the focus."""
    nearness = 1.0 / focus_distances[..., None, None]
    focal_length = torch.as_tensor(focal_length, device=depth.device).reshape(-1, 1, 1, 1)
    scale = 0.5 * blur_scale.reshape(-1, 1, 1, 1) / (1.0 - focal_length * nearness)
    limit = 0.5 * min(depth.shape[-2:])
    return (scale * (nearness - 1.0 / depth)).clamp(-limit, limit)


def _spread(image: Tensor, radius: Tensor, psf: str) -> Tensor:
    squared = radius.square()
    radii = level_radii(psf, float(squared.detach().amax().sqrt()))
    image = image[:, None]
    if len(radii) == 1:
        return image.expand(-1, radius.shape[1], -1, -1, -1)
    height, width = radius.shape[-2:]
    border = reach_px(psf, radii[-1])
    size = [fft_size(length + 2 * border) for length in (height, width)]
    rows, columns = (_mirror(length, border, whole).to(image.device)
                     for length, whole in zip((height, width), size))
    planes = torch.cat((image, torch.ones_like(image[:, :, :1])), dim=2)    # (B, 1, 4, H, W)
    planes = planes[..., rows, :][..., columns]
    squared = squared[:, :, None][..., rows, :][..., columns]               # (B, N, 1, h, w)
    total = 0
    for r, (a, b, c, d) in zip(radii, level_slopes(radii)):
        share = torch.minimum(a * squared + b, c * squared + d).clamp(min=0)
        factor = torch.from_numpy(transfer(psf, float(r), *size)).to(image)
        total = total + torch.fft.rfft2(planes * share) * factor
    spread = torch.fft.irfft2(total, s=size)[..., border:border + height, border:border + width]
    return spread[:, :, :3] / spread[:, :, 3:].clamp(min=LEAST_LIGHT)


def _mirror(length: int, border: int, whole: int) -> Tensor:
    """Which row of a picture each row of the one with mirrored borders shows."""
    at = np.arange(-border, whole - border)
    period = max(2 * (length - 1), 1)
    return torch.from_numpy((length - 1) - np.abs(at % period - (length - 1)))
