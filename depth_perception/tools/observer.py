"""Listen to a live graph as any subscriber would: stamps, arrival times, latest messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
import struct
import time

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message


def is_message(data: bytes) -> bool:
    """Say whether what a raw subscription was given is a message at all.

    When a process subscribes reliably to a topic it already subscribes to while a message in
    fragments is under way, Fast DDS (3.2 to 3.6) drops that message by a gap but keeps its place
    in the new queue, and hands out empty bytes for it, as often as the queue is read.
    """
    return len(data) > 0


@dataclass
class Watch:
    """What has arrived on one topic: header stamps, arrival times and serialised messages."""

    kind: type
    keep: int
    stamps_ns: list[int] = field(default_factory=list)
    arrivals_ns: list[int] = field(default_factory=list)
    messages: dict[int, bytes] = field(default_factory=dict)

    def add(self, data: bytes) -> None:
        """Store one serialised message that begins with a std_msgs/Header; empty ones are none."""
        if not is_message(data):
            return
        order = '<' if data[1] & 1 else '>'
        seconds, nanoseconds = struct.unpack_from(f'{order}iI', data, 4)
        stamp = seconds * 1_000_000_000 + nanoseconds
        self.stamps_ns.append(stamp)
        self.arrivals_ns.append(time.time_ns())
        if len(self.messages) < self.keep:
            self.messages[stamp] = data

    def decode(self, stamp_ns: int):
        """Return the kept message of this stamp."""
        return deserialize_message(self.messages[stamp_ns], self.kind)

    def latencies_ms(self) -> np.ndarray:
        """Arrival minus header stamp, (N,) float64 milliseconds."""
        return (np.array(self.arrivals_ns) - np.array(self.stamps_ns)) / 1e6


class Observer:
    """A node that only watches; ``rclpy`` must be initialised.

    Parameters
    ----------
    name : str
        Node name.
    """

    def __init__(self, name: str = 'observer') -> None:
        self.node: Node = rclpy.create_node(name)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self.statuses: dict[str, tuple[str, dict[str, str]]] = {}
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)

    def watch(self, topic: str, kind: type, keep: int = 0, depth: int = 50) -> Watch:
        """Subscribe without decoding; keep the first ``keep`` messages by stamp."""
        watch = Watch(kind, keep)
        qos = QoSProfile(depth=depth, reliability=ReliabilityPolicy.RELIABLE)
        self.node.create_subscription(kind, topic, watch.add, qos, raw=True)
        return watch

    def spin(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Serve callbacks for a time; return at once, with True, when ``until`` holds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.05)
            if until():
                return True
        return until()

    def _on_diagnostics(self, array: DiagnosticArray) -> None:
        for status in array.status:
            values = {pair.key: pair.value for pair in status.values}
            self.statuses[status.name] = (status.message, values)

    def status_of(self, part: str) -> tuple[str, dict[str, str]]:
        """Return message and values of the newest status whose name contains ``part``."""
        for name, status in self.statuses.items():
            if part in name:
                return status
        return ('no diagnostics yet', {})

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self.node.destroy_node()
