from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from training.evaluate import write_reliability
from training.reliability import Reliability


def counted(confidence, ratio):
    found = Reliability()
    truth = np.full((1, len(confidence)), 2.0)
    found.add(np.array([confidence]), truth * np.array([ratio]), truth)
    return found


def test_a_bin_holds_the_share_of_pixels_that_are_right():
    # of four pixels with confidence 0.72 three are off by less than 1.25; one lies elsewhere
    found = counted([0.72, 0.72, 0.72, 0.72, 0.1], [1.0, 1.2, 1 / 1.2, 1.3, 2.0]).summary()
    low, high = found['bins']
    assert (low['pixels'], high['pixels']) == (1, 4)
    assert (high['confidence'], high['right']) == pytest.approx((0.72, 0.75))
    assert (low['confidence'], low['right']) == pytest.approx((0.1, 0.0))
    assert found['expected_calibration_error'] == pytest.approx((4 * 0.03 + 0.1) / 5)


def test_confidence_in_the_order_of_the_errors_is_the_best():
    errors = np.linspace(0, 0.4, 100)
    good = counted(1 - errors, 1 + errors).summary()
    bad = counted(errors, 1 + errors).summary()
    assert good['ause'] == pytest.approx(0, abs=1e-9)
    assert bad['ause'] > 0.5
    # nothing dropped: the mean of 0..0.4; 0.95 dropped: the largest five
    assert bad['sparsification']['by_confidence'][0] == pytest.approx(0.2)
    assert bad['sparsification']['by_confidence'][-1] == pytest.approx(errors[-5:].mean())


def test_pixels_without_truth_or_depth_do_not_count():
    found = Reliability()
    nan = np.nan
    found.add(np.array([[0.5, 0.5, nan, 0.5]]), np.array([[nan, 2.0, 2.0, 2.0]]),
              np.array([[2.0, nan, 2.0, 2.0]]))
    assert [each['pixels'] for each in found.summary()['bins']] == [1]
    assert Reliability().summary() == {'bins': []}


def test_a_model_that_draws_its_errors_from_its_scale_is_calibrated():
    rng = np.random.default_rng(0)
    scale = rng.uniform(0.05, 0.5, 100_000)
    ratio = np.exp(rng.laplace(scale=scale))
    found = counted(1 - np.exp(-np.log(1.25) / scale), ratio).summary()
    assert found['expected_calibration_error'] < 0.01


def test_the_plot_and_the_numbers_are_written(tmp_path):
    rng = np.random.default_rng(0)
    found = counted(rng.uniform(size=500), rng.uniform(0.8, 1.4, 500)).summary()
    told = write_reliability(found, tmp_path)
    assert set(told['confidence']) == {'expected_calibration_error', 'ause'}
    assert json.loads((tmp_path / 'confidence.json').read_text()) == found
    assert cv2.imread(str(tmp_path / 'confidence.png')).shape == (400, 900, 3)
    assert write_reliability({'bins': []}, tmp_path) == {}
