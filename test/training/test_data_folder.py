"""A folder of pictures with depth: pairs, kinds, scale, intrinsics, splits, and what is wrong."""
from __future__ import annotations

from dataclasses import replace
import logging
import pickle

import cv2
import numpy as np
import OpenEXR
import pytest
import torch
from torch.utils.data import DataLoader
import yaml

from training.data import DATASETS, DataConfig, DataError

HEIGHT, WIDTH = 24, 32
CAMERA = {'width': WIDTH, 'height': HEIGHT, 'fx': 30.0, 'fy': 30.0, 'cx': 15.5, 'cy': 11.5}


def write_exr(path, depth):
    OpenEXR.File({'type': OpenEXR.scanlineimage, 'compression': OpenEXR.ZIP_COMPRESSION},
                 {'Z': depth}).write(str(path))


# ending -> (writes metres, the scale that dataset.yaml then needs)
KINDS = {
    'png': (lambda path, m: cv2.imwrite(str(path), np.rint(m * 1000).astype(np.uint16)), 0.001),
    'npz': (lambda path, m: np.savez_compressed(path, depth=m), 1.0),
    'npy': (lambda path, m: np.save(path, m * 100), '1e-2'),
    'exr': (write_exr, 1),
    'tiff': (lambda path, m: cv2.imwrite(str(path), m), 1.0),
}


def depth_of(number):
    depth = np.full((HEIGHT, WIDTH), 1 + 0.1 * number, np.float32)
    depth[10, 12] = 0
    return depth


