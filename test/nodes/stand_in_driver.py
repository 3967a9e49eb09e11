"""Stands in for camera drivers: publishes what they publish, on small grey pictures.

``python stand_in_driver.py realsense zed --depth`` runs until it is interrupted. Topics,
encodings, QoS and frames are those of usb_cam 0.8.1, realsense-ros 4.55.1, zed-ros2-wrapper 5.4.1
and depthai-ros 2.10.3; they are written here apart from topic_styles, which they check.
"""

from __future__ import annotations

import argparse
import array
from dataclasses import dataclass

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSPresetProfiles, QoSProfile
from sensor_msgs.msg import CameraInfo, Image

WIDTH, HEIGHT, FOCAL_PX = 64, 48, 50.0
PERIOD_S = 0.05
GREY, DEPTH_M = 128, 1.5


def keep_last(depth: int) -> QoSProfile:
    """What ``rclcpp::QoS(depth)`` is: reliable, volatile."""
    return QoSProfile(depth=depth)


@dataclass(frozen=True)
class Driver:
    """What one driver publishes; topics by their full names."""

    image: str
    encoding: str
    camera_info: str
    frame_id: str
    image_qos: QoSProfile
    info_qos: QoSProfile
    depth: str = ''
    depth_encoding: str = ''
    rectified: str = ''             # the image without distortion, where depth belongs to it
    distortion_model: str = 'plumb_bob'
    d: tuple[float, ...] = (0.0,) * 5


DRIVERS = {
    'usb_cam': Driver(
        '/image_raw', 'yuv422_yuy2', '/camera_info', 'default_cam', keep_last(100),
        keep_last(100), d=(-0.05, 0.01, 0.001, 0.0, 0.0)),
    'realsense': Driver(
        '/camera/camera/color/image_raw', 'rgb8', '/camera/camera/color/camera_info',
        'camera_color_optical_frame', QoSPresetProfiles.SYSTEM_DEFAULT.value, keep_last(10),
        '/camera/camera/aligned_depth_to_color/image_raw', '16UC1'),
    'zed': Driver(
        '/zed/zed_node/rgb/color/rect/image', 'bgra8', '/zed/zed_node/rgb/color/rect/camera_info',
        'zed_left_camera_frame_optical', keep_last(10), keep_last(10),
        '/zed/zed_node/depth/depth_registered', '32FC1'),
    'oak': Driver(
        '/oak/rgb/image_raw', 'bgr8', '/oak/rgb/camera_info', 'oak_rgb_camera_optical_frame',
        keep_last(10), keep_last(10), '/oak/stereo/image_raw', '16UC1', '/oak/rgb/image_rect',
        'rational_polynomial', (-0.5, 0.1, 0.0, 0.0, 0.01, -0.5, 0.1, 0.01)),
}
# per pixel: of YUYV there are a luma and a chroma
PIXELS = {'rgb8': (GREY,) * 3, 'bgr8': (GREY,) * 3, 'bgra8': (GREY,) * 3 + (255,),
          'yuv422_yuy2': (GREY, 128)}


class StandIn(Node):
    """Publishes as one driver."""

    def __init__(self, driver: Driver, depth: bool) -> None:
        super().__init__(driver.frame_id.split('_')[0] + '_driver')
        self._driver = driver
        self._sent = []
        self._add(Image, driver.image, driver.image_qos, color(driver.encoding))
        self._add(CameraInfo, driver.camera_info, driver.info_qos, calibration(driver))
        if depth and driver.depth:
            self._add(Image, driver.depth, driver.image_qos, sensor_depth(driver.depth_encoding))
        if depth and driver.rectified:
            self._add(Image, driver.rectified, driver.image_qos, color(driver.encoding))
        self.create_timer(PERIOD_S, self._send)

    def _add(self, kind: type, topic: str, qos: QoSProfile, message: Image | CameraInfo) -> None:
        message.header.frame_id = self._driver.frame_id
        self._sent.append((self.create_publisher(kind, topic, qos), message))

    def _send(self) -> None:
        stamp = self.get_clock().now().to_msg()
        for publisher, message in self._sent:
            message.header.stamp = stamp
            publisher.publish(message)


def color(encoding: str) -> Image:
    """A grey picture."""
    return picture(np.full((HEIGHT, WIDTH, len(PIXELS[encoding])), PIXELS[encoding], np.uint8),
                   encoding)


def sensor_depth(encoding: str) -> Image:
    """A wall at DEPTH_M, in the corner nothing: 0 or NaN as REP 118 has it."""
    millimetres = encoding == '16UC1'
    pixels = np.full((HEIGHT, WIDTH), DEPTH_M * 1000 if millimetres else DEPTH_M,
                     np.uint16 if millimetres else np.float32)
    pixels[0, 0] = 0 if millimetres else np.nan
    return picture(pixels, encoding)


def picture(pixels: np.ndarray, encoding: str) -> Image:
    """An Image of an array."""
    return Image(encoding=encoding, height=HEIGHT, width=WIDTH, step=pixels.strides[0],
                 data=array.array('B', pixels.tobytes()))


def calibration(driver: Driver) -> CameraInfo:
    """A camera_info as the driver fills it: P is K."""
    cx, cy = (WIDTH - 1) / 2, (HEIGHT - 1) / 2
    return CameraInfo(
        width=WIDTH, height=HEIGHT, distortion_model=driver.distortion_model, d=list(driver.d),
        k=[FOCAL_PX, 0.0, cx, 0.0, FOCAL_PX, cy, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[FOCAL_PX, 0.0, cx, 0.0, 0.0, FOCAL_PX, cy, 0.0, 0.0, 0.0, 1.0, 0.0])


def main() -> None:
    """Run some drivers until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('drivers', nargs='+', choices=DRIVERS)
    parser.add_argument('--depth', action='store_true', help='also publish depth of their own')
    given, _ = parser.parse_known_args()    # launch adds arguments of ROS
    rclpy.init(args=[])
    executor = SingleThreadedExecutor()
    for name in given.drivers:
        executor.add_node(StandIn(DRIVERS[name], given.depth))
    try:
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        rclpy.try_shutdown()


if __name__ == '__main__':
    main()
