"""Depth inside a CompressedImage: plain PNG, and image_transport's compressedDepth (PNG or RVL).

compressedDepth puts 12 bytes before the payload: an int32 and two float32 parameters a and b. Of
16UC1 the payload is millimetres; of 32FC1 it is quantised inverse depth, metres = a / (value - b).
RVL is the run-length code of A. D. Wilson, "Fast Lossless Depth Image Compression", 2017.
"""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np

from depth_perception.image_encodings import METRES_PER_UNIT, MessageError

HEADER = struct.Struct('<iff')
RVL_SIZE = struct.Struct('<II')
PNG_MAGIC = b'\x89PNG'
MOST_PIXELS = 1 << 28


def compressed_depth(msg: Any) -> np.ndarray:
    """Decode the depth of a CompressedImage.

    Returns
    -------
    numpy.ndarray
        (H, W) float32 metres; NaN where there is none.

    Raises
    ------
    MessageError
        ``format`` names no depth encoding or another codec, or the data is damaged.
    """
    kind, data = msg.format.strip(), bytes(msg.data)
    encoding = kind.split(';')[0].strip()
    if encoding not in METRES_PER_UNIT:
        raise MessageError(
            f'compressed format {msg.format!r} is not depth; it must begin with 16UC1 or 32FC1: '
            'check the topic of the depth'
        )
    if 'compressedDepth' not in kind or data.startswith(PNG_MAGIC):
        stored, a, b = _png(data, kind), 0.0, 0.0
    else:
        stored, a, b = _with_header(data, kind)
    if encoding != '32FC1':
        depth = stored.astype(np.float32) * np.float32(METRES_PER_UNIT[encoding])
    elif a == 0.0:
        raise MessageError(f'{msg.format!r} lacks the parameters of its quantisation: its '
                           '12 bytes before the picture are missing or zero')
    else:
        with np.errstate(divide='ignore'):
            depth = np.float32(a) / (stored.astype(np.float32) - np.float32(b))
    depth[(stored == 0) | ~((depth > 0) & (depth < np.inf))] = np.nan
    return depth


def _with_header(data: bytes, kind: str) -> tuple[np.ndarray, float, float]:
    if len(data) <= HEADER.size:
        raise MessageError(f'{len(data)} bytes of {kind!r} hold no picture: the message was cut '
                           'short')
    _, a, b = HEADER.unpack_from(data)
    payload = data[HEADER.size:]
    if payload.startswith(PNG_MAGIC):
        return _png(payload, kind), a, b
    if 'rvl' not in kind.lower():
        raise MessageError(f'{kind!r} holds no PNG picture after its first 12 bytes: the message '
                           'is damaged')
    if len(payload) < RVL_SIZE.size:
        raise MessageError(f'{kind!r} was cut short before its size')
    width, height = RVL_SIZE.unpack_from(payload)
    return decode_rvl(payload[RVL_SIZE.size:], height, width), a, b


def _png(data: bytes, kind: str) -> np.ndarray:
    try:
        stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        stored = None
    # OpenCV fills what is cut off with zeros and says nothing.
    if stored is None or b'IEND' not in data[-12:]:
        raise MessageError(f'{len(data)} bytes of {kind!r} cannot be decoded: the picture is '
                           'damaged or cut off')
    if stored.ndim != 2 or stored.dtype != np.uint16:
        raise MessageError(f'{kind!r} holds {stored.dtype} of shape {stored.shape}; depth is '
                           'one uint16 a pixel')
    return stored


def decode_rvl(data: bytes, height: int, width: int) -> np.ndarray:
    """Decode an RVL picture, (H, W) uint16.

    Raises
    ------
    MessageError
        The data ends before the picture does, or says more than it has pixels.
    """
    count = height * width
    if not 0 < count <= MOST_PIXELS:
        raise MessageError(f'an RVL picture of {width}x{height} pixels: the message is damaged')
    numbers = _variable_length(data)
    pixels, deltas = np.zeros(count, np.int64), np.zeros(count, np.int64)
    at = done = 0
    # A run of zeros, then one of depths, each a step from the depth before it.
    while done < count:
        if at >= len(numbers):
            raise MessageError(f'an RVL picture ends after {done} of {count} pixels: the message '
                               'was cut short')
        done += int(numbers[at])
        run = int(numbers[at + 1]) if at + 1 < len(numbers) else 0
        at += 2
        if done + run > count or at + run > len(numbers):
            raise MessageError(f'an RVL picture says more than its {count} pixels, or was cut '
                               'short: the message is damaged')
        code = numbers[at:at + run]
        deltas[done:done + run] = (code >> 1) ^ -(code & 1)
        pixels[done:done + run] = 1
        at, done = at + run, done + run
    return (np.cumsum(deltas) * pixels).astype(np.uint16).reshape(height, width)


def _variable_length(data: bytes) -> np.ndarray:
    """Return the numbers of a stream of 4 bits each: 3 of the number, lowest first, 1 for more."""
    words = np.frombuffer(data[:len(data) // 4 * 4], '<u4')
    nibbles = (words[:, None] >> np.arange(28, -1, -4, dtype=np.uint32)).ravel() & 15
    last = nibbles < 8
    ends = np.flatnonzero(last)
    if not ends.size:
        return np.zeros(0, np.int64)
    nibbles = nibbles[:ends[-1] + 1].astype(np.int64)
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(nibbles)) - np.repeat(starts, np.diff(np.concatenate([[-1], ends])))
    # More than 7 places is more than any number of pixels: damage, which must not wrap around.
    parts = (nibbles & 7) << np.minimum(3 * place, 60)
    return np.add.reduceat(parts, starts)
