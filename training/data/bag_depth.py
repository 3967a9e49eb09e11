"""The depth of a frame: in metres whatever its unit, and in the pixels of the picture."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

import cv2
import numpy as np

from depth_perception.compressed_depth import compressed_depth
from depth_perception.geometry import CameraModel, GeometryError, Intrinsics, ray_planes
from depth_perception.image_encodings import METRES_PER_UNIT, MessageError, to_depth
from training.data.bag_camera import KEPT, Unusable, View, is_rectified, short, turn_of
from training.data.bag_registration import Registration
from training.data.faults import unit_factor
from training.data.root import DataError

LOOKED_AT, ENOUGH = 60, 8  # messages in which the unit is looked for, and of which it is known
LEAST_VALID = 0.01  # of the pixels: a frame with less depth teaches nothing


class WrongUnit(DataError):
    """Depth that is in no unit that can be told, or too coarse to learn from."""


def metres_of(message: Any) -> np.ndarray:
    """Return the depth that a message says it has, (H, W) float32 metres, NaN where missing.

    Raises
    ------
    MessageError
        It has none, or is damaged.
    """
    return compressed_depth(message) if hasattr(message, 'format') else to_depth(message)


def encoding_of(message: Any) -> str:
    """Return '16UC1', '32FC1', …, also of what is compressed."""
    return (getattr(message, 'format', '') or message.encoding).split(';')[0].strip()


@dataclass(frozen=True)
class Unit:
    """By how much depth is multiplied to be metres, and what to say about it."""

    factor: float = 1.0
    note: str = ''


def find_unit(messages: Iterable[Any], depth_scale: float = 0.0) -> Unit:
    """Return the unit of a topic from its first messages.

    Parameters
    ----------
    messages
        Decoded; None for those that cannot be.
    depth_scale
        Metres of a stored unit, where it is given.

    Raises
    ------
    WrongUnit
        The depths are too small for metres or millimetres.
    """
    medians, encoding = [], ''
    for message in islice((each for each in messages if each is not None), LOOKED_AT):
        try:
            depth = metres_of(message)
        except MessageError:
            continue
        encoding = encoding_of(message)
        valid = depth[np.isfinite(depth)]
        if valid.size >= LEAST_VALID * depth.size:
            medians.append(float(np.median(valid)))
        if len(medians) == ENOUGH:
            break
    if depth_scale:
        return Unit(depth_scale / METRES_PER_UNIT.get(encoding, 1.0),
                    f'depth: {depth_scale:g} m a unit, as given')
    if not medians:
        return Unit()
    median = float(np.median(medians))
    factor = unit_factor(median)
    if factor > 1:
        stored = median / METRES_PER_UNIT[encoding]
        what = 'metres' if encoding != '32FC1' else 'no metres'
        raise WrongUnit(
            f'{encoding} depth seems to hold {what}, where {_rule(encoding)} (the median is '
            f'{stored:.3g}): it is left out; --depth-scale METRES_PER_UNIT takes it all the same')
    if factor < 1:
        return Unit(factor, f'{encoding} depth holds millimetres or the like (the median would be '
                            f'{median:,.0f} m): multiplied by {factor:g}')
    return Unit()


def _rule(encoding: str) -> str:
    return 'metres belong' if encoding == '32FC1' else 'millimetres belong'


class DepthMaker:
    """Brings depth into the picture that it belongs to.

    Parameters
    ----------
    topic
        Of the depth; its name tells whether distortion is still there.
    factor
        What its metres are multiplied by.
    pose
        4x4, from the frame of the depth to that of the picture; None: they are the same frame.
    """

    def __init__(self, topic: str, factor: float, pose: np.ndarray | None) -> None:
        self._rectified, self._factor, self._pose = is_rectified(topic), np.float32(factor), pose
        self._registration = lru_cache(KEPT)(self._register)

    def __call__(self, message: Any, camera: CameraModel | None, view: View) -> np.ndarray:
        """Return depth in the pixels of `view.image`, (H, W) float32 metres, NaN where missing.

        Parameters
        ----------
        camera
            That of the depth; None: it is that of the picture.

        Raises
        ------
        Unusable
            The depth cannot be read, is of another camera, or of one that is not known, or hardly
            any pixel has some.
        """
        if self._pose is not None and camera is None:
            raise Unusable('no usable camera_info of the depth')
        try:
            depth = metres_of(message) * self._factor
        except MessageError as error:
            raise Unusable(f'unreadable depth: {short(error)}') from error
        if self._is_in_place(depth, camera, view):
            depth = _in_place(depth, view)
        else:
            try:
                depth = self._registered(depth, camera, view)
            except GeometryError as error:
                raise Unusable(f'depth: {short(error)}') from error
        if np.isfinite(depth).mean() < LEAST_VALID:
            raise Unusable('no depth in the picture')
        return depth

    def _is_in_place(self, depth: np.ndarray, camera: CameraModel | None, view: View) -> bool:
        """Whether each pixel of the depth is that of the picture as it came."""
        if self._pose is not None:
            return False
        if camera is None or view.camera is None:
            return True
        # Of one camera, but only one of the two lost its distortion before it was published.
        if camera.is_distorted and self._rectified != (view.rectifier is None):
            return False
        # Rectification turned only one of the two.
        came = view.rotation if view.rectifier is None else np.eye(3)
        if not np.allclose(came, self._turn(camera)):
            return False
        same_size = depth.shape == (view.camera.height, view.camera.width)
        return same_size and np.allclose(camera.k, view.camera.k, rtol=1e-4, atol=1e-3)

    def _registered(self, depth: np.ndarray, camera: CameraModel, view: View) -> np.ndarray:
        turn = tuple(view.rotation.ravel().tolist())
        return self._registration(camera, view.intrinsics, turn)(depth)

    def _register(self, camera: CameraModel, picture: Intrinsics,
                  turn: tuple[float, ...]) -> Registration:
        pose = np.eye(4) if self._pose is None else self._pose.copy()
        pose[:3, :3] = pose[:3, :3] @ self._turn(camera).T
        turned = np.eye(4)
        turned[:3, :3] = np.reshape(turn, (3, 3))
        model = _without_distortion(camera) if self._rectified else camera
        return Registration(model, picture, turned @ pose)

    def _turn(self, camera: CameraModel) -> np.ndarray:
        """Return the rotation from the frame of the depth's camera to that of the depth."""
        return turn_of(camera) if self._rectified else np.eye(3)


def _in_place(depth: np.ndarray, view: View) -> np.ndarray:
    """Take out the distortion and scale as the picture was; the nearest pixel, never a mean."""
    came = (view.camera.width, view.camera.height) if view.camera else view.image.shape[1::-1]
    if depth.shape[::-1] != came:
        if abs(depth.shape[1] * came[1] - depth.shape[0] * came[0]) > max(came):
            raise Unusable('depth of another shape than the picture')
        depth = cv2.resize(depth, came, interpolation=cv2.INTER_NEAREST)
    if view.rectifier is not None:
        depth = view.rectifier(depth) / _old_axis(view)
    size = view.image.shape[1::-1]
    return depth if size == came else cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST)


def _old_axis(view: View) -> np.ndarray:
    """Return how far a point lies along the axis that was, where it is 1 m away along the new."""
    x, y = ray_planes(view.rectifier.intrinsics)
    turn = view.rotation.astype(np.float32)
    return turn[0, 2] * x + turn[1, 2] * y + turn[2, 2]


def _without_distortion(camera: CameraModel) -> CameraModel:
    k = camera.rectified_intrinsics().matrix()
    return CameraModel(camera.width, camera.height, tuple(k.ravel().tolist()))
