"""Scale and shift of inverse depth: by hand, recovered under outliers, refused with a reason."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from depth_perception.scale import MAX_ERROR, Scale, ScaleError, fit_scale

INF = float('inf')


def scene(seed, count=200, near=0.5, far=8.0):
    """True distances, evenly spread in inverse depth as the pixels of a floor are."""
    rng = np.random.default_rng(seed)
    return rng, 1.0 / rng.uniform(1.0 / far, 1.0 / near, count)


@given(st.integers(0, 10**6), st.floats(0.01, 100.0), st.floats(-0.08, 0.5),
       st.floats(0.0, 0.4))
def test_a_relative_model_gets_scale_and_shift_back_under_outliers(seed, scale, shift, share):
    rng, metres = scene(seed)
    values = (1.0 / metres - shift) / scale
    wrong = rng.random(len(metres)) < share
    metres[wrong] = rng.uniform(0.3, 20.0, wrong.sum())
    fit = fit_scale(values, metres, is_metric=False)
    assert fit.scale.scale == pytest.approx(scale, rel=1e-3)
    assert fit.scale.shift == pytest.approx(shift, abs=1e-3)
    assert fit.points == 200 and fit.inliers >= 200 - wrong.sum()


@given(st.integers(0, 10**6), st.floats(0.3, 3.0))
def test_noise_of_five_percent_leaves_the_scale_of_a_metric_model_within_two(seed, scale):
    rng, metres = scene(seed)
    values = 1.0 / (metres * rng.lognormal(0.0, 0.05, len(metres))) / scale
    fit = fit_scale(values, metres, is_metric=True)
    ratio = fit.scale.inverse(values) * metres
    assert np.median(ratio) == pytest.approx(1.0, abs=0.02)
    assert 0.02 < fit.error < 0.06      # the median of |N(0, 5 %)| is 3.4 %


def test_two_points_by_hand():
    # 1/1 = a * 3 + b and 1/4 = a * 1 + b give a = 3/8 and b = -1/8
    values, metres = np.tile([3.0, 1.0], 10), np.tile([1.0, 4.0], 10)
    fit = fit_scale(values, metres, is_metric=False)
    assert (fit.scale.scale, fit.scale.shift) == pytest.approx((0.375, -0.125))
    assert (fit.nearest_m, fit.farthest_m, fit.error) == pytest.approx((1.0, 4.0, 0.0))


def test_a_metric_model_keeps_shift_zero_unless_it_is_needed():
    _, metres = scene(0)
    right = fit_scale(0.5 / metres, metres, is_metric=True).scale
    assert (right.scale, right.shift) == (pytest.approx(2.0), 0.0)
    shifted = fit_scale(0.5 / metres + 0.2, metres, is_metric=True).scale
    assert (shifted.scale, shifted.shift) == pytest.approx((2.0, -0.4))


def test_alike_distances_tell_a_metric_model_its_scale_and_a_relative_one_nothing():
    metres = np.linspace(2.0, 2.2, 50)
    fit = fit_scale(2.0 / metres, metres, is_metric=True)
    assert (fit.scale.scale, fit.scale.shift) == (pytest.approx(0.5), 0.0)
    with pytest.raises(ScaleError, match='between 2.01 and 2.19 m; a relative model needs a far'):
        fit_scale(2.0 / metres, metres, is_metric=False)


def test_too_few_points_are_refused_and_nan_is_no_point():
    metres = np.linspace(1.0, 5.0, 30)
    values = 1.0 / metres
    values[:15] = np.nan
    metres[28:] = [np.inf, -1.0]
    with pytest.raises(ScaleError, match='13 points .* at least 20'):
        fit_scale(values, metres, is_metric=True)
    with pytest.raises(ScaleError, match='0 points'):
        fit_scale(np.empty(0), np.empty(0), is_metric=True)


def test_a_poor_fit_is_refused():
    rng, metres = scene(1)
    with pytest.raises(ScaleError, match='typical error of .* %, more than 20 %'):
        fit_scale(rng.uniform(0.1, 2.0, 200), metres, is_metric=True)


def test_a_model_that_sees_it_the_other_way_round_is_refused():
    metres = np.linspace(1.0, 2.5, 50)
    with pytest.raises(ScaleError, match='calls far what'):
        fit_scale(3.0 - 1.0 / metres, metres, is_metric=False)


def test_a_model_that_says_the_same_everywhere_is_refused():
    metres = np.linspace(1.0, 5.0, 50)
    with pytest.raises(ScaleError, match='same depth everywhere'):
        fit_scale(np.ones(50), metres, is_metric=False)
    noise = np.random.default_rng(0).normal(1.0, 1e-3, 50)
    with pytest.raises(ScaleError):
        fit_scale(noise, metres, is_metric=True)


@pytest.mark.parametrize('scale, shift', [(0.0, 0.0), (-1.0, 0.0), (INF, 0.0),
                                          (float('nan'), 0.0), (1.0, INF)])
def test_a_scale_is_positive_and_finite(scale, shift):
    with pytest.raises(ScaleError, match='above 0 and both finite'):
        Scale(scale, shift)


HOSTILE = st.sampled_from([0.0, 5e-324, 1e-310, 1e-38, 1e-3, 0.5, 1.0, 2.0, 50.0, 3e38, 1e200,
                           1e308, -1.0, -1e308, INF, float('nan')]) | st.floats(0.1, 10.0)


@pytest.mark.filterwarnings('ignore::RuntimeWarning')
@settings(max_examples=300)
@given(st.lists(st.tuples(HOSTILE, HOSTILE), min_size=1, max_size=30), st.booleans())
def test_whatever_model_and_sensor_say_there_is_a_scale_or_a_reason(pairs, is_metric):
    values, metres = np.array(pairs).T
    try:
        fit = fit_scale(values, metres, is_metric=is_metric, min_points=1)
    except ScaleError as error:
        assert str(error)
    else:
        assert fit.error <= MAX_ERROR and 1e-3 <= fit.nearest_m <= fit.farthest_m <= 1e6
