"""What a warped view shows where the image shows nothing, and how its edges look.

All functions work on a view to the right of its image, where the background of a hole lies to
the right of it; the other eye's view comes mirrored. `source` is the warper's: the column of the
image that each pixel shows, in 1/UNIT pixel, with one column more than the view.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from depth_perception.stereo_warp import UNIT

SOFT_WINDOW = (3, 5)    # width, height of the blur in filled holes
INPAINT_RADIUS_PX = 3
INPAINT_MARGIN_PX = 3   # of the foreground's edge that is kept out, where both surfaces mix


class HiddenPoints(NamedTuple):
    """Pixels of a view that its image does not show, and where the surface behind continues.

    Attributes
    ----------
    row, column : (N,) int64, of the view
    shift : (N,) float32, pixels
        ``column + shift`` is the column of the image where the point lies, hidden or outside.
    """

    row: np.ndarray
    column: np.ndarray
    shift: np.ndarray


def soften_holes(view: np.ndarray, holes: np.ndarray, blurred: np.ndarray) -> None:
    """Blur the filled pixels in place: rows fill with different colours, which is streaks."""
    cv2.blur(view, SOFT_WINDOW, dst=blurred)
    cv2.copyTo(blurred, holes.view(np.uint8), view)


def edge_directed(view: np.ndarray, holes: np.ndarray) -> None:
    """Fill holes half by extension (as they come), half by OpenCV's inpainting; in place.

    Telea's method continues the lines that run into a hole, and an error of one half is rarely
    that of the other. The foreground's edge is kept out of it, else it would bleed.
    """
    mask = holes.copy()
    starts, ends = _runs(holes)
    # what is open towards the border has no foreground beside it
    inner = ends % (holes.shape[1] + 1) < holes.shape[1]
    starts, ends = starts[inner], ends[inner]
    lengths = ends - starts + INPAINT_MARGIN_PX
    # as far into the foreground as the hole is wide: from there nothing reaches the hole
    back = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    rows, columns = np.divmod(np.repeat(starts, lengths), holes.shape[1] + 1)
    inside = columns - 1 - back >= 0
    mask[rows[inside], (columns - 1 - back)[inside]] = True
    painted = cv2.inpaint(view, mask.view(np.uint8), INPAINT_RADIUS_PX, cv2.INPAINT_TELEA)
    cv2.copyTo(cv2.addWeighted(view, 0.5, painted, 0.5, 0.0), holes.view(np.uint8), view)


def soften_edges(view: np.ndarray, holes: np.ndarray, source: np.ndarray,
                 blurred: np.ndarray) -> None:
    """Mix the two pixels on either side of an edge between surfaces a little, in place.

    Lenses do so, and a hard step would show as a staircase. Both sides are drawn already, so
    nothing of one stands alone on the other, which is what ghosts are.
    """
    width = holes.shape[1]
    step = np.subtract(source[:, 1:width], source[:, :width - 1])
    step -= UNIT
    edge = cv2.inRange(step, -UNIT, UNIT) == 0
    # a hole's fill moves on with its background: that it begins is what tells of the edge
    edge |= holes[:, 1:] & ~holes[:, :-1] & (source[:, 1:width] < UNIT * (width - 1))
    mask = np.zeros(holes.shape, np.uint8)
    mask[:, 1:] = edge
    mask[:, :-1] |= edge.view(np.uint8)
    cv2.GaussianBlur(view, (3, 1), 0, dst=blurred)
    cv2.copyTo(blurred, mask, view)


def hidden_points(holes: np.ndarray, source: np.ndarray) -> HiddenPoints:
    """The pixels of the holes as points of the surfaces behind them.

    Outside the picture the surface at its border is taken to go on.
    """
    width = holes.shape[1]
    starts, ends = _runs(holes)
    rows, first = np.divmod(starts, width + 1)
    last = first + ends - starts
    known = np.where(last < width, last, np.maximum(first - 1, 0))
    shift = (source[rows, known] - UNIT * known) * np.float32(1 / UNIT)
    lengths = ends - starts
    offset = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return HiddenPoints(np.repeat(rows, lengths), np.repeat(first, lengths) + offset,
                        np.repeat(shift, lengths))


def _runs(holes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Begin and end of each run, as indices into rows that are one column longer."""
    padded = np.zeros((holes.shape[0], holes.shape[1] + 1), np.int8)
    padded[:, :-1] = holes
    flat = padded.reshape(-1)
    bounds = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if flat[0]:
        bounds = np.concatenate(([0], bounds))
    return bounds[::2], bounds[1::2]
