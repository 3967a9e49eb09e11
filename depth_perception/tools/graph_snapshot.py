"""What can be seen of a live graph: who publishes what to whom, and what the nodes say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
import os
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, qos_check_compatible
from rclpy.utilities import get_rmw_implementation_identifier

from depth_perception.nodes._transport import Sender, SharedMemory, sender, shared_memory

PATIENCE_S = 4.0
LARGE = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/PointCloud2')


@dataclass(frozen=True)
class Status:
    """What a node of this package said last: its level 0 to 2, and each code with its text."""

    level: int
    message: str
    findings: Mapping[str, str]


@dataclass(frozen=True)
class Endpoint:
    """A publisher or subscription: the node's full name, what it carries, and its process."""

    node: str
    kind: str
    sender: Sender | None = None    # of a publisher on this host


@dataclass
class Topic:
    """One topic and the pairs that do not understand each other: publisher, subscription, why."""

    publishers: list[Endpoint] = field(default_factory=list)
    subscriptions: list[Endpoint] = field(default_factory=list)
    unfit: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Snapshot:
    """A graph at one moment."""

    rmw: str
    environment: Mapping[str, str]
    memory: SharedMemory | None
    statuses: Mapping[str, Status]
    topics: Mapping[str, Topic]


def take(seconds: float) -> Snapshot:
    """Listen for `seconds`, then look at the whole graph; ``rclpy`` must be initialised."""
    node = rclpy.create_node('depth_perception_doctor')
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    statuses: dict[str, Status] = {}
    node.create_subscription(
        DiagnosticArray, '/diagnostics', lambda msg: statuses.update(_statuses(msg)), 50)
    try:
        _listen(executor, seconds)
        if not statuses and node.count_publishers('/diagnostics'):
            _listen(executor, PATIENCE_S)   # found late: each tells its state once a second
        return Snapshot(get_rmw_implementation_identifier(), dict(os.environ), _memory(),
                        statuses, dict(_topics(node)))
    finally:
        executor.shutdown()
        node.destroy_node()


def _listen(executor: SingleThreadedExecutor, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        executor.spin_once(timeout_sec=0.1)


def _statuses(message: DiagnosticArray) -> Iterator[tuple[str, Status]]:
    """Read those that are of this package: they list their codes."""
    for each in message.status:
        values = {pair.key: pair.value for pair in each.values}
        if 'codes' in values:
            findings = {code: values.get(code, '') for code in values['codes'].split()}
            yield each.name, Status(each.level[0], each.message, findings)


def _memory() -> SharedMemory | None:
    try:
        return shared_memory()
    except OSError:     # no such folder on this system
        return None


def _topics(node: Node) -> Iterator[tuple[str, Topic]]:
    own = [info.endpoint_gid for info in node.get_subscriptions_info_by_topic('/diagnostics')
           if info.node_name == node.get_name()]
    for name, _ in node.get_topic_names_and_types():
        publishers = node.get_publishers_info_by_topic(name)
        subscriptions = [info for info in node.get_subscriptions_info_by_topic(name)
                         if info.node_name != node.get_name()]
        topic = Topic(unfit=list(_unfit(publishers, subscriptions)))
        topic.publishers += [_endpoint(info, own) for info in publishers]
        topic.subscriptions += [_endpoint(info, []) for info in subscriptions]
        yield name, topic


def _endpoint(info: Any, own: Sequence[Sequence[int]]) -> Endpoint:
    found = sender(info.endpoint_gid, own[0]) if own and info.topic_type in LARGE else None
    return Endpoint(_full_name(info), info.topic_type, found)


def _unfit(publishers: Sequence[Any],
           subscriptions: Sequence[Any]) -> Iterator[tuple[str, str, str]]:
    for publisher in publishers:
        for subscription in subscriptions:
            verdict, reason = qos_check_compatible(
                publisher.qos_profile, subscription.qos_profile)
            if verdict == QoSCompatibility.ERROR:
                yield _full_name(publisher), _full_name(subscription), reason.strip('; ')


def _full_name(info: Any) -> str:
    return f'{info.node_namespace.rstrip("/")}/{info.node_name}'
