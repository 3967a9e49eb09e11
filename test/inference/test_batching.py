"""Several threads on one engine: the same depth as alone, together where told to."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import threading
import time

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
import pytest

from depth_perception.inference import BackendError, EngineSettings, make_store, serve
from depth_perception.inference.batching import Batcher, Rhythm
from depth_perception.inference.onnx_batch import OnnxBatchEngine
from depth_perception.model_spec import ModelError, read_spec
from depth_perception.preprocessing import ImageError


def picture(value, shape=(48, 64)):
    return np.full((1, 3, *shape), value, np.float32)


@pytest.fixture
def engine_of(make_model):
    opened = []

    def make(batch=4, **options):
        options = {'depth': 1.0, 'brightness': 2.0, **options}
        engine = serve(str(make_model(**options)), EngineSettings(backend='cpu', batch=batch))
        opened.append(engine)
        return engine
    yield make
    for engine in opened:
        engine.close()


# -- several images in one call ---------------------------------------------------------------

def test_each_image_of_a_batch_gets_its_own_depth_and_confidence(make_model):
    path = make_model(depth=1.0, brightness=2.0, confidence=0.25)
    engine = OnnxBatchEngine(path, read_spec(path), backend='cpu', threads=1, batch=3)
    answers = engine.infer_batch([picture(0.0), picture(0.5), picture(1.0)])
    assert [depth[0, 0] for depth, _ in answers] == [1.0, 2.0, 3.0]
    assert all(depth.shape == sure.shape == (48, 64) for depth, sure in answers)
    assert {float(sure[4, 5]) for _, sure in answers} == {0.25}
    assert engine.infer(picture(0.25))[0][0, 0] == 1.5      # a single one in between
    assert [d[0, 0] for d, _ in engine.infer_batch([picture(1.0), picture(0.5)])] == [3.0, 2.0]
    engine.close()


def test_images_of_two_shapes_or_too_many_are_refused(make_model):
    path = make_model(size_multiple=16)
    engine = OnnxBatchEngine(path, read_spec(path), backend='cpu', threads=1, batch=2)
    for images in ([picture(0.0), picture(0.0, (32, 64))], [picture(0.0)] * 3, []):
        with pytest.raises(ImageError, match='it takes 1 to 2 of one shape'):
            engine.infer_batch(images)
    engine.close()


def fixed_to_one(path):
    """Reshape in the network to a size in which one image is built in."""
    model = onnx.load(str(path))
    model.graph.initializer.append(
        numpy_helper.from_array(np.array([1, 1, 48, 64], np.int64), 'one'))
    last = model.graph.node[-1]
    last.op_type, before = 'Reshape', last.input[0]
    del last.input[:]
    last.input.extend([before, 'one'])
    onnx.save(model, str(path))


def mixed(path):
    """Subtract the mean over all images of a batch, and add that of the first: 0 for one."""
    model = onnx.load(str(path))
    last = model.graph.node[-1]
    before = last.input[0]
    nodes = [helper.make_node('ReduceMean', [before], ['all'], axes=[0, 1, 2, 3], keepdims=1),
             helper.make_node('ReduceMean', [before], ['own'], axes=[1, 2, 3], keepdims=1),
             helper.make_node('Sub', ['own', 'all'], ['off']),
             helper.make_node('Add', [before, 'off'], ['shifted'])]
    last.input[0] = 'shifted'
    for node in nodes:
        model.graph.node.insert(len(model.graph.node) - 1, node)
    assert model.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    onnx.save(model, str(path))


def without_hash(make_model, change, **options):
    """A model whose graph was changed; its weights' hash is written anew."""
    from dataclasses import replace

    from depth_perception.model_spec import write_spec

    path = make_model(**options)
    spec = read_spec(path)
    change(path)
    write_spec(path, replace(spec, weights_sha256=''))
    return path


@pytest.mark.parametrize(('change', 'text'), [
    (fixed_to_one, 'one is built into it'), (mixed, 'other depth for an image that comes with')])
