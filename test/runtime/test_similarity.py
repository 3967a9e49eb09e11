from __future__ import annotations

import math

import numpy as np
import pytest

from depth_perception.metrics import MetricsError
from depth_perception.similarity import masked_ssim, similarity_metrics


def random_maps(size=(32, 40)):
    rng = np.random.default_rng(0)
    return rng.random(size), rng.random(size), rng.random(size) > 0.3


def test_without_holes_the_ssim_is_that_of_scikit_image_away_from_the_border():
    reference = pytest.importorskip('skimage.metrics').structural_similarity
    x, y, mask = random_maps()
    _, theirs = reference(x, y, data_range=1.0, full=True, gaussian_weights=True, sigma=1.5,
                          use_sample_covariance=False)
    ours = masked_ssim(x, y, np.ones_like(mask))
    np.testing.assert_allclose(ours[5:-5, 5:-5], theirs[5:-5, 5:-5], atol=1e-6)


@pytest.mark.parametrize('rubbish', [1e6, np.nan, -np.inf])
def test_what_lies_behind_a_hole_does_not_change_the_ssim(rubbish):
    x, y, mask = random_maps()
    expected = masked_ssim(x, y, mask)[mask]
    np.testing.assert_array_equal(
        masked_ssim(np.where(mask, x, rubbish), np.where(mask, y, rubbish), mask)[mask], expected)


def test_constant_maps_have_the_values_computed_by_hand():
    # 6 m for 5 m, by 10 m: 0.6 and 0.5.
    m = similarity_metrics(np.full((16, 16), 6.0), np.full((16, 16), 5.0), max_depth=10.0)
    assert m['mse_max_depth'] == pytest.approx(0.01)
    expected = (2 * 0.6 * 0.5 + 1e-4) / (0.36 + 0.25 + 1e-4)
    assert m['ssim_max_depth'] == pytest.approx(expected)


def test_minmax_takes_the_limits_of_the_truth_for_both():
    truth = np.array([[2.0, 4.0, 6.0]])
    m = similarity_metrics(truth + 1, truth, norm='minmax')
    assert m['mse_minmax'] == pytest.approx((1 / 4)**2)


def test_the_truth_itself_has_error_0_and_similarity_1():
    truth = 1 + 5 * random_maps()[0]
    for norm in ('max_depth', 'minmax'):
        m = similarity_metrics(truth, truth, norm=norm)
        assert m == pytest.approx({f'mse_{norm}': 0.0, f'ssim_{norm}': 1.0})


def test_median_alignment_undoes_a_common_scale():
    truth = 1 + 5 * random_maps()[0]
    m = similarity_metrics(3 * truth, truth, align='median')
    assert m['ssim_max_depth'] == pytest.approx(1.0)


def test_the_mask_and_the_cap_choose_pixels():
    truth = np.array([[2.0, 4.0, 50.0]])
    pred = np.array([[2.0, 9.0, 9.0]])
    m = similarity_metrics(pred, truth, np.array([[True, False, True]]), max_depth=10.0)
    assert m['mse_max_depth'] == 0


def test_nothing_to_compare_and_no_range_are_nan():
    empty = similarity_metrics(np.ones((4, 4)), np.zeros((4, 4)))
    flat = similarity_metrics(np.ones((4, 4)), np.ones((4, 4)), norm='minmax')
    assert all(math.isnan(v) for v in (*empty.values(), *flat.values()))


def test_an_unknown_norm_is_refused():
    with pytest.raises(MetricsError, match="norm is 'zscore'; it must be one of max_depth, minm"):
        similarity_metrics(np.ones((2, 2)), np.ones((2, 2)), norm='zscore')
