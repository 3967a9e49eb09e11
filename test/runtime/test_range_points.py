"""Range readings as points, and the pixels that they are compared with."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from depth_perception.geometry import Intrinsics, unproject
from depth_perception.range_points import samples, scan_points, wall_sample

CAMERA = Intrinsics(64, 48, 50.0, 50.0, 31.5, 23.5)


def test_a_scan_goes_from_x_towards_y():
    points = scan_points(np.array([1.0, 2.0, np.inf, np.nan, 0.01, 50.0, 3.0]), -math.pi / 2,
                         math.pi / 2, 0.1, 30.0)
    # the first to the right, the second ahead; the last a whole turn later to the left
    np.testing.assert_allclose(points[:2], [[0, -1, 0], [2, 0, 0]], atol=1e-12)
    np.testing.assert_allclose(points[2], [0, 3, 0], atol=1e-12)
    assert len(points) == 3


@given(st.integers(0, 10**6), st.booleans())
def test_points_on_the_surface_say_what_the_model_says_there(seed, is_metric):
    rng = np.random.default_rng(seed)
    slope = rng.uniform(-0.002, 0.002, 2)
    inverse = (0.5 + slope[0] * np.arange(64) + slope[1] * np.arange(48)[:, None])
    depth = (1.0 / inverse).astype(np.float32)
    points = unproject(depth, CAMERA).reshape(-1, 3)[rng.integers(0, depth.size, 60)]
    model = 3.0 * depth if is_metric else (inverse / 3.0).astype(np.float32)
    values, metres = samples(points, model, CAMERA, is_metric=is_metric)
    np.testing.assert_allclose(values, 1.0 / metres / 3.0, rtol=1e-5)


def test_points_outside_behind_or_without_depth_do_not_count():
    depth = np.full((48, 64), 2.0, np.float32)
    depth[:, 40:] = np.nan
    points = np.array([[0, 0, 2], [0, 0, -2], [9, 0, 2], [0.6, 0, 2], [np.nan, 0, 1], [0, 0, 0]],
                      float)
    values, metres = samples(points, depth, CAMERA, is_metric=True)
    np.testing.assert_allclose((values, metres), [[0.5], [2.0]])
    assert samples(np.empty((0, 3)), depth, CAMERA, is_metric=True)[0].shape == (0,)


def test_points_at_an_edge_do_not_count():
    depth = np.full((48, 64), 2.0, np.float32)
    depth[:, 32:] = 4.0
    ahead = np.array([[(u - 31.5) / 50 * 2, 0.01, 2.0] for u in (10, 29, 30, 31, 33, 34, 50)])
    _, metres = samples(ahead, depth, CAMERA, is_metric=True)
    assert len(metres) == 4     # u = 10, 29, 34 and 50


def test_a_point_behind_a_nearer_one_is_hidden_from_the_camera():
    depth = np.full((48, 64), 2.0, np.float32)
    points = np.array([[0.0, 0.0, 2.0], [0.06, 0.0, 6.0], [0.0, 0.05, 2.2]])
    _, metres = samples(points, depth, CAMERA, is_metric=True)
    np.testing.assert_array_equal(metres, [2.0, 2.2])


def test_a_wall_is_the_median_of_the_middle():
    depth = np.full((48, 64), 9.0, np.float32)
    depth[12:36, 16:48] = 2.0
    assert wall_sample(depth, 0.5, is_metric=True) == (0.5, 0.0)
    assert wall_sample(depth, 0.5, is_metric=False) == (2.0, 0.0)
    value, unevenness = wall_sample(depth, 1.0, is_metric=True)
    # a quarter of the picture is near: the quartiles of 1 / depth are 1/9 and about 1/2
    assert value == pytest.approx(1 / 9) and unevenness > 0.15


def test_a_wall_without_depth_says_nothing():
    depth = np.full((48, 64), np.nan, np.float32)
    assert all(map(math.isnan, wall_sample(depth, 0.3, is_metric=True)))
    depth[:, :30] = 1.0
    assert math.isnan(wall_sample(depth, 0.3, is_metric=True)[0])
    assert wall_sample(np.full((1, 1), 4.0, np.float32), 0.01, is_metric=True) == (0.25, 0.0)
