"""The views of two eyes, made of one image and its depth, and the formats that show both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
import json
from math import inf

import cv2
import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String
from stereo_msgs.msg import DisparityImage

from depth_perception.nodes._messages import ImageWriter, copy_header
from depth_perception.nodes._outputs import DepthFrame, InfoWriter, Ready, advertise, wanted
from depth_perception.nodes._parameter_groups import StereoParameters
from depth_perception.stereo_disparity import disparity_from_depth
from depth_perception.stereo_formats import anaglyph, side_by_side
from depth_perception.stereo_multiview import arranged
from depth_perception.stereo_views import StereoViews

DISPARITY_STEP_PX = 1.0 / 32.0      # what the renderer resolves


class StereoOutput:
    """
    Both eyes' views, what shows them together, and more than two views.

    Each view is drawn once a frame, however many of the topics have subscribers.
    """

    stage = 'stereo'

    def __init__(self, node: Node) -> None:
        def image(name: str, encoding: str = 'rgb8') -> Publisher:
            publisher = advertise(node, Image, f'~/{name}')
            self._writers[publisher] = ImageWriter(encoding)
            return publisher

        self._writers: dict[Publisher, ImageWriter] = {}
        self._left, self._right = image('left/image_rect'), image('right/image_rect')
        self._holes = image('left/holes', 'mono8'), image('right/holes', 'mono8')
        self._side_by_side, self._anaglyph = image('stereo/side_by_side'), image('stereo/anaglyph')
        self._rgbd, self._image = image('stereo/rgbd'), image('stereo/image')
        self._tiles = image('views/image')
        self._layout = advertise(node, String, '~/views/layout')
        self._infos = [advertise(node, CameraInfo, f'~/{side}/camera_info')
                       for side in ('left', 'right')]
        self._info_writers = [InfoWriter(), InfoWriter()]
        self._disparity = advertise(node, DisparityImage, '~/disparity')
        self._disparity_writer = ImageWriter('32FC1')
        self.publishers = [*self._writers, *self._infos, self._disparity, self._layout]
        self._views = StereoViews()

    def messages(self, frame: DepthFrame, config: StereoParameters) -> Iterator[Ready]:
        """Make the messages that have subscribers."""
        image = np.ascontiguousarray(frame.image)
        if frame.channel_order != 'rgb':
            image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        self._views.settings = config.stereo_settings()
        self._views.update(image, frame.depth, frame.intrinsics)
        yield from self._infos_of(frame)
        if wanted(self._disparity):
            yield self._disparity, self._disparity_message(frame)
        yield from self._of_each_eye(frame)
        yield from self._of_both(frame)
        if wanted(self._rgbd):
            yield self._filled(self._rgbd, frame, self._views.picture('rgbd'))
        if wanted(self._image):
            yield self._filled(self._image, frame, self._views.picture(config.stereo_format))
        yield from self._of_many(frame, config.views_layout)

    def _of_each_eye(self, frame: DepthFrame) -> Iterator[Ready]:
        for index, publisher in enumerate((self._left, self._right)):
            if wanted(publisher):
                yield self._filled(publisher, frame, self._views.pair()[index])
        for index, publisher in enumerate(self._holes, start=2):
            if wanted(publisher):
                holes = self._views.pair()[index]
                yield self._filled(publisher, frame, cv2.compare(
                    holes.view(np.uint8), 0, cv2.CMP_GT))

    def _of_both(self, frame: DepthFrame) -> Iterator[Ready]:
        height, width = frame.depth.shape
        if wanted(self._side_by_side):
            writer = self._writers[self._side_by_side]
            side_by_side(*self._views.pair()[:2], out=writer.prepare(height, 2 * width))
            yield self._side_by_side, writer.message(frame.header)
        if wanted(self._anaglyph):
            writer = self._writers[self._anaglyph]
            anaglyph(*self._views.pair()[:2], out=writer.prepare(height, width))
            yield self._anaglyph, writer.message(frame.header)

    def _of_many(self, frame: DepthFrame, layout: str) -> Iterator[Ready]:
        """Last: it takes the buffers of the pair."""
        grid = self._views.grid(layout)
        if wanted(self._layout):
            text = {**grid.metadata(), 'baseline_m': self._views.plan.baseline_m}
            yield self._layout, String(data=json.dumps(text))
        if wanted(self._tiles):
            writer = self._writers[self._tiles]
            arranged(self._views.many(), grid, out=writer.prepare(
                grid.rows * grid.view_height, grid.columns * grid.view_width))
            yield self._tiles, writer.message(frame.header)

    def _filled(self, publisher: Publisher, frame: DepthFrame, pixels: np.ndarray) -> Ready:
        writer = self._writers[publisher]
        np.copyto(writer.prepare(*pixels.shape[:2]), pixels)
        return publisher, writer.message(frame.header)

    def _infos_of(self, frame: DepthFrame) -> Iterator[Ready]:
        """Camera infos as stereo_image_proc takes them: P[3] of the right one is -fx * baseline.

        Converging by a shifted sensor moves the principal points apart.
        """
        camera, plan = frame.intrinsics, self._views.plan
        both = self._views.settings.views == 'both'
        shift = camera.fx * plan.baseline_m / plan.convergence_m
        parts = ((-0.5, 0.5) if both else (0.0, 1.0))
        for index, (publisher, part) in enumerate(zip(self._infos, parts)):
            if wanted(publisher):
                moved = replace(camera, cx=camera.cx + part * shift)
                yield publisher, self._info_writers[index].message(
                    moved, frame.header, index * plan.baseline_m)

    def _disparity_message(self, frame: DepthFrame) -> DisparityImage:
        """Disparity of parallel cameras, as stereo_msgs wants it: Z = f * T / d."""
        height, width = frame.depth.shape
        baseline = self._views.plan.baseline_m
        view = self._disparity_writer.prepare(height, width)
        disparity_from_depth(frame.depth, frame.intrinsics.fx, baseline, inf, out=view)
        message = DisparityImage(
            image=self._disparity_writer.message(frame.header), f=frame.intrinsics.fx, t=baseline,
            min_disparity=0.0, max_disparity=float(width), delta_d=DISPARITY_STEP_PX)
        copy_header(frame.header, message.header)
        message.valid_window.width, message.valid_window.height = width, height
        return message
