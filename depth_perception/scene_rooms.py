"""Furnished rooms by chance."""
from __future__ import annotations

from typing import Sequence

import numpy as np

from .scene_mesh import Mesh, bounds
from .scene_paths import look_at, random_pose
from .scene_render import Light, MeshScene, View
from .scene_shapes import Material, block, box, placed, plain


def noise_texture(rng, colour, contrast=30.0, size=128) -> np.ndarray:
    grain = rng.normal(0, contrast, (size, size, 1))
    return np.clip(np.asarray(colour) + grain, 0, 255).astype(np.uint8)


class Room:
    """A furnished room: `size` (3,) metres; x, y from 0 to size, floor at z = 0."""

    def __init__(self, scene: MeshScene, size, objects):
        self.scene, self.size, self.objects = scene, np.asarray(size, np.float64), objects

    @classmethod
    def random(cls, seed, furniture: Sequence[Sequence[Mesh]] = ()) -> Room:
        rng = np.random.default_rng(seed)
        size = rng.uniform([2.5, 2.5, 2.3], [10, 8, 3.5])
        walls = _shell(rng, size)
        objects = []
        for _ in range(int(size[0] * size[1] / 2)):
            if len(furniture) and rng.random() < 0.5:
                parts = list(furniture[rng.integers(len(furniture))])
            else:
                material = Material(noise_texture(rng, rng.uniform(30, 230, 3)))
                parts = [block(0, 0, 0, rng.uniform(0.2, 1.2, 3), material)]
            objects.append(placed(parts, *rng.uniform([0.5, 0.5], size[:2] - 0.5),
                                  yaw=rng.uniform(0, 6.3)))
        lights = [Light(tuple(rng.uniform([0.5, 0.5, 2.0], size - [0.5, 0.5, 0.2])),
                        (2.5, 2.4, 2.2)) for _ in range(2)]
        parts = walls + [part for group in objects for part in group]
        return cls(MeshScene(parts, lights, ambient=(0.3, 0.3, 0.3)), size,
                   [bounds(group) for group in objects])

    def render(self, intrinsics, pose) -> View:
        return self.scene.render(intrinsics, pose)

    def random_pose(self, rng, kind=None) -> np.ndarray:
        return random_pose(self, rng, kind)

    def camera_path(self, n_frames: int) -> np.ndarray:
        turn = np.linspace(0, 2 * np.pi, n_frames, endpoint=False)
        middle = self.size / 2
        return np.stack([look_at(middle + [0.3 * np.cos(a), 0.3 * np.sin(a), 0],
                                 middle + [2 * np.cos(a), 2 * np.sin(a), -0.5]) for a in turn])


def _shell(rng, size) -> list[Mesh]:
    thick = 0.1
    low, high = np.zeros(3) - thick, size + thick
    sides = []
    for axis in range(3):
        material = Material(noise_texture(rng, rng.uniform(90, 240, 3), 15), 1.0)
        for at in (0, size[axis]):
            a, b = low.copy(), high.copy()
            a[axis], b[axis] = (-thick, 0) if at == 0 else (at, at + thick)
            sides.append(box(a, b, material if axis < 2 or at == 0 else plain((235, 235, 230))))
    return sides
