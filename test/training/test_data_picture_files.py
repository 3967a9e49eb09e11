"""One picture or depth map from a file: kinds, scale, and every way in which a file is broken."""
from __future__ import annotations

import cv2
import numpy as np
import OpenEXR
import pytest

from training.data.picture_files import read_depth, read_image
from training.data.root import UnreadableFile

SIZE = (12, 16)
STORED = np.arange(12 * 16, dtype=np.float32).reshape(SIZE) * 10


def write_exr(path, **channels):
    header = {'compression': OpenEXR.ZIP_COMPRESSION, 'type': OpenEXR.scanlineimage}
    OpenEXR.File(header, channels).write(str(path))


WRITERS = {
    'depth.png': lambda path: cv2.imwrite(str(path), STORED.astype(np.uint16)),
    'depth.tiff': lambda path: cv2.imwrite(str(path), STORED),
    'depth.npy': lambda path: np.save(path, STORED.astype(np.float64)),
    'depth.npz': lambda path: np.savez_compressed(path, anything=STORED),
    'named.npz': lambda path: np.savez(path, mask=STORED > 0, depth=STORED),
    'flat.npy': lambda path: np.save(path, STORED[..., None]),
    'depth.exr': lambda path: write_exr(path, Z=STORED),
    'half.exr': lambda path: write_exr(path, V=STORED.astype(np.float16)),
    'layers.exr': lambda path: write_exr(path, **{'RGB': np.ones((*SIZE, 3), np.float16),
                                                  'View Layer.Depth.Z': STORED}),
}


@pytest.mark.parametrize('name', WRITERS)
def test_every_kind_of_depth_file_becomes_float32_times_the_scale(name, tmp_path):
    WRITERS[name](tmp_path / name)
    depth = read_depth(tmp_path / name, 0.001)
    assert depth.dtype == np.float32 and depth.shape == SIZE
    np.testing.assert_allclose(depth, STORED / 1000, rtol=1e-6)


@pytest.mark.parametrize('name', ['depth.png', 'depth.npz', 'depth.npy', 'depth.exr',
                                  'depth.tiff'])
@pytest.mark.parametrize('damage', ['half', 'junk', 'empty', 'missing'])
def test_a_damaged_depth_file_is_named(name, damage, tmp_path):
    path = tmp_path / name
    WRITERS[name](path)
    data = path.read_bytes()
    path.write_bytes({'half': data[:len(data) // 2], 'junk': b'damaged' * 9}.get(damage, b''))
    if damage == 'missing':
        path.unlink()
    with pytest.raises(UnreadableFile, match=str(path)):
        read_depth(path, 1.0)


def test_a_picture_is_rgb_and_one_that_is_cut_off_is_refused(tmp_path):
    path = tmp_path / 'a.jpg'
    cv2.imwrite(str(path), np.full((32, 48, 3), (50, 100, 200), np.uint8))
    np.testing.assert_allclose(read_image(path)[5, 5], (200, 100, 50), atol=3)
    path.write_bytes(path.read_bytes()[:-200])  # OpenCV would fill the rest with grey
    with pytest.raises(UnreadableFile, match='cut off'):
        read_image(path)


def test_depth_of_several_channels_is_refused_by_its_shape(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((*SIZE, 3), np.uint8))
    with pytest.raises(UnreadableFile, match=r'shape \(12, 16, 3\); depth is one number a pixel'):
        read_depth(tmp_path / 'a.png', 1.0)


def test_an_archive_of_unknown_arrays_lists_them(tmp_path):
    np.savez(tmp_path / 'a.npz', near=STORED, far=STORED)
    with pytest.raises(UnreadableFile, match='holds near, far; give it one array'):
        read_depth(tmp_path / 'a.npz', 1.0)


def test_an_exr_file_without_depth_lists_its_channels(tmp_path):
    write_exr(tmp_path / 'a.exr', **{'normal.A': STORED, 'normal.B': STORED})
    with pytest.raises(UnreadableFile, match='normal.A, normal.B; depth is looked for in Z'):
        read_depth(tmp_path / 'a.exr', 1.0)
