"""Things put down on a surface and on each other: each comes to rest at the lowest free height."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .scene_mesh import Mesh, bounds
from .scene_shapes import placed

CELL = 0.005           # metres of the grid of heights
_POINTS_PER_CELL = 6   # samples of a surface: few cells under it are missed
_MAX_POINTS = 8000


class Footprint(NamedTuple):
    """Grid cells that a thing covers, relative to its origin, and its heights there, metres."""

    rows: np.ndarray
    columns: np.ndarray
    bottom: np.ndarray
    top: np.ndarray


def footprint(rng, meshes) -> Footprint:
    """What lies over which cell of a grid, from points all over the meshes' surface."""
    points = np.concatenate([_surface_points(rng, mesh.vertices[mesh.triangles])
                             for mesh in meshes if len(mesh.triangles)])
    cells = np.rint(points[:, :2] / CELL).astype(np.int64)
    low = cells.min(axis=0)
    shape = cells.max(axis=0) - low + 1
    flat = (cells[:, 1] - low[1]) * shape[0] + cells[:, 0] - low[0]
    order = np.argsort(flat, kind='stable')
    used, first = np.unique(flat[order], return_index=True)
    height = points[order, 2]
    return Footprint(used // shape[0] + low[1], used % shape[0] + low[0],
                     np.minimum.reduceat(height, first), np.maximum.reduceat(height, first))


def _surface_points(rng, corners) -> np.ndarray:
    """Corners, and points by chance, more on larger triangles: (N, 3)."""
    a, b, c = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.linalg.norm(np.cross(b, c), axis=1) / 2
    count = int(min(area.sum() / CELL ** 2 * _POINTS_PER_CELL, _MAX_POINTS))
    if count < 1:
        return corners.reshape(-1, 3)
    chosen = np.searchsorted(np.cumsum(area), rng.random(count) * area.sum())
    chosen = np.minimum(chosen, len(area) - 1)
    s, t = rng.random((2, count, 1))
    s, t = np.where(s + t > 1, 1 - s, s), np.where(s + t > 1, 1 - t, t)
    return np.concatenate([corners.reshape(-1, 3), a[chosen] + s * b[chosen] + t * c[chosen]])


class Heap:
    """A rectangle low..high at a height, metres, and what was put down on it.

    Attributes
    ----------
    meshes : all that was put down.
    boxes : low and high corner of each thing.
    """

    def __init__(self, rng, low, high, height: float):
        self.rng, self.base = rng, float(height)
        self._low = np.asarray(low, float)
        size = np.maximum(np.floor((np.asarray(high, float) - self._low) / CELL), 1).astype(int)
        self._heights = np.full((size[1], size[0]), self.base)
        self.meshes: list[Mesh] = []
        self.boxes: list[tuple[np.ndarray, np.ndarray]] = []

    def put(self, meshes, *, on_top: bool = False, leaning: bool = False, below: float = np.inf,
            tries: int = 10, at=None, spread: float = 0.1) -> bool:
        """Put a thing down where it fits, at the lowest of some places by chance.

        meshes : the thing, its origin near its middle.
        on_top : it may rest on others; else on the surface alone.
        leaning : on others it may rest by one end, as in a heap; else on both sides of its middle.
        below : height in metres that it must not pass.
        at, spread : (2,) metres that the places are near to, and how far off; anywhere if None.
        """
        cover = footprint(self.rng, meshes)
        places = [self._place(cover, at, spread) for _ in range(tries)]
        heights = [self._rest(cover, *place) for place in places if place is not None]
        places = [place for place in places if place is not None]
        if not places:
            return False
        best = int(np.argmin(heights))
        limit = np.inf if on_top else self.base - float(cover.bottom.min()) + 1e-6
        if heights[best] > limit or heights[best] + cover.top.max() > below:
            return False
        if not leaning and not self._steady(cover, places[best], heights[best]):
            return False
        self._take(meshes, cover, places[best], heights[best])
        return True

    def _place(self, cover: Footprint, at, spread: float) -> tuple[int, int] | None:
        """A cell (row, column) for the origin so that all of the thing lies on the grid."""
        place = []
        for axis, cells in enumerate((cover.rows, cover.columns)):
            first, last = -int(cells.min()), self._heights.shape[axis] - 1 - int(cells.max())
            if last < first:
                return None
            if at is None:
                place.append(int(self.rng.integers(first, last + 1)))
            else:
                near = at[1 - axis] - self._low[1 - axis] + spread * self.rng.standard_normal()
                place.append(int(np.clip(np.rint(near / CELL), first, last)))
        return place[0], place[1]

    def _rest(self, cover: Footprint, row: int, column: int) -> float:
        under = self._heights[cover.rows + row, cover.columns + column]
        return float(np.max(under - cover.bottom))

    def _steady(self, cover: Footprint, place, height: float) -> bool:
        """Whether what it rests on lies on both sides of its origin, along both axes."""
        under = self._heights[cover.rows + place[0], cover.columns + place[1]]
        touching = height + cover.bottom - under < CELL
        return all(cells[touching].min() <= 0 <= cells[touching].max()
                   for cells in (cover.rows, cover.columns))

    def _take(self, meshes, cover: Footprint, place, height: float) -> None:
        row, column = place
        at = cover.rows + row, cover.columns + column
        self._heights[at] = np.maximum(self._heights[at], cover.top + height)
        x, y = self._low + np.array([column, row]) * CELL
        moved = placed(meshes, x, y, height)
        self.meshes += moved
        self.boxes.append(bounds(moved))
