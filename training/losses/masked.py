"""Means over the pixels whose depth is known; holes have neither value nor gradient."""

from __future__ import annotations

import torch
from torch import Tensor

PIXELS = (-3, -2, -1)  # channel, row, column


def known(depth: Tensor) -> Tensor:
    """Bool mask of the pixels whose depth in metres is finite and positive."""
    return torch.isfinite(depth) & (depth > 0)


def kept(values: Tensor, mask: Tensor) -> Tensor:
    """`values` where `mask`, else 0, whatever lies there."""
    # where, not a product: a NaN behind the mask would survive multiplication by 0.
    return torch.where(mask, values, torch.zeros_like(values))


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` where `mask`; 0 with zero gradient where nothing is valid."""
    return kept(values, mask).sum() / mask.sum().clamp(min=1)


def image_means(values: Tensor, mask: Tensor) -> Tensor:
    """Masked mean of each image, (B, C, H, W) to (B, 1, 1, 1); 0 for an image of holes."""
    count = mask.sum(dim=PIXELS, keepdim=True).clamp(min=1)
    return kept(values, mask).sum(dim=PIXELS, keepdim=True) / count


def mean_of_images(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` (B, 1, 1, 1) over the images that `mask` (B, C, H, W) leaves a pixel."""
    return masked_mean(values, mask.any(dim=-1).any(dim=-1).any(dim=-1).view(-1, 1, 1, 1))
