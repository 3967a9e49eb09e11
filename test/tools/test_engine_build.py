"""``depth-perception engine build`` with TensorRT for RTX: real builds, nothing run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip('tensorrt_rtx', reason='published for Linux on x86-64 alone')

from depth_perception.inference.builder import BuildStopped
from depth_perception.inference.cuda_device import find_device
from depth_perception.inference.graph_builder import GraphBuilder
from depth_perception.inference.tensorrt_builder import options_for
from depth_perception.model_spec import read_spec
from depth_perception.tools.cli import main
from depth_perception.tools.engine_build import _Bar, _build_into_store, size

if find_device() is not None:
    pytest.skip('these are the messages of a machine without a GPU', allow_module_level=True)


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.chdir(tmp_path)


def test_without_a_gpu_an_engine_is_built_ahead_of_time_into_a_file(
        make_model, tmp_path, capsys):
    assert main(['engine', 'build', str(make_model()), '--compute-capabilities', 'SM89']) == 0
    out, err = capsys.readouterr()
    assert 'not verified, for there is no GPU here' in out
    assert 'model fp16: 100 %' in err or 'model: 100 %' in err
    assert (tmp_path / 'model.fp16.engine').stat().st_size > 1000
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ['model.fp16.engine']


def test_sizes_and_flags_arrive_at_the_builder(make_model, tmp_path):
    path, target = make_model(size_multiple=16), tmp_path / 'out' / 'a.engine'
    assert main(['engine', 'build', str(path), '--smallest', '32x16', '--largest', '128x96',
                 '--precision', 'mixed', '--keep', 'Add', '--output', str(target)]) == 0
    assert target.is_file()
    assert main(['engine', 'build', str(path), '--image', '80x60', '--batch', '2', '--output',
                 str(target)]) == 0


@pytest.mark.parametrize('options, message', [
    (['--output', '.'], 'is a folder; give the path of a file'),
    (['--precision', 'int8'], 'int8 needs calibration images'),
    (['--precision', 'mixed', '--keep', 'decoder'], "no layer is called 'decoder'"),
    (['--image', '80by60'], 'must be WIDTHxHEIGHT'),
    (['--dla', '0'], 'only Jetson Orin'),
    (['--library', 'tensorrt'], 'TensorRT cannot be imported'),
])
def test_what_is_impossible_says_why_and_leaves_no_file(
        make_model, tmp_path, capsys, options, message):
    if '--library' in options:
        try:
            import tensorrt  # noqa: F401
            pytest.skip('it is installed')
        except ImportError:
            pass
    assert main(['engine', 'build', str(make_model()), *options]) == 1
    assert message in capsys.readouterr().err
    assert not [p for p in tmp_path.rglob('*') if p.is_file()]


@pytest.mark.parametrize('text', ['640', '640x', 'axb', '1x2x3'])
def test_a_size_is_width_x_height(text, capsys):
    with pytest.raises(SystemExit):
        main(['engine', 'build', 'm', '--size', text])
    assert 'it must be WIDTHxHEIGHT' in capsys.readouterr().err
    assert size('640x480') == (480, 640)


def test_the_bar_stops_the_build_once_it_is_told():
    bar = _Bar('model')
    assert bar(0.5, 'phase')
    bar.stop()
    assert not bar(0.6, 'phase') and bar.is_stopped()


def test_ctrl_c_ends_the_process_with_130_and_leaves_no_file(tmp_path):
    process = subprocess.Popen(
        [sys.executable, '-m', 'depth_perception.tools.cli', 'engine', 'build',
         'realtime_unet_m', '--output', str(tmp_path / 'out' / 'a.engine')],
        stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)})
    for line in process.stderr:     # the first line of progress: it builds
        if '%' in line:
            break
    process.send_signal(signal.SIGINT)
    start = time.monotonic()
    rest = process.stderr.read()
    status = process.wait(timeout=60)
    assert status == 130, rest
    assert 'nothing is left of the build' in rest
    assert time.monotonic() - start < 60
    assert not [p for p in tmp_path.rglob('*') if p.is_file()]


@pytest.mark.parametrize('to_file', [False, True])
def test_where_engines_run_they_are_verified_and_kept(make_model, tmp_path, capsys, to_file):
    """The way of a machine with a GPU, with ONNX Runtime's optimised graph as the engine."""
    path = make_model(brightness=1.0)
    spec, output = read_spec(path), tmp_path / 'graph.engine' if to_file else None
    problem = _build_into_store(GraphBuilder('cpu', 1), path, spec, options_for(spec, 'fp32'),
                                output, _Bar('model'))
    assert problem == ''
    assert (output.is_file() if to_file else list((tmp_path / 'cache').rglob('*.engine')))
    assert 'fp32' in capsys.readouterr().out


def test_a_stopped_build_with_verification_leaves_nothing(make_model, tmp_path):
    path, bar = make_model(), _Bar('model')
    bar.stop()
    with pytest.raises(BuildStopped):
        _build_into_store(GraphBuilder('cpu', 1), path, read_spec(path),
                          options_for(read_spec(path), 'fp32'), None, bar)
    assert not list(tmp_path.rglob('*.engine'))
