"""What of a robot arm is in its own camera's picture: fingers, a suction tube, a plate."""
from __future__ import annotations

import numpy as np

from .scene_handheld import rotation, tube
from .scene_light import Light
from .scene_mesh import Mesh
from .scene_render import MeshScene, View
from .scene_shapes import box

_NEAR_M = 0.14  # where the parts begin, below the picture's lower edge


class Gripper:
    """Parts that move with the camera and cover an edge of each picture.

    rng : chooses the parts, the edge and their light; palette : `Palette` of CLOSE_RECIPES.
    """

    def __init__(self, rng, palette):
        maker = (_fingers, _fingers, _suction, _plate)[int(rng.integers(4))]
        edge = int(rng.choice(4, p=[0.55, 0.15, 0.15, 0.15]))  # lower, left, upper, right
        turn = np.eye(4)
        turn[:3, :3] = rotation(2, edge * np.pi / 2)
        if edge % 2:
            turn[:3, :3] = np.diag([4 / 3, 1, 1]) @ turn[:3, :3]
        light = Light(tuple(rng.uniform([-0.5, -0.6, -0.4], [0.5, -0.1, 0.2])),
                      tuple(rng.uniform(0.02, 0.4) * np.ones(3)), 0.05)
        self._scene = MeshScene([mesh.moved(turn) for mesh in maker(rng, palette)], [light],
                                ambient=rng.uniform(0.05, 0.6) * np.ones(3), exposure=None)

    def over(self, view: View, intrinsics) -> View:
        """The view with the parts in it, where they are nearer."""
        parts = self._scene.render(intrinsics, np.eye(4))
        near = np.nan_to_num(parts.depth, nan=np.inf) < np.nan_to_num(view.depth, nan=np.inf)
        for whole, part in zip(view, parts):
            whole[near] = part[near]
        return view


def _fingers(rng, palette) -> list[Mesh]:
    """Two fingers and what holds them."""
    stuff, y = palette.any('metal', 'foam', 'plastic'), rng.uniform(0.085, 0.12)
    reach, apart = rng.uniform(0.2, 0.3), rng.uniform(0.02, 0.07)
    thick, square = rng.uniform(0.006, 0.014), 5 if rng.random() < 0.6 else 12
    parts = [tube([(side * apart, y, _NEAR_M), (side * apart, y * 0.95, 0.18),
                   (side * apart * 0.8, y * 0.85, reach)], [thick, thick, 0.6 * thick], stuff,
                  segments=square) for side in (-1, 1)]
    return [*parts, box((-apart - 0.02, y, _NEAR_M), (apart + 0.02, y + 0.04, 0.17),
                        palette.any('metal', 'foam'))]


def _suction(rng, palette) -> list[Mesh]:
    """A tube with a cup at its end."""
    x, y = rng.uniform([-0.05, 0.085], [0.05, 0.12])
    reach, radius = rng.uniform(0.2, 0.32), rng.uniform(0.006, 0.015)
    end = np.array([0.6 * x, 0.75 * y, reach])
    return [tube([(x, y, _NEAR_M), end], [radius, radius], palette.any('metal', 'plastic')),
            tube([end, end + [0, 0, 0.02]], [radius, 1.7 * radius], palette('foam'))]


def _plate(rng, palette) -> list[Mesh]:
    """A bracket, a cover or a cable guide that stands into a corner."""
    x, y = rng.uniform([-0.12, 0.09], [0.12, 0.12])
    size = rng.uniform([0.03, 0.02, 0.05], [0.12, 0.05, 0.14])
    return [box((x - size[0] / 2, y, _NEAR_M), (x + size[0] / 2, y + size[1], _NEAR_M + size[2]),
                palette.any('metal', 'foam', 'plastic'))]
