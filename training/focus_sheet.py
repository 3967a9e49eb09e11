"""Picture sheets of focus stacks: slices, truth, both models' depth and what they miss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import logging
from pathlib import Path

import cv2
import numpy as np

from depth_perception.colorize import colorize
from depth_perception.focus_estimator import FocusStackEstimator
from depth_perception.geometry import Intrinsics
from depth_perception.optics import focus_distances
from training.data.picture_files import IMAGE_SUFFIXES, read_image
from training.data.root import UnreadableFile, data_root
from training.sheet import FAR_M, JPEG_QUALITY, NEAR_M, error_picture

log = logging.getLogger(__name__)

WIDTH_PX = 150
HEAD_PX = 22
FONT, FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.4
REAL_STACKS = 'focus_stacks'
# Their distances are not known: equal steps of blur are assumed, over the range of training.
ASSUMED_DIOPTRE, ASSUMED_HFOV_DEG = (0.15, 1.5), 60.0
LONGEST_PX = 480


class FocusSheet:
    """Collects scenes and keeps `count` of them, spread evenly over all that came."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._lines: list[np.ndarray] = []
        self._frames = 0

    def add(self, images: np.ndarray, truth: np.ndarray, stack: np.ndarray,
            single: np.ndarray) -> None:
        """Draw one line: images (N, H, W, 3) uint8 RGB; depths (H, W) metres, NaN unknown."""
        self._frames = len(images)
        size = _size(truth)
        depths = [cv2.resize(x.astype(np.float32), size, interpolation=cv2.INTER_NEAREST)
                  for x in (truth, stack, single)]
        panels = [_picture(image, size) for image in images]
        panels += [colorize(x, NEAR_M, FAR_M) for x in depths]
        panels += [error_picture(x, depths[0]) for x in depths[1:]]
        self._lines.append(np.hstack(panels))

    def write(self, path: Path) -> None:
        """Write the sheet as JPEG; nothing came, nothing is written.

        Raises
        ------
        OSError
            The file cannot be written.
        """
        step = max(1, len(self._lines) / self._count)
        kept = [self._lines[int(i * step)] for i in range(min(self._count, len(self._lines)))]
        if kept:
            heads = [*(f'slice {i + 1}' for i in range(self._frames)), 'truth', 'stack',
                     'single image', 'error of stack', 'error of single']
            write(path, [np.hstack([heading(text) for text in heads]), *kept])


def heading(text: str, width: int = WIDTH_PX) -> np.ndarray:
    """Draw a white strip with a text, BGR."""
    strip = np.full((HEAD_PX, width, 3), 255, np.uint8)
    return cv2.putText(strip, text, (4, HEAD_PX - 7), FONT, FONT_SCALE, (0, 0, 0), 1, cv2.LINE_AA)


def write(path: Path, lines: Sequence[np.ndarray]) -> None:
    """Write lines of one width below each other; OSError where the file cannot be written."""
    if not cv2.imwrite(str(path), np.vstack(lines), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
        raise OSError(f'cannot write {path}')


def _size(picture: np.ndarray) -> tuple[int, int]:
    return WIDTH_PX, round(WIDTH_PX * picture.shape[0] / picture.shape[1])


def _picture(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(np.ascontiguousarray(image[..., ::-1]), size, interpolation=cv2.INTER_AREA)


def real_stacks(frames: int) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Give the stacks of the data set focus_stacks: name, and `frames` of their images in order.

    Without DATA_ROOT, or without that data set in it, there are none.
    """
    root = data_root()
    if root is None or not (root / REAL_STACKS).is_dir():
        log.warning('no sheet of real stacks: %s is not under DATA_ROOT', REAL_STACKS)
        return
    for folder in sorted(x for x in (root / REAL_STACKS).rglob('*') if x.is_dir()):
        files = [x for x in folder.iterdir() if x.suffix.lower() in IMAGE_SUFFIXES
                 and any(c.isdigit() for c in x.stem)]
        if len(files) < frames:
            continue
        files.sort(key=lambda x: int(''.join(c for c in x.stem if c.isdigit())))
        kept = [files[round(i)] for i in np.linspace(0, len(files) - 1, frames)]
        try:
            yield str(folder.relative_to(root / REAL_STACKS)), [_shrunk(x) for x in kept]
        except UnreadableFile as error:
            log.warning('left out: %s', error)


def _shrunk(path: Path) -> np.ndarray:
    image = read_image(path)
    scale = min(1.0, LONGEST_PX / max(image.shape[:2]))
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def draw_real_stacks(estimator: FocusStackEstimator, path: Path) -> None:
    """Write a sheet of real stacks: slices, and depth in both orders of the slices.

    Nothing says where they are focused, nor which end is near: depth is drawn between its own
    2nd and 98th percentile, near warm, and means an order, not metres.
    """
    frames = estimator.spec.frames
    focus_m, lines = focus_distances(frames, *ASSUMED_DIOPTRE), []
    for name, images in real_stacks(frames):
        height, width = images[0].shape[:2]
        camera = Intrinsics.from_hfov(width, height, ASSUMED_HFOV_DEG)
        size = _size(images[0])
        panels = [_picture(image, size) for image in images]
        for distances in (focus_m, focus_m[::-1]):
            depth = estimator(images, distances, camera).depth
            near, far = np.nanpercentile(depth, (2, 98))
            small = cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST)
            panels.append(colorize(small, float(near), float(max(far, near * 1.01))))
        line = np.hstack(panels)
        lines += [heading(f'{name}: {frames} slices, depth if the first is focused nearest, and '
                          'farthest', line.shape[1]), line]
    if lines:
        write(path, lines)
