"""The ONNX Runtime engine on tiny models whose answer is known by hand."""

from __future__ import annotations

import math
import os
from pathlib import Path
import subprocess
import sys
import threading

import numpy as np
import onnx
from onnx import TensorProto, helper
import onnxruntime
import pytest

from depth_perception.estimator import DepthEstimator
from depth_perception.geometry import Intrinsics
from depth_perception.inference import BackendError, load
from depth_perception.model_spec import ModelError, read_spec, write_spec
from depth_perception.preprocessing import ImageError

GREY = np.full((1, 3, 48, 64), 0.25, np.float32)


def image(width, height, grey=128):
    return np.full((height, width, 3), grey, np.uint8)


def test_the_network_is_run(make_model):
    engine = load(str(make_model(depth=1.0, brightness=4.0)), backend='cpu')
    depth, confidence = engine.infer(GREY)
    assert depth.shape == (48, 64)
    np.testing.assert_allclose(depth, 1.0 + 4.0 * 0.25, rtol=1e-6)
    assert confidence is None


def test_the_second_output_is_the_confidence(make_model):
    _, confidence = load(str(make_model(confidence=0.75))).infer(GREY)
    np.testing.assert_array_equal(confidence, np.full((48, 64), 0.75))


def test_outputs_are_written_into_the_same_arrays(make_model):
    engine = load(str(make_model(brightness=1.0, confidence=0.5)))
    first = engine.infer(GREY)
    kept = first[0].copy()
    second = engine.infer(2 * GREY)
    assert np.shares_memory(first[0], second[0])
    np.testing.assert_allclose(second[0] - kept, 0.25, rtol=1e-6)


def test_a_free_size_follows_the_image(make_model):
    engine = load(str(make_model(size_multiple=16, brightness=1.0, depth=0.0)))
    for height, width in ((48, 64), (32, 96), (48, 64)):
        depth, _ = engine.infer(np.full((1, 3, height, width), 0.5, np.float32))
        np.testing.assert_allclose(depth, np.full((height, width), 0.5), rtol=1e-6)


@pytest.mark.parametrize(('multiple', 'shape', 'message'), [
    (0, (1, 3, 48, 80), r'\[1, 3, 48, 80\]; model test takes \[1, 3, 48, 64\]'),
    (16, (1, 3, 48, 72), 'takes .* with h and w multiples of 16'),
    (16, (1, 4, 48, 64), 'takes '),
    (16, (1, 3, 0, 64), 'takes '),
])
def test_a_size_that_the_model_does_not_take_is_refused(make_model, multiple, shape, message):
    engine = load(str(make_model(size_multiple=multiple)))
    with pytest.raises(ImageError, match=message):
        engine.infer(np.zeros(shape, np.float32))
    assert (engine.infer(GREY)[0] == 2.0).all()


def focus_stack(sharp, count=3):
    """Noise in one slice, grey in the others; focus at 1, 2, 3... m."""
    stack = np.full((1, count, 3, 48, 64), 0.5, np.float32)
    stack[0, sharp] += np.random.default_rng(0).uniform(-0.5, 0.5, (48, 64)).astype(np.float32)
    return stack, np.arange(1, count + 1, dtype=np.float32)[None]


@pytest.mark.parametrize('sharp', [0, 1, 2])
def test_a_focus_stack_is_run_with_its_focus_distances(make_model, sharp):
    engine = load(str(make_model(frames=3)), backend='cpu')
    stack, distances = focus_stack(sharp)
    depth, _ = engine.infer(stack, focus_distances=distances)
    np.testing.assert_allclose(depth, np.full((48, 64), sharp + 1.0), rtol=1e-6)


def test_stacks_of_several_sizes_are_run_in_turn(make_model):
    engine = load(str(make_model(frames=3, frames_range=(2, 5))), backend='cpu')
    for count in (2, 5, 3):
        stack, distances = focus_stack(count - 1, count)
        depth, _ = engine.infer(stack, focus_distances=distances)
        np.testing.assert_allclose(depth, np.full((48, 64), float(count)), rtol=1e-6)
    with pytest.raises(ImageError, match=r"takes \[1, '2..5', 3, 48, 64\]"):
        engine.infer(*focus_stack(0, 6)[:1], focus_distances=np.ones((1, 6), np.float32))


@pytest.mark.parametrize('extra', [
    {}, {'focus_distances': np.ones((1, 2), np.float32)},
    {'f_number': np.ones((1, 3), np.float32)},
])
def test_missing_or_wrong_extra_inputs_are_refused(make_model, extra):
    engine = load(str(make_model(frames=3)), backend='cpu')
    stack, distances = focus_stack(1)
    with pytest.raises(ImageError, match=r'takes focus_distances of shape \[1, 3\]'):
        engine.infer(stack, **extra)
    assert (engine.infer(stack, focus_distances=distances)[0] == 2.0).all()


def test_the_backend_is_named(make_model):
    assert load(str(make_model()), backend='cpu').backend == 'onnxruntime CPUExecutionProvider'


@pytest.mark.skipif('CUDAExecutionProvider' in onnxruntime.get_available_providers(),
                    reason='this ONNX Runtime has CUDA')
