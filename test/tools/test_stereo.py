"""The stereo command: a video, pictures or a bag in, every format out, and clear errors."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from depth_perception.geometry import Intrinsics
from depth_perception.sources import SourceError
from depth_perception.stereo_formats import FORMATS
from depth_perception.stereo_plan import StereoSettings
from depth_perception.stereo_views import StereoViews
from depth_perception.tools import cli
from depth_perception.tools.bag_frames import BagFrames
from depth_perception.tools.stereo import convert, opened

WIDTH, HEIGHT, FOCAL_PX = 64, 48, 50.0
HFOV_DEG = float(np.degrees(2 * np.arctan(0.5 * WIDTH / FOCAL_PX)))
PICTURE = cv2.GaussianBlur(
    np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), (0, 0), 2)


@pytest.fixture(scope='module')
def model(make_model):
    """Two metres everywhere, whatever the camera."""
    return make_model(depth=2.0)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp('pictures')
    for index in range(3):
        cv2.imwrite(str(path / f'{index}.png'), np.roll(PICTURE, index, axis=0)[..., ::-1])
    return path


def stereo(source, output, model, *more):
    """Run the command; the disparity is 50 px * 0.08 m / 2 m = 2 px, and nothing is cut."""
    return cli.main(['stereo', str(source), '-o', str(output), '--model', str(model),
                     '--hfov-deg', f'{HFOV_DEG}', '--baseline', '0.08', '--views', 'right',
                     '--auto-convergence', 'off', '--max-disparity', '0', *map(str, more)])


def picture(path):
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def test_a_folder_of_pictures_becomes_a_folder_of_pairs(folder, model, tmp_path):
    assert stereo(folder, tmp_path / 'out', model) == 0
    for index in range(3):
        pair = picture(tmp_path / 'out' / f'{index:06d}.png')
        left = np.roll(PICTURE, index, axis=0)
        np.testing.assert_array_equal(pair[:, :WIDTH], left)
        np.testing.assert_array_equal(pair[:, WIDTH:-2], left[:, 2:])
    report = json.loads((tmp_path / 'out' / 'stereo.json').read_text())
    assert report['frames'] == 3 and report['format'] == 'side_by_side'
    assert report['flicker_px'] == {'frame by frame': 0.0, 'as shown': 0.0}


def test_a_video_becomes_a_video_with_its_frames_and_rate(folder, model, tmp_path):
    assert stereo(folder, tmp_path / 'in.mp4', model, '--fps', 12) == 0
    assert stereo(tmp_path / 'in.mp4', tmp_path / 'out.mp4', model, '--format', 'top_bottom') == 0
    video = cv2.VideoCapture(str(tmp_path / 'out.mp4'))
    assert video.get(cv2.CAP_PROP_FPS) == 12
    frames = []
    while (read := video.read())[0]:
        frames.append(read[1].shape)
    assert frames == [(2 * HEIGHT, 2 * WIDTH, 3)] * 3
    assert json.loads((tmp_path / 'out.json').read_text())['fps'] == 12


def test_one_picture_becomes_one_picture(folder, model, tmp_path):
    assert stereo(folder / '0.png', tmp_path / 'out.png', model, '--format', 'cross_eyed') == 0
    np.testing.assert_array_equal(picture(tmp_path / 'out.png')[:, WIDTH:], PICTURE)


@pytest.mark.parametrize('name', FORMATS)
def test_every_format_is_written(folder, model, tmp_path, name):
    assert stereo(folder / '0.png', tmp_path / 'out.png', model, '--format', name,
                  '--view-count', 4) == 0
    assert picture(tmp_path / 'out.png').std() > 5
    report = json.loads((tmp_path / 'out.json').read_text())
    assert ('views' in report) == (name in ('quilt', 'tile'))


def test_an_odd_size_fits_into_a_video(model, tmp_path):
    cv2.imwrite(str(tmp_path / 'odd.png'), PICTURE[:47, :63])
    assert stereo(tmp_path / 'odd.png', tmp_path / 'out.mp4', model, '--format',
                  'column_interleaved') == 0
    good, frame = cv2.VideoCapture(str(tmp_path / 'out.mp4')).read()
    assert good and frame.shape == (48, 64, 3)


def test_the_number_of_frames_can_be_limited(folder, model, tmp_path):
    assert stereo(folder, tmp_path / 'out', model, '--frames', 2) == 0
    assert len(list((tmp_path / 'out').glob('*.png'))) == 2


def test_depth_that_the_source_knows_is_used_instead_of_a_model(tmp_path):
    pytest.importorskip('open3d')
    assert stereo('scene', tmp_path / 'out', 'no such model', '--frames', 1) == 0
    assert picture(tmp_path / 'out' / '000000.png').shape == (480, 1280, 3)


def test_the_report_tells_of_less_flicker_with_smoothing(folder, tmp_path):
    jumps = np.random.default_rng(0).normal(0, 0.05, 30)

    class Breathing:
        def __init__(self):
            self.index = -1

        def __call__(self, frame):
            self.index += 1
            depth = np.full((HEIGHT, WIDTH), 2.0 * np.exp(jumps[self.index]), np.float32)
            return depth, Intrinsics.from_hfov(WIDTH, HEIGHT, HFOV_DEG)

    many = tmp_path / 'still'
    many.mkdir()
    for index in range(30):
        cv2.imwrite(str(many / f'{index}.png'), PICTURE)
    report = convert(opened(str(many)), StereoViews(StereoSettings(smoothing=0.9)), Breathing(),
                     tmp_path / 'out', 'side_by_side', codec='mp4v', fps=10.0)
    flicker = report['flicker_px']
    assert flicker['as shown'] < 0.2 * flicker['frame by frame']


# -- bags ------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    """Three pictures at 10 Hz with a camera_info, beside a depth image."""
    pytest.importorskip('rosbags')
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore
    store = get_typestore(Stores.LATEST)
    types = store.types
    path = tmp_path_factory.mktemp('bag') / 'bag'

    def header(index):
        stamp = types['builtin_interfaces/msg/Time'](sec=1, nanosec=index * 100_000_000)
        return types['std_msgs/msg/Header'](stamp=stamp, frame_id='camera')

    def image(index, pixels, encoding):
        data = np.frombuffer(np.ascontiguousarray(pixels).tobytes(), np.uint8)
        return types['sensor_msgs/msg/Image'](
            header=header(index), height=HEIGHT, width=WIDTH, encoding=encoding, is_bigendian=0,
            step=pixels[0].nbytes, data=data)

    def info(index):
        k = [FOCAL_PX, 0, 31.5, 0, FOCAL_PX, 23.5, 0, 0, 1]
        p = [FOCAL_PX, 0, 31.5, 0, 0, FOCAL_PX, 23.5, 0, 0, 0, 1, 0]
        roi = types['sensor_msgs/msg/RegionOfInterest'](
            x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
        return types['sensor_msgs/msg/CameraInfo'](
            header=header(index), height=HEIGHT, width=WIDTH, distortion_model='plumb_bob',
            d=np.zeros(5), k=np.array(k, float), r=np.eye(3).ravel(), p=np.array(p, float),
            binning_x=0, binning_y=0, roi=roi)

    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        topics = {name: writer.add_connection(name, f'sensor_msgs/msg/{kind}', typestore=store)
                  for name, kind in (('/cam/image_raw', 'Image'), ('/cam/depth', 'Image'),
                                     ('/cam/camera_info', 'CameraInfo'))}
        for index in range(3):
            depth = np.full((HEIGHT, WIDTH), 2.0, np.float32)
            for name, message in (('/cam/image_raw', image(index, PICTURE[..., ::-1], 'bgr8')),
                                  ('/cam/camera_info', info(index)),
                                  ('/cam/depth', image(index, depth, '32FC1'))):
                kind = topics[name].msgtype
                writer.write(topics[name], index * 100_000_000, store.serialize_cdr(message, kind))
    return path


def test_a_bag_gives_its_colour_pictures_with_their_camera(bag, model, tmp_path):
    frames = BagFrames(bag)
    assert frames.count == 3 and frames.fps == pytest.approx(10.0, rel=0.01)
    first = next(frames)
    np.testing.assert_array_equal(first.image, PICTURE)
    assert first.intrinsics.fx == FOCAL_PX
    assert len(list(frames)) == 2
    frames.close()
    # the camera of the bag counts, not the angle of the command
    assert stereo(bag, tmp_path / 'out', model, '--hfov-deg', 20) == 0
    pair = picture(tmp_path / 'out' / '000002.png')
    np.testing.assert_array_equal(pair[:, WIDTH:-2], PICTURE[:, 2:])


def test_a_bag_of_ros_1_gives_its_pictures_with_their_camera(tmp_path):
    pytest.importorskip('rosbags')
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import Stores, get_typestore
    store = get_typestore(Stores.ROS1_NOETIC)
    types = store.types
    header = types['std_msgs/msg/Header'](
        seq=0, stamp=types['builtin_interfaces/msg/Time'](sec=1, nanosec=0), frame_id='camera')
    roi = types['sensor_msgs/msg/RegionOfInterest'](
        x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    image = types['sensor_msgs/msg/Image'](
        header=header, height=HEIGHT, width=WIDTH, encoding='rgb8', is_bigendian=0,
        step=3 * WIDTH, data=PICTURE.reshape(-1))
    k = np.array([FOCAL_PX, 0, 31.5, 0, FOCAL_PX, 23.5, 0, 0, 1], float)
    info = types['sensor_msgs/msg/CameraInfo'](
        header=header, height=HEIGHT, width=WIDTH, distortion_model='plumb_bob', D=np.zeros(5),
        K=k, R=np.eye(3).ravel(), P=np.insert(k, [3, 6, 9], 0.0), binning_x=0, binning_y=0,
        roi=roi)
    with Writer(tmp_path / 'old.bag') as writer:
        for topic, message in (('/cam/image_raw', image), ('/cam/camera_info', info)):
            kind = message.__msgtype__
            connection = writer.add_connection(topic, kind, typestore=store)
            writer.write(connection, 0, store.serialize_ros1(message, kind))
    [frame] = BagFrames(tmp_path / 'old.bag')
    np.testing.assert_array_equal(frame.image, PICTURE)
    assert (frame.intrinsics.fx, frame.intrinsics.cy) == (FOCAL_PX, 23.5)


def test_a_topic_that_a_bag_lacks_is_named_with_those_that_it_has(bag):
    with pytest.raises(SourceError, match="no pictures on '/cam/rgb'; it has them on: "
                                          '/cam/depth, /cam/image_raw'):
        BagFrames(bag, '/cam/rgb')
    with pytest.raises(SourceError, match='is a depth encoding'):
        next(BagFrames(bag, '/cam/depth'))


def test_a_folder_that_is_a_broken_bag_is_refused(tmp_path):
    (tmp_path / 'metadata.yaml').write_text('nothing')
    with pytest.raises(SourceError, match='cannot be read as a bag'):
        opened(str(tmp_path))


# -- what goes wrong -------------------------------------------------------------------------


def test_a_format_that_does_not_exist_ends_before_anything_is_loaded(folder, tmp_path, capsys):
    assert stereo(folder, tmp_path / 'out.mp4', 'no such model', '--format', 'anaglif') == 1
    assert "format is 'anaglif'" in capsys.readouterr().err
    assert not (tmp_path / 'out.mp4').exists()


def test_a_codec_that_this_machine_lacks_is_named_with_the_way_out(folder, model, tmp_path,
                                                                   capfd):
    assert stereo(folder, tmp_path / 'out.mp4', model, '--codec', 'ZZZZ') == 1
    error = capfd.readouterr().err
    assert 'codec ZZZZ cannot be written' in error and '--codec mp4v' in error
    assert not (tmp_path / 'out.mp4').exists()


@pytest.mark.parametrize('more, message', [
    (('--codec', 'h265x'), 'must be four letters'),
    (('--baseline', '0'), 'baseline_m is 0.0; it must be above 0'),
    (('--smoothing', '1'), 'smoothing is 1.0'),
    (('--view-count', '40'), 'view_count is 40'),
])
def test_wrong_wishes_end_with_the_rule(folder, model, tmp_path, capsys, more, message):
    assert stereo(folder, tmp_path / 'out.mp4', model, *more) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize('output, message', [
    ('out.gif', 'its suffix must be one of .mp4'), ('none/out.mp4', 'there is no folder'),
    ('out.png', 'several frames for the one picture')])
def test_wrong_outputs_end_with_the_way_out(folder, model, tmp_path, capsys, output, message):
    assert stereo(folder, tmp_path / output, model) == 1
    assert message in capsys.readouterr().err


def test_frames_of_several_sizes_do_not_go_into_one_video(model, tmp_path, capsys):
    for index, part in enumerate((PICTURE, PICTURE[:40])):
        cv2.imwrite(str(tmp_path / f'{index}.png'), part)
    assert stereo(tmp_path, tmp_path / 'out.mp4', model) == 1
    assert 'make all frames of one size, or give a folder' in capsys.readouterr().err


def test_inputs_that_are_missing_or_no_video_are_refused(model, tmp_path, capsys):
    assert stereo(tmp_path / 'none.mp4', tmp_path / 'out.mp4', model) == 1
    assert 'there is no' in capsys.readouterr().err
    (tmp_path / 'text.mp4').write_text('no video')
    assert stereo(tmp_path / 'text.mp4', tmp_path / 'out.mp4', model) == 1
    assert 'no video that OpenCV can open' in capsys.readouterr().err


def test_a_model_without_metres_is_refused(folder, make_model, tmp_path, capsys):
    relative = make_model('relative')
    assert stereo(folder, tmp_path / 'out', relative) == 1
    assert 'relative depth without metres' in capsys.readouterr().err
