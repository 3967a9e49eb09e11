"""The drivers' topic names, against those that their published sources say."""

from __future__ import annotations

import pytest

from depth_perception.tools import topic_styles
from depth_perception.tools.topic_styles import STYLES

DEPTH_OUTPUTS = {'~/depth/image_rect', '~/depth/camera_info', '~/points'}


def test_native_names_are_those_of_the_nodes():
    native = topic_styles.style('native')
    assert topic_styles.inputs(native) == [('image', 'image'), ('camera_info', 'camera_info')]
    assert topic_styles.outputs(native) == ([], {})


@pytest.mark.parametrize('name, image, info, depth, cloud', [
    ('realsense', 'camera/camera/color/image_raw', 'camera/camera/color/camera_info',
     'camera/camera/aligned_depth_to_color/image_raw', 'camera/camera/depth/color/points'),
    ('zed', 'zed/zed_node/rgb/color/rect/image', 'zed/zed_node/rgb/color/rect/camera_info',
     'zed/zed_node/depth/depth_registered', 'zed/zed_node/point_cloud/cloud_registered'),
    ('oak', 'oak/rgb/image_raw', 'oak/rgb/camera_info', 'oak/stereo/image_raw', 'oak/points'),
])
def test_a_node_that_stands_in_for_a_sensor_has_its_names(name, image, info, depth, cloud):
    style = topic_styles.style(name)
    assert dict(topic_styles.inputs(style)) == {'image': image, 'camera_info': info}
    remappings = dict(topic_styles.outputs(style).remappings)
    assert set(remappings) == DEPTH_OUTPUTS
    assert (remappings['~/depth/image_rect'], remappings['~/points']) == (depth, cloud)
    assert remappings['~/depth/camera_info'] == topic_styles.beside(depth, 'camera_info')


@pytest.mark.parametrize('name, millimetres', [('realsense', True), ('zed', False), ('oak', True)])
def test_depth_has_the_encoding_that_the_sensors_users_expect(name, millimetres):
    parameters = topic_styles.outputs(topic_styles.style(name)).parameters
    assert parameters == {'openni_depth_mode': millimetres}


@pytest.mark.parametrize('name', [name for name in STYLES if name != 'native'])
def test_a_node_that_takes_the_sensors_depth_publishes_under_names_of_its_own(name):
    wiring = topic_styles.paired(topic_styles.style(name))
    assert [ours for ours, _ in wiring.remappings] == ['image', 'camera_info', 'depth']
    # that depth is what our own would be called: a node must not hear itself
    outputs = dict(topic_styles.outputs(topic_styles.style(name)).remappings)
    assert dict(wiring.remappings)['depth'] == outputs['~/depth/image_rect']


def test_the_depth_of_an_oak_belongs_to_its_rectified_image():
    wiring = topic_styles.paired(topic_styles.style('oak'))
    assert dict(wiring.remappings)['image'] == 'oak/rgb/image_rect'
    assert wiring.parameters == {'rectify': 'never'}
    # of an image that the user chose nothing is known
    chosen = topic_styles.paired(topic_styles.style('oak'), image_topic='/oak/rgb/image_raw')
    assert chosen.parameters == {}
    assert dict(chosen.remappings)['camera_info'] == '/oak/rgb/camera_info'


@pytest.mark.parametrize('camera', ['front/camera', 'front/camera/', '/front/camera'])
def test_a_driver_may_have_another_name(camera):
    style = topic_styles.style('realsense')
    prefix = camera.rstrip('/')
    assert topic_styles.inputs(style, camera=camera) == [
        ('image', f'{prefix}/color/image_raw'), ('camera_info', f'{prefix}/color/camera_info')]
    assert ('~/points', f'{prefix}/depth/color/points') in topic_styles.outputs(
        style, camera).remappings


def test_what_the_user_gives_wins_and_the_info_lies_beside_the_image():
    style = topic_styles.style('zed')
    assert topic_styles.inputs(style, image_topic='/a/image_raw') == [
        ('image', '/a/image_raw'), ('camera_info', '/a/camera_info')]
    assert dict(topic_styles.inputs(style, camera_info_topic='/b/info')) == {
        'image': 'zed/zed_node/rgb/color/rect/image', 'camera_info': '/b/info'}
    assert topic_styles.beside('image', 'camera_info') == 'camera_info'


def test_an_unknown_style_is_refused_with_those_that_exist():
    with pytest.raises(ValueError, match="'kinect'; there are native, realsense, zed, oak"):
        topic_styles.style('kinect')


@pytest.mark.parametrize('name', [name for name in STYLES if name != 'native'])
def test_each_style_says_which_version_of_the_driver_was_read(name):
    assert STYLES[name].driver.split()[-1].count('.') == 2
