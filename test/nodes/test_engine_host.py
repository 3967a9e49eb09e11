"""What a node says of a model that is loaded while another one serves, in this process."""

from __future__ import annotations

from dataclasses import replace
import time

import onnx
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor

from depth_perception import inference
from depth_perception.nodes import _engine
from depth_perception.nodes._engine import EngineHost
from depth_perception.nodes.depth_node import DepthConfig


@pytest.fixture
def node(domain_ids):
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain_ids())
    node = rclpy.create_node('host', context=context)
    yield node
    node.destroy_node()
    context.try_shutdown()


@pytest.fixture
def host(node):
    host = EngineHost(node)
    yield host
    host.close()


@pytest.fixture
def config(make_model, node):
    model = str(make_model(name='serving'))
    node.declare_parameter('model', model)
    return DepthConfig(model=model, threads=1, backend='cpu')


def codes(host):
    return {finding.code: finding.text for finding in host.findings()}


def wait_for(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_model_that_is_ready_is_told_until_a_frame_takes_it(host, config, make_model):
    host.open(config)
    other = str(make_model(name='other'))
    host.change(replace(config, model=other))
    wait_for(lambda: 'is being loaded' not in codes(host).get('MODEL_LOADING', ''))
    assert codes(host)['MODEL_LOADING'].startswith(f'model {other} is loaded and serves from the')
    host.take()
    assert not codes(host)


def test_a_refusal_is_told_for_a_while_and_not_for_ever(host, node, config, make_model, tmp_path,
                                                        monkeypatch):
    graph = onnx.load(str(make_model()))
    graph.graph.node[0].op_type = 'Nonsense'
    onnx.save(graph, str(tmp_path / 'nonsense.onnx'))
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    host.open(config)
    host.change(replace(config, model=str(tmp_path / 'nonsense.onnx')))

    def told():
        executor.spin_once(timeout_sec=0.05)
        return 'MODEL_REFUSED' in codes(host)

    wait_for(told)
    assert node.get_parameter('model').value == config.model
    monkeypatch.setattr(_engine, 'MEMORY_S', 0.0)
    assert not codes(host)
    executor.shutdown()


def test_an_engine_is_built_anew_at_start_and_not_for_each_model(host, config, make_model,
                                                                monkeypatch):
    forced, serve = [], inference.serve

    def noted(model, settings):
        forced.append(settings.force)
        return serve(model, settings)

    monkeypatch.setattr(inference, 'serve', noted)
    config = replace(config, force_engine_update=True)
    host.open(config)
    host.change(replace(config, model=str(make_model(name='other'))))
    wait_for(lambda: 'is loaded' in codes(host).get('MODEL_LOADING', ''))
    assert forced == [True, False]
