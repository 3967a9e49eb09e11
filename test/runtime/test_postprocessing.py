from __future__ import annotations

from dataclasses import replace
import math

import cv2
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from depth_perception.model_spec import ModelError, ModelSpec
from depth_perception.postprocessing import Postprocessor, to_metres
from depth_perception.preprocessing import ImageError, Placement

SPEC = ModelSpec(name='m', architecture='a', input_height=8, input_width=12, output_kind='metric',
                 canonical_focal_px=200.0, depth_range=(0.1, 10.0), training_data='',
                 licence='')
FULL = Placement(8, 12, 0, 0, 12, 8, 16, 24)


def of_kind(kind, focal=200.0):
    return replace(SPEC, output_kind=kind, canonical_focal_px=focal)


def raw_of(value):
    return np.full((8, 12), value, np.float32)


@given(st.sampled_from(['metric', 'log', 'inverse']), st.floats(0.05, 500), st.floats(20, 2000))
def test_every_kind_that_says_the_same_gives_the_same_metres(kind, canonical, f_px):
    said = {'metric': canonical, 'log': math.log(canonical), 'inverse': 1 / canonical}[kind]
    raw = np.array([said], np.float32)
    expected = canonical * f_px / 200.0
    np.testing.assert_allclose(to_metres(raw, of_kind(kind), f_px), [expected], rtol=1e-5)


@pytest.mark.parametrize('kind', ['metric', 'log', 'inverse'])
def test_without_a_canonical_focal_length_nothing_is_rescaled(kind):
    one_metre = np.array([0.0 if kind == 'log' else 1.0], np.float32)
    np.testing.assert_allclose(to_metres(one_metre, of_kind(kind, None), 777.0), [1.0])


@pytest.mark.parametrize(('kind', 'raw'), [
    ('metric', [np.nan, np.inf, -np.inf, 0.0, -1.0]),
    ('inverse', [np.nan, np.inf, -np.inf, 0.0, -1.0]),
    ('log', [np.nan, np.inf, -np.inf, 200.0, -200.0]),
])
def test_what_stands_for_no_distance_is_nan(kind, raw):
    assert np.isnan(to_metres(np.array(raw, np.float32), of_kind(kind), 200.0)).all()


def test_a_relative_model_has_no_metres():
    with pytest.raises(ModelError, match='relative depth, which has no unit'):
        to_metres(raw_of(1.0), of_kind('relative'), 200.0)


def test_to_metres_writes_into_out_and_leaves_the_output_of_the_model_alone():
    raw, out = raw_of(1.0), raw_of(0.0)
    assert to_metres(raw, of_kind('log'), 200.0, out=out) is out
    assert (raw == 1.0).all()
    np.testing.assert_allclose(out, math.e, rtol=1e-6)


def test_depth_is_interpolated_at_the_size_of_the_image():
    raw = np.random.default_rng(0).uniform(1, 9, (8, 12)).astype(np.float32)
    depth, nonfinite = Postprocessor(SPEC, FULL).depth(raw, 200.0)
    np.testing.assert_allclose(depth, cv2.resize(raw, (24, 16)), rtol=1e-6)
    assert nonfinite == 0


def test_the_letterbox_does_not_reach_the_depth():
    placement = Placement(8, 12, 2, 1, 8, 6, 12, 16)
    raw = raw_of(np.nan)
    raw[1:7, 2:10] = 3.0
    depth, nonfinite = Postprocessor(SPEC, placement).depth(raw, 200.0)
    assert depth.shape == (12, 16)
    np.testing.assert_allclose(depth, 3.0)
    assert nonfinite == 0


def test_non_finite_outputs_are_counted_and_nan():
    raw = raw_of(2.0)
    raw[0, 0], raw[7, 11] = np.nan, np.inf
    depth, nonfinite = Postprocessor(SPEC, FULL).depth(raw, 200.0)
    assert nonfinite == 2
    assert np.isnan(depth[0, 0])
    assert np.isnan(depth[-1, -1])
    np.testing.assert_allclose(depth[4:12, 4:20], 2.0)
    assert not np.isinf(depth).any()


def test_depth_outside_of_the_limits_is_nan():
    raw = np.tile(np.arange(1, 13, dtype=np.float32), (8, 1))
    same_size = Placement(8, 12, 0, 0, 12, 8, 8, 12)
    depth, nonfinite = Postprocessor(SPEC, same_size).depth(raw, 200.0, min_depth=3, max_depth=9)
    np.testing.assert_array_equal(np.isfinite(depth[0]), (raw[0] >= 3) & (raw[0] <= 9))
    assert nonfinite == 0


def test_limits_hold_for_the_rescaled_depth():
    depth, _ = Postprocessor(SPEC, FULL).depth(raw_of(2.0), 400.0, max_depth=3.0)
    assert np.isnan(depth).all()  # 2 m at the canonical focal length, 4 m with this camera


def test_a_relative_output_is_passed_through_without_scale_or_limits():
    raw = raw_of(-5.0)
    raw[0, 0] = np.nan
    depth, nonfinite = Postprocessor(of_kind('relative'), FULL).depth(raw, 999.0, min_depth=1.0,
                                                                      max_depth=2.0)
    assert nonfinite == 1
    np.testing.assert_allclose(depth[8:], -5.0)


def test_buffers_are_reused_and_out_is_written():
    post, out = Postprocessor(SPEC, FULL), np.zeros((16, 24), np.float32)
    first, _ = post.depth(raw_of(1.0), 200.0)
    second, _ = post.depth(raw_of(2.0), 200.0)
    assert first is second
    assert post.depth(raw_of(3.0), 200.0, out=out)[0] is out
    assert (out == 3.0).all()


@pytest.mark.parametrize('out', [np.zeros((16, 23), np.float32), np.zeros((16, 24)),
                                 np.zeros((24, 16), np.float32).T])
def test_an_out_that_does_not_fit_is_refused(out):
    with pytest.raises(ImageError, match='must be .*16, 24.*float32 and contiguous'):
        Postprocessor(SPEC, FULL).depth(raw_of(1.0), 200.0, out=out)


def test_confidence_keeps_its_values():
    confidence = Postprocessor(SPEC, FULL).confidence(raw_of(0.25))
    assert confidence.shape == (16, 24)
    np.testing.assert_allclose(confidence, 0.25)
