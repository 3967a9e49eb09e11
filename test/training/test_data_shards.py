"""Shards: made once, resumed, never stale, damaged files named and left out."""
from __future__ import annotations

from dataclasses import replace
import logging

import cv2
import numpy as np
import pytest

from depth_perception.geometry import Intrinsics
from training.data import render, shards
from training.data.render import fit_to
from training.data.root import DataError
from training.data.shards import ShardSet, make_shards
from training.data.splits import load_splits

FRAMES = 70  # more than one shard of 64


@pytest.fixture
def tum(tmp_path, monkeypatch):
    """A tiny TUM sequence under DATA_ROOT; frame i is i + 1 decimetres away."""
    folder = tmp_path / 'data/tum_rgbd/freiburg3_sitting_static'
    for part in ('rgb', 'depth'):
        (folder / part).mkdir(parents=True)
    for i in range(FRAMES):
        cv2.imwrite(str(folder / f'rgb/{i}.0.jpg'), np.full((48, 64, 3), i, np.uint8))
        cv2.imwrite(str(folder / f'depth/{i}.0.png'), np.full((48, 64), 500 * (i + 1), np.uint16))
    monkeypatch.setenv('DATA_ROOT', str(tmp_path / 'data'))
    return folder


@pytest.fixture
def shard_set(tum, tmp_path):
    return ShardSet(load_splits().entry('tum_fr3_sitting_static'), 24, 32, tmp_path / 'cache')


def all_records(shard_set, views=FRAMES):
    return np.concatenate(shard_set.open(views)[0])


def test_views_come_back_with_their_depth_focal_length_and_name(shard_set):
    assert make_shards([(shard_set, FRAMES)], workers=0) == FRAMES
    records = all_records(shard_set)
    assert len(records) == FRAMES
    np.testing.assert_allclose(np.nanmedian(records[9]['depth'].astype(float)), 1.0, rtol=1e-3)
    # The pictures are 64 px wide and are kept 32 px wide: half the focal length.
    np.testing.assert_allclose(records[9]['camera'][:2], [535.4 / 2, 539.2 / 2], rtol=1e-6)
    assert records[9]['name'] == 'freiburg3_sitting_static/009'


def test_a_second_call_renders_nothing_and_a_lost_shard_is_made_again_alike(shard_set):
    make_shards([(shard_set, FRAMES)], workers=0)
    before = all_records(shard_set).copy()
    assert make_shards([(shard_set, FRAMES)], workers=0) == 0
    shard_set.path(1).unlink()
    assert shard_set.missing(FRAMES) == [1]
    assert make_shards([(shard_set, FRAMES)], workers=0) == FRAMES - 64
    assert all_records(shard_set).tobytes() == before.tobytes()


def test_a_stopped_writer_leaves_no_shard_behind(shard_set, monkeypatch):
    def stopped(file, records):
        file.write(b'half a shard')
        raise KeyboardInterrupt
    monkeypatch.setattr(shards.np, 'save', stopped)
    with pytest.raises(KeyboardInterrupt):
        shard_set.make(0)
    assert shard_set.missing(64) == [0]


def test_asking_for_more_views_keeps_those_that_are_there(shard_set):
    make_shards([(shard_set, 64)], workers=0)
    stamp = shard_set.path(0).stat().st_mtime_ns
    make_shards([(shard_set, FRAMES)], workers=0)
    assert shard_set.path(0).stat().st_mtime_ns == stamp and shard_set.path(1).exists()


def test_another_generator_size_or_entry_has_another_folder(shard_set, monkeypatch):
    folders = {shard_set.folder, replace(shard_set, height=48, width=64).folder,
               replace(shard_set, entry=replace(shard_set.entry, frames=(0, 3))).folder}
    monkeypatch.setattr(render, 'FORMAT_VERSION', render.FORMAT_VERSION + 1)
    assert len(folders | {shard_set.folder}) == 4


def test_rooms_with_and_without_furniture_models_are_kept_apart(tmp_path, monkeypatch):
    rooms = ShardSet(load_splits().entry('procedural_train'), cache=tmp_path)
    monkeypatch.delenv('DATA_ROOT', raising=False)
    bare = rooms.folder
    (tmp_path / 'sweethome3d_cc0_furniture').mkdir()
    monkeypatch.setenv('DATA_ROOT', str(tmp_path))
    assert rooms.folder != bare


def test_a_damaged_shard_is_named_left_out_and_reported(shard_set, caplog):
    make_shards([(shard_set, FRAMES)], workers=0)
    shard_set.path(0).write_bytes(b'\x93NUMPY damaged')
    with caplog.at_level(logging.WARNING):
        maps, damaged = shard_set.open(FRAMES)
    assert damaged == [shard_set.path(0)] and sum(map(len, maps)) == FRAMES - 64
    assert '00000.npy' in caplog.text


def test_a_corrupt_frame_is_named_and_left_out_and_the_rest_is_kept(shard_set, tum, caplog):
    (tum / 'rgb/5.0.jpg').write_bytes(b'not a picture')
    with caplog.at_level(logging.WARNING):
        assert make_shards([(shard_set, FRAMES)], workers=0) == FRAMES - 1
    assert '5.0.jpg' in caplog.text


def test_a_missing_data_set_stops_and_leaves_no_empty_shard(shard_set, monkeypatch, tmp_path):
    (tmp_path / 'empty').mkdir()
    monkeypatch.setenv('DATA_ROOT', str(tmp_path / 'empty'))
    with pytest.raises(DataError, match="'tum_rgbd' is not in"):
        make_shards([(shard_set, FRAMES)], workers=0)
    assert not shard_set.path(0).exists()


def test_shards_are_mapped_not_loaded(shard_set):
    make_shards([(shard_set, 64)], workers=0)
    assert isinstance(shard_set.open(64)[0][0], np.memmap)


def test_fitting_cuts_the_longer_side_and_keeps_the_rays():
    # A point straight ahead stays at the principal point, whatever is cut and resized.
    k = Intrinsics(100, 40, 50.0, 50.0, 49.5, 19.5)
    image = np.zeros((40, 100, 3), np.uint8)
    fitted = fit_to({'image': image, 'depth': np.ones((40, 100), np.float32), 'intrinsics': k},
                    60, 80)
    assert fitted['image'].shape == (60, 80, 3) and fitted['depth'].shape == (60, 80)
    got = fitted['intrinsics']
    assert got.fx == pytest.approx(50 * 80 / 53) and got.fy == pytest.approx(50 * 1.5)
    assert abs(got.cx - 39.5) < 1 and got.cy == pytest.approx(29.5)


def test_the_command_line_renders_what_it_is_asked_for(tum, tmp_path):
    with pytest.raises(DataError, match='is not in splits.yaml'):
        shards.main(['tum_fr9=3', 'workers=0'], tmp_path / 'cache')
    assert shards.main(['tum_fr3_sitting_static=1', 'workers=0'], tmp_path / 'cache') == 0
    records = np.load(next((tmp_path / 'cache').rglob('*.npy')), mmap_mode='r')
    assert records['image'].shape[1:] == (shards.HEIGHT, shards.WIDTH, 3)
