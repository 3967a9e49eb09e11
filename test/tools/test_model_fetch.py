from __future__ import annotations

import functools
import hashlib
from http.server import HTTPServer, SimpleHTTPRequestHandler
import threading

import pytest

from depth_perception.model_spec import read_spec
from depth_perception.tools import model_fetch
from depth_perception.tools.cli import main
from depth_perception.tools.model_fetch import FetchError, Published, check_sha256, download
from depth_perception.tools.model_presets import PRESETS


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def publisher(tmp_path):
    """A web server on this machine; gives its folder and address."""
    folder = tmp_path / 'published'
    folder.mkdir()
    server = HTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_DATA_HOME', str(tmp_path / 'data'))
    return tmp_path / 'data' / 'depth_perception' / 'models'


@pytest.fixture
def model(publisher, make_model):
    """A published model: address and checksum; its network gives metres."""
    folder, address = publisher
    data = make_model(contract=False).read_bytes()
    (folder / 'net.onnx').write_bytes(data)
    return f'{address}/net.onnx', hashlib.sha256(data).hexdigest()


def nothing_kept(data_folder):
    return not data_folder.exists() or not [p for p in data_folder.rglob('*') if p.is_file()]


def test_a_published_model_is_fetched_checked_and_imported(model, data_folder, monkeypatch,
                                                           capsys):
    url, checksum = model
    monkeypatch.setitem(model_fetch.CATALOGUE, 'net',
                        Published(url, 'unidepth', 'MIT', 'https://example.com'))
    assert main(['models', 'fetch', 'net', '--sha256', checksum.upper(),
                 '--accept-licence', 'MIT']) == 0
    spec = read_spec(data_folder / 'net.onnx')
    assert (spec.output_kind, spec.licence) == ('metric', 'MIT')


def test_the_licence_is_shown_and_a_person_accepts_it(model, data_folder, monkeypatch):
    url, checksum = model
    monkeypatch.setitem(model_fetch.CATALOGUE, 'net',
                        Published(url, 'unidepth', 'CC-BY-NC-4.0', 'https://example.com'))
    asked = []
    for answer in ('n', 'y'):
        monkeypatch.setattr('builtins.input', lambda text, a=answer: asked.append(text) or a)
        status = main(['models', 'fetch', 'net', '--sha256', checksum])
        assert status == (0 if answer == 'y' else 1)
        assert (data_folder / 'net.onnx').exists() == (answer == 'y')
    assert all('CC-BY-NC-4.0' in text for text in asked)


def test_without_a_person_the_licence_has_to_be_named(model, data_folder, monkeypatch, capsys):
    def nobody(text):
        raise EOFError
    monkeypatch.setattr('builtins.input', nobody)
    assert main(['models', 'fetch', 'midas_small', '--sha256', '0' * 64]) == 1
    assert "--accept-licence 'MIT'" in capsys.readouterr().err
    assert main(['models', 'fetch', 'midas_small', '--sha256', '0' * 64,
                 '--accept-licence', 'BSD']) == 1
    assert "the licence is 'MIT'" in capsys.readouterr().err
    assert nothing_kept(data_folder)


def test_another_checksum_is_refused_and_nothing_stays(model, data_folder, capsys):
    url, checksum = model
    wrong = '0' * 64
    assert main(['models', 'fetch', '--url', url, '--preset', 'unidepth', '--licence', 'MIT',
                 '--accept-licence', 'MIT', '--sha256', wrong]) == 1
    assert f'has the SHA-256 {checksum}, not {wrong}' in capsys.readouterr().err
    assert nothing_kept(data_folder)


@pytest.mark.parametrize('text, message', [('', 'a checksum is required'),
                                           ('12ab', 'must be 64 hexadecimal digits')])
def test_a_checksum_is_required(text, message):
    with pytest.raises(FetchError, match=message):
        check_sha256(text)
    assert check_sha256('AB' * 32) == 'ab' * 32


def test_offline_it_says_so_and_what_to_do(tmp_path):
    # a port that nobody listens on
    with pytest.raises(FetchError, match='127.0.0.1:9 cannot be reached .* offline.*import FILE'):
        download('http://127.0.0.1:9/net.onnx', tmp_path / 'a.onnx', '0' * 64, lambda *_: None)
    assert not list(tmp_path.iterdir())


def test_a_file_that_has_moved_is_told_apart_from_being_offline(publisher, tmp_path):
    target = tmp_path / 'to' / 'a.onnx'
    with pytest.raises(FetchError, match='answers 404 .* may have moved'):
        download(f'{publisher[1]}/gone.onnx', target, '0' * 64, lambda *_: None)
    assert not list(target.parent.iterdir())


@pytest.mark.parametrize('url', ['ftp://example.com/a.onnx', '/etc/passwd', 'file:///etc/passwd'])
def test_only_web_addresses_are_fetched(url, tmp_path):
    with pytest.raises(FetchError, match='is no web address'):
        download(url, tmp_path / 'a.onnx', '0' * 64, lambda *_: None)


def test_the_catalogue_is_shown_and_complete(capsys):
    assert main(['models', 'fetch']) == 0
    shown = capsys.readouterr().out
    for name, entry in model_fetch.CATALOGUE.items():
        assert name in shown and entry.licence in shown
        assert entry.url.startswith('https://') and entry.preset in PRESETS


def test_an_unknown_name_lists_those_that_exist(capsys):
    assert main(['models', 'fetch', 'midas', '--sha256', '0' * 64]) == 1
    assert 'there are depth_anything_v2_small, ' in capsys.readouterr().err
