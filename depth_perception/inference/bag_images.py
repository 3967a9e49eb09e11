"""Camera images of a ROS bag, read without ROS (package rosbags)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from depth_perception.image_encodings import MessageError, color_of, compressed_to_rgb
from depth_perception.inference import BackendError

_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')


def is_bag(path: Path) -> bool:
    """Whether `path` is a bag: a file .bag or .mcap, or a folder of rosbag2."""
    return path.suffix in ('.bag', '.mcap', '.db3') or (path / 'metadata.yaml').is_file()


def read_bag_images(path: Path) -> Iterator[np.ndarray]:
    """Yield the color images of the bag's first image topic: (H, W, 3) uint8 RGB.

    Raises
    ------
    BackendError
        If rosbags is not installed, or the bag is damaged or has no color images.
    """
    try:
        from rosbags.highlevel import AnyReader, AnyReaderError
    except ImportError as error:
        raise BackendError(f'bags are read by the package rosbags, which is missing ({error}); '
                           'install it with "pip install rosbags"') from None
    folder = path.parent if path.suffix in ('.mcap', '.db3') else path
    try:
        with AnyReader([folder]) as reader:
            yield from _color_images(reader, path)
    except AnyReaderError as error:
        raise BackendError(f'bag {path} cannot be read ({error}); record it again, or name an '
                           'image folder') from None


def _color_images(reader: Any, path: Path) -> Iterator[np.ndarray]:
    for topic in sorted({c.topic for c in reader.connections if c.msgtype in _TYPES}):
        connections = [c for c in reader.connections if c.topic == topic]
        found = False
        for connection, _, data in reader.messages(connections=connections):
            image = _to_rgb(reader.deserialize(data, connection.msgtype))
            if image is None:
                break       # a depth image, or an encoding that is none of a color camera's
            found = True
            yield image
        if found:
            return
    raise BackendError(f'bag {path} holds no color images; record the topic of the camera')


def _to_rgb(message: Any) -> np.ndarray | None:
    try:
        picture = compressed_to_rgb(message) if hasattr(message, 'format') else color_of(message)
    except MessageError:
        return None
    order = [0, 1, 2] if picture.channel_order == 'rgb' else [2, 1, 0]
    return np.ascontiguousarray(picture.array[..., order])
