"""Depth and colour to an organised XYZRGB cloud; filters, PLY files and pictures of it.

A cloud is an (H, W, 4) float32 array: x, y, z in metres in the camera's optical frame and the
colour packed as PCL and RViz expect it, the bytes B, G, R, 255 seen as one float32. A pixel
without depth has NaN in x, y and z. A list of points has the shape (N, 4).
"""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np

from depth_perception.geometry import Intrinsics, project, ray_planes

TO_BGRA = {'rgb': cv2.COLOR_RGB2BGRA, 'bgr': cv2.COLOR_BGR2BGRA}
MAX_POINT_PX = 4
BACKGROUND_BGR = (38, 32, 28)
PLY_POINT = np.dtype([('x', '<f4'), ('y', '<f4'), ('z', '<f4'),
                      ('red', 'u1'), ('green', 'u1'), ('blue', 'u1')])
PLY_HEADER = ('ply\nformat binary_little_endian 1.0\nelement vertex {count}\n'
              'property float x\nproperty float y\nproperty float z\n'
              'property uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n')


class PointCloudError(ValueError):
    """Images, buffers or settings that do not make a point cloud."""


class CloudBuilder:
    """Fills organised clouds for one camera; the ray tables are made once.

    Whole planes and one cv2.merge: many times faster than anything that strides through points.

    Parameters
    ----------
    intrinsics : Intrinsics
        Of the full depth image.
    stride : int
        Every `stride`-th pixel of every `stride`-th row becomes a point.

    Attributes
    ----------
    width, height : int
        Of the cloud.
    """

    def __init__(self, intrinsics: Intrinsics, stride: int = 1) -> None:
        cloud = intrinsics.strided(stride)
        self.width, self.height = cloud.width, cloud.height
        self._stride = stride
        self._image_shape = (intrinsics.height, intrinsics.width)
        self._ray_x, self._ray_y = ray_planes(cloud)
        shape = (self.height, self.width)
        self._x, self._y, self._z, self._rgb = (np.empty(shape, np.float32) for _ in range(4))
        self._bgra = np.empty((*self._image_shape, 4), np.uint8)
        self._packed = self._bgra.view(np.float32)[..., 0]

    def fill(self, depth: np.ndarray, image: np.ndarray, out: np.ndarray,
             channel_order: str = 'rgb') -> None:
        """Write the cloud of one frame into `out`, which may be a message's own buffer.

        Parameters
        ----------
        depth : (H, W) float32, metres; NaN: no point
        image : (H, W, 3) uint8
        out : (height, width, 4) float32, contiguous
        channel_order : 'rgb' or 'bgr'
            Of `image`.

        Raises
        ------
        PointCloudError
            If a size, a type or the channel order is none of these.
        """
        self._check(depth, image, out, channel_order)
        cv2.cvtColor(image, TO_BGRA[channel_order], dst=self._bgra)
        rgb = self._packed
        if self._stride > 1:
            # packed first: striding over 4-byte elements is several times faster than over 3
            np.copyto(self._rgb, rgb[::self._stride, ::self._stride])
            np.copyto(self._z, depth[::self._stride, ::self._stride])
            depth, rgb = self._z, self._rgb
        cv2.multiply(depth, self._ray_x, dst=self._x)
        cv2.multiply(depth, self._ray_y, dst=self._y)
        cv2.merge([self._x, self._y, depth, rgb], dst=out)

    def _check(self, depth: np.ndarray, image: np.ndarray, out: np.ndarray,
               channel_order: str) -> None:
        if depth.shape != self._image_shape or depth.dtype != np.float32:
            raise PointCloudError(f'depth is {depth.dtype} {depth.shape}; this camera needs '
                                  f'float32 {self._image_shape}')
        if image.shape != (*self._image_shape, 3) or image.dtype != np.uint8:
            raise PointCloudError(f'image is {image.dtype} {image.shape}; the depth needs '
                                  f'uint8 {(*self._image_shape, 3)}: register one to the other')
        wanted = (self.height, self.width, 4)
        # anything else and cv2 would fill a new array, silently
        if out.shape != wanted or out.dtype != np.float32 or not out.flags.c_contiguous:
            raise PointCloudError(f'out is {out.dtype} {out.shape}; it must be contiguous '
                                  f'float32 {wanted}')
        if channel_order not in TO_BGRA:
            raise PointCloudError(f"channel order is {channel_order!r}; use 'rgb' or 'bgr'")


def pack_rgb(rgb: np.ndarray) -> np.ndarray:
    """Colours (..., 3) uint8 RGB -> (...) float32 packed as in a cloud."""
    bgra = np.full((*rgb.shape[:-1], 4), 255, np.uint8)
    bgra[..., :3] = rgb[..., ::-1]
    return bgra.view(np.float32)[..., 0]


def unpack_rgb(packed: np.ndarray) -> np.ndarray:
    """Packed float32 colours (...) -> (..., 3) uint8 RGB."""
    bytes_ = np.ascontiguousarray(packed, np.float32)[..., None].view(np.uint8)
    return bytes_[..., 2::-1]


def valid_points(cloud: np.ndarray) -> np.ndarray:
    """Points of a cloud (..., 4) that have a position -> (N, 4) float32, in the cloud's order."""
    points = np.ascontiguousarray(cloud, np.float32).reshape(-1, 4)
    found = np.isfinite(points[:, 0] + points[:, 1] + points[:, 2])
    # 16 bytes seen as one element: picking rows of four is ten times slower
    return points.view(np.complex128)[found, 0].view(np.float32).reshape(-1, 4)


