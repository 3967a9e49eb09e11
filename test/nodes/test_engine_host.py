"""What a node says of a model that is loaded while another one serves, in this process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
import shutil
import time

import onnx
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter

from depth_perception import inference
from depth_perception.nodes import _engine
from depth_perception.nodes._engine import EngineHost
from depth_perception.nodes._parameters import ParameterServer
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


def test_a_file_that_was_replaced_is_loaded_when_its_name_is_set_again(host, config, make_model):
    serving = host.open(config)
    host.change(config)
    assert not codes(host) and host.take() is None      # it serves already
    shutil.copy(make_model(name='retrained', depth=3.0), config.model)
    host.change(config)
    wait_for(lambda: 'is loaded' in codes(host).get('MODEL_LOADING', ''))
    taken = host.take()
    assert taken.spec.weights_sha256 != serving.spec.weights_sha256
    host.change(config)
    assert not codes(host)


def test_the_parameter_is_set_back_also_where_the_file_that_serves_is_gone(
        host, node, config, make_model, tmp_path):
    node.undeclare_parameter('model')
    server = ParameterServer(node, DepthConfig)
    assert node.set_parameters([Parameter('model', value=config.model)])[0].successful
    host.open(replace(server.config, threads=1, backend='cpu'))
    server.on_change = lambda config, names: host.change(config)
    model = onnx.load(config.model)
    model.graph.node[0].op_type = 'Nonsense'
    onnx.save(model, str(tmp_path / 'nonsense.onnx'))
    bad = Parameter('model', value=str(tmp_path / 'nonsense.onnx'))
    assert node.set_parameters([bad])[0].successful
    Path(config.model).unlink()
    wait_for(lambda: host._loader.refusal)
    host._keep_the_old_one()
    assert node.get_parameter('model').value == server.config.model == config.model
    assert not node.set_parameters([Parameter('model', value=config.model)])[0].successful


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
