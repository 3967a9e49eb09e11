"""Files of scales: written whole, read with suspicion, kept apart by camera and model."""

from __future__ import annotations

from dataclasses import replace
import os

import pytest

from depth_perception import scale_file
from depth_perception.geometry import Intrinsics
from depth_perception.scale import Scale
from depth_perception.scale_file import Calibration, ScaleFileError

CALIBRATION = Calibration(Scale(1e-5, -0.02), '/camera/image_raw', 'some_model', 'abc', 0.8,
                          'laser_scan', 0.03)
WHOSE = ('/camera/image_raw', 'some_model', 'abc')


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / 'new' / 'folder' / 'scale.yaml'
    scale_file.write(path, CALIBRATION)
    assert scale_file.read(path, *WHOSE) == CALIBRATION
    scale_file.write(path, replace(CALIBRATION, scale=Scale(2.0)))
    assert scale_file.read(path, *WHOSE).scale == Scale(2.0)
    assert [each.name for each in path.parent.iterdir()] == ['scale.yaml']


def test_no_file_is_no_scale(tmp_path):
    assert scale_file.read(tmp_path / 'none.yaml', *WHOSE) is None


def test_the_name_keeps_cameras_and_models_apart(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_DATA_HOME', str(tmp_path))
    path = scale_file.default_path('/robot/camera/image_raw', 'some_model')
    assert path.parent == tmp_path / 'depth_perception' / 'scales'
    assert path.name.startswith('robot_camera_image_raw--some_model-')
    others = {scale_file.default_path(camera, model) for camera in ('/a/b', '/a_b', '/../b')
              for model in ('m', 'n', '../m')}
    assert len(others) == 9 and {each.parent for each in others} == {path.parent}


@pytest.mark.parametrize('text, reason', [
    ('', 'does not say format: 1'),
    ('format: 2', 'does not say format: 1'),
    ('[1, 2]', 'does not say format: 1'),
    ('format: 1\nscale: [', 'expected'),
    ('format: 1\nscale: .nan\nshift: 0.0', 'scale is nan; it must be a finite number'),
    (f'format: 1\nscale: {"9" * 400}\nshift: 0.0', '9; it must be a finite number'),
    ('format: 1\nscale: true\nshift: 0.0', 'scale is True'),
    ('format: 1\nscale: -1.0\nshift: 0.0', 'scale must be above 0'),
    ('format: 1\nscale: 1.0\nshift: 0.0\nfocal_per_width: 0.0\nerror: 0.0\ncamera: 3',
     'camera is 3; it must be a text'),
    ('!!python/object/apply:os.system ["true"]', 'could not determine a constructor'),
    ('format: 1' + ' ' * 70000, 'more than 65536 bytes'),
    ('[' * 5000, 'not used'),
])
def test_a_damaged_file_is_one_clear_sentence(tmp_path, text, reason):
    path = tmp_path / 'scale.yaml'
    path.write_text(text)
    with pytest.raises(ScaleFileError, match='calibrate again, or delete the file') as caught:
        scale_file.read(path, *WHOSE)
    assert reason in str(caught.value) and '\n' not in str(caught.value)


def test_bytes_that_are_no_text_and_a_folder_are_refused(tmp_path):
    path = tmp_path / 'scale.yaml'
    path.write_bytes(b'\xff\xfe\x00')
    with pytest.raises(ScaleFileError, match='not used'):
        scale_file.read(path, *WHOSE)
    with pytest.raises(ScaleFileError, match='not used'):
        scale_file.read(tmp_path, *WHOSE)


@pytest.mark.parametrize('place, what', list(enumerate(['camera', 'model', 'weights'])))
def test_a_scale_of_something_else_is_refused(tmp_path, place, what):
    path = tmp_path / 'scale.yaml'
    scale_file.write(path, CALIBRATION)
    whose = [*WHOSE]
    whose[place] = 'another'
    with pytest.raises(ScaleFileError, match=f'made for the {what} .*, not another'):
        scale_file.read(path, *whose)


def test_a_file_that_cannot_be_written_is_told_and_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / 'scale.yaml'
    scale_file.write(path, CALIBRATION)

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(ScaleFileError, match='No space left on device; free some space'):
        scale_file.write(path, replace(CALIBRATION, scale=Scale(9.0)))
    assert scale_file.read(path, *WHOSE) == CALIBRATION
    assert [each.name for each in tmp_path.iterdir()] == ['scale.yaml']
    with pytest.raises(ScaleFileError, match='cannot write'):
        scale_file.write(path / 'below' / 'a_file.yaml', CALIBRATION)


def test_a_focal_length_next_to_nothing_is_of_another_lens():
    assert not CALIBRATION.fits_lens(Intrinsics(640, 480, 5e-324, 5e-324, 320, 240))


@pytest.mark.parametrize('fx, fits', [(512.0, True), (520.0, True), (560.0, False)])
def test_another_lens_is_noticed_at_any_size(fx, fits):
    assert CALIBRATION.fits_lens(Intrinsics(640, 480, fx, fx, 320, 240)) is fits
    assert CALIBRATION.fits_lens(Intrinsics(320, 240, fx / 2, fx / 2, 160, 120)) is fits
    assert replace(CALIBRATION, focal_per_width=0.0).fits_lens(
        Intrinsics(640, 480, fx, fx, 320, 240))
