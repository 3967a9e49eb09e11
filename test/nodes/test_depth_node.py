"""The depth node in a process of its own: every output, what is subscribed, every parameter."""

from __future__ import annotations

import array
import time

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_srvs.srv import SetBool
from stereo_msgs.msg import DisparityImage

from depth_perception.colorize import colorize

HEIGHT, WIDTH, FOCAL_PX, DEPTH_M = 48, 64, 50.0, 2.0
BASELINE_M = 0.08       # two pixels of disparity at two metres
RNG = np.random.default_rng(1)
PICTURE = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


@pytest.fixture(scope='module')
def node(graph, make_model):
    model = make_model('metric', depth=DEPTH_M, confidence=0.75)
    return graph.spawn('depth_node', params={
        'model': str(model), 'stereo.baseline': BASELINE_M})


def pixels(msg):
    """Read an image as the ROS definition says, not by our own code."""
    kinds = {'32FC1': ('<f4', 1), '16UC1': ('<u2', 1), 'rgb8': ('u1', 3), 'bgr8': ('u1', 3)}
    dtype, channels = kinds[msg.encoding]
    assert not msg.is_bigendian
    assert msg.step == msg.width * channels * np.dtype(dtype).itemsize
    shape = (msg.height, msg.width) if channels == 1 else (msg.height, msg.width, channels)
    return np.frombuffer(bytes(msg.data), dtype).reshape(shape)


def points(msg):
    assert [(f.name, f.offset, f.datatype, f.count) for f in msg.fields] == [
        ('x', 0, 7, 1), ('y', 4, 7, 1), ('z', 8, 7, 1), ('rgb', 12, 7, 1)]
    assert (msg.point_step, msg.row_step) == (16, 16 * msg.width)
    return np.frombuffer(bytes(msg.data), '<f4').reshape(msg.height, msg.width, 4)


def seconds(header):
    return header.stamp.sec + header.stamp.nanosec * 1e-9


class Subscribed:
    """Topics of a node, subscribed for one test."""

    def __init__(self, graph, camera):
        self._graph, self._camera, self._open = graph, camera, []

    def topics(self, node, *topics):
        inboxes = [self._graph.listen(f'{node.full_name}/{name}', kind) for name, kind in topics]
        self._open += inboxes
        return inboxes

    def see(self, node, *topics, frame=PICTURE, **kwargs):
        """Send frames until there is one message of each topic, and return these."""
        return self._camera.send_until(self.topics(node, *topics), frame, **kwargs)

    def close(self):
        for inbox in self._open:
            inbox.close()


@pytest.fixture
def subscribed(graph, camera):
    topics = Subscribed(graph, camera)
    yield topics
    topics.close()


def test_depth_is_metres_under_the_images_own_header(graph, camera, node, subscribed):
    [inbox] = subscribed.topics(node, ('depth/image_rect', Image))
    [msg] = camera.send_until([inbox], PICTURE)
    assert (msg.encoding, msg.height, msg.width) == ('32FC1', HEIGHT, WIDTH)
    assert msg.header.frame_id == 'camera_optical_frame'
    np.testing.assert_allclose(pixels(msg), DEPTH_M, rtol=1e-6)
    inbox.clear()
    stamp = camera.send(PICTURE)
    assert seconds(inbox.wait(1)[0].header) == pytest.approx(stamp, abs=1e-6)


def test_camera_info_of_the_depth_is_that_of_the_rectified_image(node, subscribed):
    [depth, info] = subscribed.see(node, ('depth/image_rect', Image),
                                   ('depth/camera_info', CameraInfo))
    assert info.header.frame_id == depth.header.frame_id
    assert (info.height, info.width, list(info.d)) == (HEIGHT, WIDTH, [0.0] * 5)
    np.testing.assert_allclose(info.k, [50, 0, 31.5, 0, 50, 23.5, 0, 0, 1])
    np.testing.assert_allclose(info.p, [50, 0, 31.5, 0, 0, 50, 23.5, 0, 0, 0, 1, 0])


