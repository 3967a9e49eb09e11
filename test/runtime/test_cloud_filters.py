from math import atan2, cos, degrees, inf, radians, sin

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import numpy as np
import pytest

from depth_perception.cloud_filters import (
    CloudFilters,
    CloudFilterSettings,
    height_per_metre,
    island_mask,
    sky_mask,
)
from depth_perception.geometry import Intrinsics, ray_planes, unproject
from depth_perception.point_cloud import PointCloudError

CAMERA = Intrinsics(9, 7, 5.0, 5.0, 4.0, 3.0)
GREY = np.full((7, 9, 3), 90, np.uint8)


def filtered(depth, image=GREY, camera=CAMERA, **chosen):
    return CloudFilters(camera)(np.asarray(depth, np.float32), image,
                                CloudFilterSettings(**chosen))


def kept(depth, **chosen):
    return np.isfinite(filtered(depth, **chosen))


def plane(metres):
    return np.full((7, 9), metres, np.float32)


def test_without_a_filter_the_depth_itself_comes_back():
    depth = plane(2.0)
    assert CloudFilters(CAMERA)(depth, GREY, CloudFilterSettings()) is depth


def test_range_is_the_way_to_the_point_not_its_depth():
    # the corner (0, 0) lies at x = -4/5, y = -3/5 of its depth: sqrt(1 + 0.64 + 0.36) of it away
    within = kept(plane(2.0), max_range=2.0 * np.sqrt(1.25))
    away = np.linalg.norm(unproject(plane(2.0), CAMERA), axis=-1)
    assert within[3, 4] and not within[0, 0]
    assert np.array_equal(within, away <= 2.0 * np.sqrt(1.25) + 1e-6)
    assert np.array_equal(kept(plane(2.0), min_range=2.5), away >= 2.5)


def test_heights_of_a_level_camera_count_from_the_ground_below_it():
    # 0.6 m above the ground; at 1 m row v looks at 0.6 - (v - 3) / 5 = 1.2, 1.0, ... 0.0
    rows = kept(plane(1.0), camera_height=0.6, min_height=0.1, max_height=0.9).any(axis=1)
    assert rows.tolist() == [False, False, True, True, True, True, False]


def test_without_a_camera_height_heights_count_from_the_camera():
    rows = kept(plane(1.0), max_height=0.3).any(axis=1)
    assert rows.tolist() == [False, False, True, True, True, True, True]


def test_a_camera_that_looks_down_sees_the_ground_where_it_is():
    # 1 m up, 30 degrees down: the optical axis meets the ground after 1 / sin(30) = 2 m
    mount = {'camera_height': 1.0, 'camera_pitch_deg': 30.0}
    assert kept(plane(1.9), min_height=0.04, **mount)[3, 4]
    assert not kept(plane(2.0), min_height=0.04, **mount)[3, 4]
    assert kept(plane(2.0), min_height=-0.04, **mount)[3, 4]


def test_a_camera_that_is_tilted_to_the_right_has_its_right_side_down():
    # by a quarter turn: what is right in the picture is below in the world
    columns = kept(plane(1.0), camera_roll_deg=90.0, max_height=0.1).any(axis=0)
    assert columns.tolist() == [False] * 4 + [True] * 5
    columns = kept(plane(1.0), camera_roll_deg=-90.0, max_height=0.1).any(axis=0)
    assert columns.tolist() == [True] * 5 + [False] * 4


@given(pitch=st.floats(-80, 80), roll=st.floats(-170, 170))
def test_height_follows_from_the_rotation_of_a_urdf(pitch, roll):
    p, r = radians(pitch), radians(roll)
    about_y = np.array([[cos(p), 0, sin(p)], [0, 1, 0], [-sin(p), 0, cos(p)]])
    about_x = np.array([[1, 0, 0], [0, cos(r), -sin(r)], [0, sin(r), cos(r)]])
    body_of_optical = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    points = unproject(plane(1.0), CAMERA).astype(float)
    world = points @ (about_y @ about_x @ body_of_optical).T
    np.testing.assert_allclose(height_per_metre(ray_planes(CAMERA), pitch, roll), world[..., 2],
                               atol=1e-6)


