"""config/*.yaml against the parameters that the nodes declare."""

from __future__ import annotations

from dataclasses import fields
import importlib
from pathlib import Path
import re

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = {
    'camera_node': 'CameraConfig',
    'depth_node': 'DepthConfig',
    'focus_camera_node': 'FocusCameraConfig',
    'focus_depth_node': 'FocusDepthConfig',
    'multi_depth_node': 'MultiDepthConfig',
    'point_cloud_node': 'PointCloudConfig',
    'stereo_view_node': 'StereoViewConfig',
}


def declared(node: str) -> dict:
    """The node's parameters: ROS name -> dataclass field."""
    module = importlib.import_module(f'depth_perception.nodes.{node}')
    return {item.metadata['name'] or item.name: item for item in fields(getattr(module,
                                                                               CONFIGS[node]))}


def flat(tree: dict, prefix: str = '') -> dict:
    """Dotted name -> value."""
    result = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            result.update(flat(value, f'{prefix}{key}.'))
        else:
            result[prefix + key] = value
    return result


def comments(text: str) -> dict[str, str]:
    """Dotted name -> the comment above it, by indentation alone."""
    found, path, comment = {}, [], ''
    for line in text.splitlines():
        indent, content = len(line) - len(line.lstrip()), line.strip()
        if content.startswith('#'):
            comment += ' ' + content.lstrip('# ')
            continue
        path = path[:indent // 2] + [content.split(':')[0]]
        found['.'.join(path[2:])] = comment.strip()  # after the node's key and ros__parameters
        comment = ''
    return found


def test_each_node_has_a_file_and_no_file_is_left_over():
    assert {path.stem for path in (ROOT / 'config').glob('*.yaml')} == set(CONFIGS)


@pytest.mark.parametrize('node', CONFIGS)
def test_the_file_names_every_parameter_with_its_default(node):
    tree = yaml.safe_load((ROOT / 'config' / f'{node}.yaml').read_text())
    assert list(tree) == [f'/**/{node}']  # in any namespace
    written = flat(tree[f'/**/{node}']['ros__parameters'])
    defaults = {name: item.default for name, item in declared(node).items()}
    defaults = {name: list(value) if isinstance(value, tuple) else value
                for name, value in defaults.items()}
    assert written == defaults
    # 20 for 20.0 is equal in Python, and refused by rclpy
    assert {k: type(v) for k, v in written.items()} == {k: type(v) for k, v in defaults.items()}


@pytest.mark.parametrize('node', CONFIGS)
def test_the_file_gives_each_unit_and_meaning(node):
    written = comments((ROOT / 'config' / f'{node}.yaml').read_text())
    for name, item in declared(node).items():
        unit = item.metadata['unit']
        assert re.sub(r'\s+', ' ', item.metadata['description']) in written[name]
        assert written[name].startswith(f'[{unit}] ') == bool(unit), name
        assert all(choice in written[name] for choice in item.metadata['choices'])


@pytest.mark.parametrize('node', CONFIGS)
def test_the_node_bears_the_name_of_its_key(node):
    source = (ROOT / 'depth_perception' / 'nodes' / f'{node}.py').read_text()
    assert f"super().__init__('{node}'" in source
