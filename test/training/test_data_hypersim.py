"""Hypersim on a tiny copy in its layout: distance to z, tone mapping, split, tilt, damage."""
from __future__ import annotations

import csv
from dataclasses import replace
import math

import cv2
import h5py
import numpy as np
import pytest

from training.data import DATASETS, DataConfig, DataError, SplitError
from training.data.hypersim import CAMERA_FILE, SPLIT_FILE, developed, pinhole, z_of_distance

HEIGHT, WIDTH = 24, 32
SCENES = {'ai_001_001': 'train', 'ai_001_002': 'train', 'ai_002_001': 'val', 'ai_003_001': 'test'}
FRAMES = 12
PLANE_M = 2.5  # a wall at this z, square to the camera
TAN = 0.5773502886169104  # of half the horizontal field of view of 60 degrees


def camera_row(scene, **changed):
    matrix = np.diag([TAN, TAN * HEIGHT / WIDTH, -1.0])
    for key, value in changed.items():
        matrix[int(key[-2]), int(key[-1])] = value
    cells = {f'M_cam_from_uv_{i}{j}': matrix[i, j] for i in range(3) for j in range(3)}
    return {'scene_name': scene, 'settings_output_img_height': float(HEIGHT),
            'settings_output_img_width': float(WIDTH), **cells}


def table(path, rows):
    with path.open('w', newline='') as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def wall_distance():
    """Length of the ray of each pixel to the wall, by trigonometry and not by intrinsics."""
    distance = np.empty((HEIGHT, WIDTH))
    for v in range(HEIGHT):
        for u in range(WIDTH):
            x = TAN * (2 * (u + 0.5) / WIDTH - 1)
            y = TAN * HEIGHT / WIDTH * (1 - 2 * (v + 0.5) / HEIGHT)
            distance[v, u] = PLANE_M * math.hypot(1, x, y)
    return distance


def write_h5(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, 'w') as file:
        file['dataset'] = array.astype(np.float16)


def write_frame(root, scene, frame):
    images = root / scene / 'images'
    distance = wall_distance()
    distance[3, 4] = np.nan  # no geometry there
    radiance = np.full((HEIGHT, WIDTH, 3), 0.25)
    radiance[:, ::8] = 4.0
    write_h5(images / f'scene_cam_00_geometry_hdf5/frame.{frame:04d}.depth_meters.hdf5', distance)
    write_h5(images / f'scene_cam_00_final_hdf5/frame.{frame:04d}.color.hdf5', radiance)
    preview = images / f'scene_cam_00_final_preview/frame.{frame:04d}.tonemap.jpg'
    preview.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(preview), np.full((HEIGHT, WIDTH, 3), (10, 120, 240), np.uint8))


@pytest.fixture
def config(tmp_path):
    split = []
    for scene, part in SCENES.items():
        for frame in range(FRAMES):
            write_frame(tmp_path, scene, frame)
            split.append({'scene_name': scene, 'camera_name': 'cam_00', 'frame_id': frame,
                          'included_in_public_release': frame != 11,
                          'split_partition_name': part})
    table(tmp_path / SPLIT_FILE, split)
    table(tmp_path / CAMERA_FILE, [camera_row(scene) for scene in SCENES])
    return DataConfig(HEIGHT, WIDTH, 40, root=str(tmp_path))


def build(config, split='train', **options):
    return DATASETS['hypersim'](config, split, **options)


def geometry(root, scene='ai_001_001', frame=0):
    return (root / scene / 'images/scene_cam_00_geometry_hdf5'
            / f'frame.{frame:04d}.depth_meters.hdf5')


def test_distance_along_the_ray_becomes_planar_z(config):
    item = build(config, 'val')[0]
    depth = item['depth'].numpy()
    assert np.isnan(depth[3, 4])
    depth[3, 4] = PLANE_M
    # half floats hold 2 mm here; at a corner the ray is 23 % longer than z
    np.testing.assert_allclose(depth, PLANE_M, atol=2e-3)
    assert wall_distance().max() > 1.2 * PLANE_M
    assert float(item['focal_px']) == pytest.approx(WIDTH / 2 / math.tan(math.radians(30)))


def test_the_official_split_is_taken_and_unreleased_frames_are_not(config):
    for part, scene in (('val', 'ai_002_001'), ('test', 'ai_003_001')):
        data = build(config, part)
        assert [data[i]['name'] for i in range(len(data))] == [
            f'{scene}/cam_00/{frame:04d}' for frame in range(11)]
    train = build(config)
    assert {train[i]['name'].split('/')[0] for i in range(40)} == {'ai_001_001', 'ai_001_002'}


