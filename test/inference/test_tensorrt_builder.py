"""Building by TensorRT for RTX, which needs no GPU for it. Nothing built here was run."""

from __future__ import annotations

from dataclasses import replace
import os
from pathlib import Path
import runpy

import numpy as np
import onnx
from onnx import TensorProto, helper
import pytest

pytest.importorskip('tensorrt_rtx', reason='published for Linux on x86-64 alone')

from depth_perception.inference import BackendError
from depth_perception.inference.cuda_device import CudaDevice
from depth_perception.inference.engine_cache import BuildStopped
from depth_perception.inference.tensorrt_builder import TensorRtBuilder, options_for
from depth_perception.inference.tensorrt_engine import TensorRtEngine
from depth_perception.model_spec import ModelError, read_spec, write_spec

MODELS = sorted((Path(__file__).resolve().parents[2] / 'depth_perception/models').glob('*.onnx'))
NO_GPU = 'ahead of time, no GPU'


@pytest.fixture(scope='module', autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
        yield


@pytest.fixture(scope='module')
def builder(cache):
    return TensorRtBuilder('tensorrt_rtx')


def quiet(share, phase):
    return True


def build(builder, path, precision='fp32', progress=quiet, **flags):
    return builder.build(path, options_for(read_spec(path), precision, **flags), progress)


@pytest.mark.parametrize('precision', ['fp32', 'fp16', 'mixed'])
@pytest.mark.parametrize('path', MODELS, ids=lambda path: path.stem)
def test_every_shipped_model_is_parsed_and_built(builder, path, precision):
    assert len(build(builder, path, precision)) > 10_000


def test_half_precision_makes_a_smaller_engine(builder):
    path = MODELS[0]
    assert len(build(builder, path, 'fp16')) < 0.8 * len(build(builder, path))


def test_one_engine_takes_a_range_of_sizes(builder, make_model):
    path = make_model(size_multiple=16)
    options = replace(options_for(read_spec(path), 'fp32'), smallest=(16, 32), largest=(96, 128))
    assert builder.build(path, options, quiet)
    with pytest.raises(BackendError, match='fit no network input'):
        builder.build(path, replace(options, smallest=(128, 128)), quiet)


@pytest.mark.parametrize('frames_range', [(), (2, 5)])
@pytest.mark.parametrize('precision', ['fp32', 'fp16'])
def test_a_network_for_focus_stacks_is_built(builder, make_model, frames_range, precision):
    path = make_model(frames=3, frames_range=frames_range, size_multiple=16)
    options = replace(options_for(read_spec(path), precision), smallest=(16, 16),
                      largest=(96, 128))
    assert builder.build(path, options, quiet)


@pytest.mark.parametrize('flags', [{'image': '80x60'}, {'image': '64x48', 'image_order': 'bgr'},
                                   {'image': '80x60', 'batch': '3'}, {'batch': '2'}])
def test_the_camera_image_and_several_cameras_are_built_in(builder, make_model, flags):
    assert build(builder, make_model(), 'fp16', **flags)


def test_it_is_built_ahead_of_time_for_other_gpus(builder, make_model):
    assert builder.device == NO_GPU or 'sm_' in builder.device
    assert build(builder, make_model(), compute_capabilities='SM86, SM89')
    with pytest.raises(BackendError, match="'SM87'; it must be one of .*SM89"):
        build(builder, make_model(), compute_capabilities='SM87')


def test_progress_rises_from_0_to_1(builder, make_model):
    seen = []
    build(builder, make_model(), progress=lambda share, phase: not seen.append((share, phase)))
    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert shares[0] == 0.0 and shares[-1] == pytest.approx(1.0)
    assert all(phase for _, phase in seen)


def test_a_build_can_be_stopped(builder, make_model):
    with pytest.raises(BuildStopped):
        build(builder, make_model(), progress=lambda share, phase: False)


def test_ctrl_c_ends_a_build_as_such(builder, make_model):
    def interrupt(share, phase):
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        build(builder, make_model(), progress=interrupt)


def foreign_operators(path: Path) -> Path:
    """The model with two operators in front that TensorRT does not have."""
    model = onnx.load(str(path))
    for node in model.graph.node:
        node.input[:] = ['b2' if name == 'b' else name for name in node.input]
    model.graph.node.insert(1, helper.make_node('Det2', ['b'], ['b1'], domain='acme'))
    model.graph.node.insert(2, helper.make_node('Wobble', ['b1'], ['b2'], domain='acme'))
    model.opset_import.append(helper.make_opsetid('acme', 1))
    onnx.save(model, str(path))
    return path


def test_unsupported_operators_are_named(builder, make_model):
    path = foreign_operators(make_model())
    with pytest.raises(BackendError, match='lacks the operators Det2, Wobble of model.onnx'):
        build(builder, path)


def test_a_network_that_is_no_network_says_what_the_parser_found(builder, make_model):
    path = make_model(contract=False)
    model = onnx.load(str(path))
    model.graph.node[0].attribute[0].ints[:] = [7]      # an axis that does not exist
    onnx.save(model, str(path))
    write_spec(path, read_spec(make_model()))
    with pytest.raises(BackendError, match='does not take model.onnx .*axis'):
        build(builder, path)


def test_weights_outside_of_the_folder_are_refused(builder, make_model, tmp_path):
    path = make_model()
    model = onnx.load(str(path))
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField('raw_data')
    tensor.external_data.add(key='location', value='../secret')
    onnx.save(model, str(path))
    with pytest.raises(ModelError, match='outside of its folder'):
        build_unread(builder, path)


def build_unread(builder, path):
    options = options_for(read_spec(MODELS[0]), 'fp32')
    return builder.build(path, options, quiet)


def test_an_engine_needs_a_gpu_to_run(builder, make_model):
    if builder.device != NO_GPU:
        pytest.skip('there is a GPU')
    with pytest.raises(BackendError, match='no CUDA device'):
        builder.load(b'', read_spec(make_model()))


@pytest.mark.parametrize('damage', [lambda blob: blob, lambda blob: blob[:1000],
                                    lambda blob: bytes(1000)], ids=['whole', 'cut off', 'zeros'])
def test_an_engine_that_tensorrt_does_not_load_is_an_error_with_its_reason(
        builder, make_model, damage):
    """The real runtime, which finds no driver here or another device than it was built for."""
    if builder.device != NO_GPU:
        pytest.skip('there is a GPU: see test_tensorrt_gpu.py')
    blob = damage(build(builder, make_model()))
    stand_in = runpy.run_path(str(Path(__file__).with_name('stand_in_gpu.py')))
    driver = stand_in['StandInDriver']()
    with pytest.raises(BackendError, match='does not load the engine on Stand-in sm_87 .*build'):
        TensorRtEngine(blob, read_spec(MODELS[0]), builder._trt, CudaDevice(driver))
    assert driver.leaks() == []


@pytest.mark.parametrize('flags, message', [
    ({'imag': '64x48'}, "unknown build flag 'imag'; did you mean image"),
    ({'image': '64'}, 'it must be WIDTHxHEIGHT'),
    ({'image': '0x48'}, 'at least 1'),
    ({'image': '64x48', 'image_order': 'gbr'}, 'rgb, bgr'),
    ({'batch': 'two'}, 'must be a whole number'),
    ({'dla': '0'}, 'only Jetson Orin and Xavier'),
])
def test_a_wrong_flag_says_what_is_right(builder, make_model, flags, message):
    with pytest.raises(BackendError, match=message):
        build(builder, make_model(), **flags)


def test_a_batch_that_the_network_cannot_take_is_refused(builder, make_model):
    path = make_model(contract=False)
    model = onnx.load(str(path))
    shape = onnx.numpy_helper.from_array(np.array([1, 1, 48, 64]), 'one_image')
    model.graph.initializer.append(shape)
    model.graph.node[-1].op_type = 'Reshape'
    model.graph.node[-1].input.append('one_image')
    onnx.save(model, str(path))
    write_spec(path, read_spec(make_model()))
    with pytest.raises(ModelError, match='cannot take 2 images at once'):
        build(builder, path, batch='2')


@pytest.mark.filterwarnings('ignore:Use Deprecated in TensorRT-RTX')
def test_timings_are_kept_and_a_damaged_file_of_them_does_no_harm(
        builder, make_model, monkeypatch):
    # TensorRT for RTX has the calls without a use for them: under another name they are made.
    monkeypatch.setattr(builder, 'name', 'tensorrt')
    folder = Path(os.environ['XDG_CACHE_HOME']) / 'depth_perception' / 'engines'
    build(builder, make_model())
    file, = folder.glob('*.timings')
    file.write_bytes(b'damaged')
    assert build(builder, make_model())


def test_too_little_gpu_memory_for_the_build_is_said_so(builder, make_model, monkeypatch):
    # Named as a stand-in: only the text of TensorRT's log is put in its place.
    log = builder._trt.log
    monkeypatch.setattr(log, 'take_errors', lambda: 'Error Code 2: OutOfMemory (requested 5 GiB)')
    path = make_model()
    monkeypatch.setattr(builder._trt.module.Builder, 'build_serialized_network',
                        lambda self, network, config: None)
    with pytest.raises(BackendError, match='memory of the GPU does not suffice'):
        build(builder, path)
