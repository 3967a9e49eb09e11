"""Frames from an image, a folder, a video, a webcam or a simulated room, all as one iterator.

::

    with contextlib.closing(open_source('video.mp4')) as source:
        for frame in source:
            estimate(frame.image)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
import re
from typing import Any

import cv2
import numpy as np

from depth_perception.folders import expanded
from depth_perception.geometry import Intrinsics

IMAGE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif', '.tiff', '.webp')
SCENE_HFOV_DEG = 63.0
SCENE = 'scene'
SCENE_FRAMES = 300  # one round through the room


class SourceError(ValueError):
    """A source cannot be opened or stopped giving frames; the message gives the way out."""


@dataclass
class Frame:
    """One picture and what is known about it.

    Attributes
    ----------
    image : numpy.ndarray
        (H, W, 3) uint8 RGB.
    intrinsics : Intrinsics or None
        Of the simulated camera; a file does not know its own.
    depth : numpy.ndarray or None
        (H, W) float32 metres, NaN where nothing was hit; exact, for simulated frames only.
    """

    image: np.ndarray
    intrinsics: Intrinsics | None = None
    depth: np.ndarray | None = None


def decoded(data: bytes | bytearray | memoryview) -> np.ndarray | None:
    """Return the (H, W, 3) uint8 BGR picture in a jpeg, png, …; None where there is none."""
    pixels = np.frombuffer(data, np.uint8)
    try:
        return cv2.imdecode(pixels, cv2.IMREAD_COLOR) if pixels.size else None
    except cv2.error:  # a damaged header that promises more than 2^30 pixels, for instance
        return None


class FrameSource(Iterator[Frame]):
    """An iterator of frames; its end is StopIteration.

    Attributes
    ----------
    live : bool
        A camera that sets its own pace: a frame not taken in time is old.
    skipped : dict of str to str
        Files that could not be read, and why.
    """

    live = False

    def __init__(self) -> None:
        self.skipped: dict[str, str] = {}

    def close(self) -> None:
        """Release the device or file."""


class ImageFiles(FrameSource):
    """Pictures from files, each in its own size; files that cannot be read are skipped.

    Raises
    ------
    SourceError
        On the first round, when no file could be read at all.
    """

    def __init__(self, paths: list[Path], loop: bool) -> None:
        super().__init__()
        self._paths, self._loop = paths, loop
        self._next = 0
        self._only: np.ndarray | None = None  # a single file is decoded once

    def __next__(self) -> Frame:
        while True:
            image = self._only if self._only is not None else self._read_next()
            if image is not None:
                return Frame(image)

    def _read_next(self) -> np.ndarray | None:
        if self._next == len(self._paths):
            if len(self.skipped) == len(self._paths):
                name, reason = next(iter(self.skipped.items()))
                raise SourceError(
                    f'none of {len(self._paths)} image files can be read; the first: {name}: '
                    f'{reason}. Give jpeg or png files'
                )
            if not self._loop:
                raise StopIteration
            self._next = 0
        path = self._paths[self._next]
        self._next += 1
        image = self._read(path)
        if self._loop and len(self._paths) == 1:
            self._only = image
        return image

    def _read(self, path: Path) -> np.ndarray | None:
        try:
            data = path.read_bytes()
        except OSError as error:
            self.skipped[str(path)] = error.strerror or str(error)
            return None
        image = decoded(data)
        if image is None:
            self.skipped[str(path)] = 'not a picture, or damaged'
            return None
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


class Video(FrameSource):
    """Frames of a video file."""

    def __init__(self, path: Path, loop: bool) -> None:
        super().__init__()
        self._path, self._loop = path, loop
        self._count = 0
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise SourceError(
                f'{path} is no video that OpenCV can open; give an image ({IMAGE_SUFFIXES[2]}, '
                f'{IMAGE_SUFFIXES[4]}, …), a folder of images, or convert the video to mp4'
            )

    def __next__(self) -> Frame:
        good, image = self._capture.read()
        if not good and self._loop and self._count:
            self._capture.release()  # seeking to 0 fails for some containers; opening again works
            self._capture = cv2.VideoCapture(str(self._path))
            good, image = self._capture.read()
        if not good and not self._count:
            raise SourceError(
                f'{self._path} has no frame that OpenCV can decode; convert it to mp4'
            )
        if not good:
            raise StopIteration
        self._count += 1
        return Frame(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))

    def close(self) -> None:
        """Close the file."""
        self._capture.release()


class Webcam(FrameSource):
    """A camera at ``/dev/videoN``; it may give another size than the one asked for."""

    live = True

    def __init__(self, device: str, width: int, height: int) -> None:
        super().__init__()
        self._device = device
        self._capture = cv2.VideoCapture(int(device.removeprefix('/dev/video')))
        if not self._capture.isOpened():
            raise SourceError(
                f'{device} cannot be opened; `ls /dev/video*` shows the cameras, and your user '
                'must be in the group video'
            )
        self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
        self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)

    def __next__(self) -> Frame:
        good, image = self._capture.read()
        if not good:
            raise SourceError(f'{self._device} gives no more frames; is it still plugged in?')
        return Frame(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))

    def close(self) -> None:
        """Release the camera."""
        self._capture.release()


def simulated_room(seed: int, style: str = '') -> Any:
    """Return a procedural room (scenes.Room).

    Raises
    ------
    SourceError
        Where open3d is missing, or there is no such style.
    """
    try:
        from depth_perception.scenes import Room, SceneError
    except ModuleNotFoundError as error:
        if error.name != 'open3d':
            raise
        raise SourceError('the simulated room needs open3d: pip install open3d') from None
    try:
        return Room.random(seed, style=style)
    except SceneError as error:
        raise SourceError(str(error)) from None


class Scene(FrameSource):
    """A camera that walks through a procedural room, with exact depth."""

    def __init__(self, width: int, height: int, seed: int, loop: bool, style: str = '') -> None:
        super().__init__()
        self._room = simulated_room(seed, style)
        self._poses = self._room.camera_path(SCENE_FRAMES)
        self._intrinsics = Intrinsics.from_hfov(width, height, SCENE_HFOV_DEG)
        self._loop = loop
        self._next = 0

    def __next__(self) -> Frame:
        if self._next >= len(self._poses) and not self._loop:
            raise StopIteration
        view = self._room.render(self._intrinsics, self._poses[self._next % len(self._poses)])
        self._next += 1
        return Frame(view.rgb, self._intrinsics, view.depth)


def _by_number(path: Path) -> list[str | int]:
    """Order frame9 before frame10."""
    parts = re.split(r'([0-9]+)', path.name)  # text and numbers take turns
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]


def _image_folder(folder: Path, loop: bool) -> ImageFiles:
    paths = [each for each in folder.iterdir() if each.suffix.lower() in IMAGE_SUFFIXES]
    if not paths:
        raise SourceError(
            f'the folder {folder} has no images; put files ending in '
            f'{", ".join(IMAGE_SUFFIXES)} there'
        )
    return ImageFiles(sorted(paths, key=_by_number), loop)


def open_source(
    name: str, *, width: int = 640, height: int = 480, seed: int = 0, loop: bool = False
) -> FrameSource:
    """Open a source of frames.

    Parameters
    ----------
    name : str
        ``scene`` or ``scene:STYLE`` (scene_styles.STYLES), an image file, a folder of images, a
        video file, or ``/dev/videoN``.
    width, height : int
        Pixels, for the scene and asked of a webcam; files keep their own size.
    seed : int
        Of the simulated room.
    loop : bool
        Start again at the end of a file, folder or walk.

    Raises
    ------
    SourceError
        It does not exist, cannot be opened, or holds no images.
    """
    if name == SCENE or name.startswith(f'{SCENE}:'):
        return Scene(width, height, seed, loop, name[len(SCENE) + 1:])
    if re.fullmatch(r'/dev/video\d+', name):
        return Webcam(name, width, height)
    path = expanded(name)
    if path.is_dir():
        return _image_folder(path, loop)
    if not path.is_file():
        raise SourceError(
            f'there is no {name!r}; give scene, an image, a folder of images, a video, or '
            '/dev/video0'
        )
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageFiles([path], loop)
    return Video(path, loop)
