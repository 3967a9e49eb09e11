"""Where a camera may be in a room: single poses by chance and smooth paths."""
from __future__ import annotations

import numpy as np


def look_at(eye, target, roll: float = 0.0) -> np.ndarray:
    """(4, 4) pose, optical frame to world, of a camera at `eye` that looks at `target`.

    The image's down axis points as far down as it can; `roll` in radians turns the camera about
    its own axis. `eye` and `target` must not lie on one vertical.
    """
    eye = np.asarray(eye, np.float64)
    forward = np.asarray(target, np.float64) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    cos, sin = np.cos(roll), np.sin(roll)
    pose = np.eye(4)
    pose[:3, :3] = np.column_stack([cos * right + sin * down, cos * down - sin * right, forward])
    pose[:3, 3] = eye
    return pose


def aimed(eye, yaw: float, pitch: float, roll: float = 0.0) -> np.ndarray:
    """(4, 4) pose from angles in radians: yaw from +x towards +y, pitch above the horizon."""
    direction = np.array([np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)])
    return look_at(eye, np.asarray(eye) + direction, roll)


def random_pose(room, rng, kind=None) -> np.ndarray:
    for _ in range(200):
        eye = rng.uniform([0.3, 0.3, 0.2], [room.size[0] - 0.3, room.size[1] - 0.3, 2.0])
        if not any(np.all(eye > low - 0.25) and np.all(eye < high + 0.25)
                   for low, high in room.objects):
            break
    return aimed(eye, rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(-50, 20)),
                 np.radians(rng.uniform(-8, 8)))
