"""Depth in the pixels of its picture where cameras are turned, change, or are said to fit."""
from __future__ import annotations

import gc
import math
from pathlib import Path
import runpy
from types import SimpleNamespace

import numpy as np
import pytest

from depth_perception.geometry import Rectifier
from training.data.bag import open_set
from training.data.bag_camera import KEPT, MOST_CHANGES, Cameras, PictureMaker
from training.data.bag_depth import DepthMaker
from training.data.bag_plan import Settings
from training.data.bag_registration import Registration
from training.data.prepare import prepare

B = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name('made_bags.py'))))
BENT = (1e-5, 0.0, 0.0, 0.0, 0.0)
SIDEWAYS = np.array([[math.cos(0.1), 0, math.sin(0.1)], [0, 1, 0],
                     [-math.sin(0.1), 0, math.cos(0.1)]])


def model(turn=SIDEWAYS, stamp=B.START, **changes):
    said = B.info(stamp, **changes)
    said.r = turn.ravel()
    cameras = Cameras()
    cameras.add(said)
    return cameras.at(stamp, 0)


def walls(turn):
    """A wall 2 m along the camera's own axis, as the raw camera and the turned one see it."""
    u, v = np.meshgrid(np.arange(B.WIDTH), np.arange(B.HEIGHT))
    rays = np.stack([(u - 31.5) / B.FOCAL, (v - 23.5) / B.FOCAL, np.ones(u.shape)], -1)
    points = rays @ turn  # the rays of the turned camera in the frame of the raw one
    points *= 2.0 / points[..., 2:]
    return np.full(u.shape, 2.0, np.float32), (points @ turn.T)[..., 2]


@pytest.mark.parametrize('d', [BENT, ()], ids=['distorted', 'straight'])
@pytest.mark.parametrize('picture', ['image_raw', 'image_rect'])
@pytest.mark.parametrize('topic', ['depth/image_raw', 'depth/image_rect'])
def test_depth_is_along_the_axis_of_a_picture_that_rectification_turned(topic, picture, d):
    camera, (raw, turned) = model(d=d), walls(SIDEWAYS)
    view = PictureMaker(picture, 0, 0.0)(B.image(0, B.picture(0), 'rgb8'), camera)
    shown = turned if topic.endswith('rect') else raw
    message = B.image(0, shown.astype(np.float32), '32FC1')
    found = DepthMaker(topic, 1.0, None)(message, camera, view)
    truth = turned if picture == 'image_rect' or d else raw
    seen = np.isfinite(found)
    # the nearest pixel is taken: from one to the next the wall is 0.004 m nearer
    np.testing.assert_allclose(found[seen], truth[seen], atol=0.01)
    assert seen.mean() > 0.8 and np.isfinite(found[20:28, 20:44]).all()


def test_depth_without_a_camera_of_its_own_is_turned_with_its_picture():
    camera, (raw, turned) = model(d=BENT), walls(SIDEWAYS)
    view = PictureMaker('image_raw', 0, 0.0)(B.image(0, B.picture(0), 'rgb8'), camera)
    found = DepthMaker('depth', 1.0, None)(B.image(0, raw, '32FC1'), None, view)
    seen = np.isfinite(found)
    np.testing.assert_allclose(found[seen], turned[seen], rtol=1e-5)
    assert seen.mean() > 0.8


def test_depth_that_is_said_to_fit_is_taken_as_it_lies_whatever_its_camera_info(tmp_path):
    more = [('/camera/depth/camera_info', lambda i, t: B.info(t, focal=80.0, frame='lidar'))]
    bag = B.robot_bag(tmp_path / 'bag', count=3, more=more, deep=lambda i, t: B.image(
        t, B.millimetres(B.depth(i)), '16UC1', 'lidar'))
    summary = prepare([bag], tmp_path / 'set', Settings(split='train', registered=True))
    assert '/camera/depth/camera_info' not in summary.rows[0].topics
    depth = open_set(tmp_path / 'set').pictures('train').load(0).depth
    np.testing.assert_allclose(depth, B.depth(0), rtol=2e-3)


def test_a_camera_info_that_never_comes_twice_keeps_the_last_few_alone():
    pictures, depths = PictureMaker('image', 0, 0.0), DepthMaker('depth', 1.0, None)
    cameras = Cameras()
    for i in range(KEPT + 4):
        camera, own = model(d=(1e-5 * (i + 1), 0, 0, 0, 0)), model(np.eye(3), focal=60.0 + i)
        view = pictures(B.image(0, B.picture(0), 'rgb8'), camera)
        depths(B.image(0, B.depth(0), '32FC1'), own, view)
    gc.collect()
    held = [type(each) for each in gc.get_objects()]
    assert held.count(Rectifier) == held.count(Registration) == KEPT
    for i in range(MOST_CHANGES + 5):
        cameras.add(B.info(i, focal=50.0 + i))
    assert [cameras.at(i, 0).k[0] - 50.0 for i in (0, 5, 900, MOST_CHANGES + 9)] == [
        5, 5, 900, MOST_CHANGES + 4]


def test_a_camera_is_that_of_its_time_also_where_the_clock_goes_back():
    cameras = Cameras()
    for stamp, focal in ((0, 40.0), (1000, 50.0), (5, 50.0), (9, 60.0)):
        cameras.add(B.info(stamp, focal=focal))
    assert [cameras.at(stamp, 0).k[0] for stamp in (0, 4, 5, 8, 9, 2000)] == [
        40.0, 40.0, 50.0, 50.0, 60.0, 60.0]
    assert cameras.at(7, 2).k[0] == 60.0
