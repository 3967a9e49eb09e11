"""Where a camera may be in a room: single poses by chance, and smooth paths that loop."""
from __future__ import annotations

import cv2
import numpy as np

from .scene_mesh import SceneError

CLEARANCE = 0.25      # metres that a camera keeps from every surface
KINDS = ('walk', 'closeup', 'overview')
_SHARES = (0.45, 0.25, 0.3)
_BATCH = 24


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


def random_pose(room, rng, kind: str | None = None) -> np.ndarray:
    """A pose that keeps `CLEARANCE` and does not stare at a wall.

    Parameters
    ----------
    room : `Room`.
    rng : numpy Generator.
    kind : 'walk' (hand-held or on a robot), 'closeup' (a robot arm over a table, a shelf or a
        bin, at 0.3 to 1.2 m), 'overview' (from near a wall across the room), or any of these.

    Returns
    -------
    (4, 4) float64, optical frame to world.

    Raises
    ------
    SceneError : unknown kind.
    """
    if kind is not None and kind not in KINDS:
        raise SceneError(f'got view kind {kind!r}, must be one of {KINDS} or None')
    best, best_score = np.eye(4), -np.inf
    for _ in range(12):
        chosen = str(rng.choice(KINDS, p=_SHARES)) if kind is None else kind
        poses = [_PROPOSE[chosen](room, rng) for _ in range(_BATCH)]
        free = _free(room, np.array([pose[:3, 3] for pose in poses]))
        # Some bare walls are part of life; most views shall have more in them.
        variety = 1.25 if rng.random() < 0.12 else rng.uniform(1.6, 3.0)
        for pose, clearance in zip(poses, free):
            score = clearance if clearance < CLEARANCE else 1 + _view_quality(room, pose, variety)
            if score >= 2:
                return pose
            if score > best_score:
                best, best_score = pose, score
    return best


def _free(room, points) -> np.ndarray:
    """Metres to the nearest surface, negative outside the room or in a piece of furniture."""
    free = room.scene.clearance(points)
    outside = np.any((points < 0) | (points > room.size), axis=1)
    for low, high in room.boxes:
        outside |= np.all((points > low) & (points < high), axis=1)
    return np.where(outside, -1.0, free)


def _view_quality(room, pose, variety: float) -> float:
    """At least 1 for a view that is worth a picture, else less than 1.

    variety : how much depth the view must have in it, as farthest over nearest.
    """
    x, y = np.meshgrid(np.linspace(-0.55, 0.55, 12), np.linspace(-0.42, 0.42, 9))
    depth = room.scene.depth_along(x.astype(np.float32), y.astype(np.float32), pose)
    near, middle, far = np.nanpercentile(depth, [1, 50, 95])
    return float(min(near / CLEARANCE, middle / 0.35, (far / near) / variety))


def _roll(rng) -> float:
    return np.radians(np.clip(rng.normal(0, 3), -8, 8))


def _walk(room, rng) -> np.ndarray:
    eye = np.append(rng.uniform(CLEARANCE, room.size[:2] - CLEARANCE),
                    min(rng.choice([0.4, 1.0, 1.5]) * rng.uniform(0.5, 1.33), room.size[2] - 0.3))
    pitch = np.clip(rng.normal(-10, 14), -50, 20)
    return aimed(eye, rng.uniform(0, 2 * np.pi), np.radians(pitch), _roll(rng))


def _closeup(room, rng) -> np.ndarray:
    if not room.surfaces:
        return _walk(room, rng)
    weight = np.array([weight for _, _, weight in room.surfaces])
    low, high, _ = room.surfaces[int(rng.choice(len(weight), p=weight / weight.sum()))]
    target = rng.uniform(low, high)
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(5, 75))
    if rng.random() < 0.6:
        target[2] = high[2] - 0.05
    else:
        elevation *= 0.4
    away = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth),
                     np.sin(elevation)])
    return look_at(target + away * rng.uniform(0.35, 1.2), target, 2 * _roll(rng))


