"""DDFF-12 on a tiny copy of its file: disparity to metres, focus of the slices, damage."""
from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from training.data import DATASETS, DataConfig, DataError, SplitError
from training.data.focus_sets import sharpest
from training.stacks import stack_of

HEIGHT, WIDTH = 24, 32
COUNT = {'train': 22, 'val': 4}


def write(path, count=COUNT, **storage):
    with h5py.File(path, 'w') as file:
        for part, n in count.items():
            stack = np.zeros((n, 10, HEIGHT, WIDTH, 3), np.uint8)
            stack += np.arange(10, dtype=np.uint8).reshape(1, 10, 1, 1, 1)  # the slice's number
            stack[..., 1] = np.arange(n, dtype=np.uint8).reshape(n, 1, 1, 1)  # the stack's
            disparity = np.full((n, HEIGHT, WIDTH), 0.14, np.float32)
            disparity[:, 4, 5] = 0
            # one chunk a stack, as random access wants it
            file.create_dataset(f'stack_{part}', data=stack, chunks=(1, *stack.shape[1:]),
                                **storage)
            file.create_dataset(f'disp_{part}', data=disparity, **storage)


@pytest.fixture
def config(tmp_path):
    write(tmp_path / 'ddff-dataset-trainval.h5')
    return DataConfig(HEIGHT, WIDTH, 30, root=str(tmp_path))


def build(config, split='train', **options):
    return DATASETS['ddff'](config, split, **options)


def test_five_slices_are_focused_where_the_paper_says(config):
    item = build(config, 'val')[0]
    np.testing.assert_allclose(item['focus_distances'], [0.50, 0.63, 0.86, 1.33, 7.06], atol=0.01)
    assert item['stack'].shape == (5, 3, HEIGHT, WIDTH) and item['stack'].dtype == torch.uint8
    assert item['stack'][:, 0, 3, 3].tolist() == [0, 2, 4, 6, 9]


def test_disparity_becomes_metres_with_holes(config):
    item = build(config, 'val')[2]
    assert item['name'] == 'val/0002' and item['depth'][4, 5].isnan()
    # half floats hold 0.5 mm at 1 m
    assert float(item['depth'][0, 0]) == pytest.approx(521.4052 * 0.00027088 / 0.14, abs=5e-4)
    assert float(item['focal_px']) == pytest.approx(521.4052) and item['blur_scale'].isnan()


def test_slices_can_be_chosen(config):
    data = build(replace(config, options={'slices': [9, 0, 4]}), 'val')
    assert data.frames == 3 and data[0]['stack'][:, 0, 0, 0].tolist() == [9, 0, 4]
    for wrong in ([0], [0, 0], [0, 10]):
        with pytest.raises(DataError, match='slices'):
            build(replace(config, options={'slices': wrong}))


def test_slices_of_a_stack_are_cut_and_coloured_alike(config, tmp_path):
    """Of ten equal slices all must come out equal, whatever is drawn."""
    path = tmp_path / 'ddff-dataset-trainval.h5'
    rng = np.random.default_rng(1)
    with h5py.File(path, 'r+') as file:
        file['stack_train'][:] = rng.integers(0, 255, (22, 1, HEIGHT, WIDTH, 3), np.uint8)
    train = build(config)
    for i in range(8):
        stack = train[i]['stack']
        assert (stack == stack[:1]).all() and (train[i]['image'] == stack[0]).all()
    assert not torch.equal(train[0]['stack'], train[1]['stack'])
    again = train[0]['stack']
    assert torch.equal(again, train[0]['stack'])
    train.set_epoch(1)
    assert not torch.equal(again, train[0]['stack'])


def test_a_real_stack_is_taken_as_it_is(config):
    items = [build(config, 'val')[i] for i in range(2)]
    batch = {key: torch.stack([item[key] for item in items])
             for key in ('image', 'depth', 'stack', 'focus_distances', 'blur_scale', 'noise')}
    np.testing.assert_allclose(stack_of(batch) * 255, batch['stack'], atol=1e-4)


def test_the_sharpest_parts_are_put_together():
    v, u = np.mgrid[:32, :64]
    board = np.repeat((255 * ((u // 2 + v // 2) % 2)).astype(np.uint8)[..., None], 3, axis=2)
    left, right = np.full_like(board, 128), np.full_like(board, 128)
    left[:, :32], right[:, 32:] = board[:, :32], board[:, 32:]
    whole = sharpest(np.stack([left, right]))
    assert (whole[:, 6:26] == board[:, 6:26]).all() and (whole[:, 38:58] == board[:, 38:58]).all()


def test_a_damaged_stack_is_named_skipped_and_counted(tmp_path, caplog):
    path = tmp_path / 'ddff-dataset-trainval.h5'
    write(path, compression='gzip', fletcher32=True)
    with h5py.File(path, 'r') as file:
        chunk = file['stack_train'].id.get_chunk_info(3)
    with path.open('r+b') as file:
        file.seek(chunk.byte_offset + 5)
        file.write(b'\xff' * 20)
    train = build(DataConfig(HEIGHT, WIDTH, 60, root=str(tmp_path)))
    assert 'train/0003' not in {train[i]['name'] for i in range(60)}
    assert train.faults.names == ['train/0003'] and 'left out train/0003' in caplog.text


def test_a_cut_off_file_is_an_error_that_names_it(config, tmp_path):
    path = tmp_path / 'ddff-dataset-trainval.h5'
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DataError, match=r'ddff-dataset-trainval\.h5 is damaged'):
        build(config)


def test_other_files_and_the_test_part_are_refused(config, tmp_path):
    with pytest.raises(SplitError, match='train, val'):
        build(config, 'test')
    write(tmp_path / 'ddff-dataset-test.h5', {'test': 2})  # beside it: no matter
    assert len(build(config, 'val')) == 4
    with h5py.File(tmp_path / 'ddff-dataset-trainval.h5', 'r+') as file:
        del file['disp_train']
        file['disp_train'] = np.zeros((3, 4, 4))
    with pytest.raises(DataError, match='must be uint8'):
        build(config)
    write(tmp_path / 'another.h5')
    with pytest.raises(DataError, match='2 files'):
        build(config)
