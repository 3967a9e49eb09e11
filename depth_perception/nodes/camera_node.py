"""Publishes frames of a file, a folder, a video, a webcam or a simulated room as a camera does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from depth_perception.nodes._diagnostics import Finding, Level
from depth_perception.nodes._lifecycle import run
from depth_perception.nodes._messages import ImageWriter
from depth_perception.nodes._optics import Optics
from depth_perception.nodes._parameters import parameter
from depth_perception.nodes._streamer import StreamConfig, Streamer
from depth_perception.sources import Frame, FrameSource, open_source

TRUTH = 'ground_truth/depth'


@dataclass(frozen=True)
class CameraConfig(StreamConfig):
    """Parameters of the node."""

    source: str = parameter(
        'scene',
        'scene (a simulated room; scene:arcade one of that style), an image, a folder of images, '
        'a video file, or /dev/video0',
        at_configure=True,
    )
    loop: bool = parameter(
        True, 'start again at the end of a file, folder or walk', at_configure=True
    )


class CameraFeed:
    """Opens any source; its frames become image, camera_info and true depth. See Feed."""

    def __init__(self) -> None:
        self._optics: Optics | None = None
        self._image_writer = ImageWriter('rgb8')
        self._truth_writer = ImageWriter('32FC1')

    def open(self, config: CameraConfig) -> FrameSource:
        """Read the calibration and open the source."""
        self.prepare(config)
        return open_source(
            config.source, width=config.width, height=config.height, seed=config.seed,
            loop=config.loop)

    def prepare(self, config: StreamConfig) -> None:
        """Read the calibration."""
        self._optics = Optics(config.camera_info_file, config.hfov_deg)
        self._image_writer = ImageWriter(config.encoding)

    def check(self, frame: Frame) -> None:
        """Raise SourceError for a frame of another size than the calibration's."""
        self._optics.check(frame)

    def topics(self, first: Frame) -> dict[str, type]:
        """Give the topics; true depth where the first frame has some."""
        truth = {TRUTH: Image} if first.depth is not None else {}
        return {'image': Image, 'camera_info': CameraInfo, **truth}

    def messages(self, frame: Frame, header: Header, config: StreamConfig,
                 wanted: Callable[[str], bool]) -> Iterator[tuple[str, Any]]:
        """Make the messages; the camera_info first."""
        info = self._optics.camera_info(frame, header)
        if info is not None:
            yield 'camera_info', info
        yield 'image', picture(frame.image, self._image_writer, header, config.encoding)
        if frame.depth is not None and wanted(TRUTH):
            np.copyto(self._truth_writer.prepare(*frame.depth.shape), frame.depth)
            yield TRUTH, self._truth_writer.message(header)

    def change(self, config: StreamConfig, changed: set[str]) -> None:
        """Follow the encoding."""
        if 'encoding' in changed:
            self._image_writer = ImageWriter(config.encoding)

    def findings(self) -> Iterator[Finding]:
        """Say that nothing is known of the camera."""
        if self._optics is not None and self._optics.unknown:
            yield Finding(Level.WARN, (
                'no camera_info is published: set camera_info_file or hfov_deg'
            ), 'CAMERA_UNKNOWN')

    def values(self) -> dict[str, object]:
        """Nothing more."""
        return {}

    def close(self) -> None:
        """Forget the calibration."""
        self._optics = None


def picture(image: np.ndarray, writer: ImageWriter, header: Header, encoding: str) -> Image:
    """Return the message of an (H, W, 3) uint8 RGB image, written by a writer of `encoding`."""
    pixels = writer.prepare(*image.shape[:2])
    if encoding == 'bgr8':
        cv2.cvtColor(image, cv2.COLOR_RGB2BGR, dst=pixels)
    else:
        np.copyto(pixels, image)
    return writer.message(header)


class CameraNode(LifecycleNode):
    """Publishes ``image``, ``camera_info`` and, for a simulated room, ``ground_truth/depth``."""

    def __init__(self) -> None:
        super().__init__('camera_node')
        self.add_managed_entity(Streamer(self, CameraConfig, CameraFeed()))


def main(args: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run(CameraNode, args)


if __name__ == '__main__':
    raise SystemExit(main())
