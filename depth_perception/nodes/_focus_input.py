"""Focus stacks from ``image`` and ``focus``, or from a camera that sweeps in a fixed order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
import time
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from depth_perception.focus_alignment import matched, measured_scale, movement, thumbnail
from depth_perception.focus_stack import (
    ASSEMBLIES,
    MISSING,
    Slice,
    StackAssembler,
    StackRules,
    never,
    newest,
)
from depth_perception.focus_sweep import FixedSweep, check_distances
from depth_perception.nodes._diagnostics import Finding, Health, Level
from depth_perception.nodes._focus import FocusReading, focus_reading
from depth_perception.nodes._frame_loop import REASONS
from depth_perception.nodes._inputs import (
    SILENCE_S,
    Input,
    image_type,
    input_qos,
    received_color,
    subscribed,
)
from depth_perception.nodes._parameter_groups import InputParameters
from depth_perception.nodes._parameters import parameter
from depth_perception.nodes._stamps import NS_PER_S, StampPairer, stamp_ns

SIDES = ('image', 'focus')
WAITING = 60            # messages that may wait for their partner
NEWEST_QUEUE = 10       # a slice that is lost spoils its stack: a little more room than for depth
NO_DISTANCES = (0.0,)


@dataclass(frozen=True)
class FocusInputParameters(InputParameters):
    """How slices come in and become stacks."""

    queue_size: int = parameter(
        20, 'stacks that may wait with `process: every`', limits=(1, 1000), at_configure=True)
    sync_tolerance: float = parameter(
        0.0, 'largest difference between the stamps of an image and its focus message; 0: they '
        'are equal', unit='s', limits=(0.0, 1.0), at_configure=True)
    focus_distances: tuple[float, ...] = parameter(
        NO_DISTANCES, 'of a camera that sweeps in a fixed order and publishes no focus; the first '
        'image after activation is of the first. Needs `process: every`. [0.0]: the topic focus '
        'tells', unit='m', at_configure=True)
    stack_slices: int = parameter(
        0, 'slices of a stack, as many as the camera has in a sweep; 0: as the model prefers',
        name='stack.slices', limits=(0, 100), at_configure=True)
    stack_assembly: str = parameter(
        'sweep', 'sweep: a stack for each sweep; sliding: a stack for each image, of it and those '
        'before it', name='stack.assembly', choices=ASSEMBLIES, at_configure=True)
    stack_timeout: float = parameter(
        5.0, 'slices older than this before the newest one do not count', name='stack.timeout',
        unit='s', limits=(0.01, 3600.0), at_configure=True)
    stack_missing_slice: str = parameter(
        'wait', 'when a sweep comes round with too few slices: wait: the next sweep fills the '
        'gap; discard: its slices are thrown away; shorten: a smaller stack, if the model takes '
        'it', name='stack.missing_slice', choices=MISSING, at_configure=True)
    max_motion: float = parameter(
        0.5, 'if the picture moves more than this between two slices the stack starts anew; of '
        'the width of the image; 0: not looked at', unit='%', limits=(0.0, 100.0),
        at_configure=True)

    def check_focus_distances(self) -> None:
        """Raise ValueError unless a fixed sweep is one, and no image of it may be left out."""
        if self.focus_distances == NO_DISTANCES:
            return
        check_distances(self.focus_distances)
        if self.process != 'every':
            raise ValueError(
                f'focus_distances is set and process is {self.process}; which slice an image is '
                'can be told only if none is left out: set process to every')


def camera_moved(limit: float) -> Callable[[Slice, Slice], bool]:
    """Return what says whether the camera moved between two slices; a limit of 0: never."""
    def moved(first: Slice, second: Slice) -> bool:
        scale = measured_scale(second.thumbnail, first.thumbnail)
        return movement(*matched(second.thumbnail, first.thumbnail, scale)) > limit

    return moved if limit > 0.0 else never


class FocusInput:
    """
    Subscribes while a node is active, and hands on every complete stack.

    Parameters
    ----------
    node : Node
        Subscribes; offers ``~/restart_sweep``.

    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._inputs: list[Input] = []
        node.create_service(Trigger, '~/restart_sweep', self._on_restart)

    def open(self, config: FocusInputParameters, size: int, fewest: int, focal_length_m: float,
             put: Callable[[Header, tuple[Slice, ...]], None], health: Health) -> None:
        """Subscribe; a stack has `size` slices, the model can do with `fewest`."""
        self._config, self._put, self._health = config, put, health
        self._focal_length_m = focal_length_m
        self._assembler = StackAssembler(StackRules(
            size, fewest, config.stack_assembly, config.stack_timeout,
            config.stack_missing_slice, camera_moved(config.max_motion / 100.0)))
        self._fixed = None
        if config.focus_distances != NO_DISTANCES:
            self._fixed = FixedSweep(config.focus_distances)
        self._pairer, self._told = StampPairer(WAITING), [0, 0]
        self._last_pair = self._last_stack = time.monotonic()
        depth = max(config.queue_size * size, WAITING)
        qos = input_qos(config.process, depth if config.process == 'every' else NEWEST_QUEUE)
        topics = [('image', image_type(config.image_transport), self._on_image)]
        if self._fixed is None:
            topics.append(('focus', JointState, self._on_focus))
        self._inputs = subscribed(self._node, topics, qos)

    def close(self) -> None:
        """Unsubscribe; it may be so already."""
        for each in self._inputs:
            each.close()
        self._inputs = []

    def findings(self) -> Iterator[Finding]:
        """Say why there are no stacks."""
        complaints = [each.complaint() for each in self._inputs]
        yield from filter(None, complaints)
        if any(complaints):
            return
        now = time.monotonic()
        if self._fixed is not None and self._fixed.lost:
            yield Finding(Level.ERROR, (
                f'{self._fixed.lost}, so which slice an image is cannot be told: start the '
                "camera's sweep anew and call ~/restart_sweep"), 'SWEEP_LOST')
        elif self._fixed is None and now - self._last_pair > SILENCE_S:
            yield Finding(Level.ERROR, (
                'no image and focus have stamps that belong together: publish focus with the '
                'stamp of its image, or raise sync_tolerance '
                f'({self._config.sync_tolerance:g} s)'), 'STAMPS_NEVER_MATCH')
        elif now - self._last_stack > max(SILENCE_S, self._config.stack_timeout):
            yield Finding(Level.WARN, self._why_incomplete(), 'STACK_INCOMPLETE')

    def values(self) -> dict[str, object]:
        """Give how far the stack in the making is, and the focus distances of the last."""
        if not self._inputs:
            return {}
        listed = ' '.join(f'{each:.3g}' for each in self._assembler.complete)
        return {'slices': f'{len(self._assembler.slices)} of {self._assembler.rules.size}',
                'focus distances [m]': listed}

    def _why_incomplete(self) -> str:
        slices, rules = self._assembler.slices, self._assembler.rules
        listed = ', '.join(f'{each.distance_m:.3g}' for each in slices)
        where = f'at {listed} m' if listed else 'yet'
        return (f'no stack for {time.monotonic() - self._last_stack:.0f} s: {len(slices)} of '
                f'{rules.size} slices {where}; does the camera sweep its focus over '
                f'{rules.size} distances within {rules.timeout_s:g} s, without moving?')

    def _on_image(self, message: Image | CompressedImage) -> None:
        self._health.count('received image')
        if self._fixed is None:
            self._pair(0, message)
            return
        lost = self._fixed.lost
        distance = self._fixed.distance(stamp_ns(message.header))
        if distance is not None:
            self._slice(message, FocusReading(distance, None))
            return
        self._health.count('skipped.sweep lost')
        if not lost:
            self._assembler.clear()
            self._health.warn('sweep lost', f'{self._fixed.lost}: nothing comes out until '
                              '~/restart_sweep is called')

    def _on_focus(self, message: JointState) -> None:
        self._health.count('received focus')
        self._pair(1, message)

    def _pair(self, side: int, message: Any) -> None:
        tolerance_ns = round(self._config.sync_tolerance * NS_PER_S)
        pair = self._pairer.add(side, stamp_ns(message.header), message, tolerance_ns)
        for name, other, told, now in zip(SIDES, SIDES[::-1], self._told,
                                          tuple(self._pairer.unmatched)):
            if now > told:
                self._health.warn(f'{name} without {other}', (
                    f'{name} messages come without {other} of the same stamp, and are left out'),
                    now - told)
        self._told = list(self._pairer.unmatched)
        if pair is not None:
            self._paired(*pair)

    def _paired(self, image: Image | CompressedImage, focus: JointState) -> None:
        self._last_pair = time.monotonic()
        try:
            reading = focus_reading(focus, self._focal_length_m)
        except tuple(REASONS) as error:
            self._health.reject(REASONS[type(error)], str(error))
            return
        self._slice(image, reading)

    def _slice(self, message: Image | CompressedImage, focus: FocusReading) -> None:
        """Add an image to its stack; the pixels stay where the message has them."""
        try:
            color = received_color(message)
        except tuple(REASONS) as error:
            self._health.reject(REASONS[type(error)], str(error))
            return
        kind = f"{color.channel_order} in '{message.header.frame_id}'"
        added = self._assembler.add(Slice(
            stamp_ns(message.header), focus.distance_m, color.array, focus.f_number,
            thumbnail(color.array, color.channel_order), kind, (message.header, color)))
        if added.restart is not None:
            self._health.warn(f'restart.{added.restart.reason}', added.restart.text)
        if added.stack:
            self._last_stack = time.monotonic()
            self._put(newest(added.stack).source[0], added.stack)

    def _on_restart(self, request: Trigger.Request,
                    response: Trigger.Response) -> Trigger.Response:
        response.success = bool(self._inputs)
        response.message = 'not active'
        if response.success:
            self._assembler.clear()
            response.message = 'the next image begins a stack'
            if self._fixed is not None:
                self._fixed.restart()
                response.message = (f'the next image is taken for that at '
                                    f'{self._config.focus_distances[0]:g} m')
        return response
