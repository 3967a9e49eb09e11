"""The folded network on ONNX Runtime, against the host's preprocessing and the plain network."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
import onnxruntime as ort
import pytest

from depth_perception.inference.image_input import ImageInput, fold_image_input, set_batch
from depth_perception.model_spec import DEFAULT_MODEL, ModelError, find_model, read_spec
from depth_perception.preprocessing import Preprocessor, place

SCENE = cv2.GaussianBlur(
    np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8), (0, 0), 4)


def session(model):
    onnx.checker.check_model(model, full_check=True)
    return ort.InferenceSession(model.SerializeToString(), providers=['CPUExecutionProvider'])


@pytest.fixture(scope='module')
def shipped():
    path = find_model(DEFAULT_MODEL)
    return onnx.load(str(path)), read_spec(path)


def channel(index):
    """A network whose output is one channel of its input."""
    image, depth = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ('n', c, 'h', 'w'))
                    for name, c in (('image', 3), ('depth', 1)))
    weights = [numpy_helper.from_array(np.array([v]), name)
               for name, v in (('from', index), ('to', index + 1), ('axis', 1))]
    slice_ = helper.make_node('Slice', ['image', 'from', 'to', 'axis'], ['depth'])
    graph = helper.make_graph([slice_], 'one channel', [image], [depth], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)


@pytest.mark.parametrize('size', [(480, 640), (720, 1280), (376, 1241), (144, 192), (100, 90)])
@pytest.mark.parametrize('multiple', [0, 16])
@pytest.mark.parametrize('order', ['rgb', 'bgr'])
def test_the_network_gets_what_the_host_would_prepare(shipped, size, multiple, order):
    spec = replace(shipped[1], size_multiple=multiple)
    picture = cv2.resize(SCENE, size[::-1])
    folded = [session(fold_image_input(channel(i), spec, ImageInput(*size, order)))
              for i in range(3)]
    got = np.concatenate(
        [f.run(None, {f'image_{order}': picture[None]})[0] for f in folded], axis=1)
    wanted = Preprocessor(spec, place(*size, spec))(picture, order)
    assert got.shape == wanted.shape
    # the host rounds to whole grey values after each of at most three steps
    steps = np.abs(got - wanted) * 255 * np.float32(spec.std).reshape(1, 3, 1, 1)
    assert steps.max() < 1.6 and steps.mean() < 0.5


def test_depth_is_that_of_the_plain_network(shipped):
    model, spec = shipped
    picture = cv2.resize(SCENE, (640, 480))
    tensor = Preprocessor(spec, place(480, 640, spec))(picture)
    wanted, = session(model).run(['depth'], {'image': tensor})
    folded = fold_image_input(model, spec, ImageInput(480, 640))
    got, = session(folded).run(['depth'], {'image_rgb': picture[None]})
    assert np.abs(np.exp(got - wanted) - 1).mean() < 0.01


def test_each_camera_of_a_batch_gets_its_own_depth(shipped):
    model, spec = shipped
    pictures = np.stack([cv2.resize(SCENE, (320, 240)), np.full((240, 320, 3), 90, np.uint8)])
    one = session(fold_image_input(model, spec, ImageInput(240, 320)))
    both = session(fold_image_input(set_batch(model, 2), spec, ImageInput(240, 320)))
    got, = both.run(['depth'], {'image_rgb': pictures})
    for picture, depth in zip(pictures, got):
        alone, = one.run(['depth'], {'image_rgb': picture[None]})
        np.testing.assert_allclose(depth, alone[0], atol=1e-4)


def test_a_focus_stack_is_no_camera_image(shipped):
    spec = replace(shipped[1], frames=3)
    with pytest.raises(ModelError, match='more than one image'):
        fold_image_input(shipped[0], spec, ImageInput(48, 64))


@pytest.mark.parametrize('batch', [0, -1])
def test_a_batch_has_at_least_one_image(shipped, batch):
    with pytest.raises(ModelError, match='must be at least 1'):
        set_batch(shipped[0], batch)
