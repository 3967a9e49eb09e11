"""Which image sizes a network takes: the rule is checked where the image comes in."""

from __future__ import annotations

import torch
from torch import Tensor


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


def _is_exporting() -> bool:
    # The exported graph carries the rule in its contract instead.
    return torch.compiler.is_exporting() or torch.jit.is_tracing()
