"""The views of two eyes, made of one image and its depth, and the formats that show both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import inf

import cv2
import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from stereo_msgs.msg import DisparityImage

from depth_perception.nodes._messages import ImageWriter, copy_header
from depth_perception.nodes._outputs import DepthFrame, InfoWriter, Ready, advertise, wanted
from depth_perception.nodes._parameter_groups import StereoParameters
from depth_perception.stereo import (
    StereoRenderer,
    anaglyph,
    disparity_from_depth,
    rgbd,
    side_by_side,
)

DISPARITY_STEP_PX = 1.0 / 32.0      # what the renderer resolves


class StereoOutput:
    """
    The camera's image as the left eye's view, the right eye's beside it, and what shows both.

    The right view is drawn once a frame, however many of the topics have subscribers.
    """

    stage = 'stereo'

    def __init__(self, node: Node) -> None:
        def image(name: str):
            return advertise(node, Image, f'~/{name}')

        def info(name: str):
            return advertise(node, CameraInfo, f'~/{name}')

        self._left, self._right = image('left/image_rect'), image('right/image_rect')
        self._left_info, self._right_info = info('left/camera_info'), info('right/camera_info')
        self._disparity = advertise(node, DisparityImage, '~/disparity')
        self._side_by_side, self._anaglyph = image('stereo/side_by_side'), image('stereo/anaglyph')
        self._rgbd, self._image = image('stereo/rgbd'), image('stereo/image')
        # these need the right view
        self._of_both = [self._right, self._side_by_side, self._anaglyph, self._image]
        self.publishers = [*self._of_both, self._left, self._left_info, self._right_info,
                           self._disparity, self._rgbd]
        self._writers = {publisher: ImageWriter('rgb8') for publisher in self.publishers}
        self._disparity_writer = ImageWriter('32FC1')
        self._left_info_writer, self._right_info_writer = InfoWriter(), InfoWriter()
        # The first renderer compiles or loads the warp, which takes seconds: now, at configure,
        # and not when somebody opens a viewer and the depth of a moving robot would stand still.
        self._renderer = StereoRenderer(2, 1)
        self._shift = np.empty((0, 0), np.float32)

    def messages(self, frame: DepthFrame, config: StereoParameters) -> Iterator[Ready]:
        """Make the messages that have subscribers."""
        left = np.ascontiguousarray(frame.image)
        if frame.channel_order != 'rgb':
            left = cv2.cvtColor(left, cv2.COLOR_BGR2RGB)
        yield from self._infos(frame, config)
        if wanted(self._disparity):
            yield self._disparity, self._disparity_message(frame, config.stereo_baseline)
        if wanted(self._left):
            yield self._filled(self._left, frame, left)
        if wanted(self._rgbd):
            out = self._writers[self._rgbd].prepare(left.shape[0], 2 * left.shape[1])
            rgbd(left, frame.depth, config.stereo_near, config.stereo_far, out=out)
            yield self._rgbd, self._writers[self._rgbd].message(frame.header)
        if any(wanted(publisher) for publisher in self._of_both):
            yield from self._both(left, self._right_view(left, frame, config), frame, config)

    def _both(self, left: np.ndarray, right: np.ndarray, frame: DepthFrame,
              config: StereoParameters) -> Iterator[Ready]:
        height, width = left.shape[:2]
        if wanted(self._right):
            yield self._filled(self._right, frame, right)
        if wanted(self._side_by_side):
            writer = self._writers[self._side_by_side]
            side_by_side(left, right, out=writer.prepare(height, 2 * width))
            yield self._side_by_side, writer.message(frame.header)
        if wanted(self._anaglyph):
            writer = self._writers[self._anaglyph]
            anaglyph(left, right, out=writer.prepare(height, width))
            yield self._anaglyph, writer.message(frame.header)
        if wanted(self._image):
            writer = self._writers[self._image]
            if config.stereo_format == 'top_bottom':
                cv2.vconcat([left, right], dst=writer.prepare(2 * height, width))
            else:
                side_by_side(left, right, half=True, out=writer.prepare(height, width // 2 * 2))
            yield self._image, writer.message(frame.header)

    def _filled(self, publisher, frame: DepthFrame, pixels: np.ndarray) -> Ready:
        writer = self._writers[publisher]
        np.copyto(writer.prepare(*pixels.shape[:2]), pixels)
        return publisher, writer.message(frame.header)

    def _right_view(self, left: np.ndarray, frame: DepthFrame,
                    config: StereoParameters) -> np.ndarray:
        if self._shift.shape != frame.depth.shape:
            self._shift = np.empty(frame.depth.shape, np.float32)
            self._renderer = StereoRenderer(frame.depth.shape[1], frame.depth.shape[0])
        disparity_from_depth(frame.depth, frame.intrinsics.fx, config.stereo_baseline,
                             config.stereo_convergence, out=self._shift)
        return self._renderer.right_from_left(left, self._shift)[0]

    def _infos(self, frame: DepthFrame, config: StereoParameters) -> Iterator[Ready]:
        left = frame.intrinsics
        if wanted(self._left_info):
            yield self._left_info, self._left_info_writer.message(left, frame.header)
        if wanted(self._right_info):
            # converging by a shifted sensor moves the right camera's principal point
            shift = left.fx * config.stereo_baseline / config.stereo_convergence
            right = replace(left, cx=left.cx + shift)
            yield self._right_info, self._right_info_writer.message(
                right, frame.header, config.stereo_baseline)

    def _disparity_message(self, frame: DepthFrame, baseline: float) -> DisparityImage:
        """Disparity of parallel cameras, as stereo_msgs wants it: Z = f * T / d."""
        height, width = frame.depth.shape
        view = self._disparity_writer.prepare(height, width)
        disparity_from_depth(frame.depth, frame.intrinsics.fx, baseline, inf, out=view)
        message = DisparityImage(
            image=self._disparity_writer.message(frame.header), f=frame.intrinsics.fx, t=baseline,
            min_disparity=0.0, max_disparity=float(width), delta_d=DISPARITY_STEP_PX)
        copy_header(frame.header, message.header)
        message.valid_window.width, message.valid_window.height = width, height
        return message
