from __future__ import annotations

import math

import numpy as np
import pytest

from depth_perception.metrics import METRICS, MetricsError, depth_metrics
from depth_perception.scoring import Protocol, Scores


def unequal_images():
    """Two predictions and truths: 12 pixels 10 % too far, and 4 pixels 50 % too far."""
    near, far = np.full((3, 4), 2.0), np.full((2, 2), 4.0)
    return [(1.1 * near, near), (1.5 * far, far)]


def summary_of(images, protocol=None):
    scores = Scores(protocol or Protocol())
    for image in images:
        scores.add(*image)
    return scores.summary()


def test_per_image_every_image_and_per_pixel_every_pixel_weighs_the_same():
    s = summary_of(unequal_images())
    assert s['per_image']['abs_rel']['mean'] == pytest.approx((0.1 + 0.5) / 2)
    assert s['per_pixel']['abs_rel']['mean'] == pytest.approx((12 * 0.1 + 4 * 0.5) / 16)


def test_per_pixel_roots_are_taken_over_all_pixels():
    s = summary_of(unequal_images())
    # Errors of 0.2 m and 2 m.
    assert s['per_image']['rmse']['mean'] == pytest.approx((0.2 + 2) / 2)
    assert s['per_pixel']['rmse']['mean'] == pytest.approx(math.sqrt((12 * 0.04 + 4 * 4) / 16))


def test_per_pixel_metrics_are_those_of_all_pixels_in_one_image():
    rng = np.random.default_rng(0)
    images = [(t * rng.uniform(0.7, 1.4, t.shape), t)
              for t in (rng.uniform(1, 9, (h, 7)) for h in (3, 8, 20))]
    pooled = depth_metrics(*(np.concatenate(x) for x in zip(*images)))
    s = summary_of(images)
    # The scale invariant ones forgive each image its own scale; pooled they would forgive one.
    for name in set(METRICS) - {'silog', 'scale_invariant'}:
        assert s['per_pixel'][name]['mean'] == pytest.approx(pooled[name])


def test_the_scale_of_each_image_stays_its_own_per_pixel():
    s = summary_of(unequal_images())
    assert s['per_pixel']['silog']['mean'] == pytest.approx(0, abs=1e-6)


def test_the_summary_names_its_protocol():
    protocol = Protocol(max_depth=10.0, align='median', norm='minmax')
    s = summary_of(unequal_images(), protocol)
    assert s['protocol'] == {'min_depth': 1e-3, 'max_depth': 10.0, 'align': 'median',
                             'crop': 'none', 'norm': 'minmax'}
    assert s['per_image']['abs_rel']['mean'] == pytest.approx(0)
    assert {'mse_minmax', 'ssim_minmax'} < s['per_image'].keys()


def test_intervals_hold_the_mean_and_shrink_to_it_for_equal_images():
    rng = np.random.default_rng(0)
    truth = np.full((4, 4), 3.0)
    s = summary_of([(truth * rng.uniform(1.0, 1.5), truth) for _ in range(30)])
    for average in (s['per_image'], s['per_pixel']):
        for name in ('abs_rel', 'rmse'):
            interval = average[name]
            assert interval['lo'] < interval['mean'] < interval['hi']
    same = summary_of([(1.1 * truth, truth)] * 5)['per_pixel']['rmse']
    assert same['lo'] == pytest.approx(same['hi'])


def test_images_without_truth_or_prediction_are_counted_and_change_no_mean():
    (pred, truth), other = unequal_images()
    nothing = np.full_like(truth, np.nan)
    s = summary_of([(pred, truth), other, (pred, nothing), (nothing, truth)])
    assert (s['images'], s['without_truth'], s['without_prediction']) == (2, 1, 1)
    assert (s['pixels'], s['valid']) == (16, 16 / 28)
    assert s['per_image']['abs_rel']['mean'] == pytest.approx(0.3)


def test_a_summary_of_nothing_is_nan():
    s = summary_of([])
    assert s['images'] == 0
    assert math.isnan(s['valid'])
    assert math.isnan(s['per_image']['rmse']['mean'])


def test_a_protocol_of_an_unknown_alignment_is_refused():
    with pytest.raises(MetricsError, match="align is 'scale'"):
        Protocol(align='scale').score(np.ones((2, 2)), np.ones((2, 2)))
