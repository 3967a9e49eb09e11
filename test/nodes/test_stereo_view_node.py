"""The stereo view node on a live graph: two eyes' views of any image with depth."""

from __future__ import annotations

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image
from stereo_msgs.msg import DisparityImage

HEIGHT, WIDTH, FOCAL_PX, BASELINE_M = 48, 64, 50.0, 0.08
PICTURE = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
DEPTH = np.full((HEIGHT, WIDTH), 2.0, np.float32)       # two pixels of disparity


@pytest.fixture(scope='module')
def node(graph):
    return graph.spawn('stereo_view_node', params={'stereo.baseline': BASELINE_M})


def pixels(msg):
    assert msg.encoding == 'rgb8' and msg.step == 3 * msg.width
    return np.frombuffer(bytes(msg.data), np.uint8).reshape(msg.height, msg.width, 3)


def test_every_stereo_topic_shows_the_picture_moved_by_its_disparity(graph, camera, node):
    names = ('left/image_rect', 'right/image_rect', 'stereo/side_by_side', 'stereo/anaglyph',
             'stereo/rgbd', 'stereo/image')
    topics = [graph.listen(f'stereo_view_node/{name}', Image) for name in names]
    left, right, pair, anaglyph, rgbd, half = map(
        pixels, camera.send_until(topics, PICTURE[..., ::-1], 'bgr8', depth=DEPTH))
    np.testing.assert_array_equal(left, PICTURE)
    np.testing.assert_array_equal(right[:, :-2], PICTURE[:, 2:])
    np.testing.assert_array_equal(pair, np.hstack((left, right)))
    assert anaglyph.shape == half.shape == PICTURE.shape
    assert rgbd.shape == (HEIGHT, 2 * WIDTH, 3)
    for topic in topics:
        topic.close()


def test_camera_infos_and_disparity_give_the_depth_back(graph, camera, node):
    topics = [graph.listen(f'stereo_view_node/{name}', kind) for name, kind in (
        ('left/camera_info', CameraInfo), ('right/camera_info', CameraInfo),
        ('disparity', DisparityImage))]
    left, right, disparity = camera.send_until(topics, PICTURE, depth=DEPTH)
    baseline = (left.p[3] - right.p[3]) / right.p[0]
    values = np.frombuffer(bytes(disparity.image.data), '<f4')
    np.testing.assert_allclose(left.p[0] * baseline / values, 2.0, rtol=1e-5)
    for topic in topics:
        topic.close()


def test_pixels_without_depth_have_no_disparity(graph, camera, node):
    topic = graph.listen('stereo_view_node/disparity', DisparityImage)
    holed = DEPTH.copy()
    holed[5] = np.nan
    [msg] = camera.send_until([topic], PICTURE, depth=holed)
    values = np.frombuffer(bytes(msg.image.data), '<f4').reshape(HEIGHT, WIDTH)
    assert np.isnan(values[5]).all() and np.isfinite(np.delete(values, 5, axis=0)).all()
    topic.close()


def test_near_must_be_nearer_than_far(graph, node):
    answer = graph.set_parameter(node, 'stereo.near', 20.0)
    assert not answer.successful and 'stereo.near must be below stereo.far' in answer.reason
