"""What no robot should meet, sent to live nodes: one clear error, counted, and on they go."""

from __future__ import annotations

import time

import numpy as np
import pytest
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image, PointCloud2

HEIGHT, WIDTH = 48, 64
PICTURE = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)


@pytest.fixture(scope='module')
def node(graph, make_model):
    model = make_model('metric', nan='dark', fails=True)
    return graph.spawn('depth_node', params={'model': str(model)})


@pytest.fixture(scope='module')
def depth(graph, node):
    return graph.listen('depth_node/depth/image_rect', Image)


@pytest.fixture
def refused(graph, camera, node, depth):
    """Check that a bad frame is counted once, named in the status, and that depth comes again."""
    def check(send, counter, *texts):
        camera.send_until([depth], PICTURE)
        before = int(graph.diagnostics(node)[2].get(counter, 0))
        start = time.time()
        send()
        level, text, values = graph.wait_for_diagnostics(
            node, lambda level, text, values: int(values.get(counter, 0)) > before)
        assert level == 2 and all(part in text for part in texts), (level, text)
        stamps = [each.header.stamp for each in depth.messages]     # frames before may come still
        assert not [each for each in stamps if each.sec + each.nanosec * 1e-9 > start - 0.01]
        assert int(values[counter]) == before + 1
        camera.send_until([depth], PICTURE)
        graph.wait_for_diagnostics(node, lambda level, text, values: level < 2)
        assert sum(all(part in line for part in texts) for line in node.log.splitlines()) == 1
    return check


def test_an_unknown_encoding_is_named_with_the_way_out(graph, camera, refused):
    def send():
        stamp = time.time()
        graph.publish('camera_info', graph.camera_info(WIDTH, HEIGHT, 50.0, stamp))
        graph.publish('image', graph.image(PICTURE, 'rainbow12', stamp))
    refused(send, 'rejected.message', 'rainbow12', 'rgb8')


def test_a_depth_image_in_place_of_a_picture_is_named(graph, camera, refused):
    def send():
        graph.publish('image', graph.image(np.ones((HEIGHT, WIDTH), np.float32), '32FC1',
                                           time.time()))
    refused(send, 'rejected.message', '32FC1', 'colour image')


def test_data_shorter_than_step_times_height_is_refused(graph, refused):
    def send():
        msg = graph.image(PICTURE, 'rgb8', time.time())
        msg.data = msg.data[:-1]
        graph.publish('image', msg)
    refused(send, 'rejected.message', str(WIDTH * HEIGHT * 3 - 1), str(WIDTH * HEIGHT * 3))


def test_an_image_of_size_zero_is_refused(graph, refused):
    def send():
        graph.publish('image', graph.image(np.zeros((0, 0, 3), np.uint8), 'rgb8', time.time()))
    refused(send, 'rejected.message', '0x0')


def test_a_focal_length_of_zero_is_refused(camera, refused):
    refused(lambda: camera.send(PICTURE, k=[0.0] * 9), 'rejected.camera_info values',
            'focal length', 'calibrate')


def test_a_camera_info_for_another_size_is_refused(graph, refused):
    def send():
        stamp = time.time()
        graph.publish('camera_info', graph.camera_info(2 * WIDTH, 2 * HEIGHT, 100.0, stamp))
        graph.publish('image', graph.image(PICTURE, 'rgb8', stamp))
    refused(send, 'rejected.camera_info size', '128x96', '64x48')


def test_a_camera_info_of_another_frame_is_refused(graph, refused):
    def send():
        stamp = time.time()
        info = graph.camera_info(WIDTH, HEIGHT, 50.0, stamp, frame_id='other_camera')
        graph.publish('camera_info', info)
        graph.publish('image', graph.image(PICTURE, 'rgb8', stamp))
    refused(send, 'rejected.camera_info frame', 'other_camera', 'camera_optical_frame')


def test_an_unknown_distortion_model_is_refused(camera, refused):
    refused(lambda: camera.send(PICTURE, distortion_model='barrel_roll', d=[0.1] * 4),
            'rejected.camera_info distortion', 'barrel_roll', 'plumb_bob')


