"""The raw NYU pairs in their three published layouts, on tiny copies: units, scenes, damage."""
from __future__ import annotations

from dataclasses import replace

import cv2
import h5py
import numpy as np
import pytest

from training.data import DATASETS, DataConfig, DataError

HEIGHT, WIDTH = 48, 64
SCENES = ('kitchen_0001a', 'kitchen_0001b', 'office_0002', 'bedroom_0003')
PER_SCENE = 6
IMAGE = np.full((HEIGHT, WIDTH, 3), (50, 100, 200), np.uint8)  # BGR


def picture(path, stored, kind=np.uint16):
    path.parent.mkdir(parents=True, exist_ok=True)
    depth = np.full((HEIGHT, WIDTH), stored, kind)
    depth[20, 30] = 0
    cv2.imwrite(str(path), depth)


def colour(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), IMAGE)


def write_csv(root):
    """DenseDepth: 8 bits over 10 m for training, 16-bit millimetres for the test."""
    rows = {'train': [], 'test': []}
    for scene in SCENES:
        for i in range(PER_SCENE):
            name = f'data/nyu2_train/{scene}_out/{i + 1}'
            colour(root / f'{name}.jpg'), picture(root / f'{name}.png', 51, np.uint8)
            rows['train'].append(f'{name}.jpg,{name}.png')
    for i in range(3):
        name = f'data/nyu2_test/{i:05d}'
        colour(root / f'{name}_colors.png'), picture(root / f'{name}_depth.png', 2000)
        rows['test'].append(f'{name}_colors.png,{name}_depth.png')
    for part, lines in rows.items():
        (root / f'data/nyu2_{part}.csv').write_text('\r\n'.join(lines) + '\r\n')


def write_sync(root):
    """BTS: millimetres, no test pictures."""
    for scene in SCENES:
        for i in range(PER_SCENE):
            colour(root / f'sync/{scene}/rgb_{i:05d}.jpg')
            picture(root / f'sync/{scene}/sync_depth_{i:05d}.png', 2000)


def write_h5(root):
    """FastDepth: metres, channels first."""
    places = [f'train/{scene}/{i:05d}' for scene in SCENES for i in range(PER_SCENE)]
    for place in [*places, *(f'val/official/{i:05d}' for i in range(3))]:
        path = root / f'nyudepthv2/{place}.h5'
        path.parent.mkdir(parents=True, exist_ok=True)
        depth = np.full((HEIGHT, WIDTH), 2.0, np.float32)
        depth[20, 30] = 0
        with h5py.File(path, 'w') as file:
            file['rgb'], file['depth'] = IMAGE[..., ::-1].transpose(2, 0, 1), depth


LAYOUTS = {'csv': write_csv, 'sync': write_sync, 'h5': write_h5}


@pytest.fixture(params=LAYOUTS)
def config(request, tmp_path):
    LAYOUTS[request.param](tmp_path)
    return DataConfig(HEIGHT, WIDTH, 60, root=str(tmp_path), options={'val_share': 0.2})


def build(config, split='train', **options):
    return DATASETS['nyu_raw'](config, split, **options)


def write(tmp_path, layout):
    LAYOUTS[layout](tmp_path)
    return DataConfig(HEIGHT, WIDTH, 60, root=str(tmp_path), options={'val_share': 0.2})


def test_two_metres_are_two_metres_in_every_layout_and_a_hole_is_nan(config):
    item = build(config, augment=False)[0]
    depth, image = item['depth'].numpy(), item['image'].numpy()
    assert np.isnan(depth).any() and np.nanmax(np.abs(depth - 2.0)) < 1e-3
    np.testing.assert_allclose(image[:, 5, 5], (200, 100, 50), atol=4)  # RGB
    # 51.92 px at 64 px, and the 56 px inside the frame become 64
    assert float(item['focal_px']) == pytest.approx(51.92 * 64 / 56, rel=0.02)
    assert item['source'] == 'nyu_raw'


def test_whole_rooms_are_kept_for_validation(config):
    train, val = build(config), build(config, 'val')
    rooms = [{data[i]['name'].split('/')[-2][:-1].removesuffix('_ou') for i in range(len(data))}
             for data in (train, val)]
    assert rooms[1] and not rooms[0] & rooms[1]
    assert len(val) in (PER_SCENE, 2 * PER_SCENE)  # kitchen_0001a and b are one room


@pytest.mark.parametrize('layout', ['csv', 'h5'])
def test_test_pictures_are_metres_whole_and_in_order(tmp_path, layout):
    data = build(write(tmp_path, layout), 'test')
    assert len(data) == 3 and [data[i]['name'][-1 if layout == 'h5' else -8] for i in range(3)]
    assert float(np.nanmedian(data[2]['depth'])) == pytest.approx(2.0)
    assert data[0]['depth'][20, 30].isnan() and float(data[0]['focal_px']) > 51.8


def test_the_layout_without_a_test_set_names_the_official_one(tmp_path):
    with pytest.raises(DataError, match='has no test pictures.*data.dataset=nyu_labeled'):
        build(write(tmp_path, 'sync'), 'test')


def test_the_folder_may_be_that_of_the_table_itself(tmp_path):
    write_csv(tmp_path)
    (tmp_path / 'data').rename(tmp_path / 'elsewhere')
    config = DataConfig(HEIGHT, WIDTH, 8, root=str(tmp_path / 'elsewhere'))
    assert build(config)[0]['name'].startswith('nyu2_train/')


@pytest.mark.parametrize('layout, name', [
    ('csv', 'data/nyu2_train/{}_out/2.png'), ('sync', 'sync/{}/sync_depth_00002.png'),
    ('h5', 'nyudepthv2/train/{}/00002.h5')])
def test_a_twelfth_of_the_files_damaged_stops_with_the_list(tmp_path, layout, name):
    config = write(tmp_path, layout)
    for scene in SCENES[:2]:
        path = tmp_path / name.format(scene)
        path.write_bytes(path.read_bytes()[:90])
    for split in ('train', 'val'):
        try:
            data = build(config, split)
            [data[i] for i in range(len(data))]
        except DataError as error:
            assert 'pictures cannot be read, more than 5%' in str(error)
            assert 'kitchen_0001' in str(error)
            return
    raise AssertionError('the damage was not seen')


def test_a_table_that_is_cut_off_is_named(tmp_path):
    config = write(tmp_path, 'csv')
    table = tmp_path / 'data/nyu2_train.csv'
    table.write_text(table.read_text()[:30])
    with pytest.raises(DataError, match='nyu2_train.csv, line 1: a line is picture,depth'):
        build(config)


def test_a_folder_of_something_else_lists_the_layouts(tmp_path):
    (tmp_path / 'notes.txt').touch()
    with pytest.raises(DataError, match=r'none of nyu2_train.csv, \*/sync_depth'):
        build(DataConfig(HEIGHT, WIDTH, 8, root=str(tmp_path)))


def test_one_room_alone_cannot_be_split(tmp_path):
    config = write(tmp_path, 'sync')
    for scene in SCENES[2:]:
        for path in (tmp_path / 'sync' / scene).iterdir():
            path.unlink()
    with pytest.raises(DataError, match='12 pictures are of 1 scene'):
        build(replace(config, options={}))
