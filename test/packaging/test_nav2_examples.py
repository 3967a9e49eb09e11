"""config/examples/nav2_*.yaml against our parameters and topics, and against Nav2's names."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / 'config' / 'examples').glob('nav2_*.yaml'))
OURS = '/**/depth_node'
# What Nav2's voxel layer (Humble to Kilted) declares: of the layer, and of each of its sources.
LAYER = {'plugin', 'enabled', 'origin_z', 'z_resolution', 'z_voxels', 'min_obstacle_height',
         'max_obstacle_height', 'mark_threshold', 'unknown_threshold', 'observation_sources',
         'combination_method', 'publish_voxel_map', 'footprint_clearing_enabled'}
SOURCE = {'topic', 'sensor_frame', 'observation_persistence', 'expected_update_rate', 'data_type',
          'min_obstacle_height', 'max_obstacle_height', 'inf_is_valid', 'marking', 'clearing',
          'obstacle_max_range', 'obstacle_min_range', 'raytrace_max_range', 'raytrace_min_range'}
COSTMAP = {'global_frame', 'robot_base_frame', 'rolling_window', 'width', 'height', 'resolution',
           'transform_tolerance', 'plugins'}


def flat(tree: dict, prefix: str = '') -> dict:
    return {name: value for key, branch in tree.items() for name, value in (
        flat(branch, f'{prefix}{key}.').items() if isinstance(branch, dict)
        else [(prefix + key, branch)])}


@pytest.fixture(params=EXAMPLES, ids=lambda path: path.stem)
def example(request) -> dict:
    return yaml.safe_load(request.param.read_text())


@pytest.fixture
def ours(example):
    """Our node's parameters with those of the example."""
    pytest.importorskip('rclpy')
    from depth_perception.nodes._parameters import checked, ros_name
    from depth_perception.nodes.depth_node import DepthConfig

    known = {ros_name(item): item for item in fields(DepthConfig)}
    given = flat(example[OURS]['ros__parameters'])
    assert set(given) <= set(known)
    return DepthConfig(**{known[name].name: checked(known[name], value)
                          for name, value in given.items()})


@pytest.fixture
def costmap(example) -> dict:
    return example['local_costmap']['local_costmap']['ros__parameters']


@pytest.fixture
def sources(costmap) -> list[dict]:
    layer = costmap['voxel_layer']
    return [layer[name] for name in layer['observation_sources'].split()]


def test_there_is_one_for_a_plain_list_and_one_for_an_organised_cloud():
    kinds = {path.stem: yaml.safe_load(path.read_text())[OURS]['ros__parameters']['point_cloud']
             for path in EXAMPLES}
    assert {name: cloud['organized'] for name, cloud in kinds.items()} == {
        'nav2_dense': False, 'nav2_organized': True}
    assert 'voxel_size' not in kinds['nav2_organized']     # it would make a list of the cloud


def test_the_names_are_nav2_s(costmap, sources):
    layer = costmap['voxel_layer']
    names = layer['observation_sources'].split()
    assert set(costmap) - set(costmap['plugins']) <= COSTMAP
    assert set(layer) - set(names) <= LAYER and set(names) <= set(layer)
    assert all(set(source) <= SOURCE for source in sources)
    assert set(costmap['plugins']) <= set(costmap)


def test_the_topic_is_the_cloud_that_our_node_publishes(sources):
    pytest.importorskip('rclpy')
    from depth_perception.nodes import depth_node

    source = (ROOT / 'depth_perception' / 'nodes' / '_outputs.py').read_text()
    assert "advertise(node, PointCloud2, '~/points')" in source
    assert "super().__init__('depth_node')" in Path(depth_node.__file__).read_text()
    assert {source['topic'] for source in sources} == {'/depth_node/points'}
    assert {source['data_type'] for source in sources} == {'PointCloud2'}
    # the cloud's own frame, that of the images: another would move the camera
    assert not any('sensor_frame' in source for source in sources)


def test_the_cloud_holds_all_that_the_costmap_wants_of_it(ours, costmap, sources):
    layer = costmap['voxel_layer']
    assert 1 <= layer['z_voxels'] <= 16
    top = layer['origin_z'] + layer['z_voxels'] * layer['z_resolution']
    assert top >= layer['max_obstacle_height']
    for source in sources:
        assert ours.cloud_min_height <= source['min_obstacle_height']
        assert source['max_obstacle_height'] <= ours.cloud_max_height
        for name in ('obstacle', 'raytrace'):
            assert source.get(f'{name}_max_range', 0.0) <= ours.cloud_max_range
            assert source.get(f'{name}_min_range', 10.0) >= ours.cloud_min_range
    assert ours.cloud_voxel_size <= costmap['resolution']


def test_what_marks_leaves_out_the_ground_and_what_clears_does_not(sources):
    mark, = [source for source in sources if source['marking']]
    clear, = [source for source in sources if source['clearing']]
    assert mark is not clear
    assert mark['min_obstacle_height'] > 0.0 > clear['min_obstacle_height']
    assert clear['raytrace_max_range'] >= mark['obstacle_max_range']


def test_numbers_that_nav2_takes_as_floats_are_floats(costmap, sources):
    layer = costmap['voxel_layer']
    for tree in (layer, *sources):
        for name, value in tree.items():
            if name.endswith(('_height', '_range', '_resolution', 'origin_z')):
                assert type(value) is float, name
    assert type(costmap['width']) is int and type(costmap['height']) is int
