"""iBims-1 on tiny copies of both published layouts: units, masks, calibration, damage."""
from __future__ import annotations

import cv2
import numpy as np
import pytest
import scipy.io

from training.data import DATASETS, DataConfig, DataError, SplitError

HEIGHT, WIDTH = 24, 32
NAMES = [f'room_{i:02d}' for i in range(22)]
K = np.array([[30.0, 0, 15.0], [0, 31.0, 12.0], [0, 0, 1]])


def arrays(i):
    image = np.full((HEIGHT, WIDTH, 3), (i, 100, 200), np.uint8)  # RGB
    depth = np.full((HEIGHT, WIDTH), 2.0 + 0.1 * i)
    depth[0, 0] = 0  # missing
    invalid, transparent = (np.ones((HEIGHT, WIDTH), np.uint8) for _ in range(2))
    invalid[1, 1], transparent[2, 2] = 0, 0
    return image, depth, invalid, transparent


def write_raw(root):
    folder = root / 'ibims1_core_raw'
    for part in ('rgb', 'depth', 'mask_invalid', 'mask_transp', 'calib'):
        (folder / part).mkdir(parents=True)
    for i, name in enumerate(NAMES):
        image, depth, invalid, transparent = arrays(i)
        stored = np.rint(depth * 65535 / 50).astype(np.uint16)
        for part, picture in (('rgb', image[..., ::-1]), ('depth', stored),
                              ('mask_invalid', invalid), ('mask_transp', transparent)):
            cv2.imwrite(str(folder / part / f'{name}.png'), picture)
        (folder / 'calib' / f'{name}.txt').write_text('30.0,31.0,15.0,12.0\n')
    (folder / 'imagelist.txt').write_text('\r\n'.join(NAMES) + '\r\n')
    return folder


def write_mat(root, k=K):
    folder = root / 'ibims1_core_mat'
    folder.mkdir()
    for i, name in enumerate(NAMES):
        image, depth, invalid, transparent = arrays(i)
        scipy.io.savemat(folder / f'{name}.mat', {'data': {
            'rgb': image, 'depth': depth, 'mask_invalid': invalid, 'mask_transp': transparent,
            'calib': k}}, do_compression=True)
    (root / 'imagelist.txt').write_text('\n'.join(NAMES))
    return folder


def build(root, split='test', **options):
    return DATASETS['ibims'](DataConfig(HEIGHT, WIDTH, 4, root=str(root), options=options), split)


@pytest.mark.parametrize('write', [write_raw, write_mat, lambda root: write_mat(root, K.T)])
def test_both_layouts_give_metres_without_missing_invalid_and_transparent_pixels(write, tmp_path):
    folder = write(tmp_path)
    for root in (tmp_path, folder if folder.name.endswith('raw') else tmp_path):
        data = build(root)
        assert [data[i]['name'] for i in range(len(data))] == NAMES
        item = data[7]
        assert item['depth'].isnan().sum() == 3
        assert all(item['depth'][i, i].isnan() for i in range(3))
        assert float(item['depth'][5, 5]) == pytest.approx(2.7, abs=50 / 65535)
        assert item['image'][:, 3, 3].tolist() == [7, 100, 200]
        assert float(item['focal_px']) == pytest.approx((30 * 31) ** 0.5)
        camera = data.pictures.load(7).intrinsics
        assert (camera.cx, camera.cy) == (15.0, 12.0)


def cut(path, kept):
    path.write_bytes(path.read_bytes()[:int(kept * path.stat().st_size)])


@pytest.mark.parametrize(('write', 'file'), [
    (write_raw, 'ibims1_core_raw/depth/room_03.png'),
    (write_raw, 'ibims1_core_raw/mask_transp/room_03.png'),
    (write_mat, 'ibims1_core_mat/room_03.mat')])
def test_a_cut_off_file_is_named_and_no_picture_counts_twice(write, file, tmp_path, caplog):
    write(tmp_path)
    cut(tmp_path / file, 0.5)
    data = build(tmp_path)
    assert [data[i]['name'] for i in range(len(data))] == [n for n in NAMES if n != 'room_03']
    assert data.faults.names == ['room_03'] and file in caplog.text


def test_a_wrong_calibration_is_a_fault_of_its_picture(tmp_path, caplog):
    folder = write_raw(tmp_path)
    (folder / 'calib/room_05.txt').write_text('0,31,15,12')
    assert build(tmp_path).faults.names == ['room_05']
    assert 'focal length' in caplog.text
    (folder / 'calib/room_05.txt').write_text('30 31')
    assert build(tmp_path).faults.names == ['room_05']
    assert 'fx,fy,cx,cy' in caplog.text


def test_nothing_is_trained_on_it(tmp_path):
    write_raw(tmp_path)
    with pytest.raises(SplitError, match="it has test"):
        build(tmp_path, 'train')


def test_a_folder_of_another_kind_and_a_missing_list_are_errors(tmp_path):
    (tmp_path / 'something').mkdir()
    with pytest.raises(DataError, match='ibims1_core_raw'):
        build(tmp_path)
    (write_raw(tmp_path) / 'imagelist.txt').unlink()
    with pytest.raises(DataError, match=r'imagelist\.txt'):
        build(tmp_path)
    with pytest.raises(DataError, match="unknown option 'crop' of ibims; it has none"):
        build(tmp_path, crop=1)
