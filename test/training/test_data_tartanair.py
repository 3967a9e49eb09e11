"""TartanAir on a tiny copy in its layout: pairs, camera, sky, environments, damage."""
from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from training.data import DATASETS, DataConfig, DataError, SplitError

HEIGHT, WIDTH = 24, 32
ENVIRONMENTS = ('abandonedfactory', 'hospital', 'office')
FRAMES = 6


def write(root, start=lambda name: name):
    for i, name in enumerate(ENVIRONMENTS):
        for level, trajectory in (('Easy', 'P000'), ('Hard', 'P001')):
            folder = root / start(name) / level / trajectory
            for part in ('image_left', 'depth_left', 'image_right'):
                (folder / part).mkdir(parents=True, exist_ok=True)
            for frame in range(FRAMES):
                image = np.full((HEIGHT, WIDTH, 3), (i, 0, 200), np.uint8)
                depth = np.full((HEIGHT, WIDTH), 2.0 + i, np.float32)
                depth[:3] = 10000.0  # the sky sphere
                cv2.imwrite(str(folder / f'image_left/{frame:06d}_left.png'), image)
                np.save(folder / f'depth_left/{frame:06d}_left_depth.npy', depth)


@pytest.fixture
def config(tmp_path):
    write(tmp_path)
    return DataConfig(HEIGHT, WIDTH, 60, root=str(tmp_path), options={'val_share': 0.3})


def build(config, split='train', **options):
    return DATASETS['tartanair'](config, split, **options)


def test_pairs_have_metres_a_hole_for_the_sky_and_the_published_camera(config):
    item = build(config, 'val')[0]
    environment = ENVIRONMENTS.index(item['name'].split('/')[0])
    assert item['depth'][:3].isnan().all() and float(item['depth'][5, 5]) == 2.0 + environment
    assert (item['image'][0] == 200).all() and (item['image'][2] == environment).all()
    assert float(item['focal_px']) == pytest.approx(16.0)  # 90 degrees across 32 pixels


def test_whole_environments_are_held_out(config):
    train, val = build(config), build(config, 'val')
    held = {val[i]['name'].split('/')[0] for i in range(len(val))}
    seen = {train[i]['name'].split('/')[0] for i in range(60)}
    assert held | seen == set(ENVIRONMENTS) and not held & seen
    assert len(val) == 2 * FRAMES * len(held)


def test_archives_that_unpack_into_a_folder_of_the_same_name_are_found(tmp_path):
    write(tmp_path, lambda name: f'{name}/{name}')
    config = DataConfig(HEIGHT, WIDTH, 4, root=str(tmp_path))
    assert len(build(config, 'val')) == 2 * FRAMES


def test_the_farthest_depth_can_be_given(config):
    chosen = replace(config, options={'max_depth': 20000, 'val_share': 0.3})
    assert build(chosen, 'val')[0]['depth'].isfinite().all()
    with pytest.raises(DataError, match='max_depth is -1'):
        build(replace(config, options={'max_depth': -1}))


def test_a_cut_off_array_is_named_skipped_and_counted(config, tmp_path, caplog):
    train = build(config)
    name = train[0]['name']
    path = tmp_path / str(train.pictures.depths[list(train.pictures.names).index(name)])
    path.write_bytes(path.read_bytes()[:500])
    again = build(config)
    assert name not in {again[i]['name'] for i in range(60)}
    assert again.faults.names == [name] and str(path) in caplog.text


def test_centimetres_are_warned_of(config, tmp_path, caplog):
    for path in tmp_path.rglob('*.npy'):
        np.save(path, np.full((HEIGHT, WIDTH), 300.0, np.float32))
    build(config)
    assert 'multiply the scale of depth by 0.01' in caplog.text


def test_another_layout_and_the_test_part_are_refused(config, tmp_path):
    with pytest.raises(SplitError, match='train, val'):
        build(config, 'test')
    (tmp_path / 'other/rgb').mkdir(parents=True)
    with pytest.raises(DataError, match='image_left'):
        build(replace(config, root=str(tmp_path / 'other')))
