"""Publishes the images of a camera that sweeps its focus, and where its lens stood for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Header

from depth_perception.focus_camera import (
    DEFAULT_F_NUMBER,
    DEFAULT_FOCAL_LENGTH_M,
    FocusFrame,
    LensDrive,
    SimulatedFocusCamera,
    Sweep,
    open_focus_webcam,
)
from depth_perception.focus_table import read_focus_table
from depth_perception.nodes._diagnostics import Finding, Level
from depth_perception.nodes._focus import focus_message, sweep_range
from depth_perception.nodes._lifecycle import run
from depth_perception.nodes._messages import ImageWriter
from depth_perception.nodes._parameter_groups import in_order
from depth_perception.nodes._parameters import parameter
from depth_perception.nodes._streamer import StreamConfig, Streamer
from depth_perception.nodes.camera_node import CameraFeed, picture
from depth_perception.optics import Lens
from depth_perception.sources import FrameSource, SourceError

SHARP = 'ground_truth/image'
FARTHEST_M = 1000.0


@dataclass(frozen=True)
class FocusCameraConfig(StreamConfig):
    """Parameters of the node."""

    source: str = parameter(
        'scene', 'scene (a thin lens in a simulated room), or /dev/video0 (a camera whose focus '
        'can be set)', at_configure=True)
    rate_hz: float = parameter(
        10.0, 'images a second; a real camera gives what it can', unit='Hz', limits=(0.1, 240.0))
    focus_table: str = parameter(
        '', 'of a real camera: YAML file with the lists positions (of its focus control) and '
        'distances (metres)', at_configure=True)
    settle_time: float = parameter(
        0.05, 'how long the camera waits after each step of the focus before it takes the '
        'picture', unit='s', limits=(0.0, 5.0), at_configure=True)
    sweep_slices: int = parameter(
        5, 'focus distances of one sweep', name='sweep.slices', limits=(2, 100),
        at_configure=True)
    sweep_nearest: float = parameter(
        0.6, 'where a sweep ends; its steps are equal in dioptres', name='sweep.nearest',
        unit='m', limits=(0.02, FARTHEST_M))
    sweep_farthest: float = parameter(
        8.0, 'where a sweep begins', name='sweep.farthest', unit='m', limits=(0.02, FARTHEST_M))
    lens_focal_length: float = parameter(
        DEFAULT_FOCAL_LENGTH_M, 'of the simulated lens', name='lens.focal_length', unit='m',
        limits=(0.0005, 1.0), at_configure=True)
    lens_f_number: float = parameter(
        0.0, 'focal length over aperture; 0: 2.8 for the simulated lens, unknown for a real one',
        name='lens.f_number', limits=(0.0, 1000.0))
    lens_sensor_width: float = parameter(
        0.036, 'of the simulated camera; with the focal length it makes the field of view',
        name='lens.sensor_width', unit='m', limits=(0.0005, 1.0), at_configure=True)
    lens_closest_focus: float = parameter(
        0.2, 'of the simulated lens; no sweep goes nearer', name='lens.closest_focus', unit='m',
        limits=(0.01, 100.0), at_configure=True)
    lens_breathing: bool = parameter(
        True, 'whether the picture of the simulated lens gets larger as it focuses nearer',
        name='lens.breathing', at_configure=True)
    lens_settle_time: float = parameter(
        0.05, 'until the simulated lens stands still; a settle_time below it gives pictures that '
        'are focused elsewhere than they say', name='lens.settle_time', unit='s',
        limits=(0.0, 5.0), at_configure=True)
    sweeps_per_pose: int = parameter(
        0, 'after so many sweeps the simulated camera goes elsewhere; 0: it stands',
        limits=(0, 10000), at_configure=True)

    def __post_init__(self) -> None:
        """Check values against each other."""
        in_order(self, 'sweep_nearest', 'sweep_farthest')
        if self.source == 'scene':
            in_order(self, 'lens_focal_length', 'lens_closest_focus')
            in_order(self, 'lens_closest_focus', 'sweep_farthest')
        if self.rate_hz * self.settle_time > 1.0:
            raise ValueError(
                f'rate_hz is {self.rate_hz:g} and settle_time {self.settle_time:g} s; a picture '
                f'takes longer than it settles: lower rate_hz to {1 / self.settle_time:.3g}')

    @property
    def f_number(self) -> float | None:
        """The f-number that focus messages tell; None: it is unknown."""
        simulated = DEFAULT_F_NUMBER if self.source == 'scene' else None
        return self.lens_f_number or simulated


class FocusCameraFeed:
    """
    Opens the camera; adds ``focus`` and ``ground_truth/image`` to the camera node's topics.

    Parameters
    ----------
    node : Node
        Subscribes to ``sweep_command``.

    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._camera = CameraFeed()
        self._source: FrameSource | None = None
        self._sweep: Sweep | None = None
        self._sharp_writer = ImageWriter('rgb8')
        self._complaint = ''
        node.create_subscription(JointState, 'sweep_command', self._on_command, 10)

    def open(self, config: FocusCameraConfig) -> FrameSource:
        """Open the simulated camera, or a real one with its table."""
        self._camera.prepare(config)
        self._sharp_writer = ImageWriter(config.encoding)
        self._complaint = ''
        opened = _open_scene(config) if config.source == 'scene' else _open_webcam(config)
        self._sweep, self._source = opened
        return self._source

    def check(self, frame: FocusFrame) -> None:
        """Raise SourceError for a frame of another size than the calibration's."""
        self._camera.check(frame)

    def topics(self, first: FocusFrame) -> dict[str, type]:
        """Give the topics of the camera node, the focus, and the picture without blur."""
        sharp = {SHARP: Image} if first.sharp is not None else {}
        return {**self._camera.topics(first), 'focus': JointState, **sharp}

    def messages(self, frame: FocusFrame, header: Header, config: FocusCameraConfig,
                 wanted: Callable[[str], bool]) -> Iterator[tuple[str, Any]]:
        """Make the messages, all with one stamp."""
        yield 'focus', focus_message(header, frame.focus_m, frame.f_number)
        yield from self._camera.messages(frame, header, config, wanted)
        if frame.sharp is not None and wanted(SHARP):
            yield SHARP, picture(frame.sharp, self._sharp_writer, header, config.encoding)

    def change(self, config: FocusCameraConfig, changed: set[str]) -> None:
        """Follow the range of the sweep, the aperture and the encoding."""
        self._camera.change(config, changed)
        if 'encoding' in changed:
            self._sharp_writer = ImageWriter(config.encoding)
        if self._sweep is not None and changed & {'sweep_nearest', 'sweep_farthest'}:
            self._sweep.set_range(config.sweep_nearest, config.sweep_farthest)
        if 'lens_f_number' in changed and self._source is not None:
            self._source.set_f_number(config.f_number)

    def findings(self) -> Iterator[Finding]:
        """Say what was wrong with the last command."""
        yield from self._camera.findings()
        if self._complaint:
            yield Finding(Level.WARN, self._complaint, 'COMMAND_REFUSED')

    def values(self) -> Mapping[str, object]:
        """Give the range of the sweep."""
        if self._sweep is None:
            return {}
        return {'sweep [m]': '{:.3g} to {:.3g}'.format(*self._sweep.range_m)}

    def close(self) -> None:
        """Forget the camera."""
        self._source = self._sweep = None
        self._camera.close()

    def _on_command(self, message: JointState) -> None:
        if self._sweep is None:
            return
        try:
            self._sweep.set_range(*sweep_range(message))
            self._complaint = ''
        except ValueError as error:
            self._complaint = f'sweep_command refused: {error}'
            self._node.get_logger().warning(self._complaint, throttle_duration_sec=5.0)