def test_openni_depth_mode_gives_millimetres_from_the_next_frame_on(graph, node, subscribed):
    assert graph.set_parameter(node, 'openni_depth_mode', True).successful
    try:
        [msg] = subscribed.see(node, ('depth/image_rect', Image))
    finally:
        graph.set_parameter(node, 'openni_depth_mode', False)
    assert msg.encoding == '16UC1'
    assert (pixels(msg) == 2000).all()


def test_points_lie_where_the_pinhole_puts_them_with_the_colour_of_their_pixel(node, subscribed):
    [msg] = subscribed.see(node, ('points', PointCloud2))
    cloud = points(msg)
    assert cloud.shape == (HEIGHT, WIDTH, 4) and msg.header.frame_id == 'camera_optical_frame'
    for v, u in ((0, 0), (10, 40), (47, 63)):
        expected = ((u - 31.5) / 50 * 2, (v - 23.5) / 50 * 2, 2)
        np.testing.assert_allclose(cloud[v, u, :3], expected, atol=1e-5)
        b, g, r, a = cloud[v, u, 3:].tobytes()
        assert (r, g, b, a) == (*PICTURE[v, u], 255)


def test_colours_of_a_bgr8_picture_are_not_swapped(node, subscribed):
    [msg] = subscribed.see(node, ('points', PointCloud2), frame=PICTURE, encoding='bgr8')
    b, g, r, _ = points(msg)[5, 6, 3:].tobytes()
    assert (b, g, r) == tuple(PICTURE[5, 6])


def test_stride_and_voxels_thin_the_cloud(graph, node, subscribed):
    cloud = ('points', PointCloud2)
    graph.set_parameter(node, 'point_cloud.stride', 4)
    [strided] = subscribed.see(node, cloud)
    graph.set_parameter(node, 'point_cloud.stride', 1)
    graph.set_parameter(node, 'point_cloud.voxel_size', 1.0)
    [voxels] = subscribed.see(node, cloud)
    graph.set_parameter(node, 'point_cloud.voxel_size', 0.0)
    assert (strided.height, strided.width) == (12, 16)
    np.testing.assert_allclose(points(strided)[1, 2, :2], [(8 - 31.5) / 25, (4 - 23.5) / 25],
                               atol=1e-5)
    # x from -1.26 to 1.26 m touches 4 cubes of a metre, y from -0.94 to 0.94 m two
    assert (voxels.height, voxels.width) == (1, 8)


def test_colored_depth_has_the_colours_of_its_limits(graph, node, subscribed):
    colored = ('depth/image_colored', Image)
    graph.set_parameter(node, 'color.near', 2.0)
    [msg] = subscribed.see(node, colored)
    graph.set_parameter(node, 'color.near', 0.3)
    assert msg.encoding == 'bgr8'
    warmest = colorize(np.full((1, 1), 2.0, np.float32), 2.0, 10.0)[0, 0]
    assert (pixels(msg) == warmest).all()


def test_confidence_is_what_the_model_says(node, subscribed):
    [msg] = subscribed.see(node, ('confidence', Image))
    assert msg.encoding == '32FC1'
    np.testing.assert_allclose(pixels(msg), 0.75)


def test_the_right_view_is_the_picture_moved_by_the_disparity(node, subscribed):
    images = [(name, Image) for name in (
        'left/image_rect', 'right/image_rect', 'stereo/side_by_side', 'stereo/anaglyph',
        'stereo/rgbd', 'stereo/image')]
    left, right, pair, anaglyph, rgbd, half = map(pixels, subscribed.see(node, *images))
    np.testing.assert_array_equal(left, PICTURE)
    np.testing.assert_array_equal(right[:, :-2], PICTURE[:, 2:])
    np.testing.assert_array_equal(pair, np.hstack((left, right)))
    assert anaglyph.shape == PICTURE.shape and (anaglyph != PICTURE).any()
    np.testing.assert_array_equal(rgbd[:, :WIDTH], PICTURE)
    grey = 255 * (1 / 2.0 - 1 / 10.0) / (1 / 0.3 - 1 / 10.0)
    np.testing.assert_allclose(rgbd[:, WIDTH:], grey, atol=1)
    assert half.shape == PICTURE.shape


