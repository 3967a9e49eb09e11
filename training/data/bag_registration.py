"""Depth of one camera brought into the picture of another: where both are known, and where from.

Poses are 4x4 matrices that take points of one frame to another, metres; optical frames look along
Z with X to the right.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np

from depth_perception.geometry import CameraModel, GeometryError, Intrinsics
from training.data.root import DataError

MOST_SPREAD = 8  # px: a depth pixel covers at most so many of the picture, in each direction
NEAREST_M = 0.01  # nearer than this in the picture's camera is not in front of it


class NoTransform(DataError):
    """The static transforms do not join two frames."""


class StaticTransforms:
    """The tree of /tf_static, by the names of its frames."""

    def __init__(self) -> None:
        self._edges: dict[str, dict[str, np.ndarray]] = {}

    def add(self, message: Any) -> None:
        """Take a tf2_msgs/TFMessage: `child` in `parent`; what comes later counts."""
        for each in message.transforms:
            parent, child = (name.lstrip('/') for name in
                             (each.header.frame_id, each.child_frame_id))
            t, q = each.transform.translation, each.transform.rotation
            pose = pose_of((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))
            if pose is None:
                continue
            self._edges.setdefault(child, {})[parent] = pose
            self._edges.setdefault(parent, {})[child] = np.linalg.inv(pose)

    @property
    def frames(self) -> list[str]:
        """All frames that any transform names."""
        return sorted(self._edges)

    def between(self, source: str, target: str) -> np.ndarray:
        """Return the pose that takes points of `source` to `target`.

        Raises
        ------
        NoTransform
            No chain of transforms joins them.
        """
        source, target = source.lstrip('/'), target.lstrip('/')
        if source == target:
            return np.eye(4)
        reached, open_frames = {source: np.eye(4)}, deque([source])
        while open_frames:
            frame = open_frames.popleft()
            for other, pose in self._edges.get(frame, {}).items():
                if other not in reached:
                    reached[other] = pose @ reached[frame]
                    open_frames.append(other)
        if target not in reached:
            raise NoTransform(f'no static transform joins {source!r} and {target!r}; '
                              f'/tf_static names {", ".join(self.frames) or "no frame"}')
        return reached[target]


def pose_of(translation: Iterable[float], quaternion: Iterable[float]) -> np.ndarray | None:
    """Return the 4x4 pose of a translation (x, y, z) and a quaternion (x, y, z, w).

    None where the quaternion has no length or a value is not finite.
    """
    t, q = np.array([*translation], float), np.array([*quaternion], float)
    length = np.linalg.norm(q)
    if not (np.isfinite(t).all() and np.isfinite(length) and length > 1e-6):
        return None
    x, y, z, w = q / length
    pose = np.eye(4)
    pose[:3, :3] = [[1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                    [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                    [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)]]
    pose[:3, 3] = t
    return pose


class Registration:
    """Draws the depth of one camera into the picture of another, nearest last.

    A depth pixel covers the rectangle between its corners, so that a picture with more pixels
    than the depth image has no holes; what is hidden in the picture loses to what hides it.

    Parameters
    ----------
    depth_camera
        The depth image's camera; its distortion is taken out.
    picture
        Of the picture, which has no distortion.
    pose
        4x4, from the depth camera's frame to the picture's.

    Raises
    ------
    GeometryError
        The depth camera has no focal length, or a distortion that is not known.
    """

    def __init__(self, depth_camera: CameraModel, picture: Intrinsics, pose: np.ndarray) -> None:
        self._shape = (depth_camera.height, depth_camera.width)
        self._picture = picture
        rays = _corner_rays(depth_camera) @ pose[:3, :3].T
        # (H + 1, W + 1) corners; each pixel uses two opposite ones, which its depth scales.
        self._first, self._last = rays[:-1, :-1], rays[1:, 1:]
        middle = (self._first + self._last) / 2
        self._forward, self._shift = middle[..., 2], pose[:3, 3]

    def __call__(self, depth: np.ndarray) -> np.ndarray:
        """Return depth (H, W) metres, NaN where missing, in the picture: float32, NaN likewise.

        Raises
        ------
        GeometryError
            The depth is not of its camera's size.
        """
        if depth.shape != self._shape:
            raise GeometryError(f'depth is {depth.shape[1]}x{depth.shape[0]}, its camera_info is '
                                f'for {self._shape[1]}x{self._shape[0]}')
        valid = np.isfinite(depth) & (depth > 0)
        metres = depth[valid].astype(np.float64)
        seen = metres * self._forward[valid] + self._shift[2]  # distance in the picture's camera
        u0, v0 = self._pixels(self._first[valid], metres)
        u1, v1 = self._pixels(self._last[valid], metres)
        left, right = np.minimum(u0, u1), np.maximum(u0, u1)
        top, bottom = np.minimum(v0, v1), np.maximum(v0, v1)
        front = (seen > NEAREST_M) & (right > 0) & (bottom > 0)
        front &= (left < self._picture.width) & (top < self._picture.height)
        order = np.argsort(-seen[front], kind='stable')  # far to near: the last one drawn stays
        return self._draw(*(each[front][order] for each in (left, top, right, bottom, seen)))

    def _pixels(self, rays: np.ndarray, metres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        points = rays * metres[:, None] + self._shift
        k, z = self._picture, np.maximum(points[:, 2], NEAREST_M)
        # A pixel is covered where its centre is, which is at its integer.
        u = np.ceil(points[:, 0] / z * k.fx + k.cx)
        v = np.ceil(points[:, 1] / z * k.fy + k.cy)
        return u.astype(np.int64), v.astype(np.int64)

    def _draw(self, left, top, right, bottom, seen) -> np.ndarray:
        height, width = self._picture.height, self._picture.width
        out = np.full((height, width), np.nan, np.float32)
        # A pixel that shrinks to nothing still shows its depth.
        wide = np.clip(right - left, 1, MOST_SPREAD)
        high = np.clip(bottom - top, 1, MOST_SPREAD)
        for dy in range(int(high.max(initial=0))):
            for dx in range(int(wide.max(initial=0))):
                u, v = left + dx, top + dy
                inside = (dx < wide) & (dy < high)
                inside &= (u >= 0) & (u < width) & (v >= 0) & (v < height)
                _keep_nearest(out, v[inside], u[inside], seen[inside])
        return out


def _keep_nearest(out: np.ndarray, v: np.ndarray, u: np.ndarray, seen: np.ndarray) -> None:
    # Of those that fall into one pixel the last is written: they come from far to near.
    before = out[v, u]
    nearer = ~(before <= seen)  # also where there is nothing yet
    out[v[nearer], u[nearer]] = seen[nearer]


def _corner_rays(camera: CameraModel) -> np.ndarray:
    """Return the rays through the corners of all pixels, (H + 1, W + 1, 3) with z = 1."""
    k = camera.intrinsics()
    u, v = np.meshgrid(np.arange(k.width + 1) - 0.5, np.arange(k.height + 1) - 0.5)
    corners = np.stack([u, v], axis=-1).reshape(-1, 1, 2)
    flat = _undistorted(corners, camera).reshape(k.height + 1, k.width + 1, 2)
    return np.concatenate([flat, np.ones_like(flat[..., :1])], axis=-1)


def _undistorted(corners: np.ndarray, camera: CameraModel) -> np.ndarray:
    matrix, d = np.reshape(camera.k, (3, 3)), np.array(camera.d)
    if not camera.is_distorted:
        return (corners - matrix[:2, 2]) / matrix[[0, 1], [0, 1]]
    if camera.distortion_model == 'equidistant':
        return cv2.fisheye.undistortPoints(corners, matrix, d[:4])
    if camera.distortion_model not in ('plumb_bob', 'rational_polynomial'):
        raise GeometryError(f'the depth camera is distorted by {camera.distortion_model!r}; known '
                            'are plumb_bob, rational_polynomial and equidistant')
    return cv2.undistortPoints(corners, matrix, d)
