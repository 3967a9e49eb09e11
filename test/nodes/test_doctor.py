"""The doctor: from graphs made by hand, and on a live one through the command."""

from __future__ import annotations

from dataclasses import replace
import subprocess
import sys
import threading

import numpy as np
import pytest
from sensor_msgs.msg import Image

from depth_perception.nodes._codes import CODES
from depth_perception.nodes._transport import Sender, SharedMemory
from depth_perception.tools.doctor import examine, report
from depth_perception.tools.graph_snapshot import Endpoint, Snapshot, Status, Topic

IMAGE, DEPTH = 'sensor_msgs/msg/Image', '/depth_node/depth/image_rect'
GOOD = Snapshot(
    'rmw_fastrtps_cpp', {}, SharedMemory(0, 0, 1 << 30),
    {'depth_node': Status(0, '30.0 Hz in', {'OK': ''})},
    {'/image': Topic([Endpoint('/driver', IMAGE)], [Endpoint('/depth_node', IMAGE)])})


def codes(snapshot):
    return [problem.code for problem in examine(snapshot)]


def text_of(snapshot):
    return '\n'.join(report(snapshot, list(examine(snapshot))))


def test_a_healthy_graph_has_no_problem():
    assert codes(GOOD) == []
    assert text_of(GOOD).endswith('nothing is wrong')


def test_a_graph_without_our_nodes_is_one():
    assert codes(replace(GOOD, statuses={})) == ['NO_NODE']


def test_what_a_node_says_is_told_with_its_cure_and_the_pictures_there_are():
    status = Status(2, 'no publisher', {'NO_PUBLISHER': "no publisher on '/image'"})
    text = text_of(replace(
        GOOD, statuses={'depth_node': status},
        topics={'/cam/image_raw': Topic([Endpoint('/driver', IMAGE)])}))
    assert 'NO_PUBLISHER (/depth_node)' in text and CODES['NO_PUBLISHER'].cure in text
    assert 'there are pictures on /cam/image_raw' in text and text.endswith('1 to put right')


def test_what_is_no_fault_is_a_note():
    status = Status(0, 'idle', {'IDLE': 'no output has a subscriber'})
    graph = replace(GOOD, statuses={'depth_node': status})
    assert codes(graph) == ['IDLE'] and text_of(graph).endswith('nothing is wrong')


def test_a_subscriber_that_cannot_hear_our_output_is_found():
    topic = Topic([Endpoint('/depth_node', IMAGE)], [Endpoint('/viewer', IMAGE)],
                  [('/depth_node', '/viewer', 'durability')])
    foreign = Topic([Endpoint('/a', IMAGE)], [Endpoint('/b', IMAGE)], [('/a', '/b', 'depth')])
    graph = replace(GOOD, topics={DEPTH: topic, '/other': foreign})
    [problem] = examine(graph)
    assert (problem.code, problem.where) == ('QOS_INCOMPATIBLE', DEPTH)
    assert '/viewer cannot hear /depth_node' in problem.text


def test_the_outputs_of_a_node_with_several_cameras_are_its_own():
    topic = Topic([Endpoint('/robot/multi', IMAGE)], [Endpoint('/viewer', IMAGE)],
                  [('/robot/multi', '/viewer', 'durability')])
    statuses = {'robot/multi/front': Status(0, 'fine', {'OK': ''})}
    assert codes(replace(GOOD, statuses=statuses, topics={'/d': topic})) == ['QOS_INCOMPATIBLE']


def test_a_topic_of_two_types_is_found():
    other = Endpoint('/depth_node', 'sensor_msgs/msg/CompressedImage')
    assert codes(replace(GOOD, topics={'/image': Topic([Endpoint('/driver', IMAGE)], [other])})
                 ) == ['WRONG_TYPE']


def test_a_driver_on_the_default_transport_is_found_once():
    driver = Endpoint('/driver', IMAGE, Sender(7, 'driver', 549408))
    fine = Endpoint('/fine', IMAGE, Sender(8, 'fine', 16 << 20))
    graph = replace(GOOD, topics={name: Topic([driver, fine]) for name in ('/a', '/b')})
    [problem] = examine(graph)
    assert problem.code == 'TRANSPORT_TOO_SMALL' and 'process 7' in problem.text
    assert codes(replace(graph, rmw='rmw_cyclonedds_cpp')) == []


@pytest.mark.parametrize('change, code', [
    ({'environment': {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}}, 'TRANSPORT_IGNORED'),
    ({'memory': SharedMemory(3, 50 << 20, 1 << 30)}, 'STALE_SEGMENTS'),
    ({'memory': SharedMemory(0, 0, 1 << 20)}, 'SHARED_MEMORY_FULL'),
])
def test_the_host_is_looked_at(change, code):
    assert codes(replace(GOOD, **change)) == [code]


def doctor():
    done = subprocess.run(
        [sys.executable, '-m', 'depth_perception.tools.cli', 'doctor', '--seconds', '6'],
        capture_output=True, text=True, timeout=60, check=False)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def test_on_a_live_graph_the_command_finds_what_is_wrong_and_then_nothing(
        graph, camera, make_model):
    assert doctor()[0] == 1
    node = graph.spawn('depth_node', {'model': str(make_model())}, name='patient')
    depth = graph.listen(f'{node.full_name}/depth/image_rect', Image)
    status, text = doctor()
    assert status == 1 and 'NO_PUBLISHER (/patient)' in text, text
    done = threading.Event()

    def run_camera():
        while not done.wait(0.05):
            camera.send(np.full((48, 64, 3), 200, np.uint8))

    sender = threading.Thread(target=run_camera)
    sender.start()
    try:
        depth.wait(1)
        status, text = doctor()
    finally:
        done.set()
        sender.join()
    assert status == 0 and 'nothing is wrong' in text, text
    assert node.stop() == 0
