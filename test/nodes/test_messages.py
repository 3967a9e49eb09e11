"""Messages to arrays and back: round trips, hand-made pictures, and every bad message."""

import array
from importlib.util import find_spec
import struct
import sys
import zlib

import cv2
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, RegionOfInterest
from std_msgs.msg import Header

from depth_perception.geometry import CameraModel, Intrinsics
from depth_perception.image_encodings import ENCODINGS, MessageError, to_array
from depth_perception.nodes._messages import (
    CloudWriter,
    ImageWriter,
    camera_info,
    camera_model,
    compressed_to_rgb,
    copy_header,
    raw_camera_info,
    to_depth,
    to_rgb,
)

SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


def message(pixels, encoding, padding=0, big=False, **fields):
    """Build an Image byte by byte, with `padding` bytes of rubbish after each row."""
    dtype = np.dtype(ENCODINGS[encoding].dtype).newbyteorder('>' if big else '<')
    pixels = np.asarray(pixels)
    rows = [row.astype(dtype).tobytes() + b'\xa5' * padding for row in pixels]
    msg = Image(encoding=encoding, height=pixels.shape[0], width=pixels.shape[1], is_bigendian=big)
    msg.step = len(rows[0])
    msg.data = array.array('B', b''.join(rows))
    for key, value in fields.items():
        setattr(msg, key, value)
    return msg


def random_pixels(encoding, height, width, seed):
    how = ENCODINGS[encoding]
    shape = (height, width) if how.channels == 1 else (height, width, how.channels)
    values = np.random.default_rng(seed).integers(0, 256, shape)
    return (values * 257 if how.dtype == 'u2' else values).astype(how.dtype)


# -- views on the message ------------------------------------------------------------------------


@settings(deadline=None)
@given(st.sampled_from(sorted(ENCODINGS)), SIZES, st.integers(0, 7), st.booleans(),
       st.integers(0, 99))
def test_every_encoding_comes_back_through_padding_and_byte_order(
        encoding, size, padding, big, seed):
    pixels = random_pixels(encoding, *size, seed)
    read, _ = to_array(message(pixels, encoding, padding, big))
    np.testing.assert_array_equal(read, pixels)


def test_an_image_is_a_view_and_no_copy():
    msg = message(np.zeros((4, 5, 3)), 'rgb8', padding=2)
    msg.data[msg.step + 3] = 77
    assert to_rgb(msg).array[1, 1, 0] == 77


def test_padded_rows_go_straight_into_opencv():
    pixels = random_pixels('bgr8', 6, 7, 1)
    picture = to_rgb(message(pixels, 'bgr8', padding=5))
    assert picture.channel_order == 'bgr'
    np.testing.assert_array_equal(cv2.flip(picture.array, 0), pixels[::-1])


# -- colours -------------------------------------------------------------------------------------

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def as_rgb(picture):
    return picture.array if picture.channel_order == 'rgb' else picture.array[..., ::-1]


@pytest.mark.parametrize(('encoding', 'pixel'), [
    ('rgb8', [255, 0, 0]), ('bgr8', [0, 0, 255]), ('8UC3', [0, 0, 255]),
    ('rgba8', [255, 0, 0, 9]), ('bgra8', [0, 0, 255, 9]),
])
def test_red_stays_red(encoding, pixel):
    picture = to_rgb(message(np.full((2, 4, len(pixel)), pixel), encoding, padding=3))
    assert (as_rgb(picture) == RED).all()


@pytest.mark.parametrize('encoding', ['mono8', '8UC1'])
def test_grey_becomes_three_equal_channels(encoding):
    assert (to_rgb(message([[7, 200]], encoding)).array == [[[7] * 3, [200] * 3]]).all()


@pytest.mark.parametrize('big', [False, True])
def test_sixteen_bit_grey_is_scaled_to_eight(big):
    picture = to_rgb(message([[0, 257 * 40, 65535]], 'mono16', padding=2, big=big))
    assert picture.array[0, :, 0].tolist() == [0, 40, 255]


