"""ONNX Runtime first, the built engine when it is verified, ONNX Runtime again when it fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
import threading
import time

import numpy as np
import onnxruntime
import pytest

from depth_perception.inference import BackendError, EngineSettings, make_store, serve
from depth_perception.inference.builder import BuildOptions, BuildStopped
from depth_perception.inference.cuda_device import GpuLostError
from depth_perception.inference.engine_cache import EngineCache
from depth_perception.inference.engine_store import EngineStore, build_sizes
from depth_perception.inference.graph_builder import GraphBuilder
from depth_perception.inference.serving import ServingEngine
from depth_perception.inference.verify import PICTURES
from depth_perception.model_spec import read_spec

GREY = np.full((1, 3, 48, 64), 0.25, np.float32)
WHITE = np.ones((1, 3, 48, 64), np.float32)
SIZE = (48, 64)


class Other(GraphBuilder):
    """Builds from other files than it is given, by precision: what a bad builder does."""

    def __init__(self, **paths):
        super().__init__(threads=1)
        self.paths, self.built = paths, []

    def build(self, model_path, options, progress):
        self.built.append(options.precision)
        path = self.paths.get(options.precision, model_path)
        if path is None:
            raise BackendError('no such layer')
        # as fp32: what it does to the file is no matter here
        return super().build(path, BuildOptions('fp32', SIZE, SIZE, SIZE), progress)


@pytest.fixture
def cache(tmp_path):
    return EngineCache(tmp_path / 'engines')


@pytest.fixture
def served(cache):
    """Start engines; end those that a test started."""
    started = []

    def start(path, builder, precision='fp16', sizes=(SIZE, SIZE, SIZE), engine_file='', **more):
        spec = read_spec(path)
        store = EngineStore(path, spec, builder, BuildOptions(precision, *sizes),
                            more.pop('cache', cache), engine_file)
        started.append(ServingEngine(path, spec, threads=1, store=store, **more))
        return started[-1]

    yield start
    for engine in started:
        engine.close()


def finished(engine):
    """Wait for the background, and for the frame after which the engine has changed."""
    assert engine.wait(60)
    engine.infer(GREY)
    return engine


def depth_of(engine, image=GREY):
    return float(np.median(engine.infer(image)[0]))


def test_onnx_runtime_serves_until_the_engine_is_verified(make_model, served):
    release = threading.Event()

    class Slow(Other):
        def build(self, *args):
            release.wait(30)
            return super().build(*args)

    engine = served(make_model(depth=2.0), Slow())
    assert engine.status.state == 'building'
    assert 'onnxruntime CPUExecutionProvider serves meanwhile' in engine.status.text
    assert depth_of(engine) == 2.0
    assert engine.backend == 'onnxruntime CPUExecutionProvider'
    release.set()
    finished(engine)
    assert depth_of(engine) == 2.0
    assert engine.backend == 'onnxruntime CPUExecutionProvider (optimised graph)'
    assert engine.status.state == 'serving' and engine.status.verdict.accepted


def test_no_frame_is_missed_or_wrong_while_engines_change(make_model, served):
    path = make_model(depth=1.0, brightness=4.0)
    engine = served(path, Other())
    answers, stop = [], threading.Event()

    def run():
        while not stop.is_set():
            answers.append(depth_of(engine))

    worker = threading.Thread(target=run)
    worker.start()
    assert engine.wait(60)
    engine.rebuild()
    assert engine.wait(60)
    time.sleep(0.05)
    stop.set()
    worker.join()
    assert engine.backend.endswith('(optimised graph)')
    assert answers
    np.testing.assert_allclose(answers, 2.0, rtol=1e-5)


def test_a_wrong_engine_gives_way_to_the_next_precision(make_model, served):
    wrong = make_model(depth=2.2)
    builder = Other(fp16=wrong)
    engine = finished(served(make_model(depth=2.0), builder))
    assert builder.built == ['fp16', 'mixed']
    assert engine.status.verdict.precision == 'mixed'
    assert 'after fp16 refused: depth of' in engine.status.text
    assert depth_of(engine) == 2.0


def test_without_a_good_engine_onnx_runtime_stays(make_model, served):
    wrong = make_model(depth=2.2)
    builder = Other(fp16=wrong, mixed=None, fp32=wrong)
    engine = finished(served(make_model(depth=2.0), builder))
    assert builder.built == ['fp16', 'mixed', 'fp32']
    assert engine.status.state == 'refused'
    assert 'no engine is good: fp16 refused' in engine.status.text
    assert 'mixed cannot be built: no such layer' in engine.status.text
    assert not engine.status.verdict.accepted
    assert depth_of(engine) == 2.0


def test_the_next_start_serves_by_the_kept_engine_at_once(make_model, served):
    path, builder = make_model(depth=2.0), Other()
    finished(served(path, builder))
    engine = served(path, builder)
    assert engine.backend.endswith('(optimised graph)') and engine.status.state == 'serving'
    assert builder.built == ['fp16']


def test_a_refused_engine_is_remembered_and_not_built_again(make_model, served):
    path, builder = make_model(depth=2.0), Other(fp16=make_model(depth=2.2))
    finished(served(path, builder))
    engine = finished(served(path, builder))
    assert builder.built == ['fp16', 'mixed']
    assert engine.status.verdict.precision == 'mixed'


def test_a_changed_model_gets_an_engine_of_its_own(make_model, served):
    path, builder = make_model(depth=2.0), Other()
    finished(served(path, builder))
    path.write_bytes(make_model(depth=3.0).read_bytes())
    assert depth_of(finished(served(path, builder))) == 3.0
    assert builder.built == ['fp16', 'fp16']


def test_a_kept_engine_that_went_wrong_is_found_and_built_again(make_model, cache, served):
    path, builder = make_model(depth=2.0), Other()
    finished(served(path, builder))
    [entry] = cache.entries()
    key = EngineStore(path, read_spec(path), builder, BuildOptions('fp16', SIZE, SIZE, SIZE),
                      cache).key('fp16')
    bad = GraphBuilder(threads=1).build(
        make_model(depth=2.2), BuildOptions('fp32', SIZE, SIZE, SIZE), lambda *_: True)
    cache.write(entry.slot, key, bad, entry.record['verdict'])      # hash and verdict are sound
    assert depth_of(finished(served(path, builder))) == 2.0
    assert builder.built == ['fp16', 'fp16']


@pytest.mark.parametrize('damage', [lambda blob: blob[:100], lambda blob: b'not an engine'])
def test_an_engine_that_does_not_load_is_built_again(make_model, cache, served, damage):
    path, builder = make_model(depth=2.0), Other()
    finished(served(path, builder))
    [entry] = cache.entries()
    entry.slot.engine.write_bytes(damage(entry.slot.engine.read_bytes()))
    engine = finished(served(path, builder))
    assert builder.built == ['fp16', 'fp16']
    assert engine.status.state == 'serving' and depth_of(engine) == 2.0


def test_force_builds_anew_although_an_engine_is_kept(make_model, served):
    path, builder = make_model(), Other()
    finished(served(path, builder))
    finished(served(path, builder, force=True))
    assert builder.built == ['fp16', 'fp16']


def test_a_gpu_that_is_lost_in_flight_is_told_from_other_failures(make_model, served, monkeypatch):
    engine = finished(served(make_model(depth=2.0), Other()))
    assert depth_of(engine) == 2.0      # the built engine serves

    def fail(image):
        raise GpuLostError('the GPU is lost')

    monkeypatch.setattr(engine._engine, 'infer', fail)
    assert depth_of(engine) == 2.0
    assert engine.status.state == 'failed' and engine.status.gpu_lost


def test_an_engine_that_fails_in_flight_hands_its_frame_to_onnx_runtime(make_model, served):
    # It works on every picture but a white one.
    engine = finished(served(make_model(depth=2.0), Other(fp16=make_model(depth=2.0, fails=True))))
    assert engine.backend.endswith('(optimised graph)')
    assert depth_of(engine, WHITE) == 2.0
    assert engine.status.state == 'failed' and not engine.status.gpu_lost
    assert 'failed in flight, ONNX Runtime on the CPU took over' in engine.status.text
    assert engine.backend == 'onnxruntime CPUExecutionProvider'
    engine.rebuild()
    assert engine.wait(60)
    assert finished(engine).status.state == 'serving'


def test_a_size_that_the_engine_was_not_built_for_is_answered_by_onnx_runtime(
        make_model, served):
    class Fixed(Other):
        def load(self, blob, spec):
            return super().load(blob, replace(spec, size_multiple=0))

    engine = finished(served(make_model(depth=2.0, size_multiple=16), Fixed()))
    assert engine.backend.endswith('(optimised graph)')
    assert engine.infer(np.zeros((1, 3, 64, 96), np.float32))[0].shape == (64, 96)
    assert engine.status.state == 'serving'


def test_a_rebuild_waits_for_none_that_runs_and_needs_a_builder(make_model, served):
    release = threading.Event()

    class Slow(Other):
        def build(self, *args):
            release.wait(30)
            return super().build(*args)

    engine = served(make_model(), Slow())
    with pytest.raises(BackendError, match='a build runs already'):
        engine.rebuild()
    release.set()
    plain = serve(str(make_model()), EngineSettings('cpu'))
    with pytest.raises(BackendError, match='has no engine to build; choose the backend'):
        plain.rebuild()


def test_closing_stops_a_build_and_keeps_nothing_of_it(make_model, cache, served):
    class Endless(Other):
        def build(self, model_path, options, progress):
            while progress(0.5, 'tactics'):
                time.sleep(0.01)
            raise BuildStopped

    engine = served(make_model(), Endless())
    engine.close()
    assert engine.wait(0)
    assert cache.entries() == []


def test_a_cache_that_cannot_be_written_costs_a_warning_not_the_engine(make_model, served):
    engine = finished(served(make_model(), Other(), cache=EngineCache(Path('/proc/self/x'))))
    assert engine.status.state == 'serving'
    assert 'cannot be kept' in engine.status.warnings[0]


def graph(path):
    return GraphBuilder(threads=1).build(path, BuildOptions('fp32', SIZE, SIZE, SIZE),
                                         lambda *_: True)


def test_an_engine_file_of_another_tool_is_used_once_it_is_verified(make_model, tmp_path, served):
    path, file, builder = make_model(depth=2.0), tmp_path / 'mine.engine', Other()
    file.write_bytes(graph(path))
    engine = finished(served(path, builder, engine_file=str(file)))
    assert builder.built == [] and engine.backend.endswith('(optimised graph)')


@pytest.mark.parametrize('content', ['wrong', b'', b'cut off'])
def test_a_wrong_engine_file_is_not_used_and_not_touched(make_model, tmp_path, served, content):
    path, file, builder = make_model(depth=2.0), tmp_path / 'mine.engine', Other()
    content = graph(make_model(depth=2.2)) if content == 'wrong' else content
    file.write_bytes(content)
    engine = finished(served(path, builder, engine_file=str(file)))
    assert 'engine_file_path is not used' in engine.status.warnings[0]
    assert engine.status.state == 'serving' and builder.built == ['fp16']
    assert depth_of(engine) == 2.0
    assert file.read_bytes() == content


def test_an_engine_file_that_does_not_exist_is_written_and_used_again(
        make_model, tmp_path, served):
    path, file, builder = make_model(), tmp_path / 'new' / 'mine.engine', Other()
    finished(served(path, builder, engine_file=str(file)))
    assert file.is_file()
    engine = served(path, builder, engine_file=str(file))
    assert engine.status.state == 'serving' and builder.built == ['fp16']
    path.write_bytes(make_model(depth=3.0).read_bytes())        # now the file is stale
    engine = finished(served(path, builder, engine_file=str(file)))
    assert builder.built == ['fp16', 'fp16'] and depth_of(engine) == 3.0


def test_only_force_writes_over_an_engine_file_of_another_tool(make_model, tmp_path, served):
    path, file, builder = make_model(), tmp_path / 'mine.engine', Other()
    file.write_bytes(b'of another tool')
    finished(served(path, builder, engine_file=str(file), force=True))
    assert file.read_bytes() != b'of another tool' and builder.built == ['fp16']
    assert served(path, builder, engine_file=str(file)).status.state == 'serving'
    assert builder.built == ['fp16']


def test_an_engine_path_that_is_a_folder_is_refused(make_model, tmp_path, served):
    with pytest.raises(BackendError, match='is a folder; give the path of a file'):
        served(make_model(), Other(), engine_file=str(tmp_path))


@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')
def test_a_full_disk_is_named_and_onnx_runtime_serves(make_model, served, monkeypatch):
    path = make_model(depth=2.0)
    finished(served(path, Other()))     # an engine is kept

    def full(*arguments):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('os.posix_fallocate', full)
    for force in (True, False):
        engine = finished(served(path, Other(), force=force))
        assert depth_of(engine) == 2.0 and engine.status.state == 'refused'
        assert 'No space left on device' in engine.status.text and 'TMPDIR' in engine.status.text


@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')   # it is seen
def test_a_bug_of_a_builder_is_no_endless_build(make_model, served):
    class Buggy(Other):
        def build(self, *args):
            return {}['nothing']

    engine = finished(served(make_model(depth=2.0), Buggy()))
    assert engine.status.state == 'refused'
    assert "the build ended in a bug: KeyError: 'nothing'" in engine.status.text
    assert depth_of(engine) == 2.0


def test_int8_without_images_says_so_and_falls_back(make_model, served):
    engine = finished(served(make_model(), GraphBuilder(threads=1), 'int8'))
    assert 'int8 cannot be built: int8 needs calibration images' in engine.status.text
    assert engine.status.verdict.precision == 'fp32'


@pytest.mark.parametrize('precision', ['fp32', 'int8'])
def test_a_model_of_focus_stacks_is_served_and_verified_too(
        make_model, tmp_path, monkeypatch, precision):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    path = make_model(frames=3, depth_range=(0.5, 4.0))
    engine = serve(str(path), EngineSettings('graph', precision, threads=1,
                                             calibration=str(PICTURES)))
    assert engine.wait(60)
    stack = np.random.default_rng(0).random((1, 3, 3, 48, 64), np.float32)
    depth, _ = engine.infer(stack, focus_distances=np.array([[1, 2, 3]], np.float32))
    assert set(np.unique(depth)) <= {1, 2, 3}
    assert engine.status.state == 'serving', engine.status.text
    assert engine.status.verdict.precision == 'fp32'
    assert ('takes focus stacks' in engine.status.text) == (precision == 'int8')
    engine.close()


@pytest.mark.skipif('OpenVINOExecutionProvider' in onnxruntime.get_available_providers(),
                    reason='this ONNX Runtime has OpenVINO')
def test_without_openvino_it_says_what_to_install_and_onnx_runtime_serves(
        make_model, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    engine = serve(str(make_model(depth=2.0)), EngineSettings('openvino', threads=1))
    assert depth_of(finished(engine)) == 2.0
    assert engine.status.state == 'refused'
    assert 'install onnxruntime-openvino instead of onnxruntime' in engine.status.text
    engine.close()


@pytest.mark.parametrize(('settings', 'message'), [
    (EngineSettings('tpu'), "backend is 'tpu'; it must be one of auto, cpu, cuda, tensorrt"),
    (EngineSettings('cpu', 'fp8'), "precision is 'fp8'; it must be one of auto, fp32"),
    (EngineSettings('cpu', 'fp16'), 'precision is fp16, which needs an engine'),
    (EngineSettings('cpu', engine_file='x'), "engine_file_path is 'x', but backend cpu has no"),
])
def test_impossible_settings_are_refused(make_model, settings, message):
    with pytest.raises(BackendError, match=message):
        serve(str(make_model()), settings)


def test_serve_keeps_its_engine_in_the_users_cache_folder(make_model, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    engine = serve(str(make_model(name='mine')), EngineSettings('graph', threads=1))
    finished(engine)
    assert engine.status.verdict.precision == 'fp32'
    engine.close()
    [file] = (tmp_path / 'depth_perception' / 'engines').glob('*.engine')
    assert file.name.startswith('mine-')


def test_the_verdict_of_a_kept_engine_can_be_had_again(make_model, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    path, settings = make_model(), EngineSettings('graph', threads=1)
    with pytest.raises(BackendError, match='stale, damaged or missing'):
        make_store(path, settings).judge()
    engine = serve(str(path), settings)
    finished(engine)
    engine.close()
    assert make_store(path, settings).judge().accepted


def test_sizes_cover_the_usual_cameras(make_model):
    spec = read_spec(make_model(size_multiple=16))
    smallest, typical, largest = build_sizes(spec)
    assert typical == (48, 64)
    # 21:9 of about the same area is 32x80, 9:16 is 80x48
    assert smallest == (32, 48) and largest == (80, 80)
    assert build_sizes(read_spec(make_model())) == (SIZE, SIZE, SIZE)
