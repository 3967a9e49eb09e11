"""How every node of this package starts, changes state and ends.

A node is an ``rclpy.lifecycle.LifecycleNode`` whose parameters extend :class:`LifecycleConfig`;
its module ends in ``def main(args=None): return run(TheNode, args)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import contextlib
import ctypes
from dataclasses import dataclass
import signal
import threading
import traceback

import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
import rclpy.logging
from rclpy.signals import SignalHandlerOptions

from depth_perception.nodes._parameters import parameter

_WAKE_PERIOD_S = 0.2
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


@dataclass(frozen=True)
class LifecycleConfig:
    """The parameters that every node has."""

    autostart: bool = parameter(
        True,
        'configure and activate at start; false leaves both to `ros2 lifecycle` or a launch file',
        read_only=True,
    )


def keep_big_blocks() -> bool:
    """Make glibc reuse frame-sized blocks instead of mapping fresh pages for each message.

    Cuts the time to receive a large message by 2 to 5; without glibc it does nothing.

    Returns
    -------
    bool
        Whether the allocator took the settings.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    # An older glibc may refuse more than 32 MB as the mmap threshold, hence the second try.
    kept = mallopt(_M_MMAP_THRESHOLD, 1 << 30) or mallopt(_M_MMAP_THRESHOLD, 32 << 20)
    return bool(kept and mallopt(_M_TRIM_THRESHOLD, 256 << 20))


def attempt(
    node: LifecycleNode,
    what: str,
    work: Callable[[], None],
    report: Callable[[str], None] | None = None,
) -> TransitionCallbackReturn:
    """Do the work of a transition; an expected failure becomes one readable error.

    Parameters
    ----------
    node : LifecycleNode
        Whose logger tells the user.
    what : str
        Name of the transition for the message, such as ``configure``.
    work : callable
        May raise ValueError (every error of this package is one) or OSError.
    report : callable, optional
        Gets the error's text, for the diagnostics.

    Returns
    -------
    TransitionCallbackReturn
        SUCCESS, or FAILURE: the node stays alive in its former state and can be tried again.
    """
    try:
        work()
    except (ValueError, OSError) as error:
        node.get_logger().error(f'cannot {what}: {error}')
        if report is not None:
            report(str(error))
        return TransitionCallbackReturn.FAILURE
    except Exception as error:
        # rclpy would swallow it without a word, and a bug must be seen.
        node.get_logger().fatal(traceback.format_exc())
        if report is not None:
            report(f'{type(error).__name__}: {error}')
        raise
    return TransitionCallbackReturn.SUCCESS


def autostart(node: LifecycleNode) -> None:
    """Configure and activate the node, unless its parameter ``autostart`` is false."""
    if not node.get_parameter('autostart').value:
        return
    if node.trigger_configure() == TransitionCallbackReturn.SUCCESS:
        node.trigger_activate()


def run(node_type: Callable[[], LifecycleNode], args: Sequence[str] | None = None) -> int:
    """Run one node until SIGINT or SIGTERM, then end it in order.

    The transition to `finalized` runs while ROS is still up, so that workers stop before their
    publishers go, and no shared memory segment stays behind.

    Returns
    -------
    int
        Exit code: 0 after a signal, 2 when ROS refuses the arguments. An unexpected exception of
        a callback leaves this function.
    """
    keep_big_blocks()
    # rclpy's own handlers would shut the context down under the running workers.
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # RCLError, mostly a parameter file that is no YAML
        rclpy.logging.get_logger('depth_perception').fatal(f'cannot start: {error}')
        return 2
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        node = _made(node_type)
        if node is None:
            return 2
        try:
            autostart(node)
            _spin(node, stop)
        finally:
            _finalize(node)
            node.destroy_node()
    finally:
        rclpy.try_shutdown()
        # While Python ends it puts its own handlers back to "kill", and ros2 launch passes a
        # Ctrl-C on that the terminal has sent already: the second would spoil the exit code.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    return 0


def _made(node_type: Callable[[], LifecycleNode]) -> LifecycleNode | None:
    try:
        return node_type()
    except ParameterException as error:  # of rclpy's own, such as `use_sim_time: 1`
        rclpy.logging.get_logger('depth_perception').fatal(f'cannot start: {error}')
        return None


def _finalize(node: LifecycleNode) -> None:
    # RCLError, a RuntimeError: somebody has finalized it already by the lifecycle service.
    with contextlib.suppress(RuntimeError):
        node.trigger_shutdown()


def _spin(node: LifecycleNode, stop: threading.Event) -> None:
    # A signal does not end the wait for messages: this timer does. On a steady clock, as
    # simulated time may stand still; cheaper than a timeout, for which rclpy makes a timer a call.
    node.create_timer(_WAKE_PERIOD_S, lambda: None, clock=Clock(clock_type=ClockType.STEADY_TIME))
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not stop.is_set() and rclpy.ok():
            executor.spin_once()
    finally:
        executor.shutdown()