@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
@pytest.mark.parametrize('colour', [RED, GREEN, BLUE])
def test_a_mosaic_of_one_colour_is_that_colour(pattern, colour):
    """ROS names the first two rows of the sensor; OpenCV names others."""
    mosaic = np.zeros((8, 8), np.uint8)
    for index, letter in enumerate(pattern):
        mosaic[index // 2::2, index % 2::2] = colour['rgb'.index(letter)]
    picture = to_rgb(message(mosaic, f'bayer_{pattern}8', padding=1))
    assert (as_rgb(picture)[2:-2, 2:-2] == colour).all()


@pytest.mark.parametrize(('encoding', 'order'), [
    ('yuv422', 'uyvy'), ('uyvy', 'uyvy'), ('yuv422_yuy2', 'yuyv'), ('yuyv', 'yuyv')])
def test_yuv_gives_the_colour_of_bt601(encoding, order):
    """Y=81, U=90, V=240 is red in ITU-R BT.601 with video range."""
    value = {'y': 81, 'u': 90, 'v': 240}
    pair = np.array([value[letter] for letter in order]).reshape(1, 2, 2)
    picture = to_rgb(message(np.tile(pair, (4, 3, 1)), encoding, padding=4))
    np.testing.assert_allclose(as_rgb(picture), np.broadcast_to(RED, (4, 6, 3)), atol=3)


@pytest.mark.parametrize('text', ['jpeg', 'rgb8; jpeg compressed bgr8', 'bgr8; jpeg compressed '])
def test_a_jpeg_keeps_its_colours(text):
    good, data = cv2.imencode('.jpg', np.full((16, 16, 3), RED[::-1], np.uint8))
    picture = compressed_to_rgb(CompressedImage(format=text, data=data.tobytes()))
    assert good
    np.testing.assert_allclose(as_rgb(picture), np.broadcast_to(RED, (16, 16, 3)), atol=4)


@pytest.mark.parametrize(('text', 'order'), [
    ('png', 'bgr'), ('rgb8; png compressed bgr8', 'bgr'), ('rgb8; png compressed rgb8', 'rgb')])
def test_a_png_comes_back_exactly_in_the_order_its_format_says(text, order):
    pixels = random_pixels('rgb8', 5, 7, 3)
    data = cv2.imencode('.png', pixels)[1].tobytes()
    picture = compressed_to_rgb(CompressedImage(format=text, data=data))
    assert picture.channel_order == order
    np.testing.assert_array_equal(picture.array, pixels)


# -- depth ---------------------------------------------------------------------------------------


@pytest.mark.parametrize('big', [False, True])
def test_float_depth_is_metres_and_what_is_no_distance_is_nan(big):
    msg = message([[1.5, np.nan, np.inf, -np.inf, 0.0, -2.0]], '32FC1', padding=8, big=big)
    np.testing.assert_array_equal(to_depth(msg), [[1.5] + [np.nan] * 5])


@pytest.mark.parametrize('encoding', ['16UC1', 'mono16'])
@pytest.mark.parametrize('big', [False, True])
def test_integer_depth_is_millimetres_and_zero_is_nan(encoding, big):
    depth = to_depth(message([[1500, 0, 65535]], encoding, padding=2, big=big))
    np.testing.assert_allclose(depth, [[1.5, np.nan, 65.535]], rtol=1e-6)
    assert depth.dtype == np.float32


def test_depth_does_not_change_the_message():
    msg = message([[0.0, 2.0]], '32FC1')
    to_depth(msg)[:] = 9.0
    assert to_array(msg)[0].tolist() == [[0.0, 2.0]]


# -- bad messages: got, rule, way out ------------------------------------------------------------

RGB = np.zeros((4, 6, 3))


@pytest.mark.parametrize(('fields', 'words'), [
    ({'width': 0}, ['0x4', 'positive']),
    ({'height': 0}, ['6x0', 'positive']),
    ({'step': 17}, ['17', '18', 'step']),
    ({'step': 0}, ['step is 0', '18']),
    ({'height': 5}, ['72 bytes', '90', 'cut short']),
    ({'data': b''}, ['0 bytes', '72']),
    ({'width': 32767}, ['32767x4', 'no side of more than 32766']),
])
def test_a_bad_image_is_refused_with_what_came_and_what_is_asked_for(fields, words):
    with pytest.raises(MessageError) as caught:
        to_rgb(message(RGB, 'rgb8', **fields))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.skipif(find_spec('cv_bridge') is not None, reason='cv_bridge converts it')
def test_an_encoding_outside_the_table_names_the_package_that_knows_it(monkeypatch):
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    msg = message(RGB, 'rgb8')
    msg.encoding = 'nv12'
    with pytest.raises(MessageError, match="'nv12'.*apt install ros-jazzy-cv-bridge.*rgb8"):
        to_rgb(msg)


def test_an_encoding_outside_the_table_is_refused_when_its_data_is_cut_short():
    msg = message(RGB, 'rgb8', data=b'123')
    msg.encoding = 'nv12'
    with pytest.raises(MessageError, match='nv12 image has 3 bytes.*cut short'):
        to_rgb(msg)


@pytest.mark.parametrize(('convert', 'encoding', 'word'), [
    (to_rgb, '32FC1', 'depth encoding'),
    (to_depth, 'mono8', '32FC1'),
    (to_depth, 'rgb8', '16UC1'),
])
def test_depth_for_colour_and_colour_for_depth_are_refused(convert, encoding, word):
    with pytest.raises(MessageError, match=word):
        convert(message(random_pixels(encoding, 2, 2, 0), encoding))


def test_yuv_of_odd_width_is_refused():
    with pytest.raises(MessageError, match='even width, not 3'):
        to_rgb(message(np.zeros((2, 3, 2)), 'yuv422'))


def png_header(width, height):
    """Return a PNG whose header is whole, and nothing else."""
    header = b'IHDR' + struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n\0\0\0\r' + header + struct.pack('>I', zlib.crc32(header))


@pytest.mark.parametrize(('text', 'data', 'word'), [
    ('16UC1; compressedDepth png', b'x', 'compressedDepth'),
    ('theora', b'x', 'theora'),
    ('jpeg', b'', '0 bytes'),
    ('png', b'\x89PNG damaged', 'damaged'),
    ('png', png_header(100_000, 100_000), 'damaged'),  # more than OpenCV is ready to allocate
])
def test_a_bad_compressed_image_is_refused(text, data, word):
    with pytest.raises(MessageError, match=word):
        compressed_to_rgb(CompressedImage(format=text, data=data))


def test_a_compressed_image_that_opencv_cannot_rectify_is_refused():
    data = cv2.imencode('.png', np.zeros((32767, 1, 3), np.uint8))[1].tobytes()
    with pytest.raises(MessageError, match='1x32767; .* no side of more than 32766'):
        compressed_to_rgb(CompressedImage(format='png', data=data))


# -- camera_info ---------------------------------------------------------------------------------


def info(**fields):
    msg = CameraInfo(width=640, height=480, distortion_model='plumb_bob', d=[0.1, 0, 0, 0, 0])
    msg.k = [500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0]
    msg.p = [480.0, 0.0, 321.0, 0.0, 0.0, 490.0, 241.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    for key, value in fields.items():
        setattr(msg, key, value)
    return msg


def test_a_camera_info_becomes_a_camera_model():
    camera = camera_model(info())
    assert (camera.width, camera.height, camera.d) == (640, 480, (0.1, 0, 0, 0, 0))
    assert camera.intrinsics() == Intrinsics(640, 480, 500, 510, 320, 240)
    assert camera.rectified_intrinsics() == Intrinsics(640, 480, 480, 490, 321, 241)


def test_a_region_of_interest_moves_the_principal_point():
    roi = RegionOfInterest(x_offset=100, y_offset=50, width=320, height=200)
    assert camera_model(info(roi=roi)).intrinsics() == Intrinsics(320, 200, 500, 510, 220, 190)


def test_binning_halves_the_image_and_keeps_the_rays():
    """Pixel (0, 0) of the binned image covers columns 0 and 1: its centre is at 0.5."""
    binned = camera_model(info(binning_x=2, binning_y=2)).intrinsics()
    assert (binned.width, binned.height) == (320, 240)
    assert (0 - binned.cx) / binned.fx == pytest.approx((0.5 - 320) / 500)
    assert (0 - binned.cy) / binned.fy == pytest.approx((0.5 - 240) / 510)


@pytest.mark.parametrize(('fields', 'words'), [
    ({'k': [0.0] * 9}, ['focal lengths 0.0, 0.0', 'calibrate']),
    ({'k': [float('nan')] * 9}, ['nan', 'positive']),
    ({'width': 0}, ['0x480', 'positive']),
    ({'d': [float('nan')] * 5}, ['D of the camera', 'NaN', 'calibrate']),
])
def test_a_camera_info_without_a_camera_is_refused(fields, words):
    with pytest.raises(MessageError) as caught:
        camera_model(info(**fields))
    for word in words:
        assert word in str(caught.value)


@given(st.integers(1, 4000), st.integers(1, 4000), st.floats(1, 5000), st.floats(1, 5000))
def test_intrinsics_come_back_from_their_camera_info(width, height, fx, fy):
    there = Intrinsics(width, height, fx, fy, width / 3, height / 3)
    back = camera_model(camera_info(there, Header()))
    assert back.rectified_intrinsics() == there
    assert not back.is_distorted


def test_the_right_camera_says_its_baseline():
    """Disparity of a point is fx * B / Z, so P[3] = -fx * B (sensor_msgs/CameraInfo)."""
    msg = camera_info(Intrinsics(640, 480, 500, 500, 320, 240), Header(), baseline=0.065)
    assert msg.p[3] == pytest.approx(-32.5)


@pytest.mark.parametrize('p', [(), tuple(info().p)])
def test_a_camera_model_comes_back_from_its_raw_camera_info(p):
    there = CameraModel(640, 480, tuple(info().k), 'equidistant', (0.1, 0.2, 0.3, 0.4), p=p)
    back = camera_model(raw_camera_info(there, Header()))
    assert (back.k, back.d, back.distortion_model) == (there.k, there.d, 'equidistant')
    assert back.rectified_intrinsics() == there.rectified_intrinsics()


# -- writers -------------------------------------------------------------------------------------

HEADER = Header(frame_id='optical')
HEADER.stamp.sec, HEADER.stamp.nanosec = 12, 345


def test_a_header_is_copied_and_not_shared():
    copy = copy_header(HEADER)
    copy.frame_id, copy.stamp.sec = 'other', 1
    assert (HEADER.frame_id, HEADER.stamp.sec) == ('optical', 12)


@settings(deadline=None)
@given(st.sampled_from(['rgb8', 'bgr8', 'mono8', '32FC1', '16UC1']), SIZES, st.integers(0, 99))
def test_a_written_image_reads_back_after_a_trip_through_dds_bytes(encoding, size, seed):
    pixels = random_pixels(encoding, *size, seed)
    writer = ImageWriter(encoding)
    writer.prepare(*size)[:] = pixels
    sent = deserialize_message(serialize_message(writer.message(HEADER)), Image)
    np.testing.assert_array_equal(to_array(sent)[0], pixels)
    assert sent.header == HEADER


def test_a_writer_uses_its_memory_again_and_follows_a_new_size():
    writer = ImageWriter('32FC1')
    first = writer.prepare(4, 6)
    assert writer.prepare(4, 6) is first
    msg = writer.message(HEADER)
    first[:] = 2.5
    assert to_array(msg)[0][3, 5] == 2.5
    writer.prepare(2, 3)[:] = 1.0
    assert writer.message(HEADER) is msg
    assert (msg.height, msg.width, msg.step, len(msg.data)) == (2, 3, 12, 24)
    assert isinstance(msg.data, array.array)  # anything else is copied byte by byte


def test_a_written_message_does_not_follow_its_header():
    writer = ImageWriter('mono8')
    writer.prepare(1, 1)
    header = copy_header(HEADER)
    msg = writer.message(header)
    header.frame_id = 'changed'
    assert msg.header.frame_id == 'optical'


@pytest.fixture(scope='module')
def store():
    typesys = pytest.importorskip('rosbags.typesys')
    return typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)


def test_rosbags_reads_our_image_from_its_bytes(store):
    pixels = random_pixels('32FC1', 3, 5, 4)
    writer = ImageWriter('32FC1')
    writer.prepare(3, 5)[:] = pixels
    raw = serialize_message(writer.message(HEADER))
    msg = store.deserialize_cdr(raw, 'sensor_msgs/msg/Image')
    assert (msg.encoding, msg.step, msg.header.frame_id) == ('32FC1', 20, 'optical')
    assert msg.is_bigendian == (sys.byteorder == 'big')
    np.testing.assert_array_equal(msg.data.view(np.float32).reshape(3, 5), pixels)


def test_rosbags_reads_our_cloud_by_the_names_of_its_fields(store):
    points = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    writer = CloudWriter()
    writer.prepare(2, 3)[:] = points
    raw = serialize_message(writer.message(HEADER))
    msg = store.deserialize_cdr(raw, 'sensor_msgs/msg/PointCloud2')
    assert (msg.height, msg.width, msg.point_step, msg.row_step) == (2, 3, 16, 48)
    kind = np.dtype({'names': [f.name for f in msg.fields], 'formats': ['<f4'] * 4,
                     'offsets': [f.offset for f in msg.fields], 'itemsize': msg.point_step})
    assert {f.datatype for f in msg.fields} == {7}  # FLOAT32
    cloud = msg.data.view(kind).reshape(2, 3)
    for index, name in enumerate(('x', 'y', 'z', 'rgb')):
        np.testing.assert_array_equal(cloud[name], points[..., index])


def test_a_cloud_of_another_size_gets_a_new_buffer():
    writer = CloudWriter()
    writer.prepare(2, 3)
    writer.prepare(1, 10)[:] = 1.0
    msg = deserialize_message(serialize_message(writer.message(HEADER)), PointCloud2)
    assert (msg.height, msg.width, len(msg.data)) == (1, 10, 160)


def test_cv_bridge_reads_our_image():
    cv_bridge = pytest.importorskip('cv_bridge')
    pixels = random_pixels('bgr8', 3, 5, 4)
    writer = ImageWriter('bgr8')
    writer.prepare(3, 5)[:] = pixels
    read = cv_bridge.CvBridge().imgmsg_to_cv2(writer.message(HEADER), 'passthrough')
    np.testing.assert_array_equal(read, pixels)


def test_sensor_msgs_py_reads_our_cloud():
    point_cloud2 = pytest.importorskip('sensor_msgs_py.point_cloud2')
    points = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    writer = CloudWriter()
    writer.prepare(2, 3)[:] = points
    read = point_cloud2.read_points_numpy(writer.message(HEADER), ('x', 'y', 'z', 'rgb'))
    np.testing.assert_array_equal(read, points.reshape(-1, 4))
