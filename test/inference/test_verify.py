"""Verification by real ONNX Runtime sessions on sound and on corrupted copies of the model."""

from __future__ import annotations

from dataclasses import replace
import json
import math
import re

import numpy as np
import onnx
from onnx import helper, numpy_helper
import onnxruntime as ort
import pytest

from depth_perception.inference import BackendError, load
from depth_perception.inference.onnx_engine import OnnxEngine
from depth_perception.inference.precision import mixed_layers, named, to_fp16
from depth_perception.inference.verify import (
    FALL_BACK,
    PICTURES,
    Verdict,
    verification_pictures,
    verify,
    version_warnings,
)
from depth_perception.model_spec import DEFAULT_MODEL, find_model, read_spec

PATH = find_model(DEFAULT_MODEL)
SPEC = read_spec(PATH)


@pytest.fixture(scope='module')
def reference():
    return load(str(PATH), backend='cpu', threads=1)


@pytest.fixture
def model():
    return named(onnx.load(str(PATH)))


def engine(model, spec=SPEC):
    return OnnxEngine(model.SerializeToString(), spec, backend='cpu', threads=1)


class LayerByLayer:
    """A network in FP16 with every tensor rounded to it: each layer is a session of its own.

    A session of the whole network would not do: on a CPU ONNX Runtime computes it in FP32 and
    drops the casts between layers, so that nothing overflows.
    """

    spec, backend = SPEC, 'onnxruntime, layer by layer'

    def __init__(self, model):
        inferred = onnx.shape_inference.infer_shapes(model).graph
        values = (*inferred.value_info, *inferred.input, *inferred.output)
        self._types = {value.name: value.type.tensor_type.elem_type for value in values}
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self._layers = [self._layer(model, node) for node in model.graph.node]

    def _layer(self, model, node):
        inputs = [name for name in node.input if name and name not in self._weights]
        weights = [self._weights[name] for name in node.input if name in self._weights]
        infos = [[helper.make_tensor_value_info(name, self._types[name], None) for name in names]
                 for names in (inputs, node.output)]
        graph = helper.make_graph([node], 'layer', *infos, weights)
        one = helper.make_model(graph, opset_imports=model.opset_import,
                                ir_version=model.ir_version)
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        return ort.InferenceSession(one.SerializeToString(), options,
                                    providers=['CPUExecutionProvider']), inputs, node.output

    def infer(self, image):
        values = {'image': image}
        for session, inputs, outputs in self._layers:
            answers = session.run(list(outputs), {name: values[name] for name in inputs})
            values.update(zip(outputs, answers))
        return values['depth'][0, 0], values['confidence'][0, 0]


def half(model, keep=()):
    return LayerByLayer(to_fp16(model, keep))


def convolutions(model):
    return [node for node in model.graph.node if node.op_type == 'Conv']


def head(model):
    """Which convolution gives depth; others after it say how sure the network is."""
    return [node.input[1] for node in convolutions(model)].index('network.head.weight')


def change(model, name, edit):
    """Replace the weight called `name` by what `edit` makes of it."""
    [tensor] = [tensor for tensor in model.graph.initializer if tensor.name == name]
    values = edit(numpy_helper.to_array(tensor).copy()).astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(values, name))


def one_weight_five_percent_up(model):
    # The largest of the first layer: it is seen by every pixel. Most other single weights move
    # the depth by less than FP16 does.
    def edit(weight):
        weight.flat[np.argmax(np.abs(weight))] *= 1.05
        return weight
    change(model, convolutions(model)[0].input[1], edit)
    return model


def one_channel_zeroed(model):
    def edit(weight):
        weight[np.argmax(np.abs(weight).sum((1, 2, 3)))] = 0
        return weight
    change(model, convolutions(model)[0].input[1], edit)
    return model


def overflowing_in_fp16(model):
    # The same network in FP32: a layer scaled up to the largest weights that FP16 has, the next
    # one down. ReLU between them lets the scale through.
    scaled, following = convolutions(model)[head(model) - 2:head(model)]
    [weight] = [t for t in model.graph.initializer if t.name == scaled.input[1]]
    factor = 6e4 / np.abs(numpy_helper.to_array(weight)).max()
    for name in scaled.input[1:3]:
        change(model, name, lambda w: w * factor)
    change(model, following.input[1], lambda w: w / factor)
    return model


