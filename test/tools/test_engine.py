"""``depth-perception engine`` on a cache with engines of ONNX Runtime's graph."""

from __future__ import annotations

import pytest

from depth_perception.inference import EngineSettings, serve
from depth_perception.inference.builder import BuildOptions
from depth_perception.inference.engine_cache import EngineCache
from depth_perception.inference.graph_builder import GraphBuilder
from depth_perception.tools.cli import main

SIZE = (48, 64)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A cache and a folder of models that are this test's own."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setenv('XDG_DATA_HOME', str(tmp_path / 'data'))
    models = tmp_path / 'data' / 'depth_perception' / 'models'
    models.mkdir(parents=True)
    return models


def installed(home, make_model, name='mine', **options):
    (home / f'{name}.onnx').write_bytes(make_model(**options).read_bytes())
    return name


def build(name):
    engine = serve(name, EngineSettings('graph', threads=1))
    engine.wait()
    engine.close()


def test_an_empty_cache_is_no_error(capsys):
    assert main(['engine', 'list']) == 0
    assert main(['engine', 'verify']) == 0
    assert main(['engine', 'clear']) == 0
    assert 'no engine in' in capsys.readouterr().out


def test_the_list_tells_model_precision_library_and_verdict(home, make_model, capsys):
    build(installed(home, make_model))
    assert main(['engine', 'list']) == 0
    text = capsys.readouterr().out
    assert 'mine  fp32  onnxruntime graph' in text and 'fp32 verified against' in text
    assert '1 engines' in text


def test_clearing_one_model_leaves_the_others(home, make_model):
    build(installed(home, make_model))
    build(installed(home, make_model, 'other'))
    assert main(['engine', 'clear', 'mine']) == 0
    assert [entry.record['key']['model'] for entry in EngineCache().entries()] == ['other']


def test_verify_judges_anew_and_fails_for_a_stale_engine(home, make_model, capsys):
    build(installed(home, make_model, depth=2.0))
    assert main(['engine', 'verify']) == 0
    assert 'fp32 verified' in capsys.readouterr().out
    installed(home, make_model, depth=3.0)      # the model changes, the engine stays
    assert main(['engine', 'verify']) == 1
    assert 'stale' in capsys.readouterr().out


def test_verify_finds_an_engine_in_the_cache_that_went_wrong(home, make_model, capsys):
    build(installed(home, make_model, depth=2.0))
    [entry] = EngineCache().entries()
    bad = GraphBuilder(threads=1).build(
        make_model(depth=2.2), BuildOptions('fp32', SIZE, SIZE, SIZE), lambda *_: True)
    record = entry.record

    class Key:
        as_json = staticmethod(lambda: record['key'])

    EngineCache().write(entry.slot, Key, bad, record['verdict'])
    assert main(['engine', 'verify']) == 1
    assert 'fp32 refused: depth of' in capsys.readouterr().out
    [entry] = EngineCache().entries()
    assert not entry.record['verdict']['accepted']


def test_verify_takes_a_file_of_another_tool(home, make_model, tmp_path, capsys):
    name = installed(home, make_model, depth=2.0)
    file = tmp_path / 'mine.engine'
    for depth, status in ((2.0, 0), (2.2, 1)):
        file.write_bytes(GraphBuilder(threads=1).build(
            make_model(depth=depth), BuildOptions('fp32', SIZE, SIZE, SIZE), lambda *_: True))
        assert main(['engine', 'verify', str(file), '--model', name, '--backend',
                     'graph']) == status
    file.write_bytes(b'rubbish')
    assert main(['engine', 'verify', str(file), '--model', name, '--backend', 'graph']) == 1
    assert main(['engine', 'verify', str(tmp_path / 'nothing'), '--model', name]) == 1
    text = capsys.readouterr()
    assert 'ONNX Runtime refuses it' in text.out and 'does not exist' in text.err
