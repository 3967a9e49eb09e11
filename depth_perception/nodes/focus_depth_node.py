"""Depth in metres from a camera that sweeps its focus."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from std_msgs.msg import Header

from depth_perception import inference
from depth_perception.estimator import Estimate
from depth_perception.focus_alignment import (
    BREATHING,
    aligned,
    all_in_focus,
    breathing_scales,
)
from depth_perception.focus_estimator import FocusStackEstimator
from depth_perception.focus_stack import Slice, newest
from depth_perception.geometry import Intrinsics
from depth_perception.model_spec import DEFAULT_FOCUS_MODEL, ModelError
from depth_perception.nodes._camera import Camera, View
from depth_perception.nodes._diagnostics import Finding, Health, Level
from depth_perception.nodes._engine import EngineHost, EngineParameters
from depth_perception.nodes._focus_input import NO_DISTANCES, FocusInput, FocusInputParameters
from depth_perception.nodes._frame_loop import EngineError
from depth_perception.nodes._lifecycle import run
from depth_perception.nodes._outputs import (
    CloudOutput,
    ConfidenceOutput,
    DepthFrame,
    DepthOutput,
    Outputs,
)
from depth_perception.nodes._parameter_groups import (
    CloudParameters,
    DepthImageParameters,
    RangeParameters,
    StereoParameters,
    in_order,
)
from depth_perception.nodes._parameters import parameter
from depth_perception.nodes._pipeline import Pipeline
from depth_perception.nodes._stereo_outputs import StereoOutput
from depth_perception.nodes._sweep_advice import SweepAdvice


@dataclass(frozen=True)
class FocusDepthConfig(FocusInputParameters, RangeParameters, DepthImageParameters,
                       CloudParameters, StereoParameters, EngineParameters):
    """Parameters of the focus depth node."""

    model: str = parameter(
        DEFAULT_FOCUS_MODEL, 'name or path of an exported model for focus stacks',
        at_configure=True)
    breathing: str = parameter(
        'measure', 'how slices are brought to one scale: measure: by comparing them; thin_lens: '
        'from lens.focal_length; none: the lens does not breathe',
        choices=BREATHING)
    lens_focal_length: float = parameter(
        0.0, 'physical focal length; 0: unknown, or lens.pixel_pitch tells', unit='m',
        name='lens.focal_length', limits=(0.0, 10.0), at_configure=True)
    lens_pixel_pitch: float = parameter(
        0.0, 'distance of two pixels of the image on the sensor; 0: unknown, or '
        'lens.focal_length tells', unit='m', name='lens.pixel_pitch', limits=(0.0, 0.1))
    lens_f_number: float = parameter(
        0.0, 'of a camera whose focus messages do not tell it; 0: unknown', name='lens.f_number',
        limits=(0.0, 1000.0))
    adaptive_sweep: bool = parameter(
        False, 'ask the camera on sweep_command for a wider sweep when its stacks hold too few '
        'defocus cues')
    sweep_nearest: float = parameter(
        0.2, 'adaptive_sweep asks for nothing nearer', name='sweep.nearest', unit='m',
        limits=(0.01, 1000.0))
    sweep_farthest: float = parameter(
        20.0, 'adaptive_sweep asks for nothing farther', name='sweep.farthest', unit='m',
        limits=(0.01, 1000.0))

    def __post_init__(self) -> None:
        """Check values against each other."""
        self.check_range()
        self.check_colors()
        self.check_cloud()
        self.check_stereo()
        self.check_focus_distances()
        in_order(self, 'sweep_nearest', 'sweep_farthest')
        if self.adaptive_sweep and self.focus_distances != NO_DISTANCES:
            raise ValueError('adaptive_sweep is true and focus_distances is set; a camera that '
                             'sweeps in a fixed order cannot be asked for another: unset one')
        if self.breathing == 'thin_lens' and not self.lens_focal_length:
            raise ValueError('breathing is thin_lens and lens.focal_length is 0 (unknown); set '
                             'it, or breathing to measure')

    def blur_scale(self, focal_px: float, told_f_number: float | None) -> float | None:
        """
        Return f^2 / (f-number * pixel pitch) in px m; None where the lens is unknown.

        Of focal length and pixel pitch one is enough: camera_info has their ratio.
        """
        f_number = told_f_number or self.lens_f_number
        focal_length = self.lens_focal_length or self.lens_pixel_pitch * focal_px
        if not (f_number and focal_length):
            return None
        return focal_length ** 2 / f_number / (self.lens_pixel_pitch or focal_length / focal_px)


def stack_size(estimator: FocusStackEstimator, asked: int) -> int:
    """
    Return the slices of a stack.

    Raises
    ------
    ModelError
        If the model does not take as many as are asked for.

    """
    fewest, most = estimator.frames_range
    size = asked or estimator.spec.frames
    if not fewest <= size <= most:
        rule = str(fewest) if fewest == most else f'{fewest} to {most}'
        raise ModelError(f'stack.slices is {asked}; model {estimator.spec.name} takes stacks of '
                         f'{rule} slices')
    return size


class FocusDepthMaker:
    """
    Makes frames of focus stacks by a model; see _pipeline.FrameMaker.

    Parameters
    ----------
    node : Node
        Subscribes.

    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._host = EngineHost(node)
        self._advice: SweepAdvice | None = None
        self._camera: Camera | None = None
        self._input = FocusInput(node)
        self._unknown_lens = ''

    def configure(self, config: FocusDepthConfig) -> Outputs:
        """Load the model and create the publishers."""
        engine = self._host.open(config)
        try:
            self._estimator = FocusStackEstimator(engine)
            self._size = stack_size(self._estimator, config.stack_slices)
        except ModelError:
            self._host.close()
            raise
        self._advice = SweepAdvice(self._node)
        self._depth_output = DepthOutput(self._node)
        colored = [CloudOutput(self._node), StereoOutput(self._node)]
        self._colored = Outputs(self._node, colored)
        trust = [ConfidenceOutput(self._node)] if engine.spec.confidence else []
        return Outputs(self._node, [self._depth_output, *colored, *trust])

    def activate(self, config: FocusDepthConfig, put: Callable[[Header, Any], None],
                 health: Health) -> None:
        """Subscribe."""
        waiting = config.queue_size * self._size if config.process == 'every' else self._size
        self._camera = Camera(self._node, config.process, waiting)
        self._input.open(config, self._size, self._estimator.frames_range[0],
                         config.lens_focal_length, put, health)

    def deactivate(self) -> None:
        """Unsubscribe; it may be so already."""
        self._input.close()
        if self._camera is not None:
            self._camera.close()
            self._camera = None

    def clean_up(self) -> None:
        """Give the model's memory back."""
        if self._advice is not None:
            self._advice.close()
            self._advice = None
        self._host.close()

    def make(self, item: tuple[Slice, ...], config: FocusDepthConfig,
             health: Health) -> DepthFrame:
        """Estimate the depth of a stack, in the worker's thread."""
        reference = newest(item)
        header, color = reference.source
        height, width = color.array.shape[:2]
        view = self._camera.view(header, width, height, rectify=config.rectify,
                                 fallback_hfov_deg=config.fallback_hfov_deg)
        self._check_lens(reference.f_number, view.intrinsics, config)
        with health.clock.stage('align'):
            scales = breathing_scales(item, reference, config.breathing, config.lens_focal_length)
            images = self._images(item, view)
        with health.clock.stage('judge'):
            self._advice.judge(images, scales, color.channel_order)
        distances = [each.distance_m for each in item]
        if config.adaptive_sweep:
            self._advice.advise(header, distances, (config.sweep_nearest, config.sweep_farthest))
        with health.clock.stage('align'):
            images = aligned(images, scales, (view.intrinsics.cx, view.intrinsics.cy))
        estimate = self._estimate(images, distances, view, color.channel_order, config, health)
        # a cloud of the newest image alone would be blurred in most places
        wanted = self._colored.wanted()
        image = all_in_focus(images) if wanted else images[item.index(reference)]
        return DepthFrame(header, image, color.channel_order, estimate.depth, view.intrinsics,
                          estimate.confidence)

    def findings(self) -> Iterator[Finding]:
        """Say what is wrong with the inputs, with the stacks, or unknown of the lens."""
        yield from self._input.findings()
        yield from filter(None, [self._camera.finding()])
        yield from self._advice.findings()
        yield from self._host.findings()
        if self._unknown_lens:
            yield Finding(Level.WARN, self._unknown_lens, 'UNKNOWN_LENS')

    def values(self) -> dict[str, object]:
        """Give the model, what runs it, and how the stacks are."""
        if self._advice is None:
            return {}
        return {**self._host.values(), **self._input.values(), **self._advice.values()}

    def _images(self, stack: Sequence[Slice], view: View) -> list[np.ndarray]:
        pictures = [each.source[1].array for each in stack]
        if view.rectifier is None:
            return pictures
        return [view.rectifier(each) for each in pictures]

    def _check_lens(self, f_number: float | None, intrinsics: Intrinsics,
                    config: FocusDepthConfig) -> None:
        """Refuse a camera with another blur than those of the training."""
        blur_scale = config.blur_scale(intrinsics.focal_px, f_number)
        trained = self._estimator.blur_scale_range(intrinsics)
        self._unknown_lens = '' if blur_scale is not None or trained is None else (
            f'model {self._estimator.spec.name} was trained for blur scales f^2/(N pitch) of '
            f'{trained[0]:.3g} to {trained[1]:.3g} px m, that of this camera is unknown: set '
            'lens.focal_length or lens.pixel_pitch, and lens.f_number')
        if blur_scale is not None:
            self._estimator.check_blur_scale(blur_scale, intrinsics)

    def _estimate(self, images: Sequence[np.ndarray], distances: Sequence[float], view: View,
                  channel_order: str, config: FocusDepthConfig, health: Health) -> Estimate:
        self._estimator.min_depth, self._estimator.max_depth = config.min_depth, config.max_depth
        try:
            estimate = self._estimator(
                images, distances, view.intrinsics, channel_order=channel_order,
                clock=health.clock, out=self._depth_output.buffer(*images[0].shape[:2]))
        except inference.BackendError as error:
            raise EngineError(str(error)) from error
        if view.rectifier is not None and view.rectifier.unseen is not None:
            np.copyto(estimate.depth, np.nan, where=view.rectifier.unseen)
        if estimate.nonfinite:
            health.warn('frames with NaN from the model', (
                'the model gave NaN or infinity for some pixels; they are NaN in the depth: '
                'check the model with this camera'))
        return estimate


class FocusDepthNode(LifecycleNode):
    """
    Publishes the topics of the depth node, from ``image``, ``focus`` and ``camera_info``.

    All topics are in the README; ``ros2 param describe`` tells of the parameters.
    """

    def __init__(self) -> None:
        super().__init__('focus_depth_node')
        self.add_managed_entity(Pipeline(self, FocusDepthConfig, FocusDepthMaker(self)))


def main(args: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run(FocusDepthNode, args)


if __name__ == '__main__':
    raise SystemExit(main())
