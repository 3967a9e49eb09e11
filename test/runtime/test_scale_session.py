"""One calibration and the next: frames that are gathered, walls that are remembered."""

from __future__ import annotations

import numpy as np
import pytest

from depth_perception.scale import ScaleError
from depth_perception.scale_session import Gathering, Walls, check_wall

NAN = float('nan')


def gathered(values, metres, frames=None):
    gathering = Gathering(frames or len(values))
    for value, distance in zip(values, metres):
        gathering.add(np.array(value), np.array(distance))
    return gathering


def test_frames_are_counted_and_joined():
    gathering = Gathering(2)
    gathering.add(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    assert not gathering.complete
    gathering.add(np.empty(0), np.empty(0))
    assert gathering.complete
    np.testing.assert_array_equal(gathering.arrays(), [[1.0, 2.0], [3.0, 4.0]])


def test_a_single_place_is_the_median_of_its_frames():
    assert gathered([1.0, 1.1, 0.9, NAN], [2.0] * 4).single() == (1.0, 2.0)


def test_a_place_without_depth_or_one_that_moves_is_refused():
    with pytest.raises(ScaleError, match='only 1 of 4 frames'):
        gathered([1.0, NAN, NAN, NAN], [2.0] * 4).single()
    with pytest.raises(ScaleError, match='distance changes by .* hold the camera still'):
        gathered([1.0] * 4, [1.0, 2.0, 3.0, 4.0]).single()
    with pytest.raises(ScaleError, match='depth of the model changes'):
        gathered([1.0, 2.0, 3.0, 4.0], [2.0] * 4).single()


def test_what_is_uneven_is_no_wall():
    check_wall(0.05)
    check_wall(NAN)
    with pytest.raises(ScaleError, match='differs by 30 %'):
        check_wall(0.3)


def test_one_wall_tells_a_metric_model_its_scale():
    fit = Walls().fit(0.4, 2.0, is_metric=True)
    assert (fit.scale.scale, fit.scale.shift) == (pytest.approx(1.25), 0.0)


def test_a_relative_model_needs_a_second_wall_far_enough_away():
    walls = Walls()
    with pytest.raises(ScaleError, match='noted 2.00 m; .* at 3.00 m or farther, or at 1.33 m'):
        walls.fit(10.0, 2.0, is_metric=False)
    with pytest.raises(ScaleError, match='noted 2.50 m'):
        walls.fit(8.0, 2.5, is_metric=False)
    # 1/2 = 10 a + b, 1/2.5 = 8 a + b and 1/4 = 5 a + b: a = 0.05, b = 0
    fit = walls.fit(5.0, 4.0, is_metric=False)
    assert (fit.scale.scale, fit.scale.shift) == (pytest.approx(0.05), pytest.approx(0, abs=1e-9))


def test_a_wall_at_the_same_distance_again_replaces_the_first():
    walls = Walls()
    walls.fit(0.9, 1.0, is_metric=True)
    assert walls.fit(0.5, 1.01, is_metric=True).scale.scale == pytest.approx(1 / 0.505)


def test_walls_that_contradict_each_other_leave_the_newest():
    walls = Walls()
    with pytest.raises(ScaleError):
        walls.fit(10.0, 1.0, is_metric=False)
    with pytest.raises(ScaleError, match='only 4.00 m is kept'):
        walls.fit(30.0, 4.0, is_metric=False)
    # 1/4 = 30 a + b and 1/2 = 60 a + b: nothing of the wall at 1 m
    fit = walls.fit(60.0, 2.0, is_metric=False)
    assert fit.points == 2 and fit.scale.scale == pytest.approx(1 / 120)
