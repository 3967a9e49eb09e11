"""The forward warp behind stereo.py in NumPy and OpenCV; stereo_kernel.py is the same in Numba.

A source pixel at column x is seen by the eye to the right at ``x - d``. Positions are counted in
1/UNIT pixel. Neighbours whose shifts differ by at most one pixel belong to one surface: the
source draws the targets from itself up to its neighbour and each target looks up the image at a
fraction of a pixel. Other neighbours are an edge, and each source draws half a pixel towards it.
Depth that comes from a network or was resized climbs edges over several pixels, which would
spray them over the hole: sources on such a ramp go to the closer of its ends first.
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
BLOCK_PIXELS = 40_000   # arrays this small stay in the cache


class NumpyWarper:
    """Draws the view to the right of an image; buffers are made once per size.

    Attributes
    ----------
    source : (H, W + 1) int32, 1/UNIT pixel
        The column of the image that each pixel of the last view shows, holes filled; the last
        column means nothing.
    """

    name = 'numpy'

    def __init__(self, width: int, height: int) -> None:
        self._width = width
        self._at = np.arange(width, dtype=np.float32) * UNIT
        # float32 counts a block's pixels exactly
        self._row_start = np.arange(height, dtype=np.float32)[:, None] * (width + 1)
        self._map = np.empty((height, width, 2), np.int16)
        self._map[..., 1] = np.arange(height)[:, None]
        self._fraction = np.empty((height, width), np.uint16)
        self.source = np.empty((height, width + 1), np.int32)

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
        rows = max(1, BLOCK_PIXELS // self._width)
        for start in range(0, len(shift), rows):
            self._warp_rows(shift[start:start + rows], holes[start:start + rows], start)
        cv2.remap(image, self._map, self._fraction, cv2.INTER_LINEAR, dst=out,
                  borderMode=cv2.BORDER_REPLICATE)

    def _warp_rows(self, shift: np.ndarray, holes: np.ndarray, start: int) -> None:
        """Where each target of these rows looks up the image, into the maps of cv2.remap."""
        rows = slice(start, start + len(shift))
        source = self._draw_sources(shift.astype(np.float32))
        self._fill_holes(source, holes)
        self.source[rows] = source
        np.right_shift(source[:, :-1], BITS, out=self._map[rows, :, 0], casting='unsafe')
        np.bitwise_and(source[:, :-1], UNIT - 1, out=self._fraction[rows], casting='unsafe')

    def _fill_holes(self, source: np.ndarray, holes: np.ndarray) -> None:
        """Give each hole the smallest source to its right, by whole runs of holes."""
        width = self._width + 1
        # the column beyond the last one ends every run: the border is filled with the last pixel
        source[:, -1] = UNIT * (self._width - 1)
        empty = source == UNIT * self._width
        np.copyto(holes, empty[:, :-1])
        flat, empty = source.reshape(-1), empty.reshape(-1)
        bounds = np.flatnonzero(empty[1:] != empty[:-1]) + 1
        if empty[0]:
            bounds = np.concatenate(([0], bounds))
        starts, ends = bounds[::2], bounds[1::2]
        cuts = np.union1d(ends, np.arange(0, flat.size, width))
        # rows further down are larger by this: seen from below, no row looks into the next
        offset = cuts // width * np.int64(UNIT * width)
        smallest = np.minimum.reduceat(flat, cuts) + offset
        smallest = np.minimum.accumulate(smallest[::-1])[::-1] - offset
        flat[empty] = np.repeat(smallest[np.searchsorted(cuts, ends)], ends - starts)

    def _draw_sources(self, near: np.ndarray) -> np.ndarray:
        """For each target the source position; UNIT * width where there is none.

        What holds inside a surface is computed for every source; edges are few, and put right
        afterwards by their indices. The result has one column more than the picture.
        """
        step, ends = _steps(near)
        if _snap_ramps(near.reshape(-1), step, ends):
            step, ends = _steps(near)
        begins = np.concatenate(([0], ends[:-1] + 1))       # sources with an edge to their left
        here = self._at - near
        length = np.float32(UNIT) - step
        length[ends] = HALF
        low = here.flatten()
        low[begins] -= HALF
        first = np.ceil(low * np.float32(1 / UNIT))
        offset = first * np.float32(UNIT) - here.ravel()
        position = self._positions(offset, length, ends, begins)
        length[_mixed(step, ends)] = -np.inf
        # one element more: where the sources go that leave the picture
        flat = np.full(len(near) * (self._width + 1) + 1, UNIT * self._width, np.int32)
        self._write_first(flat, first, offset < length, position)
        self._write_rest(flat, first, offset, length)
        return flat[:-1].reshape(len(near), -1)

    def _positions(self, offset: np.ndarray, length: np.ndarray, ends: np.ndarray,
                   begins: np.ndarray) -> np.ndarray:
        """What the first target of each source shows."""
        with np.errstate(divide='ignore', invalid='ignore'):    # length 0 draws nothing
            part = np.floor(offset * np.float32(UNIT) / length)
            part[ends] = 0
            part[begins] = np.maximum(part[begins], 0)
            return (part.reshape(-1, self._width) + self._at).ravel().astype(np.int32)

    def _write_first(self, flat: np.ndarray, first: np.ndarray, drawn: np.ndarray,
                     position: np.ndarray) -> None:
        drawn &= first >= 0
        drawn &= first < self._width
        index = (first.reshape(-1, self._width)
                 + self._row_start[:len(first) // self._width]).ravel()
        # repeated indices: NumPy keeps the last, which is the nearest
        flat[np.where(drawn, index, np.float32(flat.size - 1)).astype(np.int64)] = position

    def _write_rest(self, flat: np.ndarray, first: np.ndarray, offset: np.ndarray,
                    length: np.ndarray) -> None:
        """Second and third targets of stretched sources, which are joined to their neighbour."""
        sources = np.flatnonzero(length - offset > UNIT)
        first, offset, length = first[sources], offset[sources], length[sources]
        rows, columns = np.divmod(sources, self._width)
        for nth in (1, 2):
            target, here = first + nth, offset + np.float32(nth * UNIT)
            drawn = (here < length) & (target >= 0) & (target < self._width)
            part = np.maximum(np.floor(here * np.float32(UNIT) / length), 0)
            position = (columns * UNIT + part.astype(np.int32))[drawn]
            index = rows[drawn] * (self._width + 1) + target[drawn].astype(np.int64)
            current = flat[index]
            nearer = (position > current) | (current == UNIT * self._width)
            flat[index[nearer]] = position[nearer]

    @staticmethod
    def quantise(disparity: np.ndarray, scale: float, limit: float, shift: np.ndarray) -> None:
        """Disparity as integers, without gaps.

        Parameters
        ----------
        disparity : (H, W) float32, pixels
            NaN and what is not within +-`limit` is invalid.
        scale, limit : float
        shift : (H, W) int32, written
            ``disparity * scale``; invalid pixels have the smaller (farther) one of their valid
            neighbours in the row, and 0 where the row has none.
        """
        cv2.addWeighted(disparity, scale, disparity, 0.0, 0.0, dst=shift, dtype=cv2.CV_32S)
        if not cv2.checkRange(disparity, minVal=-limit, maxVal=limit)[0]:
            _fill_invalid(shift, np.abs(disparity) < limit)


def _fill_invalid(shift: np.ndarray, valid: np.ndarray) -> None:
    none = np.iinfo(np.int32).max
    rows = np.flatnonzero(~valid.all(axis=1))
    known, values = valid[rows], shift[rows]
    before = _last_known(values, known, none)
    after = _last_known(values[:, ::-1], known[:, ::-1], none)[:, ::-1]
    farther = np.minimum(before, after)
    farther[farther == none] = 0
    shift[rows] = np.where(known, values, farther)


def _steps(near: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Differences to the pixel to the right (flat), and the indices of those that are edges."""
    step = np.empty_like(near)
    np.subtract(near[:, 1:], near[:, :-1], out=step[:, :-1])
    step[:, -1] = np.inf
    step = step.reshape(-1)
    return step, np.flatnonzero(np.abs(step) > UNIT)


