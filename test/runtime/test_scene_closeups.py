"""Scenes at arm's length: near, repeatable, varied; things rest on things; cameras are in none."""
from __future__ import annotations

import numpy as np
import pytest

from depth_perception.geometry import Intrinsics
from depth_perception.scene_closeups import (
    CLEARANCE,
    HFOV_DEG,
    MEDIAN_DEPTH_M,
    NEAREST_M,
    SHARES,
    Closeup,
)
from depth_perception.scene_gripper import Gripper
from depth_perception.scene_materials import Palette
from depth_perception.scene_mesh import SceneError
from depth_perception.scene_packaging import CLOSE_RECIPES
from depth_perception.scene_render import View
from depth_perception.scene_stages import STAGES

CAMERA = Intrinsics.from_hfov(64, 48, 60.0)


@pytest.fixture(scope='module')
def scenes():
    """Two of each kind."""
    return [Closeup.random(seed, kind) for kind in STAGES for seed in (3, 8)]


@pytest.fixture(scope='module')
def views(scenes):
    """(scene, pose, view) of eight cameras in each scene."""
    taken = []
    for number, scene in enumerate(scenes):
        rng = np.random.default_rng(number)
        for _ in range(8):
            camera = Intrinsics.from_hfov(64, 48, rng.uniform(*HFOV_DEG))
            pose = scene.random_pose(rng, camera)
            taken.append((scene, pose, scene.render(camera, pose)))
    return taken


def rng_and_palette(seed):
    rng = np.random.default_rng(seed)
    return rng, Palette(rng, CLOSE_RECIPES)


def in_stage(scene, pose):
    return (np.linalg.inv(scene.frame) @ pose)[:3, 3]


def test_the_same_seed_gives_the_same_picture_to_the_last_bit(scenes):
    scene, again = scenes[0], Closeup.random(3, scenes[0].kind)
    poses = [each.random_pose(np.random.default_rng(1), CAMERA) for each in (scene, again)]
    first, second = (each.render(CAMERA, pose) for each, pose in zip((scene, again), poses))
    np.testing.assert_array_equal(first.rgb, second.rgb)
    np.testing.assert_array_equal(first.depth, second.depth)


def test_seeds_and_kinds_give_other_scenes(scenes):
    sizes = {tuple(scene.scene.bounds[1]) for scene in scenes}
    assert len(sizes) == len(scenes)


def test_views_are_at_arms_length_with_nothing_on_the_lens(views):
    medians = [float(np.nanmedian(view.depth)) for _, _, view in views]
    good = [MEDIAN_DEPTH_M[0] < m < MEDIAN_DEPTH_M[1] for m in medians]
    assert np.mean(good) > 0.9  # a crowded scene may have no better place
    assert min(np.nanmin(view.depth) for _, _, view in views) > 0.7 * NEAREST_M


def test_views_are_near_and_far_within_the_range(views):
    medians = np.array([np.nanmedian(view.depth) for _, _, view in views])
    assert np.percentile(medians, 15) < 0.55 and np.percentile(medians, 85) > 0.7


def test_some_views_show_the_room_behind_and_some_do_not(views):
    deep = [np.nanmax(view.depth) > 1.5 for _, _, view in views]
    assert 0.1 < np.mean(deep) < 0.9


def test_no_camera_is_in_a_thing_or_near_a_surface(views):
    for scene, pose, _ in views:
        eye = in_stage(scene, pose)
        assert not any(np.all(eye > low) and np.all(eye < high) for low, high in scene.things)
        assert scene.scene.clearance(pose[None, :3, 3])[0] > 0.8 * CLEARANCE


def test_pictures_have_contrast_and_are_neither_black_nor_white(views):
    for _, _, view in views:
        assert 10 < view.rgb.mean() < 230
    assert np.median([view.rgb.std() for _, _, view in views]) > 25


@pytest.mark.parametrize('seed', range(3))
def test_things_on_a_table_stand_on_its_top_or_on_each_other(seed):
    stage = STAGES['table'](*rng_and_palette(seed))
    top = stage.low[2]
    heights = np.array([low[2] for low, _ in stage.things])
    assert len(heights) and np.all(heights > top - 1e-5)
    assert np.mean(np.abs(heights - top) < 1e-4) > 0.5


@pytest.mark.parametrize('seed', range(3))
def test_things_in_a_bay_are_between_its_boards(seed):
    stage = STAGES['bay'](*rng_and_palette(seed))
    shelf_low, shelf_high = stage.solids[0]
    for low, high in stage.things:
        assert np.all(low > shelf_low - 1e-4) and np.all(high < shelf_high + 1e-4)
    middle = [low for low, high in stage.things if np.all((low + high)[:2] / 2 > stage.low[:2])
              and np.all((low + high)[0] / 2 < stage.high[0]) and low[2] > stage.low[2] - 1e-4]
    assert any(abs(low[2] - stage.low[2]) < 1e-4 for low in middle)


@pytest.mark.parametrize('seed', range(3))
def test_things_in_a_bin_are_within_its_walls(seed):
    stage = STAGES['bin'](*rng_and_palette(seed))
    (low, high), = stage.solids
    assert all(np.all(a[:2] > low[:2]) and np.all(b[:2] < high[:2]) and a[2] > low[2]
               for a, b in stage.things)


def test_a_gripper_is_at_an_edge_nearer_than_the_rest_and_hides_what_is_behind_it():
    seen = 0
    for seed in range(8):
        depth = np.full((48, 64), 0.6, np.float32)
        depth[:, :5] = 0.1
        depth[:, -5:] = np.nan
        plain = View(np.full((48, 64, 3), 77, np.uint8), depth, np.zeros((48, 64, 3), np.float32))
        view = Gripper(*rng_and_palette(seed)).over(View(*(x.copy() for x in plain)), CAMERA)
        new = np.nan_to_num(view.depth, nan=9) != np.nan_to_num(plain.depth, nan=9)
        assert not new[:, :5].any() and not new[20:28, 28:36].any()
        assert np.all((view.depth[new] > NEAREST_M) & (view.depth[new] < 0.4))
        np.testing.assert_array_equal(view.rgb[~new], 77)
        seen += new.any()
    assert seen > 2


def test_an_unknown_kind_is_refused_with_the_choices():
    with pytest.raises(SceneError, match="got scene kind 'sink'.*bay.*table.*bin"):
        Closeup.random(1, 'sink')


def test_every_kind_has_a_share_and_they_add_up():
    assert set(SHARES) == set(STAGES) and sum(SHARES.values()) == pytest.approx(1)
