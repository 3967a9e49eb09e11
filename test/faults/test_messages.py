"""Malformed and hostile messages, and calibrations that lie, sent to one live node."""

from __future__ import annotations

import array
import time

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image

from depth_perception.image_encodings import ENCODINGS, MessageError
from depth_perception.nodes._camera_info import CameraInfoError, checked_camera
from depth_perception.nodes._messages import to_depth, to_rgb

HEIGHT, WIDTH = 48, 64
NAN, INF = float('nan'), float('inf')
GREY = np.full((HEIGHT, WIDTH), 200, np.uint8)


def quick(count, faults):
    """The first few run with every `make test`, the others with `make test-faults`."""
    return [pytest.param(fault, marks=[pytest.mark.slow] * (number >= count), id=fault)
            for number, fault in enumerate(faults)]


BAD_PICTURES = {
    'encoding that nobody knows': {'encoding': 'rainbow12'},
    'depth in place of a picture': {'pixels': np.ones((HEIGHT, WIDTH), np.float32),
                                    'encoding': '32FC1'},
    'data one byte short': {'data': array.array('B', bytes(HEIGHT * WIDTH * 3 - 1))},
    'size 0 x 0': {'height': 0, 'width': 0, 'step': 0, 'data': array.array('B')},
    'rows that overlap (step 3)': {'step': 3},
    'height of 2^32 - 1': {'height': 2**32 - 1},
    'encoding of 10,000 characters': {'encoding': 'x' * 10_000},
    'empty encoding': {'encoding': ''},
    'no data at all': {'data': array.array('B')},
    'rows of 4 GB (step)': {'step': 2**32 - 1},
    'width of 2^32 - 1': {'width': 2**32 - 1},
    'side of 40,000 pixels': {'pixels': np.zeros((1, 40_000, 3), np.uint8)},
    'odd width in YUV 4:2:2': {'pixels': np.zeros((HEIGHT, 63, 2), np.uint8),
                               'encoding': 'yuv422'},
}


@pytest.mark.parametrize('fault', quick(4, BAD_PICTURES))
def test_a_bad_picture(rig, fault):
    with rig.row(fault, 'MESSAGE_MALFORMED'):
        rig.send(**BAD_PICTURES[fault])
        time.sleep(0.05)


K = [50.0, 0.0, 31.5, 0.0, 50.0, 23.5, 0.0, 0.0, 1.0]
LIES = {
    'focal length 0': ('INFO_VALUES', {'k': [0.0] * 9}),
    'distortion of an unknown kind': (
        'INFO_DISTORTION', {'distortion_model': 'barrel_roll', 'd': [0.1] * 4}),
    'camera_info for another size': ('INFO_SIZE', {'width': 2 * WIDTH, 'height': 2 * HEIGHT}),
    'NaN in the camera matrix': ('INFO_VALUES', {'k': [*K[:2], NAN, *K[3:]]}),
    'NaN in the distortion': ('INFO_VALUES', {'d': [NAN] * 5}),
    'negative focal length': ('INFO_VALUES', {'k': [-50.0, *K[1:]]}),
    'infinite focal length': ('INFO_VALUES', {'k': [INF, *K[1:]]}),
    'camera_info of size 0': ('INFO_VALUES', {'width': 0, 'height': 0}),
}


@pytest.mark.parametrize('fault', quick(4, LIES))
def test_a_camera_info_that_lies(rig, fault):
    code, fields = LIES[fault]
    with rig.row(fault, code):
        rig.send(info=fields)
        time.sleep(0.05)


@pytest.mark.slow
def test_a_focal_length_that_vanishes_in_a_smaller_picture(rig):
    picture = np.full((2 * HEIGHT, 2 * WIDTH, 3), 200, np.uint8)
    with rig.row('focal length of 5e-324 px', 'INFO_VALUES'):
        rig.send(picture, info={'k': [5e-324, *K[1:]], 'p': [0.0] * 12})
        time.sleep(0.05)


FRAMES = {'camera_info of another camera': 'other_camera', 'camera_info without a frame_id': '',
          'frame_id of 10,000 characters': 'f' * 10_000}


@pytest.mark.parametrize('fault', quick(1, FRAMES))
def test_a_camera_info_of_another_frame(rig, fault):
    with rig.row(fault, 'INFO_OF_ANOTHER_CAMERA'):
        rig.send(info={'header': rig.graph.header(time.time(), FRAMES[fault])})
        time.sleep(0.1)


def test_a_camera_info_whose_stamps_never_match(rig):
    with rig.row('camera_info with other stamps', 'INFO_STAMPS_DIFFER') as row:
        end = time.monotonic() + 5
        while 'INFO_STAMPS_DIFFER' not in rig.values and time.monotonic() < end:
            rig.send(info={'header': rig.graph.header(time.time() - 0.5)})
            time.sleep(0.05)
        row.check(' s apart' in rig.values.get('INFO_STAMPS_DIFFER', ''), 'no gap told')


