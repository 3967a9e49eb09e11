"""Stands in for ``ros2 bag play``: publishes twenty frames, once, and the clock.

Reliable only where the file of --qos-profile-overrides-path says so, as the bag was recorded best
effort. It waits for nobody: frames that come before a subscriber are lost.
"""

from __future__ import annotations

import array
from pathlib import Path
import sys
import time

import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
import yaml

FRAMES, FIRST_S, PERIOD_S = 20, 1000, 0.02
WIDTH, HEIGHT = 64, 48


def main() -> None:
    """Play."""
    given = dict(zip(sys.argv, sys.argv[1:]))
    profiles = yaml.safe_load(Path(given['--qos-profile-overrides-path']).read_text())
    rclpy.init(args=[])
    node = rclpy.create_node('rosbag2_player')

    def publisher(kind: type, topic: str):
        reliable = profiles.get(topic, {}).get('reliability') == 'reliable'
        return node.create_publisher(kind, topic, QoSProfile(
            depth=100, reliability=ReliabilityPolicy.RELIABLE if reliable
            else ReliabilityPolicy.BEST_EFFORT))

    image, info = publisher(Image, '/cam/image_raw'), publisher(CameraInfo, '/cam/camera_info')
    clock = node.create_publisher(Clock, '/clock', 10)
    picture = Image(encoding='mono8', width=WIDTH, height=HEIGHT, step=WIDTH,
                    data=array.array('B', bytes(WIDTH * HEIGHT)))
    camera = CameraInfo(width=WIDTH, height=HEIGHT, distortion_model='plumb_bob', d=[0.0] * 5,
                        k=[50.0, 0.0, 31.5, 0.0, 50.0, 23.5, 0.0, 0.0, 1.0])
    time.sleep(float(given.get('--delay', 0.0)))
    for number in range(FRAMES):
        now = Clock()
        now.clock.sec = FIRST_S + number
        clock.publish(now)
        picture.header.stamp = camera.header.stamp = now.clock
        info.publish(camera)
        image.publish(picture)
        time.sleep(PERIOD_S)
    time.sleep(1.0)     # what is reliable may need to be sent again
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == '__main__':
    main()
