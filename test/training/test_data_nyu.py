"""The labelled NYU file, on a tiny copy in its layout: axes, names, split, holes, damage."""
from __future__ import annotations

from dataclasses import replace
import pickle

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from torch.utils.data import DataLoader

from training.data import DATASETS, AugmentConfig, DataConfig, DataError, SplitError
from training.data.nyu import CAMERA, LABELED, scene_group, without_frame
from training.data.pictures import Picture

HEIGHT, WIDTH = 48, 64  # a tenth of the real size
SCENES = [f'{room}_{number:04d}{part}' for room in ('kitchen', 'office') for number in range(6)
          for part in 'ab']
COUNT = len(SCENES)  # 24 pictures
TEST = np.array([3, 4, 23, 24])  # from 1, as MATLAB counts
TRAIN = np.setdiff1d(np.arange(1, COUNT + 1), TEST)


def images():
    """(N, H, W, 3): red is the column, green the row, blue the picture."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([np.stack([3 * u, 4 * v, np.full_like(u, 10 * i)], -1)
                     for i in range(COUNT)]).astype(np.uint8)


def depths():
    """(N, H, W) metres: 1 m at the left to 2 m at the right, plus 0.1 m a picture."""
    ramp = np.linspace(1, 2, WIDTH, dtype=np.float32)
    return np.stack([np.tile(ramp, (HEIGHT, 1)) + np.float32(0.1 * i) for i in range(COUNT)])


def write_mat(path, depth=None, scenes=SCENES, **storage):
    """Write as MATLAB 7.3 does: axes reversed, text as references, 512 bytes of its own first."""
    depth = depths() if depth is None else depth
    raw = depth.copy()
    raw[:, :6, :6] = 0  # the Kinect saw nothing there
    with h5py.File(path, 'w', userblock_size=512) as file:
        file.create_dataset('images', data=images().transpose(0, 3, 2, 1), **storage)
        file.create_dataset('depths', data=depth.transpose(0, 2, 1), **storage)
        file.create_dataset('rawDepths', data=raw.transpose(0, 2, 1), **storage)
        references = []
        for i, scene in enumerate(scenes):
            text = np.frombuffer(scene.encode('utf-16-le'), np.uint16)[:, None]
            cell = file.create_dataset(f'#refs#/{i}', data=text)
            cell.attrs['MATLAB_class'] = np.bytes_('char')
            references.append(cell.ref)
        file.create_dataset('scenes', data=np.array([references], h5py.ref_dtype),
                            dtype=h5py.ref_dtype)
    with path.open('r+b') as file:
        file.write(b'MATLAB 7.3 MAT-file, Platform: GLNXA64'.ljust(512))


def write_split(path, train=TRAIN, test=TEST):
    scipy.io.savemat(path, {'trainNdxs': train[:, None].astype(np.uint16),
                            'testNdxs': test[:, None].astype(np.uint16)})


@pytest.fixture
def config(tmp_path):
    write_mat(tmp_path / LABELED)
    write_split(tmp_path / 'splits.mat')
    return DataConfig(HEIGHT, WIDTH, 40, root=str(tmp_path), options={'val_share': 0.2})


def build(config, split='train', **options):
    return DATASETS['nyu_labeled'](config, split, **options)


def row_of(item):
    return int(item['name'][-4:]) - 1


def test_test_pictures_come_whole_in_the_order_of_the_split(config):
    data = build(config, 'test')
    assert [data[i]['name'] for i in range(len(data))] == [
        f'{SCENES[n - 1]}/{n:04d}' for n in TEST]
    for item, n in zip((data[i] for i in range(4)), TEST):
        np.testing.assert_array_equal(item['image'].numpy().transpose(1, 2, 0), images()[n - 1])
        np.testing.assert_array_equal(item['depth'].numpy(), depths()[n - 1])
        assert item['source'] == 'nyu_labeled'
        # 518.86 px and 519.47 px at 640 x 480, a tenth of it here
        assert float(item['focal_px']) == pytest.approx((51.8858 * 51.9470) ** 0.5, rel=1e-5)


def test_items_have_the_shapes_and_types_of_all_data_sets(config):
    item = build(config)[0]
    assert item['image'].shape == (3, HEIGHT, WIDTH) and item['image'].dtype == torch.uint8
    assert item['depth'].shape == (HEIGHT, WIDTH) and item['depth'].dtype == torch.float32
    assert item['focal_px'].shape == () and item['focal_px'].dtype == torch.float32


def test_train_val_and_test_share_no_picture_and_train_and_val_no_room(config):
    names = {split: {data[i]['name'] for i in range(len(data))}
             for split in ('train', 'val', 'test')
             for data in [build(replace(config, samples_per_epoch=400), split)]}
    assert not names['train'] & names['test'] and not names['val'] & names['test']
    assert len(names['train'] | names['val']) == len(TRAIN)
    rooms = {split: {scene_group(name.split('/')[0]) for name in found}
             for split, found in names.items()}
    assert rooms['val'] and not rooms['train'] & rooms['val']
    assert len(names['val']) == pytest.approx(0.2 * len(TRAIN), abs=2)


def test_training_leaves_the_white_frame_out(config):
    # The frame of the tiny copy is 4 px left and right (41 of 640) and 4 px above (45 of 480).
    data = build(config, augment=False)
    red = torch.stack([data[i]['image'][0] for i in range(10)])
    assert red.min() >= 3 * 4 - 1 and red.max() <= 3 * (WIDTH - 4)
    left, right = 1 + 4 / 63, 1 + 59 / 63
    for item in (data[i] for i in range(10)):
        depth = item['depth'].numpy() - 0.1 * row_of(item)
        assert depth.min() > left - 0.01 and depth.max() < right + 0.01


def test_the_frame_is_that_of_the_toolbox_at_full_size():
    v, u = np.mgrid[:480, :640].astype(np.float32)
    whole = Picture(np.zeros((480, 640, 3), np.uint8), 1000 * v + u, CAMERA)
    inner = without_frame(whole)
    assert inner.depth[0, 0] == 45_041 and inner.depth[-1, -1] == 470_600
    assert inner.intrinsics.cx == pytest.approx(CAMERA.cx - 41)


def test_image_depth_and_focal_length_move_together(config):
    # Red is the column and depth is a ramp over columns, so each pixel checks itself.
    still = AugmentConfig(zoom=(1.0, 2.0), roll=1.0, colour=0, grey=0, noise=0, blur=0, jpeg=0)
    data = build(replace(config, augmentation=still))
    seen = [data[i] for i in range(20)]
    for item in seen:
        column = item['image'][0].numpy() / 3
        expected = 1 + column / (WIDTH - 1) + 0.1 * row_of(item)
        error = np.abs(item['depth'].numpy() / expected - 1)
        assert np.nanpercentile(error, 95) < 0.015  # half a pixel of the ramp, and float16
        # As many columns as the picture shows make its focal length.
        across = np.abs(np.diff(column[:, 8:-8], axis=1)).mean()
        down = np.abs(np.diff(column[8:-8], axis=0)).mean()
        assert float(item['focal_px']) == pytest.approx(51.92 / np.hypot(across, down), rel=0.05)
    assert np.ptp([float(item['focal_px']) for item in seen]) > 10


def test_raw_depth_has_holes_and_filled_depth_has_none(config):
    raw = build(replace(config, options={'depth': 'raw'}), 'test')[0]['depth']
    assert torch.isnan(raw[:6, :6]).all() and torch.isfinite(raw[6:, 6:]).all()
    assert torch.isfinite(build(config, 'test')[0]['depth']).all()


def test_items_do_not_depend_on_the_number_of_workers(config):
    data = build(replace(config, samples_per_epoch=8))
    loader = DataLoader(data, batch_size=4, num_workers=2)
    data.set_epoch(1)
    images = torch.cat([batch['image'] for batch in loader])
    assert torch.equal(images, torch.stack([data[i]['image'] for i in range(8)]))
    data.set_epoch(0)
    assert not torch.equal(images[0], data[0]['image'])


def test_another_number_of_pictures_than_the_official_is_said(config, caplog):
    build(config, 'test')
    assert '20 training and 4 test pictures; the official split has 795 and 654' in caplog.text


def test_millimetres_are_warned_about_with_the_factor(config, tmp_path, caplog):
    write_mat(tmp_path / LABELED, depth=depths() * 1000)
    build(config, 'test')
    assert 'multiply the scale of depth by 0.001' in caplog.text


def test_damaged_pictures_inside_the_file_stop_with_the_list(config, tmp_path):
    path = tmp_path / LABELED
    write_mat(path, chunks=True, compression='gzip', fletcher32=True)
    with h5py.File(path) as file:
        depth = file['depths']
        places = [depth.id.get_chunk_info(i) for i in range(depth.id.get_num_chunks())]
    with path.open('r+b') as file:
        for place in places:
            file.seek(place.byte_offset + place.size // 2)
            file.write(b'damaged')
    with pytest.raises(DataError, match='of 4 pictures cannot be read.*kitchen_0001a/0003'):
        build(config, 'test')


@pytest.mark.parametrize('damage, message', [
    (lambda f: (f / LABELED).unlink(), 'nyu_depth_v2_labeled.mat is missing; copy it'),
    (lambda f: (f / LABELED).write_bytes(b'damaged'), 'is damaged or not the labelled .mat'),
    (lambda f: (f / LABELED).write_bytes((f / LABELED).read_bytes()[:20000]), 'is damaged or not'),
    (lambda f: (f / 'splits.mat').unlink(), 'splits.mat cannot be read.*put splits.mat'),
    (lambda f: (f / 'splits.mat').write_bytes(b'damaged'), 'splits.mat cannot be read'),
    (lambda f: scipy.io.savemat(f / 'splits.mat', {'train': [1]}), 'splits.mat cannot be read'),
    (lambda f: write_split(f / 'splits.mat', test=TRAIN[:2]), 'names pictures twice'),
    (lambda f: write_split(f / 'splits.mat', test=np.array([99])), 'outside 1 to 24'),
    (lambda f: write_mat(f / LABELED, scenes=SCENES[:5]), r'scenes \(5,\)'),
])
def test_files_that_are_missing_or_damaged_are_named(config, tmp_path, damage, message):
    damage(tmp_path)
    with pytest.raises(DataError, match=message):
        build(config)


@pytest.mark.parametrize('change, message', [
    ({'options': {'depths': 'raw'}}, "unknown option 'depths'.*nearest known is 'depth'"),
    ({'options': {'depth': 'painted'}}, "depth is 'painted'; use one of filled, raw"),
    ({'options': {'val_share': 1.5}}, 'val_share is 1.5'),
    ({'options': {'val_share': 'some'}}, "val_share is 'some'; it must be a number"),
    ({'root': ''}, 'nyu_labeled needs data.root'),
])
def test_settings_that_cannot_work_are_refused(config, change, message):
    with pytest.raises(DataError, match=message):
        build(replace(config, **change))


def test_an_unknown_split_is_refused(config):
    with pytest.raises(SplitError, match='it has train, val, test'):
        build(config, 'trial')


@pytest.mark.parametrize('scene, room', [
    ('kitchen_0028b', 'kitchen_0028'), ('living_room_0038_out', 'living_room_0038'),
    ('kitchen_0028b_out', 'kitchen_0028'), ('nyu_office_0', 'nyu_office_0')])
def test_takes_of_one_room_are_one_group(scene, room):
    assert scene_group(scene) == room


def test_a_data_set_can_be_sent_to_a_worker_that_did_not_fork(config):
    data = build(config)
    sent = pickle.loads(pickle.dumps(data))
    assert torch.equal(sent[3]['image'], data[3]['image']) and sent[3]['name'] == data[3]['name']