def red_and_blue_swapped(model):
    change(model, convolutions(model)[0].input[1], lambda weight: weight[:, ::-1])
    return model


def three_percent_too_far(model):
    change(model, convolutions(model)[head(model)].input[2], lambda bias: bias + math.log(1.03))
    return model


def nan_in_one_pixel(model):
    [last] = [node for node in model.graph.node if 'depth' in node.output]
    last.output[0] = 'sound'
    model.graph.initializer.extend([
        numpy_helper.from_array(np.array([[0, 0, 20, 30]]), 'where'),
        numpy_helper.from_array(np.array([np.nan], np.float32), 'what')])
    model.graph.node.append(helper.make_node(
        'ScatterND', ['sound', 'where', 'what'], ['depth']))
    return model


@pytest.mark.parametrize(('corrupt', 'reason'), [
    (lambda model: engine(one_weight_five_percent_up(model)), 'p99 of'),
    (lambda model: engine(one_channel_zeroed(model)), 'p99 of'),
    (lambda model: half(overflowing_in_fp16(model)), 'pixels are NaN, infinite'),
    (lambda model: engine(red_and_blue_swapped(model)), 'median of'),
    (lambda model: engine(three_percent_too_far(model)), r'drift of 3 % \(allowed 0.5 %\)'),
    (lambda model: engine(nan_in_one_pixel(model)), 'photo_cat: 1 pixels are NaN'),
], ids=['weight', 'channel', 'overflow', 'red and blue', 'drift', 'nan'])
def test_a_corrupted_copy_of_the_shipped_model_is_refused(model, reference, corrupt, reason):
    verdict = verify(corrupt(model), reference, 'fp16')
    assert not verdict.accepted
    assert re.search(reason, '; '.join(verdict.reasons)), verdict.reasons


def test_the_overflow_is_one_of_fp16_alone(model, reference):
    verdict = verify(engine(overflowing_in_fp16(model)), reference, 'fp32')
    assert verdict.accepted and verdict.worst['p99'] < 1e-4


@pytest.mark.parametrize('convert', [
    engine, half, lambda model: half(model, mixed_layers(model))], ids=['fp32', 'fp16', 'mixed'])
def test_a_true_conversion_is_accepted_with_room_to_spare(model, reference, convert):
    verdict = verify(convert(model), reference, 'fp16')
    assert verdict.accepted, verdict.reasons
    assert verdict.worst['drift'] < 0.0025 and verdict.worst['p99'] < 0.01


def test_fp16_is_really_rounded_here(model, reference):
    # Or the tests above would prove nothing.
    # 70000 is infinite in FP16, 1 + 2^-11 is 1.
    images = [np.full(SPEC.input_shape, value, np.float32) for value in (7e4, 1 + 2**-11, 1)]
    wide, odd, even = (half(model).infer(image)[0] for image in images)
    assert not np.isfinite(wide).all()
    np.testing.assert_array_equal(odd, even)


def test_each_picture_counts_and_the_first_comes_again(reference):
    verdict = verify(reference, reference, 'fp32')
    names = [row.picture for row in verdict.comparisons]
    assert len([name for name in names if name.startswith('photo')]) >= 3
    assert {'noise', 'coarse noise'} < set(names)
    assert names[-1] == f'{names[0]} again'


def test_the_stored_pictures_are_small(reference):
    assert sum(file.stat().st_size for file in PICTURES.iterdir()) < 1_000_000
    for picture in verification_pictures(SPEC):
        assert picture.image.shape == SPEC.input_shape and picture.image.dtype == np.float32


class Remembering:
    """Gives other depth from the tenth call on."""

    def __init__(self, engine):
        self._engine, self.spec, self.backend = engine, engine.spec, 'remembering'
        self._calls = 0

    def infer(self, image):
        depth, confidence = self._engine.infer(image)
        self._calls += 1
        if self._calls > 9:
            depth = depth * np.float32(1.5)
        return depth, confidence


