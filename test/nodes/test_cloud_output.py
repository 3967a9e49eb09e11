"""What CloudOutput publishes of a frame, made in this process: no frames travel."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from sensor_msgs.msg import Image, PointCloud2

from depth_perception.cloud_voxels import voxel_downsample
from depth_perception.geometry import Intrinsics
from depth_perception.nodes._outputs import CloudOutput, DepthFrame, DepthOutput, Outputs
from depth_perception.nodes._parameter_groups import CloudParameters
from depth_perception.nodes._parameters import ros_name
from depth_perception.nodes.point_cloud_node import PointCloudConfig
from depth_perception.point_cloud import PointCloudError, valid_points
from depth_perception.timing import StageClock

HEIGHT, WIDTH = 48, 64
CAMERA = Intrinsics(WIDTH, HEIGHT, 50.0, 50.0, 31.5, 23.5)
PICTURE = np.random.default_rng(2).integers(0, 200, (HEIGHT, WIDTH, 3), np.uint8)
PICTURE[:10] = 210      # a bright upper edge
# a slanted plane: each row at a depth of its own, the upper one far away; two holes, a speck
DEPTH = np.repeat(np.linspace(12.0, 1.0, HEIGHT, dtype=np.float32)[:, None], WIDTH, axis=1)
DEPTH[20, 3:5] = np.nan
DEPTH[30, 30:33] = 0.5
ALL = {'cloud_min_range': 0.3, 'cloud_max_range': 11.0, 'cloud_camera_height': 0.4,
       'cloud_min_height': 0.05, 'cloud_max_height': 3.0, 'cloud_flying_pixel_filter': True,
       'cloud_flying_pixel_step': 0.5, 'cloud_sky_filter': True, 'cloud_outlier_filter': True,
       'cloud_outlier_step': 0.3}


@pytest.fixture(scope='module')
def output(graph):
    output = CloudOutput(graph.probe)
    yield output
    for publisher in output.publishers:
        graph.probe.destroy_publisher(publisher)


def message(graph, output, **config):
    frame = DepthFrame(graph.header(), PICTURE, 'rgb', DEPTH, CAMERA)
    [(_, msg)] = output.messages(frame, CloudParameters(**config))
    return msg


def points(msg):
    return np.frombuffer(bytes(msg.data), '<f4').reshape(msg.height, msg.width, 4)


@pytest.mark.parametrize('stride', [1, 2])
def test_a_plain_list_holds_the_points_of_the_organised_cloud_that_have_a_position(
        graph, output, stride):
    organised = points(message(graph, output, cloud_stride=stride, **ALL))
    assert organised.shape == (HEIGHT // stride, WIDTH // stride, 4)
    msg = message(graph, output, cloud_stride=stride, cloud_organized=False, **ALL)
    expected = valid_points(organised)
    assert 0 < len(expected) < organised.size // 4
    assert points(msg).tobytes() == expected.tobytes()
    assert (msg.height, msg.width, msg.row_step) == (1, len(expected), 16 * len(expected))
    assert msg.is_dense
    again = message(graph, output, cloud_stride=stride, **ALL)
    assert not again.is_dense and (again.height, again.width) == organised.shape[:2]


@pytest.mark.parametrize('organised', [True, False])
def test_voxels_are_those_of_the_filtered_cloud_and_always_a_list(graph, output, organised):
    cloud = points(message(graph, output, **ALL))
    msg = message(graph, output, cloud_voxel_size=0.2, cloud_organized=organised, **ALL)
    assert msg.is_dense and msg.height == 1
    assert points(msg).tobytes() == voxel_downsample(cloud, 0.2).tobytes()


@pytest.mark.parametrize(('config', 'row', 'column', 'other'), [
    ({'cloud_min_range': 0.9}, 30, 31, 29),
    ({'cloud_max_range': 11.0}, 0, 31, 29),
    ({'cloud_min_height': -0.3}, 45, 31, 15),
    ({'cloud_max_height': 2.0}, 10, 31, 29),
    ({'cloud_camera_pitch_deg': 20.0, 'cloud_camera_height': 1.0, 'cloud_max_height': 0.5},
     30, 31, 29 + 12),
    ({'cloud_flying_pixel_filter': True, 'cloud_flying_pixel_step': 0.4}, 31, 31, 25),
    ({'cloud_sky_filter': True}, 2, 31, 29),
    ({'cloud_outlier_filter': True, 'cloud_outlier_min_points': 4, 'cloud_outlier_step': 0.3},
     30, 31, 29),
])
def test_each_filter_leaves_out_its_points_and_no_others(graph, output, config, row, column,
                                                         other):
    z = points(message(graph, output, **config))[..., 2]
    assert np.isnan(z[row, column]) and z[other, column] == DEPTH[other, column]
    stays = np.isfinite(z)
    assert np.array_equal(z[stays], DEPTH[stays])


def test_nothing_is_filtered_unless_asked_for(graph, output):
    np.testing.assert_array_equal(points(message(graph, output))[..., 2], DEPTH)


def test_a_cloud_that_cannot_be_made_does_not_hold_up_the_depth(graph):
    cloud, depth = CloudOutput(graph.probe), DepthOutput(graph.probe)
    outputs = Outputs(graph.probe, [cloud, depth])
    inboxes = [graph.listen(each.publishers[0].topic_name, kind)
               for each, kind in ((cloud, PointCloud2), (depth, Image))]
    graph.wait_for(lambda: len(outputs.subscribed()) == 2)
    frame = DepthFrame(graph.header(), PICTURE, 'rgb', DEPTH, CAMERA)
    with pytest.raises(PointCloudError, match='use larger voxels'):
        outputs.publish(frame, PointCloudConfig(cloud_voxel_size=1e-6), StageClock())
    [msg] = inboxes[1].wait()
    assert bytes(msg.data) == DEPTH.tobytes() and not inboxes[0].messages
    for inbox in inboxes:
        inbox.close()
    outputs.close()


def test_a_cloud_of_which_nothing_is_left_is_empty_and_can_be_published(graph, output):
    for config in ({'cloud_organized': False}, {'cloud_voxel_size': 0.1}):
        msg = message(graph, output, cloud_min_range=100.0, **config)
        assert (msg.height, msg.width, len(msg.data)) == (1, 0, 0)
        output.publishers[0].publish(msg)


@pytest.mark.parametrize(('config', 'text'), [
    ({'cloud_min_range': 5.0, 'cloud_max_range': 5.0}, 'point_cloud.min_range is 5'),
    ({'cloud_min_height': 1.0, 'cloud_max_height': 0.5}, 'must be below point_cloud.max_height'),
])
def test_limits_that_leave_no_room_are_refused(config, text):
    with pytest.raises(ValueError, match=text):
        CloudParameters(**config).check_cloud()


def test_every_setting_of_the_cloud_is_under_one_name():
    assert all(ros_name(item).startswith('point_cloud.') for item in fields(CloudParameters))
