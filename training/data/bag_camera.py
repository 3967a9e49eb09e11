"""The picture of a frame without distortion, and the camera it was taken with."""
from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

import cv2
import numpy as np

from depth_perception.geometry import CameraModel, GeometryError, Intrinsics, Rectifier
from depth_perception.image_encodings import (
    MessageError,
    camera_model,
    color_of,
    compressed_to_rgb,
)
from training.data.bag_pairs import NS_PER_S

KEPT = 8  # cameras of which what was computed is kept: some drivers never send the same one twice
MOST_CHANGES = 4096  # of a camera, of which the pictures that wait for their depth have some


class Unusable(ValueError):
    """A frame that is left out; the text is the reason it is counted under."""


def stamp_of(message: Any) -> int:
    """Return the stamp of a message with a header, ns."""
    stamp = message.header.stamp
    return stamp.sec * NS_PER_S + stamp.nanosec


def is_rectified(topic: str) -> bool:
    """Whether the pictures of a topic lost their distortion before they were published."""
    name = topic.removesuffix('/compressed').removesuffix('/compressedDepth')
    return 'rect' in name.rpartition('/')[2]


def turn_of(camera: CameraModel) -> np.ndarray:
    """Return the rotation that rectification gives a camera, (3, 3) float64."""
    return np.reshape(camera.r, (3, 3)) if any(camera.r) else np.eye(3)


class Cameras:
    """What the camera_info of one topic said, and when it changed.

    Attributes
    ----------
    problem : str
        Why the last message could not be used; '' while all could.
    newest_ns : int
        Stamp of the last message.
    """

    def __init__(self) -> None:
        self._changes: list[tuple[int, CameraModel]] = []
        self.problem = ''
        self.newest_ns = -2**63

    def add(self, info: Any) -> None:
        """Take a CameraInfo."""
        stamp_ns = self.newest_ns = stamp_of(info)
        try:
            model = camera_model(info)
        except MessageError as error:
            self.problem = str(error)
            return
        while self._changes and self._changes[-1][0] > stamp_ns:  # the clock went back
            self._changes.pop()
        if not self._changes or self._changes[-1][1] != model:
            self._changes.append((stamp_ns, model))
            del self._changes[:-MOST_CHANGES]

    def at(self, stamp_ns: int, tolerance_ns: int) -> CameraModel | None:
        """Return the camera of a moment: the last before it, or else the first."""
        if not self._changes:
            return None
        after = bisect_right(self._changes, stamp_ns + tolerance_ns, key=itemgetter(0))
        return self._changes[max(0, after - 1)][1]


class View(NamedTuple):
    """A picture ready for a data set, and what led to it.

    Attributes
    ----------
    image : (H, W, 3) uint8 RGB, without distortion, scaled
    intrinsics : Intrinsics
        Of `image`.
    camera : CameraModel or None
        Of the picture as it came; None where only the field of view is known.
    rectifier : Rectifier or None
        What took the distortion out.
    rotation : (3, 3) float64
        From the camera's frame to that of `image`: rectification may turn it.
    """

    image: np.ndarray
    intrinsics: Intrinsics
    camera: CameraModel | None
    rectifier: Rectifier | None
    rotation: np.ndarray


class PictureMaker:
    """Makes views of one topic's messages.

    Parameters
    ----------
    topic
        Its name tells whether distortion is still there.
    most_width
        Wider pictures are scaled down to it, px; 0: none is.
    hfov_deg
        Horizontal field of view where there is no camera_info; 0: such frames are left out.
    """

    def __init__(self, topic: str, most_width: int, hfov_deg: float) -> None:
        self._rectified = is_rectified(topic)
        self._most_width, self._hfov_deg = most_width, hfov_deg
        self._rectifier = lru_cache(KEPT)(Rectifier)

    def __call__(self, message: Any, camera: CameraModel | None) -> View:
        """Return the view of an Image or a CompressedImage.

        Raises
        ------
        Unusable
            The picture cannot be read, or its camera is not known.
        """
        image = _rgb(message)
        height, width = image.shape[:2]
        if camera is None:
            if not self._hfov_deg:
                raise Unusable('no camera_info')
            return self._scaled(image, Intrinsics.from_hfov(width, height, self._hfov_deg))
        if (camera.width, camera.height) != (width, height):
            raise Unusable('camera_info of another size')
        try:
            return self._undistorted(image, camera)
        except GeometryError as error:
            raise Unusable(f'camera_info: {error}') from error

    def _undistorted(self, image: np.ndarray, camera: CameraModel) -> View:
        if self._rectified:
            return self._scaled(image, camera.rectified_intrinsics(), camera, None,
                                turn_of(camera))
        if not camera.is_distorted:
            return self._scaled(image, camera.intrinsics(), camera)
        rectifier = self._rectifier(camera)
        return self._scaled(rectifier(image), rectifier.intrinsics, camera, rectifier,
                            turn_of(camera))

    def _scaled(self, image: np.ndarray, intrinsics: Intrinsics,
                camera: CameraModel | None = None, rectifier: Rectifier | None = None,
                rotation: np.ndarray | None = None) -> View:
        height, width = image.shape[:2]
        if self._most_width and width > self._most_width:
            size = self._most_width, max(1, round(height * self._most_width / width))
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            intrinsics = intrinsics.resized(*size)
        return View(image, intrinsics, camera, rectifier,
                    np.eye(3) if rotation is None else rotation)


def _rgb(message: Any) -> np.ndarray:
    try:
        picture = compressed_to_rgb(message) if hasattr(message, 'format') else color_of(message)
    except MessageError as error:
        raise Unusable(f'unreadable picture: {short(error)}') from error
    if picture.channel_order == 'bgr':
        return cv2.cvtColor(np.ascontiguousarray(picture.array), cv2.COLOR_BGR2RGB)
    return np.ascontiguousarray(picture.array)


def short(error: Exception) -> str:
    """Return what an error says up to its advice, for a table of reasons."""
    return str(error).split(':')[0].split(';')[0]