def _open_scene(config: FocusCameraConfig) -> tuple[Sweep, FrameSource]:
    sweep = Sweep(config.sweep_slices, config.sweep_nearest, config.sweep_farthest,
                  (config.lens_closest_focus, FARTHEST_M))
    lens = Lens(config.lens_focal_length, config.f_number,
                config.lens_sensor_width / config.width)
    drive = LensDrive(lens, config.lens_breathing, config.lens_settle_time, config.settle_time)
    return sweep, SimulatedFocusCamera(config.width, config.height, config.seed, sweep, drive,
                                       config.sweeps_per_pose)


def _open_webcam(config: FocusCameraConfig) -> tuple[Sweep, FrameSource]:
    if not config.focus_table:
        raise SourceError(
            f'focus_table is empty; {config.source} needs a YAML file that says at which position '
            'of its focus control it is focused at which distance')
    table = read_focus_table(config.focus_table)
    sweep = Sweep(config.sweep_slices, config.sweep_nearest, config.sweep_farthest,
                  table.limits_m)
    return sweep, open_focus_webcam(config.source, config.width, config.height, sweep, table,
                                    config.settle_time, config.f_number)


class FocusCameraNode(LifecycleNode):
    """
    Publishes ``image``, ``camera_info`` and ``focus``; simulated, the truth as well.

    Subscribes to ``sweep_command``, by which another range can be asked for.
    """

    def __init__(self) -> None:
        super().__init__('focus_camera_node')
        self.add_managed_entity(Streamer(self, FocusCameraConfig, FocusCameraFeed(self)))


def main(args: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run(FocusCameraNode, args)


if __name__ == '__main__':
    raise SystemExit(main())
