from __future__ import annotations

import functools
import hashlib

import numpy as np
import pytest

from depth_perception.geometry import Intrinsics
from depth_perception.scene_layout import AGAINST_WALLS, FREE_STANDING
from depth_perception.scene_styles import STYLES
from depth_perception.scenes import Room, SceneError
from depth_perception.sources import SourceError, open_source

CAMERA = Intrinsics.from_hfov(64, 48, 63)
NAMED = [name for name in STYLES if name]
# One of each for all tests that look at it only: a room takes half a second.
room_of = functools.cache(lambda seed, style='': Room.random(seed, style=style))


def digest(room):
    view = room.render(CAMERA, room.camera_path(2)[0])
    return hashlib.sha256(b''.join(plane.tobytes() for plane in view)).hexdigest()


@pytest.mark.parametrize('style', NAMED)
def test_a_style_gives_other_rooms_and_the_same_ones_each_time(style):
    first, again = digest(room_of(7, style)), digest(Room.random(7, style=style))
    assert first == again
    assert first != digest(room_of(7))


def test_no_style_is_the_default():
    assert digest(room_of(7)) == digest(Room.random(7))


def test_an_arcade_has_the_size_of_the_room_without_a_style(style='arcade'):
    np.testing.assert_array_equal(room_of(7, style).size, room_of(7).size)


def detail(style):
    # Mean step between neighbours that are not at an edge, over some views of some rooms.
    steps = []
    for seed in range(8):
        room, rng = room_of(seed, style), np.random.default_rng(seed)
        picture = room.render(CAMERA, room.random_pose(rng, 'overview')).rgb.astype(float)
        step = np.abs(np.diff(picture, axis=1)).mean(axis=-1)
        steps.append(np.median(step))
    return np.mean(steps)


def test_bare_rooms_are_plainer_and_emptier_than_others():
    assert detail('bare') < 0.5 * detail('')
    assert (np.mean([len(room_of(seed, 'bare').boxes) for seed in range(8)])
            < 0.4 * np.mean([len(room_of(seed).boxes) for seed in range(8)]))


@pytest.mark.parametrize('style', NAMED)
def test_every_kind_of_room_has_furniture(style):
    chosen = STYLES[style]
    assert chosen.against_walls.keys() == AGAINST_WALLS.keys()
    assert chosen.free_standing.keys() == FREE_STANDING.keys()


def test_an_unknown_style_is_refused_by_name():
    with pytest.raises(SceneError, match="no style 'gothic'.*'arcade'"):
        Room.random(1, style='gothic')
    with pytest.raises(SourceError, match="no style 'gothic'"):
        open_source('scene:gothic')


def test_a_source_of_a_style_shows_its_room():
    plain, styled = (next(open_source(name, width=64, height=48, seed=7))
                     for name in ('scene', 'scene:arcade'))
    assert plain.intrinsics == styled.intrinsics
    assert (plain.image != styled.image).any()
    assert np.isfinite(styled.depth).mean() > 0.9
