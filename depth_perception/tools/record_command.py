"""The command line that records some topics: of ros2 bag, or of this package without it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
import re
import sys

from depth_perception.tools.record import byte_count

RECORDERS = ('auto', 'ros2bag', 'own')
#: Always worth having: registration of depth needs them, and they are small.
TRANSFORMS = ['/tf', '/tf_static']


def chosen(recorder: str, has_ros2_bag: bool, disk_budget: str) -> str:
    """Return 'ros2bag' or 'own'.

    Raises
    ------
    ValueError
        There is no such recorder, or ros2 bag is asked to keep a budget that it does not know.
    """
    if recorder not in RECORDERS:
        raise ValueError(f'recorder is {recorder!r}; use one of {", ".join(RECORDERS)}')
    if recorder == 'ros2bag' and disk_budget:
        raise ValueError(f'disk_budget is {disk_budget}, which ros2 bag does not know: leave out '
                         'recorder:=ros2bag, or the budget')
    if recorder != 'auto':
        return recorder
    return 'ros2bag' if has_ros2_bag and not disk_budget else 'own'


def ros2_bag(topics: Sequence[str], bag: str, split_size: str, qos_file: Path, storage_file: Path,
             use_sim_time: bool) -> list[str]:
    """Return the command of ros2 bag, for Humble to Kilted."""
    # Topics are an option in newer releases, and none in older ones; a pattern is one in all.
    pattern = '^(' + '|'.join(map(re.escape, topics)) + ')$'
    return ['ros2', 'bag', 'record', '--storage', 'mcap', '--output', bag,
            '--max-bag-size', str(byte_count(split_size)),
            '--storage-config-file', str(storage_file),
            '--qos-profile-overrides-path', str(qos_file),
            '--regex', pattern, *['--use-sim-time'] * use_sim_time]


def own(topics: Sequence[str], bag: str, split_size: str, disk_budget: str,
        keep: str) -> list[str]:
    """Return the command of this package."""
    budget = ['--disk-budget', disk_budget, '--keep', keep] if disk_budget else []
    return [sys.executable, '-m', 'depth_perception.tools.cli', 'record', '--output', bag,
            '--split-size', split_size, *budget, *topics]
