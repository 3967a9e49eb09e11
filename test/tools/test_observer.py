"""What an observer of a live graph keeps."""

import pytest

pytest.importorskip('rclpy')
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image

from depth_perception.tools.observer import Watch


def test_a_damaged_message_counts_as_such_and_not_as_arrived():
    whole = Image(height=2, width=2, encoding='mono8', step=2, data=b'abcd')
    whole.header.stamp.sec = 3
    data = serialize_message(whole)
    watch = Watch(Image, keep=5)
    watch.add(data[:-3])
    watch.add(data)
    assert watch.damaged == 1
    assert watch.stamps_ns == [3_000_000_000]
    assert bytes(watch.decode(3_000_000_000).data) == b'abcd'
