from __future__ import annotations

import cv2
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from depth_perception.focus_alignment import (
    aligned,
    all_in_focus,
    breathing_scales,
    matched,
    measured_scale,
    movement,
    scaled,
    thin_lens_scale,
    thumbnail,
)
from depth_perception.focus_stack import Slice
from depth_perception.preprocessing import ImageError

SIZE = (160, 120)       # width, height


def waves(scale: float = 1.0, shift_px: float = 0.0) -> np.ndarray:
    """A picture that is a formula, so that it can be enlarged and moved exactly."""
    x, y = np.meshgrid(np.arange(SIZE[0]) - 79.5 - shift_px, np.arange(SIZE[1]) - 59.5)
    x, y = x / scale, y / scale
    grey = (np.sin(0.31 * x + 0.17 * y) + np.sin(0.23 * y - 0.11 * x) + np.sin(0.07 * x * y / 40)
            + np.cos(0.09 * x))
    return np.repeat((128 + 30 * grey).astype(np.uint8)[..., None], 3, axis=2)


def test_a_thumbnail_is_grey_and_160_wide_whatever_the_channel_order():
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    small = thumbnail(picture)
    assert small.shape == (120, 160) and small.dtype == np.float32
    np.testing.assert_array_equal(small, thumbnail(picture[..., ::-1].copy(), 'bgr'))
    assert thumbnail(picture[:30, :40]).shape == (30, 40)


@pytest.mark.parametrize('scale', [0.9, 0.97, 1.0, 1.02, 1.11])
def test_breathing_is_measured_to_a_quarter_of_a_pixel_at_the_border(scale):
    reference, picture = thumbnail(waves()), thumbnail(waves(1 / scale))
    assert measured_scale(picture, reference) == pytest.approx(scale, abs=0.25 / 80)


@pytest.mark.parametrize('sigma', [1.0, 2.0, 3.0])
def test_blur_is_not_taken_for_breathing(sigma):
    reference = thumbnail(waves())
    blurred = thumbnail(cv2.GaussianBlur(waves(1 / 1.05), (0, 0), sigma))
    assert measured_scale(blurred, reference) == pytest.approx(1.05, abs=0.004)


def test_a_picture_without_texture_has_scale_one_and_does_not_move():
    flat = thumbnail(np.full((120, 160, 3), 90, np.uint8))
    assert measured_scale(flat, thumbnail(waves())) == 1.0
    assert movement(flat + 5, flat) == 0.0


@given(st.floats(0.3, 20.0), st.floats(0.3, 20.0), st.floats(0.005, 0.1))
def test_a_thin_lens_breathes_as_its_image_distance(distance, reference, focal_length):
    # 1/f = 1/d + 1/v
    image = [1 / (1 / focal_length - 1 / each) for each in (distance, reference)]
    assert thin_lens_scale(distance, reference, focal_length) == pytest.approx(image[1] / image[0])


@pytest.mark.parametrize('pixels', [0.5, 1.0, 2.0])
def test_movement_is_about_the_shift_of_the_picture(pixels):
    share = movement(thumbnail(waves(shift_px=pixels)), thumbnail(waves()))
    assert 0.4 * pixels < share * SIZE[0] < 1.2 * pixels


def test_a_brighter_exposure_is_no_movement():
    reference = thumbnail(waves())
    assert movement(reference + 20, reference) < 1e-6


def test_a_lens_that_breathes_much_does_not_look_like_a_camera_that_moved():
    # what a picture lacks at its rim when it is made smaller must not count as a difference
    near, far = thumbnail(waves(1.12)), thumbnail(waves())
    for first, second in ((near, far), (far, near)):
        scale = measured_scale(second, first)
        assert movement(*matched(second, first, scale)) < 0.002


def test_scaling_keeps_the_centre_and_enlarges_about_it():
    picture = np.zeros((41, 41), np.float32)
    picture[20, 30] = 1.0                                        # 10 px right of (20, 20)
    enlarged = scaled(picture, 1.5, (20.0, 20.0))
    rows, columns = np.indices(enlarged.shape)
    centre = [(enlarged * each).sum() / enlarged.sum() for each in (columns, rows)]
    assert centre == [pytest.approx(35.0, abs=0.01), pytest.approx(20.0, abs=0.01)]


def test_scaling_back_and_forth_gives_the_picture_again():
    picture = waves().astype(np.float32)
    again = scaled(scaled(picture, 1.06, (70.0, 50.0)), 1 / 1.06, (70.0, 50.0))
    assert np.abs(again - picture)[10:-10, 10:-10].mean() < 1.0


def slices(*scales: float) -> list[Slice]:
    return [Slice(index, 0.5 + index, waves(1 / each), thumbnail=thumbnail(waves(1 / each)))
            for index, each in enumerate(scales)]


def test_a_stack_is_brought_to_the_scale_of_its_newest_slice():
    stack = slices(1.08, 1.03, 1.0)
    assert breathing_scales(stack, stack[2], 'none') == [1.0, 1.0, 1.0]
    measured = breathing_scales(stack, stack[2], 'measure')
    assert measured == [pytest.approx(1.08, abs=0.003), pytest.approx(1.03, abs=0.003), 1.0]
    thin = breathing_scales(stack, stack[2], 'thin_lens', 0.05)
    assert thin == [pytest.approx(0.9 / 0.98), pytest.approx((1 - 0.05 / 1.5) / 0.98), 1.0]
    images = aligned([each.image for each in stack], measured, (79.5, 59.5))
    assert images[2] is stack[2].image
    before = np.abs(stack[0].image.astype(int) - stack[2].image)[20:-20, 20:-20].mean()
    after = np.abs(images[0].astype(int) - stack[2].image)[20:-20, 20:-20].mean()
    assert after < 0.1 * before


def test_images_of_differing_size_cannot_be_aligned():
    with pytest.raises(ImageError, match='160x60, 160x120; all must be of one size'):
        aligned([waves(), waves()[:60]], [1.0, 1.0], (0.0, 0.0))


def test_all_in_focus_takes_each_part_from_where_it_is_sharp():
    sharp = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    soft = cv2.GaussianBlur(sharp, (0, 0), 2.0)
    left, right = sharp.copy(), soft.copy()
    left[:, 40:], right[:, 40:] = soft[:, 40:], sharp[:, 40:]
    joined = all_in_focus([left, right])
    np.testing.assert_array_equal(joined[:, :34], sharp[:, :34])
    np.testing.assert_array_equal(joined[:, 46:], sharp[:, 46:])