def test_stereo_camera_infos_and_disparity_agree(node, subscribed):
    left, right, disparity = subscribed.see(
        node, ('left/camera_info', CameraInfo), ('right/camera_info', CameraInfo),
        ('disparity', DisparityImage))
    assert left.p[3] == 0.0
    assert right.p[3] == pytest.approx(-FOCAL_PX * BASELINE_M)
    assert (disparity.f, disparity.t) == (pytest.approx(FOCAL_PX), pytest.approx(BASELINE_M))
    np.testing.assert_allclose(pixels(disparity.image), FOCAL_PX * BASELINE_M / DEPTH_M, rtol=1e-5)
    assert disparity.header.frame_id == disparity.image.header.frame_id == left.header.frame_id
    assert disparity.min_disparity <= 2.0 <= disparity.max_disparity


def test_convergence_moves_the_right_cameras_principal_point_not_the_disparity(
        graph, node, subscribed):
    graph.set_parameter(node, 'stereo.convergence', 2.0)
    graph.set_parameter(node, 'stereo.format', 'top_bottom')
    try:
        right, info, disparity, tall = subscribed.see(
            node, ('right/image_rect', Image), ('right/camera_info', CameraInfo),
            ('disparity', DisparityImage), ('stereo/image', Image))
    finally:
        graph.set_parameter(node, 'stereo.convergence', float('inf'))
        graph.set_parameter(node, 'stereo.format', 'half_side_by_side')
    np.testing.assert_array_equal(pixels(right), PICTURE)   # all of it lies on the screen
    assert info.p[2] == pytest.approx(31.5 + 2.0)
    np.testing.assert_allclose(pixels(disparity.image), 2.0, rtol=1e-5)
    np.testing.assert_array_equal(pixels(tall), np.vstack((PICTURE, PICTURE)))


def test_depth_beyond_max_depth_is_nan_and_limits_must_be_in_order(graph, node, subscribed):
    refused = graph.set_parameter(node, 'min_depth', 200.0)
    assert not refused.successful
    assert 'min_depth must be below max_depth' in refused.reason
    assert graph.set_parameter(node, 'max_depth', 1.0).successful
    [msg] = subscribed.see(node, ('depth/image_rect', Image))
    graph.set_parameter(node, 'max_depth', 100.0)
    assert np.isnan(pixels(msg)).all()


def test_a_distorted_camera_gives_rectified_images_unless_rectify_is_never(
        graph, node, subscribed):
    distorted = {'d': [-0.3, 0.1, 0.0, 0.0, 0.0],
                 'p': [40.0, 0.0, 31.5, 0.0, 0.0, 40.0, 23.5, 0.0, 0.0, 0.0, 1.0, 0.0]}
    topics = ('left/image_rect', Image), ('depth/camera_info', CameraInfo)
    image, info = subscribed.see(node, *topics, **distorted)
    graph.set_parameter(node, 'rectify', 'never')
    same, taken = subscribed.see(node, *topics, **distorted)
    graph.set_parameter(node, 'rectify', 'auto')
    k = np.array([[50, 0, 31.5], [0, 50, 23.5], [0, 0, 1]])
    new = np.array([[40, 0, 31.5], [0, 40, 23.5], [0, 0, 1]])
    expected = cv2.undistort(PICTURE, k, np.array(distorted['d']), newCameraMatrix=new)
    difference = pixels(image).astype(int) - expected
    assert np.abs(difference).mean() < 1.0
    assert list(info.d) == [0.0] * 5
    assert info.k[0] == taken.k[0] == 40.0
    np.testing.assert_array_equal(pixels(same), PICTURE)


