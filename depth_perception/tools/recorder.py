"""Record topics of the live graph into a rosbag2 (MCAP), and read a bag back.

The file opens in Foxglove, RViz and ``ros2 bag play``: it carries each topic's type
definition and the quality of service its publisher offered.
"""

from __future__ import annotations

from dataclasses import dataclass
import importlib
from pathlib import Path
import time

from mcap.reader import make_reader
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

#: Deep enough to hold what arrives while one large chunk is compressed.
QUEUE_DEPTH = 50
#: Format 8 is read by rosbag2 of Humble to Kilted; 9 only by Jazzy and newer.
BAG_VERSION = 8


class RecordingError(RuntimeError):
    """A topic could not be recorded, or a bag does not hold what was written."""


@dataclass(frozen=True)
class Topic:
    """What a bag holds of one topic."""

    name: str
    type: str
    count: int
    reliability: str


def message_class(type_name: str) -> type:
    """Return the Python class of ``'sensor_msgs/msg/Image'``."""
    package, _, name = type_name.split('/')
    return getattr(importlib.import_module(f'{package}.msg'), name)


class BagRecorder:
    """Writes serialised messages as they arrive; nothing is decoded on the way.

    Parameters
    ----------
    node : rclpy.node.Node
        Node on which the subscriptions are made; its executor drives the recording.
    path : Path
        Folder of the new bag; must not exist.
    topics : list of str
        Full topic names. Each needs a publisher already, since the bag states its type and
        quality of service.
    limit : int
        Messages kept of each topic, counted from when every topic has been heard once, so that
        the topics hold the same moments. The subscription ends there: a node that computes only
        what is subscribed is then free for the rest.

    Raises
    ------
    RecordingError
        When a topic has no publisher.
    """

    def __init__(self, node: Node, path: Path, topics: list[str], limit: int) -> None:
        self._node = node
        self._limit = limit
        self._typestore = get_typestore(Stores.LATEST)
        self._writer = Writer(path, version=BAG_VERSION, storage_plugin=StoragePlugin.MCAP)
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._writer.open()
        self.counts = dict.fromkeys(topics, 0)
        self._unheard = set(topics)
        self._subscriptions = {topic: self._subscribe(topic) for topic in topics}

    def _subscribe(self, topic: str):
        publishers = self._node.get_publishers_info_by_topic(topic)
        if not publishers:
            self._writer.close()
            raise RecordingError(
                f'{topic}: nobody publishes it, so its type is unknown; start its node first'
            )
        offered = publishers[0].qos_profile
        connection = self._writer.add_connection(
            topic,
            publishers[0].topic_type,
            typestore=self._typestore,
            offered_qos_profiles=[_qos(offered)],
        )
        return self._node.create_subscription(
            message_class(publishers[0].topic_type),
            topic,
            lambda data: self._write(connection, data),
            QoSProfile(depth=QUEUE_DEPTH, reliability=offered.reliability),
            raw=True,
        )

    def _write(self, connection: Connection, data: bytes) -> None:
        self._unheard.discard(connection.topic)
        if self._unheard or self.counts[connection.topic] == self._limit:
            return
        self._writer.write(connection, time.time_ns(), data)
        self.counts[connection.topic] += 1

    def done(self) -> bool:
        """Leave the topics that have their messages; say whether all have."""
        for topic in [t for t in self._subscriptions if self.counts[t] == self._limit]:
            self._node.destroy_subscription(self._subscriptions.pop(topic))
        return not self._subscriptions

    def close(self) -> None:
        """Stop recording and finish the file."""
        for subscription in self._subscriptions.values():
            self._node.destroy_subscription(subscription)
        self._writer.close()


def _qos(profile: QoSProfile) -> Qos:
    """Write rclpy's profile in the bag's words; endless times stay endless."""
    reliable = profile.reliability == ReliabilityPolicy.RELIABLE
    endless = QosTime(9223372036, 854775807)
    return Qos(
        # The graph does not tell a remote publisher's history, so the package's own is stated.
        history=QosHistory.KEEP_LAST,
        depth=profile.depth or 5,
        reliability=QosReliability.RELIABLE if reliable else QosReliability.BEST_EFFORT,
        durability=QosDurability(int(profile.durability)),
        deadline=endless,
        lifespan=endless,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=endless,
        avoid_ros_namespace_conventions=False,
    )


def read_back(path: Path) -> list[Topic]:
    """Read a bag with rosbags, mcap and rclpy, and return what it holds.

    Raises
    ------
    RecordingError
        When the two readers count differently, or rclpy cannot decode a message.
    """
    with Reader(path) as reader:
        topics = [_check(reader, connection) for connection in reader.connections]
    counted: dict[str, int] = {}
    for file in path.glob('*.mcap'):
        with file.open('rb') as stream:
            summary = make_reader(stream).get_summary()
        for channel in summary.channels.values():
            counted[channel.topic] = summary.statistics.channel_message_counts.get(channel.id, 0)
    if counted != {topic.name: topic.count for topic in topics}:
        raise RecordingError(f'{path}: rosbags and mcap count different messages: {counted}')
    return topics


def _check(reader: Reader, connection: Connection) -> Topic:
    kind = message_class(connection.msgtype)
    for _, _, data in reader.messages(connections=[connection]):
        deserialize_message(bytes(data), kind)
        break
    qos = connection.ext.offered_qos_profiles
    return Topic(
        connection.topic,
        connection.msgtype,
        connection.msgcount,
        qos[0].reliability.name.lower() if qos else 'unknown',
    )