def test_a_network_that_is_no_batch_of_single_ones_runs_one_after_the_other(make_model, change,
                                                                           text):
    path = without_hash(make_model, change, depth=1.0, brightness=2.0)
    with pytest.raises(ModelError, match=text):
        OnnxBatchEngine(path, read_spec(path), backend='cpu', threads=1, batch=2)
    engine = serve(str(path), EngineSettings(backend='cpu', batch=2))
    assert engine.batch == 1 and text.split(' for')[0] in engine.batch_refusal
    answers = engine.infer_batch([picture(0.0), picture(1.0)])
    assert [depth[0, 0] for depth, _ in answers] == [1.0, 3.0]
    assert text.split(' for')[0] in Batcher(engine).describe()
    engine.close()


def test_more_images_than_the_engine_takes_are_run_in_turn(engine_of):
    engine = engine_of(batch=2)
    answers = engine.infer_batch([picture(value) for value in (0.0, 0.25, 0.5, 0.75, 1.0)])
    assert [depth[0, 0] for depth, _ in answers] == [1.0, 1.5, 2.0, 2.5, 3.0]


# -- when to wait ------------------------------------------------------------------------------

def test_a_camera_is_due_by_its_usual_period_and_given_up_half_a_period_later():
    rhythm = Rhythm()
    for tick in range(5):
        assert not rhythm.is_due(tick * 0.1 - 0.05, tick * 0.1) or tick > 3
        rhythm.note(tick * 0.1)
    # the last came at 0.4: the next is due at 0.5
    assert not rhythm.is_due(0.42, 0.49)
    assert rhythm.is_due(0.495, 0.501)
    assert rhythm.is_due(0.54, 0.55)
    assert not rhythm.is_due(0.56, 0.57)


def test_one_gap_does_not_change_the_usual_period():
    rhythm = Rhythm()
    for moment in (0.0, 0.1, 0.2, 5.0, 5.1, 5.2):
        rhythm.note(moment)
    assert rhythm.is_due(5.29, 5.31) and not rhythm.is_due(5.22, 5.25)


# -- several threads ---------------------------------------------------------------------------

def ask_together(batcher, values, rounds=8, tick=lambda: None):
    """One thread a camera; all ask at about the same time, `rounds` times, after a `tick`."""
    clients = [batcher.client() for _ in values]
    gate = threading.Barrier(len(values), action=tick)

    def camera(number):
        found = []
        for _ in range(rounds):
            gate.wait(10)
            found.append(float(clients[number].infer(picture(values[number]))[0][0, 0]))
        return found

    with ThreadPoolExecutor(len(values)) as pool:
        return [set(found) for found in pool.map(camera, range(len(values)))]


def test_threads_get_the_depth_of_their_own_image(engine_of):
    for limit in (1, 3):
        batcher = Batcher(engine_of(work=2), max_batch=limit, wait_s=0.01)
        assert ask_together(batcher, (0.0, 0.5, 1.0)) == [{1.0}, {2.0}, {3.0}]
        assert max(batcher.sizes) <= limit


def test_images_that_come_together_are_run_together(engine_of):
    moments = []        # a clock of 10 Hz on which all come at once, however slow the machine is
    batcher = Batcher(engine_of(), max_batch=2, wait_s=0.05, now=lambda: 0.1 * len(moments))
    ask_together(batcher, (0.0, 1.0), rounds=12, tick=lambda: moments.append(0))
    assert list(batcher.sizes)[-6:] == [2] * 6      # once their rhythm is known
    assert 'up to 2 images in one call' in batcher.describe()


