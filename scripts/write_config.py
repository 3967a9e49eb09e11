#!/usr/bin/env python3
"""Write ``config/<node>.yaml`` anew from the nodes' parameters.

Run ``python scripts/write_config.py`` in the environment of ``make test``: it imports the nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import Field, fields
import importlib
import math
from pathlib import Path
import sys
import textwrap
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NODES = {'camera_node': 'CameraConfig', 'depth_node': 'DepthConfig',
         'focus_camera_node': 'FocusCameraConfig', 'focus_depth_node': 'FocusDepthConfig',
         'multi_depth_node': 'MultiDepthConfig', 'point_cloud_node': 'PointCloudConfig',
         'stereo_view_node': 'StereoViewConfig'}
WIDTH = 95


def main() -> None:
    """Write all files."""
    sys.path.insert(0, str(ROOT))
    for node in NODES:
        (ROOT / 'config' / f'{node}.yaml').write_text(render(node), encoding='utf-8')


def config_type(node: str) -> type:
    """Return the dataclass that holds a node's parameters."""
    return getattr(importlib.import_module(f'depth_perception.nodes.{node}'), NODES[node])


def render(node: str) -> str:
    """Return the text of a node's file: every parameter with its meaning, unit and default."""
    tree: dict[str, Any] = {}
    own = config_type(node).__annotations__  # what no other node has comes first
    for item in sorted(fields(config_type(node)), key=lambda item: item.name not in own):
        *groups, name = (item.metadata['name'] or item.name).split('.')
        branch = tree
        for group in groups:
            branch = branch.setdefault(group, {})
        branch[name] = item
    head = [f'# Every parameter of {node} with its default, as ros2 param describe tells it.',
            '# Written by scripts/write_config.py from the dataclass in the node.',
            f'/**/{node}:', '  ros__parameters:']
    return '\n'.join([*head, *_lines(tree, '    ')]) + '\n'


def _lines(tree: dict[str, Any], indent: str) -> Iterator[str]:
    for name, item in sorted(tree.items(), key=lambda pair: isinstance(pair[1], dict)):
        if isinstance(item, dict):
            yield f'{indent}{name}:'
            yield from _lines(item, indent + '  ')
        else:
            yield from textwrap.wrap(_meaning(item), WIDTH, initial_indent=f'{indent}# ',
                                     subsequent_indent=f'{indent}#   ')
            yield f'{indent}{name}: {_literal(item.default)}'


def _meaning(item: Field) -> str:
    """Return unit, description and rule of a parameter in one line."""
    rules = item.metadata
    unit = f'[{rules["unit"]}] ' if rules['unit'] else ''
    text = f'{unit}{rules["description"]}'
    if rules['choices']:
        text += f' ({" | ".join(rules["choices"])})'
    if rules['limits']:
        text += ' ({} to {})'.format(*map(_literal, rules['limits']))
    return text


def _literal(value: Any) -> str:
    """Return a value as YAML that rcl reads back in the same type: floats with a point."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and math.isinf(value):
        return '.inf' if value > 0 else '-.inf'
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, tuple):
        return f'[{", ".join(map(_literal, value))}]'
    return repr(value)


if __name__ == '__main__':
    main()
