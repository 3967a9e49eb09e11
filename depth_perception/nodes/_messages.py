"""ROS messages to arrays and back, so that the nodes see numbers only.

Images come as views on the message's own buffer (``_encodings.py``). Outgoing messages are made
once per size, written in place and published again: only ``array.array('B')`` is taken without a
check of each byte by every distribution, a numpy view on it makes filling a plain memory write,
and publish() copies the message before it returns.
"""

from __future__ import annotations

import array
import os
import sys
from typing import NamedTuple

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import Header

from depth_perception.geometry import CameraModel, GeometryError, Intrinsics
from depth_perception.nodes._encodings import (
    COLOR_ENCODINGS,
    ENCODINGS,
    MessageError,
    check_size,
    native,
    to_array,
)
from depth_perception.sources import decoded

METRES_PER_UNIT = {'32FC1': 1.0, '16UC1': 1e-3, 'mono16': 1e-3}  # REP 118; some drivers say mono16


class ColorImage(NamedTuple):
    """A colour picture without ROS: `array` (H, W, 3) uint8, channels as `channel_order` says."""

    array: np.ndarray
    channel_order: str  # 'rgb' or 'bgr'


def to_rgb(msg: Image) -> ColorImage:
    """Return the picture of a message in 8 bit colour.

    rgb8 and bgr8 are views on the message, valid as long as it is; the rest is converted.
    16 bit grey is scaled as cv_bridge does (65535 -> 255).

    Raises
    ------
    MessageError
        As :func:`to_array`; a depth image; odd width in YUV 4:2:2.
    """
    if msg.encoding not in ENCODINGS:
        check_size(msg)  # cv_bridge itself would end in a TypeError
        return ColorImage(_through_cv_bridge(msg), 'bgr')
    pixels, encoding = to_array(msg)
    if encoding.order in ('rgb', 'bgr'):
        return ColorImage(pixels, encoding.order)
    if encoding.order == 'depth':
        raise MessageError(
            f'{msg.encoding} is a depth encoding and a colour image is expected here, such as '
            'rgb8: check the remapping of the image topic'
        )
    if encoding.order == 'yuv' and msg.width % 2:
        raise MessageError(f'{msg.encoding} needs an even width, not {msg.width}')
    if encoding.dtype == 'u2':
        pixels = cv2.convertScaleAbs(native(pixels), alpha=255 / 65535)
    return ColorImage(cv2.cvtColor(pixels, encoding.to_rgb), 'rgb')


def _through_cv_bridge(msg: Image) -> np.ndarray:
    try:
        from cv_bridge import CvBridge, CvBridgeError
    except (ImportError, AttributeError) as error:  # AttributeError: built for NumPy 1, under 2
        distro = os.environ.get('ROS_DISTRO', '$ROS_DISTRO')
        raise MessageError(
            f'image encoding {msg.encoding!r} needs cv_bridge, which cannot be imported '
            f'({error}): apt install ros-{distro}-cv-bridge, or set the driver to one of '
            f'{", ".join(COLOR_ENCODINGS)}'
        ) from None
    try:
        return CvBridge().imgmsg_to_cv2(msg, 'bgr8')
    except CvBridgeError as error:
        raise MessageError(
            f'cv_bridge cannot convert {msg.encoding!r} to bgr8 ({error}): set the driver to '
            f'one of {", ".join(COLOR_ENCODINGS)}'
        ) from None


def compressed_to_rgb(msg: CompressedImage) -> ColorImage:
    """Decode a jpeg or png picture.

    Raises
    ------
    MessageError
        ``format`` names another codec (such as compressedDepth), or the data is damaged.
    """
    kind = msg.format.lower()
    if 'compresseddepth' in kind or not any(known in kind for known in ('jpeg', 'jpg', 'png')):
        raise MessageError(
            f'compressed format {msg.format!r} is not a jpeg or png picture: set the image '
            'transport of the publisher to compressed (jpeg or png)'
        )
    image = decoded(msg.data)
    if image is None:
        raise MessageError(
            f'{len(msg.data)} bytes of {msg.format!r} cannot be decoded: the picture is damaged'
        )
    # image_transport writes 'rgb8; jpeg compressed bgr8': the last word is the order of channels
    # that went into the codec, which takes what it gets for bgr.
    swapped = kind.rpartition('compressed')[2].strip().startswith('rgb')
    return ColorImage(image, 'rgb' if swapped else 'bgr')


def to_depth(msg: Image) -> np.ndarray:
    """Return depth in metres.

    Returns
    -------
    numpy.ndarray
        (H, W) float32 of its own; NaN where the message has NaN, infinity, zero or less.

    Raises
    ------
    MessageError
        As :func:`to_array`; or the encoding is no depth encoding.
    """
    metres = METRES_PER_UNIT.get(msg.encoding)
    if metres is None:
        raise MessageError(
            f'depth image encoding is {msg.encoding!r}; it must be 32FC1 (metres) or 16UC1 '
            '(millimetres): check the remapping of the depth topic'
        )
    pixels, _ = to_array(msg)
    depth = pixels.astype(np.float32)
    if metres != 1.0:
        depth *= np.float32(metres)
    depth[~((depth > 0) & (depth < np.inf))] = np.nan
    return depth


