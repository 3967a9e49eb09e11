"""Points of a sparse range sensor, and what the model says where they lie in the picture."""

from __future__ import annotations

import numpy as np

from depth_perception.geometry import Intrinsics, project

NEAREST_M = 0.05        # nearer than any range sensor; also keeps points behind the camera out
MARGIN_PX = 2           # neighbours that must agree: at an edge the two sensors see two surfaces
EDGE = 0.1              # share of inverse depth by which they may differ
CELL_PX = 16            # in a square of this size only what is near its nearest point counts:
HIDDEN = 1.15           # what is farther by this, a nearer surface may hide from the camera


def scan_points(ranges: np.ndarray, angle_min: float, angle_increment: float,
                range_min: float, range_max: float) -> np.ndarray:
    """Points of a planar scan, as sensor_msgs/LaserScan has it.

    Parameters
    ----------
    ranges : (N,) array, metres
        What is not finite or outside of the limits is left out.
    angle_min, angle_increment : float
        Radians about z, from x towards y.
    range_min, range_max : float
        Metres.

    Returns
    -------
    (M, 3) float64
        In the sensor's frame, z = 0.
    """
    ranges = np.asarray(ranges, np.float64)
    with np.errstate(invalid='ignore'):
        good = np.isfinite(ranges) & (ranges >= range_min) & (ranges <= range_max)
    angles = angle_min + angle_increment * np.flatnonzero(good)
    ranges = ranges[good]
    return np.stack((ranges * np.cos(angles), ranges * np.sin(angles), np.zeros_like(ranges)),
                    axis=-1)


def samples(points: np.ndarray, depth: np.ndarray, intrinsics: Intrinsics, *,
            is_metric: bool) -> tuple[np.ndarray, np.ndarray]:
    """What the model says at points of known distance.

    Parameters
    ----------
    points : (N, 3) array, metres
        In the optical frame of the camera.
    depth : (H, W) float32
        Of the model: metres, or relative inverse depth.
    intrinsics : Intrinsics
        Of `depth`.
    is_metric : bool
        Which of the two `depth` is.

    Returns
    -------
    values : (M,) float64
        The model's inverse depth at the M points that count.
    metres : (M,) float64
        Their true depth.
    """
    points = np.asarray(points, np.float64).reshape(-1, 3)
    points = points[np.isfinite(points).all(axis=1) & (points[:, 2] > NEAREST_M)]
    pixels = np.rint(project(points, intrinsics))
    limit = np.array([intrinsics.width, intrinsics.height]) - MARGIN_PX
    inside = ((pixels >= MARGIN_PX) & (pixels < limit)).all(axis=1)
    (u, v), metres = pixels[inside].astype(np.int64).T, points[inside, 2]
    seen = _unhidden(u, v, metres, intrinsics.width)
    u, v, metres = u[seen], v[seen], metres[seen]
    shifts = ((0, 0), (MARGIN_PX, 0), (-MARGIN_PX, 0), (0, MARGIN_PX), (0, -MARGIN_PX))
    around = np.array([depth[v + down, u + right] for right, down in shifts], np.float64)
    with np.errstate(divide='ignore', invalid='ignore'):
        around = 1.0 / around if is_metric else around
        # NaN anywhere among them fails this too
        even = np.ptp(around, axis=0) <= EDGE * np.abs(around[0])
    return around[0][even], metres[even]


def _unhidden(u: np.ndarray, v: np.ndarray, metres: np.ndarray, width: int) -> np.ndarray:
    cell = v // CELL_PX * (width // CELL_PX + 1) + u // CELL_PX
    nearest = np.full(int(cell.max(initial=0)) + 1, np.inf)
    np.minimum.at(nearest, cell, metres)
    return metres <= HIDDEN * nearest[cell]


def wall_sample(depth: np.ndarray, window: float, *, is_metric: bool) -> tuple[float, float]:
    """What the model says of a wall that fills the middle of the picture.

    Parameters
    ----------
    depth : (H, W) float32
        As for `samples`.
    window : float
        Share of width and height that is looked at.
    is_metric : bool

    Returns
    -------
    value : float
        Median of the model's inverse depth; NaN where it says nothing in half of the window.
    unevenness : float
        Half the distance between the quartiles, as a share of the median.
    """
    height, width = depth.shape
    rows, columns = (max(1, round(size * window)) for size in (height, width))
    top, left = (height - rows) // 2, (width - columns) // 2
    step = max(1, min(rows, columns) // 100)
    middle = depth[top:top + rows:step, left:left + columns:step].astype(np.float64).ravel()
    valid = middle[np.isfinite(middle)]
    if 2 * len(valid) < len(middle) or not len(valid):
        return float('nan'), float('nan')
    inverse = 1.0 / valid if is_metric else valid
    low, median, high = np.percentile(inverse, (25.0, 50.0, 75.0))
    return float(median), float(0.5 * (high - low) / abs(median)) if median else float('inf')
