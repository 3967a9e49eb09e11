import math

import cv2
import numpy as np
import pytest

from depth_perception.stereo_disparity import StereoError
from depth_perception.stereo_plan import FlickerMeter, Planner, StereoSettings

FOCAL_PX = 100.0
HEIGHT, WIDTH = 96, 128


def picture(seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 4)
    return cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX)


def depth_of(metres):
    return np.full((HEIGHT, WIDTH), metres, np.float32)


def plan(depth, planner=None, image=None, **settings):
    image = picture() if image is None else image
    return (planner or Planner()).plan(image, depth, FOCAL_PX, StereoSettings(**settings))


def test_without_any_wish_the_plan_is_what_was_asked_for():
    assert plan(depth_of(2.0)) == (0.065, math.inf, math.inf, False)
    assert plan(depth_of(2.0), convergence_m=3.0)[1] == 3.0


def test_the_nearest_part_of_the_picture_comes_onto_the_screen():
    depth = depth_of(4.0)
    depth[:20, :40] = 1.5
    assert plan(depth, auto_convergence='nearest').convergence_m == pytest.approx(1.5)


def test_the_subject_in_the_middle_comes_onto_the_screen_whatever_is_nearer_beside_it():
    depth = depth_of(4.0)
    depth[:, :30] = 0.5
    depth[32:64, 40:88] = 2.0
    assert plan(depth, auto_convergence='subject').convergence_m == pytest.approx(2.0)


@pytest.mark.parametrize('bad', [np.nan, 0.0, -3.0, np.inf])
def test_without_any_depth_the_automatic_choices_leave_all_as_it_is(bad):
    for auto in ('nearest', 'subject'):
        result = plan(depth_of(bad), auto_convergence=auto, max_disparity_percent=3.0,
                      smoothing=0.5)
        assert result.baseline_m == 0.065 and result.convergence_m == math.inf


def test_a_comfort_limit_shortens_the_baseline_to_just_that_disparity():
    # 100 px * 0.065 m / 0.5 m = 13 px; 5 percent of 128 px are 6.4
    result = plan(depth_of(0.5), max_disparity_percent=5.0)
    assert result.limit_px == pytest.approx(6.4)
    assert FOCAL_PX * result.baseline_m / 0.5 == pytest.approx(6.4)
    assert plan(depth_of(5.0), max_disparity_percent=5.0).baseline_m == pytest.approx(0.065)


def test_a_limit_next_to_nothing_leaves_next_to_no_baseline():
    assert 0.0 <= plan(depth_of(0.5), max_disparity_percent=5e-324).baseline_m < 1e-300


def test_the_limit_counts_from_the_screen_to_both_sides():
    depth = depth_of(0.5)
    depth[:, 64:] = 100.0
    result = plan(depth, convergence_m=0.5, max_disparity_percent=5.0)
    farthest = FOCAL_PX * result.baseline_m * (1 / 100.0 - 1 / 0.5)
    assert farthest == pytest.approx(-6.4, rel=1e-3)


def shown_disparities(scales, weight, images=None, metres=2.0):
    planner, result = Planner(), []
    for index, scale in enumerate(scales):
        image = picture() if images is None else images[index]
        p = plan(depth_of(metres * scale), planner, image, smoothing=weight)
        result.append(FOCAL_PX * p.baseline_m / (metres * scale))
    return np.array(result)


def test_smoothing_is_an_exponential_mean_of_the_logarithm_of_scale():
    scales, weight = [1.0, 1.2, 0.9, 1.1, 1.05], 0.7
    smooth, expected = 0.0, []
    for scale in scales:
        smooth = weight * smooth + (1 - weight) * math.log(scale)
        expected.append(FOCAL_PX * 0.065 / (2.0 * math.exp(smooth)))
    np.testing.assert_allclose(shown_disparities(scales, weight), expected, rtol=1e-5)


