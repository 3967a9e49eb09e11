"""Why an input says that nothing comes, or too little, in this process."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, LaserScan, PointCloud2

from depth_perception.nodes import _inputs, _range
from depth_perception.nodes._inputs import Input, input_qos, subscribed
from depth_perception.nodes._range import RangeInput
from depth_perception.nodes._transport import Sender

# The publisher of an earlier test may still be seen on its topic, with another type.
NUMBERS = itertools.count()


@pytest.fixture
def make_input(graph):
    """Subscribe to a topic that somebody publishes."""
    made = []

    def make(kind):
        given = Input(graph.probe, kind, f'input_{next(NUMBERS)}', lambda message: None,
                      input_qos('newest', 1))
        made.append((given, graph.probe.create_publisher(kind, given.topic, 1)))
        graph.wait_for(lambda: graph.probe.get_publishers_info_by_topic(given.topic))
        return given

    yield make
    for given, publisher in made:
        given.close()
        graph.probe.destroy_publisher(publisher)


def lose(given, count):
    given._on_lost(SimpleNamespace(total_count_change=count))


def subscriptions(graph, name):
    return [each for each in graph.probe.subscriptions if each.topic_name.endswith(name)]


def test_of_two_subscriptions_none_is_left_where_the_second_cannot_be_made(graph):
    topics = (('first_of_two', Image, print), ('no name of a topic', Image, print))
    with pytest.raises(RuntimeError, match='failed to resolve name'):
        subscribed(graph.probe, topics, input_qos('newest', 1))
    assert subscriptions(graph, 'first_of_two') == []


def test_a_range_source_without_transforms_leaves_no_subscription(graph, monkeypatch):
    def refuse(*_):
        raise ValueError('no /tf_static')

    monkeypatch.setattr(_range, 'subscribe', refuse)
    config = SimpleNamespace(range_source='depth_image', process='newest', queue_size=1)
    with pytest.raises(ValueError, match='no /tf_static'):
        RangeInput(graph.probe, config, None)
    assert subscriptions(graph, '/range') + subscriptions(graph, '/range_camera_info') == []


def test_losses_told_at_one_instant_are_no_state(make_input):
    given = make_input(Image)
    given._on_message(Image())
    lose(given, 1000)
    assert given.complaint() is None
    lose(given, 20)
    complaint = given.complaint()
    assert complaint.code == 'FRAMES_LOST'
    assert f'{1020 / 5:.1f} are lost' in complaint.text     # in five seconds


def test_fewer_losses_than_messages_are_no_complaint(make_input, monkeypatch):
    given, now = make_input(Image), 1000.0
    monkeypatch.setattr(_inputs.time, 'monotonic', lambda: now)
    for number in range(50):        # 10 Hz
        now = 1000.0 + number / 10
        given._on_message(Image())
        if number in (20, 40):
            lose(given, 24)         # 48 in 5 s
    assert given.complaint() is None
    lose(given, 24)
    assert given.complaint().code == 'FRAMES_LOST'


@pytest.mark.parametrize('kind, code', [
    (Image, 'TRANSPORT_TOO_SMALL'), (PointCloud2, 'TRANSPORT_TOO_SMALL'),
    (LaserScan, 'SILENT_PUBLISHER'), (CameraInfo, 'SILENT_PUBLISHER'),
    (CompressedImage, 'SILENT_PUBLISHER')])
def test_small_shared_memory_is_blamed_for_large_messages_only(make_input, monkeypatch, kind,
                                                               code):
    monkeypatch.setattr(_inputs, 'sender', lambda gid, own: Sender(7, 'driver', 512 * 1024))
    given = make_input(kind)
    given._last -= 3.0
    complaint = given.complaint()
    assert complaint.code == code
    assert ('sockets_size' in complaint.text) == (code == 'TRANSPORT_TOO_SMALL')
    given._on_message(kind())
    lose(given, 50)
    lose(given, 50)
    complaint = given.complaint()
    assert complaint.code == ('FRAMES_LOST' if code == 'SILENT_PUBLISHER' else code)
    assert ('sockets_size' in complaint.text) == (code == 'TRANSPORT_TOO_SMALL')
