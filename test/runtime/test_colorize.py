import numpy as np
import pytest

from depth_perception.colorize import (
    COLORMAPS,
    LEGEND_WIDTH,
    ColorizeError,
    annotate,
    color_table,
    colorize,
)


def colour_of(metres, near=0.5, far=8.0, colormap='turbo'):
    return colorize(np.array([[metres]], np.float32), near, far, colormap)[0, 0].tolist()


def test_near_is_red_and_far_is_blue():
    blue, _, red = colour_of(0.6)
    assert red > 100 > blue
    blue, _, red = colour_of(7.0)
    assert blue > red


def test_no_depth_is_black_in_every_map():
    for name in COLORMAPS:
        assert colour_of(np.nan, colormap=name) == [0, 0, 0]


def test_beyond_the_limits_the_colour_of_the_limit_is_kept():
    assert colour_of(0.01) == colour_of(0.5) == color_table('turbo')[255, 0].tolist()
    assert colour_of(100.0) == colour_of(8.0) == color_table('turbo')[1, 0].tolist()
    assert colour_of(np.inf) == colour_of(8.0)


def test_equal_ratios_of_depth_are_equal_steps_of_colour():
    grey = [colour_of(metres, colormap='gray')[0] for metres in (0.5, 1.0, 2.0, 4.0, 8.0)]
    np.testing.assert_allclose(np.diff(grey), -254 / 4, atol=1)


def test_the_colour_of_a_distance_does_not_depend_on_the_rest_of_the_image():
    depth = np.array([[1.0, 2.0, 7.9]], np.float32)
    assert colorize(depth, 0.5, 8.0)[0, 1].tolist() == colour_of(2.0)


def test_the_output_buffer_is_filled():
    out = np.empty((2, 3, 3), np.uint8)
    depth = np.full((2, 3), 2.0, np.float32)
    assert colorize(depth, 0.5, 8.0, out=out) is out
    assert (out == colour_of(2.0)).all()


@pytest.mark.parametrize('limits', [(0.0, 1.0), (2.0, 1.0), (1.0, np.inf), (np.nan, 1.0)])
def test_limits_must_be_ordered(limits):
    with pytest.raises(ColorizeError, match='0 < near < far'):
        colorize(np.ones((1, 1), np.float32), *limits)


def test_an_unknown_map_is_refused_with_the_choices():
    with pytest.raises(ColorizeError, match="'rainbow'; choose one of turbo, jet"):
        colour_of(1.0, colormap='rainbow')


def test_the_legend_is_beside_the_picture_and_runs_from_far_to_near():
    picture = colorize(np.full((240, 320), 2.0, np.float32), 0.5, 8.0)
    both = annotate(picture, 0.5, 8.0)
    assert both.shape == (240, 320 + LEGEND_WIDTH, 3)
    assert np.array_equal(both[:, :320], picture)
    bar = both[12:228, 320 + 10]
    assert bar[0].tolist() == colour_of(8.0) and bar[-1].tolist() == colour_of(0.5)
