"""Filters that leave out of a cloud what a robot should not see: all on the depth image.

Each filter only ever takes points away, and all but the last judge the depth as it came, so their
order does not matter and a second pass takes nothing more. Range and height together are one
interval of depth for each pixel, worked out once for a camera and its settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, inf, radians, sin

import cv2
import numpy as np

from depth_perception.geometry import Intrinsics, ray_planes
from depth_perception.point_cloud import PointCloudError, flying_pixel_mask

SKY_SCALE = 4               # sky is looked for in a picture of a quarter of the size,
SKY_GROWTH = 2              # and goes on for so many of its pixels up to the skyline
SKY_MIN_BRIGHTNESS = 110    # of 255
SKY_MAX_REDNESS = 12        # red over blue: sand, brick and skin have more
SKY_MAX_CONTRAST = 14       # of 3 x 3 small pixels
# Logarithm of depth in 16 bits: a step of 0.1 % is 4 units, 0.3 mm to 3.6 km are in range.
LOG_UNITS = 4000
NO_DEPTH = -32768


@dataclass(frozen=True)
class CloudFilterSettings:
    """What to leave out; the defaults leave out nothing.

    Attributes
    ----------
    min_range, max_range : float
        Metres between camera and point.
    min_height, max_height : float
        Metres above the ground, which lies `camera_height` below the camera.
    camera_height : float
        Metres; 0: heights count from the camera.
    camera_pitch_deg, camera_roll_deg : float
        As rpy of a URDF has them for the camera's body (x forward, y left, z up) on a level
        robot: positive pitch looks down, positive roll tilts to the right.
    flying_pixel_step : float
        See `flying_pixel_mask`; 0: off.
    sky_min_depth : float
        Metres; nearer points are never sky; inf: the sky stays.
    island_points : int
        Islands of fewer points go, see `island_mask`; 0: off.
    island_step : float
        Share of depth by which neighbours on one island may differ.
    min_confidence : float
        Points of which the model is less sure go, 0..1; for models that say how sure they are.
    """

    min_range: float = 0.0
    max_range: float = inf
    min_height: float = -inf
    max_height: float = inf
    camera_height: float = 0.0
    camera_pitch_deg: float = 0.0
    camera_roll_deg: float = 0.0
    flying_pixel_step: float = 0.0
    sky_min_depth: float = inf
    island_points: int = 0
    island_step: float = 0.05
    min_confidence: float = 0.0


class CloudFilters:
    """Applies the filters to the depth images of one camera.

    Parameters
    ----------
    intrinsics : Intrinsics
        Of the depth image.
    """

    def __init__(self, intrinsics: Intrinsics) -> None:
        self._intrinsics = intrinsics
        self._shape = (intrinsics.height, intrinsics.width)
        self._settings: CloudFilterSettings | None = None
        self._near = self._far = self._sky_from = np.empty(0, np.float32)
        self._out = np.empty(self._shape, np.float32)

    def __call__(self, depth: np.ndarray, image: np.ndarray, settings: CloudFilterSettings,
                 channel_order: str = 'rgb', confidence: np.ndarray | None = None) -> np.ndarray:
        """Return the depth without what the settings leave out.

        Parameters
        ----------
        depth : (H, W) float32, metres; NaN: no point
        image : (H, W, 3) uint8
        settings : CloudFilterSettings
        channel_order : 'rgb' or 'bgr'
            Of `image`.
        confidence : (H, W) float32, 0..1, or None
            How sure the model is; NaN is not.

        Returns
        -------
        (H, W) float32
            NaN where a point was left out; `depth` itself where no filter is on, else an own
            buffer that the next call overwrites.

        Raises
        ------
        PointCloudError
            If depth or image are not of this camera's size and type.
        """
        if depth.shape != self._shape or image.shape[:2] != self._shape:
            raise PointCloudError(f'depth is {depth.shape}, image {image.shape[:2]}; this camera '
                                  f'needs {self._shape} for both')
        if settings == CloudFilterSettings(island_step=settings.island_step):
            return depth
        self._plan(settings)
        out = self._out
        np.copyto(out, depth)
        out[~((depth >= self._near) & (depth <= self._far))] = np.nan
        if settings.min_confidence > 0.0 and confidence is not None:
            out[~(confidence >= settings.min_confidence)] = np.nan
        if settings.flying_pixel_step > 0.0:
            out[flying_pixel_mask(depth, settings.flying_pixel_step)] = np.nan
        if settings.sky_min_depth < inf:
            out[sky_mask(image, channel_order) & (depth >= self._sky_from)] = np.nan
        if settings.island_points > 1:
            out[island_mask(out, settings.island_points, settings.island_step)] = np.nan
        return out

    def _plan(self, settings: CloudFilterSettings) -> None:
        """Work the settings into one interval of depth for each pixel."""
        if settings == self._settings:
            return
        rays = [plane.astype(np.float64) for plane in ray_planes(self._intrinsics)]
        rise = height_per_metre(rays, settings.camera_pitch_deg, settings.camera_roll_deg)
        with np.errstate(over='ignore'):    # beyond float32 is infinity
            self._near, self._far = (each.astype(np.float32) for each in
                                     _interval(rays, rise, settings))
        # below the horizon there is no sky
        self._sky_from = np.where(rise > 0.0, settings.sky_min_depth, inf).astype(np.float32)
        self._settings = settings


def height_per_metre(rays: tuple[np.ndarray, np.ndarray], pitch_deg: float,
                     roll_deg: float) -> np.ndarray:
    """How much higher a pixel's point comes to lie with each metre of its depth.

    Parameters
    ----------
    rays : two (H, W) arrays
        x and y of the rays with z = 1, see `ray_planes`.
    pitch_deg, roll_deg : float
        As in `CloudFilterSettings`.

    Returns
    -------
    (H, W) float64
        Metres; negative below the horizon.
    """
    pitch, roll = radians(pitch_deg), radians(roll_deg)
    # the robot's "up" seen by the optical frame: x right, y down, z forward
    return (-cos(pitch) * sin(roll) * rays[0] - cos(pitch) * cos(roll) * rays[1] - sin(pitch))


def _interval(rays: tuple[np.ndarray, np.ndarray], rise: np.ndarray,
              settings: CloudFilterSettings) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest depth of each pixel within range and height: (H, W) float64 each."""
    length = np.sqrt(1.0 + rays[0] ** 2 + rays[1] ** 2)
    near, far = settings.min_range / length, settings.max_range / length
    low = settings.min_height - settings.camera_height
    high = settings.max_height - settings.camera_height
    with np.errstate(divide='ignore', invalid='ignore'):
        ends = np.stack((low / rise, high / rise))
    # a level ray stays where it is: all of its depth is within, or none
    level = (-inf, inf) if low <= 0.0 <= high else (inf, -inf)
    ends = np.where(rise == 0.0, np.reshape(level, (2, 1, 1)), ends)
    first, last = np.where(rise < 0.0, ends[::-1], ends)
    return np.maximum(near, first), np.minimum(far, last)


