"""What only a GPU can show: engines that run, beside ONNX Runtime in FP32 on the CPU."""

from __future__ import annotations

from dataclasses import replace
import time

import numpy as np
import pytest

from depth_perception.inference import BackendError, load
from depth_perception.inference.cuda_device import find_device
from depth_perception.inference.image_input import ImageInput
from depth_perception.inference.image_reference import ImageReference, image_pictures
from depth_perception.inference.verification_pictures import verification_pictures
from depth_perception.inference.verify import verify
from depth_perception.model_spec import DEFAULT_MODEL, find_model, read_spec

pytestmark = pytest.mark.gpu

PATH = find_model(DEFAULT_MODEL)
SPEC = read_spec(PATH)
SIZE = (SPEC.input_height, SPEC.input_width)
RNG = np.random.default_rng(0)


@pytest.fixture(scope='module')
def builder(tmp_path_factory):
    if find_device() is None:
        pytest.skip('there is no GPU')
    from depth_perception.inference.tensorrt_builder import TensorRtBuilder
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
        yield TensorRtBuilder()


@pytest.fixture(scope='module')
def reference():
    engine = load(str(PATH), backend='cpu')
    yield engine
    engine.close()


def build(builder, precision='fp16', **changes):
    from depth_perception.inference.tensorrt_builder import options_for
    flags = changes.pop('flags', {})
    options = replace(options_for(SPEC, precision, **flags), **changes)
    return builder.build(PATH, options, lambda share, phase: True)


@pytest.fixture(scope='module')
def engine(builder):
    engine = builder.load(build(builder), SPEC)
    yield engine
    engine.close()


@pytest.mark.parametrize('precision', ['fp32', 'fp16', 'mixed'])
def test_an_engine_gives_the_depth_of_onnx_runtime(builder, reference, precision):
    engine = builder.load(build(builder, precision), SPEC)
    verdict = verify(engine, reference, precision, pictures=verification_pictures(SPEC, SIZE))
    engine.close()
    assert verdict.accepted, verdict


def test_frames_go_as_a_cuda_graph_and_take_no_memory(engine, builder):
    image = RNG.standard_normal(SPEC.input_shape, np.float32)
    first = engine.infer(image)[0].copy()
    free, _ = builder._cuda.memory()
    start = time.perf_counter()
    for _ in range(200):
        depth, _ = engine.infer(image)
    assert time.perf_counter() - start < 20
    np.testing.assert_array_equal(depth, first)
    assert builder._cuda.memory()[0] == free
    assert engine._graph is not None


def test_a_free_size_runs_at_each_size(builder, reference):
    engine = builder.load(build(builder, 'fp32', smallest=(96, 128), largest=(480, 640)), SPEC)
    for size in ((96, 128), (480, 640), SIZE):
        image = RNG.standard_normal((1, 3, *size), np.float32)
        np.testing.assert_allclose(engine.infer(image)[0], reference.infer(image)[0], atol=0.01)
    engine.close()


def test_several_cameras_get_their_own_depth(builder, reference):
    engine = builder.load(build(builder, 'fp32', flags={'batch': '3'}), SPEC)
    images = [RNG.standard_normal(SPEC.input_shape, np.float32) for _ in range(3)]
    for image, (depth, _) in zip(images, engine.infer_batch(images)):
        np.testing.assert_allclose(depth, reference.infer(image)[0], atol=0.01)
    engine.close()


def test_camera_images_are_prepared_on_the_gpu(builder):
    image = ImageInput(480, 640, 'bgr')
    engine = builder.load(build(builder, flags={'image': '640x480', 'image_order': 'bgr'}), SPEC)
    on_cpu = ImageReference(PATH, SPEC, image)
    photograph = RNG.integers(0, 256, (12, 16, 3), np.uint8)
    verdict = verify(engine, on_cpu, 'fp16', pictures=image_pictures([photograph], image))
    engine.close()
    assert verdict.accepted, verdict


@pytest.mark.parametrize('damage', [lambda blob: blob[:len(blob) // 2], lambda blob: b'',
                                    lambda blob: bytes(len(blob))])
def test_a_damaged_engine_is_an_error(builder, damage):
    with pytest.raises(BackendError, match='build it anew'):
        builder.load(damage(build(builder)), SPEC)
