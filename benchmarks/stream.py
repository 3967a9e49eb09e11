"""A camera for benchmarks: a process that publishes N identical frames at a rate, and counts.

Run by the benchmarks, not by hand: ``python benchmarks/stream.py --help``.
"""

from __future__ import annotations

import argparse
from array import array
import time

import numpy as np
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image

#: name -> (height, width, bytes a pixel, encoding); the last has an organised cloud's 4.9 MB.
SIZES = {
    'vga': (480, 640, 3, 'rgb8'),
    'hd': (720, 1280, 3, 'rgb8'),
    'cloud': (480, 640, 16, '32FC4'),
}


def image_message(size: str) -> Image:
    """Return one frame of smooth noise, so that no compression or cache makes it cheap."""
    height, width, bytes_per_pixel, encoding = SIZES[size]
    pixels = np.random.default_rng(0).integers(0, 255, height * width * bytes_per_pixel, np.uint8)
    message = Image(height=height, width=width, encoding=encoding, step=width * bytes_per_pixel)
    message.header.frame_id = 'camera_optical_frame'
    message.data = array('B', pixels.tobytes())
    return message


def info_message(image: Image) -> CameraInfo:
    """Return undistorted intrinsics with f = 0.8 of the width."""
    focal = 0.8 * image.width
    cx, cy = (image.width - 1) / 2, (image.height - 1) / 2
    info = CameraInfo(height=image.height, width=image.width, distortion_model='plumb_bob')
    info.header.frame_id = image.header.frame_id
    info.d = [0.0] * 5
    info.k = [focal, 0.0, cx, 0.0, focal, cy, 0.0, 0.0, 1.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [focal, 0.0, cx, 0.0, 0.0, focal, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info


def main() -> None:
    """Publish, at a steady rate, as soon as the wanted number of subscribers is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--size', choices=SIZES, default='vga')
    parser.add_argument('--rate-hz', type=float, default=30.0)
    parser.add_argument('--count', type=int, default=600)
    parser.add_argument('--subscribers', type=int, default=1)
    arguments = parser.parse_args()
    # A benchmark that has seen enough terminates this program: at once, not amid a publish.
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node('stream')
    qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
    images = node.create_publisher(Image, 'image', qos)
    infos = node.create_publisher(CameraInfo, 'camera_info', qos)
    while images.get_subscription_count() < arguments.subscribers:
        time.sleep(0.05)
    time.sleep(1.0)  # the other end of the match
    image = image_message(arguments.size)
    info = info_message(image)
    due = time.monotonic()
    for _ in range(arguments.count):
        stamp = node.get_clock().now().to_msg()
        image.header.stamp = info.header.stamp = stamp
        infos.publish(info)
        images.publish(image)
        due += 1.0 / arguments.rate_hz
        time.sleep(max(0.0, due - time.monotonic()))
    time.sleep(1.0)  # let reliable readers fetch the last frames
    node.destroy_node()
    rclpy.shutdown()


if __name__ == '__main__':
    main()
