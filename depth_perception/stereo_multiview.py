"""Pictures of 2 to 16 views: a grid for light-field players, stripes for lenticular screens."""

from __future__ import annotations

from collections.abc import Sequence
import functools
import math
from typing import NamedTuple

import numpy as np

from depth_perception.stereo_disparity import StereoError

MAX_VIEWS = 16


class Grid(NamedTuple):
    """How views lie in one picture, and what a screen must know to show them.

    Attributes
    ----------
    columns, rows : of the grid; places without a view are black
    count : number of views, the first one the leftmost
    view_width, view_height : pixels of each
    first : where the first view lies: 'bottom_left', going up (quilt), or 'top_left' (tile)
    """

    columns: int
    rows: int
    count: int
    view_width: int
    view_height: int
    first: str

    def metadata(self) -> dict[str, object]:
        """All of it for JSON, with the aspect ratio that quilt players ask for."""
        return {**self._asdict(), 'aspect': self.view_width / self.view_height}

    def place(self, index: int) -> tuple[slice, slice]:
        """Rows and columns of the picture that a view takes."""
        row, column = divmod(index, self.columns)
        if self.first == 'bottom_left':
            row = self.rows - 1 - row
        top, left = row * self.view_height, column * self.view_width
        return slice(top, top + self.view_height), slice(left, left + self.view_width)


def grid_for(count: int, width: int, height: int, layout: str = 'quilt') -> Grid:
    """The grid of a number of views: close to square, with few empty places.

    Parameters
    ----------
    count : 2 to MAX_VIEWS
    width, height : pixels of a view
    layout : 'quilt' begins at the bottom left and goes up, 'tile' at the top left and goes down

    Raises
    ------
    StereoError
        If the number or the layout does not exist.
    """
    if not 2 <= count <= MAX_VIEWS:
        raise StereoError(f'the number of views is {count}; it must be 2 to {MAX_VIEWS}')
    if layout not in ('quilt', 'tile'):
        raise StereoError(f'layout is {layout!r}; it must be quilt or tile')
    side = math.ceil(math.sqrt(count))
    columns = min((side, side + 1), key=lambda n: -(-count // n) * n - count)
    first = 'bottom_left' if layout == 'quilt' else 'top_left'
    return Grid(columns, -(-count // columns), count, width, height, first)


def arranged(views: Sequence[np.ndarray], grid: Grid, out: np.ndarray | None = None) -> np.ndarray:
    """All views in one picture.

    Parameters
    ----------
    views : grid.count arrays (view_height, view_width, 3) uint8, leftmost first
    out : (rows * view_height, columns * view_width, 3) uint8, optional

    Returns
    -------
    The shape of `out`.
    """
    shape = (grid.rows * grid.view_height, grid.columns * grid.view_width, 3)
    out = np.empty(shape, np.uint8) if out is None else out
    for index in range(grid.columns * grid.rows):
        out[grid.place(index)] = views[index] if index < grid.count else 0
    return out


def lenticular(views: Sequence[np.ndarray], pitch_px: float, slope: float = 0.0,
               centre: float = 0.0, out: np.ndarray | None = None) -> np.ndarray:
    """Interlace views for a lens sheet in front of a screen with stripes R G B.

    A subpixel whose centre lies at x (pixels, red a third to the left of green) in row y is
    ``p = frac((x + slope * y) / pitch_px + centre)`` of a lens from its left edge. The lens sends
    what lies to its left to the right: ``p`` from 0 to 1 shows the views from the last to the
    first.

    Parameters
    ----------
    views : N arrays (H, W, 3) uint8, RGB, leftmost first
    pitch_px : width of a lens along a row, pixels; need not be whole
    slope : pixels by which the lenses lie further left in each row down
    centre : place of the top left pixel's centre in its lens, 0..1
    out : (H, W, 3) uint8, optional

    Returns
    -------
    (H, W, 3) uint8

    Raises
    ------
    StereoError
        If the pitch is not above zero, or a value is not finite.
    """
    if not (pitch_px > 0 and math.isfinite(pitch_px + slope + centre)):
        raise StereoError(f'pitch is {pitch_px:g} px, slope {slope:g}, centre {centre:g}; '
                          'they must be finite, and the pitch above 0')
    shape = views[0].shape
    which = _lens_views(len(views), *shape[:2], pitch_px, slope, centre)
    out = np.empty(shape, np.uint8) if out is None else out
    for index, view in enumerate(views):
        np.copyto(out, view, where=which == index)
    return out


@functools.lru_cache(maxsize=2)
def _lens_views(count: int, height: int, width: int, pitch_px: float, slope: float,
                centre: float) -> np.ndarray:
    """Which view each subpixel shows, (H, W, 3) uint8."""
    rows, columns, channels = np.ogrid[:height, :width, :3]
    x = columns + (channels - 1) / 3.0
    # a whole multiple of the pitch must not fall to the lens before by rounding
    place = np.mod((x + slope * rows) / pitch_px + centre + 1e-9, 1.0)
    return (count - 1 - np.floor(place * count)).clip(0, count - 1).astype(np.uint8)
