"""What the camera nodes have in common: source, pace, publishers, life cycle, diagnostics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
import itertools
import time
from typing import Any, Protocol

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.lifecycle.managed_entity import ManagedEntity
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.time import Time
from rclpy.timer import Timer
from std_msgs.msg import Header

from depth_perception.nodes._diagnostics import Finding, Health, Level
from depth_perception.nodes._lifecycle import LifecycleConfig, attempt
from depth_perception.nodes._parameters import ParameterServer, parameter
from depth_perception.nodes._prefetch import Prefetcher, Ready
from depth_perception.sources import Frame, FrameSource, SourceError

KEPT_FRAMES = 5
SETTLING_S = 6.0  # the window of the rate, and a little


@dataclass(frozen=True)
class StreamConfig(LifecycleConfig):
    """The parameters that every camera node has."""

    rate_hz: float = parameter(
        30.0, 'frames a second; a webcam keeps its own', unit='Hz', limits=(0.1, 240.0)
    )
    width: int = parameter(
        640, 'width of the scene, and asked of a webcam', unit='px', limits=(16, 8192),
        at_configure=True,
    )
    height: int = parameter(
        480, 'height of the scene, and asked of a webcam', unit='px', limits=(16, 8192),
        at_configure=True,
    )
    seed: int = parameter(
        0, 'which simulated room', limits=(0, 2**31 - 1), at_configure=True
    )
    camera_info_file: str = parameter(
        '', 'calibration YAML as camera_calibration writes it; empty: hfov_deg', at_configure=True
    )
    hfov_deg: float = parameter(
        0.0,
        'horizontal field of view where there is no calibration and no scene; 0: unknown, '
        'and no camera_info is published',
        unit='deg', limits=(0.0, 179.0), at_configure=True,
    )
    frame_id: str = parameter('camera_optical_frame', 'frame of the images, z forward')
    encoding: str = parameter('rgb8', 'encoding of the images', choices=('rgb8', 'bgr8'))


class Feed(Protocol):
    """What a camera node does itself: it opens a source and turns frames into messages."""

    def open(self, config: Any) -> FrameSource:
        """Open the source; ValueError if that is impossible."""

    def check(self, frame: Frame) -> None:
        """Raise SourceError for a frame that does not fit the camera."""

    def topics(self, first: Frame) -> Mapping[str, type]:
        """Give the topics that frames like the first one are published on."""

    def messages(self, frame: Frame, header: Header, config: Any,
                 wanted: Callable[[str], bool]) -> Iterator[tuple[str, Any]]:
        """Make the messages of a frame; ``wanted`` says whether a topic has subscribers."""

    def change(self, config: Any, changed: set[str]) -> None:
        """Follow parameters before they change; ValueError refuses."""

    def findings(self) -> Iterator[Finding]:
        """Say what is wrong with the source, while it is open."""

    def values(self) -> Mapping[str, object]:
        """Give key-value pairs for the diagnostics."""

    def close(self) -> None:
        """Give back what ``open`` took, but for the source; it may be so already."""


class Streamer(ManagedEntity):
    """
    Runs a Feed through the life cycle of a node; add it as a managed entity.

    Parameters
    ----------
    node : LifecycleNode
        Gets the parameters and the publishers.
    config_type : type
        Frozen dataclass of the node's parameters, derived from StreamConfig.
    feed : Feed
        Gives the frames that are published.

    """

    def __init__(self, node: LifecycleNode, config_type: type, feed: Feed) -> None:
        self._node, self._feed = node, feed
        self._settings = ParameterServer(node, config_type, self._on_change)
        self._health = Health(node, self._findings, self._values)
        self._advertised: dict[str, Publisher] = {}
        self._arrived = node.create_guard_condition(self._publish_next)
        self._source: FrameSource | None = None
        self._prefetch: Prefetcher | None = None
        self._timer: Timer | None = None
        self._active, self._active_since = False, 0.0
        self._failure = self._end = ''

    # -- transitions ---------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the source and read its first frame, so that what is wrong shows now."""
        self._failure = ''
        result = attempt(self._node, 'configure', self._configure, self._fail)
        if result != TransitionCallbackReturn.SUCCESS:
            self._close()
        return result

    def _fail(self, reason: str) -> None:
        self._failure = reason

    def _configure(self) -> None:
        self._settings.check()
        self._source = self._feed.open(self._settings.config)
        first = next(self._source, None)
        if first is None:
            raise SourceError(f'{self._settings.config.source} has no frame')
        self._feed.check(first)
        for topic, kind in self._feed.topics(first).items():
            self._advertise(kind, topic)
        self._end = ''
        self._settings.frozen = True
        self._start_prefetch(itertools.chain([first], self._source))

    def _start_prefetch(self, frames: Iterator[Frame]) -> None:
        notify = self._arrived.trigger if self._source.live else lambda: None
        self._prefetch = Prefetcher(
            frames, self._source.live, self._node.get_clock().now, notify)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to publish."""
        self._active, self._active_since = True, time.monotonic()
        if not self._source.live and not self._end:
            self._start_timer(self._settings.config.rate_hz)
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop to publish; a recorded source waits where it is."""
        self._active = False
        self._stop_timer()
        return TransitionCallbackReturn.SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close the source; the parameters may be changed again."""
        self._close()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End the thread and close the source."""
        self._close()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start anew after a transition that ended in a bug."""
        self._close()
        return TransitionCallbackReturn.SUCCESS

    def _close(self) -> None:
        self._active = False
        self._stop_timer()
        if self._prefetch is not None:
            self._prefetch.close()
            self._prefetch = None
        if self._source is not None:
            self._source.close()
            self._source = None
        while self._advertised:
            self._node.destroy_publisher(self._advertised.popitem()[1])
        self._feed.close()
        self._settings.frozen = False

    # -- frames --------------------------------------------------------------------------------

    def _publish_next(self) -> None:
        """Publish the next frame, if there is one: called by the timer, or by a live source."""
        if not self._active:
            return
        ready = self._prefetch.take()
        if ready is not None:
            self._publish_ready(ready)
        elif not self._source.live:
            self._health.count('late')
        self._note_end()

    def _publish_ready(self, ready: Ready) -> None:
        stamp = ready.time if self._source.live else self._node.get_clock().now()
        try:
            self._feed.check(ready.frame)
        except SourceError as error:
            self._health.reject('size', str(error))
            return
        with self._health.clock.stage('publish'):
            self._publish(ready.frame, stamp)
        self._health.processed()

    def _note_end(self) -> None:
        end = self._prefetch.end
        if end and not self._end:
            self._end = f'no more frames from {self._settings.config.source}: {end}'
            self._node.get_logger().info(self._end)
            self._stop_timer()

    def _publish(self, frame: Frame, stamp: Time) -> None:
        config = self._settings.config
        header = Header(stamp=stamp.to_msg(), frame_id=config.frame_id)
        for topic, message in self._feed.messages(frame, header, config, self._wanted):
            self._advertised[topic].publish(message)

    def _wanted(self, topic: str) -> bool:
        return self._advertised[topic].get_subscription_count() > 0

    # -- settings and state --------------------------------------------------------------------

    def _on_change(self, config: StreamConfig, changed: set[str]) -> None:
        self._feed.change(config, changed)
        if 'rate_hz' in changed and self._timer is not None:
            self._stop_timer()
            self._start_timer(config.rate_hz)

    def _start_timer(self, rate_hz: float) -> None:
        # A camera's pace is real time, even for nodes that live in simulated time.
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self._node.create_timer(1.0 / rate_hz, self._publish_next, clock=clock)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None

    def _advertise(self, kind: type, topic: str) -> None:
        options = QoSOverridingOptions.with_default_policies()
        qos = QoSProfile(depth=KEPT_FRAMES)  # reliable is the default
        self._advertised[topic] = self._node.create_publisher(
            kind, topic, qos, qos_overriding_options=options)

    def _findings(self) -> Iterator[Finding]:
        if self._failure:
            yield Finding(
                Level.ERROR, f'not configured: {self._failure}', 'CONFIGURE_FAILED')
        elif not self._active:
            yield Finding(Level.WARN, 'not active; ros2 lifecycle set NODE configure, activate',
                          'INACTIVE')
        if self._end:
            yield Finding(Level.WARN, self._end, 'SOURCE_ENDED')
        if self._source is not None and self._source.skipped:
            name, reason = list(self._source.skipped.items())[-1]
            count = len(self._source.skipped)
            yield Finding(Level.WARN, f'{count} files cannot be read, the last: {name}: {reason}',
                          'FILES_UNREADABLE')
        if self._active and not self._end:
            yield self._pace()
        if self._source is not None:
            yield from self._feed.findings()

    def _pace(self) -> Finding:
        rate_hz = self._health.output_rate.rate_hz(time.monotonic())
        asked_hz = self._settings.config.rate_hz
        settled = time.monotonic() - self._active_since > SETTLING_S
        if settled and not self._source.live and rate_hz < 0.9 * asked_hz:
            return Finding(Level.WARN, (
                f'the source gives {rate_hz:.1f} of the {asked_hz:g} frames a second asked; '
                'lower rate_hz or the image size'
            ), 'SOURCE_SLOW')
        return Finding(Level.OK, f'{rate_hz:.1f} frames a second', 'STREAMING')

    def _values(self) -> dict[str, object]:
        config = self._settings.config
        skipped = len(self._source.skipped) if self._source is not None else 0
        return {'source': config.source, 'rate asked [Hz]': config.rate_hz,
                'unreadable files': skipped, **self._feed.values()}
