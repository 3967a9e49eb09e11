"""The node with several cameras on a live graph: one model, each camera by itself."""

from __future__ import annotations

import signal
import time

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from depth_perception.nodes._parameters import ParameterError
from depth_perception.nodes.multi_depth_node import MultiDepthConfig

SILENT = {'NO_PUBLISHER', 'SILENT_PUBLISHER', 'TRANSPORT_TOO_SMALL'}
DARK = np.zeros((48, 64, 3), np.uint8)
WHITE = np.full((96, 160, 3), 255, np.uint8)


@pytest.mark.parametrize(('names', 'text'), [
    (('front', 'front'), 'give each camera a name of its own'), (('2nd',), "the name '2nd'"),
    (('left/eye',), 'letters, digits and _'), (('',), 'begin with a letter')])
def test_cameras_need_names_that_ros_takes(names, text):
    with pytest.raises(ParameterError, match=text):
        MultiDepthConfig(cameras=names)


def test_cameras_do_not_share_the_file_of_a_scale():
    with pytest.raises(ParameterError, match='each then has a file of its own'):
        MultiDepthConfig(scale_file='/tmp/scale.yaml')
    assert MultiDepthConfig(scale_file='/tmp/scale.yaml', cameras=('front',)).cameras


@pytest.fixture(scope='module')
def node(graph, make_model):
    model = make_model(depth=1.0, brightness=2.0, size_multiple=16)
    return graph.spawn('multi_depth_node', {
        'model': str(model), 'cameras': ['front', 'rear'], 'max_batch_size': 2, 'threads': 1})


def metres(msg):
    return np.frombuffer(bytes(msg.data), '<f4').reshape(msg.height, msg.width)


def send(graph, camera, pixels, stamp, frame_id):
    height, width = pixels.shape[:2]
    graph.publish(f'{camera}/camera_info', graph.camera_info(
        width, height, 50.0, stamp, frame_id))
    graph.publish(f'{camera}/image', graph.image(pixels, 'rgb8', stamp, frame_id))


def test_cameras_of_two_sizes_get_their_own_depth_info_and_cloud(graph, node):
    inboxes = {camera: [graph.listen(f'multi_depth_node/{camera}/{topic}', kind) for topic, kind in
                        (('depth/image_rect', Image), ('depth/camera_info', CameraInfo),
                         ('points', PointCloud2))] for camera in ('front', 'rear')}
    stamps = {'front': [], 'rear': []}
    end = time.monotonic() + 10
    while not all(box.messages for boxes in inboxes.values() for box in boxes):
        assert time.monotonic() < end
        now = time.time()
        for camera, pixels, stamp in (('front', DARK, now), ('rear', WHITE, now + 0.25)):
            stamps[camera].append(round(stamp * 1e9))
            send(graph, camera, pixels, stamp, f'{camera}_optical')
        time.sleep(0.05)
    for camera, size, value in (('front', (48, 64), 1.0), ('rear', (96, 160), 3.0)):
        depth, info, cloud = (box.messages[-1] for box in inboxes[camera])
        assert metres(depth).shape == size and (metres(depth) == value).all()
        assert (info.height, info.width) == (cloud.height, cloud.width) == size
        for message in (depth, info, cloud):
            assert message.header.frame_id == f'{camera}_optical'
            assert message.header.stamp.sec * 10**9 + message.header.stamp.nanosec \
                in stamps[camera]
    for boxes in inboxes.values():
        for box in boxes:
            box.close()


def statuses(graph):
    return {name: {pair.key: pair.value for pair in status.values}
            for name, status in list(graph._statuses.items())}


def test_a_killed_camera_leaves_the_other_at_its_rate_with_the_stamps_of_its_images(graph, node):
    scene = {'width': 96, 'height': 72, 'rate_hz': 20.0}
    cameras = {name: graph.spawn('camera_node', {**scene, 'seed': seed}, name=f'{name}_camera',
                                 remap={'image': f'{name}/image',
                                        'camera_info': f'{name}/camera_info'})
               for seed, name in enumerate(('front', 'rear'))}
    sent = graph.listen('front/image', Image, reliable=False)
    front = graph.listen('multi_depth_node/front/depth/image_rect', Image)
    rear = graph.listen('multi_depth_node/rear/depth/image_rect', Image)
    front.wait(20)
    rear.wait(20)
    assert cameras['rear'].stop(signal.SIGKILL) == -signal.SIGKILL
    time.sleep(0.3)         # what was in flight
    rear.clear()
    front.clear()
    messages = front.wait(50)
    assert not rear.messages
    stamps = {(msg.header.stamp.sec, msg.header.stamp.nanosec) for msg in list(sent.messages)}
    got = [(msg.header.stamp.sec, msg.header.stamp.nanosec) for msg in messages]
    assert set(got) <= stamps and got == sorted(got)
    # of the rate that the camera has on this machine
    assert len(got) > 0.75 * sum(got[0] <= each <= got[-1] for each in stamps)

    def told():
        rows = statuses(graph)
        dead, alive = (rows.get(f'multi_depth_node/{name}', {}) for name in ('rear', 'front'))
        # DDS takes a while to notice the death; the first test's publisher is still there as well
        said = [dead[code] for code in SILENT & set(dead.get('codes', '').split())]
        return (said, alive) if said and alive else None

    said, alive = graph.wait_for(told, 10.0, 'the dead camera to be named')
    assert "'/rear/image'" in said[0]
    assert alive['codes'] == 'OK'
    assert alive['batch'].startswith('up to 2 images in one call')
    assert cameras['front'].stop() == 0


def test_a_model_that_cannot_be_loaded_is_one_readable_error(graph):
    node = graph.spawn('multi_depth_node', {'model': 'no_such_model', 'cameras': ['left']},
                       name='broken', state='failed')
    assert node.log.count('cannot configure') == 1 and 'no_such_model' in node.log
    level, text, _ = graph.wait_for_diagnostics(node, lambda level, text, values: text)
    assert level == 2 and 'no model is called' in text
    assert node.stop() == 0
