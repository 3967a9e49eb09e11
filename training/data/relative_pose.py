"""How a camera moved between two pictures, from matched features and the depth of one of them.

The translation has the unit and the scale of that depth: with the depth that a model estimates,
the scale is the model's.
"""
from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from depth_perception.geometry import Intrinsics

FEATURES = 800
# Walls have little contrast: an eighth of SIFT's own threshold finds ten times as many features
# in rooms, and hardly more wrong matches.
CONTRAST = 0.005
RATIO = 0.85  # of the best to the second-best distance of descriptors (Lowe 2004)
REPROJECTION_PX = 2.0
ITERATIONS = 200
FEWEST_INLIERS, LEAST_SHARE = 20, 0.3


class Features(NamedTuple):
    """Points of a picture: pixels (N, 2) float32 and descriptors (N, 128) float32."""

    pixels: np.ndarray
    descriptors: np.ndarray


class Motion(NamedTuple):
    """`matrix` (4, 4) takes points of the first camera into the second, in metres of the depth.

    `parallax_px` is the median over the matches of how far they moved beyond what the turn of the
    camera explains: what tells near from far. `inliers` of `matches` agree with the matrix.
    """

    matrix: np.ndarray
    parallax_px: float
    inliers: int
    matches: int


def features(image: np.ndarray) -> Features:
    """Find the features of a picture, (H, W, 3) uint8 RGB."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    found = cv2.SIFT_create(FEATURES, contrastThreshold=CONTRAST)
    points, descriptors = found.detectAndCompute(grey, None)
    if descriptors is None:
        return Features(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32))
    return Features(np.array([p.pt for p in points], np.float32), descriptors)


def motion(first: Features, depth: np.ndarray, second: Features,
           first_camera: Intrinsics, second_camera: Intrinsics) -> Motion | None:
    """Estimate how the camera moved from the first picture to the second.

    Parameters
    ----------
    first, second : Features
    depth : (H, W) float array
        Of the first picture; NaN or 0 where unknown.

    Returns
    -------
    Motion or None
        None where too few features match, or too few of the matches agree.
    """
    pairs = _matches(first, second)
    before, after = first.pixels[pairs[:, 0]], second.pixels[pairs[:, 1]]
    columns, rows = np.rint(before).astype(int).T
    z = depth[rows.clip(0, depth.shape[0] - 1), columns.clip(0, depth.shape[1] - 1)]
    known = np.isfinite(z) & (z > 0)
    before, after, z = before[known], after[known], z[known].astype(np.float64)
    if len(z) < FEWEST_INLIERS:
        return None
    cv2.setRNGSeed(0)  # the same pictures give the same motion
    k = second_camera.matrix()
    worked, turn, shift, inliers = cv2.solvePnPRansac(
        _rays(before, first_camera) * z[:, None], after.astype(np.float64), k, None,
        reprojectionError=REPROJECTION_PX, iterationsCount=ITERATIONS)
    count = 0 if inliers is None else len(inliers)
    if not worked or count < max(FEWEST_INLIERS, LEAST_SHARE * len(z)):
        return None
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = cv2.Rodrigues(turn)[0], shift[:, 0]
    kept = inliers[:, 0]
    turned = _rays(before[kept], first_camera) @ matrix[:3, :3].T @ k.T
    turned = turned[:, :2] / turned[:, 2:]
    parallax = float(np.median(np.linalg.norm(after[kept] - turned, axis=1)))
    return Motion(matrix, parallax, count, len(z))


def _matches(first: Features, second: Features) -> np.ndarray:
    """Pairs of indices, (M, 2): the best match is clearly better than the second."""
    if min(len(first.pixels), len(second.pixels)) < 2:
        return np.zeros((0, 2), int)
    found = cv2.BFMatcher(cv2.NORM_L2).knnMatch(first.descriptors, second.descriptors, k=2)
    kept = [(a.queryIdx, a.trainIdx) for a, b in found if a.distance < RATIO * b.distance]
    return np.array(kept, int).reshape(-1, 2)


def _rays(pixels: np.ndarray, camera: Intrinsics) -> np.ndarray:
    """Points at 1 m that pixels (N, 2) show, (N, 3) float64."""
    x = (pixels[:, 0] - camera.cx) / camera.fx
    y = (pixels[:, 1] - camera.cy) / camera.fy
    return np.column_stack([x, y, np.ones_like(x)]).astype(np.float64)
