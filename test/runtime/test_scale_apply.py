"""Depth under a scale, by hand; a scale that follows a range sensor."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from depth_perception.scale import Scale
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


def test_alignment_follows_a_change_by_its_weight():
    alignment = Alignment(weight=0.9)
    metres = np.array([1.0, 2.0, 4.0])
    assert (alignment.factor, alignment.drift) == (1.0, 0.0)
    assert alignment.add(1.0 / metres, metres, Scale())
    assert alignment.factor == pytest.approx(1.0)
    # the model now sees all 10 % too far: a tenth of that comes through, as a logarithm
    alignment.add(1.0 / (1.1 * metres), metres, Scale())
    assert alignment.factor == pytest.approx(1.1 ** 0.1)
    for _ in range(200):
        alignment.add(1.0 / (1.1 * metres), metres, Scale())
    assert alignment.drift == pytest.approx(0.1, abs=1e-6)
    fixed = Scale().times(alignment.factor)
    np.testing.assert_allclose(1.0 / fixed.inverse(1.0 / (1.1 * metres)), metres)


def test_alignment_takes_no_frame_that_contradicts_itself_and_little_of_a_wild_one():
    alignment = Alignment(weight=0.5)
    metres = np.array([1.0, 2.0, 4.0])
    assert not alignment.add(np.array([9.0, 0.5, 0.05]), metres, Scale())
    assert not alignment.add(np.array([np.nan, -1.0, np.inf]), metres, Scale())
    assert not alignment.add(np.empty(0), np.empty(0), Scale())
    alignment.add(1.0 / metres, metres, Scale())
    alignment.add(0.1 / metres, metres, Scale())
    assert alignment.factor == pytest.approx(np.exp(0.125))
