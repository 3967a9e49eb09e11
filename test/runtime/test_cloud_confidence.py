from __future__ import annotations

import numpy as np

from depth_perception.cloud_filters import CloudFilters, CloudFilterSettings
from depth_perception.geometry import Intrinsics

FILTERS = CloudFilters(Intrinsics.from_hfov(4, 2, 60))
DEPTH = np.full((2, 4), 2.0, np.float32)
IMAGE = np.zeros((2, 4, 3), np.uint8)
CONFIDENCE = np.array([[0.2, 0.5, 0.9, np.nan], [1.0, 0.49, 0.51, 0.0]], np.float32)


def kept(least, confidence=CONFIDENCE):
    settings = CloudFilterSettings(min_confidence=least)
    return np.isfinite(FILTERS(DEPTH, IMAGE, settings, confidence=confidence))


def test_points_below_the_confidence_go():
    np.testing.assert_array_equal(kept(0.5), [[False, True, True, False],
                                              [True, False, True, False]])


def test_at_zero_all_points_stay():
    assert kept(0.0).all()


def test_of_a_model_that_does_not_say_all_points_stay():
    assert kept(0.9, confidence=None).all()