def sky_mask(image: np.ndarray, channel_order: str = 'rgb') -> np.ndarray:
    """Find what looks like sky: bright, smooth, grey to blue, and joined to the upper edge.

    A white wall looks like that as well: take away only what is far.

    Parameters
    ----------
    image : (H, W, 3) uint8
    channel_order : 'rgb' or 'bgr'

    Returns
    -------
    (H, W) bool
    """
    height, width = image.shape[:2]
    size = (max(1, width // SKY_SCALE), max(1, height // SKY_SCALE))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    contrast = cv2.morphologyEx(small, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    candidates = _sky_coloured(small, channel_order) & (contrast.max(axis=2) <= SKY_MAX_CONTRAST)
    _, labels = cv2.connectedComponents(candidates.view(np.uint8), connectivity=4)
    joined = np.zeros(labels.max() + 1, np.uint8)
    joined[labels[0]] = 255
    joined[0] = 0           # the label of what is no candidate
    # the pixels at the skyline are not smooth: they count as sky by their colour alone
    grown = cv2.dilate(joined[labels], np.ones((3, 3), np.uint8), iterations=SKY_GROWTH)
    full = cv2.resize(grown, (width, height), interpolation=cv2.INTER_NEAREST)
    return _sky_coloured(image, channel_order) & (full > 0)


def _sky_coloured(image: np.ndarray, channel_order: str) -> np.ndarray:
    """Bright, and hardly redder than blue: (H, W) bool."""
    first, green, last = cv2.split(image)
    red, blue = (first, last) if channel_order == 'rgb' else (last, first)
    bright = cv2.max(cv2.max(red, green), blue) >= SKY_MIN_BRIGHTNESS
    cold = cv2.subtract(red, blue) <= SKY_MAX_REDNESS       # stops at 0
    return bright & cold


def island_mask(depth: np.ndarray, min_points: int, relative_step: float) -> np.ndarray:
    """Find outliers: points on islands of fewer than `min_points`.

    Points of neighbouring pixels (up, down, left, right) lie on one island when their depths
    differ by at most a share of `relative_step`.

    Parameters
    ----------
    depth : (H, W) float32, metres
    min_points : int
        Size of the smallest island that stays.
    relative_step : float
        0.001 or more; it is kept to 0.03 %.

    Returns
    -------
    (H, W) bool
        True: outlier. Pixels without depth are not.
    """
    missing = np.isnan(depth)
    logarithm = cv2.log(np.where(missing, np.float32(1.0), depth))
    units = cv2.multiply(logarithm, float(LOG_UNITS), dtype=cv2.CV_16S)     # stops at the ends
    units[missing] = NO_DEPTH
    step = round(LOG_UNITS * float(np.log1p(relative_step)))
    cv2.filterSpeckles(units, NO_DEPTH, min_points - 1, step)
    return (units == NO_DEPTH) & ~missing
