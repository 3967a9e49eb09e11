"""Depth into another camera's picture: cases computed by hand, and a plane seen by both."""
from __future__ import annotations

import math
from types import SimpleNamespace as Fields

import cv2
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from depth_perception.geometry import CameraModel, GeometryError, Intrinsics
from training.data.bag_registration import NoTransform, Registration, StaticTransforms, pose_of

NAN = math.nan


def camera(width, height, f, cx, cy, **more):
    return CameraModel(width, height, (f, 0.0, cx, 0.0, f, cy, 0.0, 0.0, 1.0), **more)


def moved(x=0.0, y=0.0, z=0.0):
    return pose_of((x, y, z), (0, 0, 0, 1))


def transform(parent, child, t=(0, 0, 0), q=(0, 0, 0, 1)):
    return Fields(header=Fields(frame_id=parent), child_frame_id=child, transform=Fields(
        translation=Fields(**dict(zip('xyz', t))), rotation=Fields(**dict(zip('xyzw', q)))))


def tree(*transforms):
    found = StaticTransforms()
    found.add(Fields(transforms=list(transforms)))
    return found


def test_the_same_camera_gives_the_same_depth():
    depth = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
    depth[1, 2] = NAN
    same = Registration(camera(4, 3, 5.0, 1.5, 1.0), Intrinsics(4, 3, 5.0, 5.0, 1.5, 1.0),
                        np.eye(4))
    np.testing.assert_array_equal(same(depth), depth)


def test_a_camera_a_baseline_away_shifts_depth_by_its_disparity():
    # f 100, baseline 0.1: 5 m moves by 100 * 0.1 / 5 = 2 pixels, 2.5 m by 4, and hides the far.
    depth = np.full((1, 12), 5.0, np.float32)
    depth[0, 8] = 2.5
    shifted = Registration(camera(12, 1, 100.0, 5.5, 0.0), Intrinsics(12, 1, 100.0, 100.0, 5.5, 0),
                           moved(x=-0.1))
    np.testing.assert_allclose(
        shifted(depth), [[5, 5, 5, 5, 2.5, 5, NAN, 5, 5, 5, NAN, NAN]], rtol=1e-6)


def test_distance_counts_along_the_axis_of_the_pictures_camera():
    ahead = Registration(camera(3, 1, 100.0, 1.0, 0.0), Intrinsics(3, 1, 100.0, 100.0, 1.0, 0.0),
                         moved(z=-0.5))
    np.testing.assert_allclose(ahead(np.full((1, 3), 2.0, np.float32)), np.full((1, 3), 1.5))
    behind = Registration(camera(3, 1, 100.0, 1.0, 0.0), Intrinsics(3, 1, 100.0, 100.0, 1.0, 0.0),
                          moved(z=-3))
    assert np.isnan(behind(np.full((1, 3), 2.0, np.float32))).all()


def test_a_picture_with_more_pixels_has_no_holes():
    twice = Registration(camera(4, 3, 50.0, 1.5, 1.0), Intrinsics(8, 6, 100.0, 100.0, 3.5, 2.5),
                         np.eye(4))
    depth = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(twice(depth), depth.repeat(2, 0).repeat(2, 1))


@given(st.floats(-0.3, 0.3), st.floats(-0.2, 0.2), st.floats(-0.2, 0.2), st.floats(1.5, 6.0))
def test_a_plane_seen_by_both_cameras_agrees_with_its_equation(turn, tilt, aside, distance):
    depth_k = camera(80, 60, 60.0, 39.5, 29.5)
    picture = Intrinsics(100, 70, 90.0, 90.0, 49.5, 34.5)
    half = turn / 2
    pose = pose_of((aside, 0.05, 0.02), (0, math.sin(half), 0, math.cos(half)))
    # z = distance + tilt x, in the depth camera; the rays give its depth in closed form
    x = (np.arange(80) - 39.5) / 60
    depth = np.broadcast_to(distance / (1 - tilt * x), (60, 80)).astype(np.float32)
    seen = Registration(depth_k, picture, pose)(depth)
    normal = pose[:3, :3] @ (-tilt, 0, 1)
    offset = distance + normal @ pose[:3, 3]
    u, v = np.meshgrid(np.arange(100), np.arange(70))
    rays = np.stack([(u - 49.5) / 90, (v - 34.5) / 90, np.ones_like(u, float)], -1)
    truth = offset / (rays @ normal)
    known = np.isfinite(seen)
    assert known.mean() > 0.3
    # a depth pixel is 1.5 pixels wide in the picture, and has one depth
    step = np.abs(np.gradient(truth, axis=1)) + np.abs(np.gradient(truth, axis=0))
    assert (np.abs(seen - truth) <= 1.5 * step + 0.01)[known].all()


