from __future__ import annotations

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
import pytest

from depth_perception.inference import BackendError
from depth_perception.model_spec import DEFAULT_MODEL, find_model, load_graph, read_spec
from depth_perception.tools import bench
from depth_perception.tools.cli import main
from depth_perception.tools.flops import count_flops


@pytest.fixture(autouse=True)
def a_small_peak_and_an_own_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(bench, '_PEAK_SIDE', 128)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


def test_two_backends_are_measured_in_turn_and_written_as_json(make_model, tmp_path, capsys):
    path, file = make_model(work=3), tmp_path / 'results' / 'bench.json'
    assert main(['bench', str(path), '--seconds', '0.4', '--image', '80x60', '--compare', 'graph',
                 '--json', str(file)]) == 0
    result = json.loads(file.read_text())
    assert (result['image'], result['network_input']) == ('80x60', '64x48')
    assert result['versions']['onnxruntime'] and result['machine']['cores'] >= 1
    assert 'cpu_mhz' in result['machine'] and 'gpu' in result['machine']
    assert [row['backend'] for row in result['backends']] == ['cpu', 'graph']
    for row in result['backends']:
        assert set(row['stages']) == {'preprocess', 'inference', 'postprocess', 'frame'}
        for values in row['stages'].values():
            assert 0 < values['p50_ms'] <= values['p90_ms'] <= values['p99_ms']
        assert row['stages']['frame']['p50_ms'] >= row['stages']['inference']['p50_ms']
        assert row['gemm_peak_gflops'] > 0 and row['frames'] > 0
    shown = capsys.readouterr().out
    assert 'p99' in shown and 'times as long as cpu' in shown


def test_turns_alternate():
    order = []

    class Turn:
        def __init__(self, name):
            self.name = name

        def go(self, seconds):
            order.append((self.name, seconds))
    bench.take_turns([Turn('a'), Turn('b')], 1.5)
    assert order == [('a', 0.5), ('b', 0.5)] * 3


def test_a_backend_that_is_not_here_is_an_error(make_model, capsys):
    assert main(['bench', str(make_model()), '--backend', 'cuda', '--seconds', '0.1']) == 1
    assert 'backend is cuda' in capsys.readouterr().err


def test_an_engine_that_is_refused_is_not_measured(make_model, monkeypatch):
    from depth_perception.inference import engine_store
    monkeypatch.setattr(engine_store.EngineStore, 'obtain',
                        lambda self, *_, **__: engine_store.Obtained(problem='wrong depth'))
    with pytest.raises(BackendError, match='backend graph: wrong depth'):
        bench.open_engine(str(make_model()), 'graph', 'auto', 1)


def test_no_time_is_no_measurement(make_model, capsys):
    assert main(['bench', str(make_model()), '--seconds', '0']) == 1
    assert 'seconds is 0.0; it must be above 0' in capsys.readouterr().err


def test_flops_of_the_shipped_network_are_those_of_its_convolutions():
    path = find_model(DEFAULT_MODEL)
    model, spec = onnx.load(str(path)), read_spec(path)
    # 6.13 GFLOP at 320x240 for depth (docs/benchmarks.md counts them by torch), 0.26 for how sure
    assert count_flops(model, spec, (240, 320)) == pytest.approx(6.39e9, rel=0.01)
    assert count_flops(load_graph(path), spec) == pytest.approx(
        6.39e9 * 144 * 192 / (240 * 320), rel=0.01)


def test_flops_by_hand(make_model):
    weights = {'w': np.zeros((4, 3, 2, 2), np.float32), 'm': np.zeros((11, 5), np.float32),
               't': np.zeros((4, 6, 2, 2), np.float32)}
    nodes = [helper.make_node('Conv', ['image', 'w'], ['a']),           # (1, 4, 12, 11)
             helper.make_node('MatMul', ['a', 'm'], ['b']),             # (1, 4, 12, 5)
             helper.make_node('ConvTranspose', ['a', 't'], ['c']),      # (1, 6, 13, 12)
             helper.make_node('Identity', ['c'], ['depth'])]
    image = helper.make_tensor_value_info('image', TensorProto.FLOAT, (1, 3, 13, 12))
    depth = helper.make_tensor_value_info('depth', TensorProto.FLOAT, (1, 6, 13, 12))
    model = helper.make_model(helper.make_graph(
        nodes, 'test', [image], [depth],
        [numpy_helper.from_array(v, k) for k, v in weights.items()]),
        opset_imports=[helper.make_opsetid('', 17)])
    convolution = 2 * (4 * 12 * 11) * (3 * 2 * 2)
    product = 2 * (4 * 12 * 5) * 11
    transposed = 2 * (4 * 12 * 11) * (6 * 2 * 2)
    spec = read_spec(make_model())
    assert count_flops(model, spec, (13, 12)) == convolution + product + transposed
