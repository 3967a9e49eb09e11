"""A frame's way from the callback to the worker, in this process."""

from __future__ import annotations

import threading
import time

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from std_msgs.msg import Header

from depth_perception.geometry import Intrinsics
from depth_perception.image_encodings import MessageError
from depth_perception.nodes._diagnostics import Health
from depth_perception.nodes._frame_loop import FrameLoop


@pytest.fixture
def spun(domain_ids):
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain_ids())
    node = rclpy.create_node('loop', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    yield node, executor
    executor.shutdown()
    node.destroy_node()
    context.try_shutdown()


def loop_of(node, process):
    health = Health(node, lambda: [], dict)
    return FrameLoop(node, health, process), health


def values(health):
    return {pair.key: pair.value for pair in health.status().values}


def wait_for(condition):
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_bug_in_the_worker_leaves_spin_instead_of_a_silent_node(spun):
    node, executor = spun

    def process(frame):
        raise KeyError('a bug')

    loop, _ = loop_of(node, process)
    loop.start('newest', 1)
    loop.put(Header(), 'frame')
    with pytest.raises(KeyError, match='a bug'):
        for _ in range(100):
            executor.spin_once(timeout_sec=0.1)
    loop.stop()


def test_a_bad_frame_is_counted_and_the_next_one_is_worked_on(spun):
    def process(frame):
        if frame == 'bad':
            raise MessageError('torn')
        return True

    loop, health = loop_of(spun[0], process)
    loop.start('every', 10)
    for frame in ('good', 'bad', 'good'):
        loop.put(Header(), frame)
    wait_for(lambda: values(health)['processed'] == '2')
    loop.stop()
    assert values(health)['rejected.message'] == '1' and values(health)['received'] == '3'


def test_a_camera_that_shows_to_be_none_only_when_it_is_used_is_rejected(spun):
    def process(frame):
        # passes by itself, and is 0 for an image of half the size
        Intrinsics(64, 48, 5e-324, 50.0, 31.5, 23.5).resized(32, 24)

    loop, health = loop_of(spun[0], process)
    loop.start('newest', 1)
    loop.put(Header(), 'frame')
    wait_for(lambda: 'INFO_VALUES' in values(health))
    loop.stop()
    assert values(health)['rejected.camera_info values'] == '1'


def test_stopping_waits_for_the_frame_in_work_and_leaves_the_rest(spun):
    entered, done = threading.Event(), []

    def process(frame):
        entered.set()
        time.sleep(0.05)
        done.append(frame)
        return True

    loop, _ = loop_of(spun[0], process)
    loop.start('every', 10)
    loop.put(Header(), 'first')
    loop.put(Header(), 'second')
    assert entered.wait(5)
    loop.stop()
    assert done == ['first']
    loop.put(Header(), 'late')      # between two activations: nothing happens
    assert done == ['first']
