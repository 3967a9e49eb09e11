"""Augmentation: image, depth and focal length move together."""
from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from training.data.augment import (
    AugmentConfig,
    Crop,
    apply_crop,
    augment,
    change_picture,
    fitted_crop,
    jitter_colour,
    random_crop,
)

CANONICAL_FOCAL_PX = 260.0
VIEW = (360, 480)
STILL = AugmentConfig(flip=0, roll=0, colour=0, grey=0, noise=0, blur=0, jpeg=0)


def plane_view(focal_px, slope=0.4, distance=2.0, height=VIEW[0], width=VIEW[1]):
    """Image whose red and green are the ray's x and y, and z depth of z = distance + slope x."""
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    x, y = (u - (width - 1) / 2) / focal_px, (v - (height - 1) / 2) / focal_px
    image = np.stack([127.5 + 100 * x, 127.5 + 100 * y, 0 * x], -1)
    return np.rint(image).astype(np.uint8), (distance / (1 - slope * x)).astype(np.float16)


@given(zoom=st.floats(1.0, 2.5), dx=st.floats(-1, 1), dy=st.floats(-1, 1),
       focal=st.floats(240, 600))
@settings(max_examples=25, deadline=None)
def test_canonical_depth_of_a_wall_changes_with_the_zoom_alone(zoom, dx, dy, focal):
    image, depth = plane_view(focal, slope=0.0, distance=2.0)
    fit = fitted_crop(*VIEW, 240, 320, zoom)
    crop = Crop(fit.x + 20 * dx, fit.y + 20 * dy, fit.scale)
    _, cut, new_focal = apply_crop(image, depth, focal, crop, 240, 320)
    # A wall at 2 m, seen with a focal length f at 320 px, has canonical depth 2 * 260 / f.
    expected = 2.0 * CANONICAL_FOCAL_PX / (focal * zoom * 320 / 480)
    canonical = cut * CANONICAL_FOCAL_PX / new_focal
    assert np.nanmedian(canonical) == pytest.approx(expected, rel=2e-3)


@given(zoom=st.floats(1.0, 2.5), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_points_of_a_slanted_wall_stay_where_they_were(zoom, seed):
    # The image carries its rays, so each pixel of the picture says which ray it shows.
    focal = 400.0
    image, depth = plane_view(focal)
    config = AugmentConfig(zoom=(zoom, zoom), roll=1.0)
    crop = random_crop(np.random.default_rng(seed), *VIEW, 240, 320, config)
    picture, cut, _ = apply_crop(image, depth, focal, crop, 240, 320)
    x = (picture[..., 0].astype(float) - 127.5) / 100
    expected = 2.0 / (1 - 0.4 * x)
    assert np.nanpercentile(np.abs(cut / expected - 1), 95) < 0.01


def test_zoom_multiplies_the_focal_length_and_leaves_depth_alone():
    image, depth = plane_view(300.0, slope=0.0)
    for zoom in (1.0, 1.5, 2.5):
        crop = fitted_crop(*VIEW, 240, 320, zoom)
        _, cut, focal = apply_crop(image, depth, 300.0, crop, 240, 320)
        assert focal == pytest.approx(300.0 * zoom / 1.5)
        assert np.nanmax(np.abs(cut - 2.0)) == 0


def test_an_unzoomed_crop_of_equal_size_changes_nothing():
    image, depth = plane_view(300.0, height=240, width=320)
    crop = fitted_crop(240, 320, 240, 320)
    picture, cut, focal = apply_crop(image, depth, 300.0, crop, 240, 320)
    assert (picture == image).all() and (cut == depth.astype(np.float32)).all() and focal == 300.0


def test_mirroring_swaps_left_and_right_of_image_and_depth():
    image, depth = plane_view(300.0, height=240, width=320)
    crop = Crop(159.5, 119.5, 1.0, 0.0, True)
    picture, cut, _ = apply_crop(image, depth, 300.0, crop, 240, 320)
    assert (picture == image[:, ::-1]).all()
    assert (cut == depth[:, ::-1].astype(np.float32)).all()


def test_a_roll_turns_the_picture_about_its_centre():
    picture_centre = Crop(50.0, 40.0, 2.0, math.radians(90)).matrix(11, 21) @ [10, 5, 1]
    np.testing.assert_allclose(picture_centre, [50, 40], atol=1e-9)
    one_right = Crop(50.0, 40.0, 2.0, math.radians(90)).matrix(11, 21) @ [11, 5, 1]
    np.testing.assert_allclose(one_right, [50, 42], atol=1e-9)


def test_holes_stay_holes_and_the_outside_of_a_rolled_view_is_a_hole():
    image, depth = plane_view(300.0, slope=0.0)
    depth[100:200, 100:200] = np.nan
    crop = fitted_crop(*VIEW, 240, 320)
    _, cut, _ = apply_crop(image, depth, 300.0, crop, 240, 320)
    assert np.isnan(cut).sum() == pytest.approx((100 / 1.5) ** 2, rel=0.03)
    _, cut, _ = apply_crop(image, depth, 300.0, Crop(crop.x, crop.y, crop.scale, 0.1), 240, 320)
    assert np.isnan(cut[0, 0]) and np.isnan(cut[-1, -1])


def test_depth_is_never_an_average_of_two_surfaces():
    image, depth = plane_view(300.0, slope=0.0)
    depth[:, 240:] = 5.0
    config = AugmentConfig(zoom=(1.0, 2.5), roll=1.0)
    for seed in range(5):
        _, cut, _ = augment(image, depth, 300.0, np.random.default_rng(seed), 240, 320, config)
        assert set(np.unique(cut[np.isfinite(cut)])) <= {2.0, 5.0}


def test_shrinking_to_half_size_averages_instead_of_skipping_pixels():
    image = np.zeros((*VIEW, 3), np.uint8)
    image[:, ::2] = 200  # stripes of one pixel
    crop = fitted_crop(*VIEW, 120, 160)
    picture, _, focal = apply_crop(image, np.ones(VIEW, np.float16), 300.0, crop, 120, 160)
    assert focal == pytest.approx(100.0)
    assert picture.std() < 35 and abs(int(picture.mean()) - 100) < 10


def test_the_same_generator_gives_the_same_picture_and_another_gives_another():
    image, depth = plane_view(300.0)
    a, b, c = (augment(image, depth, 300.0, np.random.default_rng(seed), 240, 320,
                       AugmentConfig()) for seed in (3, 3, 4))
    assert (a[0] == b[0]).all() and a[2] == b[2]
    np.testing.assert_array_equal(a[1], b[1])
    assert a[0].shape == c[0].shape and (a[0] != c[0]).any()


def test_colour_changes_leave_geometry_alone_and_grey_is_grey():
    image, _ = plane_view(300.0)
    picture = jitter_colour(image, np.random.default_rng(0), grey=True)
    assert (picture[..., 0] == picture[..., 1]).all() and picture.shape == image.shape


def test_nothing_is_changed_where_all_chances_are_zero():
    image, _ = plane_view(300.0)
    assert (change_picture(image, np.random.default_rng(0), STILL) == image).all()


def test_zoom_below_one_is_refused():
    with pytest.raises(ValueError, match='zoom is'):
        AugmentConfig(zoom=(0.5, 2.0))
