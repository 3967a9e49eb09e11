from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
import onnxruntime as ort
import pytest

from depth_perception.inference.precision import (
    head_layers,
    layers_named,
    mixed_layers,
    named,
    to_fp16,
)
from depth_perception.model_spec import DEFAULT_MODEL, ModelError, find_model, read_spec

RNG = np.random.default_rng(0)
HALF = TensorProto.FLOAT16
ANY = ('a', 'b', 'c', 'd')


def run(model, image):
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=['CPUExecutionProvider'])
    return session.run(None, {session.get_inputs()[0].name: image})


def graph(nodes, weights=(), shape=(1, 3, 8, 8)):
    return helper.make_model(helper.make_graph(
        nodes, 'test', [helper.make_tensor_value_info('image', TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info('depth', TensorProto.FLOAT, ANY)],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in dict(weights).items()]),
        opset_imports=[helper.make_opsetid('', 17)], ir_version=8)


def types(model):
    inferred = onnx.shape_inference.infer_shapes(model)
    values = [*inferred.graph.value_info, *inferred.graph.output]
    return {value.name: value.type.tensor_type.elem_type for value in values}


@pytest.fixture(scope='module')
def shipped():
    path = find_model(DEFAULT_MODEL)
    return onnx.load(str(path)), read_spec(path)


def test_the_shipped_network_in_half_precision_gives_the_same_depth(shipped):
    model, spec = shipped
    image = RNG.standard_normal(spec.input_shape, np.float32)
    pairs = list(zip(run(model, image), run(to_fp16(model), image), strict=True))
    assert len(pairs) == 2  # depth and confidence
    for before, after in pairs:
        assert after.dtype == np.float32
        # log of metres: 0.005 is half a percent
        assert 0 < np.abs(after - before).max() < 5e-3


def test_every_convolution_computes_in_half_precision(shipped):
    half = to_fp16(shipped[0])
    kinds = types(half)
    outputs = [node.output[0] for node in half.graph.node if node.op_type == 'Conv']
    assert len(outputs) == 25
    assert {kinds[name] for name in outputs} == {HALF}
    assert len(half.SerializeToString()) < 0.52 * len(shipped[0].SerializeToString())


def test_the_layers_that_are_named_stay_in_float32(shipped):
    model = named(shipped[0])
    keep = layers_named(model, ['node_Conv_21*', 'MaxPool'])
    mixed = to_fp16(model, keep)
    kinds = types(mixed)
    for node in mixed.graph.node:
        if node.op_type in ('Conv', 'MaxPool'):
            wanted = TensorProto.FLOAT if node.name in keep else HALF
            output = node.output[0] if node.output[0] != 'depth' else 'depth_fp16'
            assert kinds[output] == wanted, node.name
    run(mixed, np.zeros(shipped[1].input_shape, np.float32))


def test_a_layer_that_does_not_exist_names_the_nearest(shipped):
    with pytest.raises(ModelError, match="'node_Conv_21'; did you mean 'node_Conv_21[0-9]'"):
        layers_named(named(shipped[0]), ['node_Conv_21'])


def test_each_output_has_a_head_of_its_own():
    nodes = [helper.make_node('Conv', ['image', 'w'], ['a'], 'first'),
             helper.make_node('Conv', ['a', 'w'], ['b'], 'far'),
             helper.make_node('Exp', ['b'], ['depth']),
             helper.make_node('Conv', ['a', 'w'], ['c'], 'sure'),
             helper.make_node('Neg', ['c'], ['d']),
             helper.make_node('Abs', ['d'], ['confidence'])]
    model = graph(nodes, {'w': np.full((3, 3, 1, 1), 0.1, np.float32)})
    model.graph.output.append(helper.make_tensor_value_info('confidence', TensorProto.FLOAT, ANY))
    assert head_layers(model) == {'far', 'sure', ''}  # three nodes have no name


