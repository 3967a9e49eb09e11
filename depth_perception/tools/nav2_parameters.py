"""Parameters of Nav2 with our cloud in its costmaps: those of the robot, and over them an example.

``config/examples/nav2_*.yaml`` holds what Nav2 needs to know of the cloud, and what our node needs
to know to make it; a robot has a parameter file of Nav2 already.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SOURCES = 'observation_sources'


def combined(robot: Mapping[str, Any], example: Mapping[str, Any],
             cloud_topic: str) -> dict[str, Any]:
    """Return the robot's parameters with those of the example over them.

    Parameters
    ----------
    robot : mapping
        A parameter file of Nav2, by the names of its nodes.
    example : mapping
        The same of what changes; nodes of this package are left out.
    cloud_topic : str
        What our cloud is called; it replaces the topic of each PointCloud2 source in `example`.

    Returns
    -------
    dict
        Sensors that the robot has stay in the costmaps, beside our cloud.
    """
    nav2 = {name: tree for name, tree in example.items() if 'depth_node' not in name}
    return _merged(robot, _with_topic(nav2, cloud_topic))


def _merged(base: Any, changes: Any) -> Any:
    if not isinstance(base, Mapping) or not isinstance(changes, Mapping):
        return changes
    result = {**base, **{key: _merged(base.get(key), value) for key, value in changes.items()}}
    if SOURCES in base and SOURCES in changes:
        result[SOURCES] = ' '.join(dict.fromkeys(f'{base[SOURCES]} {changes[SOURCES]}'.split()))
    return result


def _with_topic(tree: Any, topic: str) -> Any:
    if not isinstance(tree, Mapping):
        return tree
    changed = {key: _with_topic(value, topic) for key, value in tree.items()}
    if tree.get('data_type') == 'PointCloud2':
        changed['topic'] = topic
    return changed
