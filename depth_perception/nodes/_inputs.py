"""Subscriptions of images and depth, and what to say when nothing comes in by them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
import contextlib
import time
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.qos import (
    QoSCompatibility,
    QoSHistoryPolicy,
    QoSProfile,
    QoSReliabilityPolicy,
    qos_check_compatible,
    qos_policy_name_from_kind,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image, PointCloud2

from depth_perception.nodes._diagnostics import Finding, Level
from depth_perception.nodes._messages import ColorImage, compressed_to_rgb, to_rgb
from depth_perception.nodes._transport import CURE, Sender, sender
from depth_perception.timing import RateMeter

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:     # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError

SILENCE_S = 2.0
LOSS_S = 5.0            # losses of the last so many seconds count
LARGE = (Image, PointCloud2)    # types of messages that may not fit into shared memory


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
        self._type, self._is_large = message_type, message_type in LARGE
        self._type_name = f'{message_type.__module__.split(".")[0]}/msg/{message_type.__name__}'
        self._callback = callback
        topic = node.resolve_topic_name(name)
        self.topic = f'{topic}/compressed' if message_type is CompressedImage else topic
        self._last = time.monotonic()
        self._refused = ''      # the policy for which DDS refused a publisher, by its event
        self._came = RateMeter(LOSS_S)
        self._lost: deque[tuple[float, int]] = deque(maxlen=512)    # when told, and how many
        self._subscription = self._subscribe(qos)
        self._qos = qos         # after the overrides

    def _subscribe(self, qos: QoSProfile) -> Subscription:
        events = {'incompatible_qos': self._on_incompatible, 'message_lost': self._on_lost}
        while True:
            try:
                return self._node.create_subscription(
                    self._type, self.topic, self._on_message, qos,
                    event_callbacks=SubscriptionEventCallbacks(**events),
                    qos_overriding_options=_overridable(self._node, self.topic, qos))
            except UnsupportedEventTypeError:   # not every DDS has both
                if not events:
                    raise
                events.popitem()

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)

    def complaint(self) -> Finding | None:
        """Say why nothing comes in, once that has lasted two seconds; or not from everybody."""
        silent_s = time.monotonic() - self._last
        if silent_s < SILENCE_S:
            return (self._refused and self._unheard()) or self._losing()
        return self._why(silent_s)

    def _on_message(self, message: Any) -> None:
        self._last = time.monotonic()
        self._came.tick(self._last)
        self._callback(message)

    def _on_lost(self, event: Any) -> None:
        self._lost.append((time.monotonic(), event.total_count_change))

    def _losing(self) -> Finding | None:
        """Say that more messages are lost on the way than come."""
        now = time.monotonic()
        counts = [count for told, count in self._lost if now - told < LOSS_S]
        lost, came = sum(counts) / LOSS_S, self._came.rate_hz(now)
        # losses that were told at once are over: that was a hiccup, no state
        if len(counts) < 2 or lost <= came:
            return None
        text = f"on '{self.topic}' {came:.1f} messages a second come and {lost:.1f} are lost"
        small = self._small_sender(self._node.get_publishers_info_by_topic(self.topic))
        if small is not None:
            return Finding(Level.WARN, f'{text}: {_blame(small)}', 'TRANSPORT_TOO_SMALL')
        cure = f'start the publisher with {CURE} if it runs on this host, or ' if self._is_large \
            else ''
        return Finding(Level.WARN, f'{text}: {cure}make the publisher reliable', 'FRAMES_LOST')

    def _on_incompatible(self, event: Any) -> None:
        self._refused = qos_policy_name_from_kind(event.last_policy_kind).lower()
        self._node.get_logger().warning(
            f"a publisher on '{self.topic}' offers another {self._refused} than is asked for")

    def _unheard(self) -> Finding | None:
        """Say that somebody is not heard while others are."""
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        unfit = [each for each in publishers
                 if each.topic_type == self._type_name and not self._fits(each)]
        if not unfit:
            self._refused = ''      # it is gone
            return None
        return Finding(Level.WARN, (
            f'of {len(publishers)} publishers {len(unfit)} cannot be heard: '
            f'{self._why_unfit(unfit)}'), 'QOS_INCOMPATIBLE')

    def _fits(self, publisher: Any) -> bool:
        compatible, _ = qos_check_compatible(publisher.qos_profile, self._qos)
        return compatible != QoSCompatibility.ERROR

    def _mismatch(self, publishers: Sequence[Any]) -> str:
        """Tell policy by policy what the publishers offer and the node wants."""
        offered = publishers[0].qos_profile
        found = [
            f'{name} is {getattr(offered, name).name.lower()}, wanted is '
            f'{getattr(self._qos, name).name.lower()}'
            for name in ('reliability', 'durability', 'liveliness')
            if getattr(offered, name) != getattr(self._qos, name)
            and name in (self._refused or name)]
        return '; '.join(found) or self._refused or 'see `ros2 topic info -v`'

    def _why(self, silent_s: float) -> Finding:
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        if not publishers:
            return Finding(Level.ERROR, (
                f"no publisher on '{self.topic}' (input '{self._name}'); start the camera or "
                f'remap {self._name}:=/its/topic'), 'NO_PUBLISHER')
        types = {publisher.topic_type for publisher in publishers}
        publishers = [each for each in publishers if each.topic_type == self._type_name]
        if not publishers:
            return Finding(Level.ERROR, (
                f"'{self.topic}' carries {', '.join(sorted(types))}, not {self._type_name}; remap "
                f'{self._name} or set image_transport'), 'WRONG_TYPE')
        if not any(map(self._fits, publishers)):
            return Finding(Level.ERROR, self._why_unfit(publishers), 'QOS_INCOMPATIBLE')
        return self._why_silent(publishers, silent_s)

    def _why_unfit(self, publishers: Sequence[Any]) -> str:
        wanted = QoSReliabilityPolicy.RELIABLE
        if self._qos.reliability == wanted and all(
                each.qos_profile.reliability != wanted for each in publishers):
            return (f"'{self.topic}' is published best effort only, which `process: every` cannot "
                    'take; make the publisher reliable or use `process: newest`')
        return (f"'{self.topic}' is published with another QoS than the node asks for: "
                f'{self._mismatch(publishers)}; change the publisher, or set '
                f'qos_overrides.{self.topic}.subscription')

    def _why_silent(self, publishers: Sequence[Any], silent_s: float) -> Finding:
        silence = f"nothing received on '{self.topic}' for {silent_s:.0f} s although it has a "
        small = self._small_sender(publishers)
        if small is None:
            cure = (f'; if large images vanish, start it with {CURE} and without '
                    'ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST') if self._is_large else (
                        '; look whether `ros2 topic hz` hears it')
            return Finding(Level.ERROR, f'{silence}publisher{cure}', 'SILENT_PUBLISHER')
        return Finding(
            Level.ERROR, f'{silence}publisher: {_blame(small)}', 'TRANSPORT_TOO_SMALL')

    def _small_sender(self, publishers: Sequence[Any]) -> Sender | None:
        """Return a publisher on this host whose images do not fit into its shared memory."""
        if not self._is_large or self._qos.reliability != QoSReliabilityPolicy.BEST_EFFORT:
            return None     # it fits, or what is lost is sent again
        own = [each.endpoint_gid
               for each in self._node.get_subscriptions_info_by_topic(self.topic)
               if each.node_name == self._node.get_name()
               and each.node_namespace == self._node.get_namespace()]
        found = (sender(each.endpoint_gid, own[0]) for each in publishers if own)
        return next((each for each in found if each is not None and each.is_small), None)


def subscribed(node: Node, topics: Iterable[tuple[str, type, Callable[[Any], None]]],
               qos: QoSProfile) -> list[Input]:
    """Subscribe to all of these (name, type, callback), or to none where one cannot be made."""
    made: list[Input] = []
    with contextlib.ExitStack() as undo:
        for name, kind, callback in topics:
            made.append(Input(node, kind, name, callback, qos))
            undo.callback(made[-1].close)
        undo.pop_all()
    return made


def _blame(small: Sender) -> str:
    return (f'process {small.pid} ({small.command}) has the default transport, whose shared '
            f'memory of {small.segment_bytes / 1024:.0f} KiB loses larger images; start it with '
            f'{CURE}')


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
