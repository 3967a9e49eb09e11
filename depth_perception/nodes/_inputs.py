"""Subscriptions of images and depth, and what to say when nothing comes in by them."""

from __future__ import annotations

from collections.abc import Callable
import time
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.qos import QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image

from depth_perception.nodes._diagnostics import Finding, Level
from depth_perception.nodes._messages import ColorImage, compressed_to_rgb, to_rgb

SILENCE_S = 2.0


def input_qos(process: str, depth: int) -> QoSProfile:
    """
    Return how to subscribe: ``newest`` best effort, ``every`` reliable.

    Best effort takes from any publisher and waits for no lost frame; reliable loses none.
    """
    reliable = process == 'every'
    return QoSProfile(
        history=QoSHistoryPolicy.KEEP_LAST, depth=depth,
        reliability=QoSReliabilityPolicy.RELIABLE if reliable
        else QoSReliabilityPolicy.BEST_EFFORT)


def image_type(image_transport: str) -> type:
    """Return the message type of ``raw`` or ``compressed`` images."""
    return CompressedImage if image_transport == 'compressed' else Image


def received_color(message: Image | CompressedImage) -> ColorImage:
    """Return the picture of a message of either ``image_type``; see _messages.to_rgb."""
    return compressed_to_rgb(message) if isinstance(message, CompressedImage) else to_rgb(message)


class Input:
    """
    One subscription that knows why nothing arrives.

    Parameters
    ----------
    node : Node
        Subscribes.
    message_type : type
        A ``CompressedImage`` is looked for under the topic's name + ``/compressed``, where
        image_transport puts it.
    name : str
        Relative and remappable name of the topic.
    callback : callable
        Gets each message, in the executor's thread.
    qos : QoSProfile
        Open to ``qos_overrides``.

    """

    def __init__(self, node: Node, message_type: type, name: str,
                 callback: Callable[[Any], None], qos: QoSProfile) -> None:
        self._node = node
        self._name = name
        self._type = message_type
        self._callback = callback
        topic = node.resolve_topic_name(name)
        self.topic = f'{topic}/compressed' if message_type is CompressedImage else topic
        self._last = time.monotonic()
        self._subscription = node.create_subscription(
            message_type, self.topic, self._on_message, qos,
            qos_overriding_options=_overridable(node, self.topic, qos))
        self._reliable = qos.reliability == QoSReliabilityPolicy.RELIABLE  # after the overrides

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)

    def complaint(self) -> Finding | None:
        """Say why nothing comes in, once that has lasted two seconds."""
        silent_s = time.monotonic() - self._last
        if silent_s < SILENCE_S:
            return None
        return Finding(Level.ERROR, self._why(silent_s))

    def _on_message(self, message: Any) -> None:
        self._last = time.monotonic()
        self._callback(message)

    def _why(self, silent_s: float) -> str:
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        if not publishers:
            return (f"no publisher on '{self.topic}' (input '{self._name}'); start the camera or "
                    f'remap {self._name}:=/its/topic')
        wanted = f'{self._type.__module__.split(".")[0]}/msg/{self._type.__name__}'
        types = {publisher.topic_type for publisher in publishers}
        if wanted not in types:
            return (f"'{self.topic}' carries {', '.join(sorted(types))}, not {wanted}; remap "
                    f'{self._name} or set image_transport')
        if self._reliable and all(publisher.qos_profile.reliability
                                  == QoSReliabilityPolicy.BEST_EFFORT for publisher in publishers):
            return (f"'{self.topic}' is published best effort only, which `process: every` cannot "
                    'take; make the publisher reliable or use `process: newest`')
        return (f"nothing received on '{self.topic}' for {silent_s:.0f} s although it has a "
                'publisher; if large images vanish, start it with FASTDDS_BUILTIN_TRANSPORTS='
                'DEFAULT?sockets_size=8MB and without ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST')


def _overridable(node: Node, topic: str, qos: QoSProfile) -> QoSOverridingOptions:
    """
    Open a subscription to ``qos_overrides``, also when it is made a second time.

    rclpy keeps the parameters of the first time, defaults included: what the user did not
    override has to follow ``qos`` again after a change of ``process`` or ``queue_size``.
    """
    default = {policy: getattr(qos, policy) for policy in ('history', 'depth', 'reliability')}
    prefix = f'qos_overrides.{topic}.subscription.'

    def restore(profile: QoSProfile) -> SetParametersResult:
        for policy, value in default.items():
            if prefix + policy not in node._parameter_overrides:  # there is no public way
                setattr(profile, policy, value)
        return SetParametersResult(successful=True)

    return QoSOverridingOptions.with_default_policies(callback=restore)
