"""Our nodes beside processes that speak as camera drivers do; remapped as the launch files do."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
import contextlib
import os
from pathlib import Path
import signal
import subprocess
import sys

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from depth_perception.tools import topic_styles

STAND_IN = Path(__file__).with_name('stand_in_driver.py')
FRAMES = {'usb_cam': 'default_cam', 'realsense': 'camera_color_optical_frame',
          'zed': 'zed_left_camera_frame_optical', 'oak': 'oak_rgb_camera_optical_frame'}
# What users of the drivers subscribe to.
SENSORS = {
    'realsense': ('/camera/camera/aligned_depth_to_color', 'image_raw', '16UC1',
                  '/camera/camera/depth/color/points'),
    'zed': ('/zed/zed_node/depth', 'depth_registered', '32FC1',
            '/zed/zed_node/point_cloud/cloud_registered'),
    'oak': ('/oak/stereo', 'image_raw', '16UC1', '/oak/points'),
    'usb_cam': ('/at_usb_cam/depth', 'image_rect', '32FC1', '/at_usb_cam/points'),
}
MODEL_M, SENSOR_M = 2.0, 1.5


@contextlib.contextmanager
def drivers(*names: str, arguments: tuple[str, ...] = ()) -> Iterator[None]:
    """Run stand-ins; at the end interrupt them as Ctrl-C does."""
    with subprocess.Popen([sys.executable, STAND_IN, *names, *arguments], env=os.environ) as run:
        try:
            yield
        finally:
            run.send_signal(signal.SIGINT)
            run.wait(10)


def wiring(name: str) -> topic_styles.Wiring:
    """Remappings and parameters as the launch file of this driver passes them on."""
    if name == 'usb_cam':
        native = topic_styles.style('native')
        return topic_styles.Wiring(topic_styles.inputs(native, image_topic='image_raw'), {})
    style = topic_styles.style(name)
    outputs = topic_styles.outputs(style)
    return topic_styles.Wiring([*topic_styles.inputs(style), *outputs.remappings],
                               outputs.parameters)


def start(graph, module: str, wirings: dict[str, topic_styles.Wiring], **parameters) -> list:
    """Start one node for each driver, all at once."""
    def one(name: str):
        wired = wirings[name]
        return graph.spawn(module, {**wired.parameters, **parameters}, dict(wired.remappings),
                           name=f'at_{name}')

    with ThreadPoolExecutor(len(wirings)) as pool:
        return list(pool.map(one, wirings))


def stamp(message) -> tuple[int, int]:
    return message.header.stamp.sec, message.header.stamp.nanosec


def z(cloud: PointCloud2) -> np.ndarray:
    return np.frombuffer(cloud.data, np.float32).reshape(-1, cloud.point_step // 4)[:, 2]


def test_a_node_takes_each_drivers_images_and_speaks_like_its_sensor(graph, make_model):
    names = list(SENSORS)
    with drivers(*names):
        nodes = start(graph, 'depth_node', {name: wiring(name) for name in names},
                      model=str(make_model(depth=MODEL_M)))
        for name in names:
            folder, topic, encoding, points = SENSORS[name]
            inboxes = [graph.listen(f'{folder}/{topic}', Image),
                       graph.listen(f'{folder}/camera_info', CameraInfo),
                       graph.listen(points, PointCloud2)]
            depths, infos, clouds = (inbox.wait(3) for inbox in inboxes)
            assert {m.encoding for m in depths} == {encoding}
            assert {m.header.frame_id for m in [*depths, *infos, *clouds]} == {FRAMES[name]}
            assert {stamp(m) for m in depths} & {stamp(m) for m in clouds}
            pixels = np.frombuffer(depths[-1].data, '<u2' if encoding == '16UC1' else '<f4')
            middle = pixels[len(pixels) // 2 + 32]
            assert middle == (1000 * MODEL_M if encoding == '16UC1' else MODEL_M)
            assert np.nanmedian(z(clouds[-1])) == MODEL_M
            assert not any(infos[-1].d)
            for inbox in inboxes:
                inbox.close()
        assert [node.stop() for node in nodes] == [0] * len(names)


def test_a_cloud_is_made_of_each_sensors_own_depth(graph):
    names = ['realsense', 'zed', 'oak']
    wirings = {name: topic_styles.paired(topic_styles.style(name)) for name in names}
    with drivers(*names, arguments=('--depth',)):
        nodes = start(graph, 'point_cloud_node', wirings)
        for name, node in zip(names, nodes):
            cloud = graph.listen(f'/at_{name}/points', PointCloud2).wait(2)[-1]
            assert (cloud.width, cloud.height, cloud.header.frame_id) == (64, 48, FRAMES[name])
            depth = z(cloud)
            assert np.isnan(depth[0])                       # where the sensor saw nothing
            np.testing.assert_allclose(depth[1:], SENSOR_M)  # the oak's too: not rectified twice
            graph.wait_for_diagnostics(node, lambda level, message, _: message and level == 0)
        assert [node.stop() for node in nodes] == [0] * len(names)


@pytest.mark.parametrize('name', topic_styles.STYLES)
def test_every_style_is_tried_here_or_is_our_own(name):
    assert name in SENSORS or name == 'native'
