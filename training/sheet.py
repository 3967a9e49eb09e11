"""Picture sheets for eyes: input, truth, prediction and error of some pictures, one a line."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from depth_perception.colorize import colorize

WIDTH_PX = 240
NEAR_M, FAR_M = 0.3, 10.0
ERROR_FULL_SCALE = 1.0  # relative error, of either sign, that gets the strongest colour
JPEG_QUALITY = 85


class Sheet:
    """Collects pictures and keeps `count` of them, spread evenly over all that came.

    Parameters
    ----------
    count : int
        Lines of the sheet.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._lines: list[np.ndarray] = []

    def add(self, image: np.ndarray, truth: np.ndarray, depth: np.ndarray) -> None:
        """Draw one line: image (H, W, 3) uint8 RGB, truth and depth (H, W) metres, NaN unknown."""
        size = (WIDTH_PX, round(WIDTH_PX * image.shape[0] / image.shape[1]))
        panels = [
            cv2.resize(np.ascontiguousarray(image[..., ::-1]), size, interpolation=cv2.INTER_AREA)
        ]
        small = [cv2.resize(x, size, interpolation=cv2.INTER_NEAREST) for x in (truth, depth)]
        panels += [colorize(x.astype(np.float32), NEAR_M, FAR_M) for x in small]
        panels.append(error_picture(small[1], small[0]))
        self._lines.append(np.hstack(panels))

    def write(self, path: Path) -> None:
        """Write the sheet as JPEG.

        Raises
        ------
        OSError
            The file cannot be written.
        """
        step = max(1, len(self._lines) / self._count)
        kept = [self._lines[int(i * step)] for i in range(min(self._count, len(self._lines)))]
        if not kept:
            return
        if not cv2.imwrite(str(path), np.vstack(kept), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
            raise OSError(f'cannot write {path}')


def error_picture(depth: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Colour log(depth / truth): red too far, blue too near, white right, black unknown (BGR)."""
    known = np.isfinite(depth) & np.isfinite(truth) & (truth > 0) & (depth > 0)
    ratio = np.log(np.where(known, depth, 1) / np.where(known, truth, 1))
    strength = np.clip(np.abs(ratio) / np.log1p(ERROR_FULL_SCALE), 0, 1)
    faded = (255 * (1 - strength)).astype(np.uint8)
    full = np.full_like(faded, 255)
    far, near = (faded, faded, full), (full, faded, faded)
    picture = np.where((ratio > 0)[..., None], np.dstack(far), np.dstack(near))
    return np.where(known[..., None], picture, 0).astype(np.uint8)
