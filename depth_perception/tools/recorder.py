"""Record topics of the live graph into a rosbag2 (MCAP), and read a bag back.

The file opens in Foxglove, RViz and ``ros2 bag play``: it carries each topic's type
definition and the quality of service its publisher offered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
import importlib
from pathlib import Path
import time
from typing import Any

from mcap.reader import make_reader
import rclpy
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
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

from depth_perception.tools.observer import is_message
from depth_perception.tools.split_bag import BAG_VERSION, GB, RecordingError, SplitBag

#: Deep enough to hold what arrives while one large chunk is compressed.
QUEUE_DEPTH = 50
LOOK_S, TELL_S = 0.5, 5.0
TRANSFORMS = ('/tf', '/tf_static')


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
            offered_qos_profiles=[bag_qos(offered)],
        )
        return self._node.create_subscription(
            message_class(publishers[0].topic_type),
            topic,
            lambda data: self._write(connection, data),
            QoSProfile(depth=QUEUE_DEPTH, reliability=offered.reliability),
            raw=True,
        )

    def _write(self, connection: Connection, data: bytes) -> None:
        if not is_message(data):
            return
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


class LiveRecorder:
    """Subscribes to what is wanted as it appears, and writes it as it arrives.

    Parameters
    ----------
    node : rclpy.node.Node
        Subscribes; spun here.
    topics : list of str
        Full names; empty: those of which `is_wanted` (name, type) says so.
    """

    def __init__(self, node: Node, bag: SplitBag, topics: list[str],
                 is_wanted: Callable[[str, str], bool]) -> None:
        self._node, self._bag, self._is_wanted = node, bag, is_wanted
        self._named = [name if name.startswith('/') else f'/{name}' for name in topics]
        self._subscriptions: dict[str, Any] = {}
        self._refused: set[str] = set()

    @property
    def waiting(self) -> list[str]:
        """Named topics of which nothing came; not every robot has transforms."""
        counts = self._bag.counts
        return [name for name in self._named
                if not counts.get(name) and name not in TRANSFORMS]

    def spin(self, is_over: Callable[[], bool]) -> None:
        """Record until it is over or the bag is full, then what has arrived by then."""
        look = tell = 0.0
        while not (is_over() or self._bag.full) and rclpy.ok():
            now = time.monotonic()
            if now >= look:
                self._subscribe()
                look = now + LOOK_S
            if now >= tell:
                self._tell()
                tell = now + TELL_S
            rclpy.spin_once(self._node, timeout_sec=0.1)
        for _ in range(QUEUE_DEPTH * len(self._subscriptions)):
            rclpy.spin_once(self._node, timeout_sec=0)

    def _tell(self) -> None:
        counts = self._bag.counts
        print(f'{len(counts)} topics, {sum(counts.values())} messages, '
              f'{self._bag.size / GB:.3f} GB', flush=True)

    def _subscribe(self) -> None:
        for name, types in self._node.get_topic_names_and_types():
            known = name in self._subscriptions or name in self._refused
            wanted = name in self._named if self._named else self._is_wanted(name, types[0])
            if wanted and not known:
                self._listen(name)

    def _listen(self, name: str) -> None:
        publishers = self._node.get_publishers_info_by_topic(name)
        if not publishers:
            return  # somebody listens to it; its publisher may still come
        offered = [each.qos_profile for each in publishers]
        try:
            kind = message_class(publishers[0].topic_type)
            self._bag.add_topic(name, publishers[0].topic_type, [bag_qos(offered[0])])
        except (RecordingError, ImportError) as error:
            self._refused.add(name)
            print(f'{name} is not recorded: {error}', flush=True)
            return
        # What every publisher offers: a subscription that asks for more hears nothing.
        reliable = all(each.reliability == ReliabilityPolicy.RELIABLE for each in offered)
        latched = all(each.durability == DurabilityPolicy.TRANSIENT_LOCAL for each in offered)
        self._subscriptions[name] = self._node.create_subscription(
            kind, name,
            lambda data: self._bag.write(name, time.time_ns(), data),
            QoSProfile(
                depth=QUEUE_DEPTH,
                reliability=ReliabilityPolicy.RELIABLE if reliable
                else ReliabilityPolicy.BEST_EFFORT,
                durability=DurabilityPolicy.TRANSIENT_LOCAL if latched
                else DurabilityPolicy.VOLATILE),
            raw=True)


def bag_qos(profile: QoSProfile) -> Qos:
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
    counted: Counter[str] = Counter()
    for file in path.glob('*.mcap'):
        with file.open('rb') as stream:
            summary = make_reader(stream).get_summary()
        for channel in summary.channels.values():
            counted[channel.topic] += summary.statistics.channel_message_counts.get(channel.id, 0)
    if counted != Counter({topic.name: topic.count for topic in topics}):
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
