"""The point cloud node on a live graph: clouds of any depth source, paired by stamp."""

from __future__ import annotations

import time

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

HEIGHT, WIDTH = 48, 64
PICTURE = np.random.default_rng(2).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
# a slanted plane: each row at a depth of its own
DEPTH = np.repeat(np.linspace(1.0, 3.0, HEIGHT, dtype=np.float32)[:, None], WIDTH, axis=1)


@pytest.fixture(scope='module')
def node(graph):
    return graph.spawn('point_cloud_node')


@pytest.fixture(scope='module')
def cloud(graph, node):
    return graph.listen('point_cloud_node/points', PointCloud2)


def points(msg):
    return np.frombuffer(bytes(msg.data), '<f4').reshape(msg.height, msg.width, 4)


def test_a_cloud_of_a_depth_in_metres(camera, cloud):
    depth = DEPTH.copy()
    depth[3, 4] = np.nan
    [msg] = camera.send_until([cloud], PICTURE, depth=depth)
    got = points(msg)
    assert msg.header.frame_id == 'camera_optical_frame' and not msg.is_dense
    assert np.isnan(got[3, 4, :3]).all()
    for v, u in ((0, 0), (20, 10), (47, 63)):
        z = depth[v, u]
        expected = ((u - 31.5) / 50 * z, (v - 23.5) / 50 * z, z)
        np.testing.assert_allclose(got[v, u, :3], expected, rtol=1e-5)
        b, g, r, _ = got[v, u, 3:].tobytes()
        assert (r, g, b) == tuple(PICTURE[v, u])


def test_a_cloud_of_a_depth_in_millimetres_where_zero_is_nothing(camera, cloud):
    depth = np.full((HEIGHT, WIDTH), 1500, np.uint16)
    depth[0, 0] = 0
    [msg] = camera.send_until([cloud], PICTURE, depth=depth)
    got = points(msg)
    assert np.isnan(got[0, 0, 2])
    np.testing.assert_allclose(got[1:, :, 2], 1.5, rtol=1e-6)


def test_depth_that_comes_late_still_finds_its_picture(graph, camera, cloud):
    camera.send_until([cloud], PICTURE, depth=DEPTH)
    time.sleep(0.1)
    cloud.clear()
    stamps = [time.time() + 0.05 * number for number in range(5)]
    for stamp in stamps:
        graph.publish('camera_info', graph.camera_info(WIDTH, HEIGHT, 50.0, stamp))
        graph.publish('image', graph.image(PICTURE, 'rgb8', stamp))
    time.sleep(0.3)
    for stamp in stamps:
        graph.publish('depth', graph.image(DEPTH, '32FC1', stamp + 0.004))
        time.sleep(0.03)
    got = [msg.header.stamp.sec + msg.header.stamp.nanosec * 1e-9 for msg in cloud.wait(5)]
    np.testing.assert_allclose(got, stamps, atol=1e-5)      # the image's stamps, not the depth's


def test_filters_and_limits_apply_from_the_next_frame_on(graph, camera, node, cloud):
    step = DEPTH.copy()
    step[:, 32:] = 10.0
    for name, value in (('max_depth', 20.0), ('point_cloud.flying_pixel_filter.enable', True)):
        assert graph.set_parameter(node, name, value).successful
    [msg] = camera.send_until([cloud], PICTURE, depth=step)
    graph.set_parameter(node, 'max_depth', 5.0)
    [near] = camera.send_until([cloud], PICTURE, depth=step)
    for name, value in (('max_depth', 100.0), ('point_cloud.flying_pixel_filter.enable', False)):
        graph.set_parameter(node, name, value)
    z = points(msg)[..., 2]
    assert np.isnan(z[:, 32]).all() and (z[:, 33:] == 10.0).all()   # behind the edge, and beyond
    assert np.isnan(points(near)[:, 32:, 2]).all()


