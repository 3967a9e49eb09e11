"""The mixed training set: refusal, weights, determinism; and the baselines measured on it."""
from __future__ import annotations

from dataclasses import replace
import logging
import shutil

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from training.data import (
    AugmentConfig,
    DataConfig,
    DataError,
    SplitError,
    baselines,
    build,
    load_baselines,
    mixed,
)
from training.data.shards import ShardSet, record_type
from training.data.splits import load_splits

WEIGHTS = {'procedural_train': 0.75, 'aws_small_house_train': 0.25}
VIEWS = {'procedural_train': 64, 'aws_small_house_train': 64, 'procedural_val': 64}
DEPTH = {'procedural_train': 2.0, 'aws_small_house_train': 4.0, 'procedural_val': 3.0}


def shards_of(config, name):
    return ShardSet(load_splits().entry(name), *config.view_size, config.cache)


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Shards of constant depth, written here so that nothing is rendered."""
    monkeypatch.setenv('DATA_ROOT', str(tmp_path))
    rng = np.random.default_rng(0)
    config = DataConfig(24, 32, 400, weights=WEIGHTS, views=VIEWS, workers=0, view_size=(36, 48),
                        cache=tmp_path / 'cache')
    for name, depth in DEPTH.items():
        shard_set = shards_of(config, name)
        records = np.zeros(64, record_type(36, 48))
        records['image'] = rng.integers(0, 255, records['image'].shape)
        records['depth'], records['camera'] = depth, (48, 48, 23.5, 17.5)
        records['depth'][:, 0, 0] = np.nan
        records['name'] = [f'{name}/{i}' for i in range(64)]
        shard_set.folder.mkdir(parents=True)
        np.save(shard_set.path(0), records)
    return config


def same(a, b):
    return (torch.equal(a['image'], b['image']) and a['name'] == b['name']
            and torch.equal(a['focal_px'], b['focal_px'])
            and torch.equal(a['depth'].nan_to_num(0), b['depth'].nan_to_num(0)))


def test_items_have_the_shapes_and_units_of_the_contract(stored):
    item = build(stored)[0]
    assert item['image'].shape == (3, 24, 32) and item['image'].dtype == torch.uint8
    assert item['depth'].shape == (24, 32) and item['depth'].dtype == torch.float32
    assert item['focal_px'].shape == () and item['focal_px'].dtype == torch.float32
    assert item['source'] in WEIGHTS and item['name'].startswith(item['source'])


@pytest.mark.parametrize('name', ['aws_hospital_test', 'mitsuba_kitchen', 'tum_fr1_rpy_test'])
def test_test_entries_are_refused_in_training(name):
    with pytest.raises(SplitError, match=f'{name}.*is a test entry'):
        DataConfig(weights={name: 1.0})
    with pytest.raises(SplitError, match=f'{name}.*is a test entry'):
        DataConfig(views={name: 10})


def test_val_entries_are_refused_in_training():
    with pytest.raises(SplitError, match='procedural_val.*is a val entry'):
        DataConfig(weights={'procedural_val': 1.0})


def test_the_test_split_is_refused(stored):
    with pytest.raises(SplitError, match='training.data.evaluation'):
        build(stored, 'test')


def test_an_item_is_the_same_again_and_another_in_another_epoch(stored):
    one, two = build(stored), build(stored)
    assert all(same(one[i], two[i]) for i in range(5))
    before = one[0]
    one.set_epoch(1)
    assert not same(before, one[0])
    one.set_epoch(0)
    assert same(before, one[0])
    assert not same(before, build(replace(stored, seed=1))[0])


def test_items_do_not_depend_on_the_number_of_workers_and_follow_set_epoch(stored):
    data = build(replace(stored, samples_per_epoch=8))
    loader = DataLoader(data, batch_size=4, num_workers=2, persistent_workers=True)
    for epoch in (0, 1):
        data.set_epoch(epoch)
        images = torch.cat([batch['image'] for batch in loader])
        assert torch.equal(images, torch.stack([data[i]['image'] for i in range(8)]))


def test_sources_come_by_their_weights(stored):
    data = build(stored)
    share = np.mean([data[i]['source'] == 'procedural_train' for i in range(400)])
    assert share == pytest.approx(0.75, abs=0.08)  # 3.7 standard deviations


def test_zooming_keeps_metres_and_multiplies_the_focal_length(stored):
    config = replace(stored, augmentation=AugmentConfig(zoom=(2.0, 2.0), roll=0))
    for item in (build(config)[i] for i in range(10)):
        assert np.nanmax(np.abs(item['depth'].numpy() - DEPTH[item['source']])) == 0
        assert float(item['focal_px']) == pytest.approx(48 * 2 * 32 / 48)


def test_val_gives_every_view_once_unchanged(stored):
    data = build(stored, 'val')
    assert [data[i]['name'] for i in range(len(data))] == [f'procedural_val/{i}'
                                                           for i in range(64)]
    assert float(data[3]['focal_px']) == pytest.approx(32.0) and same(data[3], data[3])
    with pytest.raises(IndexError):
        data[64]


def test_without_data_root_only_procedural_rooms_are_used_and_it_says_so(stored, monkeypatch,
                                                                        caplog):
    monkeypatch.delenv('DATA_ROOT')
    kept = shards_of(stored, 'procedural_train')
    kept.folder.mkdir(parents=True, exist_ok=True)
    np.save(kept.path(0), np.ones(64, record_type(36, 48)))
    with caplog.at_level(logging.WARNING):
        data = build(stored)
    assert data.views.names == ['procedural_train'] and 'DATA_ROOT is not set' in caplog.text


def test_damaged_shards_are_counted_and_an_entry_without_views_is_refused(stored):
    shards_of(stored, 'aws_small_house_train').path(0).write_bytes(b'damaged')
    with pytest.raises(DataError, match='aws_small_house_train has no readable view'):
        build(stored)


@pytest.mark.parametrize('balance', [0.0, 0.5, 1.0])
def test_views_of_rare_depth_are_drawn_more_often_the_more_they_are_balanced(
        stored, balance):
    # 8 of 64 views are at half the depth of the others: 1 in 8 drawn alike, and the odds of the
    # few are (8 / 56) ** (1 - balance)
    shards = shards_of(stored, 'procedural_train')
    records = np.load(shards.path(0))
    records['depth'][:8] = 1.0
    np.save(shards.path(0), records)
    config = replace(stored, weights={'procedural_train': 1.0}, balance=balance,
                     samples_per_epoch=1500)
    data = build(config, augment=False)
    depths = np.array([float(data[i]['depth'].nanmedian()) for i in range(1500)])
    odds = (8 / 56) ** (1 - balance)
    assert np.mean(depths == 1.0) == pytest.approx(odds / (1 + odds), abs=0.04)


@pytest.mark.parametrize('whole', [1, 19])
def test_more_than_a_twentieth_of_damaged_shards_is_refused_with_the_list(stored, whole):
    shards = shards_of(stored, 'procedural_train')
    for index in range(1, whole + 1):
        shutil.copy(shards.path(0), shards.path(index))
    shards.path(0).write_bytes(b'damaged')
    config = replace(stored, views=VIEWS | {'procedural_train': 64 * (whole + 1)})
    if whole == 19:
        assert build(config).views.damaged == [shards.path(0)]
    else:
        with pytest.raises(DataError, match=r'1 of 2 shards cannot be read.*00000\.npy'):
            build(config)


@pytest.mark.parametrize('change, message', [
    ({'height': 0}, 'height is 0'), ({'balance': 1.5}, 'balance is 1.5'),
    ({'weights': {'procedural_train': -1.0}}, 'give 0 or more'),
    ({'weights': {'procedural_train': 0.0}}, 'no entry has a weight'),
])
def test_settings_that_cannot_work_are_refused(change, message):
    with pytest.raises(DataError, match=message):
        DataConfig(**change)


def test_empty_settings_mean_the_defaults():
    config = DataConfig(weights={}, views={})
    assert config.weights == mixed.DEFAULT_WEIGHTS and config.views == mixed.DEFAULT_VIEWS
    assert sum(config.weights.values()) == pytest.approx(1.0)


def test_a_weight_without_views_is_refused(stored):
    with pytest.raises(DataError, match='no number of views'):
        build(replace(stored, views={'procedural_train': 64}))


def test_baselines_are_the_weighted_mean_map_and_the_median(stored, tmp_path):
    data = build(stored, augment=False)
    items = [data[i]['depth'].numpy() for i in range(400)]
    got = baselines(data, 400)
    np.testing.assert_allclose(got.mean[1:], np.mean(items, axis=0)[1:], rtol=1e-4)
    assert got.mean[0, 0] == pytest.approx(got.median)  # never valid
    assert got.mean.mean() == pytest.approx(0.75 * 2 + 0.25 * 4, abs=0.2)
    assert got.median == pytest.approx(2.0, rel=2e-3)  # one bin of the histogram
    got.save(tmp_path / 'baselines.npz')
    again = load_baselines(tmp_path / 'baselines.npz')
    assert again.median == pytest.approx(got.median) and (again.mean == got.mean).all()
    assert again.mean_at(48, 64).shape == (48, 64)


def test_unchanged_items_are_drawn_like_the_changed_ones(stored):
    changed, plain = build(stored), build(stored, augment=False)
    assert [changed[i]['name'] for i in range(20)] == [plain[i]['name'] for i in range(20)]