def each_comes_out(graph, inbox, send, stamps):
    """Send one frame after the other: a busy node that takes the newest would leave some out."""
    for stamp in stamps:
        want = graph.header(stamp).stamp

        def comes(stamp=stamp, want=want):
            send(stamp)     # best effort: on a busy machine one may be lost
            end = time.monotonic() + 1.0
            while time.monotonic() < end:
                if want in [each.header.stamp for each in inbox.messages]:
                    return True
                time.sleep(0.01)
            return False

        graph.wait_for(comes, 15.0, f'what comes of the frame of {stamp}')


def test_camera_infos_with_other_stamps_are_taken_with_a_warning(graph, camera, node, depth):
    camera.send_until([depth], PICTURE)

    def send(stamp):
        graph.publish('camera_info', graph.camera_info(WIDTH, HEIGHT, 50.0, stamp - 0.5))
        graph.publish('image', graph.image(PICTURE, 'rgb8', stamp))

    each_comes_out(graph, depth, send, time.time() + 0.1 * np.arange(3))
    level, text, _ = graph.wait_for_diagnostics(
        node, lambda level, text, values: 'matched by frame_id' in text)
    assert level == 1 and "'/camera_info'" in text and 's apart' in text
    camera.send_until([depth], PICTURE)


def test_stamps_that_jump_back_are_counted_and_the_node_goes_on(graph, camera, node, depth):
    camera.send_until([depth], PICTURE)
    each_comes_out(graph, depth, lambda stamp: camera.send(PICTURE, stamp=stamp),
                   time.time() - 100.0 + 0.05 * np.arange(5))
    level, text, values = graph.wait_for_diagnostics(
        node, lambda level, text, values: int(values.get('stamp jumps back', 0)) == 1)
    assert level == 1 and 'jumped back' in text
    assert node.log.count('jumped back') == 1


def test_a_stamp_before_1970_does_not_end_the_node(camera, depth):
    camera.send_until([depth], PICTURE)
    depth.clear()
    camera.send(PICTURE, stamp=-4.75)
    assert depth.wait(1)[0].header.stamp.sec == -5
    camera.send_until([depth], PICTURE)


def test_a_camera_info_of_nan_is_refused(camera, refused):
    refused(lambda: camera.send(PICTURE, d=[float('nan')] * 5), 'rejected.camera_info values',
            'D of the camera', 'calibrate')


def test_a_resolution_change_in_mid_stream_gives_depth_of_the_new_size(camera, depth):
    camera.send_until([depth], PICTURE)
    large = np.full((2 * HEIGHT, 2 * WIDTH, 3), 200, np.uint8)
    depth.clear()
    camera.send(large, focal_px=100.0)
    assert depth.wait(1)[0].width == 2 * WIDTH