def write_pair(root, name, kind='png', depth=None):
    for folder in ('rgb', 'depth'):
        (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
    number = int(name[-3:])
    cv2.imwrite(str(root / f'rgb/{name}.png'), np.full((HEIGHT, WIDTH, 3), number, np.uint8))
    KINDS[kind][0](root / f'depth/{name}.{kind}', depth_of(number) if depth is None else depth)


def describe(root, **changes):
    content = {'scale': 0.001, 'intrinsics': CAMERA} | changes
    (root / 'dataset.yaml').write_text(yaml.safe_dump(content))


@pytest.fixture
def config(tmp_path):
    for i in range(40):
        write_pair(tmp_path, f'walk/{i:03d}')
    describe(tmp_path)
    return DataConfig(HEIGHT, WIDTH, 200, root=str(tmp_path))


def build(config, split='train', **options):
    return DATASETS['folder'](config, split, **options)


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_of_depth_becomes_metres_by_the_scale(kind, tmp_path):
    for i in range(4):
        write_pair(tmp_path, f'{i:03d}', kind)
    describe(tmp_path, scale=KINDS[kind][1])
    data = build(DataConfig(HEIGHT, WIDTH, 8, root=str(tmp_path)), 'val')
    item = data[0]
    assert len(data) == 1 and item['name'] == '003' and torch.isnan(item['depth'][10, 12])
    assert float(np.nanmax(item['depth'])) == pytest.approx(1.3, rel=1e-6)
    assert (item['image'] == 3).all() and float(item['focal_px']) == pytest.approx(30.0)


def test_pictures_pair_by_name_and_the_last_tenth_is_for_validation(config):
    train, val = build(config, augment=False), build(config, 'val')
    assert [val[i]['name'] for i in range(len(val))] == [f'walk/{i:03d}' for i in range(36, 40)]
    seen = {item['name']: item for item in (train[i] for i in range(200))}
    assert set(seen) == {f'walk/{i:03d}' for i in range(36)}
    for name, item in seen.items():
        number = int(name[-3:])
        assert (item['image'] == number).all()
        assert float(np.nanmax(item['depth'])) == pytest.approx(1 + 0.1 * number, rel=1e-3)


def test_folders_of_splits_are_used_where_they_are_there(tmp_path):
    for i, split in enumerate(('train', 'val', 'test')):
        write_pair(tmp_path / split, f'{i:03d}')
    describe(tmp_path)
    config = DataConfig(HEIGHT, WIDTH, 4, root=str(tmp_path))
    assert [build(config, split)[0]['name'] for split in ('train', 'val', 'test')] == [
        '000', '001', '002']


def test_names_of_the_folders_and_the_range_can_be_given(tmp_path):
    for i in range(4):
        write_pair(tmp_path, f'{i:03d}', depth=depth_of(i) + np.float32(i == 3) * 60)
    (tmp_path / 'rgb').rename(tmp_path / 'left')
    describe(tmp_path, rgb='left', depth_range=[0.1, 20])
    data = build(DataConfig(HEIGHT, WIDTH, 30, root=str(tmp_path), options={'val_share': 0.3}),
                 'train')
    assert {data[i]['name'] for i in range(30)} == {'000', '001', '002'}


def test_augmentation_zooms_depth_and_focal_length_together(config):
    items = [build(config)[i] for i in range(20)]
    focal = [float(item['focal_px']) for item in items]
    assert min(focal) >= 30.0 and max(focal) > 45
    for item in items:
        depth = item['depth'].numpy()
        assert np.nanmax(np.abs(depth - (1 + 0.1 * int(item['name'][-3:])))) < 5e-3


def test_a_larger_network_picture_keeps_the_field_of_view(config):
    data = build(replace(config, height=2 * HEIGHT, width=2 * WIDTH), 'val')
    assert data[0]['image'].shape == (3, 48, 64) and float(data[0]['focal_px']) == 60.0


def damage(path):
    path.write_bytes(path.read_bytes()[:-40])


def test_one_damaged_picture_is_named_skipped_and_counted_by_all_workers(config, tmp_path, caplog):
    damage(tmp_path / 'depth/walk/011.png')
    data = build(config)
    loader = DataLoader(data, batch_size=10, num_workers=2)
    names = [name for batch in loader for name in batch['name']]
    assert len(names) == 200 and 'walk/011' not in names
    assert data.faults.names == ['walk/011'] and len(data.faults) == 1
    with caplog.at_level(logging.WARNING):
        data = build(config)
        assert [data[i]['name'] for i in range(200)] == names  # again the same items
    assert 'folder: left out walk/011 (1 of 36 so far)' in caplog.text


def test_a_damaged_picture_for_validation_is_left_out_of_the_count(config, tmp_path):
    config = replace(config, options={'val_share': 0.8})
    damage(tmp_path / 'rgb/walk/020.png')
    data = build(config, 'val')
    assert len(data) == 31 and data.faults.names == ['walk/020']
    assert 'walk/020' not in {data[i]['name'] for i in range(31)}


def test_more_than_a_twentieth_damaged_stops_a_loader_with_the_list(config, tmp_path):
    for number in (3, 9, 22):
        damage(tmp_path / f'depth/walk/{number:03d}.png')
    with pytest.raises(DataError, match=r'more than 5%; copy them again: walk/0\d\d, walk'):
        for _ in DataLoader(build(config), batch_size=10, num_workers=1):
            pass


def test_pictures_without_depth_stop_before_training_starts(config, tmp_path):
    for number in (3, 9):
        (tmp_path / f'depth/walk/{number:03d}.png').unlink()
    with pytest.raises(DataError, match='2 of 36 pictures.*walk/003, walk/009'):
        build(config)


@pytest.mark.parametrize('scale, factor', [(1.0, '0.001'), (1e-6, '1000')])
def test_a_wrong_scale_is_warned_about_with_its_factor(config, tmp_path, scale, factor, caplog):
    describe(tmp_path, scale=scale)
    build(config)
    assert f'multiply the scale of depth by {factor}' in caplog.text


def test_pictures_of_another_size_than_the_intrinsics_are_refused(config, tmp_path):
    describe(tmp_path, intrinsics=CAMERA | {'width': 64})
    with pytest.raises(DataError, match='cannot be read'):
        build(config)


@pytest.mark.parametrize('changes, message', [
    ({'scale': 0}, 'dataset.yaml: scale is 0.0; it must be above 0'),
    ({'scale': 'metres'}, "scale is 'metres'; it must be a number"),
    ({'unit': 'mm'}, 'unknown unit; its keys are scale, intrinsics'),
    ({'intrinsics': None}, 'intrinsics is None; it must be a mapping of width, height, fx'),
    ({'intrinsics': {'width': 32, 'height': 24, 'fx': 30}}, 'missing cx, missing cy, missing fy'),
    ({'intrinsics': CAMERA | {'fx': -1}}, 'focal length is fx=-1'),
    ({'depth_range': [5, 1]}, 'nearest < farthest'),
    ({'depth_range': 5}, r'depth_range is 5; give \[nearest, farthest\] in metres'),
    ({'rgb': 'colour'}, 'colour is missing; the layout is rgb/, depth/ and dataset.yaml'),
])
def test_a_description_that_cannot_work_is_refused(config, tmp_path, changes, message):
    describe(tmp_path, **changes)
    with pytest.raises(DataError, match=message):
        build(config)


def test_what_is_missing_in_the_folder_is_named(config, tmp_path):
    with pytest.raises(DataError, match='has no test/'):
        build(config, 'test')
    (tmp_path / 'depth/walk').rename(tmp_path / 'depth/run')
    with pytest.raises(DataError, match='no picture of .*rgb has depth of the same name'):
        build(config)
    (tmp_path / 'dataset.yaml').unlink()
    with pytest.raises(DataError, match='dataset.yaml cannot be read.*says scale and intrinsics'):
        build(config)


def test_two_depth_files_of_one_name_are_refused(config, tmp_path):
    KINDS['npy'][0](tmp_path / 'depth/walk/001.npy', depth_of(1))
    with pytest.raises(DataError, match='keep one of them'):
        build(config)


def test_a_folder_of_empty_folders_has_no_picture(config, tmp_path):
    for path in (*tmp_path.glob('rgb/*/*'), *tmp_path.glob('depth/*/*')):
        path.unlink()
    with pytest.raises(DataError, match='has no picture'):
        build(config)


def test_a_data_set_can_be_sent_to_a_worker_that_did_not_fork(config):
    data = build(config)
    sent = pickle.loads(pickle.dumps(data))
    assert torch.equal(sent[3]['image'], data[3]['image']) and sent[3]['name'] == data[3]['name']


# Segmentation targets, inverse depth, pictures of several sizes

CLASSES = {0: 0, 128: -1, 255: 1}


def write_mask(root, name, mask):
    path = root / f'masks/{name}.png'
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), mask)


