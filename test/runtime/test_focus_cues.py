from __future__ import annotations

import cv2
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from depth_perception.focus_alignment import scaled
from depth_perception.focus_cues import Verdict, judge, widened

DIOPTRES = (2.0, 1.5, 1.0, 0.5, 0.1)    # of the five slices, from near to far


def textured() -> np.ndarray:
    rng = np.random.default_rng(2)
    grey = sum(weight * (noise := cv2.GaussianBlur(rng.standard_normal((240, 320)), (0, 0), size))
               / noise.std() for size, weight in ((8, 30), (0.6, 12)))
    grey = np.clip(128 + grey, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def stack(dioptre: float, blur_px: float) -> list[np.ndarray]:
    """A wall with texture at 1/dioptre metres: the deviation of its blur is blur_px a dioptre."""
    return [_blurred(textured(), blur_px * abs(each - dioptre)) for each in DIOPTRES]


def _blurred(picture, sigma):
    return cv2.GaussianBlur(picture, (0, 0), sigma) if sigma > 0 else picture


@pytest.mark.parametrize('dioptre', [2.0, 1.2, 0.3])
def test_a_scene_within_the_sweep_of_an_open_lens_has_cues(dioptre):
    verdict = judge(stack(dioptre, 1.5))
    assert verdict.kind == 'enough' and verdict.share > 0.9


def test_a_small_aperture_is_all_sharp():
    assert judge(stack(1.0, 0.05)) == Verdict('all sharp', 0.0)


@pytest.mark.parametrize(('dioptre', 'side'), [(5.0, 'near'), (-2.0, 'far')])
def test_a_scene_beyond_an_end_of_the_sweep_is_all_blurred_and_the_end_is_told(dioptre, side):
    verdict = judge(stack(dioptre, 1.5))
    assert (verdict.kind, verdict.side) == ('all blurred', side)


def test_a_blank_wall_has_no_texture():
    assert judge([np.full((240, 320, 3), 90, np.uint8)] * 5).kind == 'no texture'


def test_five_times_the_same_picture_holds_no_cue_sharp_or_not():
    assert judge([textured()] * 5).kind == 'all sharp'
    assert judge([_blurred(textured(), 3.0)] * 5).kind == 'all blurred'


def test_breathing_is_not_taken_for_a_cue_and_enlarging_the_picture_not_for_blur():
    scales = [1.0, 1.02, 1.03, 1.04, 1.05]
    breathing = [scaled(textured(), 1 / each) if each > 1 else textured() for each in scales]
    pictures = [scaled(_blurred(textured(), 0.8), 1 / each) for each in scales]
    assert judge(pictures, scales).share < 0.2
    assert judge(breathing[:1] * 5, scales).share < 0.2


def test_larger_pictures_and_the_other_channel_order_are_judged_alike():
    small = stack(1.0, 1.5)
    large = [cv2.resize(each, (640, 480), interpolation=cv2.INTER_CUBIC) for each in small]
    assert judge(large).kind == judge(small, channel_order='bgr').kind == 'enough'


LIMITS = (0.2, 20.0)


def test_an_all_sharp_sweep_is_widened_at_both_ends_in_dioptres():
    assert widened(0.6, 6.0, Verdict('all sharp', 0.0), LIMITS) == (
        pytest.approx(0.4), pytest.approx(9.0))


def test_an_all_blurred_sweep_is_widened_towards_the_scene():
    assert widened(0.6, 6.0, Verdict('all blurred', 0.0, 'near'), LIMITS) == (
        pytest.approx(0.4), pytest.approx(6.0))
    assert widened(0.6, 6.0, Verdict('all blurred', 0.0, 'far'), LIMITS) == (
        pytest.approx(0.6), pytest.approx(9.0))


@pytest.mark.parametrize('kind', ['enough', 'no texture'])
def test_a_sweep_that_is_right_or_cannot_be_helped_stays(kind):
    assert widened(0.6, 6.0, Verdict(kind, 0.5), LIMITS) == (
        pytest.approx(0.6), pytest.approx(6.0))


@given(st.floats(0.21, 1.0), st.floats(1.1, 19.0), st.integers(1, 20))
def test_however_often_it_is_widened_the_limits_hold(near, far, times):
    for _ in range(times):
        wider = widened(near, far, Verdict('all sharp', 0.0), LIMITS)
        assert LIMITS[0] <= wider[0] <= near and far <= wider[1] <= LIMITS[1]
        near, far = wider
    assert widened(near, float('inf'), Verdict('all sharp', 0.0), LIMITS)[1] == LIMITS[1]