@pytest.mark.parametrize('model, d', [('plumb_bob', (0.1, -0.05, 0.001, 0.0, 0.0)),
                                      ('equidistant', (0.05, 0.01, 0.0, 0.0))])
def test_the_distortion_of_the_depth_camera_is_taken_out(model, d):
    bent = camera(64, 48, 50.0, 31.5, 23.5, distortion_model=model, d=d)
    # the point (0.4, 0.3) a metre away is where OpenCV says, and goes to u = 0.4 * 80 + 49.5
    project = cv2.fisheye.projectPoints if model == 'equidistant' else cv2.projectPoints
    at, _ = project(np.array([[[0.4, 0.3, 1.0]]]), np.zeros(3), np.zeros(3),
                    np.reshape(bent.k, (3, 3)), np.array(d))
    u, v = np.rint(at.ravel()).astype(int)
    depth = np.full((48, 64), NAN, np.float32)
    depth[v, u] = 1.0
    seen = Registration(bent, Intrinsics(100, 80, 80.0, 80.0, 49.5, 39.5), np.eye(4))(depth)
    rows, columns = np.nonzero(np.isfinite(seen))
    assert abs(columns.mean() - 81.5) < 1.6 and abs(rows.mean() - 63.5) < 1.6


def test_wrong_sizes_and_unknown_lenses_are_refused():
    picture = Intrinsics(4, 3, 5.0, 5.0, 1.5, 1.0)
    with pytest.raises(GeometryError, match='4x3'):
        Registration(camera(4, 3, 5.0, 1.5, 1.0), picture, np.eye(4))(np.ones((5, 6), np.float32))
    with pytest.raises(GeometryError, match='kannala'):
        Registration(camera(4, 3, 5.0, 1.5, 1.0, distortion_model='kannala', d=(1.0,)), picture,
                     np.eye(4))


def test_frames_are_joined_through_their_tree_in_both_directions():
    quarter = (0, 0, math.sin(math.pi / 4), math.cos(math.pi / 4))  # 90 degrees about z
    found = tree(transform('base', 'colour', (1, 0, 0)), transform('/base', 'arm', (0, 2, 0)),
                 transform('arm', 'depth', (0, 0, 3), quarter))
    # a point 1 m along x of depth: y of arm, so (0, 3, 3) of base, (-1, 3, 3) of colour
    point = found.between('depth', 'colour') @ (1, 0, 0, 1)
    np.testing.assert_allclose(point, (-1, 3, 3, 1), atol=1e-12)
    np.testing.assert_allclose(
        found.between('colour', 'depth') @ found.between('depth', 'colour'), np.eye(4), atol=1e-12)
    assert (found.between('x', '/x') == np.eye(4)).all()


def test_frames_that_nothing_joins_are_named():
    with pytest.raises(NoTransform, match="'depth' and 'lidar'.*base, depth"):
        tree(transform('base', 'depth')).between('depth', 'lidar')


@pytest.mark.parametrize('q', [(0, 0, 0, 0), (NAN, 0, 0, 1)])
def test_a_transform_that_is_none_is_left_out(q):
    with pytest.raises(NoTransform, match='no frame'):
        tree(transform('base', 'depth', q=q)).between('depth', 'base')
