"""A camera driver of its own process, to be killed, paused, or started with a bad transport.

    python driver.py --topic /image --size 640x480 --rate 20 [--best-effort] [--mute]

Prints a line once it publishes. With ``--subscribe`` it is a subscriber that never reads.
"""

from __future__ import annotations

import argparse
import array
import time

import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image


def main() -> None:
    """Publish until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--topic', default='/image')
    parser.add_argument('--info-topic', default='/camera_info')
    parser.add_argument('--size', default='64x48')
    parser.add_argument('--rate', type=float, default=20.0)
    parser.add_argument('--best-effort', action='store_true')
    parser.add_argument('--compressed', action='store_true')
    parser.add_argument('--subscribe', action='store_true')
    arguments = parser.parse_args()
    rclpy.init()
    node = rclpy.create_node('driver')
    width, height = map(int, arguments.size.split('x'))
    policy = ReliabilityPolicy.BEST_EFFORT if arguments.best_effort else ReliabilityPolicy.RELIABLE
    qos = QoSProfile(depth=5, reliability=policy)
    if arguments.subscribe:
        node.create_subscription(Image, arguments.topic, lambda msg: None, qos)
        print('ready', flush=True)
        while True:
            time.sleep(1.0)
    kind = CompressedImage if arguments.compressed else Image
    publisher = node.create_publisher(kind, arguments.topic, qos)
    infos = node.create_publisher(CameraInfo, arguments.info_topic, qos)
    image = kind()
    image.data = array.array('B', b'\xc8' * (width * height * 3))
    info = CameraInfo(width=width, height=height, distortion_model='plumb_bob', d=[0.0] * 5)
    info.k = [50.0, 0.0, (width - 1) / 2, 0.0, 50.0, (height - 1) / 2, 0.0, 0.0, 1.0]
    if not arguments.compressed:
        image.encoding, image.step = 'rgb8', 3 * width
        image.height, image.width = height, width
    image.header.frame_id = info.header.frame_id = 'camera_optical_frame'
    print('ready', flush=True)
    while rclpy.ok():
        image.header.stamp = info.header.stamp = node.get_clock().now().to_msg()
        infos.publish(info)
        publisher.publish(image)
        time.sleep(1.0 / arguments.rate)


if __name__ == '__main__':
    main()
