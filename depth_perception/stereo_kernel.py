"""The warp of stereo_warp.py compiled by Numba: same method, same numbers, same pixels.

Importing this module needs Numba. Rows do not know of each other: large pictures are drawn by two
threads, Python's own, as Numba's default threading layer must not be entered from two of them at
a time. More would take the processor from the network of the next frame.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
import functools
import os

import cv2
import numba
import numpy as np

from depth_perception.stereo_warp import UNIT

# Typed constants keep the loops in 32 bits (Numba widens int32 + int32 to int64), and with that
# in the processor's vector registers. All positions are integers that float32 holds exactly.
ONE = np.float32(UNIT)
HALF = np.float32(UNIT // 2)
ZERO = np.float32(0)
FAR_OFF = np.float32(1e9)
BITS = np.uint64(5)
FRACTION = np.uint64(UNIT - 1)
# four bytes of a pixel, each in a 16-bit lane of its own: one multiplication scales all four
LANES = np.uint64(0x00FF00FF00FF00FF)
LANES_HALF = np.uint64(0x0010001000100010)
EVEN_BYTES = np.uint64(0x00FF00FF)
ODD_BYTES = np.uint64(0xFF00FF00)
LANE_SHIFT = np.uint64(24)


FEWEST_FOR_TWO_THREADS = 200_000    # pixels; below, waking the second one costs what it saves
BLOCK_PIXELS = 40_000               # what a thread takes at a time, and keeps in its cache


def _block_rows(height: int, width: int) -> int:
    return min(height, max(1, BLOCK_PIXELS // width))


def _by_rows(work: Callable[[slice, int], None], shape: tuple[int, int]) -> None:
    """Give blocks of rows to threads 0 and 1 until none is left: a late one takes fewer."""
    height, width = shape
    step = _block_rows(height, width)
    blocks = iter([slice(top, min(top + step, height)) for top in range(0, height, step)])

    def take(thread: int) -> None:
        for block in blocks:
            work(block, thread)

    if height * width < FEWEST_FOR_TWO_THREADS or _cores() < 2:
        take(0)
        return
    other = _second_thread().submit(take, 1)
    take(0)
    if not other.cancel():      # True: on a busy machine it has not even begun
        other.result()


@functools.cache
def _second_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix='stereo')


@functools.cache
def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:      # not Linux
        return os.cpu_count() or 1


def _compiled(function):
    # numpy's error model: a check for division by zero would keep the loops scalar
    try:
        return numba.njit(nogil=True, cache=True, error_model='numpy')(function)
    except RuntimeError:        # no folder to keep the machine code in: compile at each start
        return numba.njit(nogil=True, error_model='numpy')(function)


class NumbaWarper:
    """Draws the view to the right of an image; see stereo_warp.NumpyWarper."""

    name = 'numba'

    def __init__(self, width: int, height: int) -> None:
        # of each thread: a block of the image and of the view, whose 4-byte pixels can be read
        # as one number
        self._blocks = np.empty((2, 2, _block_rows(height, width), width, 4), np.uint8)
        self.source = np.empty((height, width + 1), np.int32)

    def warp(self, image: np.ndarray, shift: np.ndarray, out: np.ndarray,
             holes: np.ndarray) -> None:
        """See stereo_warp.NumpyWarper.warp."""
        def draw(rows: slice, thread: int) -> None:
            bgra, view = self._blocks[thread, :, :rows.stop - rows.start]
            cv2.cvtColor(image[rows], cv2.COLOR_BGR2BGRA, dst=bgra)
            _warp(bgra.view(np.uint32)[..., 0], shift[rows], view.view(np.uint32)[..., 0],
                  holes[rows], self.source[rows])
            cv2.cvtColor(view, cv2.COLOR_BGRA2BGR, dst=out[rows])

        _by_rows(draw, shift.shape)

    @staticmethod
    def quantise(disparity: np.ndarray, scale: float, limit: float, shift: np.ndarray) -> None:
        """See stereo_warp.NumpyWarper.quantise."""
        def count(rows: slice, thread: int) -> None:
            _quantise(disparity[rows], np.float32(scale), np.float32(limit), shift[rows])

        _by_rows(count, shift.shape)


@_compiled
def _warp(image, shift, out, holes, sources):
    height, width = shift.shape
    at = (np.arange(width) * UNIT).astype(np.float32)
    near = np.empty(width + 3, np.float32)          # the row's shifts, padded by 2 and 1
    near[:2] = -FAR_OFF
    near[width + 2] = FAR_OFF
    target = np.empty(width, np.int64)
    position = np.empty(width, np.int32)
    stretched = np.empty(width, np.bool_)
    for row in range(height):
        for x in range(width):
            near[x + 2] = np.float32(shift[row, x])
        _snap_ramps(near[2:width + 2])
        _plan_row(near, at, target, position, stretched)
        source = sources[row]                       # the last one: what leaves the picture
        source[:] = np.int32(UNIT * width)
        for x in range(width):                      # increasing: the last write is the nearest
            source[target[x]] = position[x]
            if stretched[x]:
                _draw_rest(x, near, source)
        _fill_row(source, holes[row])
        _sample_row(image[row], source, out[row])


@_compiled
def _snap_ramps(near):
    """Pixels on a steep way from one surface to another go to the closer of the two."""
    steep = 0
    for x in range(1, len(near) - 1):
        steep += _on_ramp(near, x)
    x = 1
    while steep > 0:
        if not _on_ramp(near, x):
            x += 1
            continue
        start = x
        while x < len(near) - 1 and _on_ramp(near, x):
            x += 1
        left, right = near[start - 1], near[x]
        for i in range(start, x):
            to_left, to_right = abs(near[i] - left), abs(near[i] - right)
            near[i] = (left if to_left < to_right else right if to_left > to_right
                       else min(left, right))
        steep -= x - start


@_compiled
def _on_ramp(near, x):
    before, after = near[x] - near[x - 1], near[x + 1] - near[x]
    return ((before > ONE) & (after > ONE)) | ((before < -ONE) & (after < -ONE))


@_compiled
def _segment(near, x, at):
    """Where source x is drawn: start, length, place of its pixel; in 1/UNIT pixel."""
    here = at - near[x + 2]
    step = near[x + 3] - near[x + 2]
    before = near[x + 2] - near[x + 1]
    joined = abs(step) <= ONE
    mixed = (before < -ONE) | ((near[x + 1] - near[x] < -ONE) & (before <= ONE))
    length = ONE - step if joined else HALF
    return here, here - (ZERO if abs(before) <= ONE else HALF), length, joined, mixed


@_compiled
def _part(offset, length, joined):
    """How far into its segment, in 1/UNIT of the way to the next source pixel."""
    return np.floor(max(offset, ZERO) * ONE / max(length, np.float32(1))) if joined else ZERO


@_compiled
def _plan_row(near, at, target, position, stretched):
    """The first target of each source, and what it shows there."""
    width = np.float32(len(at))
    for x in range(len(at)):
        here, low, length, joined, mixed = _segment(near, x, at[x])
        first = np.ceil(low * (np.float32(1) / ONE))
        offset = first * ONE - here
        drawn = (offset < length) & (first >= ZERO) & (first < width) & (not mixed)
        target[x] = np.int32(first if drawn else width)
        position[x] = np.int32(at[x] + _part(offset, length, joined))
        stretched[x] = (length - offset > ONE) & (not mixed)


@_compiled
def _draw_rest(x, near, source):
    """Second and third targets of a stretched source, which is joined to its neighbour."""
    at = np.float32(UNIT * x)
    here, low, length, _, _ = _segment(near, x, at)
    target = np.int64(np.ceil(low / ONE)) + 1
    offset = np.float32(target * UNIT) - here
    while offset < length:
        if 0 <= target < len(source) - 1:
            source[target] = np.int32(at + _part(offset, length, True))
        target += 1
        offset += ONE


@_compiled
def _fill_row(source, holes):
    """Give each hole the farthest of the sources to its right."""
    width = len(holes)
    nowhere = np.int32(UNIT * width)
    behind = np.int32(UNIT * (width - 1))
    for x in range(width - 1, -1, -1):
        if source[x] == nowhere:
            holes[x] = True
            source[x] = behind
        else:
            holes[x] = False
            behind = min(behind, source[x])


@_compiled
def _sample_row(image, source, out):
    """Linear interpolation at the source positions, all channels of a pixel at once."""
    width = len(out)
    start = np.empty(width + 1, np.uint64)
    slope = np.empty(width, np.uint64)
    for x in range(width):
        pixel = np.uint64(image[x])
        start[x] = (pixel & EVEN_BYTES) | ((pixel & ODD_BYTES) << LANE_SHIFT)
    start[width] = start[width - 1]
    for x in range(width):
        # the lanes of a difference borrow from each other, and the sum below gives it back
        slope[x] = start[x + 1] - start[x]
        start[x] = (start[x] << BITS) + LANES_HALF
    for x in range(width):
        position = np.uint64(source[x])
        first = position >> BITS
        mixed = ((start[first] + slope[first] * (position & FRACTION)) >> BITS) & LANES
        out[x] = np.uint32(mixed | (mixed >> LANE_SHIFT))


@_compiled
def _quantise(disparity, scale, limit, shift):
    height, width = shift.shape
    for row in range(height):
        invalid = 0
        for x in range(width):
            value = disparity[row, x]
            known = abs(value) < limit
            invalid += not known
            shift[row, x] = np.int32(np.rint(value * scale if known else ZERO))
        if invalid:
            _fill_invalid(disparity[row], limit, shift[row])


@_compiled
def _fill_invalid(disparity, limit, shift):
    width = len(shift)
    x = 0
    while x < width:
        start = x
        while x < width and not abs(disparity[x]) < limit:
            x += 1
        if x > start and x - start < width:
            left, right = shift[max(start - 1, 0)], shift[min(x, width - 1)]
            shift[start:x] = right if start == 0 else left if x == width else min(left, right)
        x += 1
