"""Finds the camera_info that belongs to an image, and refuses one that cannot."""

from __future__ import annotations

from collections import OrderedDict
import threading
from typing import NamedTuple

from sensor_msgs.msg import CameraInfo

from depth_perception.geometry import CameraModel
from depth_perception.nodes._messages import MessageError, camera_model
from depth_perception.nodes._stamps import stamp_ns

# A driver publishes image and info one after the other: the second arrives within a hop.
PATIENCE_S = 0.02
# So many images in a row without their info are the driver's way; fewer are lost messages.
VAIN_WAITS = 3


class CameraInfoError(ValueError):
    """
    A camera_info is missing or does not fit its image.

    ``reason`` is the name of its counter; ``early``: it may well come yet, do not complain.
    """

    def __init__(self, reason: str, text: str, early: bool = False) -> None:
        super().__init__(text)
        self.reason = reason
        self.early = early


class Match(NamedTuple):
    """
    A camera_info for an image; ``exact`` where their stamps are equal.

    ``gap_ns``: how far the nearest stamp of all infos at hand is away, where none is equal.
    ``never_exact``: none was for VAIN_WAITS images in a row.
    """

    info: CameraInfo
    exact: bool
    gap_ns: int | None = None
    never_exact: bool = False


class CameraInfoStore:
    """
    Keeps the last camera_infos and matches them to images, by stamp, else by frame_id.

    Messages are added in the executor's thread and matched in the worker's.

    Parameters
    ----------
    size : int
        How many infos wait for their image; as many as images may queue.

    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._by_stamp: OrderedDict[tuple[str, int], CameraInfo] = OrderedDict()
        self._latest: CameraInfo | None = None
        self._changed = threading.Condition()
        self._missed: tuple[str, int] | None = None
        self._vain = 0      # images in a row whose info did not come

    def add(self, info: CameraInfo) -> None:
        """Store ``info``; it is the latest one from now on."""
        key = info.header.frame_id, stamp_ns(info.header)
        with self._changed:
            self._by_stamp[key] = self._latest = info
            self._by_stamp.move_to_end(key)  # a bag that starts anew brings known stamps
            while len(self._by_stamp) > self._size:
                self._by_stamp.popitem(last=False)
            # what was given up came after all: it is worth waiting for the next one
            if key == self._missed:
                self._vain = 0
            self._changed.notify_all()

    def match(self, header) -> Match:
        """
        Return the info for the image with this header.

        Waits up to 20 ms for the info of the same stamp, unless the last waits were in vain.

        Raises
        ------
        CameraInfoError
            No info came yet, or the only ones are of another frame.

        """
        key = header.frame_id, stamp_ns(header)
        with self._changed:
            if self._vain < VAIN_WAITS:
                self._changed.wait_for(lambda: key in self._by_stamp, PATIENCE_S)
            if key in self._by_stamp:
                self._vain = 0
                return Match(self._by_stamp[key], exact=True)
            self._missed, self._vain = key, self._vain + 1
            gap = min((abs(stamp - key[1]) for frame, stamp in self._by_stamp
                       if frame == header.frame_id), default=None)
            return Match(self._of_frame(header.frame_id), exact=False, gap_ns=gap,
                         never_exact=self._vain >= VAIN_WAITS)

    def _of_frame(self, frame_id: str) -> CameraInfo:
        if self._latest is None:
            raise CameraInfoError('no camera_info', 'no camera_info received')
        if self._latest.header.frame_id != frame_id:
            raise CameraInfoError(
                'camera_info frame',
                f"camera_info is of frame '{self._latest.header.frame_id}', the image of "
                f"'{frame_id}'; both must come from one camera: remap camera_info")
        return self._latest


def checked_camera(info: CameraInfo, width: int, height: int) -> CameraModel:
    """
    Return the camera of an info, once it can be that of a ``width`` x ``height`` image.

    Raises
    ------
    CameraInfoError
        Another size, or a focal length that is not positive (an uncalibrated camera).

    """
    try:
        camera = camera_model(info)
    except MessageError as error:
        raise CameraInfoError('camera_info values', str(error)) from None
    if (camera.width, camera.height) != (width, height):
        raise CameraInfoError(
            'camera_info size',
            f'camera_info is for {camera.width}x{camera.height} pixels, the image has '
            f'{width}x{height}; publish the camera_info of this resolution')
    return camera
