"""The inner loops of stereo.py for Numba; importing this module needs Numba.

Same integers, same pixels as the NumPy versions in stereo.py; see there for the method. One
thread each: Numba's default threading layer must not be entered from two Python threads at a
time, and the second core belongs to the network.
"""

from __future__ import annotations

import numba
import numpy as np


def _compiled(function):
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:        # no folder to keep the machine code in: compile at each start
        return numba.njit(nogil=True)(function)


@_compiled
def fill_invalid(shift, valid):
    """Give invalid pixels the smaller (farther) shift of their valid neighbours in the row.

    Parameters
    ----------
    shift : (H, W) int32, changed in place
    valid : (H, W) bool
    """
    height, width = shift.shape
    for row in range(height):
        column = 0
        while column < width:
            if valid[row, column]:
                column += 1
                continue
            start = column
            while column < width and not valid[row, column]:
                column += 1
            if start == 0 and column == width:
                value = np.int32(0)
            elif start == 0:
                value = shift[row, column]
            elif column == width:
                value = shift[row, start - 1]
            else:
                value = min(shift[row, start - 1], shift[row, column])
            shift[row, start:column] = value


@_compiled
def warp(image, shift, mirrored, unit, out, holes):
    """Draw the view of the eye to the right (mirrored: to the left).

    Parameters
    ----------
    image : (H, W, 3) uint8
    shift : (H, W) int32, in 1/unit pixel
    mirrored : bool
    unit : int
    out : (H, W, 3) uint8, written
    holes : (H, W) bool, written
    """
    height, width = shift.shape
    nowhere = np.int32(unit * width)
    half = unit // 2
    source = np.empty(width, np.int32)
    for row in range(height):
        source[:] = nowhere
        low = half
        for x in range(width):
            column = width - 1 - x if mirrored else x
            here = unit * x - shift[row, column]
            length, joined = half, False
            if x + 1 < width:
                beside = shift[row, column - 1] if mirrored else shift[row, column + 1]
                step = beside - shift[row, column]
                if -unit <= step <= unit:
                    length, joined = unit - step, True
            target = (here - low + unit - 1) // unit
            while target * unit < here + length:
                if 0 <= target < width:
                    offset = target * unit - here
                    source[target] = unit * x
                    if joined and offset > 0:
                        source[target] += np.int32(np.float32(offset * unit) / np.float32(length))
                target += 1
            low = 0 if joined else half
        behind = np.int32(unit * (width - 1))
        for target in range(width - 1, -1, -1):
            column = width - 1 - target if mirrored else target
            position = source[target]
            holes[row, column] = position == nowhere
            behind = min(behind, position)
            if position == nowhere:
                position = behind
            x, weight = position // unit, position % unit
            first = width - 1 - x if mirrored else x
            second = first
            if weight:
                second = first - 1 if mirrored else first + 1
            for channel in range(3):
                out[row, column, channel] = (
                    image[row, first, channel] * (unit - weight)
                    + image[row, second, channel] * weight + half) // unit
