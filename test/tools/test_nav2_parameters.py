"""Our cloud in a robot's Nav2: what stays, what changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from depth_perception.tools.nav2_parameters import combined

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / 'config/examples').glob('nav2_*.yaml'))
# The part of nav2_bringup's own parameter file that matters here, with made-up values.
ROBOT = {
    'controller_server': {'ros__parameters': {'controller_frequency': 20.0}},
    'local_costmap': {'local_costmap': {'ros__parameters': {
        'width': 3, 'robot_radius': 0.22, 'plugins': ['obstacle_layer'],
        'voxel_layer': {'observation_sources': 'scan', 'scan': {'data_type': 'LaserScan',
                                                               'topic': '/scan'}}}}},
}


def layer(tree: dict) -> dict:
    return tree['local_costmap']['local_costmap']['ros__parameters']['voxel_layer']


@pytest.fixture(params=EXAMPLES, ids=[path.stem for path in EXAMPLES])
def example(request) -> dict:
    return yaml.safe_load(request.param.read_text())


def test_what_the_example_does_not_speak_of_stays(example):
    tree = combined(ROBOT, example, '/depth_node/points')
    assert tree['controller_server'] == ROBOT['controller_server']
    costmap = tree['local_costmap']['local_costmap']['ros__parameters']
    assert costmap['robot_radius'] == 0.22
    assert costmap['width'] == 6                            # of the example
    assert costmap['plugins'] == ['voxel_layer', 'inflation_layer']


def test_the_robots_own_sensors_stay_beside_the_cloud(example):
    voxels = layer(combined(ROBOT, example, '/depth_node/points'))
    assert voxels['observation_sources'] == 'scan depth_mark depth_clear'
    assert voxels['scan'] == {'data_type': 'LaserScan', 'topic': '/scan'}


def test_both_sources_take_the_cloud_by_the_name_that_it_has(example):
    voxels = layer(combined(ROBOT, example, '/robot1/camera/camera/depth/color/points'))
    assert {voxels[name]['topic'] for name in ('depth_mark', 'depth_clear')} == {
        '/robot1/camera/camera/depth/color/points'}
    assert voxels['scan']['topic'] == '/scan'


def test_parameters_of_our_node_are_not_for_nav2(example):
    assert '/**/depth_node' in example
    assert set(combined(ROBOT, example, '/points')) == {'controller_server', 'local_costmap'}


def test_the_given_trees_are_left_alone(example):
    before = yaml.safe_dump([ROBOT, example])
    combined(ROBOT, example, '/elsewhere')
    assert yaml.safe_dump([ROBOT, example]) == before
