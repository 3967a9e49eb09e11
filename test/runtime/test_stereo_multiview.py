from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from depth_perception.stereo_disparity import StereoError
from depth_perception.stereo_multiview import MAX_VIEWS, arranged, grid_for, lenticular


def numbered(count, height=2, width=3):
    """Views that consist of their number."""
    return [np.full((height, width, 3), index, np.uint8) for index in range(count)]


def test_a_quilt_begins_at_the_bottom_left_and_goes_up():
    grid = grid_for(6, 1, 1, 'quilt')
    assert arranged(numbered(6, 1, 1), grid)[..., 0].tolist() == [[3, 4, 5], [0, 1, 2]]


def test_a_tile_begins_at_the_top_left_and_goes_down():
    grid = grid_for(6, 1, 1, 'tile')
    assert arranged(numbered(6, 1, 1), grid)[..., 0].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_empty_places_are_black_whatever_was_in_the_buffer():
    grid = grid_for(7, 1, 1, 'tile')
    out = np.full((2, 4, 3), 99, np.uint8)
    assert arranged([view + np.uint8(1) for view in numbered(7, 1, 1)], grid, out=out) is out
    assert out[..., 0].tolist() == [[1, 2, 3, 4], [5, 6, 7, 0]]


@given(st.integers(2, MAX_VIEWS), st.sampled_from(['quilt', 'tile']))
def test_every_view_has_a_place_of_its_own(count, layout):
    grid = grid_for(count, 3, 2, layout)
    picture = arranged(numbered(count), grid)
    assert picture.shape == (2 * grid.rows, 3 * grid.columns, 3)
    for index in range(count):
        assert (picture[grid.place(index)] == index).all()


def test_the_metadata_tells_a_player_what_it_needs():
    assert grid_for(8, 640, 480).metadata() == {
        'columns': 4, 'rows': 2, 'count': 8, 'view_width': 640, 'view_height': 480,
        'first': 'bottom_left', 'aspect': pytest.approx(4 / 3)}


@pytest.mark.parametrize('count', [-1, 0, 1, 17])
def test_fewer_than_two_or_too_many_views_are_refused(count):
    with pytest.raises(StereoError, match='2 to 16'):
        grid_for(count, 1, 1)


def test_a_layout_that_does_not_exist_is_refused():
    with pytest.raises(StereoError, match='must be quilt or tile'):
        grid_for(4, 1, 1, 'spiral')


def test_a_lens_of_one_pixel_sends_its_three_stripes_to_three_views():
    # centred on the first pixel: red, green and blue lie at 1/6, 1/2, 5/6 of the lens, and the
    # lens sends what is to its left to the right: red shows the last view
    picture = lenticular(numbered(3, 1, 2), pitch_px=1.0, centre=0.5)
    assert picture.tolist() == [[[2, 1, 0], [2, 1, 0]]]


def test_a_lens_of_two_pixels_gives_six_stripes_to_two_views():
    picture = lenticular(numbered(2, 1, 4), pitch_px=2.0, centre=1 / 6)
    assert picture[0].tolist() == [[1, 1, 1], [0, 0, 0], [1, 1, 1], [0, 0, 0]]


def test_slanted_lenses_lie_further_left_in_each_row_down():
    # of four pixels a lens; one pixel a row
    picture = lenticular(numbered(4, 3, 4), pitch_px=4.0, slope=1.0, centre=1 / 12)[..., 1]
    assert picture.tolist() == [[3, 2, 1, 0], [2, 1, 0, 3], [1, 0, 3, 2]]


@given(st.floats(0.2, 30), st.floats(-3, 3), st.floats(0, 1), st.integers(2, MAX_VIEWS))
def test_each_subpixel_is_that_of_one_of_the_views(pitch, slope, centre, count):
    rng = np.random.default_rng(0)
    views = rng.integers(0, 256, (count, 3, 5, 3), np.uint8)
    picture = lenticular(views, pitch, slope, centre)
    assert (picture == views).any(axis=0).all()


@pytest.mark.parametrize('pitch, slope', [(0.0, 0.0), (-1.0, 0.0), (np.nan, 0.0), (5.0, np.inf)])
def test_an_impossible_lens_is_refused(pitch, slope):
    with pytest.raises(StereoError, match='the pitch above 0'):
        lenticular(numbered(2), pitch, slope)
