"""Where sensors sit: rigid transforms, and the way between two frames of a tree of them."""

from __future__ import annotations

from collections.abc import Sequence
import math

import numpy as np


class TransformError(ValueError):
    """A rotation that is none, or two frames with no way between them."""


def rigid(translation: Sequence[float], rotation_xyzw: Sequence[float]) -> np.ndarray:
    """Turn a translation and a quaternion into a matrix.

    Parameters
    ----------
    translation : 3 floats, metres
    rotation_xyzw : 4 floats
        Quaternion, as ROS orders it.

    Returns
    -------
    (4, 4) float64
        Takes points of the child frame into the parent frame.

    Raises
    ------
    TransformError
        A value is not finite, or the quaternion is not of length 1.
    """
    numbers = [*map(float, translation), *map(float, rotation_xyzw)]
    length = math.sqrt(sum(value * value for value in numbers[3:]))
    parts = (len(translation), len(rotation_xyzw))
    if parts != (3, 4) or not all(map(math.isfinite, numbers)) or abs(length - 1.0) > 0.01:
        raise TransformError(f'translation {list(translation)} and rotation {list(rotation_xyzw)} '
                             'are no pose; they must be x y z in metres and a quaternion x y z w '
                             'of length 1, such as 0 0 0 1')
    x, y, z, w = (value / length for value in numbers[3:])
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)]]
    matrix[:3, 3] = numbers[:3]
    return matrix


def moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (N, 3) in the other frame, (N, 3) float64."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


class TransformTree:
    """Frames, each with at most one parent, as on /tf_static."""

    def __init__(self) -> None:
        self._parents: dict[str, tuple[str, np.ndarray]] = {}

    def set(self, parent: str, child: str, matrix: np.ndarray) -> None:
        """Say where `child` sits in `parent`: (4, 4), takes points of child into parent."""
        self._parents[child.lstrip('/')] = parent.lstrip('/'), matrix

    def lookup(self, target: str, source: str) -> np.ndarray:
        """Matrix (4, 4) that takes points of `source` into `target`.

        Raises
        ------
        TransformError
            There is no way between the two.
        """
        target, source = target.lstrip('/'), source.lstrip('/')
        of_source, of_target = self._ancestors(source), self._ancestors(target)
        for frame, from_source in of_source.items():
            if frame in of_target:
                return np.linalg.inv(of_target[frame]) @ from_source
        raise TransformError(f'no static transform leads from {source!r} to {target!r}; known '
                             f'frames: {", ".join(self._known()) or "none"}')

    def _ancestors(self, frame: str) -> dict[str, np.ndarray]:
        """The frame and all above it, with what takes the frame's points there."""
        found = {frame: np.eye(4)}
        while frame in self._parents:
            parent, matrix = self._parents[frame]
            if parent in found:     # a loop: somebody published nonsense
                break
            found[parent] = matrix @ found[frame]
            frame = parent
        return found

    def _known(self) -> list[str]:
        # a copy: another thread may add to them meanwhile
        parents = list(self._parents.items())
        return sorted({frame for child, (parent, _) in parents for frame in (child, parent)})