def test_a_navigation_cloud_is_set_up_and_taken_back_while_the_node_runs(graph, camera, node,
                                                                         cloud):
    chosen = {'point_cloud.organized': False, 'point_cloud.max_range': 2.5,
              'point_cloud.camera_height': 0.5, 'point_cloud.min_height': 0.1,
              'point_cloud.outlier_filter.enable': True}
    before = {name: graph.get_parameter(node, name) for name in chosen}
    for name, value in chosen.items():
        assert graph.set_parameter(node, name, value).successful
    [msg] = camera.send_until([cloud], PICTURE, depth=DEPTH)
    got = points(msg)[0, :, :3].astype(float)
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    away = DEPTH * np.sqrt(1 + ((u - 31.5) / 50) ** 2 + ((v - 23.5) / 50) ** 2)
    height = 0.5 - DEPTH * (v - 23.5) / 50
    assert msg.height == 1 and msg.is_dense
    assert len(got) == ((away <= 2.5) & (height >= 0.1)).sum()
    assert np.linalg.norm(got, axis=1).max() <= 2.5 and got[:, 1].max() <= 0.4
    refused = graph.set_parameter(node, 'point_cloud.min_range', 2.5)
    assert not refused.successful and 'must be below point_cloud.max_range' in refused.reason
    for name, value in before.items():
        assert graph.set_parameter(node, name, value).successful
    [msg] = camera.send_until([cloud], PICTURE, depth=DEPTH)
    assert (msg.height, msg.width) == (HEIGHT, WIDTH) and not msg.is_dense


def test_depth_is_shown_as_the_depth_node_shows_it(graph, camera, node):
    topics = [graph.listen(f'point_cloud_node/{name}', kind) for name, kind in (
        ('depth/image_rect', Image), ('depth/camera_info', CameraInfo),
        ('depth/image_colored', Image))]
    depth, info, colored = camera.send_until(topics, PICTURE, depth=DEPTH)
    np.testing.assert_array_equal(np.frombuffer(bytes(depth.data), '<f4'), DEPTH.ravel())
    assert info.k[0] == 50.0 and colored.encoding == 'bgr8'
    for topic in topics:
        topic.close()


def test_a_distorted_camera_has_image_and_depth_rectified_together(graph, camera, node, cloud):
    lens = {'d': [-0.3, 0.1, 0.0, 0.0, 0.0]}
    plane = np.full((HEIGHT, WIDTH), 2.0, np.float32)
    [msg] = camera.send_until([cloud], PICTURE, depth=plane, **lens)
    got = points(msg)
    np.testing.assert_allclose(got[HEIGHT // 2, WIDTH // 2, :3],
                               ((32 - 31.5) / 25, (24 - 23.5) / 25, 2.0), atol=1e-5)
    assert np.nanmin(got[..., 2]) == np.nanmax(got[..., 2]) == 2.0  # nearest, never a mean


def test_nothing_is_made_without_a_subscriber_and_the_status_says_so(graph, camera):
    idle = graph.spawn('point_cloud_node', name='idle')
    for _ in range(3):
        camera.send(PICTURE, depth=DEPTH)
        time.sleep(0.05)
    _, text, values = graph.wait_for_diagnostics(
        idle, lambda level, text, values: int(values.get('skipped.no subscriber', 0)) >= 1)
    assert 'idle' in text and values['processed'] == '0'
    assert int(values['received image']) >= 1 and int(values['received depth']) >= 1
    assert float(values['stamp gap [ms]']) == 0.0
    assert idle.stop() == 0


def test_a_missing_input_is_named(graph):
    blind = graph.spawn('point_cloud_node', name='blind', remap={'depth': '/nobody/depth'})
    level, text, _ = graph.wait_for_diagnostics(
        blind, lambda level, text, values: '/nobody/depth' in text)
    assert level == 2 and 'no publisher' in text and 'remap depth:=' in text
    assert blind.stop() == 0
