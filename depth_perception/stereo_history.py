"""What earlier frames saw of the places that now are hidden: filling holes with the truth.

The motion of the camera follows from points tracked between frames whose depth is known. With it
a hidden point is looked up in the earlier frames: where one of them has a surface of just that
distance there, that is the point, and its colour is known. Moving objects, wrong motion and new
scenes fail that test and leave the hole to the other ways of filling.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import cv2
import numpy as np

from depth_perception.geometry import Intrinsics

FRAMES, EVERY = 8, 3        # frames kept, and how many go by between two of them
CORNERS, CORNER_DISTANCE_PX = 300, 8
FEWEST_INLIERS = 20         # below, the camera has moved too far, or the scene is another one
STILL_PX = 0.15             # corners move less than this where nothing but noise moves
REPROJECTION_PX = 1.5
DEPTH_TOLERANCE = 0.06      # share of the distance by which a surface may be elsewhere
SAMPLES_IN_A_ROW = 256


class _Memory(NamedTuple):
    image: np.ndarray       # (H, W, 3) uint8
    lowest: np.ndarray      # (H, W) float32, 1/m: limits of 1 / depth among a pixel's neighbours
    highest: np.ndarray
    from_now: np.ndarray    # (4, 4) float64: points of the newest camera into this one


class History:
    """The last frames of a sequence, seen from the newest."""

    def __init__(self) -> None:
        self._camera: Intrinsics | None = None
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self._memories: deque[_Memory] = deque(maxlen=FRAMES)
        self._last: tuple[np.ndarray, np.ndarray] | None = None
        self._count = 0

    def add(self, image: np.ndarray, depth: np.ndarray, camera: Intrinsics) -> None:
        """Make this frame the newest.

        Parameters
        ----------
        image : (H, W, 3) uint8
            The same channel order in each call.
        depth : (H, W) float32, metres, NaN where unknown
        camera : Intrinsics
        """
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        motion = None
        if self._camera == camera and self._last is not None:
            motion = _motion(*self._last, grey, camera)
        if motion is None:
            self.forget()
        else:
            self._memories = deque((memory._replace(from_now=memory.from_now @ motion)
                                    for memory in self._memories), FRAMES)
        self._camera = camera
        self._last = grey, depth.copy()
        if self._count % EVERY == 0:
            inverse = np.nan_to_num(1.0 / np.where(depth > 0, depth, np.nan)).astype(np.float32)
            window = np.ones((3, 3), np.uint8)
            self._memories.appendleft(_Memory(image.copy(), cv2.erode(inverse, window),
                                              cv2.dilate(inverse, window), np.eye(4)))
        self._count += 1

    def look_up(self, x: np.ndarray, y: np.ndarray, depth: np.ndarray,
                ) -> tuple[np.ndarray, np.ndarray]:
        """Colours of points that the newest frame does not show.

        Parameters
        ----------
        x, y : (N,) float, pixels of the newest image, also outside of it
        depth : (N,) float, metres

        Returns
        -------
        colours : (N, 3) uint8
        found : (N,) bool
            False where no earlier frame shows the point; its colour then means nothing.
        """
        colours, found = np.zeros((len(x), 3), np.uint8), np.zeros(len(x), bool)
        if self._camera is None or not len(x):
            return colours, found
        k = self._camera
        points = np.stack(((x - k.cx) / k.fx * depth, (y - k.cy) / k.fy * depth, depth,
                           np.ones_like(depth)))
        for memory in self._memories:
            rest = np.flatnonzero(~found & np.isfinite(depth))
            if len(rest):
                seen, seen_colours = _seen(memory, points[:, rest], k)
                colours[rest[seen]], found[rest[seen]] = seen_colours[seen], True
        return colours, found


def _motion(grey: np.ndarray, depth: np.ndarray, new: np.ndarray,
            camera: Intrinsics) -> np.ndarray | None:
    """Points of the new camera into the camera before, (4, 4); None where that is not known."""
    corners = cv2.goodFeaturesToTrack(grey, CORNERS, 0.01, CORNER_DISTANCE_PX)
    if corners is None:
        return None
    moved, status, _ = cv2.calcOpticalFlowPyrLK(grey, new, corners, None, winSize=(15, 15))
    pixels = np.rint(corners[:, 0]).astype(int)
    z = depth[pixels[:, 1].clip(0, depth.shape[0] - 1), pixels[:, 0].clip(0, depth.shape[1] - 1)]
    good = (status[:, 0] > 0) & (z > 0)
    before, after, z = corners[good, 0], moved[good, 0], z[good]
    if len(z) < FEWEST_INLIERS:
        return None
    if np.median(np.abs(after - before)) < STILL_PX:
        return np.eye(4)
    k = camera.matrix()
    points = np.column_stack(((before - k[:2, 2]) / np.diag(k)[:2] * z[:, None], z))
    worked, turn, shift, inliers = cv2.solvePnPRansac(
        points.astype(np.float64), after.astype(np.float64), k, None,
        reprojectionError=REPROJECTION_PX, iterationsCount=100)
    if not worked or inliers is None or len(inliers) < FEWEST_INLIERS:
        return None
    to_new = np.eye(4)
    to_new[:3, :3], to_new[:3, 3] = cv2.Rodrigues(turn)[0], shift[:, 0]
    return np.linalg.inv(to_new)


def _seen(memory: _Memory, points: np.ndarray, k: Intrinsics) -> tuple[np.ndarray, np.ndarray]:
    """Which of the points an earlier frame shows, and the colours there."""
    x, y, z, _ = memory.from_now @ points
    in_front = z > 1e-6
    z = np.where(in_front, z, 1.0)
    u, v = (x / z * k.fx + k.cx).astype(np.float32), (y / z * k.fy + k.cy).astype(np.float32)
    height, width = memory.lowest.shape
    inside = in_front & (u >= 0) & (v >= 0) & (u <= width - 1) & (v <= height - 1)
    column, row = (np.where(inside, np.rint(each), 0).astype(int) for each in (u, v))
    # all neighbours must be there as well: next to an edge the colour is a mixture
    near = memory.highest[row, column] * z < 1 + DEPTH_TOLERANCE
    far = memory.lowest[row, column] * z > 1 - DEPTH_TOLERANCE
    return inside & near & far, _sampled(memory.image, u, v)[:len(u)]


def _sampled(image: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Colours at fractions of pixels, (N, 3)."""
    # remap takes no picture with a side of 32768 and more: as many rows as are needed
    rows = -(-len(u) // SAMPLES_IN_A_ROW)
    u, v = (np.resize(each, (rows, SAMPLES_IN_A_ROW)) for each in (u, v))
    colours = cv2.remap(image, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return colours.reshape(-1, 3)