def test_images_of_other_shapes_are_run_by_themselves(engine_of):
    batcher = Batcher(engine_of(size_multiple=16), max_batch=2, wait_s=0.05)
    small, large = batcher.client(), batcher.client()
    with ThreadPoolExecutor(2) as pool:
        for _ in range(6):
            one = pool.submit(small.infer, picture(0.0))
            other = pool.submit(large.infer, picture(1.0, (96, 128)))
            assert one.result()[0].shape == (48, 64)
            assert other.result()[0].shape == (96, 128) and other.result()[0][0, 0] == 3.0
    assert set(batcher.sizes) == {1}


def test_a_camera_that_stopped_is_waited_for_no_longer(engine_of):
    batcher = Batcher(engine_of(), max_batch=2, wait_s=20.0)
    dead, alive = batcher.client(), batcher.client()
    start = time.monotonic()
    for tick in range(5):
        for client in (dead, alive):
            client.rhythm.note(start - 1.0 + 0.01 * tick)   # late by many periods
    for _ in range(5):
        alive.infer(picture(0.5))
    assert time.monotonic() - start < 20.0          # not one wait of the longest kind
    assert set(batcher.sizes) == {1}


def test_no_wait_is_longer_than_its_bound_whatever_the_rhythm_promises(engine_of):
    batcher = Batcher(engine_of(), max_batch=2, wait_s=0.05)
    late, alive = batcher.client(), batcher.client()
    start = time.monotonic()
    for tick in range(5):
        late.rhythm.note(start - 500.0 + 100.0 * tick)      # due right now, and for 50 s
    alive.infer(picture(0.5))
    assert 0.04 <= time.monotonic() - start < 20.0
    assert list(batcher.sizes) == [1]


def test_an_error_reaches_every_thread_and_the_next_image_is_run(engine_of):
    batcher = Batcher(engine_of(fails=True), max_batch=2, wait_s=0.0)
    client = batcher.client()
    with pytest.raises(BackendError, match='does not run'):
        client.infer(picture(1.0))
    with pytest.raises(ImageError, match='network input has the shape'):
        client.infer(picture(0.0, (32, 32)))
    assert client.infer(picture(0.5))[0][0, 0] == 2.0


def test_a_bug_in_the_engine_ends_its_thread_and_frees_the_others(engine_of):
    engine = engine_of()
    batcher = Batcher(engine, max_batch=2, wait_s=0.5)
    engine.infer_batch = lambda images: [][1]
    clients = [batcher.client(), batcher.client()]
    with ThreadPoolExecutor(2) as pool:
        errors = [future.exception(10) for future in
                  [pool.submit(client.infer, picture(0.0)) for client in clients]]
    assert {type(error) for error in errors} <= {IndexError, BackendError}
    assert IndexError in {type(error) for error in errors}


def test_on_the_cpu_images_run_one_after_the_other_unless_asked_for(engine_of):
    engine = engine_of()
    assert engine.batch == 4
    assert Batcher(engine).limit == 1 and Batcher(engine, max_batch=3).limit == 3
    assert Batcher(engine, max_batch=9).limit == 4
    assert 'the CPU gains nothing' in Batcher(engine).describe()
    assert Batcher(engine_of(batch=1)).describe() == 'one image after the other'


def test_where_no_batch_is_run_on_the_cpu_none_is_opened(make_model, monkeypatch):
    def refuse(self):
        raise AssertionError('the network is tried with two images')

    monkeypatch.setattr(OnnxBatchEngine, '_check_apart', refuse)
    engine = serve(str(make_model()), EngineSettings(backend='cpu', batch=4, batch_on_cpu=False))
    assert engine.batch == 1
    assert 'the CPU gains nothing' in Batcher(engine).describe()
    engine.close()


def test_a_tensorrt_engine_is_built_for_as_many_images_as_there_are_cameras(make_model):
    pytest.importorskip('tensorrt_rtx')
    model = str(make_model())
    store = make_store(model, EngineSettings(backend='tensorrt', precision='fp32', batch=3))
    assert store._options.flags == {'batch': '3'}
    store = make_store(model, EngineSettings(backend='graph', batch=3))
    assert 'batch' not in store._options.flags