def _snap_ramps(near: np.ndarray, step: np.ndarray, ends: np.ndarray) -> bool:
    """Pixels on a steep way from one surface to another go to the closer of the two."""
    before, after = step[ends[:-1]], step[ends[1:]]
    same_way = ((before > 0) == (after > 0)) & np.isfinite(before) & np.isfinite(after)
    ramp = ends[1:][same_way & (np.diff(ends) == 1)]
    if not len(ramp):
        return False
    # a row's first and last pixel are on no ramp: neighbours in this list are in the same row
    breaks = np.flatnonzero(np.diff(ramp) > 1)
    first = ramp[np.concatenate(([0], breaks + 1))]
    last = ramp[np.concatenate((breaks, [len(ramp) - 1]))]
    left, right = (np.repeat(near[side], last - first + 1) for side in (first - 1, last + 1))
    to_left, to_right = np.abs(near[ramp] - left), np.abs(near[ramp] - right)
    near[ramp] = np.where(to_left < to_right, left,
                          np.where(to_left > to_right, right, np.minimum(left, right)))
    return True


def _mixed(step: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Indices of the two sources behind each edge that opens; one if the next edge is there."""
    behind = ends[step[ends] < -UNIT] + 1
    second = behind[step[behind] <= UNIT] + 1
    return np.concatenate((behind, second))


def _last_known(values: np.ndarray, known: np.ndarray, none: int) -> np.ndarray:
    """The value at the last known column up to each column; `none` before the first."""
    columns = np.where(known, np.arange(values.shape[1]), -1)
    columns = np.maximum.accumulate(columns, axis=1)
    found = np.take_along_axis(values, np.maximum(columns, 0), axis=1)
    return np.where(columns < 0, none, found)