def test_a_level_ray_is_within_or_not_at_all_depths():
    below = kept(plane(3.0), camera_height=1.0, max_height=0.9)
    within = kept(plane(3.0), camera_height=1.0, min_height=0.9, max_height=1.1)
    assert not below[3].any() and within[3].all()


def test_the_veil_behind_a_near_edge_goes_also_where_range_drops_the_near_side():
    depth = plane(4.0)
    depth[:, :4] = 1.0
    columns = kept(depth, min_range=2.0, flying_pixel_step=0.05).any(axis=0)
    assert columns.tolist() == [False] * 5 + [True] * 4


def test_islands_smaller_than_asked_for_go():
    depth = plane(4.0)
    depth[1, 1:4] = 1.0         # three points in front of the wall
    depth[5, 6:8] = np.nan
    assert np.argwhere(island_mask(depth, 4, 0.05)).tolist() == [[1, 1], [1, 2], [1, 3]]
    assert not island_mask(depth, 3, 0.05).any()
    assert not kept(depth, island_points=4)[1, 1:4].any()


def test_a_slope_is_one_island_and_corners_do_not_join():
    slope = np.geomspace(1.0, 1.04 ** 8, 9).astype(np.float32) * np.ones((7, 1), np.float32)
    assert not island_mask(slope, 63, 0.05).any()
    assert island_mask(slope, 8, 0.03).all()            # columns of seven
    diagonal = np.full((3, 3), np.nan, np.float32)
    np.fill_diagonal(diagonal, 2.0)
    assert np.array_equal(island_mask(diagonal, 2, 0.05), np.eye(3, dtype=bool))


@pytest.mark.parametrize('metres', [1e-3, 0.3, 50.0, 3000.0])
def test_the_step_of_islands_is_a_share_of_depth_at_any_distance(metres):
    pair = np.float32([[metres, metres * 1.049]])
    assert not island_mask(pair, 2, 0.05).any()
    assert island_mask(pair * np.float32([[1.0, 1.003]]), 2, 0.05).all()


def outdoors(height=96, width=128):
    """Blue above row 40, a wire across it, a white van below, red walls around."""
    image = np.full((height, width, 3), (150, 70, 60), np.uint8)
    image[:40] = (120, 160, 220)
    image[20:21] = (30, 30, 30)
    image[60:80, 40:90] = (230, 230, 230)
    return image


def test_sky_is_what_is_bright_and_joined_to_the_upper_edge():
    image = outdoors()
    sky = sky_mask(image)
    assert sky[:19].all() and not sky[20].any()
    assert not sky[40:].any()
    image[20, :60] = image[0, 0]            # the wire ends: both halves hang together
    sky = sky_mask(image)
    assert sky[:19].all() and sky[24:40].all()
    swapped = np.ascontiguousarray(image[..., ::-1])
    assert np.array_equal(sky_mask(swapped, 'bgr'), sky)


def test_near_points_and_those_below_the_horizon_are_never_sky():
    camera = Intrinsics.from_hfov(128, 96, 70.0)
    image = np.full((96, 128, 3), 200, np.uint8)        # all of it would pass as overcast sky
    depth = np.full((96, 128), 30.0, np.float32)
    depth[:10] = 5.0
    result = filtered(depth, image, camera, sky_min_depth=20.0)
    assert np.isfinite(result[:10]).all()
    assert np.isnan(result[10:48]).all() and np.isfinite(result[48:]).all()
    down = filtered(depth, image, camera, sky_min_depth=20.0, camera_pitch_deg=60.0)
    assert np.isfinite(down).all()


def test_a_textured_or_dark_upper_edge_is_no_sky():
    rng = np.random.default_rng(0)
    assert not sky_mask(np.full((96, 128, 3), 60, np.uint8)).any()
    leaves = rng.integers(0, 256, (24, 32, 1), np.uint8).repeat(4, 0).repeat(4, 1).repeat(3, 2)
    assert sky_mask(leaves).mean() < 0.01


def test_pictures_of_any_size_have_a_sky():
    for shape in ((1, 1), (3, 5), (6, 200)):
        assert sky_mask(np.full((*shape, 3), 220, np.uint8)).shape == shape


