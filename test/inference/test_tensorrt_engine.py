"""The runner's bookkeeping, against a stand-in driver and runtime (stand_in_gpu.py).

What is shown: addresses, sizes, order, reuse, errors. What is not: that a GPU computes anything.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
import runpy
from types import SimpleNamespace

import numpy as np
import pytest

from depth_perception.inference import BackendError
from depth_perception.inference.cuda_device import (
    CudaDevice,
    GpuLostError,
    GpuMemoryError,
)
from depth_perception.inference.tensorrt_engine import TensorRtEngine
from depth_perception.model_contract import ModelSpec
from depth_perception.preprocessing import ImageError

stand_in = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name('stand_in_gpu.py'))))

MODEL = ModelSpec(name='test', architecture='by hand', input_height=8, input_width=12,
                  output_kind='metric', canonical_focal_px=None, depth_range=(0.1, 10.0),
                  training_data='none', licence='none')
FIXED = (1, 3, 8, 12)
RNG = np.random.default_rng(0)


def doubled(x):
    """Depth: twice the mean of the channels."""
    return [2 * x.mean(1, keepdims=True)]


def doubled_image(x):
    return [2 * x.astype(np.float32).mean(3)[:, None]]


def make(driver=None, network=doubled, image=FIXED, outputs=('depth',), spec=MODEL, **options):
    driver = driver or stand_in.StandInDriver()
    api = stand_in.StandInTensorRt(driver, network, image, outputs, **options)
    engine = TensorRtEngine(b'engine', spec, api, CudaDevice(driver))
    return engine, driver, api


def tensor(*shape):
    return RNG.random(shape, np.float32)


def test_a_frame_goes_through_the_device_and_comes_back():
    engine, _, _ = make()
    image = tensor(*FIXED)
    depth, confidence = engine.infer(image)
    np.testing.assert_allclose(depth, 2 * image[0].mean(0), rtol=1e-6)
    assert confidence is None
    assert engine.backend == 'stand-in 0 on Stand-in sm_87'


def test_confidence_comes_with_the_depth():
    spec = replace(MODEL, confidence=True)
    engine, _, _ = make(network=lambda x: [x[:, :1], x[:, 1:2]], outputs=('depth', 'confidence'),
                        spec=spec)
    image = tensor(*FIXED)
    depth, confidence = engine.infer(image)
    np.testing.assert_array_equal(depth, image[0, 0])
    np.testing.assert_array_equal(confidence, image[0, 1])


def test_after_the_first_frame_nothing_is_allocated_and_a_frame_is_one_launch():
    engine, driver, _ = make()
    driver.calls.clear()
    for _ in range(3):
        engine.infer(tensor(*FIXED))
    assert driver.calls == 3 * ['cudaSetDevice', 'cudaGraphLaunch', 'cudaStreamSynchronize']


def test_on_shared_memory_nothing_is_copied():
    driver = stand_in.StandInDriver(integrated=True)
    engine, _, _ = make(driver)
    image = tensor(*FIXED)
    np.testing.assert_allclose(engine.infer(image)[0], 2 * image[0].mean(0), rtol=1e-6)
    assert not {'cudaMemcpyAsync', 'cudaMalloc'} & set(driver.calls)
    engine.close()
    assert driver.leaks() == []


@pytest.mark.parametrize('way', ['not capturable', 'cudaStreamBeginCapture',
                                 'cudaMemcpyAsync', 'cudaGraphInstantiate'])
def test_an_engine_that_cannot_be_recorded_runs_without_a_graph(way):
    driver = stand_in.StandInDriver()
    if way == 'cudaMemcpyAsync':    # only while a graph is recorded
        plain = driver.cudaMemcpyAsync
        driver.cudaMemcpyAsync = lambda *a: (900,) if driver.capturing else plain(*a)
    elif way.startswith('cuda'):
        driver.fail[way] = 901
    engine, _, _ = make(driver, capturable=way != 'not capturable')
    image = tensor(*FIXED)
    np.testing.assert_allclose(engine.infer(image)[0], 2 * image[0].mean(0), rtol=1e-6)
    assert 'cudaGraphLaunch' not in driver.calls
    engine.close()
    assert driver.leaks() == []


def test_another_size_gets_its_own_buffers_and_the_old_ones_go():
    limits = ((1, 3, 4, 4), FIXED, (1, 3, 32, 32))
    engine, driver, _ = make(image=(1, 3, -1, -1), limits=limits)
    small = driver.used()
    for size in ((16, 24), (4, 4), (8, 12)):
        image = tensor(1, 3, *size)
        np.testing.assert_allclose(engine.infer(image)[0], 2 * image[0].mean(0), rtol=1e-6)
    assert driver.used() == small
    assert len(driver.executables) == 1 and not driver.graphs
    with pytest.raises(ImageError, match='outside of the sizes'):
        engine.infer(tensor(1, 3, 64, 64))
    image = tensor(*FIXED)
    np.testing.assert_allclose(engine.infer(image)[0], 2 * image[0].mean(0), rtol=1e-6)


def test_closing_gives_everything_back_and_may_be_repeated():
    engine, driver, _ = make()
    engine.infer(tensor(*FIXED))
    engine.close()
    engine.close()
    assert driver.leaks() == []


def test_several_cameras_go_as_one_batch():
    engine, driver, _ = make(image=(3, 3, 8, 12))
    images = [tensor(*FIXED) for _ in range(3)]
    driver.calls.clear()
    for image, (depth, _) in zip(images, engine.infer_batch(images)):
        np.testing.assert_allclose(depth, 2 * image[0].mean(0), rtol=1e-6)
    assert driver.calls.count('cudaGraphLaunch') == 1
    assert engine.batch == 3
    (depth, _), = engine.infer_batch(images[1:2])       # one camera is late: the others go
    np.testing.assert_allclose(depth, 2 * images[1][0].mean(0), rtol=1e-6)
    with pytest.raises(ImageError, match='takes 1 to 3'):
        engine.infer_batch(images + images)


def test_an_engine_with_the_camera_image_as_input_takes_it_as_it_is():
    engine, _, _ = make(network=doubled_image, image=(2, 8, 12, 3), dtype=stand_in.UINT8)
    assert (engine.image_size, engine.image_order, engine.batch) == ((8, 12), 'bgr', 2)
    pictures = [RNG.integers(0, 256, (8, 12, 3), np.uint8) for _ in range(2)]
    for picture, (depth, _) in zip(pictures, engine.infer_batch(pictures)):
        np.testing.assert_allclose(depth, 2 * picture.mean(2), rtol=1e-6)
    with pytest.raises(ImageError, match=r'takes \[8, 12, 3\], uint8'):
        engine.infer(tensor(*FIXED))


def test_a_focus_stack_brings_its_distances():
    spec = replace(MODEL, frames=2, extra_inputs=('focus_distances',))
    engine, driver, api = make(
        network=lambda x, d: [(x.mean(2) * d[..., None, None]).sum(1, keepdims=True)],
        image=(1, 2, 3, 8, 12), spec=spec, extra={'focus_distances': (1, 2)})
    stack, distances = tensor(1, 2, 3, 8, 12), np.array([[1.0, 3.0]], np.float32)
    depth, _ = engine.infer(stack, focus_distances=distances)
    np.testing.assert_allclose(depth, stack[0, 0].mean(0) + 3 * stack[0, 1].mean(0), rtol=1e-5)
    with pytest.raises(ImageError, match='takes image, focus_distances'):
        engine.infer(stack)
    with pytest.raises(ImageError, match=r'takes \[1, 2\], float32'):
        engine.infer(stack, focus_distances=distances[:, :1])
    engine.close()
    assert driver.leaks() == []


@pytest.mark.parametrize('image', [np.zeros((1, 3, 8, 13), np.float32), np.zeros(FIXED),
                                   np.zeros((2, 3, 8, 12), np.float32),
                                   np.zeros((3, 8, 12), np.float32)])
def test_an_input_of_the_wrong_shape_or_type_is_refused(image):
    engine, driver, _ = make()
    driver.calls.clear()
    with pytest.raises(ImageError, match=r'this engine takes \[1, 3, 8, 12\], float32'):
        engine.infer(image)
    assert driver.calls == []


@pytest.mark.parametrize('blob', [b'', b'engin', b'of another GPU'])
def test_an_engine_that_does_not_load_says_so_and_leaves_nothing(blob):
    driver = stand_in.StandInDriver()
    api = stand_in.StandInTensorRt(driver, doubled, FIXED, ('depth',))
    with pytest.raises(BackendError, match='cut off or was built for another GPU or version'):
        TensorRtEngine(blob, MODEL, api, CudaDevice(driver))
    assert driver.leaks() == []


def test_an_engine_of_another_model_is_refused():
    with pytest.raises(BackendError, match='belongs to another model'):
        make(outputs=('disparity',))


def test_too_little_memory_at_load_leaves_nothing_behind():
    driver = stand_in.StandInDriver(memory=1000)
    with pytest.raises(GpuMemoryError, match='memory of the GPU does not suffice'):
        make(driver)
    assert driver.leaks() == []


def test_too_little_memory_for_a_larger_image_leaves_the_smaller_ones_working():
    limits = ((1, 3, 4, 4), FIXED, (1, 3, 64, 64))
    driver = stand_in.StandInDriver(memory=8000)
    engine, _, _ = make(driver, image=(1, 3, -1, -1), limits=limits)
    with pytest.raises(GpuMemoryError, match='smaller model or input size'):
        engine.infer(tensor(1, 3, 64, 64))
    image = tensor(*FIXED)
    np.testing.assert_allclose(engine.infer(image)[0], 2 * image[0].mean(0), rtol=1e-6)


@pytest.mark.parametrize('code', [46, 100, 214, 700, 719, 999])
def test_a_gpu_lost_in_flight_is_an_error_of_its_own_and_closing_works(code, caplog):
    engine, driver, _ = make()
    driver.sticky = code        # each call fails from now on
    with pytest.raises(GpuLostError, match=f'the GPU is lost .* code {code}'):
        engine.infer(tensor(*FIXED))
    engine.close()
    assert 'the GPU is lost' in caplog.text
    assert issubclass(GpuLostError, BackendError)   # what a node catches to go on elsewhere


def test_a_run_that_the_engine_refuses_says_why():
    engine, driver, api = make(capturable=False)
    api.refuses = True
    with pytest.raises(BackendError, match='as the stand-in says'):
        engine.infer(tensor(*FIXED))


def test_an_error_of_the_driver_that_passes_is_no_lost_gpu():
    engine, driver, _ = make()
    driver.fail['cudaGraphLaunch'] = 1
    with pytest.raises(BackendError, match='CUDA refuses cudaGraphLaunch') as caught:
        engine.infer(tensor(*FIXED))
    assert not isinstance(caught.value, GpuLostError)
    driver.fail.clear()
    engine.infer(tensor(*FIXED))


def test_a_gpu_that_does_not_exist_is_named():
    with pytest.raises(BackendError, match='GPU 3 is asked for; CUDA sees 1'):
        CudaDevice(stand_in.StandInDriver(), 3)


def test_the_stand_in_has_the_functions_that_the_real_bindings_have():
    runtime = pytest.importorskip('cuda.bindings.runtime')
    names = [name for name in vars(stand_in.StandInDriver) if name.startswith('cuda')]
    assert len(names) > 20
    assert [name for name in names if not hasattr(runtime, name)] == []
    for enum in ('cudaMemcpyKind', 'cudaStreamCaptureMode'):
        mine, real = getattr(stand_in.StandInDriver, enum), getattr(runtime, enum)
        assert {member.name for member in mine} <= {member.name for member in real}
