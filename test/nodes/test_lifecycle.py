"""How nodes start, fail, are put right, and end; shown with the camera, the lightest of them."""

import contextlib
from pathlib import Path
import platform
import signal
import subprocess
import sys
import time

import cv2
from lifecycle_msgs.srv import ChangeState
import numpy as np
import pytest
import rclpy
from rclpy.lifecycle import TransitionCallbackReturn
from sensor_msgs.msg import Image

from depth_perception.nodes import _streamer, camera_node
from depth_perception.nodes._lifecycle import attempt, keep_big_blocks

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp('pictures') / 'grey.png'
    cv2.imwrite(str(path), np.full((24, 32, 3), 128, np.uint8))
    return str(path)


def segments():
    """Return the shared memory files of Fast DDS."""
    return {path.name for path in Path('/dev/shm').glob('fast*')}


def test_a_node_starts_by_itself_and_publishes(graph, picture):
    node = graph.spawn('camera_node', {'source': picture}, {'image': 'self/image'}, name='self')
    assert graph.listen('self/image', Image).wait()[0].width == 32
    assert node.stop() == 0


def test_without_autostart_it_waits_for_its_transitions(graph, picture):
    params = {'source': picture, 'autostart': False, 'rate_hz': 50.0}
    node = graph.spawn('camera_node', params, {'image': 'led/image'}, name='led',
                       state='unconfigured')
    assert graph.change_state(node, 'configure')
    assert graph.state(node) == 'inactive'
    images = graph.listen('led/image', Image)
    assert images.messages == []
    assert graph.change_state(node, 'activate')
    images.wait()
    assert graph.change_state(node, 'deactivate')
    assert graph.change_state(node, 'cleanup')
    images.clear()
    assert graph.state(node) == 'unconfigured'
    graph.wait_for(lambda: not graph.probe.count_publishers('led/image'), 5, 'no publisher')
    assert graph.change_state(node, 'configure') and graph.change_state(node, 'activate')
    images.wait()
    assert node.stop() == 0


def test_a_failed_configure_is_one_readable_error_and_can_be_put_right(graph, picture):
    params = {'source': '/no/such/file', 'hfov_deg': 60.0}
    node = graph.spawn('camera_node', params, name='wrong', state='failed')
    assert node.log.count('[ERROR]') == 1
    assert 'Traceback' not in node.log
    assert "there is no '/no/such/file'; give scene, an image" in node.log
    graph.wait_for_diagnostics(
        node, lambda level, text, _: level == 2 and "no '/no/such/file'" in text)
    assert graph.set_parameter(node, 'source', picture).successful
    assert graph.change_state(node, 'configure') and graph.change_state(node, 'activate')
    graph.wait_for_diagnostics(node, lambda level, text, _: level == 0)
    assert node.stop() == 0


def in_use():
    """Return the shared memory files that a living process has mapped."""
    names = set()
    for maps in Path('/proc').glob('[0-9]*/maps'):
        with contextlib.suppress(OSError):
            lines = maps.read_text().splitlines()
            names.update(line.rpartition('/')[2] for line in lines if '/dev/shm/fast' in line)
    return names


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_node_with_code_0_and_leaves_no_shared_memory(graph, picture, number):
    before = segments()
    node = graph.spawn('camera_node', {'source': picture}, name=f'ended{int(number)}')
    own = segments() - before
    assert own
    assert node.stop(number) == 0
    assert 'Traceback' not in node.log
    # a parallel test run may have made some of these meanwhile, and still use them
    graph.wait_for(lambda: not (own & segments()) - in_use(), 5, 'its segments to go')


def test_further_signals_while_it_ends_do_not_spoil_the_exit_code(graph, picture):
    # The terminal and ros2 launch both send one for a single Ctrl-C.
    node = graph.spawn('camera_node', {'source': picture}, {'image': 'twice/image'}, name='twice')
    while node.process.poll() is None:
        node.process.send_signal(signal.SIGINT)
        time.sleep(0.003)
    assert node.process.returncode == 0


def test_a_node_that_was_shut_down_by_service_still_ends_cleanly(graph, picture):
    node = graph.spawn('camera_node', {'source': picture}, name='finished')
    request = ChangeState.Request()
    request.transition.id = 7  # ACTIVE_SHUTDOWN
    assert graph.call(ChangeState, '/finished/change_state', request).success
    assert graph.state(node) == 'finalized'
    assert node.stop() == 0


def test_a_parameter_file_that_is_no_yaml_is_one_line_and_code_2(tmp_path):
    file = tmp_path / 'broken.yaml'
    file.write_text('camera_node: {ros__parameters: {a: [1, x')
    command = [sys.executable, '-m', 'depth_perception.nodes.camera_node']
    done = subprocess.run([*command, '--ros-args', '--params-file', str(file)], cwd=ROOT,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert 'broken.yaml' in done.stderr and 'Traceback' not in done.stderr


def test_a_wrong_type_of_a_parameter_of_rclpy_is_one_line_and_code_2(graph):
    command = [sys.executable, '-m', 'depth_perception.nodes.camera_node']
    done = subprocess.run([*command, '--ros-args', '-p', 'use_sim_time:=1'], cwd=ROOT,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert 'use_sim_time' in done.stderr and 'BOOL' in done.stderr
    assert 'Traceback' not in done.stderr


def test_a_failure_is_reported_and_a_bug_is_seen():
    errors = []

    class Logger:
        error = fatal = staticmethod(errors.append)

    class Node:
        get_logger = staticmethod(Logger)

    def fail(error):
        raise error

    reported = []
    result = attempt(Node, 'configure', lambda: fail(ValueError('no file')), reported.append)
    assert result == TransitionCallbackReturn.FAILURE
    assert (errors, reported) == (['cannot configure: no file'], ['no file'])
    with pytest.raises(KeyError):
        attempt(Node, 'configure', lambda: fail(KeyError('bug')))
    assert 'KeyError' in errors[1]


def test_a_bug_while_configuring_leaves_nothing_open(graph, picture, monkeypatch):
    def bug(*_):
        raise KeyError('bug')

    rclpy.init(args=['--ros-args', '-p', f'source:={picture}', '-p', 'hfov_deg:=60.0'])
    try:
        node = camera_node.CameraNode()
        with monkeypatch.context() as patch:
            patch.setattr(_streamer, 'Prefetcher', bug)
            assert node.trigger_configure() == TransitionCallbackReturn.ERROR
        assert '/image' not in [publisher.topic_name for publisher in node.publishers]
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        node.trigger_shutdown()
        node.destroy_node()
    finally:
        rclpy.shutdown()


def test_the_allocator_takes_the_settings_on_glibc():
    if platform.libc_ver()[0] != 'glibc':
        pytest.skip('another C library')
    assert keep_big_blocks()
