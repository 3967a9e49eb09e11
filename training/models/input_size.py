"""Which image sizes a network takes: the rule is checked, or made to hold, where it comes in."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def check_multiple(image: Tensor, multiple: int) -> None:
    """Refuse a (B, C, H, W) image whose height or width is no multiple of `multiple`.

    Raises
    ------
    ValueError
    """
    if _is_exporting():
        return
    height, width = image.shape[-2:]
    if height % multiple or width % multiple:
        raise ValueError(
            f'image is {height}x{width}; height and width must be multiples of {multiple}: '
            f'resize or pad it first'
        )


def check_exact(image: Tensor, size: tuple[int, int]) -> None:
    """Refuse a (B, C, H, W) image that is not exactly `size` = (height, width).

    Raises
    ------
    ValueError
    """
    if _is_exporting():
        return
    height, width = image.shape[-2:]
    if (height, width) != size:
        raise ValueError(
            f'image is {height}x{width}; fully connected layers fix it to {size[0]}x{size[1]}: '
            f'resize it first'
        )


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Repeat the right and the bottom edge of (B, C, H, W) up to multiples of `multiple`."""
    if _is_exporting():
        return image
    height, width = image.shape[-2:]
    return functional.pad(image, (0, -width % multiple, 0, -height % multiple), mode='replicate')


def crop(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Undo :func:`pad_to_multiple` on a (B, C, H, W) map of the padded image's size."""
    return x if _is_exporting() else x[..., :size[0], :size[1]]


def _is_exporting() -> bool:
    # The exported graph carries the rule in its contract instead.
    return torch.compiler.is_exporting() or torch.jit.is_tracing()
