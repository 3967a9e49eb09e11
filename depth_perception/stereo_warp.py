"""The forward warp behind stereo.py in NumPy and OpenCV; stereo_kernel.py is the same in Numba.

A source pixel at column x is seen by the eye to the right at ``x - d``. Positions are counted in
1/UNIT pixel. Neighbours whose shifts differ by at most one pixel belong to one surface: the
source draws the targets from itself up to its neighbour and each target looks up the image at a
fraction of a pixel. Other neighbours are an edge, and each source draws half a pixel towards it.
The two sources behind an edge that opens are not drawn: cameras mix both surfaces there, and
the mixture left standing alone is the ghost outline that warped views are known for.

Of two sources that land on one target the one with the larger x has the larger d, so it is the
nearer one: drawing columns in increasing order is an exact z-buffer without sorting. For the
same reason the smallest source position to the right of a hole is the surface behind it.
"""

from __future__ import annotations

import cv2
import numpy as np

UNIT = 32               # the step of cv2.remap's own tables, so that it interpolates exactly
BITS = 5
HALF = UNIT // 2


class NumpyWarper:
    """Draws the view to the right of an image; buffers are made once per size."""

    name = 'numpy'

    def __init__(self, width: int, height: int) -> None:
        self._width = width
        self._at = np.arange(width, dtype=np.float32) * UNIT
        self._row_start = np.arange(height, dtype=np.int64)[:, None] * width
        # one element more: where the sources go that leave the picture
        self._flat = np.empty(height * width + 1, np.int32)
        self._source = self._flat[:-1].reshape(height, width)
        self._map = np.empty((height, width, 2), np.int16)
        self._map[..., 1] = np.arange(height)[:, None]
        self._fraction = np.empty((height, width), np.uint16)

    def warp(self, image: np.ndarray, shift: np.ndarray, out: np.ndarray,
             holes: np.ndarray) -> None:
        """Draw one view.

        Parameters
        ----------
        image : (H, W, 3) uint8
        shift : (H, W) int32, 1/UNIT pixel
        out : (H, W, 3) uint8, written
        holes : (H, W) bool, written
        """
        self._draw_sources(shift.astype(np.float32))
        source = self._source
        np.equal(source, UNIT * self._width, out=holes)
        # reversed in memory, too: accumulating along a negative stride is several times slower
        behind = cv2.flip(source, 1)
        np.minimum(behind, UNIT * (self._width - 1), out=behind)
        np.minimum.accumulate(behind, axis=1, out=behind)
        np.copyto(source, cv2.flip(behind, 1), where=holes)
        np.right_shift(source, BITS, out=self._map[..., 0], casting='unsafe')
        np.bitwise_and(source, UNIT - 1, out=self._fraction, casting='unsafe')
        cv2.remap(image, self._map, self._fraction, cv2.INTER_LINEAR, dst=out,
                  borderMode=cv2.BORDER_REPLICATE)

    def _draw_sources(self, near: np.ndarray) -> None:
        """For each target the source position; UNIT * width where there is none."""
        step = np.full((near.shape[0], self._width + 1), np.inf, np.float32)
        np.subtract(near[:, 1:], near[:, :-1], out=step[:, 1:-1])
        joined = np.abs(step) <= UNIT
        opens = step < -UNIT
        mixed = opens[:, :-1].copy()
        mixed[:, 1:] |= opens[:, :-2] & (step[:, 1:-1] <= UNIT)
        length = np.where(joined[:, 1:], UNIT - step[:, 1:], np.float32(HALF))
        here = self._at - near
        first = np.ceil((here - np.float32(HALF) * ~joined[:, :-1]) * np.float32(1 / UNIT))
        offset = first * np.float32(UNIT) - here
        length[mixed] = -np.inf
        self._flat[:] = UNIT * self._width
        self._write_first(first, offset, length, joined[:, 1:])
        self._write_rest(first, offset, length, joined[:, 1:])

    def _write_first(self, first: np.ndarray, offset: np.ndarray, length: np.ndarray,
                     joined: np.ndarray) -> None:
        drawn = (offset < length) & (first >= 0) & (first < self._width)
        index = np.where(drawn, first.astype(np.int64) + self._row_start, self._source.size)
        # repeated indices: NumPy keeps the last, which is the nearest
        self._flat[index] = self._at + _part(offset, length, joined)

    def _write_rest(self, first: np.ndarray, offset: np.ndarray, length: np.ndarray,
                    joined: np.ndarray) -> None:
        """Second and third targets of stretched sources: few, so by their indices."""
        rows, columns = np.nonzero(length - offset > UNIT)
        first, offset, length, joined = (a[rows, columns]
                                         for a in (first, offset, length, joined))
        for nth in (1, 2):
            target = first + nth
            here = offset + nth * UNIT
            drawn = (here < length) & (target >= 0) & (target < self._width)
            index = rows[drawn] * self._width + target[drawn].astype(np.int64)
            position = (self._at[columns] + _part(here, length, joined))[drawn]
            current = self._flat[index]
            nearer = (position > current) | (current == UNIT * self._width)
            self._flat[index[nearer]] = position[nearer]

    @staticmethod
    def fill_invalid(shift: np.ndarray, valid: np.ndarray) -> None:
        """Give invalid pixels the smaller (farther) shift of their valid neighbours in the row.

        Parameters
        ----------
        shift : (H, W) int32, changed in place
            A row without a valid pixel becomes 0.
        valid : (H, W) bool
        """
        none = np.iinfo(np.int32).max
        rows = np.flatnonzero(~valid.all(axis=1))
        known, values = valid[rows], shift[rows]
        before = _last_known(values, known, none)
        after = _last_known(values[:, ::-1], known[:, ::-1], none)[:, ::-1]
        farther = np.minimum(before, after)
        farther[farther == none] = 0
        shift[rows] = np.where(known, values, farther)


def _part(offset: np.ndarray, length: np.ndarray, joined: np.ndarray) -> np.ndarray:
    """How far into its segment, in 1/UNIT of the way to the next source pixel."""
    along = np.floor(np.maximum(offset, 0) * np.float32(UNIT) / np.maximum(length, 1))
    return np.where(joined, along, np.float32(0))


def _last_known(values: np.ndarray, known: np.ndarray, none: int) -> np.ndarray:
    """The value at the last known column up to each column; `none` before the first."""
    columns = np.where(known, np.arange(values.shape[1]), -1)
    columns = np.maximum.accumulate(columns, axis=1)
    found = np.take_along_axis(values, np.maximum(columns, 0), axis=1)
    return np.where(columns < 0, none, found)