def test_without_smoothing_every_frame_is_shown_as_it_is():
    scales = [1.0, 1.2, 0.9]
    np.testing.assert_allclose(shown_disparities(scales, 0.0), 3.25 / np.array(scales), rtol=1e-6)


def test_a_new_scene_starts_anew():
    images = [picture(1), picture(1), picture(2), picture(2)]
    shown = shown_disparities([1.0, 1.0, 3.0, 3.0], 0.9, images)
    np.testing.assert_allclose(shown, [3.25, 3.25, 3.25 / 3, 3.25 / 3], rtol=1e-5)
    planner = Planner()
    cuts = [plan(depth_of(2.0), planner, each, smoothing=0.9).cut for each in images]
    assert cuts == [False, False, True, False]


def test_motion_and_a_change_of_light_are_no_new_scene():
    planner, image = Planner(), picture(1)
    for each in (image, np.roll(image, 3, axis=1), cv2.convertScaleAbs(image, alpha=0.7)):
        assert not plan(depth_of(2.0), planner, each, smoothing=0.9).cut


def test_a_frame_without_depth_does_not_disturb_the_next():
    shown = shown_disparities([1.0, np.nan, 1.0], 0.9)
    np.testing.assert_allclose(shown[[0, 2]], 3.25, rtol=1e-6)


def test_the_automatic_choices_follow_slowly_as_well():
    planner = Planner()
    settings = {'auto_convergence': 'nearest', 'smoothing': 0.5}
    far, near = depth_of(4.0), depth_of(4.0)
    near[:20, :40] = 2.0
    assert plan(far, planner, **settings).convergence_m == pytest.approx(4.0)
    # halfway in 1 / distance
    assert plan(near, planner, **settings).convergence_m == pytest.approx(1 / 0.375)


def test_flicker_is_the_mean_second_difference_of_disparity():
    meter, image = FlickerMeter(), picture()
    assert math.isnan(meter.px)
    for value in (2.0, 3.0, 2.0, 3.0):
        meter.add(image, depth_of(value))
    assert meter.frames == 2 and meter.px == pytest.approx(2.0)


def test_steady_motion_does_not_count_as_flicker():
    meter, image = FlickerMeter(), picture()
    for index in range(5):
        meter.add(image, depth_of(2.0 + 0.3 * index))
    assert meter.px == pytest.approx(0.0, abs=1e-6)


def test_flicker_is_not_measured_across_a_cut_nor_without_depth():
    meter = FlickerMeter()
    for index, value in enumerate((2.0, 2.0, 9.0, 9.0)):
        meter.add(picture(index // 2), depth_of(value))
    for _ in range(3):
        meter.add(picture(1), depth_of(np.nan))
    assert meter.frames == 0 and math.isnan(meter.px)


@pytest.mark.parametrize('wrong, message', [
    ({'baseline_m': 0.0}, 'baseline_m is 0.0; it must be above 0'),
    ({'baseline_m': math.nan}, 'baseline_m is nan'),
    ({'convergence_m': -1.0}, 'convergence_m is -1.0'),
    ({'auto_convergence': 'farthest'}, 'choose one of off, nearest, subject'),
    ({'max_disparity_percent': 101.0}, 'must be 0 to 100'),
    ({'views': 'left'}, 'choose one of right, both'),
    ({'fill': 'magic'}, 'choose one of background, inpaint, temporal'),
    ({'edge_dilation_px': -1}, 'edge_dilation_px is -1'),
    ({'smoothing': 1.0}, 'must be 0 to below 1'),
    ({'near_m': 5.0, 'far_m': 2.0}, 'near_m is 5.0; it must be above 0 to below far_m'),
    ({'view_count': 17}, 'must be 2 to 16'),
    ({'lens_pitch_px': 0.0}, 'lens_pitch_px is 0.0'),
])
def test_impossible_settings_are_refused_with_the_rule(wrong, message):
    with pytest.raises(StereoError, match=message):
        StereoSettings(**wrong)
