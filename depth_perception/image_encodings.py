"""What image messages hold: a view on the pixels, colour, metres of depth, the camera.

Nothing here needs ROS: a message is anything that has its fields, so nodes read rclpy's with it
and training reads those of a bag. The table is the one place that knows encodings; byte order and
row padding become the dtype and the strides of the view, so a read costs nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np

from depth_perception.geometry import CameraModel, GeometryError
from depth_perception.sources import decoded

LARGEST_SIDE = 32766    # px, of what cv2.remap takes
METRES_PER_UNIT = {'32FC1': 1.0, '16UC1': 1e-3, 'mono16': 1e-3}  # REP 118; some drivers say mono16


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


def to_array(msg: Any) -> tuple[np.ndarray, Encoding]:
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


def check_size(msg: Any) -> None:
    """Raise MessageError for an image without pixels, too large, or cut short."""
    size = f'{msg.width}x{msg.height} {msg.encoding}'
    _check_sides(msg.width, msg.height)
    if msg.width == 0 or msg.height == 0:
        raise MessageError(
            f'the image is {size}; width and height must be positive: check the driver'
        )
    if len(msg.data) < msg.step * msg.height:
        raise MessageError(
            f'the {size} image has {len(msg.data)} bytes; step * height = {msg.step} * '
            f'{msg.height} asks for {msg.step * msg.height}: the message was cut short'
        )


def _check_sides(width: int, height: int) -> None:
    if max(width, height) > LARGEST_SIDE:
        raise MessageError(f'the image is {width}x{height}; OpenCV takes no side of more than '
                           f'{LARGEST_SIDE} pixels: cut it, or make it smaller')


def _check_row(msg: Any, encoding: Encoding) -> None:
    row = msg.width * encoding.channels * np.dtype(encoding.dtype).itemsize
    if msg.step < row:
        raise MessageError(
            f'step is {msg.step} for a {msg.width}x{msg.height} {msg.encoding} image; a row takes '
            f'at least {row} bytes: the driver fills step or encoding wrongly'
        )


def native(array: np.ndarray) -> np.ndarray:
    """Return the array in this machine's byte order, which OpenCV insists on."""
    return array.astype(array.dtype.newbyteorder('='), copy=False)

class ColorImage(NamedTuple):
    """A colour picture without ROS: `array` (H, W, 3) uint8, channels as `channel_order` says."""

    array: np.ndarray
    channel_order: str  # 'rgb' or 'bgr'


def color_of(msg: Any) -> ColorImage:
    """Return the picture of a message in 8 bit colour.

    rgb8 and bgr8 are views on the message, valid as long as it is; the rest is converted.
    16 bit grey is scaled as cv_bridge does (65535 -> 255).

    Raises
    ------
    MessageError
        As :func:`to_array`; a depth image; odd width in YUV 4:2:2.
    """
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


def compressed_to_rgb(msg: Any) -> ColorImage:
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
    _check_sides(image.shape[1], image.shape[0])
    # image_transport writes 'rgb8; jpeg compressed bgr8': the last word is the order of channels
    # that went into the codec, which takes what it gets for bgr.
    swapped = kind.rpartition('compressed')[2].strip().startswith('rgb')
    return ColorImage(image, 'rgb' if swapped else 'bgr')


def to_depth(msg: Any) -> np.ndarray:
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


def camera_model(info: Any) -> CameraModel:
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