def test_what_a_distorted_camera_did_not_see_has_no_depth(node, subscribed):
    lens, wide = [-0.3, 0.1, 0.0, 0.0, 0.0], np.array([[30, 0, 31.5], [0, 30, 23.5], [0, 0, 1]])
    p = np.column_stack((wide, np.zeros(3))).astype(float).ravel().tolist()
    [msg] = subscribed.see(node, ('depth/image_rect', Image), d=lens, p=p)
    k = np.array([[50, 0, 31.5], [0, 50, 23.5], [0, 0, 1]])
    white = np.full((HEIGHT, WIDTH), 255, np.uint8)
    seen = cv2.undistort(white, k, np.array(lens), newCameraMatrix=wide)
    depth = pixels(msg)
    assert np.isnan(depth[seen == 0]).all() and (seen == 0).mean() > 0.2
    np.testing.assert_allclose(depth[seen == 255], DEPTH_M, rtol=1e-6)


def test_of_an_image_that_is_rectified_already_p_holds(graph, node, subscribed):
    p = [40.0, 0.0, 31.5, 0.0, 0.0, 40.0, 23.5, 0.0, 0.0, 0.0, 1.0, 0.0]
    [raw] = subscribed.see(node, ('depth/camera_info', CameraInfo), p=p)
    graph.set_parameter(node, 'rectify', 'never')
    [rectified] = subscribed.see(node, ('depth/camera_info', CameraInfo), p=p)
    graph.set_parameter(node, 'rectify', 'auto')
    assert (raw.k[0], rectified.k[0]) == (50.0, 40.0)


def test_a_new_resolution_in_mid_stream_is_followed(node, subscribed):
    topic = ('depth/image_rect', Image)
    [small] = subscribed.see(node, topic)
    [large] = subscribed.see(node, topic, frame=np.zeros((96, 128, 3), np.uint8))
    assert (small.height, large.height, large.width) == (48, 96, 128)
    np.testing.assert_allclose(pixels(large), DEPTH_M, rtol=1e-6)


def test_enable_switches_the_node_off_and_on(graph, camera, node, subscribed):
    [inbox] = subscribed.topics(node, ('depth/image_rect', Image))
    camera.send_until([inbox], PICTURE)
    graph.call(SetBool, f'{node.full_name}/enable', SetBool.Request(data=False))
    time.sleep(0.1)
    inbox.clear()
    camera.send(PICTURE)
    level, text, _ = graph.wait_for_diagnostics(
        node, lambda level, text, values: 'disabled' in text)
    assert level == 1 and '~/enable' in text
    assert not inbox.messages
    graph.call(SetBool, f'{node.full_name}/enable', SetBool.Request(data=True))
    camera.send_until([inbox], PICTURE)


def test_what_is_read_when_configured_is_refused_while_active(graph, node):
    for name, value in (('backend', 'cpu'), ('precision', 'fp16'), ('threads', 1),
                        ('process', 'every'), ('queue_size', 5),
                        ('image_transport', 'compressed')):
        answer = graph.set_parameter(node, name, value)
        assert not answer.successful
        assert 'deactivate' in answer.reason and name in answer.reason


def test_the_life_cycle_can_be_walked_and_process_changed_on_the_way(
        graph, camera, node, subscribed):
    assert graph.change_state(node, 'deactivate')
    level, text, _ = graph.wait_for_diagnostics(
        node, lambda level, text, values: values.get('state') == 'inactive')
    assert level == 1 and f'ros2 lifecycle set {node.full_name} activate' in text
    assert graph.change_state(node, 'cleanup')
    for process in ('every', 'newest'):
        assert graph.set_parameter(node, 'process', process).successful
        assert graph.change_state(node, 'configure') and graph.change_state(node, 'activate')
        [msg] = subscribed.see(node, ('depth/image_rect', Image))
        assert pixels(msg)[0, 0] == DEPTH_M
        offered = graph.probe.get_subscriptions_info_by_topic('/image')
        reliable = [info.qos_profile.reliability.name for info in offered]
        assert reliable == ['RELIABLE' if process == 'every' else 'BEST_EFFORT']
        if process == 'every':
            assert graph.change_state(node, 'deactivate') and graph.change_state(node, 'cleanup')