def test_images_of_another_camera_are_refused():
    filters = CloudFilters(CAMERA)
    for depth, image in ((plane(1.0)[:5], GREY), (plane(1.0), GREY[:5])):
        with pytest.raises(PointCloudError, match=r'needs \(7, 9\) for both'):
            filters(depth, image, CloudFilterSettings(max_range=3.0))


depths = hnp.arrays(np.float32, (7, 9), elements=st.one_of(
    st.floats(0.125, 20.0, width=32), st.just(np.nan)))
images = hnp.arrays(np.uint8, (7, 9, 3))
choices = st.builds(
    CloudFilterSettings,
    min_range=st.sampled_from([0.0, 1.0]), max_range=st.sampled_from([inf, 8.0]),
    min_height=st.sampled_from([-inf, 0.1]), max_height=st.sampled_from([inf, 1.8]),
    camera_height=st.sampled_from([0.0, 0.7]), camera_pitch_deg=st.floats(-20, 40),
    camera_roll_deg=st.floats(-10, 10), flying_pixel_step=st.sampled_from([0.0, 0.1, 0.5]),
    sky_min_depth=st.sampled_from([inf, 2.0]), island_points=st.sampled_from([0, 2, 5]),
    island_step=st.sampled_from([0.05, 0.5]))


@settings(max_examples=150)
@given(depth=depths, image=images, chosen=choices)
def test_filters_only_take_points_away_and_a_second_pass_takes_none(depth, image, chosen):
    before = depth.copy()
    once = CloudFilters(CAMERA)(depth, image, chosen).copy()
    stays = np.isfinite(once)
    assert depth.tobytes() == before.tobytes()          # the input is left as it is
    assert np.array_equal(once[stays], depth[stays])
    assert not np.isfinite(depth[~stays]).any() or chosen != CloudFilterSettings()
    twice = CloudFilters(CAMERA)(once, image, chosen)
    np.testing.assert_array_equal(twice, once)


@settings(max_examples=100)
@given(depth=depths, chosen=choices)
def test_range_and_height_are_those_of_each_point_by_itself(depth, chosen):
    limits = {name: getattr(chosen, name) for name in (
        'min_range', 'max_range', 'min_height', 'max_height', 'camera_height',
        'camera_pitch_deg', 'camera_roll_deg')}
    got = kept(depth, **limits)
    points = unproject(depth, CAMERA).astype(float)
    away = np.linalg.norm(points, axis=-1)
    p, r = radians(chosen.camera_pitch_deg), radians(chosen.camera_roll_deg)
    up = np.array([-cos(p) * sin(r), -cos(p) * cos(r), -sin(p)])
    height = chosen.camera_height + points @ up
    margins = np.stack((away - chosen.min_range, chosen.max_range - away,
                        height - chosen.min_height, chosen.max_height - height))
    worst = margins.min(axis=0)
    decided = np.abs(worst) > 1e-4
    assert np.array_equal(got[decided], (worst > 0)[decided])


@settings(max_examples=60)
@given(depth=depths, first=choices, second=choices, image=images)
def test_what_was_set_before_leaves_no_trace(depth, first, second, image):
    filters = CloudFilters(CAMERA)
    filters(depth, image, first)
    again = filters(depth, image, second)
    np.testing.assert_array_equal(again, CloudFilters(CAMERA)(depth, image, second))


def test_the_picture_of_a_slanted_camera_agrees_with_trigonometry():
    # a wall 3 m ahead of a camera 0.5 m up that looks up by 10 degrees: where does it reach 2 m?
    camera = Intrinsics.from_hfov(9, 201, 10.0)
    rows = (np.arange(201) - camera.cy) / camera.fy
    angle = np.array([degrees(atan2(-row, 1.0)) + 10.0 for row in rows])
    depth = 3.0 / (cos(radians(10.0)) - sin(radians(10.0)) * -rows)
    result = filtered(np.repeat(depth[:, None], 9, axis=1), np.zeros((201, 9, 3), np.uint8),
                      camera, camera_height=0.5, camera_pitch_deg=-10.0, max_height=2.0)
    top = np.flatnonzero(np.isfinite(result[:, 4]))[0]
    assert abs(3.0 * np.tan(radians(angle[top])) - 1.5) < 0.03
