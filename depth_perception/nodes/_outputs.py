"""What the nodes publish of depth: images, point cloud. Nothing is made that nobody asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header

from depth_perception.cloud_filters import CloudFilters
from depth_perception.cloud_voxels import voxel_downsample
from depth_perception.colorize import colorize
from depth_perception.geometry import Intrinsics
from depth_perception.nodes._messages import CloudWriter, ImageWriter, camera_info, copy_header
from depth_perception.nodes._parameter_groups import CloudParameters, DepthImageParameters
from depth_perception.point_cloud import CloudBuilder, PointCloudError, valid_points
from depth_perception.stereo import StereoError
from depth_perception.timing import StageClock

Ready = tuple[Publisher, Any]       # a message and where it goes


class DepthFrame(NamedTuple):
    """
    One frame of which outputs are made.

    ``image`` (H, W, 3) uint8, channels as ``channel_order`` says, without distortion; ``depth``
    (H, W) float32 metres, NaN where there is none, None of a relative model without a scale; both
    seen by a camera with ``intrinsics``.
    """

    header: Header
    image: np.ndarray
    channel_order: str
    depth: np.ndarray | None
    intrinsics: Intrinsics
    confidence: np.ndarray | None = None    # (H, W) float32 0..1
    relative: np.ndarray | None = None      # (H, W) float32 inverse depth without a unit


class Output(Protocol):
    """A group of topics whose messages are made together."""

    stage: str                          # the name under which its time is counted
    publishers: Sequence[Publisher]

    def messages(self, frame: DepthFrame, config: Any) -> Iterator[Ready]:
        """Make the messages that have subscribers."""


def advertise(node: Node, message_type: type, topic: str) -> Publisher:
    """Create a publisher: reliable, the last five kept, open to ``qos_overrides``."""
    qos = QoSProfile(history=QoSHistoryPolicy.KEEP_LAST, depth=5,
                     reliability=QoSReliabilityPolicy.RELIABLE)
    return node.create_publisher(
        message_type, topic, qos,
        qos_overriding_options=QoSOverridingOptions.with_default_policies())


def wanted(publisher: Publisher) -> bool:
    """Whether anybody subscribed."""
    return publisher.get_subscription_count() > 0


class Outputs:
    """
    All outputs of a node.

    Parameters
    ----------
    node : Node
        Has the publishers.
    outputs : sequence of Output
        Made of every frame.
    metric : sequence of Output
        Made of frames with depth in metres only, of a model that may come to have these.
    has_metres : callable
        Whether it has them now.
    demand : callable
        Whether frames are needed even if nobody subscribes.

    """

    def __init__(self, node: Node, outputs: Sequence[Output], metric: Sequence[Output] = (),
                 has_metres: Callable[[], bool] = lambda: True,
                 demand: Callable[[], bool] = lambda: False) -> None:
        self._node = node
        self._always, self._metric = tuple(outputs), tuple(metric)
        self._has_metres, self._demand = has_metres, demand

    def wanted(self) -> bool:
        """Whether anybody subscribed to any of them, or needs frames for something else."""
        return self._demand() or bool(self.subscribed())

    def subscribed(self) -> list[str]:
        """Names of the topics that somebody subscribed to."""
        return _subscribed(self._always + (self._metric if self._has_metres() else ()))

    def silent(self) -> list[str]:
        """Names of the topics that somebody subscribed to in vain, for want of metres."""
        return [] if self._has_metres() else _subscribed(self._metric)

    def publish(self, frame: DepthFrame, config: Any, clock: StageClock) -> None:
        """
        Make what is wanted of a frame, then publish it all.

        Raises
        ------
        PointCloudError, StereoError
            An output cannot be made; the others are published.

        """
        ready: list[Ready] = []
        failed: list[ValueError] = []
        for output in self._always + (() if frame.depth is None else self._metric):
            if any(wanted(each) for each in output.publishers):
                try:
                    with clock.stage(output.stage):
                        ready += list(output.messages(frame, config))
                except (PointCloudError, StereoError) as error:
                    failed.append(error)
        with clock.stage('publish'):
            for publisher, message in ready:
                publisher.publish(message)
        if failed:
            raise failed[0]

    def close(self) -> None:
        """Destroy the publishers."""
        for output in self._always + self._metric:
            for publisher in output.publishers:
                self._node.destroy_publisher(publisher)


def _subscribed(outputs: Sequence[Output]) -> list[str]:
    return [each.topic_name for output in outputs for each in output.publishers if wanted(each)]


class InfoWriter:
    """The camera_info of rectified images, made anew only when the camera changed."""

    def __init__(self) -> None:
        self._camera: tuple[Intrinsics, float] | None = None
        self._message = CameraInfo()

    def message(self, intrinsics: Intrinsics, header: Header, baseline: float = 0.0) -> CameraInfo:
        """Return the message, the same object each time; ``baseline`` in metres."""
        if self._camera != (intrinsics, baseline):
            self._message = camera_info(intrinsics, header, baseline)
            self._camera = intrinsics, baseline
        copy_header(header, self._message.header)
        return self._message


class DepthOutput:
    """Depth as image, its camera_info, and its picture in colours."""

    stage = 'depth'

    def __init__(self, node: Node) -> None:
        self._depth = advertise(node, Image, '~/depth/image_rect')
        self._info = advertise(node, CameraInfo, '~/depth/camera_info')
        self._colored = advertise(node, Image, '~/depth/image_colored')
        self.publishers = [self._depth, self._info, self._colored]
        self._metres, self._millimetres = ImageWriter('32FC1'), ImageWriter('16UC1')
        self._colors = ImageWriter('bgr8')
        self._info_writer = InfoWriter()

    def buffer(self, height: int, width: int) -> np.ndarray:
        """Return where depth (H, W) float32 may be written so that no copy is needed."""
        return self._metres.prepare(height, width)

    def messages(self, frame: DepthFrame, config: DepthImageParameters) -> Iterator[Ready]:
        """Make the messages that have subscribers."""
        shape = frame.depth.shape
        if wanted(self._depth):
            yield self._depth, self._depth_message(frame, config.openni_depth_mode)
        if wanted(self._info):
            yield self._info, self._info_writer.message(frame.intrinsics, frame.header)
        if wanted(self._colored):
            colorize(frame.depth, config.color_near, config.color_far, config.color_map,
                     out=self._colors.prepare(*shape))
            yield self._colored, self._colors.message(frame.header)

    def _depth_message(self, frame: DepthFrame, openni: bool) -> Image:
        writer = self._millimetres if openni else self._metres
        view = writer.prepare(*frame.depth.shape)
        if openni:
            to_millimetres(frame.depth, out=view)
        elif frame.depth is not view:
            np.copyto(view, frame.depth)
        return writer.message(frame.header)


def to_millimetres(depth: np.ndarray, out: np.ndarray) -> None:
    """
    Write depth in metres as REP 118 has it in integers.

    Parameters
    ----------
    depth : (H, W) float32, metres
    out : (H, W) uint16, millimetres
        0 where depth is NaN or too far for 16 bit.

    """
    millimetres = cv2.multiply(depth, 1000.0)
    millimetres[~(millimetres < 65535.5)] = 0.0
    np.copyto(out, np.rint(millimetres, out=millimetres), casting='unsafe')


class ConfidenceOutput:
    """How sure a model is of its depth, metric or not."""

    stage = 'confidence'

    def __init__(self, node: Node) -> None:
        self._publisher = advertise(node, Image, '~/confidence')
        self.publishers = [self._publisher]
        self._writer = ImageWriter('32FC1')

    def messages(self, frame: DepthFrame, config: Any) -> Iterator[Ready]:
        """Make the message."""
        np.copyto(self._writer.prepare(*frame.confidence.shape), frame.confidence)
        yield self._publisher, self._writer.message(frame.header)


class RelativeOutput:
    """Inverse depth without a unit, of a model that knows no metres."""

    stage = 'depth'

    def __init__(self, node: Node) -> None:
        self._publisher = advertise(node, Image, '~/relative_depth/image')
        self.publishers = [self._publisher]
        self._writer = ImageWriter('32FC1')

    def messages(self, frame: DepthFrame, config: Any) -> Iterator[Ready]:
        """Make the message."""
        np.copyto(self._writer.prepare(*frame.relative.shape), frame.relative)
        yield self._publisher, self._writer.message(frame.header)


class CloudOutput:
    """The coloured point cloud."""

    stage = 'cloud'

    def __init__(self, node: Node) -> None:
        self._publisher = advertise(node, PointCloud2, '~/points')
        self.publishers = [self._publisher]
        self._writer = CloudWriter()
        self._camera: tuple[Intrinsics, int] | None = None
        self._builder: CloudBuilder | None = None
        self._filters: CloudFilters | None = None
        self._organised: np.ndarray | None = None

    def messages(self, frame: DepthFrame, config: CloudParameters) -> Iterator[Ready]:
        """Make the message."""
        self._follow(frame.intrinsics, config.cloud_stride)
        depth = self._filters(frame.depth, frame.image, config.cloud_filters(),
                              frame.channel_order, frame.confidence)
        builder, organised = self._builder, not config.cloud_voxel_size and config.cloud_organized
        cloud = self._writer.prepare(builder.height, builder.width) if organised else self._list()
        builder.fill(depth, frame.image, cloud, frame.channel_order)
        if not organised:
            size = config.cloud_voxel_size
            self._writer.fill(voxel_downsample(cloud, size) if size else valid_points(cloud))
        yield self._publisher, self._writer.message(frame.header)

    def _follow(self, intrinsics: Intrinsics, stride: int) -> None:
        """Make builder and filters for a new camera."""
        if self._camera != (intrinsics, stride):
            self._builder = CloudBuilder(intrinsics, stride)
            self._filters = CloudFilters(intrinsics)
            self._camera = intrinsics, stride
            self._organised = None

    def _list(self) -> np.ndarray:
        """Return where the points of which a list is made are written."""
        if self._organised is None:
            shape = (self._builder.height, self._builder.width, 4)
            self._organised = np.empty(shape, np.float32)
        return self._organised