def flying_pixel_mask(depth: np.ndarray, relative_step: float) -> np.ndarray:
    """Find the pixels that hang in the air between a near and a far surface.

    A pixel is one of them when it lies more than `relative_step` of a neighbour's depth behind
    that neighbour (8 neighbours). The near side of an edge is kept, so obstacles keep their
    full size.

    Parameters
    ----------
    depth : (H, W) float32, metres
    relative_step : float
        0.05 is 5 %; floors seen at a grazing angle need 0.05 or more.

    Returns
    -------
    (H, W) bool
        True: flying. Pixels without depth are not flying.
    """
    # NaN would poison its whole neighbourhood in a minimum; infinity loses every comparison
    nearest = cv2.erode(np.where(np.isnan(depth), np.float32(np.inf), depth),
                        np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    return depth > nearest * np.float32(1.0 + relative_step)


def write_ply(path: str | Path, cloud: np.ndarray) -> None:
    """Write the valid points of a cloud (..., 4) as a binary PLY file with colours."""
    points = valid_points(cloud)
    rows = np.empty(len(points), PLY_POINT)
    for name, column in zip(PLY_POINT.names, (*points[:, :3].T, *unpack_rgb(points[:, 3]).T)):
        rows[name] = column
    Path(path).write_bytes(PLY_HEADER.format(count=len(rows)).encode('ascii') + rows.tobytes())


def orbit_pose(cloud: np.ndarray, yaw_deg: float = 24.0, pitch_deg: float = -14.0,
               back_off: float = 0.25) -> np.ndarray:
    """A viewpoint beside the camera that made a cloud; the cloud's middle stays in its place.

    Parameters
    ----------
    cloud : (..., 4) float32
    yaw_deg, pitch_deg : float
        How far the camera swings around the middle; positive: to the right, and downwards.
    back_off : float
        How much farther away it goes, as a share of the distance.

    Returns
    -------
    (4, 4) float64
        New camera to cloud, both optical frames.
    """
    points = valid_points(cloud)
    middle = np.median(points[:, :3], axis=0) if len(points) else np.array([0.0, 0.0, 1.0])
    rotation = cv2.Rodrigues(np.array([0.0, -math.radians(yaw_deg), 0.0]))[0]
    rotation = rotation @ cv2.Rodrigues(np.array([math.radians(pitch_deg), 0.0, 0.0]))[0]
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = middle - rotation @ middle * (1.0 + back_off)
    return pose


def render_cloud(cloud: np.ndarray, intrinsics: Intrinsics,
                 pose: np.ndarray | None = None) -> np.ndarray:
    """A picture of a cloud, drawn with NumPy alone: for documents and for machines without GL.

    Parameters
    ----------
    cloud : (..., 4) float32
    intrinsics : Intrinsics
        Of the picture.
    pose : (4, 4), optional
        The picture's camera to the cloud's frame; `orbit_pose` of the cloud unless given.

    Returns
    -------
    (H, W, 3) uint8 BGR
        As cv2.imwrite takes it; dark grey where no point is.
    """
    pose = orbit_pose(cloud) if pose is None else pose
    points = valid_points(cloud)
    seen = (points[:, :3] - pose[:3, 3]) @ pose[:3, :3]
    ahead = seen[:, 2] > 0.01
    points, seen = points[ahead], seen[ahead]
    # a point covers what its own pixel covered when it was taken, seen from the new distance
    spacing = math.sqrt(intrinsics.width * intrinsics.height / max(cloud.size // 4, 1))
    size = np.clip(np.ceil(1.5 * spacing * points[:, 2] / seen[:, 2]), 1, MAX_POINT_PX)
    corner = np.rint(project(seen, intrinsics) - 0.5 * (size[:, None] - 1.0)).astype(np.int64)
    index, depth = _nearest_points(corner, size, seen[:, 2], (intrinsics.height, intrinsics.width))
    colours = np.append(unpack_rgb(points[:, 3])[:, ::-1], [BACKGROUND_BGR], axis=0)
    return np.rint(colours[index] * _eye_dome_shade(depth)[..., None]).astype(np.uint8)


def _nearest_points(corner: np.ndarray, size: np.ndarray, z: np.ndarray,
                    shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Index of the nearest point in each pixel (-1: none) and its depth (infinite: none)."""
    order = np.argsort(-z)
    best = np.full(shape, -1, np.int64)
    padded = np.append(z, np.inf)
    for down in range(MAX_POINT_PX):
        for right in range(MAX_POINT_PX):
            x, y = (corner + (right, down)).T
            drawn = ((size > max(right, down)) & (x >= 0) & (x < shape[1])
                     & (y >= 0) & (y < shape[0]))
            nearest = np.full(shape, -1, np.int64)
            far_first = order[drawn[order]]
            nearest[y[far_first], x[far_first]] = far_first
            best = np.where(padded[nearest] < padded[best], nearest, best)
    return best, padded[best]


def _eye_dome_shade(depth: np.ndarray) -> np.ndarray:
    """Darken what lies behind its neighbours, so that shapes stand out without lights."""
    log_depth = np.log(np.minimum(depth, 1e3)).astype(np.float32)
    behind = np.zeros_like(log_depth)
    for dy, dx in ((0, 2), (2, 0), (0, -2), (-2, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)):
        moved = cv2.warpAffine(log_depth, np.float32([[1, 0, dx], [0, 1, dy]]),
                               depth.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
        behind += np.clip(log_depth - moved, 0.0, 0.1)
    return np.where(np.isfinite(depth), np.exp(-1.5 * behind), 1.0)
