"""Which names a process's parameter files set for every node, and which for one by name.

rclpy merges both without telling which was which. A misspelt name under a node's own key is a
mistake; under ``/**`` it may be meant for another node.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
import sys
from typing import Any

import yaml


def _files(arguments: Sequence[str]) -> Iterator[Path]:
    for flag, value in zip(arguments, arguments[1:]):
        if flag in ('--params-file', '--param-file'):
            yield Path(value)


def _sections(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict]]:
    """Yield (node path, parameters) of each ``ros__parameters`` in a file."""
    if not isinstance(tree, dict):
        return
    for key, value in tree.items():
        if key == 'ros__parameters':
            yield path, value or {}
        else:
            yield from _sections(value, path + tuple(str(key).strip('/').split('/')))


def _flat(tree: dict, prefix: str = '') -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f'{prefix}{key}.')
        else:
            yield f'{prefix}{key}'


def names_for_every_node(node_name: str, arguments: Sequence[str] | None = None) -> set[str]:
    """Return the dotted names that files set only under a wildcard, not under the node's name.

    Parameters
    ----------
    node_name : str
        Without its namespace; a key such as ``/**/depth_node`` counts as the node's own.
    arguments : sequence of str, optional
        Of the process, ``sys.argv`` by default.
    """
    shared: set[str] = set()
    own: set[str] = set()
    for file in _files(sys.argv if arguments is None else arguments):
        for path, values in _sections(yaml.safe_load(file.read_text(encoding='utf-8'))):
            if path[-1:] == (node_name,):
                own.update(_flat(values))
            elif '*' in ''.join(path):
                shared.update(_flat(values))
    return shared - own
