import cv2
import numpy as np
import pytest

from depth_perception.geometry import Intrinsics
from depth_perception.stereo_history import FRAMES, History

CAMERA = Intrinsics.from_hfov(160, 120, 60.0)
WALL_M = 2.0


@pytest.fixture(scope='module')
def wallpaper():
    """A textured wall, wider than what the camera sees of it."""
    noise = np.random.default_rng(0).integers(0, 256, (150, 400, 3), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 1.5)


def seen(wallpaper, shift_px):
    """The wall from a camera that is `shift_px` further to the right, and its depth."""
    image = np.ascontiguousarray(wallpaper[15:135, 100 + shift_px:260 + shift_px])
    return image, np.full(image.shape[:2], WALL_M, np.float32)


def points(x, y):
    x, y = np.float32(x), np.float32(y)
    return x, y, np.full_like(x, WALL_M)


def test_what_left_the_picture_to_the_right_is_found_there(wallpaper):
    history = History()
    history.add(*seen(wallpaper, 12), CAMERA)
    history.add(*seen(wallpaper, 6), CAMERA)
    image, depth = seen(wallpaper, 0)
    history.add(image, depth, CAMERA)
    x, y = np.meshgrid(np.arange(161, 168), np.arange(20, 100))
    colours, found = history.look_up(*points(x.ravel(), y.ravel()))
    assert found.all()
    truth = wallpaper[15 + y.ravel(), 100 + x.ravel()]
    assert np.abs(colours.astype(int) - truth).mean() < 6.0


def test_a_point_that_no_frame_saw_is_not_found(wallpaper):
    history = History()
    history.add(*seen(wallpaper, 0), CAMERA)
    history.add(*seen(wallpaper, 6), CAMERA)
    _, found = history.look_up(*points([-30.0, 80.0, 220.0], [50.0, -40.0, 50.0]))
    assert not found.any()


def test_a_surface_at_another_distance_is_not_what_was_looked_for(wallpaper):
    history = History()
    history.add(*seen(wallpaper, 0), CAMERA)
    x, y, z = points([40.0, 80.0], [50.0, 50.0])
    assert history.look_up(x, y, z)[1].all()
    assert not history.look_up(x, y, 1.2 * z)[1].any()
    assert not history.look_up(x, y, 0.8 * z)[1].any()
    assert not history.look_up(x, y, z * np.nan)[1].any()


def test_beside_an_edge_nothing_is_taken_as_colours_mix_there(wallpaper):
    image, depth = seen(wallpaper, 0)
    depth[:, :80] = 1.0
    history = History()
    history.add(image, depth, CAMERA)
    _, found = history.look_up(*points([80.0, 81.0, 82.0, 90.0], [50.0] * 4))
    assert found.tolist() == [False, True, True, True]


def test_another_scene_makes_it_forget(wallpaper):
    history = History()
    history.add(*seen(wallpaper, 0), CAMERA)
    other = np.random.default_rng(9).integers(0, 256, (120, 160, 3), np.uint8)
    history.add(other, np.full((120, 160), 5.0, np.float32), CAMERA)
    x, y, z = points([80.0], [60.0])
    assert not history.look_up(x, y, z)[1].any()
    assert history.look_up(x, y, 2.5 * z)[1].all()


def test_another_size_and_a_call_to_forget_make_it_forget(wallpaper):
    history = History()
    image, depth = seen(wallpaper, 0)
    history.add(image, depth, CAMERA)
    half = Intrinsics.from_hfov(80, 60, 60.0)
    history.add(image[::2, ::2].copy(), depth[::2, ::2].copy(), half)
    assert history.look_up(*points([40.0], [30.0]))[1].all()
    history.forget()
    assert not history.look_up(*points([40.0], [30.0]))[1].any()


@pytest.mark.parametrize('depth', [np.nan, 0.0, -1.0])
def test_frames_without_depth_are_no_help_and_no_harm(wallpaper, depth):
    history = History()
    image, _ = seen(wallpaper, 0)
    for _ in range(3):
        history.add(image, np.full(image.shape[:2], depth, np.float32), CAMERA)
    assert not history.look_up(*points([80.0], [60.0]))[1].any()


def test_a_picture_without_texture_and_no_points_at_all_are_fine():
    history = History()
    blank = np.full((120, 160, 3), 128, np.uint8)
    for _ in range(3):
        history.add(blank, np.full((120, 160), WALL_M, np.float32), CAMERA)
    colours, found = history.look_up(*points([], []))
    assert colours.shape == (0, 3) and found.shape == (0,)


def test_a_long_sequence_keeps_few_frames(wallpaper):
    history = History()
    for _ in range(4 * FRAMES):
        history.add(*seen(wallpaper, 0), CAMERA)
    assert len(history._memories) == FRAMES


def test_more_points_than_a_picture_may_have_rows_are_looked_up(wallpaper):
    history = History()
    history.add(*seen(wallpaper, 0), CAMERA)
    many = np.full(40_000, 80.0, np.float32)
    colours, found = history.look_up(*points(many, many - 20.0))
    assert found.all() and (colours == colours[0]).all()
