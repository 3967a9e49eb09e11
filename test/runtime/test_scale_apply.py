"""Depth under a scale, by hand; a scale that follows a range sensor."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from depth_perception.scale import Scale, ScaleError
from depth_perception.scale_apply import Alignment, Rescaler

INF = float('inf')


def test_depth_of_a_metric_model_is_corrected_in_place():
    depth = np.array([[1.0, 2.0, np.nan, 10.0]], np.float32)
    # 1 / z' = 2 / z - 0.2: 1.8 -> 0.5556, 0.8 -> 1.25, 0 -> infinitely far
    out = Rescaler().metric(depth, Scale(2.0, -0.2), 0.0, INF)
    assert out is depth and out.dtype == np.float32
    np.testing.assert_allclose(out, [[1 / 1.8, 1.25, np.nan, np.nan]], rtol=1e-6)


def test_limits_hold_for_corrected_metres():
    depth = np.array([[1.0, 2.0, 4.0]], np.float32)
    out = Rescaler().metric(depth, Scale(0.5), 2.5, 6.0)      # 2, 4, 8 m
    np.testing.assert_array_equal(out, np.array([[np.nan, 4.0, np.nan]], np.float32))


def test_values_of_a_relative_model_become_metres():
    values = np.array([[0.0, 1.0, 3.0, -1.0, np.nan]], np.float32)
    out = np.empty_like(values)
    Rescaler().relative(values, Scale(0.25, 0.25), 0.0, INF, out)
    np.testing.assert_allclose(out, [[4.0, 2.0, 1.0, np.nan, np.nan]])


@given(st.floats(0.2, 5.0), st.floats(-0.05, 0.05), st.integers(1, 9), st.integers(1, 9))
def test_both_ways_of_correcting_agree(scale, shift, height, width):
    depth = np.random.default_rng(height).uniform(0.3, 9.0, (height, width)).astype(np.float32)
    inverse, out = 1.0 / depth, np.empty_like(depth)
    rescaler, wanted = Rescaler(), Scale(scale, shift)
    rescaler.relative(inverse.astype(np.float32), wanted, 0.0, 1e3, out)
    rescaler.metric(depth, wanted, 0.0, 1e3)
    np.testing.assert_allclose(depth, out, rtol=1e-3)


METRES = np.linspace(1.0, 4.0, 21)


def begun(weight, *factors, metres=METRES, **options):
    """An alignment that saw the model judge distances by these factors, a frame each."""
    alignment = Alignment(weight, **options)
    for factor in factors:
        alignment.add(1.0 / (factor * metres), metres, Scale())
    return alignment


def test_alignment_follows_a_change_by_its_weight():
    alignment = begun(0.9, *[1.0] * 5)
    assert alignment.factor == pytest.approx(1.0)
    # the model now sees all 10 % too far: a tenth of that comes through, as a logarithm
    alignment.add(1.0 / (1.1 * METRES), METRES, Scale())
    assert alignment.factor == pytest.approx(1.1 ** 0.1)
    for _ in range(200):
        alignment.add(1.0 / (1.1 * METRES), METRES, Scale())
    assert alignment.drift == pytest.approx(0.1, abs=1e-6)
    fixed = Scale().times(alignment.factor)
    np.testing.assert_allclose(1.0 / fixed.inverse(1.0 / (1.1 * METRES)), METRES)


def test_alignment_begins_with_the_median_of_its_first_frames():
    alignment = begun(0.9, 5.0, 1.1, 1.2, 1.1)
    assert not alignment.known and (alignment.factor, alignment.drift) == (1.0, 0.0)
    alignment.add(1.0 / (1.3 * METRES), METRES, Scale())
    assert alignment.known and alignment.factor == pytest.approx(1.2)


def test_alignment_takes_no_few_points_but_of_a_sensor_that_has_no_more():
    with pytest.raises(ScaleError, match='19 points of the range source .* at least 20'):
        begun(0.9, 5.0, metres=METRES[:19])
    alignment = begun(0.9, *[0.8] * 5, metres=METRES[:1], min_points=1)
    assert alignment.drift == pytest.approx(-0.2)
    with pytest.raises(ScaleError, match='0 points'):
        alignment.add(np.empty(0), np.empty(0), Scale())


def test_alignment_takes_no_frame_that_contradicts_itself_and_little_of_a_wild_one():
    alignment = begun(0.5, *[1.0] * 5)
    with pytest.raises(ScaleError, match='differ from the depth by .* among themselves'):
        alignment.add(np.tile([9.0, 0.5, 0.05], 7), METRES, Scale())
    with pytest.raises(ScaleError, match='0 points'):
        alignment.add(np.tile([np.nan, -1.0, np.inf], 7), METRES, Scale())
    assert alignment.factor == pytest.approx(1.0)
    alignment.add(0.1 / METRES, METRES, Scale())
    assert alignment.factor == pytest.approx(np.exp(0.125))