def test_diagnostics_tell_state_rates_ages_and_latencies(graph, camera, node, subscribed):
    [inbox] = subscribed.topics(node, ('depth/image_rect', Image), )
    for _ in range(30):
        camera.send(PICTURE)
        time.sleep(0.03)
    level, text, values = graph.wait_for_diagnostics(
        node, lambda level, text, values: level == 0 and 'Hz in' in text)
    assert values['state'] == 'active'
    assert values['backend'].startswith('onnxruntime')
    assert f'{node.full_name}/depth/image_rect' in values['outputs'].split()
    assert float(values['input rate [Hz]']) > 1 and float(values['output rate [Hz]']) > 1
    assert 0 < float(values['image age p50 [ms]']) <= float(values['output age p50 [ms]']) < 1000
    for stage in ('preprocess', 'inference', 'postprocess', 'depth', 'publish', 'total'):
        assert 0 < float(values[f'{stage} p50 [ms]']) <= float(values[f'{stage} p99 [ms]'])
    assert int(values['received']) >= int(values['processed']) > 0


def test_nothing_is_computed_that_nobody_asked_for(graph, make_model, camera, subscribed):
    lazy = graph.spawn('depth_node', {'model': str(make_model())}, name='lazy')
    for _ in range(3):
        camera.send(PICTURE)
    _, text, values = graph.wait_for_diagnostics(
        lazy, lambda level, text, values: int(values.get('skipped.no subscriber', 0)) >= 1)
    assert 'idle: no output has a subscriber' in text
    assert 'inference p50 [ms]' not in values and values['processed'] == '0'
    subscribed.see(lazy, ('depth/image_rect', Image))
    _, _, values = graph.wait_for_diagnostics(
        lazy, lambda level, text, values: int(values['processed']) > 0)
    assert 'inference p50 [ms]' in values
    assert 'cloud p50 [ms]' not in values and 'stereo p50 [ms]' not in values
    assert lazy.stop() == 0


def test_a_relative_model_says_why_depth_stays_silent(graph, make_model, camera, subscribed):
    model = make_model('relative', depth=0.25, confidence=0.75)
    relative = graph.spawn('depth_node', {'model': str(model)}, name='relative')
    silent = subscribed.topics(relative, ('depth/image_rect', Image), ('points', PointCloud2))
    # no camera_info: inverse depth without a unit needs none
    msg, trust = subscribed.see(
        relative, ('relative_depth/image', Image), ('confidence', Image), focal_px=None)
    np.testing.assert_allclose(pixels(trust), 0.75)
    np.testing.assert_allclose(pixels(msg), 0.25, rtol=1e-6)
    # among the values: the text tells of the camera_info that does not come, if that is worse
    _, _, values = graph.wait_for_diagnostics(relative, lambda level, text, values: 'points' in
                                              values.get('RELATIVE_WITHOUT_METRES', ''))
    assert 'a metric model' in values['RELATIVE_WITHOUT_METRES']
    assert not silent[0].messages and not silent[1].messages
    assert relative.stop() == 0


def test_compressed_pictures_are_taken_from_where_image_transport_puts_them(
        graph, make_model, camera, subscribed):
    node = graph.spawn('depth_node', {'model': str(make_model()), 'image_transport': 'compressed'},
                       name='compressed', remap={'image': '/cam/image_raw'})
    [inbox] = subscribed.topics(node, ('left/image_rect', Image))
    flat = np.full((HEIGHT, WIDTH, 3), (200, 50, 10), np.uint8)
    _, png = cv2.imencode('.png', flat[..., ::-1])
    msg = CompressedImage(format='rgb8; png compressed bgr8', data=array.array('B', png.tobytes()))
    end = time.monotonic() + 10
    while not inbox.messages and time.monotonic() < end:
        stamp = time.time()
        msg.header = graph.header(stamp)
        graph.publish('camera_info', graph.camera_info(WIDTH, HEIGHT, FOCAL_PX, stamp))
        graph.publish('/cam/image_raw/compressed', msg)
        time.sleep(0.05)
    np.testing.assert_array_equal(pixels(inbox.wait(1)[0]), flat)
    assert node.stop() == 0


