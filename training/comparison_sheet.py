"""Picture sheet of a comparison: input, truth, and a column for each cell of the first seed."""

from __future__ import annotations

import cv2
import numpy as np
from torch.utils.data import Dataset

from depth_perception.colorize import colorize
from training.comparison_runs import SHEET_PICTURES, Setup, config_of, prediction_file
from training.data_module import thinned
from training.registry import build_data
from training.sheet import FAR_M, JPEG_QUALITY, NEAR_M, WIDTH_PX

HEAD_PX = 28
FONT, FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.45


def write_sheet(setup: Setup) -> None:
    """Write OUTPUT/sheet.jpg, or FILES_sheet.jpg where the report's files have another name.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    config = config_of(setup, setup.cells[0], setup.base.seed)
    val_set = build_data(config, config.phases[-1], 'val')
    pictures = thinned(thinned(val_set, config.data.validation_images), SHEET_PICTURES)
    columns = {cell.label: np.load(prediction_file(setup, cell)) for cell in setup.cells}
    files = setup.comparison.files
    path = setup.output / ('sheet.jpg' if files == 'results' else f'{files}_sheet.jpg')
    sheet = draw_sheet(pictures, columns)
    if not cv2.imwrite(str(path), sheet, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
        raise OSError(f'cannot write {path}')


def draw_sheet(pictures: Dataset, columns: dict[str, np.ndarray]) -> np.ndarray:
    """Draw the sheet, (H, W, 3) uint8 BGR, near depths warm.

    Parameters
    ----------
    pictures : Dataset
        Items with image and depth.
    columns : dict of array
        Heading -> metres (N, h, w) of the pictures.
    """
    lines = [np.hstack([_heading(x) for x in ('input', 'truth', *columns)])]
    for i in range(len(pictures)):
        item = pictures[i]
        image = item['image'].numpy().transpose(1, 2, 0)[..., ::-1]
        depths = [item['depth'].numpy(), *(depth[i] for depth in columns.values())]
        lines.append(np.hstack([_small(image), *map(_coloured, depths)]))
    return np.vstack(lines)


def _heading(text: str) -> np.ndarray:
    strip = np.full((HEAD_PX, WIDTH_PX, 3), 255, np.uint8)
    return cv2.putText(strip, text, (4, HEAD_PX - 9), FONT, FONT_SCALE, (0, 0, 0), 1, cv2.LINE_AA)


def _size(picture: np.ndarray) -> tuple[int, int]:
    return WIDTH_PX, round(WIDTH_PX * picture.shape[0] / picture.shape[1])


def _small(image: np.ndarray) -> np.ndarray:
    return cv2.resize(np.ascontiguousarray(image), _size(image), interpolation=cv2.INTER_AREA)


def _coloured(depth: np.ndarray) -> np.ndarray:
    small = cv2.resize(depth, _size(depth), interpolation=cv2.INTER_NEAREST)
    return colorize(small.astype(np.float32), NEAR_M, FAR_M)
