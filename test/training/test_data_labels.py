"""Segmentation targets of rendered rooms: which pixels are things, on disk, and in the items."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from depth_perception.geometry import Intrinsics
from training.data import DataConfig, build
from training.data.augment import UNLABELLED, AugmentConfig
from training.data.procedural import furniture_labels, render_room
from training.data.render import recipe
from training.data.shards import ShardSet, record_type
from training.data.splits import load_splits

LEVEL = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1], [0, 0, 0, 1]], float)  # looks to +x


def test_a_thing_is_what_lies_in_a_box_above_the_floor():
    # A camera at 1 m height looks along x at a wall in 4 m; a box stands at 2 m, 1 m wide.
    room = SimpleNamespace(boxes=[(np.array([2.0, -0.5, 0.0]), np.array([3.0, 0.5, 1.2]))])
    camera = Intrinsics(64, 48, 32.0, 32.0, 31.5, 23.5)
    depth = np.full((48, 64), 4.0, np.float32)
    depth[21:40, 24:40] = 2.0  # its front
    depth[40:] = 1 * 32 / (np.arange(40, 48) - 23.5)[:, None]  # the floor at its feet
    depth[0] = np.nan
    labels = furniture_labels(room, depth, camera, LEVEL)
    assert labels.dtype == np.uint8
    assert (labels[21:40, 24:40] == 1).all()
    assert (labels == 1).sum() == 19 * 16
    assert (labels[0] == UNLABELLED).all() and (labels[1:21] == 0).all()


def test_a_rendered_room_has_things_and_its_views_are_as_before():
    view = render_room(8, 1, 48, 64)[0]
    assert set(np.unique(view['labels'])) == {0, 1}
    assert 0.1 < (view['labels'] == 1).mean() < 0.9
    nearer = [float(np.nanmedian(view['depth'][view['labels'] == x])) for x in (0, 1)]
    assert nearer[1] < nearer[0]


def shard_set(tmp_path, name='procedural_train', labels=True):
    return ShardSet(load_splits().entry(name), 36, 48, tmp_path, labels)


def test_views_with_targets_lie_apart_from_those_without(tmp_path):
    assert shard_set(tmp_path).folder != shard_set(tmp_path, labels=False).folder
    assert 'labels' in shard_set(tmp_path).record_type.names
    assert 'labels' not in recipe(load_splits().entry('procedural_train'))


def test_views_of_an_entry_without_targets_have_none(tmp_path, monkeypatch):
    view = {'image': np.zeros((36, 48, 3), np.uint8), 'depth': np.ones((36, 48), np.float32),
            'intrinsics': Intrinsics.from_hfov(48, 36, 60), 'name': 'x'}
    monkeypatch.setattr('training.data.shards.safe_unit', lambda *_: [view])
    shards = shard_set(tmp_path, 'tum_fr1_rpy_train')
    monkeypatch.setattr('training.data.shards.unit_limit', lambda _: 2)
    shards.make(0)
    records = np.concatenate(shards.open(2)[0])
    assert (records['labels'] == UNLABELLED).all()


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Views whose left half is near and a thing."""
    monkeypatch.delenv('DATA_ROOT', raising=False)
    for name in ('procedural_train', 'procedural_val'):
        shards = shard_set(tmp_path, name)
        records = np.zeros(64, record_type(36, 48, True))
        records['depth'], records['camera'] = 4.0, (48, 48, 23.5, 17.5)
        records['depth'][:, :, :24], records['labels'][:, :, :24] = 1.0, 1
        records['labels'][:, 0] = UNLABELLED
        shards.folder.mkdir(parents=True)
        np.save(shards.path(0), records)
    return DataConfig(24, 32, 20, weights={'procedural_train': 1.0},
                      views={'procedural_train': 64, 'procedural_val': 64}, workers=0,
                      view_size=(36, 48), cache=tmp_path, labels=True,
                      augmentation=AugmentConfig(zoom=(1.0, 2.0), roll=1.0))


def test_targets_are_cut_with_the_depth_whatever_the_augmentation(stored):
    data = build(stored)
    for i in range(20):
        item = data[i]
        labels = item['labels']
        assert labels.dtype == torch.int64 and labels.shape == item['depth'].shape
        counts = (labels >= 0) & torch.isfinite(item['depth'])
        assert torch.equal(item['depth'][counts] < 2, labels[counts] == 1)


def test_validation_views_have_theirs_unchanged(stored):
    labels = build(stored, 'val')[0]['labels']
    assert (labels[1:, :15] == 1).all() and (labels[1:, 17:] == 0).all()
    assert set(labels.unique().tolist()) <= {-1, 0, 1}
