"""The picture sheet of pre-training: what the encoder saw, what was painted, the original."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from training.contract import MEAN, STD
from training.models.spark import repaint
from training.models.sparse import spread

LINES = 6
HIDDEN_GREY = 0.5


def draw_sheet(image: Tensor, painted: Tensor, cells: Tensor, cell_px: int) -> np.ndarray:
    """Draw a line for each of the first pictures: seen, painted, original; (H, W, 3) uint8 RGB."""
    image, painted, cells = (x[:LINES].cpu() for x in (image, painted, cells))
    visible = spread(cells, *image.shape[-2:])[:, None]
    original, restored = _to_rgb(image), _to_rgb(repaint(painted, image, cells, cell_px))
    seen = torch.where(visible, original, HIDDEN_GREY)
    lines = torch.cat([seen, restored, original], dim=-1)  # (B, 3, H, 3 W)
    pixels = (lines.permute(0, 2, 3, 1) * 255).round().to(torch.uint8)
    return pixels.reshape(-1, *pixels.shape[2:]).numpy()


def _to_rgb(image: Tensor) -> Tensor:
    mean, std = (image.new_tensor(x).view(1, 3, 1, 1) for x in (MEAN, STD))
    return (image * std + mean).clamp(0, 1)


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), np.ascontiguousarray(picture[..., ::-1])):
        raise OSError(f'cannot write {path}')