def test_without_cuda_auto_takes_the_cpu_and_cuda_says_what_to_install(make_model):
    path = str(make_model())
    assert load(path, backend='auto').backend == 'onnxruntime CPUExecutionProvider'
    with pytest.raises(BackendError, match='only .*CPUExecutionProvider; install onnxruntime-gpu'):
        load(path, backend='cuda')


@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu(make_model):
    path = str(make_model(depth=1.0, brightness=4.0, confidence=0.5))
    engine = load(path, backend='cuda')
    assert engine.backend == 'onnxruntime CUDAExecutionProvider'
    for x in (GREY, 3 * GREY):
        for cuda, cpu in zip(engine.infer(x), load(path, backend='cpu').infer(x)):
            np.testing.assert_allclose(cuda, cpu, rtol=1e-5)


@pytest.mark.parametrize(('options', 'message'), [
    ({'backend': 'tpu'}, "backend is 'tpu'; it must be one of auto, cpu, cuda"),
    ({'threads': -1}, 'threads is -1; it must be 0'),
])
def test_an_impossible_option_is_refused(make_model, options, message):
    with pytest.raises(BackendError, match=message):
        load(str(make_model()), **options)


def test_nothing_is_kept_of_how_a_model_is_used(make_model, tmp_path):
    env = {key: value for key, value in os.environ.items() if key != 'ORT_DISABLE_TELEMETRY'}
    subprocess.run(
        [sys.executable, '-c', 'import sys; from depth_perception.inference import load; '
         'load(sys.argv[1], backend="cpu").close()', str(make_model())], check=True,
        env={**env, 'XDG_CACHE_HOME': str(tmp_path), 'HOME': str(tmp_path)},
        cwd=Path(__file__).parents[2])
    assert list(tmp_path.rglob('*')) == []


def test_an_unknown_model_is_refused():
    with pytest.raises(ModelError, match="no model is called 'no_such_model'"):
        load('no_such_model')


def save_network(path, node):
    """Save a network of one node from image to depth, with a contract."""
    spec = read_spec(path)
    graph = helper.make_graph(
        [node], 'g', [helper.make_tensor_value_info('image', TensorProto.FLOAT, (1, 3, 48, 64))],
        [helper.make_tensor_value_info('depth', TensorProto.FLOAT, (1, 1, 48, 64))])
    opsets = [helper.make_opsetid('', 17), helper.make_opsetid('nowhere', 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    write_spec(path, spec)


@pytest.mark.parametrize(('node', 'message'), [
    (helper.make_node('Magic', ['image'], ['depth'], domain='nowhere'), 'refuses it'),
    (helper.make_node('Relu', ['nothing'], ['depth']), 'refuses it'),
])
def test_a_network_that_the_backend_cannot_run_is_refused(make_model, node, message):
    path = make_model()
    save_network(path, node)
    with pytest.raises(BackendError, match=f'model.onnx: ONNX Runtime {message}'):
        load(str(path))


@pytest.mark.skipif(not Path('/proc/self/task').is_dir(), reason='counts threads through /proc')
def test_threads_are_as_many_as_asked_for(make_model):
    def started_by(threads):
        before = len(list(Path('/proc/self/task').iterdir()))
        engine = load(str(make_model()), backend='cpu', threads=threads)
        started = len(list(Path('/proc/self/task').iterdir())) - before
        engine.close()
        return started
    assert [started_by(threads) for threads in (1, 2, 4)] == [0, 1, 3]  # the caller is one, too


def test_other_threads_run_during_an_inference(make_model):
    engine = load(str(make_model(work=300)), backend='cpu', threads=1)
    started, done, turns = threading.Event(), threading.Event(), 0

    def infer():
        started.set()
        engine.infer(GREY)
        done.set()

    thread = threading.Thread(target=infer)
    thread.start()
    started.wait()
    while not done.wait(0.001):
        turns += 1
    thread.join()
    assert turns > 3


def test_nan_of_the_model_arrives_as_nan(make_model):
    depth, _ = load(str(make_model(nan='dark'))).infer(
        np.where(np.arange(64) < 32, np.float32(0.2), np.float32(0.8)) * np.ones_like(GREY))
    assert np.isnan(depth[:, :32]).all()
    assert (depth[:, 32:] == 2.0).all()


# The whole pure path on a real ONNX file


def test_metres_scale_with_the_focal_length_and_not_with_the_image_size(make_model):
    path = make_model('log', depth=math.log(2.0), size_multiple=16, canonical_focal_px=50.0)
    estimate = DepthEstimator(load(str(path)))
    for width in (64, 128, 640):
        wide = Intrinsics.from_hfov(width, width * 3 // 4, 90)
        tele = Intrinsics(width, width * 3 // 4, 3 * wide.fx, 3 * wide.fy, wide.cx, wide.cy)
        picture = image(width, width * 3 // 4)
        # 64 px wide at the network, 90 degrees: a focal length of 32 px
        np.testing.assert_allclose(estimate(picture, wide).depth, 2.0 * 32 / 50, rtol=1e-5)
        np.testing.assert_allclose(estimate(picture, tele).depth, 2.0 * 96 / 50, rtol=1e-5)


def test_pixels_that_become_nan_are_counted(make_model):
    estimate = DepthEstimator(load(str(make_model(nan='all'))))
    result = estimate(image(64, 48), Intrinsics.from_hfov(64, 48, 90))
    assert result.nonfinite == 48 * 64
    assert np.isnan(result.depth).all()
