"""Evaluation rows: what is available, what is pooled, and the geometry of the Mitsuba views."""
from __future__ import annotations

import builtins
from dataclasses import replace
import logging

import cv2
import numpy as np
import pytest

from depth_perception.geometry import Intrinsics
from training.data import evaluation, mitsuba
from training.data.root import DataError
from training.data.splits import load_splits

SCENE = '''<scene version="0.5.0"><sensor type="perspective" id="ref_view">
<float name="fov" value="60" /><string name="fov_axis" value="x" />
<transform name="to_world"><matrix value="1 0 0 5 0 1 0 6 0 0 1 7 0 0 0 1" /></transform>
</sensor></scene>'''


@pytest.fixture
def root(tmp_path, monkeypatch):
    folder = tmp_path / 'tum_rgbd/freiburg3_sitting_static'
    for part in ('rgb', 'depth'):
        (folder / part).mkdir(parents=True)
    for i in range(3):
        cv2.imwrite(str(folder / f'rgb/{i}.0.png'), np.full((48, 64, 3), 9, np.uint8))
        cv2.imwrite(str(folder / f'depth/{i}.0.png'), np.full((48, 64), 10000, np.uint16))
    monkeypatch.setenv('DATA_ROOT', str(tmp_path))
    return tmp_path


def test_rows_are_the_test_entries_that_are_here_and_the_rest_is_named(root, caplog):
    with caplog.at_level(logging.WARNING):
        rows = evaluation.rows()
    assert set(rows) == {'procedural rooms', 'same room', 'TUM fr3 (Xtion)'}
    assert all(e.split == 'test' and e.scored for row in rows.values() for e in row)
    assert 'posecnn_ycb_demo' in caplog.text


def test_without_data_root_the_rooms_remain(monkeypatch):
    monkeypatch.delenv('DATA_ROOT', raising=False)
    assert list(evaluation.rows()) == ['procedural rooms'] and evaluation.pictures() == []


def test_unseen_sensors_are_pooled_without_the_sensor_trained_on(tmp_path, monkeypatch):
    for entry in load_splits().select('test'):
        (tmp_path / entry.dataset).mkdir(exist_ok=True)
    monkeypatch.setenv('DATA_ROOT', str(tmp_path))
    pooled = evaluation.pooled()
    unseen = {e.name for e in pooled[evaluation.UNSEEN_SENSORS]}
    assert 'tum_fr1_rpy_test' not in unseen and 'opencv_aloe' not in unseen
    assert {'posecnn_ycb_demo', 'arc_robot_vision', 'skimage_motorcycle'} <= unseen
    scenes = {e.dataset for e in pooled[evaluation.HELD_OUT_SCENES]}
    assert scenes == {'procedural_rooms', 'aws_robomaker_worlds', 'mitsuba_rooms'}
    assert {e.name for e in evaluation.pictures()} >= {'stereodemo_oakd', 'opencv_aloe'}


def test_stored_frames_come_at_their_own_size_and_corrupt_ones_are_left_out(root, caplog):
    (root / 'tum_rgbd/freiburg3_sitting_static/depth/1.0.png').write_bytes(b'no picture')
    entry = load_splits().entry('tum_fr3_sitting_static')
    with caplog.at_level(logging.WARNING):
        got = list(evaluation.samples(entry))
    assert [s['name'][-3:] for s in got] == ['000', '002'] and '1.0.png' in caplog.text
    assert got[0]['depth'].shape == (48, 64) and got[0]['intrinsics'].fx == 535.4
    np.testing.assert_allclose(got[0]['depth'], 2.0)


def test_rendered_rows_are_rendered_once(monkeypatch, tmp_path):
    monkeypatch.delenv('DATA_ROOT', raising=False)
    monkeypatch.setitem(evaluation.RENDERED, 'procedural_rooms', (24, 32, 4))
    shard_set = evaluation.ShardSet
    monkeypatch.setattr(evaluation, 'ShardSet',
                        lambda e, h, w: shard_set(e, h, w, tmp_path / 'cache'))
    monkeypatch.setattr('training.data.shards.VIEWS_PER_SHARD', 4)
    entry = replace(load_splits().entry('procedural_test'), seeds=(200000, 200000))
    first = list(evaluation.samples(entry))
    again = list(evaluation.samples(entry))
    assert len(first) == 4 and len(list((tmp_path / 'cache').rglob('*.npy'))) == 1
    for a, b in zip(first, again):
        assert (a['image'] == b['image']).all() and a['intrinsics'] == b['intrinsics']
        assert a['source'] == 'procedural_test'


def test_the_camera_of_a_mitsuba_scene_is_read():
    pose, fov = mitsuba.read_camera(SCENE)
    assert fov == 60 and pose[:3, 3].tolist() == [5, 6, 7]
    with pytest.raises(DataError, match='no perspective sensor'):
        mitsuba.read_camera('<scene/>')


def test_turning_a_mitsuba_camera_keeps_its_place_and_its_height():
    pose = mitsuba.read_camera(SCENE)[0]
    turned = mitsuba.turned(pose, 90)
    np.testing.assert_allclose(turned[:3, 3], [5, 6, 7])
    np.testing.assert_allclose(turned[:3, 2], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(turned[:3, 1], [0, 1, 0], atol=1e-12)


def test_distance_along_rays_becomes_z_and_nothing_becomes_nan():
    k = Intrinsics.from_hfov(5, 3, 90.0)  # fx = 2.5 px
    u, v = np.meshgrid(np.arange(5), np.arange(3))
    points = np.stack([(u - 2) / 2.5 * 3, (v - 1) / 2.5 * 3, np.full((3, 5), 3.0)], -1)
    distance = np.linalg.norm(points, axis=2)  # of the wall z = 3
    distance[0, 0] = 0
    z = mitsuba.z_from_distance(distance, k)
    assert np.isnan(z[0, 0]) and z.dtype == np.float32
    np.testing.assert_allclose(z.ravel()[1:], 3.0, rtol=1e-6)


def test_denoising_keeps_texture_and_edges_and_removes_noise():
    rng = np.random.default_rng(0)
    albedo = np.where(np.arange(40) % 4 < 2, 0.2, 0.8)[None, :, None] * np.ones((40, 1, 3))
    depth = np.where(np.arange(40) < 20, 1.0, 2.0) * np.ones((40, 1))
    light = np.where(np.arange(40) < 20, 1.0, 0.3)[None, :, None] * np.ones((40, 1, 3))
    normals = np.zeros((40, 40, 3))
    normals[..., 2] = 1
    noisy = albedo * light * rng.uniform(0.5, 1.5, (40, 40, 1))
    inner = np.s_[6:-6, 6:-6]
    error = mitsuba.denoised(noisy, albedo, normals, depth) / (albedo * light) - 1
    assert np.abs(error[inner]).mean() < 0.08 < np.abs(noisy / (albedo * light) - 1)[inner].mean()


def test_a_missing_mitsuba_is_named(monkeypatch, tmp_path):
    real_import = builtins.__import__

    def without(name, *args, **kwargs):
        if name == 'mitsuba':
            raise ImportError(name)
        return real_import(name, *args, **kwargs)
    monkeypatch.setattr(builtins, '__import__', without)
    with pytest.raises(DataError, match='pip install -r requirements-evaluation'):
        mitsuba.render_view(tmp_path / 'a.tar.xz', 'a', 0, 24, 32)
