"""Engines under the depth node: right metres whatever the engine is, and no frame lost."""

from __future__ import annotations

import time

import numpy as np
import pytest
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from depth_perception.inference.builder import BuildOptions
from depth_perception.inference.graph_builder import GraphBuilder

HEIGHT, WIDTH, DEPTH_M = 48, 64, 2.0
PICTURE = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
WHITE = np.full_like(PICTURE, 255)


@pytest.fixture
def start(graph, make_model, tmp_path):
    """Start a depth node on an engine that is optimised for this CPU, with a cache of its own."""
    nodes = []

    def start(name, state='active', **params):
        params = {'model': str(make_model(depth=DEPTH_M)), 'backend': 'graph', 'threads': 1,
                  **params}
        nodes.append(graph.spawn('depth_node', params, name=name, state=state,
                                 env={'XDG_CACHE_HOME': str(tmp_path / 'cache')}))
        return nodes[-1]

    yield start
    for node in nodes:
        assert node.stop() == 0


def engine_of(path, file):
    size = (HEIGHT, WIDTH)
    file.write_bytes(GraphBuilder(threads=1).build(
        path, BuildOptions('fp32', size, size, size), lambda *_: True))
    return str(file)


def depth_m(msg):
    return np.frombuffer(bytes(msg.data), '<f4')


def test_a_node_given_a_wrong_engine_publishes_right_metres_and_says_so(
        graph, camera, start, make_model, tmp_path):
    wrong = engine_of(make_model(depth=1.03 * DEPTH_M), tmp_path / 'wrong.engine')
    node = start('wrong_engine', engine_file_path=wrong)
    depth = graph.listen(f'{node.full_name}/depth/image_rect', Image)
    camera.send_until([depth], PICTURE)
    graph.wait_for_diagnostics(node, lambda level, text, values:
                               values.get('engine state') == 'serving', 30)
    camera.send_until([depth], PICTURE)
    level, text, values = graph.wait_for_diagnostics(
        node, lambda level, text, values: values['backend'].endswith('(optimised graph)'))
    assert level == 1 and 'engine_file_path is not used' in text and 'drift of 3 %' in text
    assert values['engine verdict'].startswith('fp32 verified')
    assert 'engine_file_path is not used' in node.log
    camera.send_until([depth], PICTURE)
    for msg in depth.messages:
        np.testing.assert_allclose(depth_m(msg), DEPTH_M, rtol=1e-5)


def test_an_engine_is_built_anew_and_swapped_without_losing_a_frame(graph, camera, start):
    node = start('swapping', process='every')
    depth = graph.listen(f'{node.full_name}/depth/image_rect', Image)
    camera.send_until([depth], PICTURE)
    graph.wait_for_diagnostics(node, lambda level, text, values:
                               values.get('engine state') == 'serving', 30)
    time.sleep(0.2)     # what send_until sent last is out as well
    depth.clear()
    answer = graph.call(Trigger, f'{node.full_name}/rebuild_engine', Trigger.Request())
    assert answer.success and 'is being built' in answer.message
    stamps = []
    for _ in range(60):
        stamps.append(camera.send(PICTURE))
        time.sleep(1 / 30)
    messages = depth.wait(len(stamps))
    got = [msg.header.stamp.sec + msg.header.stamp.nanosec * 1e-9 for msg in messages]
    np.testing.assert_allclose(got, stamps, atol=1e-6)
    assert all(np.allclose(depth_m(msg), DEPTH_M) for msg in messages)
    graph.wait_for_diagnostics(node, lambda level, text, values:
                               values.get('engine state') == 'serving', 30)


def test_an_engine_that_fails_in_flight_is_replaced_for_that_very_frame(
        graph, camera, start, make_model, tmp_path):
    failing = engine_of(make_model(depth=DEPTH_M, fails=True), tmp_path / 'failing.engine')
    node = start('failing', engine_file_path=failing)
    depth = graph.listen(f'{node.full_name}/depth/image_rect', Image)
    graph.wait_for_diagnostics(node, lambda level, text, values:
                               values.get('engine state') == 'serving', 30)
    camera.send_until([depth], PICTURE)
    [msg] = camera.send_until([depth], WHITE)
    np.testing.assert_allclose(depth_m(msg), DEPTH_M, rtol=1e-5)
    level, text, values = graph.wait_for_diagnostics(
        node, lambda level, text, values: values.get('engine state') == 'failed')
    assert level == 1 and 'ONNX Runtime on the CPU took over' in text
    assert values['backend'] == 'onnxruntime CPUExecutionProvider'


def test_an_engine_path_that_is_a_folder_is_a_clean_failure(graph, start, tmp_path):
    node = start('folder', state='failed', engine_file_path=str(tmp_path))
    assert 'is a folder; give the path of a file' in node.log
    answer = graph.call(Trigger, f'{node.full_name}/rebuild_engine', Trigger.Request())
    assert not answer.success and 'configure the node first' in answer.message
