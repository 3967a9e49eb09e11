"""Where files of the user lie, also for a process that has no home."""

from __future__ import annotations

from pathlib import Path
import pwd

import pytest

from depth_perception import folders, scale_file
from depth_perception.calibration import read_calibration
from depth_perception.folders import FolderError
from depth_perception.model_spec import ModelError, find_model
from depth_perception.scale_file import ScaleFileError
from depth_perception.sources import open_source


@pytest.fixture
def homeless(monkeypatch):
    """Make this process one of a user whom nobody knows, as in a container."""
    def unknown(_):
        raise KeyError('no such user')

    for variable in ('HOME', 'XDG_DATA_HOME', 'XDG_CACHE_HOME'):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pwd, 'getpwuid', unknown)


@pytest.mark.parametrize('folder, variable, below_home', [
    (folders.data_folder, 'XDG_DATA_HOME', '.local/share'),
    (folders.cache_folder, 'XDG_CACHE_HOME', '.cache')])
def test_a_variable_says_where_and_else_the_home(monkeypatch, tmp_path, folder, variable,
                                                 below_home):
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv(variable, '')
    assert folder() == tmp_path / below_home / 'depth_perception'
    monkeypatch.setenv(variable, str(tmp_path / 'mine'))
    assert folder() == tmp_path / 'mine' / 'depth_perception'


def test_without_a_home_the_way_out_is_told(homeless, monkeypatch, tmp_path):
    with pytest.raises(FolderError, match='no home folder .*; set HOME or XDG_CACHE_HOME'):
        folders.cache_folder()
    with pytest.raises(ScaleFileError, match='set HOME or XDG_DATA_HOME, or set scale.file'):
        scale_file.path_of('', '/image', 'model')
    assert scale_file.path_of('/a/b.yaml', '/image', 'model') == Path('/a/b.yaml')
    monkeypatch.setenv('XDG_DATA_HOME', str(tmp_path))
    assert tmp_path in scale_file.path_of('', '/image', 'model').parents


def test_a_robot_without_a_home_has_the_shipped_model(homeless):
    assert find_model('realtime_unet_m').is_file()
    with pytest.raises(ModelError, match='installed are: .*realtime_unet_m'):
        find_model('nobody')


@pytest.mark.parametrize('take', [
    folders.expanded, find_model, read_calibration, open_source,
    lambda name: scale_file.path_of(name, '/image', 'model')])
def test_the_home_of_nobody_is_a_value_error_with_its_reason(take):
    with pytest.raises(ValueError, match="'~nobody_at_all/x.onnx' .*give the whole path"):
        take('~nobody_at_all/x.onnx')
