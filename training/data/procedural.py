"""Views of procedural rooms: `depth_perception.scenes.Room` with furniture models mixed in."""
from __future__ import annotations

import numpy as np

from depth_perception.geometry import Intrinsics
from depth_perception.scenes import Room
from training.data.worlds import HFOV_DEG, MAX_DEPTH_M

GENERATOR_VERSION = 2
TRIES_PER_VIEW = 4
MEDIAN_DEPTH_M, NEAREST_M = (0.25, 9.0), 0.1


def sensible(depth: np.ndarray) -> bool:
    """Say whether a view of a room is one that a camera would take: nothing on the lens."""
    values = depth[::4, ::4]
    values = values[np.isfinite(values)]
    if not len(values):
        return False
    return bool(MEDIAN_DEPTH_M[0] < np.median(values) < MEDIAN_DEPTH_M[1]
                and values.min() > NEAREST_M)


def render_room(seed: int, count: int, height: int, width: int, furniture=()) -> list[dict]:
    """Render up to `count` views of the room `seed`: walking, close-up and overview mixed.

    Parameters
    ----------
    seed
        Number of the room; views follow from it too.
    count, height, width
        How many views, and their size in px.
    furniture
        Models for Room.random, each a sequence of Mesh.

    Returns
    -------
    list of dict
        image uint8 (height, width, 3) RGB, depth float32 metres with NaN, intrinsics, name.
        Shorter than `count` where the room has too few places with a sensible view.
    """
    room = Room.random(seed, furniture)
    rng, views = np.random.default_rng([23, seed]), []
    for _ in range(TRIES_PER_VIEW * count):
        intrinsics = Intrinsics.from_hfov(width, height, rng.uniform(*HFOV_DEG))
        view = room.render(intrinsics, room.random_pose(rng))
        depth = np.where(view.depth <= MAX_DEPTH_M, view.depth, np.float32(np.nan))
        if sensible(depth):
            views.append({'image': view.rgb, 'depth': depth, 'intrinsics': intrinsics,
                          'name': f'room/{seed}/{len(views)}'})
        if len(views) == count:
            break
    return views
