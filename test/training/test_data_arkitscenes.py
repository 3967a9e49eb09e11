"""ARKitScenes on tiny copies of its parts: millimetres, calibration, confidence, turns, damage."""
from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from depth_perception.geometry import Intrinsics, project, unproject
from training.data import DATASETS, DataConfig, DataError, SplitError
from training.data.arkitscenes import turned
from training.data.pictures import Picture

HEIGHT, WIDTH = 24, 32
VIDEOS = {'Training': ('41000001', '41000002'), 'Validation': ('42000001',)}
PER_VIDEO = 12
PINCAM = f'{2 * WIDTH} {2 * HEIGHT} 50.0 50.0 31.5 23.5'  # of pictures twice as large


def png(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array)


def write_video(folder, video, image, depth, calibrations, shift=0.0):
    for i in range(PER_VIDEO):
        name = f'{video}_{10 + i / 10:.3f}'
        colour = np.full((HEIGHT, WIDTH, 3), (10, 20, 30), np.uint8)
        colour[:4] = 250  # the top of the picture as it is stored
        metres = np.full((HEIGHT, WIDTH), 1500 + i, np.uint16)
        metres[5, 6] = 0
        png(folder / image / f'{name}.png', colour)
        png(folder / depth / f'{name}.png', metres)
        sure = np.full((HEIGHT, WIDTH), 2, np.uint8)
        sure[10, 10:13] = (0, 1, 2)
        png(folder / 'confidence' / f'{name}.png', sure)
        path = folder / calibrations / f'{video}_{10 + i / 10 + shift:.3f}.pincam'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PINCAM)
    # a stamp that only the colour camera has
    png(folder / image / f'{video}_99.000.png', colour)


LAYOUTS = {
    'upsampling': ('wide', 'highres_depth', 'wide_intrinsics'),
    'documented': ('color', 'highres_depth', 'lowres_wide_intrinsics'),
    'raw': ('lowres_wide', 'lowres_depth', 'lowres_wide_intrinsics'),
}


def write(root, layout, **settings):
    for part, videos in VIDEOS.items():
        for video in videos:
            write_video(root / part / video, video, *LAYOUTS[layout], **settings)


@pytest.fixture
def config(tmp_path):
    return DataConfig(HEIGHT, WIDTH, 30, root=str(tmp_path))


def build(config, split='train', **options):
    return DATASETS['arkitscenes'](config, split, **options)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_every_layout_gives_metres_with_holes_and_a_scaled_focal_length(layout, config, tmp_path):
    write(tmp_path, layout)
    data = build(config, 'val')
    assert len(data) == PER_VIDEO and len(data.faults) == 0
    item = data[3]
    assert item['name'] == '42000001/42000001_10.300'
    assert float(item['depth'][0, 0]) == pytest.approx(1.503) and item['depth'][5, 6].isnan()
    assert float(item['focal_px']) == pytest.approx(25.0)  # half of that of twice the size


def test_lidar_that_is_not_sure_is_missing(config, tmp_path):
    write(tmp_path, 'raw')
    for least, missing in ((2, (True, True, False)), (1, (True, False, False)), (0, (False,) * 3)):
        chosen = replace(config, options={'min_confidence': least})
        depth = build(chosen, 'val')[0]['depth'][10, 10:13]
        assert tuple(depth.isnan().tolist()) == missing
    with pytest.raises(DataError, match='min_confidence is 3'):
        build(replace(config, options={'min_confidence': 3}), 'val')


def test_the_laser_scanner_needs_no_confidence(config, tmp_path):
    write(tmp_path, 'upsampling')
    assert not build(config, 'val')[0]['depth'][10, 10:13].isnan().any()


def test_3dod_archives_put_frames_into_a_folder_of_their_own(config, tmp_path):
    for part, videos in VIDEOS.items():
        for video in videos:
            write_video(tmp_path / part / video / f'{video}_frames', video, *LAYOUTS['raw'])
    assert len(build(config, 'val')) == PER_VIDEO


