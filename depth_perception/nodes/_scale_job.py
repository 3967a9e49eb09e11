"""The service ``~/calibrate_scale``: its answer comes when the worker has seen enough frames."""

from __future__ import annotations

import threading
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.task import Future
from std_srvs.srv import Trigger

from depth_perception.scale import ScaleError
from depth_perception.scale_file import same_lens
from depth_perception.scale_session import Gathering


class Job:
    """
    One call of the service.

    Parameters
    ----------
    future : Future
        Gets (success, message).

    Attributes
    ----------
    reason : str
        Why the last frame was of no use; the user reads it when time is over.
    gathering : Gathering
        What the frames said, from `begin` on.

    """

    def __init__(self, future: Future) -> None:
        self.future = future
        self.reason = 'no frame came; /diagnostics says why'
        self._config: Any = None

    def begin(self, config: Any, lens: float) -> Any:
        """
        Return the parameters of the first frame; what changes later is for the next call.

        Raises
        ------
        ScaleError
            The ``lens``, fx / width, is not that of the first frame.

        """
        if self._config is None:
            self._config, self.gathering = config, Gathering(config.scale_frames)
            self._lens = lens
        if not same_lens(self._lens, lens):
            raise ScaleError('the field of view changed meanwhile; leave the zoom, and call again')
        return self._config

    def end(self, success: bool, message: str) -> None:
        """Give the answer, once."""
        self.future.set_result((success, message))


class ScaleService:
    """
    Offers ``~/calibrate_scale``.

    The callback is a coroutine: the executor goes on with images while it waits.

    Parameters
    ----------
    node : Node
        Offers it; has the parameter ``scale.timeout``.

    Attributes
    ----------
    job : Job or None
        The call that waits; the worker looks at it with each frame.

    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._closed = 'the node is not active; activate it first'
        self.job: Job | None = None
        self._lock = threading.Lock()
        # a group of its own: others of the default group would wait for the answer, images too
        node.create_service(Trigger, '~/calibrate_scale', self._on_call,
                            callback_group=ReentrantCallbackGroup())

    def open(self) -> None:
        """Take calls from now on."""
        self._closed = ''

    def shut(self, reason: str) -> None:
        """Take no calls any more, and end the one that waits."""
        self._closed = 'the node is not active; activate it first'
        self.abandon(reason)

    def abandon(self, reason: str) -> None:
        """End the call that waits, if there is one."""
        job = self.job
        if job is not None:
            self.answer(job, False, reason)

    def claim(self, job: Job) -> bool:
        """Whether nobody else answers; the caller then has to `Job.end` it. From any thread."""
        with self._lock:
            is_open = self.job is job
            if is_open:
                self.job = None
        return is_open

    def answer(self, job: Job, success: bool, message: str) -> None:
        """End a call unless that was done, from any thread."""
        if self.claim(job):
            job.end(success, message)

    async def _on_call(self, request: Trigger.Request, response: Trigger.Response
                       ) -> Trigger.Response:
        refused = self._closed or (
            'another calibration is under way; wait for its answer' if self.job else '')
        if refused:
            response.success, response.message = False, refused
            return response
        seconds = self._node.get_parameter('scale.timeout').value
        job = Job(Future(executor=self._node.executor))
        # steady: simulated time may stand still
        timer = self._node.create_timer(
            seconds, lambda: self.answer(
                job, False, f'gave up after {seconds:g} s: {job.reason}'),
            clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.job = job
        try:
            response.success, response.message = await job.future
        finally:
            self._node.destroy_timer(timer)
        log = self._node.get_logger()
        if response.success:
            log.info(f'calibrated: {response.message}')
        else:
            log.warning(f'not calibrated: {response.message}')
        return response