def _overview(room, rng) -> np.ndarray:
    side = rng.integers(0, 2, 2)
    inset = rng.uniform(0.3, 0.35 * room.size[:2])
    eye = np.append(np.where(side, room.size[:2] - inset, inset),
                    rng.uniform(1.3, min(2.4, room.size[2] - 0.3)))
    target = np.append(room.size[:2] * rng.uniform(0.3, 0.7, 2), rng.uniform(0.2, 1.2))
    return look_at(eye, target, _roll(rng))


_PROPOSE = {'walk': _walk, 'closeup': _closeup, 'overview': _overview}


def camera_path(room, n_frames: int, seed: int = 0) -> np.ndarray:
    """A closed path round the room's free middle: pose n_frames would be pose 0 again.

    The loop is star-shaped about the freest point: its radius in each direction stays below
    the first place that is too near to a surface, so that nothing is ever hit.

    Parameters
    ----------
    room : `Room`.
    n_frames : poses in one round, at least 1.
    seed : chooses height, sense of rotation and where the camera looks.

    Returns
    -------
    (n_frames, 4, 4) float64, optical frame to world.
    """
    if n_frames < 1:
        raise SceneError(f'got {n_frames} frames, a path needs at least 1')
    rng = np.random.default_rng(seed)
    bob = 0.06
    centre = _freest_point(room, rng)
    angles = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    radius = _free_radius(room, centre, angles, CLEARANCE + bob)
    phase, sense = rng.uniform(0, 2 * np.pi, 4), rng.choice([-1, 1])
    turn = phase[0] + sense * 2 * np.pi * np.arange(n_frames) / n_frames
    reach = np.interp(turn, angles, radius, period=2 * np.pi)
    sway = turn - phase[0]
    yaw = turn + sense * np.pi / 2 + 0.6 * np.sin(2 * sway + phase[1])
    pitch = np.radians(-12 + 7 * np.sin(3 * sway + phase[2]))
    height = centre[2] + bob * np.sin(2 * sway + phase[3])
    eyes = np.column_stack([centre[0] + reach * np.cos(turn), centre[1] + reach * np.sin(turn),
                            height])
    roll = np.radians(2) * np.sin(4 * sway)
    return np.stack([aimed(*view) for view in zip(eyes, yaw, pitch, roll)])


def _freest_point(room, rng) -> np.ndarray:
    """A point at head height with much room about it."""
    height = min(rng.uniform(1.1, 1.7), room.size[2] - 0.6)
    points = np.column_stack([rng.uniform(0, room.size[:2], (400, 2)), np.full(400, height)])
    return points[int(np.argmax(_free(room, points)))]


def _free_radius(room, centre, angles, clearance: float) -> np.ndarray:
    """How far one may go from the centre in each direction, smooth over the angle."""
    reach = np.arange(0, min(2.5, 0.45 * float(room.size[:2].min())), 0.04)
    direction = np.column_stack([np.cos(angles), np.sin(angles)])
    points = np.empty((len(angles), len(reach), 3))
    points[..., :2] = centre[:2] + direction[:, None] * reach[:, None]
    points[..., 2] = centre[2]
    free = _free(room, points.reshape(-1, 3)).reshape(points.shape[:2]) > clearance + 0.04
    steps = np.where(free.all(axis=1), len(reach), np.argmin(free, axis=1))
    limit = reach[np.maximum(steps - 1, 0)]
    # Lowest over a window, then a mean over the same window: never above the limit itself.
    half = 20
    window = np.arange(-half, half + 1)
    index = (np.arange(len(angles))[:, None] + window) % len(angles)
    lowest = limit[index].min(axis=1)
    weight = cv2.getGaussianKernel(2 * half + 1, half / 2.5)[:, 0]
    return lowest[index] @ weight
