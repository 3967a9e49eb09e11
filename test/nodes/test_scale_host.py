"""What holds a scale and follows a range sensor, call by call; nothing is sent."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from rclpy.task import Future
from std_msgs.msg import Header

from depth_perception import scale_file
from depth_perception.folders import FolderError
from depth_perception.geometry import Intrinsics
from depth_perception.model_spec import read_spec
from depth_perception.nodes._range import RangeError, Reading
from depth_perception.nodes._range_follower import RangeFollower
from depth_perception.nodes._scale import ScaleHost
from depth_perception.nodes._scale_job import Job
from depth_perception.nodes.depth_node import DepthConfig
from depth_perception.scale import Scale

CAMERA = Intrinsics(64, 48, 50.0, 50.0, 31.5, 23.5)
WALL = DepthConfig(scale_wall_distance=2.5, scale_frames=2)
FLAT = np.full((48, 64), 2.0, np.float32)       # 2 m of the model


@pytest.fixture(scope='module')
def spec(make_model):
    return read_spec(make_model('metric', depth=1.0, brightness=3.0))


@pytest.fixture
def host(graph, spec, tmp_path):
    # a service of the same name a test is no harm: nobody calls it
    found = ScaleHost(graph.probe)
    found.activate(replace(WALL, scale_file=str(tmp_path / 'scale.yaml')), spec, None)
    yield found
    found.deactivate()


def call(host):
    job = host._service.job = Job(Future())
    return job.future


def frame(host, spec, config=WALL, camera=CAMERA):
    scale = host.prepare(config, spec, camera)
    host.observe(Header(), FLAT, config, camera)
    return scale


def test_a_wall_is_calibrated_with_the_parameters_of_its_first_frame(host, spec, tmp_path):
    future = call(host)
    frame(host, spec)
    frame(host, spec, replace(WALL, scale_wall_distance=0.0))   # set back meanwhile
    success, message = future.result()
    assert success and 'scale 0.8, shift 0 1/m from one point at 2.50 m' in message
    assert frame(host, spec).scale == pytest.approx(0.8)
    assert 'source: wall' in (tmp_path / 'scale.yaml').read_text()


ZOOMED = Intrinsics(64, 48, 60.0, 60.0, 31.5, 23.5)


def test_a_calibration_ends_when_the_field_of_view_changes(host, spec, tmp_path):
    future = call(host)
    frame(host, spec)
    frame(host, spec, camera=ZOOMED)
    success, message = future.result()
    assert not success and 'the field of view changed meanwhile' in message
    assert not host.is_calibrating and not (tmp_path / 'scale.yaml').exists()


def test_walls_that_another_lens_saw_do_not_count(host, spec):
    config = replace(WALL, scale_frames=1)
    for camera, distance_m, scale in ((CAMERA, 2.5, 0.8), (ZOOMED, 5.0, 0.4)):
        future = call(host)
        frame(host, spec, replace(config, scale_wall_distance=distance_m), camera)
        success, message = future.result()
        assert success and f'scale {scale}, shift 0 1/m from one point' in message


def test_without_a_home_a_scale_is_used_and_said_to_be_lost(host, spec, monkeypatch):
    def unknown(*_):
        raise FolderError('no home')

    monkeypatch.setattr(scale_file, 'data_folder', unknown)
    config = replace(WALL, scale_file='', scale_frames=1)
    host.activate(config, spec, None)
    assert [each.code for each in host.findings()] == ['SCALE_FILE_UNUSABLE']
    future = call(host)
    frame(host, spec, config)
    success, message = future.result()
    assert not success and 'in use, but not saved: there is no place for a scale' in message
    assert frame(host, spec, config).scale == pytest.approx(0.8)
    assert [each.code for each in host.findings()] == ['SCALE_NOT_SAVED']


def test_a_distance_next_to_nothing_is_refused(host, spec):
    future = call(host)
    for _ in range(2):
        frame(host, spec, replace(WALL, scale_wall_distance=1e-310))
    success, message = future.result()
    assert not success and '0 points of known distance' in message


def test_a_calibration_ends_when_the_model_changes(host, spec, tmp_path):
    future = call(host)
    frame(host, spec)
    frame(host, replace(spec, name='another'))
    assert future.result() == (False, 'the model was changed meanwhile; call again')
    frame(host, replace(spec, name='another'))
    assert not host.is_calibrating and not (tmp_path / 'scale.yaml').exists()


def test_a_scale_whose_call_was_given_up_is_neither_used_nor_kept(host, spec, tmp_path):
    future = call(host)
    frame(host, spec)
    host.prepare(WALL, spec, CAMERA)
    host._service.answer(host._service.job, False, 'gave up')   # while the last frame is in work
    host.observe(Header(), FLAT, WALL, CAMERA)
    assert future.result() == (False, 'gave up')
    assert frame(host, spec) is None and not (tmp_path / 'scale.yaml').exists()


def test_a_calibration_sees_depth_beyond_the_limits(host, spec):
    assert frame(host, spec) is None            # the estimator limits
    call(host)
    scale = frame(host, spec)
    assert scale == Scale()                     # the limits come after the scale
    depth = np.array([[0.5, 2.0, 9.0]], np.float32)
    limits = SimpleNamespace(min_depth=1.0, max_depth=5.0)
    np.testing.assert_array_equal(host.correct(depth, scale, limits, depth),
                                  np.array([[np.nan, 2.0, np.nan]], np.float32))


def test_a_scale_of_another_lens_is_told_where_it_would_be_applied(graph, host, spec):
    graph.probe.declare_parameter('scale.apply', True)
    host._calibration = scale_file.Calibration(Scale(0.8), '/image', spec.name,
                                               focal_per_width=2.0)
    assert host.has_scale
    assert frame(host, spec) is None and not host.has_scale and not host.fits
    assert [each.code for each in host.findings()] == ['SCALE_OF_ANOTHER_LENS']
    assert frame(host, spec, replace(WALL, scale_apply=False)) is None
    assert not list(host.findings())
    narrow = Intrinsics(64, 48, 128.0, 128.0, 31.5, 23.5)      # fx / width is 2
    assert host.prepare(WALL, spec, narrow) == Scale(0.8) and host.has_scale
    graph.probe.undeclare_parameter('scale.apply')


class Wall:
    """A range source that sees a wall across the view, in the frame of the camera."""

    def __init__(self, distance_m, columns=6):
        self.distance_m, self.columns, self.stamp = distance_m, columns, 0

    def reading(self, header, config):
        self.stamp += 1
        if self.distance_m is None:
            raise RangeError('no reading')
        x, y = np.meshgrid(np.linspace(-0.5, 0.5, self.columns), np.linspace(-0.3, 0.3, 4))
        points = self.distance_m * np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 3)
        return Reading(self.stamp, '', points)

    def complaint(self):
        return None

    def close(self):
        """Nothing to close."""


def follow(follower, frames):
    for _ in range(frames):
        follower.look(Header(), FLAT, DepthConfig(), CAMERA, is_metric=True)


def test_drift_is_unknown_until_the_range_source_said_enough(graph):
    follower = RangeFollower(graph.probe)
    assert follower.values() == {}
    follower.input = Wall(2.5)
    follow(follower, 4)
    assert follower.values() == {'scale drift [%]': 'unknown'}
    follow(follower, 1)
    assert follower.values() == {'scale drift [%]': '-20.00'}       # 2 m for 2.5 m
    assert [each.code for each in follower.findings()] == ['SCALE_DRIFT']


def test_a_range_source_that_looks_elsewhere_is_told(graph):
    follower = RangeFollower(graph.probe)
    follower.input = Wall(2.5, columns=2)
    follow(follower, 1)
    [found] = follower.findings()
    assert found.code == 'RANGE_UNUSABLE' and '8 points of the range source' in found.text
    assert follower.values() == {'scale drift [%]': 'unknown'}
    follower.input = Wall(None)
    follow(follower, 1)
    assert [each.text for each in follower.findings()] == ['no reading']
    follower.input = Wall(2.0)
    follower.input.stamp = 9
    follow(follower, 1)
    assert not list(follower.findings())


def test_another_scale_begins_another_alignment(graph):
    follower = RangeFollower(graph.probe)
    follower.input = Wall(2.5)
    follow(follower, 5)
    follower.stand_on(None)
    assert follower.scale.scale == pytest.approx(0.8)
    follower.stand_on(Scale(0.9))
    assert not follower.known and follower.scale == Scale(0.9)
    follow(follower, 5)
    assert follower.scale.scale == pytest.approx(0.8)       # 0.9 * 8 / 9