def test_tone_mapping_brings_the_ninetieth_percentile_to_four_fifths():
    radiance = np.zeros((10, 10, 3), np.float32)
    radiance[:] = np.arange(100).reshape(10, 10, 1) / 10  # 90th percentile: 8.91
    radiance[0, 0] = np.nan
    radiance[0, 1] = np.inf
    photo = developed(radiance)
    finite = np.arange(2, 100) / 10
    gain = 0.8 ** 2.2 / np.percentile(finite, 90)
    expected = np.clip(gain * finite, 0, 1) ** (1 / 2.2) * 255
    np.testing.assert_allclose(photo.reshape(100, 3)[2:], expected[:, None].repeat(3, 1), atol=1)
    assert not photo[0, :2].any()


@pytest.mark.parametrize('radiance', [np.zeros((4, 4, 3)), np.full((4, 4, 3), np.nan),
                                      np.full((4, 4, 3), -1.0)])
def test_a_picture_without_light_is_black(radiance):
    assert not developed(radiance.astype(np.float16)).any()


def test_the_previews_can_be_taken_instead(config):
    data = build(replace(config, options={'image': 'preview'}), 'val')
    np.testing.assert_allclose(data[0]['image'][:, 5, 5].numpy(), (240, 120, 10), atol=4)
    with pytest.raises(DataError, match='image is .raw.'):
        build(replace(config, options={'image': 'raw'}))


def test_a_shifted_camera_keeps_its_rays_and_a_tilted_one_is_left_out(config, tmp_path, caplog):
    shifted = pinhole(camera_row('s', m02=0.1, m12=-0.05))
    u, v = 7, 11
    ray = np.array([TAN * (2 * (u + 0.5) / WIDTH - 1) + 0.1,
                    TAN * HEIGHT / WIDTH * (1 - 2 * (v + 0.5) / HEIGHT) - 0.05])
    found = ((u - shifted.cx) / shifted.fx, -(v - shifted.cy) / shifted.fy)
    np.testing.assert_allclose(found, ray, atol=1e-12)
    rows = [camera_row(s, **({'m21': 0.02} if s == 'ai_001_002' else {})) for s in SCENES]
    table(tmp_path / CAMERA_FILE, rows)
    data = build(config)
    assert {data[i]['name'].split('/')[0] for i in range(20)} == {'ai_001_001'}
    assert 'no pinhole: ai_001_002' in caplog.text


def test_z_of_the_principal_ray_is_its_distance():
    camera = pinhole(camera_row('s'))
    z = z_of_distance(np.full((HEIGHT, WIDTH), 2.0), camera)
    assert z.dtype == np.float32 and z.max() < 2.0
    assert z[HEIGHT // 2, WIDTH // 2] == pytest.approx(2.0, rel=1e-3)


def test_a_cut_off_file_is_named_skipped_and_counted(config, tmp_path, caplog):
    path = geometry(tmp_path)
    path.write_bytes(path.read_bytes()[:-200])
    train = build(config)
    items = [train[i] for i in range(40)]
    assert 'ai_001_001/cam_00/0000' not in {item['name'] for item in items}
    assert len(train.faults) == 1 and train.faults.names == ['ai_001_001/cam_00/0000']
    assert str(path) in caplog.text and 'damaged' in caplog.text


def test_an_empty_file_is_found_before_training(config, tmp_path):
    geometry(tmp_path, 'ai_001_002', 4).write_bytes(b'')
    assert build(config).faults.names == ['ai_001_002/cam_00/0004']


def test_scenes_that_are_not_unpacked_are_no_damage(config, tmp_path, caplog):
    (tmp_path / 'ai_001_002').rename(tmp_path / 'elsewhere')
    assert len(build(config).faults) == 0
    assert '1 of 2 scenes' in caplog.text


@pytest.mark.parametrize('name', [SPLIT_FILE, CAMERA_FILE])
def test_a_missing_or_foreign_table_is_an_error_that_names_it(name, config, tmp_path):
    (tmp_path / name).write_text('a,b\n1,2\n')
    with pytest.raises(DataError, match='split|picture'):
        build(config)
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match=name):
        build(config)


def test_another_split_is_refused(config):
    with pytest.raises(SplitError, match='train, val, test'):
        build(config, 'all')
