"""No parameter is for show: each takes effect at the next frame, or is refused with the reason."""

from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path
import time

import numpy as np
import pytest
from sensor_msgs.msg import Image, PointCloud2
from stereo_msgs.msg import DisparityImage

from depth_perception.nodes._parameters import ros_name
from depth_perception.nodes.depth_node import DepthConfig
from depth_perception.nodes.focus_depth_node import FocusDepthConfig
from depth_perception.nodes.multi_depth_node import MultiDepthConfig
from depth_perception.nodes.point_cloud_node import PointCloudConfig
from depth_perception.nodes.stereo_view_node import StereoViewConfig

NODES = Path(__file__).parents[2] / 'depth_perception' / 'nodes'
HEIGHT, WIDTH = 48, 64
# A near square before a far wall, both of them rough.
PICTURE = np.random.default_rng(3).integers(200, 250, (HEIGHT, WIDTH, 3), np.uint8)
PICTURE[12:36, 20:44] -= 190
# wide enough for holes beside the square; a height that cuts something away
SETTINGS = {'stereo.baseline': 0.3, 'point_cloud.max_height': 1.0}

DEPTH, COLORED = 'depth/image_rect', 'depth/image_colored'
POINTS, RIGHT, STEREO = 'points', 'right/image_rect', 'stereo/image'
KINDS = {DEPTH: Image, COLORED: Image, POINTS: PointCloud2, RIGHT: Image,
         STEREO: Image, 'disparity': DisparityImage, 'stereo/rgbd': Image, 'views/image': Image}
# Depth lies between 1 and 3 m. Parameter: the topic on which it shows, values that show there.
EFFECTS = {
    'min_depth': (DEPTH, 2.0), 'max_depth': (DEPTH, 2.0), 'openni_depth_mode': (DEPTH, True),
    'rectify': ('left/image_rect', 'never'), 'color.near': (COLORED, 2.0),
    'color.far': (COLORED, 2.0), 'color.map': (COLORED, 'viridis'),
    'point_cloud.stride': (POINTS, 3), 'point_cloud.voxel_size': (POINTS, 0.5),
    'point_cloud.flying_pixel_filter.enable': (POINTS, True),
    'point_cloud.organized': (POINTS, False), 'point_cloud.min_range': (POINTS, 2.0),
    'point_cloud.max_range': (POINTS, 2.0), 'point_cloud.min_height': (POINTS, 0.0),
    'point_cloud.max_height': (POINTS, 0.0), 'point_cloud.camera_height': (POINTS, 0.9),
    'point_cloud.camera_pitch_deg': (POINTS, -30.0),
    'point_cloud.camera_roll_deg': (POINTS, 30.0),
    'stereo.baseline': (RIGHT, 0.1), 'stereo.convergence': (RIGHT, 2.0),
    'stereo.auto_convergence': (RIGHT, 'subject'), 'stereo.max_disparity': (RIGHT, 0.5),
    'stereo.fill': (RIGHT, 'inpaint'), 'stereo.edge_dilation': (RIGHT, 3),
    'stereo.soft_edges': (RIGHT, False), 'stereo.views': ('left/image_rect', 'both'),
    'stereo.format': (STEREO, 'anaglyph_dubois'), 'stereo.near': ('stereo/rgbd', 2.0),
    'stereo.far': ('stereo/rgbd', 2.0), 'views.count': ('views/image', 4),
    'views.layout': ('views/image', 'tile'),
}


def read_by_the_nodes():
    """Every name read as an attribute, config.min_depth, or by get_parameter('min_depth')."""
    names = set()
    for path in NODES.glob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                names.add(node.attr)
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith('get_parameter'):
                names.add(node.args[0].value)
    return names


@pytest.mark.parametrize('config', [
    DepthConfig, FocusDepthConfig, MultiDepthConfig, PointCloudConfig, StereoViewConfig],
    ids=lambda config: config.__name__)
def test_each_parameter_is_read_somewhere(config):
    read = read_by_the_nodes()
    assert [item.name for item in fields(config)
            if not {item.name, ros_name(item)} & read] == []


@pytest.fixture(scope='module')
def shown(graph, camera, make_model):
    """Give the output for one frame that is sent now."""
    model = str(make_model(depth=1.0, brightness=2.0))
    node = graph.spawn('depth_node', {'model': model, **SETTINGS}, name='dynamic')
    topics = {**KINDS, 'left/image_rect': Image}
    inboxes = {name: graph.listen(f'{node.full_name}/{name}', kind)
               for name, kind in topics.items()}
    lens = {'d': [-0.1, 0.01, 0.0, 0.0, 0.0],
            'p': [40.0, 0.0, 31.5, 0.0, 0.0, 40.0, 23.5, 0.0, 0.0, 0.0, 1.0, 0.0]}
    camera.send_until(list(inboxes.values()), PICTURE, **lens)

    def show(topic):
        for inbox in inboxes.values():
            inbox.clear()
        stamp = camera.send(PICTURE, **lens)
        want = graph.header(stamp).stamp
        found = graph.wait_for(
            lambda: [msg for msg in inboxes[topic].messages if msg.header.stamp == want],
            what=f'{topic} of this frame')
        return content(found[0])

    show.node = node
    return show


def content(message):
    """All of a message but its stamp."""
    if isinstance(message, DisparityImage):
        message = message.image
    return message.height, message.width, bytes(message.data)


def test_each_parameter_takes_effect_at_the_very_next_frame(graph, shown):
    defaults = {ros_name(item): item.default for item in fields(DepthConfig)} | SETTINGS
    idle = []
    for name, (topic, value) in EFFECTS.items():
        before = shown(topic)
        assert before == shown(topic), f'{topic} is not the same twice'
        answer = graph.set_parameter(shown.node, name, value)
        assert answer.successful, answer.reason
        if shown(topic) == before:
            idle.append(name)
        assert graph.set_parameter(shown.node, name, defaults[name]).successful
        assert shown(topic) == before, f'{name} is not as before'
    assert not idle


def test_what_cannot_change_now_is_refused_with_the_way_out(graph, shown):
    late = [item for item in fields(DepthConfig) if item.metadata['at_configure']]
    assert len(late) > 5
    others = {bool: lambda old: not old, int: lambda old: old + 1, float: lambda old: old + 0.5,
              str: lambda old: old + 'x'}
    for item in late:
        if isinstance(item.default, tuple):
            continue
        choices = [each for each in item.metadata['choices'] if each != item.default]
        value = choices[0] if choices else others[type(item.default)](item.default)
        answer = graph.set_parameter(shown.node, ros_name(item), value)
        assert not answer.successful and 'cleanup' in answer.reason, ros_name(item)
    time.sleep(0.05)
    assert shown(DEPTH)
