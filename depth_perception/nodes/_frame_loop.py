"""The way of a frame from the subscription's callback to the worker, with everything counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import time
from typing import Any, NamedTuple

from rclpy.node import Node
from std_msgs.msg import Header
from std_srvs.srv import SetBool

from depth_perception.focus_estimator import FocusStackError
from depth_perception.focus_stack import FocusError
from depth_perception.geometry import GeometryError
from depth_perception.image_encodings import MessageError
from depth_perception.nodes._camera_info import CameraInfoError
from depth_perception.nodes._diagnostics import Finding, Health, Level
from depth_perception.nodes._stamps import NS_PER_S, StampMonitor, stamp_ns
from depth_perception.nodes._worker import Worker
from depth_perception.point_cloud import PointCloudError
from depth_perception.preprocessing import ImageError
from depth_perception.stereo import StereoError
from depth_perception.timing import RateMeter

TOO_SLOW = 0.05         # this share of the frames is left out: it is shown
STANDING_S = 2.0        # simulated time that does not move for so long is paused


class SizeError(ValueError):
    """Image and depth of one moment differ in size."""


class EngineError(ValueError):
    """What runs the model failed for this frame: out of memory, a graph that fits no longer."""


# What makes a frame unusable, and the name under which it is counted.
REASONS = {MessageError: 'message', ImageError: 'image', SizeError: 'sizes', EngineError: 'engine',
           PointCloudError: 'point cloud', StereoError: 'stereo',
           FocusError: 'focus', FocusStackError: 'focus stack',
           # focal lengths that pass by themselves, and vanish where the image is made smaller
           GeometryError: 'camera_info values'}


class _Queued(NamedTuple):
    header: Header
    frame: Any
    arrived: float      # [s] of time.perf_counter()


class FrameLoop:
    """
    Runs ``process(frame)`` in a worker thread, for the frames that callbacks offer.

    The callback only stores the frame, so the executor answers services, parameters and
    camera_info while a network computes. A frame that cannot be used is counted, and the next
    one comes. Offers the service ``~/enable``.

    Parameters
    ----------
    node : Node
        Has the service and ends with the exception if ``process`` has a bug.
    health : Health
        Counts.
    process : callable
        Works on one frame; returns whether anything was published. It may raise
        CameraInfoError or a key of REASONS for a frame that cannot be used.

    """

    def __init__(self, node: Node, health: Health, process: Callable[[Any], bool]) -> None:
        self._node = node
        self._health = health
        self._process = process
        self._worker: Worker[_Queued] | None = None
        self._monitor = StampMonitor()
        self._every = False
        self._left_out = RateMeter()
        self._time_ns, self._time_moved = -1, time.monotonic()
        self.enabled = True
        # raises in the executor's thread, and so out of spin(), what ended the worker
        self._ended = node.create_guard_condition(self._raise_worker_error)
        node.create_service(SetBool, '~/enable', self._on_enable)

    def start(self, process: str, queue_size: int) -> None:
        """Start the worker: ``newest`` keeps one frame, ``every`` queues ``queue_size``."""
        self.stop()
        self._every = process == 'every'
        self._monitor = StampMonitor()
        self._worker = Worker(self._work, queue_size if self._every else 1, self._ended.trigger)

    def stop(self) -> None:
        """Finish the frame in work and end the worker; nothing is published after this."""
        worker, self._worker = self._worker, None
        if worker is not None:
            self._health.count('skipped.inactive', worker.stop())

    def put(self, header: Header, frame: Any) -> None:
        """Take a frame from a callback."""
        self._health.received()
        self._record_age('image age', header)
        self._watch_stamp(stamp_ns(header))
        if not self.enabled:
            self._health.count('skipped.disabled')
        elif self._worker is not None and self._worker.put(
                _Queued(header, frame, time.perf_counter())):
            self._dropped()

    def findings(self) -> Iterator[Finding]:
        """Say that the node was switched off, that its time stands still, or frames are many."""
        if not self.enabled:
            yield Finding(Level.WARN, 'disabled; call the service ~/enable with data: true',
                          'DISABLED')
        now = self._node.get_clock().now().nanoseconds
        if not now:
            yield Finding(Level.WARN, 'use_sim_time is true and nothing came on /clock: ages are '
                          'unknown; start the simulator, or play the bag with --clock',
                          'NO_CLOCK')

        elif self.time_stands():
            yield Finding(Level.WARN, (
                f'simulated time stands still at {now / NS_PER_S:.3f} s: the bag or the simulator '
                'is paused'), 'CLOCK_STANDS')
        yield from self._too_slow(time.monotonic())

    def time_stands(self) -> bool:
        """Whether ROS time is simulated and has not moved for two seconds; ask once a second."""
        clock, steady = self._node.get_clock(), time.monotonic()
        now = clock.now().nanoseconds
        if now != self._time_ns:
            self._time_ns, self._time_moved = now, steady
        return clock.ros_time_is_active and now > 0 and steady - self._time_moved > STANDING_S

    def _too_slow(self, now: float) -> Iterator[Finding]:
        rate_in, rate_out, left_out = (rate.rate_hz(now) for rate in (
            self._health.input_rate, self._health.output_rate, self._left_out))
        if left_out > TOO_SLOW * rate_in:
            yield Finding(Level.OK, (
                f'{rate_in:.1f} Hz in, {rate_out:.1f} Hz out: frames come faster than they are '
                'processed, and `process: newest` leaves the older ones out'), 'TOO_SLOW')

    def _dropped(self) -> None:
        if self._every:
            self._health.warn('overflow', 'frames come faster than they are processed and the '
                              'queue is full: the oldest is lost; raise queue_size or play slower')
        else:
            self._health.count('overwritten')
            self._left_out.tick(time.monotonic())

    def _watch_stamp(self, stamp: int) -> None:
        step = self._monitor.step(stamp)
        if step.jumped_back:
            self._health.warn('stamp jumps back', 'stamps jumped back in time (a bag that starts '
                              'anew, simulated time set back, or two publishers on one topic); '
                              'going on from there')
        if step.missing and self._every:
            self._health.warn('missing by stamp', 'frames are missing by their stamps; the '
                              'publisher or the network lost them', step.missing)
        elif step.missing:
            self._health.count('missing by stamp', step.missing)

    def _work(self, queued: _Queued) -> None:
        self._health.clock.record('wait', time.perf_counter() - queued.arrived)
        try:
            published = self._process(queued.frame)
        except CameraInfoError as error:
            self._health.reject(error.reason, str(error), quiet=error.early)
            return
        except tuple(REASONS) as error:
            self._health.reject(REASONS[type(error)], str(error))
            return
        if not published:
            self._health.idle()
            return
        self._health.clock.record('total', time.perf_counter() - queued.arrived)
        self._record_age('output age', queued.header)
        self._health.processed()

    def _record_age(self, name: str, header: Header) -> None:
        now = self._node.get_clock().now().nanoseconds
        if now:  # simulated time is 0 until the first /clock
            # by hand: rclpy's Time refuses a stamp before 1970, and a bad driver may send one
            self._health.clock.record(name, (now - stamp_ns(header)) / NS_PER_S)

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self.enabled = request.data
        if not self.enabled and self._worker is not None:
            self._health.count('skipped.disabled', self._worker.clear())
        response.success = True
        response.message = 'enabled' if self.enabled else 'disabled'
        return response

    def _raise_worker_error(self) -> None:
        if self._worker is not None:
            self._worker.result()
