"""Views of procedural rooms: `depth_perception.scenes.Room` with furniture models mixed in."""
from __future__ import annotations

import numpy as np

from depth_perception.geometry import Intrinsics, unproject
from depth_perception.scenes import Room
from training.data.augment import UNLABELLED
from training.data.worlds import HFOV_DEG, MAX_DEPTH_M

GENERATOR_VERSION = 2
TRIES_PER_VIEW = 4
FLOOR_M = 0.01  # above it the boxes begin: what touches a floor or a wall is the room's
MEDIAN_DEPTH_M, NEAREST_M = (0.25, 9.0), 0.1


def sensible(depth: np.ndarray) -> bool:
    """Say whether a view of a room is one that a camera would take: nothing on the lens."""
    values = depth[::4, ::4]
    values = values[np.isfinite(values)]
    if not len(values):
        return False
    return bool(MEDIAN_DEPTH_M[0] < np.median(values) < MEDIAN_DEPTH_M[1]
                and values.min() > NEAREST_M)


def furniture_labels(room: Room, depth: np.ndarray, intrinsics: Intrinsics,
                     pose: np.ndarray) -> np.ndarray:
    """Return the segmentation targets of a view of a room.

    A pixel is a thing where its point lies in the box of a piece of furniture or of what stands
    on the floor. Walls, floor, ceiling and what is mounted to them are the room.

    Returns
    -------
    np.ndarray
        (H, W) uint8: 0 room, 1 thing, UNLABELLED where nothing was hit.
    """
    points = unproject(depth, intrinsics).astype(np.float64) @ pose[:3, :3].T + pose[:3, 3]
    inside = np.zeros(depth.shape, bool)
    for low, high in room.boxes:
        low, high = np.array(low) - FLOOR_M, np.array(high) + FLOOR_M
        low[2] = max(low[2], FLOOR_M)
        inside |= ((points >= low) & (points <= high)).all(axis=-1)
    return np.where(np.isfinite(depth), inside, UNLABELLED).astype(np.uint8)


def render_room(seed: int, count: int, height: int, width: int, furniture=(),
                style: str = '') -> list[dict]:
    """Render up to `count` views of the room `seed`: walking, close-up and overview mixed.

    Parameters
    ----------
    seed
        Number of the room; views follow from it too.
    count, height, width
        How many views, and their size in px.
    furniture
        Models for Room.random, each a sequence of Mesh.
    style
        Of the room, see `scene_styles.STYLES`.

    Returns
    -------
    list of dict
        image uint8 (height, width, 3) RGB, depth float32 metres with NaN, intrinsics, name,
        labels uint8 (height, width), see `furniture_labels`. Shorter than `count` where the room
        has too few places with a sensible view.
    """
    room = Room.random(seed, furniture, style)
    rng, views = np.random.default_rng([23, seed]), []
    for _ in range(TRIES_PER_VIEW * count):
        intrinsics = Intrinsics.from_hfov(width, height, rng.uniform(*HFOV_DEG))
        pose = room.random_pose(rng)
        view = room.render(intrinsics, pose)
        depth = np.where(view.depth <= MAX_DEPTH_M, view.depth, np.float32(np.nan))
        if sensible(depth):
            views.append({'image': view.rgb, 'depth': depth, 'intrinsics': intrinsics,
                          'name': f'room/{seed}/{len(views)}',
                          'labels': furniture_labels(room, depth, intrinsics, pose)})
        if len(views) == count:
            break
    return views
