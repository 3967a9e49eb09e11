from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
import numpy as np
import pytest

from depth_perception.metrics import (
    MetricsError,
    bootstrap_interval,
    depth_metrics,
    paired_difference,
)

depths = arrays(np.float64, (4, 5), elements=st.floats(0.1, 50.0))


def test_two_pixels_by_hand():
    m = depth_metrics(np.array([1.0, 3.0]), np.array([2.0, 2.0]))
    assert m['abs_rel'] == pytest.approx((0.5 + 0.5) / 2)
    assert m['sq_rel'] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert m['rmse'] == pytest.approx(1.0)
    a, b = math.log(0.5), math.log(1.5)
    assert m['rmse_log'] == pytest.approx(math.sqrt((a * a + b * b) / 2))
    assert m['log10'] == pytest.approx((math.log10(2) + math.log10(1.5)) / 2)
    assert m['silog'] == pytest.approx(100 * math.sqrt((a * a + b * b) / 2 - ((a + b) / 2) ** 2))
    assert (m['delta1'], m['delta2'], m['delta3']) == (0, 0.5, 0.5)  # ratios 2 and 1.5
    assert m['valid'] == 1


@given(depths)
def test_the_truth_itself_is_perfect(truth):
    m = depth_metrics(truth, truth)
    assert [m[name] for name in ('abs_rel', 'sq_rel', 'rmse', 'rmse_log', 'log10')] == [0] * 5
    assert m['silog'] == 0
    assert m['delta1'] == 1


@given(depths, st.floats(0.1, 10))
def test_silog_and_median_alignment_are_blind_to_a_common_scale(truth, scale):
    pred = truth * scale
    assert depth_metrics(pred, truth, max_depth=1e9)['silog'] == pytest.approx(0, abs=1e-4)
    aligned = depth_metrics(pred, truth, align='median')
    assert aligned['abs_rel'] == pytest.approx(0, abs=1e-9)


def test_median_alignment_ignores_a_minority_of_outliers():
    truth = np.full(11, 2.0)
    pred = np.full(11, 0.5)
    pred[:3] = 70.0
    assert depth_metrics(pred, truth, align='median')['delta1'] == pytest.approx(8 / 11)


@given(depths, st.floats(0.1, 10), st.floats(-3, 3))
def test_least_squares_finds_scale_and_shift(truth, scale, shift):
    aligned = depth_metrics((truth - shift) / scale, truth, align='least_squares')
    assert aligned['abs_rel'] == pytest.approx(0, abs=1e-6)


def test_least_squares_agrees_with_a_solver():
    rng = np.random.default_rng(0)
    truth, pred = rng.uniform(1, 9, 50), rng.uniform(1, 9, 50)
    design = np.column_stack([pred, np.ones(50)])
    fitted = design @ np.linalg.lstsq(design, truth, rcond=None)[0]
    assert depth_metrics(pred, truth, align='least_squares')['rmse'] == pytest.approx(
        math.sqrt(np.mean((fitted - truth) ** 2)))


def test_least_squares_of_a_constant_prediction_is_the_mean():
    truth = np.array([1.0, 3.0])
    assert depth_metrics(np.full(2, 7.0), truth, align='least_squares')['rmse'] == 1


def test_pixels_without_truth_do_not_count():
    truth = np.array([2.0, np.nan, 0.0, 100.0, -1.0])
    m = depth_metrics(np.full(5, 2.0), truth)
    assert (m['abs_rel'], m['valid']) == (0, 1)


def test_pixels_without_prediction_lower_only_the_valid_share():
    m = depth_metrics(np.array([2.0, np.nan, np.inf, 2.0]), np.full(4, 2.0))
    assert (m['abs_rel'], m['valid']) == (0, 0.5)


def test_a_mask_chooses_pixels():
    pred, truth = np.array([2.0, 9.0]), np.full(2, 2.0)
    assert depth_metrics(pred, truth, np.array([True, False]))['abs_rel'] == 0


def test_predictions_are_clipped_to_the_limits():
    m = depth_metrics(np.array([500.0, -3.0]), np.full(2, 10.0), min_depth=1, max_depth=20)
    assert m['abs_rel'] == pytest.approx((1.0 + 0.9) / 2)


def test_nothing_to_compare_is_nan():
    m = depth_metrics(np.ones(3), np.zeros(3))
    assert math.isnan(m['abs_rel'])
    assert m['valid'] == 0