def test_nan_from_the_model_is_nan_in_the_depth_and_is_counted(graph, camera, node, depth):
    camera.send_until([depth], PICTURE)
    half_dark = PICTURE.copy()
    half_dark[:, :WIDTH // 2] = 10
    depth.clear()
    camera.send(half_dark)
    values = np.frombuffer(bytes(depth.wait(1)[0].data), np.float32).reshape(HEIGHT, WIDTH)
    assert np.isnan(values[:, :WIDTH // 2 - 1]).all()
    np.testing.assert_allclose(values[:, WIDTH // 2 + 1:], 2.0)
    level, text, _ = graph.wait_for_diagnostics(
        node, lambda level, text, values: values.get('frames with NaN from the model') == '1')
    assert level == 1 and 'NaN' in text
    camera.send_until([depth], PICTURE)


def test_an_engine_that_fails_for_a_frame_is_counted_and_the_next_frame_comes(
        graph, camera, node, refused):
    refused(lambda: camera.send(np.full_like(PICTURE, 255)), 'rejected.engine',
            'does not run', 'try another backend')


def test_a_parameter_out_of_range_is_refused_with_the_range(graph, node):
    for name, value, part in (('point_cloud.stride', 0, '1'), ('stereo.baseline', -1.0, '0.001'),
                              ('rectify', 'sometimes', 'auto'), ('max_depth', float('nan'), '')):
        answer = graph.set_parameter(node, name, value)
        assert not answer.successful and part in answer.reason


@pytest.mark.parametrize('params, texts', [
    ({'max_deph': 20.0}, ('max_deph', 'max_depth')),
    ({'point_cloud': {'strid': 2}}, ('point_cloud.strid', 'point_cloud.stride')),
    ({'point_cloud': {'stride': 1000}}, ('point_cloud.stride', '64')),
    ({'min_depth': 5.0, 'max_depth': 1.0}, ('min_depth must be below max_depth',)),
])
def test_a_wrong_parameter_in_the_yaml_is_one_error_and_the_node_stays(
        graph, make_model, params, texts):
    broken = graph.spawn('depth_node', {'model': str(make_model()), **params}, name='broken',
                         state='unconfigured')
    level, text, values = graph.wait_for_diagnostics(
        broken, lambda level, text, values: text and all(part in text for part in texts))
    assert level == 2 and values['state'] == 'unconfigured'
    assert broken.log.count('cannot configure') == 1 and 'Traceback' not in broken.log
    assert broken.stop() == 0


def test_a_model_that_cannot_be_used_is_one_error_and_can_be_put_right(
        graph, camera, make_model, tmp_path):
    corrupt = tmp_path / 'corrupt.onnx'
    corrupt.write_bytes(b'\x08\x08' + bytes(range(256)))
    missing = tmp_path / 'missing.onnx'
    broken = graph.spawn('depth_node', {'model': str(missing)}, name='modelless',
                         state='unconfigured')
    level, text, _ = graph.wait_for_diagnostics(
        broken, lambda level, text, values: 'missing.onnx' in text)
    assert level == 2
    for path, texts in ((corrupt, ('corrupt.onnx',)),
                        (make_model(contract=False, name='bare'), ('bare.onnx', 'contract')),
                        ('no_such_name', ('no_such_name', 'installed'))):
        assert graph.set_parameter(broken, 'model', str(path)).successful
        assert not graph.change_state(broken, 'configure')
        level, text, _ = graph.wait_for_diagnostics(
            broken, lambda level, text, values, t=texts: all(part in text for part in t))
        assert level == 2
    assert 'Traceback' not in broken.log and broken.log.count('cannot configure') == 4
    assert graph.set_parameter(broken, 'model', str(make_model())).successful
    assert graph.change_state(broken, 'configure') and graph.change_state(broken, 'activate')
    inbox = graph.listen('modelless/depth/image_rect', Image)
    camera.send_until([inbox], PICTURE)
    assert broken.stop() == 0


def test_no_publisher_and_no_camera_info_are_named(graph, make_model, camera):
    lonely = graph.spawn('depth_node', {'model': str(make_model())}, name='lonely',
                         remap={'image': '/nobody/image', 'camera_info': '/nobody/info'})
    inbox = graph.listen('lonely/depth/image_rect', Image)
    level, text, _ = graph.wait_for_diagnostics(
        lonely, lambda level, text, values: 'no publisher' in text)
    assert level == 2 and "'/nobody/image'" in text and 'remap image:=' in text
    for _ in range(10):
        graph.publish('/nobody/image', graph.image(PICTURE, 'rgb8', time.time()))
        time.sleep(0.1)
    level, text, values = graph.wait_for_diagnostics(
        lonely, lambda level, text, values: 'no camera_info' in text)
    assert level == 2 and "'/nobody/info'" in text and 'fallback_hfov_deg' in text
    assert int(values['rejected.no camera_info']) >= 5
    assert lonely.log.count('no camera_info') == 1      # throttled, and none in the first seconds
    assert not inbox.messages
    assert lonely.stop() == 0


def test_publishers_that_cannot_be_heard_are_told_from_none(graph, make_model):
    mute = graph.spawn('depth_node', {'model': str(make_model()), 'process': 'every'},
                       name='mute', remap={'image': '/mute/image'})
    topic, unheard = '/mute/image', QoSProfile(
        depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    # a participant knows one type of a topic: the wrong one needs another participant
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=graph.domain_id)
    other = rclpy.create_node('other', context=context)
    other.create_publisher(CompressedImage, topic, 1)
    graph.wait_for_diagnostics(
        mute, lambda level, text, values: level == 2 and 'sensor_msgs/msg/CompressedImage' in text
        and 'image_transport' in text)
    other.destroy_node()
    context.shutdown()
    unreliable = graph.probe.create_publisher(Image, topic, unheard)
    graph.wait_for_diagnostics(
        mute, lambda level, text, values: 'best effort only' in text
        and 'process: newest' in values.get('QOS_INCOMPATIBLE', ''))
    silent = graph.probe.create_publisher(Image, topic, 1)
    graph.wait_for_diagnostics(
        mute, lambda level, text, values: 'nothing received' in text
        and 'FASTDDS_BUILTIN_TRANSPORTS' in text)
    for publisher in (unreliable, silent):
        graph.probe.destroy_publisher(publisher)
    assert mute.stop() == 0


@pytest.fixture(scope='module')
def cloud_node(graph):
    return graph.spawn('point_cloud_node')


@pytest.fixture(scope='module')
def cloud(graph, cloud_node):
    return graph.listen('point_cloud_node/points', PointCloud2)


def test_depth_of_another_size_than_the_image_is_refused(graph, camera, cloud_node, cloud):
    right, wrong = np.ones((HEIGHT, WIDTH), np.float32), np.ones((24, 32), np.float32)
    camera.send_until([cloud], PICTURE, depth=right)
    camera.send(PICTURE, depth=wrong)
    level, text, values = graph.wait_for_diagnostics(
        cloud_node, lambda level, text, values: 'rejected.sizes' in values)
    assert level == 2 and '32x24' in text and '64x48' in text and 'registered' in text
    assert 'SIZES_DIFFER' in values['codes']
    assert values['rejected.sizes'] == '1' and cloud_node.log.count('registered') == 1
    camera.send_until([cloud], PICTURE, depth=right)


def test_depth_in_a_colour_encoding_is_refused(graph, camera, cloud_node, cloud):
    camera.send_until([cloud], PICTURE, depth=np.ones((HEIGHT, WIDTH), np.float32))
    stamp = time.time()
    graph.publish('depth', graph.image(PICTURE, 'bgr8', stamp))
    graph.publish('image', graph.image(PICTURE, 'rgb8', stamp))
    graph.wait_for_diagnostics(
        cloud_node, lambda level, text, values: level == 2 and '16UC1' in text)
    camera.send_until([cloud], PICTURE, depth=np.ones((HEIGHT, WIDTH), np.float32))


def test_stamps_that_never_match_are_told_with_the_measured_gap(graph, cloud_node, cloud):
    for _ in range(70):
        stamp = time.time()
        graph.publish('image', graph.image(PICTURE, 'rgb8', stamp))
        late = graph.image(np.ones((HEIGHT, WIDTH), np.float32), '32FC1', stamp + 1000.25)
        graph.publish('depth', late)
        time.sleep(0.04)
    level, text, values = graph.wait_for_diagnostics(
        cloud_node, lambda level, text, values: 'belong together' in text)
    assert 'STAMPS_NEVER_MATCH' in values['codes']
    assert level == 2 and 'sync_tolerance' in text and '0.020 s' in text
    assert '997.' in text or '1000.' in text or '999.' in text or '998.' in text


def test_stamps_that_jump_back_do_not_stop_the_pairing(graph, camera, cloud_node, cloud):
    ones = np.ones((HEIGHT, WIDTH), np.float32)
    camera.send_until([cloud], PICTURE, depth=ones)
    each_comes_out(graph, cloud, lambda stamp: camera.send(PICTURE, depth=ones, stamp=stamp),
                   time.time() - 50.0 + 0.05 * np.arange(5))
    _, _, values = graph.wait_for_diagnostics(
        cloud_node, lambda level, text, values: 'stamp jumps back' in values)
    assert int(values['stamp jumps back']) >= 1
