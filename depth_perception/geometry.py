"""Pinhole cameras: intrinsics that follow resizes and crops, rays, (un)projection, rectification.

Conventions: pixel centres lie at integer coordinates (as in OpenCV and ROS), points are in the
camera's optical frame (x right, y down, z forward), depth is z in metres, not the ray's length.
"""

from __future__ import annotations

from dataclasses import dataclass
import math

import cv2
import numpy as np

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
# sensor_msgs/distortion_models.hpp: the name of a model and how many coefficients it may have
DISTORTION_MODELS = {'plumb_bob': (4, 5), 'rational_polynomial': (8,), 'equidistant': (4,)}


class GeometryError(ValueError):
    """A camera that cannot be: no size, no focal length, an unknown distortion model."""


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole intrinsics of one image size, in pixels.

    Raises
    ------
    GeometryError
        If a size is not positive, a focal length is not finite and positive, or the principal
        point is not finite.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise GeometryError(
                f'image size is {self.width}x{self.height}; both must be at least 1 pixel')
        if not (0.0 < self.fx < math.inf and 0.0 < self.fy < math.inf):
            raise GeometryError(
                f'focal length is fx={self.fx:g}, fy={self.fy:g} pixels; both must be finite and '
                'above 0: calibrate the camera, or give its field of view')
        if not (math.isfinite(self.cx) and math.isfinite(self.cy)):
            raise GeometryError(
                f'principal point is cx={self.cx:g}, cy={self.cy:g}; both must be finite')

    @classmethod
    def from_hfov(cls, width: int, height: int, hfov_deg: float) -> Intrinsics:
        """Square pixels, the principal point in the image's centre, `hfov_deg` degrees wide.

        Raises
        ------
        GeometryError
            If `hfov_deg` is not between 0 and 180.
        """
        if not 0.0 < hfov_deg < 180.0:
            raise GeometryError(
                f'horizontal field of view is {hfov_deg:g} degrees; '
                'a pinhole camera has more than 0 and less than 180')
        focal = 0.5 * width / math.tan(math.radians(0.5 * hfov_deg))
        return cls(width, height, focal, focal, 0.5 * (width - 1), 0.5 * (height - 1))

    @property
    def focal_px(self) -> float:
        """One focal length for both axes: the geometric mean of fx and fy, pixels."""
        return math.sqrt(self.fx * self.fy)

    def resized(self, width: int, height: int) -> Intrinsics:
        """Intrinsics after cv2.resize to `width` x `height`.

        A pixel's area is scaled, not its centre: hence the shift by half a pixel.
        """
        sx, sy = width / self.width, height / self.height
        return Intrinsics(width, height, self.fx * sx, self.fy * sy,
                          (self.cx + 0.5) * sx - 0.5, (self.cy + 0.5) * sy - 0.5)

    def cropped(self, x: int, y: int, width: int, height: int) -> Intrinsics:
        """Intrinsics of ``image[y:y + height, x:x + width]``.

        The window may reach over the image: a letterbox border is a crop from (-x, -y).
        """
        return Intrinsics(width, height, self.fx, self.fy, self.cx - x, self.cy - y)

    def strided(self, stride: int) -> Intrinsics:
        """Intrinsics of ``image[::stride, ::stride]``: pixel 0 stays where it is.

        Raises
        ------
        GeometryError
            If `stride` is below 1.
        """
        if stride < 1:
            raise GeometryError(f'stride is {stride}; it must be at least 1')
        return Intrinsics(-(-self.width // stride), -(-self.height // stride),
                          self.fx / stride, self.fy / stride, self.cx / stride, self.cy / stride)

    def matrix(self) -> np.ndarray:
        """The camera matrix K, (3, 3) float64."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])


def ray_planes(intrinsics: Intrinsics) -> tuple[np.ndarray, np.ndarray]:
    """Direction of each pixel's ray at z = 1.

    Returns
    -------
    tuple of two (H, W) float32 arrays
        ``(u - cx) / fx`` and ``(v - cy) / fy``; each contiguous, as cv2 and SIMD like them.
    """
    k = intrinsics
    x = ((np.arange(k.width) - k.cx) / k.fx).astype(np.float32)
    y = ((np.arange(k.height) - k.cy) / k.fy).astype(np.float32)
    shape = (k.height, k.width)
    return (np.ascontiguousarray(np.broadcast_to(x, shape)),
            np.ascontiguousarray(np.broadcast_to(y[:, None], shape)))


def unproject(depth: np.ndarray, intrinsics: Intrinsics) -> np.ndarray:
    """Turn depth into points.

    Parameters
    ----------
    depth : (H, W) array, metres
        NaN stays NaN.
    intrinsics : Intrinsics
        Of the depth image itself.

    Returns
    -------
    (H, W, 3) float32 array, metres, optical frame

    Raises
    ------
    GeometryError
        If depth and intrinsics differ in size.
    """
    if depth.shape != (intrinsics.height, intrinsics.width):
        raise GeometryError(
            f'depth has shape {depth.shape}, the intrinsics are for (H, W) = '
            f'{(intrinsics.height, intrinsics.width)}; use Intrinsics.resized or .cropped')
    depth = np.asarray(depth, np.float32)
    x, y = ray_planes(intrinsics)
    return np.stack((x * depth, y * depth, depth), axis=-1)


def project(points: np.ndarray, intrinsics: Intrinsics) -> np.ndarray:
    """Turn points (..., 3), metres, optical frame, into pixels (..., 2): u to the right, v down.

    Points in or behind the camera's plane (z <= 0) give NaN.
    """
    points = np.asarray(points)
    z = np.where(points[..., 2] > 0, points[..., 2], np.nan)
    u = points[..., 0] / z * intrinsics.fx + intrinsics.cx
    v = points[..., 1] / z * intrinsics.fy + intrinsics.cy
    return np.stack((u, v), axis=-1)


@dataclass(frozen=True)
class CameraModel:
    """What a sensor_msgs/CameraInfo says, without ROS.

    Attributes
    ----------
    width, height : int
        Size of the raw image, pixels.
    k : 9 floats
        Camera matrix of the raw image, row by row.
    distortion_model : str
        ``plumb_bob``, ``rational_polynomial`` or ``equidistant``.
    d : floats
        Distortion coefficients in OpenCV's order; empty or all 0: none.
    r : 9 floats
        Rotation into the rectified camera; all 0 counts as the identity.
    p : 12 floats or none
        Projection matrix of the rectified image; empty or P[0] = 0: K is used.

    Raises
    ------
    GeometryError
        If k, r or p has the wrong length, or any value is NaN or infinite.
    """

    width: int
    height: int
    k: tuple[float, ...]
    distortion_model: str = 'plumb_bob'
    d: tuple[float, ...] = ()
    r: tuple[float, ...] = IDENTITY
    p: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name, allowed in (('k', (9,)), ('r', (9,)), ('p', (0, 12))):
            count = len(getattr(self, name))
            if count not in allowed:
                raise GeometryError(
                    f'camera matrix {name.upper()} has {count} values; it must have {allowed[-1]}')
        for name in ('k', 'd', 'r', 'p'):
            if not all(map(math.isfinite, getattr(self, name))):
                raise GeometryError(f'{name.upper()} of the camera holds NaN or infinity; '
                                    'calibrate the camera again')

    @property
    def is_distorted(self) -> bool:
        """Whether any distortion coefficient differs from 0."""
        return any(value != 0.0 for value in self.d)

    def intrinsics(self) -> Intrinsics:
        """Intrinsics of the raw image (K); GeometryError where K has no focal length."""
        return Intrinsics(self.width, self.height, self.k[0], self.k[4], self.k[2], self.k[5])

    def rectified_intrinsics(self) -> Intrinsics:
        """Intrinsics of the rectified image: P, or K where P is missing or zero."""
        if not self.p or self.p[0] <= 0.0:
            return self.intrinsics()
        return Intrinsics(self.width, self.height, self.p[0], self.p[5], self.p[2], self.p[6])


class Rectifier:
    """Removes a camera's lens distortion, with maps computed once.

    Colour images (uint8) are interpolated; depth (any other dtype) takes the nearest pixel,
    because a mean of two depths lies on neither surface. Pixels that the camera did not see are
    NaN in a float image, else 0.

    Attributes
    ----------
    intrinsics : Intrinsics
        Of the rectified image.
    unseen : (H, W) bool array or None
        The pixels of the rectified image that the camera did not see; None where it saw all.

    Raises
    ------
    GeometryError
        If the distortion model is unknown or has the wrong number of coefficients, or if the
        camera has no focal length.
    """

    def __init__(self, camera: CameraModel) -> None:
        self.intrinsics = camera.rectified_intrinsics()
        self._shape = (camera.height, camera.width)
        maps = _undistortion_maps(camera, self.intrinsics)
        # Fixed point: 2 bytes a coordinate instead of 4, and weights from a table of 1/32 pixel.
        self._linear = cv2.convertMaps(*maps, cv2.CV_16SC2)
        # Maps made for interpolation hold the floor: the nearest pixel needs its own.
        self._nearest = cv2.convertMaps(*maps, cv2.CV_16SC2, nninterpolation=True)[0]
        seen = cv2.remap(np.ones(self._shape, np.uint8), self._nearest, None, cv2.INTER_NEAREST)
        self.unseen = None if seen.all() else seen == 0

    def __call__(self, image: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Rectify `image` (H, W) or (H, W, C), into `out` where given.

        Raises
        ------
        GeometryError
            If the image is not of the camera's size.
        """
        if image.shape[:2] != self._shape:
            raise GeometryError(
                f'image is {image.shape[1]}x{image.shape[0]}, the camera_info is for '
                f'{self._shape[1]}x{self._shape[0]}; both must be of the same size')
        if image.dtype == np.uint8:
            return cv2.remap(image, *self._linear, cv2.INTER_LINEAR, dst=out)
        empty = (math.nan if image.dtype.kind == 'f' else 0.0,) * 4
        return cv2.remap(image, self._nearest, None, cv2.INTER_NEAREST, dst=out,
                         borderMode=cv2.BORDER_CONSTANT, borderValue=empty)


def _undistortion_maps(camera: CameraModel, new: Intrinsics) -> tuple[np.ndarray, np.ndarray]:
    """Where each rectified pixel lies in the raw image: u and v, (H, W) float32 each."""
    coefficients = _coefficients(camera)
    rotation = np.reshape(camera.r if any(camera.r) else IDENTITY, (3, 3))
    fisheye = camera.distortion_model == 'equidistant' and camera.is_distorted
    make_maps = cv2.fisheye.initUndistortRectifyMap if fisheye else cv2.initUndistortRectifyMap
    return make_maps(camera.intrinsics().matrix(), coefficients, rotation, new.matrix(),
                     (camera.width, camera.height), cv2.CV_32FC1)


def _coefficients(camera: CameraModel) -> np.ndarray:
    """Check the distortion model and give its coefficients as float64."""
    if not camera.is_distorted:
        return np.zeros(5)
    counts = DISTORTION_MODELS.get(camera.distortion_model)
    if counts is None:
        raise GeometryError(
            f'distortion model is {camera.distortion_model!r}; it must be one of '
            f'{", ".join(DISTORTION_MODELS)}: recalibrate the camera with one of them')
    if len(camera.d) not in counts:
        raise GeometryError(
            f'distortion model {camera.distortion_model} came with {len(camera.d)} coefficients; '
            f'it has {" or ".join(map(str, counts))}')
    return np.array(camera.d, np.float64)
