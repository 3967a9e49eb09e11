"""Each topic that the RViz and Foxglove layouts show exists on a live graph."""

from __future__ import annotations

import json
from pathlib import Path
import re

import pytest
import yaml

CONFIG = Path(__file__).resolve().parents[2] / 'config'
FRAME = 'camera_optical_frame'


def rviz() -> dict:
    return yaml.safe_load((CONFIG / 'depth.rviz').read_text())['Visualization Manager']


def rviz_topics() -> dict[str, str]:
    """Topic -> message type that its display takes."""
    kinds = {'rviz_default_plugins/Image': 'sensor_msgs/msg/Image',
             'rviz_default_plugins/PointCloud2': 'sensor_msgs/msg/PointCloud2'}
    return {display['Topic']['Value']: kinds[display['Class']]
            for display in rviz()['Displays'] if 'Topic' in display}


def foxglove_topics() -> dict[str, str]:
    """Topic -> message type that its panel takes."""
    panels = json.loads((CONFIG / 'foxglove_layout.json').read_text())['configById']
    topics = {}
    for name, panel in panels.items():
        if name.startswith('Image!'):
            topics[panel['imageMode']['imageTopic']] = 'sensor_msgs/msg/Image'
        elif name.startswith('3D!'):
            topics.update(dict.fromkeys(panel['topics'], 'sensor_msgs/msg/PointCloud2'))
        else:
            topics[panel['topicToRender']] = 'diagnostic_msgs/msg/DiagnosticArray'
    return topics


@pytest.fixture(scope='module')
def nodes(graph, make_model):
    graph.spawn('camera_node', params={'source': 'scene'})
    graph.spawn('depth_node', params={'model': str(make_model())})


@pytest.mark.parametrize('shown', [rviz_topics, foxglove_topics])
def test_every_topic_exists_with_the_type_that_is_shown(graph, nodes, shown):
    expected = shown()
    assert len(expected) >= 4

    def published() -> bool:
        types = dict(graph.probe.get_topic_names_and_types())
        return all(types.get(topic) == [kind] and graph.probe.count_publishers(topic)
                   for topic, kind in expected.items())

    graph.wait_for(published, what=f'publishers of {expected}')


def test_the_layouts_need_no_tf_for_our_camera():
    assert rviz()['Global Options']['Fixed Frame'] == FRAME
    layout = json.loads((CONFIG / 'foxglove_layout.json').read_text())
    assert layout['configById']['3D!cloud']['followTf'] == FRAME
    camera = (CONFIG / 'camera_node.yaml').read_text()
    assert re.search(rf"^    frame_id: '{FRAME}'$", camera, re.MULTILINE)


def test_rviz_colours_the_cloud_as_it_is_published():
    cloud, = [d for d in rviz()['Displays'] if d['Class'].endswith('PointCloud2')]
    assert (cloud['Color Transformer'], cloud['Position Transformer']) == ('RGB8', 'XYZ')
