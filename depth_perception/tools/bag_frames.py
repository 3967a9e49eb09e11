"""Frames from the image topic of a recorded bag, with the camera that its camera_info tells of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from depth_perception.geometry import CameraModel, Rectifier
from depth_perception.image_encodings import (
    MessageError,
    camera_model,
    color_of,
    compressed_to_rgb,
)
from depth_perception.sources import Frame, FrameSource, SourceError

IMAGES = {'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'}
INFO = 'sensor_msgs/msg/CameraInfo'
DEPTH_ENCODINGS = ('16UC1', '32FC1', 'mono16')
NS_PER_S = 1e9


def is_bag(path: Path) -> bool:
    """Whether a path is a bag of ROS 2 (a folder with metadata.yaml) or of ROS 1."""
    return (path / 'metadata.yaml').is_file() or path.suffix == '.bag'


class BagFrames(FrameSource):
    """The colour pictures of one topic, in the order of recording, without distortion.

    Parameters
    ----------
    path : Path
    topic : str
        '' takes the only topic with colour pictures.

    Attributes
    ----------
    fps : float
        Mean rate of the recording, 1/s; 0 where one picture tells of none.
    count : int
        Number of pictures.

    Raises
    ------
    SourceError
        If this is no bag, or the topic is missing, not one of pictures, or one of several.
    """

    def __init__(self, path: Path, topic: str = '') -> None:
        super().__init__()
        try:
            from rosbags.highlevel import AnyReader, AnyReaderError
            from rosbags.typesys import Stores, get_typestore
        except ImportError as error:
            raise SourceError(f'bags need rosbags ({error}): pip install rosbags') from None
        self._reader = AnyReader([path], default_typestore=get_typestore(Stores.LATEST))
        try:
            self._reader.open()
        except (AnyReaderError, OSError) as error:
            raise SourceError(f'{path} cannot be read as a bag ({error}); '
                              'give the folder that holds its metadata.yaml') from error
        self._connection = self._choose(path, topic)
        self.count = self._connection.msgcount
        self._rectifier: Rectifier | None = None
        self._camera = self._find_camera()
        self.fps = self._rate()
        self._messages = self._pictures()

    def __next__(self) -> Frame:
        image = next(self._messages)
        camera = self._camera
        if camera is None or (camera.width, camera.height) != image.shape[1::-1]:
            return Frame(image)
        if camera.is_distorted:
            self._rectifier = self._rectifier or Rectifier(camera)
            return Frame(self._rectifier(image), self._rectifier.intrinsics)
        return Frame(image, camera.intrinsics())

    def close(self) -> None:
        """Close the files."""
        self._reader.close()

    def _choose(self, path: Path, topic: str):
        found = {each.topic: each for each in self._reader.connections
                 if each.msgtype in IMAGES and each.msgcount}
        if topic:
            if topic not in found:
                raise SourceError(f'{path} has no pictures on {topic!r}; it has them on: '
                                  f'{", ".join(sorted(found)) or "no topic"}')
            return found[topic]
        colour = [each for each in found.values() if not self._is_depth(each)]
        if len(colour) != 1:
            names = ', '.join(sorted(each.topic for each in colour)) or 'no topic'
            raise SourceError(f'{path} has colour pictures on {names}; choose one with --topic')
        return colour[0]

    def _is_depth(self, connection) -> bool:
        first = next(self._decoded(connection))
        kind = getattr(first, 'encoding', '') or getattr(first, 'format', '')
        return kind.startswith(DEPTH_ENCODINGS)

    def _decoded(self, connection) -> Iterator[object]:
        for _, _, data in self._reader.messages(connections=[connection]):
            yield self._reader.deserialize(data, connection.msgtype)

    def _rate(self) -> float:
        # with many topics the bag's duration is good enough, and costs no reading
        seconds = self._reader.duration / NS_PER_S
        return (self.count - 1) / seconds if self.count > 1 and seconds > 0 else 0.0

    def _find_camera(self) -> CameraModel | None:
        folder = self._connection.topic.removesuffix('/compressed').rpartition('/')[0]
        for each in self._reader.connections:
            if each.msgtype == INFO and each.topic.rpartition('/')[0] == folder and each.msgcount:
                info = next(self._decoded(each))
                try:
                    return camera_model(_lower_case(info))
                except MessageError as error:
                    raise SourceError(f'{each.topic}: {error}') from error
        return None

    def _pictures(self) -> Iterator[np.ndarray]:
        read = compressed_to_rgb if 'Compressed' in self._connection.msgtype else color_of
        for message in self._decoded(self._connection):
            try:
                picture, order = read(message)
            except MessageError as error:
                raise SourceError(f'{self._connection.topic}: {error}') from error
            yield picture if order == 'rgb' else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


class _Lower:
    """A CameraInfo of ROS 1, whose matrices are D, K, R and P, as ROS 2 names them."""

    def __init__(self, info: object) -> None:
        self._info = info

    def __getattr__(self, name: str) -> object:
        return getattr(self._info, name.upper() if name in 'dkrp' else name)


def _lower_case(info: object) -> object:
    return info if hasattr(info, 'k') else _Lower(info)
