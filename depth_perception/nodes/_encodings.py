"""Image encodings of ROS: how each lies in memory, and a view on a message's pixels.

The table is the one place that knows encodings; byte order and row padding become the dtype and
the strides of the view, so a read costs nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from sensor_msgs.msg import Image


class MessageError(ValueError):
    """A message cannot be used; the text says what came, what is expected, and the way out."""


class Encoding(NamedTuple):
    """How one encoding lies in memory."""

    dtype: str  # numpy type in native byte order
    channels: int
    order: str  # rgb, bgr, rgba, bgra, mono, depth, bayer, yuv
    to_rgb: int | None = None  # cv2.cvtColor code


# OpenCV names a Bayer pattern after row 1, columns 1 and 2; ROS after row 0, columns 0 and 1.
ENCODINGS: dict[str, Encoding] = {
    'rgb8': Encoding('u1', 3, 'rgb'),
    'bgr8': Encoding('u1', 3, 'bgr'),
    '8UC3': Encoding('u1', 3, 'bgr'),  # cv_bridge's convention
    'rgba8': Encoding('u1', 4, 'rgba', cv2.COLOR_RGBA2RGB),
    'bgra8': Encoding('u1', 4, 'bgra', cv2.COLOR_BGRA2RGB),
    'mono8': Encoding('u1', 1, 'mono', cv2.COLOR_GRAY2RGB),
    '8UC1': Encoding('u1', 1, 'mono', cv2.COLOR_GRAY2RGB),
    'mono16': Encoding('u2', 1, 'mono', cv2.COLOR_GRAY2RGB),
    'bayer_rggb8': Encoding('u1', 1, 'bayer', cv2.COLOR_BayerBG2RGB),
    'bayer_bggr8': Encoding('u1', 1, 'bayer', cv2.COLOR_BayerRG2RGB),
    'bayer_gbrg8': Encoding('u1', 1, 'bayer', cv2.COLOR_BayerGR2RGB),
    'bayer_grbg8': Encoding('u1', 1, 'bayer', cv2.COLOR_BayerGB2RGB),
    'yuv422': Encoding('u1', 2, 'yuv', cv2.COLOR_YUV2RGB_UYVY),
    'uyvy': Encoding('u1', 2, 'yuv', cv2.COLOR_YUV2RGB_UYVY),
    'yuv422_yuy2': Encoding('u1', 2, 'yuv', cv2.COLOR_YUV2RGB_YUY2),
    'yuyv': Encoding('u1', 2, 'yuv', cv2.COLOR_YUV2RGB_YUY2),
    '32FC1': Encoding('f4', 1, 'depth'),
    '16UC1': Encoding('u2', 1, 'depth'),
}
COLOR_ENCODINGS = tuple(name for name, how in ENCODINGS.items() if how.order != 'depth')


def to_array(msg: Image) -> tuple[np.ndarray, Encoding]:
    """Return a view on the pixels of a message, without a copy.

    Returns
    -------
    array : numpy.ndarray
        (H, W) or (H, W, C); its dtype carries the message's byte order, its first stride is
        ``step``, so rows may be padded.
    encoding : Encoding

    Raises
    ------
    MessageError
        Unknown encoding, zero size, ``step`` too small, or less data than ``step * height``.
    """
    encoding = ENCODINGS.get(msg.encoding)
    if encoding is None:
        raise MessageError(
            f'image encoding {msg.encoding!r} is not one of {", ".join(ENCODINGS)}: '
            'set the driver to one of these'
        )
    check_size(msg)
    _check_row(msg, encoding)
    dtype = np.dtype(encoding.dtype).newbyteorder('>' if msg.is_bigendian else '<')
    shape, strides = (msg.height, msg.width), (msg.step, dtype.itemsize * encoding.channels)
    if encoding.channels > 1:
        shape, strides = (*shape, encoding.channels), (*strides, dtype.itemsize)
    return np.ndarray(shape, dtype, msg.data, strides=strides), encoding


def check_size(msg: Image) -> None:
    """Raise MessageError for an image without pixels, or with less data than it says."""
    size = f'{msg.width}x{msg.height} {msg.encoding}'
    if msg.width == 0 or msg.height == 0:
        raise MessageError(
            f'the image is {size}; width and height must be positive: check the driver'
        )
    if len(msg.data) < msg.step * msg.height:
        raise MessageError(
            f'the {size} image has {len(msg.data)} bytes; step * height = {msg.step} * '
            f'{msg.height} asks for {msg.step * msg.height}: the message was cut short'
        )


def _check_row(msg: Image, encoding: Encoding) -> None:
    row = msg.width * encoding.channels * np.dtype(encoding.dtype).itemsize
    if msg.step < row:
        raise MessageError(
            f'step is {msg.step} for a {msg.width}x{msg.height} {msg.encoding} image; a row takes '
            f'at least {row} bytes: the driver fills step or encoding wrongly'
        )


def native(array: np.ndarray) -> np.ndarray:
    """Return the array in this machine's byte order, which OpenCV insists on."""
    return array.astype(array.dtype.newbyteorder('='), copy=False)
