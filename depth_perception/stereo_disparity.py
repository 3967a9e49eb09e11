"""Depth to disparity: how far a point moves between two eyes, in pixels."""

from __future__ import annotations

import math

import numpy as np


class StereoError(ValueError):
    """Images, disparities or settings that do not make a stereo view."""


def disparity_from_depth(depth: np.ndarray, focal_px: float, baseline_m: float,
                         convergence_m: float = math.inf,
                         out: np.ndarray | None = None) -> np.ndarray:
    """Disparity of each pixel between two cameras side by side.

    Parameters
    ----------
    depth : (H, W) float32, metres
    focal_px : float
        Focal length of the image, pixels.
    baseline_m : float
        Distance between the cameras, metres.
    convergence_m : float
        The distance that has no disparity, at the depth of the screen; infinite for parallel
        cameras, as stereo_msgs/DisparityImage has them.
    out : (H, W) float32, optional

    Returns
    -------
    (H, W) float32, pixels
        ``focal_px * baseline_m * (1 / depth - 1 / convergence_m)``; NaN where depth is NaN, zero
        or negative.

    Raises
    ------
    StereoError
        If focal length, baseline or convergence are not above zero.
    """
    for name, value in (('focal length', focal_px), ('baseline', baseline_m),
                        ('convergence distance', convergence_m)):
        if not value > 0.0:
            raise StereoError(f'{name} is {value:g}; it must be above 0')
    scale = np.float32(focal_px * baseline_m)
    with np.errstate(divide='ignore'):
        disparity = np.divide(scale, depth, out=out, dtype=np.float32)
    # a depth of 0 is what many drivers write for none; below it there is no camera's sight
    behind = depth <= 0.0
    if behind.any():
        disparity[behind] = np.nan
    if math.isfinite(convergence_m):
        disparity -= np.float32(scale / convergence_m)
    return disparity