def test_mixed_keeps_sums_and_the_head():
    nodes = [helper.make_node('Conv', ['image', 'w'], ['a'], 'first'),
             helper.make_node('Softmax', ['a'], ['b'], 'soft'),
             helper.make_node('Conv', ['b', 'w'], ['c'], 'middle'),
             helper.make_node('Relu', ['c'], ['d'], 'relu'),
             helper.make_node('Conv', ['d', 'w'], ['e'], 'last'),
             helper.make_node('Exp', ['e'], ['depth'], 'unit')]
    model = graph(nodes, {'w': np.full((3, 3, 1, 1), 0.1, np.float32)})
    assert mixed_layers(model) == {'soft', 'last', 'unit'}
    image = RNG.random((1, 3, 8, 8), np.float32)
    np.testing.assert_allclose(run(to_fp16(model, mixed_layers(model)), image)[0],
                               run(model, image)[0], rtol=2e-3)


def test_weights_beyond_half_precision_stay_in_float32():
    nodes = [helper.make_node('Mul', ['image', 'large'], ['a'], 'up'),
             helper.make_node('Mul', ['a', 'small'], ['depth'], 'down')]
    model = graph(nodes, {'large': np.float32(1e6), 'small': np.float32(1e-3)})
    half = to_fp16(model, ['down'])
    image = np.ones((1, 3, 8, 8), np.float32)
    np.testing.assert_allclose(run(half, image)[0], 1000.0)
    assert types(half)['a'] == TensorProto.FLOAT


def test_constants_casts_shapes_and_sub_graphs_survive():
    """A network with what exporters write between the layers."""
    then = helper.make_graph(
        [helper.make_node('Mul', ['c', 'c'], ['t'])], 'then', [],
        [helper.make_tensor_value_info('t', TensorProto.FLOAT, ANY)])
    other = helper.make_graph(
        [helper.make_node('Identity', ['c'], ['o'])], 'else', [],
        [helper.make_tensor_value_info('o', TensorProto.FLOAT, ANY)])
    two = numpy_helper.from_array(np.float32(2))
    nodes = [helper.make_node('Constant', [], ['two'], value=two),
             helper.make_node('Mul', ['image', 'two'], ['a']),
             helper.make_node('Shape', ['a'], ['shape']),
             helper.make_node('Cast', ['shape'], ['shape_f'], to=TensorProto.FLOAT),
             helper.make_node('ReduceMax', ['shape_f'], ['eight'], keepdims=0),
             helper.make_node('Div', ['a', 'eight'], ['b']),
             helper.make_node('Resize', ['b', '', 'scales'], ['c'], mode='nearest'),
             helper.make_node('Greater', ['eight', 'limit'], ['is_large']),
             helper.make_node('If', ['is_large'], ['depth'], then_branch=then, else_branch=other)]
    model = graph(nodes, {'scales': np.array([1, 1, 2, 2], np.float32),
                          'limit': np.float32(7)})
    image = RNG.random((1, 3, 8, 8), np.float32)
    np.testing.assert_allclose(run(to_fp16(model), image)[0], run(model, image)[0], rtol=5e-3)


def test_an_output_that_is_used_inside_as_well_stays_right():
    nodes = [helper.make_node('Relu', ['image'], ['a']), helper.make_node('Neg', ['a'], ['depth']),
             helper.make_node('Mul', ['depth', 'a'], ['second'])]
    model = graph(nodes)
    model.graph.output.add().CopyFrom(
        helper.make_tensor_value_info('second', TensorProto.FLOAT, ANY))
    image = RNG.standard_normal((1, 3, 8, 8), np.float32)
    for before, after in zip(run(model, image), run(to_fp16(model), image)):
        np.testing.assert_allclose(after, before, rtol=3e-3, atol=1e-3)


def test_the_model_that_is_given_stays_as_it_is(make_model):
    model = onnx.load(str(Path(make_model())))
    before = model.SerializeToString()
    to_fp16(model)
    assert model.SerializeToString() == before