def person():
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[4:12, 8:20], mask[20:] = 255, 128
    return mask


def test_masks_become_classes_and_a_picture_without_one_has_no_target(config, tmp_path):
    describe(tmp_path, masks='masks', classes=CLASSES)
    write_mask(tmp_path, 'walk/038', person())
    data = build(replace(config, labels=True), 'val')
    by_name = {data[i]['name']: data[i]['labels'] for i in range(len(data))}
    labels = by_name['walk/038']
    assert labels.dtype == torch.int64
    assert (labels[4:12, 8:20] == 1).all() and (labels == 1).sum() == 8 * 12
    assert (labels[20:] == -1).all() and (labels == 0).sum() == 20 * WIDTH - 8 * 12
    assert (by_name['walk/039'] == -1).all()
    assert 'labels' not in build(config, 'val')[0]


def test_masks_are_cut_as_their_pictures_are(config, tmp_path):
    # The thing is exactly what is near: wherever the crop lies, both say so.
    describe(tmp_path, masks='masks', classes=CLASSES)
    for i in range(40):
        mask = np.where(person() == 255, 255, 0).astype(np.uint8)
        write_mask(tmp_path, f'walk/{i:03d}', mask)
        write_pair(tmp_path, f'walk/{i:03d}', depth=np.where(mask, 1.0, 4.0).astype(np.float32))
    data = build(replace(config, labels=True))
    seen = 0
    for i in range(20):
        item = data[i]
        known = torch.isfinite(item['depth'])
        assert torch.equal(item['depth'][known] < 2, item['labels'][known] == 1)
        seen += int((item['labels'] == 1).sum())
    assert seen


def test_a_mask_with_an_unknown_label_is_left_out_by_name_with_the_way_out(
        config, tmp_path, caplog):
    describe(tmp_path, masks='masks', classes={0: 0, 255: 1})
    write_mask(tmp_path, 'walk/037', person())
    data = build(replace(config, labels=True), 'train')
    assert len(data.faults) == 0
    with pytest.raises(DataError, match='1 of 4 pictures cannot be read'):
        build(replace(config, labels=True), 'val')
    assert ('037.png has the labels [128]; dataset.yaml knows [0, 255]: add them, as -1'
            in caplog.text)


def test_a_mask_of_another_size_is_left_out(config, tmp_path, caplog):
    describe(tmp_path, masks='masks', classes=CLASSES)
    write_mask(tmp_path, 'walk/039', person()[:-1])
    with pytest.raises(DataError, match='1 of 4'):
        build(replace(config, labels=True), 'val')
    assert 'is (23, 32), its picture (24, 32)' in caplog.text


def test_inverse_depth_is_turned_round_and_0_is_missing(config, tmp_path):
    describe(tmp_path, inverse=True, scale=1 / 4000)
    depth = build(config, 'val')[0]['depth']
    # write_pair stores millimetres: 1.0 + 0.1 * 36 m are 4600, here 4600 / 4000 per unit
    assert float(depth[0, 0]) == pytest.approx(4000 / 4600)
    assert torch.isnan(depth[10, 12])


def test_a_field_of_view_stands_for_intrinsics_of_any_size(config, tmp_path):
    content = {'scale': 0.001, 'hfov_deg': 90.0}
    (tmp_path / 'dataset.yaml').write_text(yaml.safe_dump(content))
    assert float(build(config, 'val')[0]['focal_px']) == pytest.approx(WIDTH / 2)


@pytest.mark.parametrize('changes, message', [
    ({'hfov_deg': 60}, 'give intrinsics, or hfov_deg where pictures differ in size'),
    ({'masks': 'masks'}, 'masks and classes belong together'),
    ({'masks': 'masks', 'classes': {0: 'sky'}}, 'give stored value .* class'),
    ({'masks': 'masks', 'classes': {300: 1}}, 'give stored value'),
    ({'masks': 'masks', 'classes': {}}, 'give stored value'),
])
def test_targets_that_cannot_work_are_refused(config, tmp_path, changes, message):
    describe(tmp_path, **changes)
    with pytest.raises(DataError, match=message):
        build(config)
