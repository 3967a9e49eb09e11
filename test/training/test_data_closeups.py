"""Close scenes as training data: near, named, kept apart from rooms, made without DATA_ROOT."""
from __future__ import annotations

import numpy as np
import pytest

from depth_perception.geometry import Intrinsics
from training.data import DataConfig, SplitError, closeups, procedural
from training.data.mixed import build
from training.data.render import FORMAT_VERSION, recipe, unit_limit, views_per_unit
from training.data.shards import ShardSet
from training.data.splits import load_splits


@pytest.fixture
def bare(monkeypatch):
    monkeypatch.delenv('DATA_ROOT', raising=False)


def test_views_are_near_have_exact_names_and_a_lens_each():
    views = closeups.render_closeup(300001, 3, 48, 64)
    assert 0 < len(views) <= 3
    for number, view in enumerate(views):
        assert view['image'].shape == (48, 64, 3) and view['image'].dtype == np.uint8
        assert view['depth'].dtype == np.float32 and closeups.close(view['depth'])
        assert view['name'].startswith('closeup/') and view['name'].endswith(f'/300001/{number}')
    assert len({view['intrinsics'].fx for view in views}) == len(views)


def test_a_scene_of_one_number_is_the_same_each_time():
    first, second = (closeups.render_closeup(300002, 1, 24, 32)[0] for _ in range(2))
    assert first['image'].tobytes() == second['image'].tobytes()
    np.testing.assert_array_equal(first['depth'], second['depth'])


@pytest.mark.parametrize(('depth', 'taken'), [(0.2, False), (0.5, True), (1.29, True),
                                              (1.5, False), (np.nan, False)])
def test_views_outside_arms_length_are_left_out(depth, taken):
    assert closeups.close(np.full((24, 32), depth, np.float32)) == taken


def test_a_view_with_something_on_the_lens_is_left_out():
    depth = np.full((24, 32), 0.6, np.float32)
    depth[:8, :8] = 0.05
    assert not closeups.close(depth)


def test_the_cache_key_names_the_generator_and_rooms_keep_theirs(bare):
    splits = load_splits()
    assert recipe(splits.entry('closeup_train')) == {
        'format': FORMAT_VERSION, 'entry': 'closeup_train', 'dataset': 'procedural_closeups',
        'version': closeups.GENERATOR_VERSION, 'seeds': (300000, 399999), 'furniture': ''}
    assert recipe(splits.entry('procedural_train')) == {
        'format': FORMAT_VERSION, 'entry': 'procedural_train', 'dataset': 'procedural_rooms',
        'version': procedural.GENERATOR_VERSION, 'seeds': (0, 99999), 'furniture': ''}


def test_a_scene_gives_four_views_and_seeds_are_as_many_as_the_entry_has():
    entry = load_splits().entry('closeup_train')
    assert views_per_unit(entry) == 4 and unit_limit(entry) == 100_000
    assert ShardSet(entry).units_per_shard == 16


def test_training_mixes_close_views_in_without_a_data_root(bare, tmp_path, monkeypatch):
    made = []

    def plane(seed, count, height, width, furniture=()):
        made.append(seed)
        return [{'image': np.full((height, width, 3), 90, np.uint8), 'name': f'closeup/{seed}',
                 'depth': np.full((height, width), 0.5, np.float32),
                 'intrinsics': Intrinsics.from_hfov(width, height, 60.0)}] * count

    monkeypatch.setattr(closeups, 'render_closeup', plane)
    config = DataConfig(12, 16, 8, weights={'closeup_train': 1.0}, views={'closeup_train': 64},
                        workers=0, view_size=(12, 16), cache=tmp_path)
    data = build(config)
    assert data.sources == ['closeup_train'] and made == list(range(300000, 300016))
    assert data[0]['image'].shape == (3, 12, 16) and data[0]['source'] == 'closeup_train'


def test_the_val_entry_is_refused_as_training_data():
    with pytest.raises(SplitError, match='closeup_val'):
        DataConfig(weights={'closeup_val': 1.0}, views={'closeup_val': 64})
