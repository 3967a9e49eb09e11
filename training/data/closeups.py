"""Views at arm's length: `scene_closeups.Closeup` in rooms with furniture models."""
from __future__ import annotations

import numpy as np

from depth_perception.geometry import Intrinsics
from depth_perception.scene_closeups import HFOV_DEG, MEDIAN_DEPTH_M, NEAREST_M, Closeup
from training.data.worlds import MAX_DEPTH_M

DATASET = 'procedural_closeups'
GENERATOR_VERSION = 1
TRIES_PER_VIEW = 3


def close(depth: np.ndarray) -> bool:
    """Say whether a view is at arm's length, with nothing on the lens."""
    values = depth[::4, ::4]
    values = values[np.isfinite(values)]
    if not len(values):
        return False
    return bool(MEDIAN_DEPTH_M[0] < np.median(values) < MEDIAN_DEPTH_M[1]
                and values.min() > NEAREST_M)


def render_closeup(seed: int, count: int, height: int, width: int, furniture=()) -> list[dict]:
    """Render up to `count` views of the close scene `seed`, each with a lens of its own.

    Parameters
    ----------
    seed
        Number of the scene; its kind and the views follow from it.
    count, height, width
        How many views, and their size in px.
    furniture
        Models for the room round the scene, each a sequence of Mesh.

    Returns
    -------
    list of dict
        image uint8 (height, width, 3) RGB, depth float32 metres with NaN, intrinsics, name.
        Shorter than `count` where the scene has too few places with a close view.
    """
    scene = Closeup.random(seed, furniture=furniture)
    rng, views = np.random.default_rng([43, seed]), []
    for _ in range(TRIES_PER_VIEW * count):
        intrinsics = Intrinsics.from_hfov(width, height, rng.uniform(*HFOV_DEG))
        view = scene.render(intrinsics, scene.random_pose(rng, intrinsics))
        depth = np.where(view.depth <= MAX_DEPTH_M, view.depth, np.float32(np.nan))
        if close(depth):
            views.append({'image': view.rgb, 'depth': depth, 'intrinsics': intrinsics,
                          'name': f'closeup/{scene.kind}/{seed}/{len(views)}'})
        if len(views) == count:
            break
    return views
