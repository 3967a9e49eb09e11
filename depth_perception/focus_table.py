"""Which focus distance belongs to which position of a camera's focus control."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import yaml

from depth_perception.calibration import CalibrationError
from depth_perception.focus_stack import check_distance
from depth_perception.folders import expanded


class FocusTable:
    """Which focus distance belongs to which position of a camera's focus control.

    Between the points the distance is interpolated in dioptres, in which lenses move evenly.

    Parameters
    ----------
    positions : sequence of float
        As OpenCV's CAP_PROP_FOCUS has them; rising.
    distances_m : sequence of float
        One for each, all rising or all falling.

    Raises
    ------
    CalibrationError
        If there are fewer than two points, or they are in no order.
    """

    def __init__(self, positions: list[float], distances_m: list[float]) -> None:
        if len(positions) != len(distances_m) or len(positions) < 2:
            raise CalibrationError(
                f'the focus table has {len(positions)} positions and {len(distances_m)} '
                'distances; it must have as many of each, at least two')
        for each in distances_m:
            check_distance(each)
        self._positions = np.asarray(positions, np.float64)
        self._nearness = 1.0 / np.asarray(distances_m, np.float64)
        steps = np.diff(self._nearness)
        if not (np.diff(self._positions) > 0).all() or not ((steps > 0).all()
                                                           or (steps < 0).all()):
            raise CalibrationError(
                f'the focus table has positions {positions} and distances {distances_m}; '
                'positions must rise, and distances all rise or all fall')

    @property
    def limits_m(self) -> tuple[float, float]:
        """The nearest and the farthest distance, metres."""
        return tuple(map(_distance, (self._nearness.max(), self._nearness.min())))

    def position(self, distance_m: float) -> float:
        """Return where the lens focuses at a distance; at the table's end for one beyond."""
        order = np.argsort(self._nearness)
        return float(np.interp(1.0 / distance_m, self._nearness[order], self._positions[order]))

    def distance(self, position: float) -> float:
        """Return the focus distance at a position, metres."""
        return _distance(np.interp(position, self._positions, self._nearness))


def _distance(nearness: float) -> float:
    return 1.0 / float(nearness) if nearness > 0.0 else math.inf


def read_focus_table(path: str | Path) -> FocusTable:
    """Read a YAML file with the lists ``positions`` and ``distances`` (metres).

    Raises
    ------
    CalibrationError
        The file cannot be read, or holds no such table.
    FocusError
        A distance is none.
    """
    path = expanded(path)
    try:
        tree = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CalibrationError(f'the focus table {path} cannot be read: {error}') from None
    tree = tree if isinstance(tree, dict) else {}
    columns = [tree.get(key) for key in ('positions', 'distances')]
    if not all(isinstance(each, list) and all(type(x) in (int, float) for x in each)
               for each in columns):
        raise CalibrationError(
            f'{path} is no focus table; it must have two lists of numbers, positions (of the '
            'focus control) and distances (metres), such as positions: [0, 120, 250] and '
            'distances: [10.0, 0.5, 0.2]')
    return FocusTable(*columns)
