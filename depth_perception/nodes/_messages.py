"""ROS messages to arrays and back, so that the nodes see numbers only.

Images come as views on the message's own buffer (``image_encodings.py``). Outgoing messages are
made once per size, written in place and published again: only ``array.array('B')`` is taken
without a check of each byte by every distribution, a numpy view on it makes filling a plain memory
write, and publish() copies the message before it returns.
"""

from __future__ import annotations

import array
import os
import sys

import numpy as np
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import Header

from depth_perception.geometry import CameraModel, Intrinsics
from depth_perception.image_encodings import (
    COLOR_ENCODINGS,
    ENCODINGS,
    ColorImage,
    MessageError,
    camera_model,
    check_size,
    color_of,
    compressed_to_rgb,
    to_depth,
)

__all__ = ['CloudWriter', 'ColorImage', 'ImageWriter', 'MessageError', 'camera_info',
           'camera_model', 'compressed_to_rgb', 'copy_header', 'raw_camera_info', 'to_depth',
           'to_rgb']


def to_rgb(msg: Image) -> ColorImage:
    """Return the picture of a message in 8 bit colour, as :func:`color_of`.

    cv_bridge converts the encodings outside the table, where ROS provides it.

    Raises
    ------
    MessageError
        As :func:`color_of`; cv_bridge is missing or cannot convert the encoding.
    """
    if msg.encoding not in ENCODINGS:
        check_size(msg)  # cv_bridge itself would end in a TypeError
        return ColorImage(_through_cv_bridge(msg), 'bgr')
    return color_of(msg)


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
        """Return the points to write into, (H, W, 4) float32; some may have no position."""
        msg = self._message
        if self._view is None or self._view.shape[:2] != (height, width):
            msg.height, msg.width, msg.row_step = height, width, 16 * width
            msg.is_dense = False
            msg.data = array.array('B', bytes(msg.row_step * height))
            self._view = np.frombuffer(msg.data, np.float32).reshape(height, width, 4)
        return self._view

    def fill(self, points: np.ndarray) -> None:
        """Take a plain list (N, 4) float32 of points that all have a position."""
        msg = self._message
        msg.height, msg.width, msg.row_step = 1, len(points), 16 * len(points)
        msg.is_dense = True
        msg.data = array.array('B', points.tobytes())
        self._view = None

    def message(self, header: Header) -> PointCloud2:
        """Return the message, the same object each time, under a copy of `header`."""
        copy_header(header, self._message.header)
        return self._message