def test_an_engine_that_changes_with_time_is_refused(reference):
    verdict = verify(Remembering(reference), reference, 'fp32')
    assert [row.picture for row in verdict.comparisons if row.median > 0.005] == [
        'photo_cat again']
    assert not verdict.accepted


class Broken:
    spec, backend = SPEC, 'broken'

    def infer(self, image):
        raise BackendError('the device is lost')


def test_an_engine_that_does_not_run_is_refused_with_its_words(reference):
    verdict = verify(Broken(), reference, 'fp16')
    assert verdict.reasons == ('photo_cat: the device is lost',)


@pytest.mark.parametrize('kind', ['metric', 'inverse', 'log', 'relative'])
def test_every_kind_of_output_is_judged_by_what_a_robot_gets(make_model, kind):
    right = load(str(make_model(kind, depth=1.0, brightness=2.0)))
    # log: exp(1.04) / exp(1.0) is 4 % too far; the others are 4 % off themselves
    worse = {'depth': 1.04, 'brightness': 2.0} if kind == 'log' else {
        'depth': 1.04, 'brightness': 2.08}
    wrong = load(str(make_model(kind, **worse)))
    assert verify(right, right, 'fp16').accepted
    verdict = verify(wrong, right, 'fp16')
    assert verdict.worst['drift'] == pytest.approx(0.04, abs=0.002)
    assert not verdict.accepted


def test_a_relative_model_may_give_values_around_zero(make_model):
    right = load(str(make_model('relative', depth=-0.5, brightness=1.0)))
    near = load(str(make_model('relative', depth=-0.5005, brightness=1.001)))
    far = load(str(make_model('relative', depth=-0.5, brightness=-1.0)))
    assert verify(near, right, 'fp16').accepted
    assert not verify(far, right, 'fp16').accepted


def test_confidence_is_an_output_of_its_own(make_model):
    right = load(str(make_model(confidence=0.75, brightness=1.0)))
    wrong = load(str(make_model(confidence=0.70, brightness=1.0)))
    verdict = verify(wrong, right, 'fp16')
    assert not verdict.accepted
    assert 'confidence of photo_cat: error of 0.050 (allowed 0.02)' in verdict.reasons[0]


def test_an_engine_of_one_size_is_verified_at_that_size(model):
    pictures = verification_pictures(SPEC, (96, 160))
    assert {picture.image.shape for picture in pictures} == {(1, 3, 96, 160)}


def test_a_focus_stack_is_verified_with_its_distances():
    spec = replace(SPEC, frames=3, extra_inputs=('focus_distances',), depth_range=(0.5, 4.0))
    picture = verification_pictures(spec)[0]
    assert picture.image.shape == spec.input_shape
    # even steps in dioptres from 1 / 0.5 to 1 / 4: 2, 1.125, 0.25
    np.testing.assert_allclose(picture.extra['focus_distances'], [[0.5, 1 / 1.125, 4.0]],
                               rtol=1e-6)


def test_a_verdict_is_the_same_after_json(model, reference):
    verdict = verify(engine(nan_in_one_pixel(model)), reference, 'fp16', warnings=['careful'])
    assert Verdict.from_json(json.loads(json.dumps(verdict.as_json()))) == verdict
    assert 'fp16 refused: depth of photo_cat: 1 pixels' in str(verdict)
    with pytest.raises(ValueError, match='stored verdict cannot be read'):
        Verdict.from_json({'accepted': True})


@pytest.mark.parametrize(('version', 'precision', 'known'), [
    ('10.3.0', 'fp32', True), ('10.4.0', 'fp32', False), ('10.13.2', 'fp16', False),
    ('10.16.0', 'fp16', True), ('10.16.0', 'fp32', False), ('11.4.1', 'fp16', False)])
def test_versions_known_to_be_bad_are_named(version, precision, known):
    warnings = version_warnings('tensorrt', version, precision)
    assert bool(warnings) == known
    assert not version_warnings('tensorrt_rtx', version, precision)
    assert all(f'tensorrt {version} is known for' in text for text in warnings)


def test_each_precision_falls_back_to_a_finer_one():
    assert FALL_BACK['fp16'] == ('fp16', 'mixed', 'fp32')
    assert all(chain[0] == precision and chain[-1] == 'fp32'
               for precision, chain in FALL_BACK.items())