def camera_model(info: CameraInfo) -> CameraModel:
    """Return what a CameraInfo says about the image that travels with it.

    A region of interest and binning are worked in, so size, K and P belong to that image.

    Raises
    ------
    MessageError
        Size zero, no focal length, or a matrix of NaN.
    """
    if info.width == 0 or info.height == 0:
        raise MessageError(
            f'camera_info is for a {info.width}x{info.height} image; the size must be positive'
        )
    if not (info.k[0] > 0 and info.k[4] > 0 and np.isfinite(info.k).all()):
        raise MessageError(
            f'camera_info has the focal lengths {info.k[0]}, {info.k[4]}; they must be positive: '
            'calibrate the camera and give its driver the calibration file'
        )
    bin_x, bin_y, roi = max(1, info.binning_x), max(1, info.binning_y), info.roi
    whole = roi.width == 0 or roi.height == 0
    shift = np.array([[1, 0, -roi.x_offset], [0, 1, -roi.y_offset], [0, 0, 1]], float)
    # Binning averages pixels whose centres are at integers, hence the half pixels.
    scale = [[1 / bin_x, 0, 0.5 / bin_x - 0.5], [0, 1 / bin_y, 0.5 / bin_y - 0.5], [0, 0, 1]]
    to_image = np.array(scale) @ shift
    try:
        return CameraModel(
            width=(info.width if whole else roi.width) // bin_x,
            height=(info.height if whole else roi.height) // bin_y,
            k=tuple((to_image @ np.reshape(info.k, (3, 3))).ravel().tolist()),
            distortion_model=info.distortion_model or 'plumb_bob',
            d=tuple(info.d),
            r=tuple(info.r) if any(info.r) else (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
            p=tuple((to_image @ np.reshape(info.p, (3, 4))).ravel().tolist()),
        )
    except GeometryError as error:
        raise MessageError(f'camera_info: {error}') from None


def camera_info(intrinsics: Intrinsics, header: Header, baseline: float = 0.0) -> CameraInfo:
    """Return the CameraInfo of a rectified image: D = 0, K in P, P[3] = -fx * baseline.

    Parameters
    ----------
    baseline : float
        Metres from the left camera; 0 for the left or only one.
    """
    k = intrinsics.matrix()
    info = CameraInfo(width=intrinsics.width, height=intrinsics.height)
    info.header = copy_header(header)
    info.distortion_model = 'plumb_bob'
    info.d = [0.0] * 5
    info.k = k.ravel().tolist()
    info.r = np.eye(3).ravel().tolist()
    info.p = np.column_stack([k, [-intrinsics.fx * baseline, 0.0, 0.0]]).ravel().tolist()
    return info


def raw_camera_info(camera: CameraModel, header: Header) -> CameraInfo:
    """Return the CameraInfo of a raw image, as a camera driver publishes it.

    Without a projection matrix P is K, so that the image counts as its own rectified one.
    """
    info = CameraInfo(width=camera.width, height=camera.height)
    info.header = copy_header(header)
    info.distortion_model = camera.distortion_model
    info.d = list(camera.d)
    info.k = list(camera.k)
    info.r = list(camera.r)
    k = np.reshape(camera.k, (3, 3))
    info.p = list(camera.p) or np.column_stack([k, np.zeros(3)]).ravel().tolist()
    return info


def copy_header(header: Header, target: Header | None = None) -> Header:
    """Copy stamp and frame field by field, as assigning a header would alias the input's.

    Parameters
    ----------
    target : Header, optional
        Written in place; a new one when left out.
    """
    target = Header() if target is None else target
    target.stamp.sec, target.stamp.nanosec = header.stamp.sec, header.stamp.nanosec
    target.frame_id = header.frame_id
    return target


class ImageWriter:
    """One Image message that is filled and published again for each frame.

    ::

        writer = ImageWriter('32FC1')
        writer.prepare(480, 640)[:] = depth
        publisher.publish(writer.message(header))

    Parameters
    ----------
    encoding : str
        A key of ``ENCODINGS``, such as ``32FC1`` or ``bgr8``.
    """

    def __init__(self, encoding: str) -> None:
        self._encoding = ENCODINGS[encoding]
        self._message = Image(encoding=encoding, is_bigendian=sys.byteorder == 'big')
        self._view: np.ndarray | None = None

    def prepare(self, height: int, width: int) -> np.ndarray:
        """Return the message's pixels to write into, (H, W) or (H, W, C) and contiguous.

        It is the same memory until another size is asked for, and holds the last frame.
        """
        msg, how = self._message, self._encoding
        if self._view is None or self._view.shape[:2] != (height, width):
            msg.height, msg.width = height, width
            msg.step = width * how.channels * np.dtype(how.dtype).itemsize
            shape = (height, width) if how.channels == 1 else (height, width, how.channels)
            msg.data = array.array('B', bytes(msg.step * height))
            self._view = np.frombuffer(msg.data, how.dtype).reshape(shape)
        return self._view

    def message(self, header: Header) -> Image:
        """Return the message, the same object each time, under a copy of `header`."""
        copy_header(header, self._message.header)
        return self._message


class CloudWriter:
    """One PointCloud2 of x y z rgb (float32, 16 bytes a point), like :class:`ImageWriter`."""

    def __init__(self) -> None:
        fields = [
            PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
            for index, name in enumerate(('x', 'y', 'z', 'rgb'))
        ]
        self._message = PointCloud2(
            fields=fields, point_step=16, is_bigendian=sys.byteorder == 'big', is_dense=False
        )
        self._view: np.ndarray | None = None

    def prepare(self, height: int, width: int) -> np.ndarray:
        """Return the points to write into, (H, W, 4) float32; height 1 for a plain list."""
        msg = self._message
        if self._view is None or self._view.shape[:2] != (height, width):
            msg.height, msg.width, msg.row_step = height, width, 16 * width
            msg.data = array.array('B', bytes(msg.row_step * height))
            self._view = np.frombuffer(msg.data, np.float32).reshape(height, width, 4)
        return self._view

    def message(self, header: Header) -> PointCloud2:
        """Return the message, the same object each time, under a copy of `header`."""
        copy_header(header, self._message.header)
        return self._message
