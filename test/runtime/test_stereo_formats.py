import cv2
import numpy as np
import pytest

from depth_perception.stereo_disparity import StereoError
from depth_perception.stereo_formats import (
    ANAGLYPHS,
    FORMATS,
    PAIR_FORMATS,
    anaglyph,
    check_format,
    rgbd,
    side_by_side,
)

W, H = 64, 6
LEFT, RIGHT = np.random.default_rng(1).integers(0, 256, (2, H, W, 3), np.uint8)
#: 2 x 3 pixels, each view with its own hundreds, the tens count rows and the ones columns.
SMALL_LEFT = (100 + 10 * np.arange(2)[:, None] + np.arange(3))[..., None].repeat(3, 2).astype('u1')
SMALL_RIGHT = SMALL_LEFT + np.uint8(100)


def small(name):
    return PAIR_FORMATS[name](SMALL_LEFT, SMALL_RIGHT)[..., 0].tolist()


def test_side_by_side_puts_left_to_the_left():
    out = np.empty((H, 2 * W, 3), np.uint8)
    assert side_by_side(LEFT, RIGHT, out=out) is out
    assert np.array_equal(out, np.concatenate((LEFT, RIGHT), axis=1))


def test_half_side_by_side_averages_pairs_of_columns():
    half = side_by_side(LEFT, RIGHT, half=True)
    both = np.concatenate((LEFT, RIGHT), axis=1).astype(float)
    assert half.shape == (H, W, 3)
    np.testing.assert_allclose(half, 0.5 * (both[:, ::2] + both[:, 1::2]), atol=0.51)


@pytest.mark.parametrize('name, expected', [
    ('side_by_side', [[100, 101, 102, 200, 201, 202], [110, 111, 112, 210, 211, 212]]),
    ('cross_eyed', [[200, 201, 202, 100, 101, 102], [210, 211, 212, 110, 111, 112]]),
    ('top_bottom', [[100, 101, 102], [110, 111, 112], [200, 201, 202], [210, 211, 212]]),
    ('half_top_bottom', [[105, 106, 107], [205, 206, 207]]),
    ('row_interleaved', [[100, 101, 102], [210, 211, 212]]),
    ('column_interleaved', [[100, 201, 102], [110, 211, 112]]),     # an odd width
])
def test_a_format_puts_each_pixel_where_it_belongs(name, expected):
    assert small(name) == expected


def test_the_views_themselves_stay_as_they_are():
    left, right = LEFT.copy(), RIGHT.copy()
    for name in PAIR_FORMATS:
        PAIR_FORMATS[name](left, right)
        assert np.array_equal(left, LEFT) and np.array_equal(right, RIGHT), name


@pytest.mark.parametrize('name, shape', [
    ('side_by_side', (1, 2)), ('half_side_by_side', (1, 2)), ('cross_eyed', (1, 2)),
    ('top_bottom', (2, 1)), ('half_top_bottom', (2, 1)), ('row_interleaved', (1, 1)),
    ('column_interleaved', (1, 1)), ('anaglyph_gray', (1, 1))])
def test_one_pixel_is_enough_for_every_format(name, shape):
    one = np.full((1, 1, 3), 90, np.uint8)
    assert PAIR_FORMATS[name](one, one).shape == (*shape, 3)


@pytest.mark.parametrize('method, expected', [
    # left (200, 100, 50), right (10, 60, 240); brightness 0.299 R + 0.587 G + 0.114 B
    ('color', (200, 60, 240)),
    ('half_color', (0.299 * 200 + 0.587 * 100 + 0.114 * 50, 60, 240)),
    ('gray', (124.2, 0.299 * 10 + 0.587 * 60 + 0.114 * 240, 65.57)),
    ('wimmer', (0.7 * 100 + 0.3 * 50, 60, 240)),
    ('dubois', (0.437 * 200 + 0.449 * 100 + 0.164 * 50 - 0.011 * 10 - 0.032 * 60 - 0.007 * 240,
                -0.062 * 200 - 0.062 * 100 - 0.024 * 50 + 0.377 * 10 + 0.761 * 60 + 0.009 * 240,
                255)),
])
def test_an_anaglyph_is_the_published_mixture(method, expected):
    left = np.array([[[200, 100, 50]]], np.uint8)
    right = np.array([[[10, 60, 240]]], np.uint8)
    np.testing.assert_allclose(anaglyph(left, right, method=method)[0, 0], expected, atol=0.75)
    name = f'anaglyph_{method}'
    assert np.array_equal(PAIR_FORMATS[name](left, right), anaglyph(left, right, method=method))


def test_the_dubois_anaglyph_of_whole_pictures_is_one_matrix():
    out = np.empty_like(LEFT)
    assert anaglyph(LEFT, RIGHT, out=out) is out
    weights = np.array(ANAGLYPHS['dubois'])
    exact = LEFT @ weights[:, :3].T + RIGHT @ weights[:, 3:].T
    np.testing.assert_allclose(out, np.clip(exact, 0, 255), atol=0.6)


@pytest.mark.parametrize('method', ANAGLYPHS)
@pytest.mark.parametrize('level', [0, 1, 127, 200, 255])
def test_equal_grey_views_stay_grey_in_every_anaglyph(method, level):
    view = np.full((2, 3, 3), level, np.uint8)
    np.testing.assert_allclose(anaglyph(view, view, method=method), level, atol=1)


def test_2d_plus_z_is_white_at_near_black_at_far_and_halfway_in_disparity_between():
    depth = np.array([[0.5, 1.0, 2.0, 4.0, 8.0, np.nan, 4.0 / 2.5]], np.float32)
    image = np.full((1, 7, 3), 9, np.uint8)
    both = rgbd(image, depth, near=1.0, far=4.0)
    assert np.array_equal(both[:, :7], image)
    # 1/1.6 lies halfway between 1/1 and 1/4
    np.testing.assert_allclose(both[0, 7:, 0], [255, 255, 85, 0, 0, 0, 127.5], atol=0.51)
    assert (both[..., 7:, 0:1] == both[..., 7:, :]).all()


def test_2d_plus_z_shows_depth_of_zero_and_less_as_none():
    depth = np.array([[0.0, -1.0]], np.float32)
    assert (rgbd(np.zeros((1, 2, 3), np.uint8), depth, 1.0, 4.0)[0, 2:] == 0).all()


def test_2d_plus_z_refuses_limits_in_the_wrong_order():
    with pytest.raises(StereoError, match='0 < near < far'):
        rgbd(np.zeros((1, 1, 3), np.uint8), np.ones((1, 1), np.float32), 4.0, 1.0)


def test_a_format_that_does_not_exist_is_refused_with_the_nearest():
    with pytest.raises(StereoError, match="'top_botom', perhaps 'top_bottom' is meant"):
        check_format('top_botom')
    with pytest.raises(StereoError, match='choose one of side_by_side, .*lenticular'):
        check_format('hologram of my cat')
    with pytest.raises(StereoError, match="'greyish'; choose one of color, half_color"):
        anaglyph(LEFT, RIGHT, method='greyish')
    for name in FORMATS:
        check_format(name)


def test_red_of_the_anaglyph_is_for_the_left_eye_in_rgb():
    red = cv2.merge([np.full((2, 2), level, np.uint8) for level in (255, 0, 0)])
    assert anaglyph(red, np.zeros_like(red), method='color')[0, 0].tolist() == [255, 0, 0]
