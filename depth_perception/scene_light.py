"""Lamps, their shadows, and how open to the room each place is."""
from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import open3d as o3d

_REACH = 0.22          # metres over which corners and undersides darken
_MAX_CELLS = 120_000   # of the grid of distances


@dataclass(frozen=True)
class Light:
    """A round lamp: position (3,) metres, colour (3,) as light at 1 m, radius in metres."""

    position: tuple[float, float, float]
    colour: tuple[float, float, float]
    radius: float = 0.1


def add_light(total, colour, radius, centre, point, normal, visible, gloss) -> None:
    """Add a lamp's light to three planes.

    total : list of three (H, W) planes, changed in place; colour (3,); radius in metres;
    centre (3,), point and normal (three planes each): camera frame; visible (H, W) 0..1;
    gloss (H, W) or None for no highlights.
    """
    dx, dy, dz = (centre[k] - point[k] for k in range(3))
    square = dx * dx + dy * dy + dz * dz + np.float32(radius ** 2)
    inverse = 1 / np.sqrt(square)
    cosine = np.maximum((dx * normal[0] + dy * normal[1] + dz * normal[2]) * inverse, 0)
    strength = cosine / square * visible
    if gloss is not None:
        strength += gloss * _highlight((dx, dy, dz), inverse, point, normal) * visible / square
    for k in range(3):
        total[k] += strength * np.float32(colour[k])


def _highlight(towards, inverse, point, normal) -> np.ndarray:
    """Blinn-Phong: the cosine between the normal and the half vector, to the power of 32."""
    back = -1 / np.sqrt(point[0] ** 2 + point[1] ** 2 + point[2] ** 2)
    half = [towards[k] * inverse + point[k] * back for k in range(3)]
    length = half[0] ** 2 + half[1] ** 2 + half[2] ** 2 + np.float32(1e-6)
    power = (half[0] * normal[0] + half[1] * normal[1] + half[2] * normal[2]) ** 2 / length
    for _ in range(4):
        power *= power
    return power


def _jitter(height: int, width: int) -> np.ndarray:
    """(H, W, 3) float32 in -1..1: sixteen directions that repeat every 4x4 pixels."""
    index = np.arange(16)
    z = (index + 0.5) / 8 - 1
    angle = index * 2.39996  # the golden angle spreads them evenly over the ball
    ring = np.sqrt(1 - z * z)
    ball = np.column_stack([ring * np.cos(angle), ring * np.sin(angle), z]).astype(np.float32)
    order = np.array([0, 8, 2, 10, 12, 4, 14, 6, 3, 11, 1, 9, 15, 7, 13, 5])
    tile = ball[order].reshape(4, 4, 3)
    return np.tile(tile, (-(-height // 4), -(-width // 4), 1))[:height, :width]


class Occlusion:
    """Shadow rays, and a grid of distances to the nearest surface.

    raycaster : Open3D RaycastingScene; low, high (3,) : the scene's bounds, metres, or those of
    the part that is seen from near. reach : metres over which corners and undersides darken.
    """

    def __init__(self, raycaster, low, high, reach: float = _REACH):
        self._raycaster, self._reach = raycaster, reach
        low, high = np.asarray(low, np.float64) - 2 * reach, np.asarray(high) + 2 * reach
        span = high - low
        finest = 0.09 * (reach / _REACH)
        self._cell = max(finest, float(np.cbrt(np.prod(span) / _MAX_CELLS)))
        self._low = low.astype(np.float32)
        self._shape = np.maximum(np.ceil(span / self._cell).astype(int) + 1, 1)
        axes = [low[k] + np.arange(self._shape[k]) * self._cell for k in range(3)]
        grid = np.stack(np.meshgrid(*axes, indexing='ij'), axis=-1).astype(np.float32)
        self._distance = raycaster.compute_distance(o3d.core.Tensor(grid)).numpy().ravel()
        self._patterns: dict[tuple[int, int], np.ndarray] = {}

    def _pattern(self, points) -> np.ndarray:
        size = points.shape[:2]
        if size not in self._patterns:
            self._patterns[size] = _jitter(*size)
        return self._patterns[size]

    def openness(self, points, normals) -> np.ndarray:
        """(H, W) up to 1: distance to the nearest surface a little above each point.

        On an open wall that distance is the step itself; in a corner it is less. The grid and
        the jitter are off by a cell at most, which is added so that open places are fully so.
        """
        reach = max(self._reach, 1.5 * self._cell)
        at = points + normals * np.float32(reach) + self._pattern(points) * (self._cell / 2)
        at -= self._low
        at *= np.float32(1 / self._cell)
        index = np.clip(np.rint(np.nan_to_num(at)), 0, self._shape - 1).astype(np.int32)
        flat = (index[..., 0] * self._shape[1] + index[..., 1]) * self._shape[2] + index[..., 2]
        share = (np.take(self._distance, flat) + np.float32(self._cell)) * np.float32(1 / reach)
        return 0.1 + 0.9 * np.minimum(share, 1)

    def lit(self, points, normals, lights) -> np.ndarray:
        """(H, W) 0 or 1: whether each point sees its own spot of the main light."""
        if not lights:
            return np.ones(points.shape[:2], np.float32)
        light = lights[0]
        rays = np.empty((*points.shape[:2], 6), np.float32)
        rays[..., :3] = points + normals * np.float32(0.004)
        spot = np.asarray(light.position, np.float32) + self._pattern(points) * light.radius
        rays[..., 3:] = spot - rays[..., :3]
        # Stop short of the lamp, whose own shade would else cover it.
        hidden = self._raycaster.test_occlusions(
            o3d.core.Tensor.from_numpy(rays), tnear=0.0, tfar=0.93)
        return 1 - hidden.numpy().astype(np.float32)


def smooth_within_surfaces(planes, depth) -> list[np.ndarray]:
    """Each plane averaged along x and then y over neighbours of about the same depth only.

    Weights of 1/2, 1, 1, 1, 1/2 remove a pattern that repeats every four pixels entirely.
    """
    tolerance = 1 / (0.05 * depth)
    for axis in (0, 1):
        total, weight = [plane.copy() for plane in planes], np.ones_like(depth)
        padded = [_padded(plane, axis) for plane in (depth, *planes)]
        for offset, share in ((0, 0.5), (1, 1), (3, 1), (4, 0.5)):
            moved = [plane[offset:offset + depth.shape[0]] if axis == 0
                     else plane[:, offset:offset + depth.shape[1]] for plane in padded]
            near = (np.abs(moved[0] - depth) * tolerance < 1) * np.float32(share)
            weight += near
            for sum_, plane in zip(total, moved[1:]):
                sum_ += near * plane
        planes = [sum_ / weight for sum_ in total]
    return planes


def _padded(plane: np.ndarray, axis: int) -> np.ndarray:
    """The plane with its edge repeated twice at both ends of an axis."""
    up, left = (2, 0) if axis == 0 else (0, 2)
    return cv2.copyMakeBorder(plane, up, up, left, left, cv2.BORDER_REPLICATE)