def test_a_calibration_a_millisecond_off_is_found(config, tmp_path):
    write(tmp_path, 'raw', shift=0.001)
    assert len(build(config, 'val')) == PER_VIDEO


def test_a_turned_camera_sees_the_same_points_turned():
    """Unproject, turn the point by hand, project with the turned camera."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    depth = rng.uniform(1, 2, (HEIGHT, WIDTH)).astype(np.float32)
    camera = Intrinsics(WIDTH, HEIGHT, 40.0, 42.0, 14.0, 13.0)
    left = turned(Picture(image, depth, camera), 1)
    points = unproject(depth, camera)
    # To the left: what pointed right points up, what pointed down points right.
    spun = np.stack([points[..., 1], -points[..., 0], points[..., 2]], axis=-1)
    at = np.rint(project(spun, left.intrinsics)).astype(int)
    assert (left.depth[at[..., 1], at[..., 0]] == depth).all()
    assert (left.image[at[..., 1], at[..., 0]] == image).all()
    whole = turned(Picture(image, depth, camera), 4)
    assert whole.intrinsics == camera and (whole.image == image).all()


@pytest.mark.parametrize(('sky', 'bright'), [
    ('Up', np.s_[:4]), ('Down', np.s_[-4:]), ('Left', np.s_[:, -4:]), ('Right', np.s_[:, :4])])
def test_pictures_are_turned_so_that_the_sky_is_up(sky, bright, config, tmp_path):
    # The sky lies at `sky` of the stored picture; its bright top must land accordingly.
    write(tmp_path, 'upsampling')
    (tmp_path / 'metadata.csv').write_text(
        f'video_id,visit_id,fold,sky_direction\n42000001,7,Validation,{sky}\n')
    data = build(config, 'val')
    image = data.pictures.load(0).image
    assert (image[bright] == 250).all()
    assert (image == 250).all(axis=2).mean() == pytest.approx(4 / HEIGHT)


def test_a_cut_off_picture_is_named_skipped_and_counted(config, tmp_path, caplog):
    write(tmp_path, 'upsampling')
    path = tmp_path / 'Training/41000001/highres_depth/41000001_10.500.png'
    path.write_bytes(path.read_bytes()[:-30])
    calibration = tmp_path / 'Training/41000002/wide_intrinsics/41000002_10.200.pincam'
    train = build(config)
    assert {train[i]['name'] for i in range(30)}.isdisjoint({'41000001/41000001_10.500'})
    assert train.faults.names == ['41000001/41000001_10.500'] and str(path) in caplog.text
    calibration.write_text('64 48 nonsense')
    with pytest.raises(DataError, match='more than 5%'):
        second = build(config)
        [second[i] for i in range(30)]


def test_metres_stored_as_millimetres_are_warned_of(config, tmp_path, caplog):
    write(tmp_path, 'upsampling')
    for path in tmp_path.glob('*/*/highres_depth/*.png'):
        png(path, np.full((HEIGHT, WIDTH), 2, np.uint16))
    build(config, 'val')
    assert 'multiply the scale of depth by 1000' in caplog.text


def test_a_folder_of_another_kind_and_other_splits_are_refused(config, tmp_path):
    (tmp_path / 'rgb').mkdir()
    with pytest.raises(DataError, match='Training and Validation'):
        build(config)
    with pytest.raises(SplitError, match='train, val'):
        build(config, 'test')
    (tmp_path / 'Training').mkdir()
    with pytest.raises(DataError, match='no picture'):
        build(config)


def test_a_damaged_table_of_videos_is_an_error(config, tmp_path):
    write(tmp_path, 'raw')
    (tmp_path / 'metadata.csv').write_text('video,sky\n1,Up\n')
    with pytest.raises(DataError, match='sky_direction'):
        build(config)
