"""Depth, point cloud and stereo views from the images of one camera."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from depth_perception import inference
from depth_perception.estimator import DepthEstimator, Estimate
from depth_perception.geometry import Intrinsics
from depth_perception.model_spec import DEFAULT_MODEL
from depth_perception.nodes._camera import Camera, View
from depth_perception.nodes._camera_info import CameraInfoError
from depth_perception.nodes._diagnostics import Finding, Health, Level
from depth_perception.nodes._engine import EngineHost, EngineParameters
from depth_perception.nodes._frame_loop import EngineError
from depth_perception.nodes._inputs import Input, image_type, input_qos, received_color
from depth_perception.nodes._lifecycle import run
from depth_perception.nodes._messages import ColorImage
from depth_perception.nodes._outputs import (
    CloudOutput,
    ConfidenceOutput,
    DepthFrame,
    DepthOutput,
    Outputs,
    RelativeOutput,
)
from depth_perception.nodes._parameter_groups import (
    CloudParameters,
    DepthImageParameters,
    InputParameters,
    RangeParameters,
    StereoParameters,
)
from depth_perception.nodes._parameters import parameter
from depth_perception.nodes._pipeline import Pipeline
from depth_perception.nodes._scale import ScaleHost, ScaleParameters
from depth_perception.nodes._stereo_outputs import StereoOutput
from depth_perception.nodes._temporal import Stabilizer, TemporalParameters
from depth_perception.scale import Scale

# A relative model needs no camera_info; the estimator takes any intrinsics then.
ANY_HFOV_DEG = 60.0


@dataclass(frozen=True)
class DepthConfig(InputParameters, RangeParameters, DepthImageParameters, CloudParameters,
                  StereoParameters, TemporalParameters, ScaleParameters, EngineParameters):
    """Parameters of the depth node."""

    model: str = parameter(
        DEFAULT_MODEL, 'name or path of an exported model; another one is loaded in the '
        'background and serves from a frame on', names_file=True)

    def __post_init__(self) -> None:
        """Check values against each other."""
        self.check_range()
        self.check_colors()
        self.check_cloud()
        self.check_stereo()
        self.check_scale()


class DepthMaker:
    """
    Makes frames of images by a model; see _pipeline.FrameMaker.

    Parameters
    ----------
    node : Node
        Subscribes.

    """

    def __init__(self, node: Node, host: EngineHost | None = None) -> None:
        self._node = node
        self._host = EngineHost(node) if host is None else host
        self._estimator: DepthEstimator | None = None
        self._input: Input | None = None
        self._camera: Camera | None = None
        self._scale, self._stabilizer = ScaleHost(node), Stabilizer()
        self._outputs = Outputs(node, [])
        self._rectified: np.ndarray | None = None   # written anew for each frame

    def configure(self, config: DepthConfig) -> Outputs:
        """Load the model and create the publishers."""
        engine = self._host.open(config)
        try:
            self._estimator = DepthEstimator(engine)
        except ValueError:
            self._host.close()
            raise
        self._depth_output = DepthOutput(self._node)
        metric = [self._depth_output, CloudOutput(self._node), StereoOutput(self._node)]
        trust = [ConfidenceOutput(self._node)] if engine.spec.confidence else []
        relative = [] if self._estimator.is_metric else [RelativeOutput(self._node)]
        self._outputs = Outputs(
            self._node, relative + trust, metric,
            has_metres=lambda: not relative or self._scale.has_scale,
            demand=self._needs_frames)
        return self._outputs

    def _needs_frames(self) -> bool:
        # that the lens fits the scale again only a frame can tell
        return self._scale.is_calibrating or (
            not self._scale.fits and bool(self._outputs.silent()))

    def change(self, config: DepthConfig, changed: set[str]) -> None:
        """Follow ``model``; the other parameters are read at each frame."""
        if 'model' in changed:
            self._host.change(config)

    def activate(self, config: DepthConfig, put: Callable[[Header, Any], None],
                 health: Health) -> None:
        """Subscribe."""
        self._scale.activate(config, self._estimator.spec, health)
        self._camera = Camera(self._node, config.process, config.queue_size)
        depth = config.queue_size if config.process == 'every' else 1
        self._input = Input(self._node, image_type(config.image_transport), 'image',
                            lambda message: put(message.header, message),
                            input_qos(config.process, depth))

    def deactivate(self) -> None:
        """Unsubscribe; it may be so already."""
        for each in (self._input, self._camera):
            if each is not None:
                each.close()
        self._input = self._camera = None
        self._scale.deactivate()
        self._stabilizer.forget()

    def clean_up(self) -> None:
        """Give the model's memory back."""
        self._scale.clean_up()
        self._host.close()
        self._estimator = None

    def make(self, item: Image | CompressedImage, config: DepthConfig,
             health: Health) -> DepthFrame:
        """Estimate the depth of an image, in the worker's thread."""
        engine = self._host.take()
        if engine is not None:
            self._estimator = DepthEstimator(engine)
        color = received_color(item)
        view, is_known = self._view(item.header, color, config, health)
        image = color.array
        if view.rectifier is not None:
            with health.clock.stage('rectify'):
                image = self._rectified = view.rectifier(image, self._rectified)
        camera = view.intrinsics if is_known else None
        scale = self._scale.prepare(config, self._estimator.spec, camera)
        estimate = self._estimate(image, color.channel_order, view, config, scale, health)
        self._scale.observe(item.header, estimate.depth, config, camera)
        frame = DepthFrame(item.header, image, color.channel_order, estimate.depth,
                           view.intrinsics, estimate.confidence)
        if not self._estimator.is_metric:
            frame = frame._replace(depth=None, relative=estimate.depth)
        if scale is not None:
            with health.clock.stage('scale'):
                frame = frame._replace(depth=self._scale.correct(
                    estimate.depth, scale, config, self._depth_output.buffer(*image.shape[:2])))
        if frame.depth is not None:
            self._stabilizer.stabilize(item.header, frame.depth, image, config, health,
                                       self._scale.origin)
        return frame

    def _estimate(self, image: np.ndarray, channel_order: str, view: View, config: DepthConfig,
                  scale: Scale | None, health: Health) -> Estimate:
        # with a scale the limits hold for what it makes of the depth
        self._estimator.min_depth, self._estimator.max_depth = (
            (config.min_depth, config.max_depth) if scale is None else (0.0, inf))
        out = self._depth_output.buffer(*image.shape[:2]) if self._estimator.is_metric else None
        try:
            estimate = self._estimator(image, view.intrinsics, channel_order=channel_order,
                                       clock=health.clock, out=out)
        except inference.BackendError as error:
            raise EngineError(str(error)) from error
        if view.rectifier is not None and view.rectifier.unseen is not None:
            # what the network makes of the black rim is no measurement
            np.copyto(estimate.depth, np.nan, where=view.rectifier.unseen)
        if estimate.nonfinite:
            health.warn('frames with NaN from the model', (
                'the model gave NaN or infinity for some pixels; they are NaN in the depth: '
                'check the model with this camera'))
        return estimate

    def findings(self) -> Iterator[Finding]:
        """Say what is wrong with the inputs or with the model for what is subscribed."""
        silent = self._outputs.silent()
        if silent:
            yield Finding(Level.WARN, (
                f'model {self._estimator.spec.name} gives relative depth without metres: '
                f'{", ".join(silent)} stays silent; call ~/calibrate_scale, use '
                '~/relative_depth/image, or a metric model'),
                'RELATIVE_WITHOUT_METRES')
        yield from filter(None, [self._input.complaint(), self._camera.finding()])
        yield from self._host.findings()
        yield from self._scale.findings()

    def values(self) -> dict[str, object]:
        """Give the model, what runs it, the verdict on its engine, and the scale."""
        return {**self._host.values(), **self._scale.values()}

    def _view(self, header: Header, color: ColorImage, config: DepthConfig,
              health: Health) -> tuple[View, bool]:
        """How the camera sees, and whether that is known; relative depth does without."""
        height, width = color.array.shape[:2]
        try:
            return self._camera.view(header, width, height, rectify=config.rectify,
                                     fallback_hfov_deg=config.fallback_hfov_deg), True
        except CameraInfoError as error:
            if self._estimator.is_metric:
                raise
            if self._scale.has_scale and not error.early:
                health.warn('relative for want of camera_info', f'no metres: {error}')
            return View(Intrinsics.from_hfov(width, height, ANY_HFOV_DEG), None), False


class DepthNode(LifecycleNode):
    """
    Publishes depth, point cloud and stereo views of ``image`` and ``camera_info``.

    All topics are in the README; ``ros2 param describe`` tells of the parameters.
    """

    def __init__(self) -> None:
        super().__init__('depth_node')
        maker = DepthMaker(self)
        self.add_managed_entity(Pipeline(self, DepthConfig, maker, on_change=maker.change))


def main(args: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run(DepthNode, args)


if __name__ == '__main__':
    raise SystemExit(main())
