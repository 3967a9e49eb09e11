"""``depth-perception calibrate``: which node it asks, and what it leaves there."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from rclpy.callback_groups import ReentrantCallbackGroup
from std_srvs.srv import Trigger

from depth_perception.tools import calibrate

NAME = '/nodes/front'


@pytest.fixture
def offered(graph):
    """Offer the service for a camera of this process; nobody looks at a wall."""
    asked = []
    service = graph.probe.create_service(
        Trigger, f'{NAME}/calibrate_scale', lambda request, response: asked.append(1) or response,
        callback_group=ReentrantCallbackGroup())
    yield asked
    graph.probe.destroy_service(service)


def test_of_a_node_with_several_cameras_the_node_is_known(graph, offered):
    graph.wait_for(lambda: dict(calibrate._offered(graph.probe)), what='the service')
    assert calibrate._chosen(graph.probe) == (NAME, '/probe')
    assert calibrate._chosen(graph.probe, NAME) == (NAME, '/probe')
    with pytest.raises(RuntimeError, match=f'nobody offers /probe/calibrate_scale .*: {NAME}$'):
        calibrate._chosen(graph.probe, '/probe')


def test_an_interrupt_leaves_the_distance_of_the_wall_as_it_was(graph, make_model):
    node = graph.spawn('depth_node', {'model': str(make_model()), 'scale.wall_distance': 1.5,
                                      'scale.timeout': 60.0}, name='walled')
    with subprocess.Popen(
            [sys.executable, '-m', 'depth_perception.tools.cli', 'calibrate', '--node', node.name,
             '--wall', '3.0'], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as command:
        graph.wait_for(lambda: graph.get_parameter(node, 'scale.wall_distance') == 3.0)
        command.send_signal(signal.SIGINT)
        assert command.wait(15) != 0
    assert graph.get_parameter(node, 'scale.wall_distance') == 1.5
    assert node.stop() == 0     # while a call still waits for frames
    assert 'Traceback' not in node.log