def test_without_camera_info_a_fallback_field_of_view_gives_a_guess_and_a_warning(
        graph, make_model, camera, subscribed):
    params = {'model': str(make_model('metric', canonical_focal_px=100.0)),
              'fallback_hfov_deg': 90.0}
    node = graph.spawn('depth_node', params, name='guess')
    depth, info = subscribed.see(node, ('depth/image_rect', Image),
                                 ('depth/camera_info', CameraInfo), focal_px=None)
    assert info.k[0] == pytest.approx(WIDTH / 2)            # tan(45 deg) = 1
    np.testing.assert_allclose(pixels(depth), 2.0 * 32 / 100, rtol=1e-5)
    level, text, _ = graph.wait_for_diagnostics(
        node, lambda level, text, values: 'guess' in text)
    assert level == 1 and 'fallback_hfov_deg = 90' in text
    assert node.stop() == 0


def send_fast(camera, count, period_s, frame=PICTURE):
    start, stamps = time.monotonic(), []
    for number in range(count):
        stamps.append(camera.send(frame))
        time.sleep(max(0.0, start + (number + 1) * period_s - time.monotonic()))
    return stamps


def test_newest_leaves_out_what_it_has_no_time_for_and_counts_it(
        graph, make_model, camera, subscribed):
    slow = graph.spawn('depth_node', {'model': str(make_model(work=400)), 'threads': 1},
                       name='slow')
    [inbox] = subscribed.topics(slow, ('depth/image_rect', Image))
    camera.send_until([inbox], PICTURE)
    stamps = send_fast(camera, 60, 1 / 60)
    graph.wait_for(lambda: seconds(inbox.messages[-1].header) == pytest.approx(stamps[-1]),
                   what='the newest frame to come out last')
    _, _, values = graph.wait_for_diagnostics(
        slow, lambda level, text, values: int(values.get('overwritten', 0)) > 0
        and int(values['received']) == int(values['processed']) + int(values['overwritten'])
        + int(values.get('skipped.no subscriber', 0)))
    assert int(values['processed']) < int(values['received'])
    assert slow.stop() == 0


def every(graph, make_model, camera, subscribed, count):
    node = graph.spawn('depth_node', {'model': str(make_model(work=60)), 'process': 'every'},
                       name='every')
    [inbox] = subscribed.topics(node, ('depth/image_rect', Image))
    camera.send_until([inbox], PICTURE)
    time.sleep(1.0)
    inbox.clear()
    stamps = send_fast(camera, count, 0.005)        # faster than the model
    got = [seconds(msg.header) for msg in inbox.wait(count, timeout=60)]
    np.testing.assert_allclose(got, stamps, atol=1e-5)
    _, _, values = graph.wait_for_diagnostics(
        node, lambda level, text, values: int(values['processed']) >= count)
    assert 'overflow' not in values and values['overwritten'] == '0'
    assert node.stop() == 0


def test_every_loses_no_frame_of_60(graph, make_model, camera, subscribed):
    every(graph, make_model, camera, subscribed, 60)


@pytest.mark.slow
def test_every_loses_no_frame_of_500(graph, make_model, camera, subscribed):
    every(graph, make_model, camera, subscribed, 500)


def test_an_overflow_and_a_stamp_gap_are_counted_and_shown(graph, make_model, camera, subscribed):
    params = {'model': str(make_model(work=400)), 'process': 'every', 'queue_size': 2,
              'threads': 1}
    node = graph.spawn('depth_node', params, name='tight')
    [inbox] = subscribed.topics(node, ('depth/image_rect', Image))
    camera.send_until([inbox], PICTURE)
    stamp = time.time() + 1
    for number in [*range(10), *range(15, 20)]:     # five are missing
        camera.send(PICTURE, stamp=stamp + 0.1 * number)
        time.sleep(0.03)    # slower than the sender's history is lost, faster than the model
    level, text, values = graph.wait_for_diagnostics(
        node, lambda level, text, values: 'overflow' in values and 'raise queue_size' in text
        and int(values.get('missing by stamp', 0)) >= 5)
    assert level == 1
    assert node.stop() == 0
