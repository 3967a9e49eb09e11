"""What an observer of a live graph keeps."""

import pytest

pytest.importorskip('rclpy')
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image

from depth_perception.tools.observer import Watch


@pytest.mark.parametrize('keep', [0, 5])
def test_empty_bytes_are_no_message(keep):
    whole = Image(height=2, width=2, encoding='mono8', step=2, data=b'abcd')
    whole.header.stamp.sec = 3
    watch = Watch(Image, keep=keep)
    watch.add(b'')
    watch.add(serialize_message(whole))
    assert watch.stamps_ns == [3_000_000_000]
    assert list(watch.messages) == watch.stamps_ns[:keep]
