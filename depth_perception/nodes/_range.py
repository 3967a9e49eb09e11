"""The range sensor beside a camera: its points, at the time of an image, in the camera's frame."""

from __future__ import annotations

from collections import deque
import contextlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2, Range
from std_msgs.msg import Header

from depth_perception.geometry import GeometryError
from depth_perception.nodes._diagnostics import Finding, Health
from depth_perception.nodes._inputs import input_qos, subscribed
from depth_perception.nodes._messages import MessageError
from depth_perception.nodes._parameters import parameter
from depth_perception.nodes._range_messages import (
    cloud_to_points,
    depth_to_points,
    range_to_points,
    scan_to_points,
)
from depth_perception.nodes._stamps import NS_PER_S, stamp_ns
from depth_perception.nodes._transforms import StaticTransforms, subscribe
from depth_perception.transforms import TransformError, moved, rigid

SOURCES = {'laser_scan': (LaserScan, scan_to_points), 'range': (Range, range_to_points),
           'point_cloud': (PointCloud2, cloud_to_points), 'depth_image': (Image, None)}
KEPT = 50               # the network is slower than the sensor: its readings wait for an image,
AN_IMAGE = 4            # with `process: every` so many more for each image that may wait,
KEPT_POINTS = 4_000_000     # but beyond these KEPT at most: 48 MB


@dataclass(frozen=True)
class RangeSourceParameters:
    """Which range sensor there is, and where it sits."""

    range_source: str = parameter(
        'none', 'what the topic range carries, for ~/calibrate_scale and scale.continuous',
        name='range.source', choices=('none', *SOURCES), at_configure=True)
    range_translation: tuple[float, ...] = parameter(
        (0.0, 0.0, 0.0), 'where the range sensor sits in the optical frame of the camera',
        name='range.translation', unit='m')
    range_rotation: tuple[float, ...] = parameter(
        (0.0, 0.0, 0.0, 0.0), 'how it is turned, a quaternion x y z w that takes points of the '
        'sensor into the optical frame of the camera; all 0: /tf_static tells both',
        name='range.rotation_xyzw')
    range_tolerance: float = parameter(
        0.1, 'by how much the stamps of image and reading may differ', name='range.tolerance',
        unit='s', limits=(0.0, 10.0))

    def check_range_source(self) -> None:
        """Raise ValueError unless the pose of the sensor is one, or all 0."""
        if len(self.range_rotation) != 4 or any(self.range_rotation):
            rigid(self.range_translation, self.range_rotation)
        elif len(self.range_translation) != 3 or any(self.range_translation):
            raise TransformError(
                f'range.translation is {list(self.range_translation)} without '
                'range.rotation_xyzw; set both: 0.0 0.0 0.0 1.0 where the sensor is turned as '
                'the optical frame')


class RangeError(ValueError):
    """There are no points for an image; the text says why."""


class Reading(NamedTuple):
    """What a range sensor saw at one moment: points (N, 3), metres, in the frame it names."""

    stamp: int          # [ns]
    frame_id: str
    points: np.ndarray


class Readings:
    """
    The newest readings of a sensor; one thread adds, any looks.

    Parameters
    ----------
    count : int
        Of them at most, and fewer, down to KEPT, where they have many points.

    """

    def __init__(self, count: int) -> None:
        self._readings: deque[Reading] = deque(maxlen=count)

    def add(self, reading: Reading) -> None:
        """Keep a reading; one of before the last means that time was set back."""
        if self._readings and reading.stamp < self._readings[-1].stamp:
            self._readings.clear()
        self._readings.append(reading)
        points = sum(len(each.points) for each in self._readings)
        while len(self._readings) > KEPT and points > KEPT_POINTS:
            points -= len(self._readings.popleft().points)

    def nearest(self, stamp: int) -> Reading | None:
        """Return the one nearest in time to a stamp in ns; None: there is none yet."""
        readings = list(self._readings)     # others are added meanwhile
        return min(readings, key=lambda each: abs(each.stamp - stamp), default=None)


class RangeInput:
    """
    Subscribes to ``range``.

    Parameters
    ----------
    node : Node
        Subscribes.
    config : dataclass
        Of the node, with ``range_source`` (a key of SOURCES), ``process`` and ``queue_size``.
    health : Health
        Hears of readings that cannot be used.

    """

    def __init__(self, node: Node, config: Any, health: Health) -> None:
        self._node, self._health = node, health
        waiting = config.queue_size if config.process == 'every' else 0
        self._readings = Readings(KEPT + AN_IMAGE * waiting)
        message_type, self._convert = SOURCES[config.range_source]
        qos = input_qos(config.process, max(10, waiting))
        self._info: CameraInfo | None = None
        topics = [('range', message_type, self._on_message)]
        if message_type is Image:
            topics.append(('range_camera_info', CameraInfo, self._on_info))
        self._transforms, self._tf_static = StaticTransforms(), None
        self._inputs = subscribed(node, topics, qos)
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            self._tf_static = subscribe(node, self._transforms)
            undo.pop_all()

    @property
    def topic(self) -> str:
        """Full name of the range source's topic."""
        return self._inputs[0].topic

    def close(self) -> None:
        """Unsubscribe."""
        for each in self._inputs:
            each.close()
        if self._tf_static is not None:
            self._node.destroy_subscription(self._tf_static)

    def complaint(self) -> Finding | None:
        """Say why nothing comes in."""
        found = next(filter(None, (each.complaint() for each in self._inputs)), None)
        # the one of another type has another parameter for it than images have
        return found and found._replace(text=found.text.replace('image_transport', 'range.source'))

    def reading(self, header: Header, config: RangeSourceParameters) -> Reading:
        """
        Return the reading nearest in time to an image, in the frame of the image.

        Raises
        ------
        RangeError
            There is no reading of that time, or nobody knows where the sensor sits.

        """
        stamp = stamp_ns(header)
        reading = self._readings.nearest(stamp)
        if reading is None:
            found = self.complaint()
            raise RangeError(found.text if found else f"no reading on '{self.topic}' yet")
        gap_s = abs(reading.stamp - stamp) / NS_PER_S
        if gap_s > config.range_tolerance:
            raise RangeError(f"the nearest stamp on '{self.topic}' is {gap_s:.3f} s away "
                             f'from that of the image, more than range.tolerance = '
                             f'{config.range_tolerance:g}; synchronise the clocks, or raise it')
        try:
            pose = self._pose(header.frame_id, reading.frame_id, config)
        except TransformError as error:
            raise RangeError(str(error)) from None
        return Reading(reading.stamp, header.frame_id, moved(reading.points, pose))

    def _pose(self, camera: str, sensor: str, config: RangeSourceParameters) -> np.ndarray:
        if any(config.range_rotation):
            return rigid(config.range_translation, config.range_rotation)
        if camera == sensor:
            return np.eye(4)
        return self._transforms.lookup(camera, sensor)

    def _on_message(self, message: Any) -> None:
        try:
            points = self._converted(message)
        except (MessageError, GeometryError) as error:
            self._health.warn('range messages unusable',
                              f"message on '{self.topic}' cannot be used: {error}")
            return
        self._readings.add(Reading(
            stamp_ns(message.header), message.header.frame_id, points.astype(np.float32)))

    def _on_info(self, info: CameraInfo) -> None:
        self._info = info

    def _converted(self, message: Any) -> np.ndarray:
        if self._convert is not None:
            return self._convert(message)
        if self._info is None:
            raise MessageError('no range_camera_info came yet; publish it, or remap '
                               'range_camera_info to that of the depth image')
        return depth_to_points(message, self._info)