@pytest.mark.parametrize('fault, code, value', [
    ('picture for which the model gives NaN', 'MODEL_NAN', 10),
    ('picture for which the model fails', 'FRAME_FAILED', 255),
])
def test_a_picture_that_the_model_does_not_bear(rig, fault, code, value):
    with rig.row(fault, code):
        rig.send(np.full_like(rig.PICTURE, value))
        time.sleep(0.05)


SIZES = st.integers(0, 2**32 - 1) | st.integers(0, 70)
STAMPS = st.tuples(st.integers(-2**31, 2**31 - 1), st.integers(0, 2**32 - 1))
FLOATS = st.floats(width=64) | st.sampled_from([0.0, NAN, INF, -INF, 50.0])


@st.composite
def images(draw):
    """Image messages with some fields right, some wrong, some hostile."""
    encoding = draw(st.sampled_from([*ENCODINGS, 'bayer_rggb16', 'nv21', '', 'RGB8']) | st.text(
        max_size=20))
    height, width = draw(st.integers(0, 20)), draw(st.integers(0, 20))
    channels = ENCODINGS[encoding].channels if encoding in ENCODINGS else 3
    data = draw(st.binary(max_size=height * width * channels * 2 + 8))
    step = draw(st.just(width * channels) | SIZES)
    msg = Image(encoding=encoding, height=height, width=width, step=step,
                is_bigendian=draw(st.integers(0, 255)))
    if draw(st.booleans()):
        data = bytes(step * height) if step * height < 10_000 else data
    if draw(st.integers(0, 9)) == 0:
        msg.height, msg.width = draw(SIZES), draw(SIZES)
    msg.data = array.array('B', data)
    msg.header.frame_id = draw(st.sampled_from(['camera_optical_frame', '']) | st.text(
        st.characters(blacklist_categories=['Cs'], blacklist_characters='\0'), max_size=9))
    msg.header.stamp.sec, msg.header.stamp.nanosec = draw(STAMPS)
    return msg


@st.composite
def camera_infos(draw):
    """Calibrations with some numbers right and some not."""
    info = CameraInfo(width=draw(SIZES), height=draw(SIZES))
    info.distortion_model = draw(st.sampled_from(['', 'plumb_bob', 'equidistant', 'fisheye']))
    info.d = draw(st.lists(FLOATS, max_size=14))
    info.k = draw(st.just(K) | st.lists(FLOATS, min_size=9, max_size=9))
    info.r = draw(st.lists(FLOATS, min_size=9, max_size=9))
    info.p = draw(st.lists(FLOATS, min_size=12, max_size=12))
    info.binning_x, info.binning_y = draw(SIZES), draw(SIZES)
    info.roi.width, info.roi.height = draw(SIZES), draw(SIZES)
    info.roi.x_offset, info.roi.y_offset = draw(SIZES), draw(SIZES)
    return info


FUZZ = {'deadline': None, 'database': None, 'phases': [Phase.generate],
        'suppress_health_check': list(HealthCheck)}


@settings(max_examples=1000, **FUZZ)
@given(images())
def test_a_thousand_pictures_are_converted_or_refused_with_a_reason(message):
    for convert in (to_rgb, to_depth):
        try:
            result = convert(message)
        except MessageError as error:
            assert str(error)
        else:
            array_ = getattr(result, 'array', result)
            assert array_.shape[:2] == (message.height, message.width)


@settings(max_examples=1000, **FUZZ)
@given(camera_infos(), st.booleans())
def test_a_thousand_calibrations_are_taken_or_refused_with_a_reason(info, sized):
    height, width = (info.height, info.width) if sized else (HEIGHT, WIDTH)
    try:
        camera = checked_camera(info, width, height)
        intrinsics = camera.intrinsics()
    except CameraInfoError as error:
        assert str(error)
    except ValueError as error:     # GeometryError, which the node turns into a CameraInfoError
        assert type(error).__name__ == 'GeometryError'
    else:
        assert np.isfinite([intrinsics.fx, intrinsics.fy]).all() and intrinsics.fx > 0


def test_two_hundred_hostile_messages_through_the_live_node(rig):
    sent = []

    @settings(max_examples=200, **FUZZ)
    @given(images(), camera_infos())
    def send(message, info):
        info.header = message.header
        rig.publish('camera_info', info)
        rig.publish('image', message)
        sent.append(message)
        time.sleep(0.004)

    with rig.row('200 hostile pairs of messages', 'MESSAGE_MALFORMED', within=20):
        send()
        time.sleep(0.1)
    assert len(sent) >= 200
