"""Furnished rooms by chance: size, style, contents and light."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import scene_fixtures as fixtures
from .scene_layout import AGAINST_WALLS, Layout
from .scene_light import Light
from .scene_materials import Palette
from .scene_mesh import Mesh
from .scene_paths import camera_path, random_pose
from .scene_render import MeshScene, View
from .scene_styles import Style, find_style


class Room:
    """A furnished room; x and y run from 0 to `size`, the floor is z = 0.

    Attributes
    ----------
    scene : `MeshScene`, the renderer.
    size : (3,) float64 metres.
    boxes : low and high corner of each piece of furniture, metres.
    surfaces : for close views, low and high corner of each piece and its weight.
    """

    def __init__(self, scene: MeshScene, size, boxes, surfaces):
        self.scene, self.size = scene, np.asarray(size, np.float64)
        self.boxes, self.surfaces = boxes, surfaces

    @classmethod
    def random(cls, seed: int, furniture: Sequence[Sequence[Mesh]] = (), style: str = '') -> Room:
        """A room by chance; the same seed, furniture and style give the same to the last bit.

        Parameters
        ----------
        seed : any non-negative integer.
        furniture : models to mix among the built-in ones. Each is a list of `Mesh` in metres
            whose origin is the middle of its footprint on the floor, Z up, front towards -y.
        style : one of `scene_styles.STYLES`.
        """
        rng, chosen = np.random.default_rng(seed), find_style(style)
        size = _random_size(rng, chosen.shapes)
        kinds = list(AGAINST_WALLS)
        kind = kinds[int(rng.integers(len(kinds)))]
        makers = chosen.against_walls[kind], chosen.free_standing[kind]
        layout = Layout(rng, Palette(rng, chosen.recipes), size, makers, furniture)
        lights, ambient = chosen.lit(rng, *_furnish(rng, layout, chosen))
        scene = MeshScene(layout.meshes, lights, ambient=ambient,
                          exposure=float(rng.uniform(0.32, 0.6)))
        return cls(scene, size, layout.boxes, layout.surfaces)

    def render(self, intrinsics, pose) -> View:
        """What a camera at a pose sees, see `MeshScene.render`."""
        return self.scene.render(intrinsics, pose)

    def random_pose(self, rng, kind: str | None = None) -> np.ndarray:
        """A camera pose, see `scene_paths.random_pose`."""
        return random_pose(self, rng, kind)

    def camera_path(self, n_frames: int, seed: int = 0) -> np.ndarray:
        """A closed, smooth, collision-free path, see `scene_paths.camera_path`."""
        return camera_path(self, n_frames, seed)


def _random_size(rng, shares: tuple[float, float]) -> np.ndarray:
    """Corridors and halls by their shares, else a room."""
    kind, (corridors, halls) = rng.random(), shares
    if kind < corridors:
        size = rng.uniform([1.5, 4.0, 2.3], [2.8, 14.0, 3.2])
    elif kind < corridors + halls:
        size = rng.uniform([6.0, 5.0, 2.7], [14.0, 11.0, 4.5])
    else:
        size = rng.uniform([2.6, 2.5, 2.3], [6.5, 5.5, 3.0])
    return size if rng.random() < 0.5 else size[[1, 0, 2]]


def _furnish(rng, layout: Layout, style: Style) -> tuple[list[Light], np.ndarray]:
    walls = layout.walls()
    lamps, spots = fixtures.ceiling_lamps(rng, layout.palette, layout.size)
    layout.meshes += lamps
    fill = rng.uniform(*style.fill)
    for frame, length, openings in walls:
        layout.along_wall(frame, length, openings['door'] + openings['window'], fill)
    area = float(np.prod(layout.size[:2]))
    layout.in_the_middle(int(rng.uniform(0.2, 1.2) * style.crowd * area / 2))
    layout.on_the_floor(int(rng.poisson(style.litter * area * rng.choice([0.05, 0.2, 0.6]))))
    if rng.random() < 0.5:
        layout.rug()
    for frame, length, openings in walls:
        layout.decorate(frame, length, openings['door'] + openings['window'])
    return _lights(rng, spots, _window_spots(walls))


def _window_spots(walls) -> list[np.ndarray]:
    """Points just inside each window."""
    return [(frame @ [(a + b) / 2, -0.25, (z0 + z1) / 2, 1])[:3]
            for frame, _, openings in walls for a, b, z0, z1 in openings['window']]


def _lights(rng, spots, windows) -> tuple[list[Light], np.ndarray]:
    """At most three lights, the strongest first, and the ambient light of the room."""
    lights = []
    white = 1 + rng.uniform(-0.25, 0.25) * np.array([1, 0, -1])  # warm to cold
    day = not windows or rng.random() < 0.3
    if day or rng.random() < 0.6:
        for k in rng.permutation(len(spots))[:2]:
            power = rng.uniform(1.5, 6.0)
            lights.append(Light(tuple(spots[k]), tuple(power * white * rng.uniform(.9, 1.1, 3)),
                                rng.uniform(0.05, 0.3)))
    for k in rng.permutation(len(windows))[:3 - len(lights)]:
        blue = 1 + rng.uniform(-0.1, 0.2) * np.array([-1, 0, 1])
        lights.append(Light(tuple(windows[k]), tuple(rng.uniform(1.5, 8) * blue),
                            rng.uniform(0.3, 0.6)))
    lights.sort(key=lambda light: -sum(light.colour))
    ambient = rng.uniform(0.08, 0.5) * (1 + rng.uniform(-0.1, 0.1, 3)) * (0.5 + 0.5 * white)
    return lights, ambient