@pytest.mark.parametrize(('arguments', 'message'), [
    ((np.ones((2, 3)), np.ones((3, 2))), r'prediction has shape \(2, 3\), truth \(3, 2\)'),
    ((np.ones(3), np.ones(3), np.ones(3)), 'mask has shape .* type float64; .* bool'),
])
def test_arrays_that_cannot_be_compared_are_refused(arguments, message):
    with pytest.raises(MetricsError, match=message):
        depth_metrics(*arguments)


def test_an_unknown_alignment_is_refused():
    with pytest.raises(MetricsError, match="'mean'; it must be one of none, median, least_sq"):
        depth_metrics(np.ones(2), np.ones(2), align='mean')


def test_the_scale_invariant_error_is_half_the_mean_square_over_pairs_of_pixels():
    rng = np.random.default_rng(2)
    pred, truth = rng.uniform(1, 5, 20), rng.uniform(1, 5, 20)
    e = np.log(pred / truth)
    pairs = ((e[:, None] - e[None])**2).sum() / (2 * 20**2)
    m = depth_metrics(pred, truth)
    assert m['scale_invariant'] == pytest.approx(pairs)
    assert m['silog'] == pytest.approx(100 * math.sqrt(pairs))


def test_the_mean_squared_error_is_the_square_of_its_root():
    m = depth_metrics(np.array([1.0, 5.0]), np.array([2.0, 2.0]))
    assert (m['mse'], m['rmse']) == (5.0, math.sqrt(5.0))


def test_pixels_are_counted():
    m = depth_metrics(np.array([1.0, np.nan, 1.0]), np.array([1.0, 1.0, 0.0]))
    assert (m['pixels'], m['truth_pixels']) == (1, 2)


def test_the_eigen_crop_keeps_rows_45_to_470_and_columns_41_to_600():
    truth, pred = np.full((480, 640), 2.0), np.full((480, 640), 9.0)
    pred[45:471, 41:601] = 2.0
    m = depth_metrics(pred, truth, crop='eigen')
    assert (m['abs_rel'], m['pixels']) == (0, 426 * 560)
    pred[45, 41] = pred[470, 600] = 9.0
    assert depth_metrics(pred, truth, crop='eigen')['delta1'] < 1


@pytest.mark.parametrize(('crop', 'message'), [
    ('eigen', r'shape \(240, 320\); the Eigen crop is one of \(480, 640\) images'),
    ('garg', "'garg'; it must be one of none, eigen"),
])
def test_a_crop_that_does_not_fit_is_refused(crop, message):
    with pytest.raises(MetricsError, match=message):
        depth_metrics(np.ones((240, 320)), np.ones((240, 320)), crop=crop)


def test_weights_pull_the_interval_to_the_weighted_mean():
    lo, hi = bootstrap_interval([1.0, 1.0], weights=[1, 5])
    assert (lo, hi) == (1.0, 1.0)
    middle = bootstrap_interval([0.0, 1.0] * 50, weights=[1, 3] * 50)
    assert middle[0] < 0.75 < middle[1]


def test_the_bootstrap_interval_is_that_of_the_normal_theory():
    values = np.random.default_rng(1).normal(5.0, 2.0, 400)
    lo, hi = bootstrap_interval(values)
    half = 1.96 * values.std() / math.sqrt(400)
    assert lo == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert hi == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_the_bootstrap_interval_is_repeatable_and_leaves_nan_out():
    values = [1.0, 2.0, 4.0, float('nan')]
    assert bootstrap_interval(values) == bootstrap_interval(values[:3])
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(np.arange(9.0))


def test_no_values_have_no_interval():
    assert all(map(math.isnan, bootstrap_interval([])))


def test_pairing_finds_a_small_difference_that_the_spread_hides():
    hard = np.random.default_rng(2).uniform(0.1, 2.0, 60)  # how hard each image is
    a = hard * 0.95 - 0.01
    mean, lo, hi = paired_difference(a, hard)
    assert mean == pytest.approx(np.mean(a - hard))
    assert lo < mean < hi < 0
    assert bootstrap_interval(a)[1] > bootstrap_interval(hard)[0]


def test_pairs_of_different_length_are_refused():
    with pytest.raises(MetricsError, match='one of each for every image'):
        paired_difference([1.0], [1.0, 2.0])
