"""Names of a node's topics and services as one of its cameras sees them."""

from __future__ import annotations

import pytest
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from depth_perception.nodes._scope import Scope


@pytest.fixture(scope='module')
def scope(graph):
    return Scope(graph.probe, 'front')


def test_names_lie_under_the_camera_s_but_for_absolute_ones(scope):
    assert scope.scoped('image') == 'front/image'
    assert scope.scoped('~/depth/image_rect') == '~/front/depth/image_rect'
    assert scope.scoped('/diagnostics') == '/diagnostics'


def test_the_node_itself_gets_the_scoped_names(graph, scope):
    assert scope.resolve_topic_name('image') == '/front/image'
    publisher = scope.create_publisher(Image, '~/points', 5)
    subscription = scope.create_subscription(Image, 'image', lambda message: None, QoSProfile(
        depth=1))
    service = scope.create_service(Trigger, '~/calibrate_scale', lambda request, response: None)
    assert publisher.topic_name == '/probe/front/points'
    assert subscription.topic_name == '/front/image'
    assert service.srv_name.lstrip('~/') in ('probe/front/calibrate_scale',
                                             'front/calibrate_scale')
    scope.destroy_publisher(publisher)
    scope.destroy_subscription(subscription)
    graph.probe.destroy_service(service)


def test_all_else_is_the_node_s_own(graph, scope):
    assert scope.get_name() == 'probe'
    assert scope.get_clock() is graph.probe.get_clock()
    assert scope.get_logger().name.endswith('.front')
    with pytest.raises(AttributeError):
        scope.no_such_thing  # noqa: B018
