"""The camera of a node: its camera_info, rectification, and a guess where there is none."""

from __future__ import annotations

import time
from typing import NamedTuple

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from depth_perception.geometry import CameraModel, GeometryError, Intrinsics, Rectifier
from depth_perception.nodes._camera_info import (
    CameraInfoError,
    CameraInfoStore,
    Match,
    checked_camera,
)
from depth_perception.nodes._diagnostics import Finding, Level
from depth_perception.nodes._inputs import SILENCE_S, Input, input_qos

# Infos of frames that were lost come too: a few more than images may wait.
SPARE_INFOS = 30
# where a guessed field of view may stand in
UNCALIBRATED = ('no camera_info', 'camera_info values')


def _gap_text(match: Match) -> str:
    """Tell how far the stamps are apart, where that is known."""
    return '' if match.gap_ns is None else f' ({match.gap_ns * 1e-9:.3f} s apart at least)'


class View(NamedTuple):
    """How a camera sees: intrinsics of the rectified image, and what rectifies it if needed."""

    intrinsics: Intrinsics
    rectifier: Rectifier | None


class Camera:
    """
    Subscribes to ``camera_info`` and says for each image how its camera sees.

    Parameters
    ----------
    node : Node
        Subscribes.
    process : {'newest', 'every'}
        As for the images.
    queue_size : int
        As for the images.

    """

    def __init__(self, node: Node, process: str, queue_size: int) -> None:
        self._store = CameraInfoStore(queue_size + SPARE_INFOS)
        qos = input_qos(process, queue_size + SPARE_INFOS)
        self._input = Input(node, CameraInfo, 'camera_info', self._store.add, qos)
        self._start = time.monotonic()
        self._view: View | None = None
        self._key: tuple = ()
        self._state: Finding | None = None
        self._is_missed = False     # an image is of no use for want of an info

    def close(self) -> None:
        """Unsubscribe."""
        self._input.close()

    def finding(self) -> Finding | None:
        """Say what is odd about the camera_info of the last image, or why there is none."""
        return self._input.complaint() if self._is_missed else self._state

    def view(self, header: Header, width: int, height: int, *, rectify: str,
             fallback_hfov_deg: float) -> View:
        """
        Return how the camera saw the image with this header and size.

        Parameters
        ----------
        rectify : {'auto', 'never'}
            'never': the image is rectified already, P of the camera_info holds for it.
        fallback_hfov_deg : float
            Above 0: the field of view to take where the camera is not calibrated.

        Raises
        ------
        CameraInfoError
            There is no camera_info that fits.

        """
        self._is_missed = False
        try:
            match = self._store.match(header)
            view = self._of(match.info, width, height, rectify)
        except CameraInfoError as error:
            if fallback_hfov_deg <= 0.0 or error.reason not in UNCALIBRATED:
                self._state = None
                self._is_missed = error.reason == 'no camera_info'
                raise self._named(error) from None
            self._state = Finding(Level.WARN, f'{self._named(error)}: all metres are a guess '
                                  f'from fallback_hfov_deg = {fallback_hfov_deg:g}',
                                  'METRES_GUESSED')
            return View(Intrinsics.from_hfov(width, height, fallback_hfov_deg), None)
        self._state = None if not match.never_exact else Finding(
            Level.WARN, f"stamps on '{self._input.topic}' are not those of the images: "
            f'camera_info was matched by frame_id{_gap_text(match)}', 'INFO_STAMPS_DIFFER')
        return view

    def _named(self, error: CameraInfoError) -> CameraInfoError:
        """Add the topic's name, and the way out, to the error that no info ever came."""
        if error.reason != 'no camera_info':
            return error
        text = (f"no camera_info on '{self._input.topic}'; publish it, remap "
                'camera_info:=/its/topic, or set fallback_hfov_deg')
        early = time.monotonic() - self._start < SILENCE_S
        return CameraInfoError(error.reason, text, early=early)

    def _of(self, info: CameraInfo, width: int, height: int, rectify: str) -> View:
        """Return the view of a camera, computed again only when something changed."""
        key = (width, height, rectify, _content(info))
        if self._view is None or key != self._key:
            self._view = _new_view(checked_camera(info, width, height), rectify)
            self._key = key
        return self._view


def _content(info: CameraInfo) -> tuple:
    """All of an info but its header, quick to compare: it is the same thirty times a second."""
    roi = info.roi
    return (info.width, info.height, info.distortion_model, info.d.tobytes(), info.k.tobytes(),
            info.r.tobytes(), info.p.tobytes(), info.binning_x, info.binning_y,
            roi.x_offset, roi.y_offset, roi.width, roi.height)


def _new_view(camera: CameraModel, rectify: str) -> View:
    try:
        if rectify == 'never':
            return View(camera.rectified_intrinsics(), None)
        if not camera.is_distorted:
            return View(camera.intrinsics(), None)
        rectifier = Rectifier(camera)
    except GeometryError as error:
        raise CameraInfoError('camera_info distortion', str(error)) from None
    return View(rectifier.intrinsics, rectifier)
