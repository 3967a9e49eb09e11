"""Image and depth of one moment, from two topics, with the camera that saw them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
import time
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from depth_perception.nodes._camera import Camera
from depth_perception.nodes._diagnostics import Finding, Health, Level
from depth_perception.nodes._frame_loop import SizeError
from depth_perception.nodes._inputs import (
    SILENCE_S,
    Input,
    image_type,
    input_qos,
    received_color,
    subscribed,
)
from depth_perception.nodes._messages import to_depth
from depth_perception.nodes._outputs import DepthFrame, Output, Outputs
from depth_perception.nodes._parameter_groups import InputParameters, RangeParameters
from depth_perception.nodes._parameters import parameter
from depth_perception.nodes._stamps import NS_PER_S, StampPairer, stamp_ns

SIDES = ('image', 'depth')
# Images that may wait for a depth that comes late: two seconds of a usual camera.
WAITING = 60
# Best effort needs some room here: of an image and a depth that come at once neither may go.
NEWEST_QUEUE = 5


@dataclass(frozen=True)
class PairParameters(InputParameters, RangeParameters):
    """How image and depth come in."""

    sync_tolerance: float = parameter(
        0.02, 'largest difference between the stamps of an image and its depth', unit='s',
        limits=(0.0, 10.0), at_configure=True)


class PairMaker:
    """
    Makes frames of ``image``, ``depth`` and ``camera_info``; see _pipeline.FrameMaker.

    Parameters
    ----------
    node : Node
        Subscribes.
    make_outputs : callable
        Creates the outputs of the node.

    """

    def __init__(self, node: Node, make_outputs: Callable[[Node], list[Output]]) -> None:
        self._node = node
        self._make_outputs = make_outputs
        self._inputs: list[Input] = []
        self._camera: Camera | None = None

    def configure(self, config: PairParameters) -> Outputs:
        """Create the publishers."""
        return Outputs(self._node, self._make_outputs(self._node))

    def activate(self, config: PairParameters, put: Callable[[Header, Any], None],
                 health: Health) -> None:
        """Subscribe."""
        waiting = config.queue_size if config.process == 'every' else WAITING
        depth = config.queue_size if config.process == 'every' else NEWEST_QUEUE
        self._put, self._health = put, health
        self._pairer = StampPairer(waiting)
        self._tolerance_ns = round(config.sync_tolerance * NS_PER_S)
        self._last_pair = time.monotonic()
        self._gaps_ns: deque[int] = deque(maxlen=WAITING)
        self._camera = Camera(self._node, config.process, waiting)
        self._inputs = subscribed(self._node, (
            ('image', image_type(config.image_transport), self._on_image),
            ('depth', Image, self._on_depth)), input_qos(config.process, depth))

    def deactivate(self) -> None:
        """Unsubscribe; it may be so already."""
        for each in self._inputs:
            each.close()
        self._inputs = []
        if self._camera is not None:
            self._camera.close()
            self._camera = None

    def clean_up(self) -> None:
        """Nothing is loaded."""

    def make(self, item: tuple[Any, Image], config: Any, health: Health) -> DepthFrame:
        """Make a frame of an image and its depth, in the worker's thread."""
        message, depth_message = item
        color, depth = received_color(message), to_depth(depth_message)
        height, width = color.array.shape[:2]
        if depth.shape != (height, width):
            raise SizeError(
                f'depth has {depth.shape[1]}x{depth.shape[0]} pixels, the image {width}x{height}; '
                'both must be of one size: use the depth that is registered to the image')
        view = self._camera.view(message.header, width, height, rectify=config.rectify,
                                 fallback_hfov_deg=config.fallback_hfov_deg)
        image = color.array
        if view.rectifier is not None:
            with health.clock.stage('rectify'):
                image, depth = view.rectifier(image), view.rectifier(depth)
        depth[~((depth >= config.min_depth) & (depth <= config.max_depth))] = np.nan
        return DepthFrame(message.header, image, color.channel_order, depth, view.intrinsics)

    def findings(self) -> Iterator[Finding]:
        """Say what is wrong with the inputs."""
        complaints = [each.complaint() for each in self._inputs]
        yield from filter(None, complaints)
        if not any(complaints) and time.monotonic() - self._last_pair > SILENCE_S:
            yield Finding(Level.ERROR, self._why_unpaired(), 'STAMPS_NEVER_MATCH')
        yield from filter(None, [self._camera.finding()])

    def values(self) -> dict[str, object]:
        """Give the nearest that stamps of image and depth came of late."""
        gap = min(self._gaps_ns, default=None) if self._inputs else None
        return {} if gap is None else {'stamp gap [ms]': f'{gap * 1e-6:.3f}'}

    def _on_image(self, message: Image | CompressedImage) -> None:
        self._add(0, message)

    def _on_depth(self, message: Image) -> None:
        self._add(1, message)

    def _add(self, side: int, message: Any) -> None:
        self._health.count(f'received {SIDES[side]}')
        pair = self._pairer.add(side, stamp_ns(message.header), message, self._tolerance_ns)
        if self._pairer.nearest_gap_ns is not None:
            self._gaps_ns.append(self._pairer.nearest_gap_ns)
        if pair is not None:
            self._last_pair = time.monotonic()
            self._put(pair[0].header, pair)

    def _why_unpaired(self) -> str:
        nearest = min(self._gaps_ns, default=0) / NS_PER_S
        return (f'no image and depth belong together: their stamps differ by {nearest:.3f} s at '
                f'least, sync_tolerance is {self._tolerance_ns / NS_PER_S:.3f} s; synchronise the '
                'cameras or raise sync_tolerance')
