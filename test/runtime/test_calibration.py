"""Calibration files as camera_calibration writes them, whole and damaged."""

import pytest

from depth_perception.calibration import CalibrationError, read_calibration
from depth_perception.geometry import Intrinsics

TEXT = """\
image_width: 640
image_height: 480
camera_name: head
camera_matrix:
  rows: 3
  cols: 3
  data: [500.5, 0, 320, 0, 501.5, 240, 0, 0, 1]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [-0.1, 0.01, 0.001, -0.001, 0]
rectification_matrix:
  rows: 3
  cols: 3
  data: [1, 0, 0, 0, 1, 0, 0, 0, 1]
projection_matrix:
  rows: 3
  cols: 4
  data: [480, 0, 321, 0, 0, 481, 241, 0, 0, 0, 1, 0]
"""


@pytest.fixture
def write(tmp_path):
    def to_file(text):
        path = tmp_path / 'camera.yaml'
        path.write_text(text)
        return path

    return to_file


def test_a_standard_file_is_read_whole(write):
    camera = read_calibration(write(TEXT))
    assert camera.intrinsics() == Intrinsics(640, 480, 500.5, 501.5, 320, 240)
    assert camera.rectified_intrinsics() == Intrinsics(640, 480, 480, 481, 321, 241)
    assert camera.d == (-0.1, 0.01, 0.001, -0.001, 0)
    assert camera.distortion_model == 'plumb_bob'


def test_without_projection_the_camera_matrix_holds(write):
    camera = read_calibration(write(TEXT[:TEXT.index('rectification_matrix')]))
    assert camera.rectified_intrinsics() == camera.intrinsics()


@pytest.mark.parametrize(('old', 'new', 'word'), [
    ('camera_matrix', 'spam', 'no camera_matrix'),
    ('image_width: 640', 'image_width: 0', r'\[0, 480\]'),
    ('image_height: 480', 'image_height: tall', 'tall'),
    ('500.5, ', '', '8 numbers; it must have 9'),
    ('500.5', '0.0', 'focal lengths'),
    ('500.5', 'none', 'must be numbers'),
    ('image_width', '[', 'cannot be read'),
])
def test_a_damaged_file_is_refused_by_name(write, old, new, word):
    with pytest.raises(CalibrationError, match=word) as caught:
        read_calibration(write(TEXT.replace(old, new, 1)))
    assert 'camera.yaml' in str(caught.value)


def test_a_file_that_is_not_there_or_no_mapping_is_refused(tmp_path, write):
    with pytest.raises(CalibrationError, match='cannot be read'):
        read_calibration(tmp_path / 'none.yaml')
    with pytest.raises(CalibrationError, match='must have the keys'):
        read_calibration(write('just text'))
