"""Scenes at arm's length by chance: a shelf's bay, a table top or a bin, and the room round it.

In rooms alone, small things are far away. A network that has seen nothing else takes a bay of
0.4 m for a room of 4 m.
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import scene_fixtures as fixtures
from .scene_gripper import Gripper
from .scene_layout import AGAINST_WALLS, FREE_STANDING, SEATS, Layout
from .scene_light import Light
from .scene_materials import Palette
from .scene_mesh import Mesh, SceneError, bounds
from .scene_packaging import CLOSE_RECIPES
from .scene_paths import look_at
from .scene_render import MeshScene, View
from .scene_shapes import placed, rotation_z
from .scene_stages import STAGES, Stage

SHARES = {'bay': 0.4, 'table': 0.35, 'bin': 0.25}
LIGHTS = {'room': 0.45, 'bench': 0.2, 'flash': 0.25, 'dim': 0.1}
HFOV_DEG = (45.0, 75.0)
MEDIAN_DEPTH_M, NEAREST_M = (0.25, 1.3), 0.12
GRIPPER_SHARE = 0.2    # of scenes that are seen from an arm
CLEARANCE = 0.12       # metres that the camera keeps from every surface
_DARKENING_M = 0.06    # over which corners between small things darken
_TRIES = 60


class Closeup:
    """A stage and its room; x and y run from 0 to `size`, the floor is z = 0.

    Attributes
    ----------
    kind : 'bay', 'table' or 'bin'.
    scene : `MeshScene`, the renderer.
    things : low and high corner of each loose thing on the stage, in the stage's own frame.
    boxes : low and high corner of the furniture round the stage.
    frame : (4, 4) stage to room.
    """

    def __init__(self, kind: str, stage: Stage, frame, room: Layout, lighting, gripper=None):
        self.kind, self.frame, self.things = kind, frame, stage.things
        self._gripper = gripper
        self.boxes, self._stage, self._size = room.boxes[1:], stage, room.size
        lights, ambient, exposure, self._flash = lighting
        corners = np.array([placed_point(frame, point) for point in _corners(stage)])
        close = corners.min(axis=0) - 0.15, corners.max(axis=0) + 0.15, _DARKENING_M
        self._lamps = tuple(lights)
        self.scene = MeshScene(room.meshes, lights, ambient=ambient, exposure=exposure,
                               close=close)

    @classmethod
    def random(cls, seed: int, kind: str | None = None,
               furniture: Sequence[Sequence[Mesh]] = ()) -> Closeup:
        """A scene by chance; the same arguments give the same to the last bit.

        Parameters
        ----------
        seed : any non-negative integer.
        kind : one of `SHARES`; None: any of them by their shares.
        furniture : models for the room round it, as `Room.random` takes them.

        Raises
        ------
        SceneError : unknown kind.
        """
        if kind is not None and kind not in STAGES:
            raise SceneError(f'got scene kind {kind!r}, must be one of {tuple(STAGES)} or None')
        rng = np.random.default_rng([41, seed])
        kind = kind or str(rng.choice(list(SHARES), p=list(SHARES.values())))
        palette = Palette(rng, CLOSE_RECIPES)
        stage = STAGES[kind](rng, palette)
        room, frame, spots = _surroundings(rng, palette, kind, stage, furniture)
        lighting = _lighting(rng, spots, frame, stage)
        gripper = Gripper(rng, palette) if rng.random() < GRIPPER_SHARE else None
        return cls(kind, stage, frame, room, lighting, gripper)

    def render(self, intrinsics, pose) -> View:
        """What a camera sees; a flash and a gripper go with it. See `MeshScene.render`."""
        if self._flash is not None:
            at = placed_point(pose, self._flash.position)
            flash = Light(tuple(at), self._flash.colour, self._flash.radius)
            self.scene.lights = (flash, *self._lamps)
        view = self.scene.render(intrinsics, pose)
        return view if self._gripper is None else self._gripper.over(view, intrinsics)

    def random_pose(self, rng, intrinsics) -> np.ndarray:
        """A camera pose, (4, 4) optical frame to world, that looks at the stage from near.

        It keeps `CLEARANCE`, is in no thing, and what it sees has its median within
        `MEDIAN_DEPTH_M`; the best of some where none does.
        """
        best, best_score = np.eye(4), -np.inf
        for _ in range(_TRIES):
            pose, distance = self._proposal(rng)
            score = self._worth(pose, intrinsics, distance)
            if score >= 1:
                return pose
            if score > best_score:
                best, best_score = pose, score
        return best

    def _proposal(self, rng) -> tuple[np.ndarray, float]:
        """A pose, and the metres from it to what it looks at."""
        stage = self._stage
        target = rng.uniform(stage.low, np.maximum(stage.high, stage.low + 1e-6))
        azimuth, elevation = rng.uniform(*stage.azimuth), rng.uniform(*stage.elevation)
        away = np.array([np.cos(elevation) * np.cos(azimuth),
                         np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
        distance = float(rng.uniform(*stage.distance))
        roll = np.radians(rng.normal(0, 5) if rng.random() < 0.85 else rng.uniform(-45, 45))
        return self.frame @ look_at(target + away * distance, target, roll), distance

    def _worth(self, pose, intrinsics, distance: float) -> float:
        """At least 1 where a camera may be and sees what it looks at from near."""
        eye = pose[:3, 3]
        if np.any(eye[:2] < 0.05) or np.any(eye > self._size - 0.05) or eye[2] < 0.05:
            return -1.0
        own = np.linalg.inv(self.frame) @ np.append(eye, 1)
        solids = [*self._stage.solids, *self._stage.things]
        if _inside(own[:3], solids) or _inside(eye, self.boxes):
            return -1.0
        free = float(self.scene.clearance(eye[None])[0])
        if free < CLEARANCE:
            return free / CLEARANCE - 1
        half = intrinsics.width / 2 / intrinsics.fx, intrinsics.height / 2 / intrinsics.fy
        x, y = np.meshgrid(np.linspace(-1, 1, 12) * half[0], np.linspace(-1, 1, 9) * half[1])
        depth = self.scene.depth_along(x.astype(np.float32), y.astype(np.float32), pose)
        if np.isfinite(depth).mean() < 0.9:
            return 0.0
        near, median = np.nanmin(depth), np.nanmedian(depth)
        middle = np.nanmedian(depth[3:6, 4:8])
        low, high = MEDIAN_DEPTH_M
        return float(min(near / (1.1 * NEAREST_M), median / (1.05 * low), high / (1.03 * median),
                         middle / (0.7 * distance)))


def placed_point(frame, point) -> np.ndarray:
    """(3,) point after a 4x4 transform."""
    return (np.asarray(frame) @ np.append(point, 1.0))[:3]


def _corners(stage: Stage):
    return [np.where([k & 1, k >> 1 & 1, k >> 2], stage.high, stage.low) for k in range(8)]


def _inside(point, boxes) -> bool:
    return any(np.all(point > low) and np.all(point < high) for low, high in boxes)


def _surroundings(rng, palette, kind, stage, furniture):
    """The room with the stage in it: (Layout, frame of the stage, lamp positions)."""
    size = rng.uniform([2.6, 2.6, 2.3], [7.0, 6.0, 3.4])
    style = list(AGAINST_WALLS)[int(rng.integers(len(AGAINST_WALLS)))]
    room = Layout(rng, palette, size, (AGAINST_WALLS[style], FREE_STANDING[style]), furniture)
    walls = room.walls()
    frame = _stand(rng, kind, stage, size)
    room.add([mesh.moved(frame) for mesh in stage.meshes])
    lamps, spots = fixtures.ceiling_lamps(rng, palette, size)
    room.meshes += lamps
    if kind == 'table':
        _chairs(rng, palette, room)
    fill = rng.choice([0.0, 0.3, 0.7])
    for wall, length, openings in walls:
        room.along_wall(wall, length, openings['door'] + openings['window'], fill)
    room.in_the_middle(int(rng.integers(0, 4)))
    if rng.random() < 0.5:
        room.on_the_floor(int(rng.integers(0, 4)))
    return room, frame, spots


def _stand(rng, kind, stage, size) -> np.ndarray:
    """Where the stage is: (4, 4) to the room. A shelf needs an arm's length before it."""
    yaw = rng.integers(4) * np.pi / 2 + rng.normal(0, 0.1)
    low, high = bounds(placed(stage.meshes, yaw=yaw))
    margin = 0.75 if kind == 'bay' else rng.choice([0.05, 0.4, 0.8])
    space = size[:2] - (high - low)[:2]
    at = rng.uniform(np.minimum(margin, space / 2), np.maximum(space - margin, space / 2 + 1e-6))
    frame = rotation_z(yaw)
    frame[:2, 3] = at - low[:2]
    return frame


def _chairs(rng, palette, room: Layout) -> None:
    """Chairs near the table, seen behind it."""
    low, high = room.boxes[0]
    for _ in range(int(rng.integers(0, 4))):
        maker = SEATS[int(rng.integers(len(SEATS)))]
        at = rng.uniform(low[:2] - 0.7, high[:2] + 0.7)
        room.add(placed(maker(rng, palette), *at, 0, rng.uniform(0, 2 * np.pi)))


def _lighting(rng, spots, frame, stage):
    """(lamps, ambient, exposure, flash in the camera's frame or None)."""
    name = str(rng.choice(list(LIGHTS), p=list(LIGHTS.values())))
    white = 1 + rng.uniform(-0.25, 0.25) * np.array([1, 0, -1])
    middle = placed_point(frame, (stage.low + stage.high) / 2)
    lamps, flash = [], None
    for k in rng.permutation(len(spots))[:2 if name == 'room' else 1]:
        power = rng.uniform(1.5, 6) if name != 'flash' else rng.uniform(0.2, 3)
        lamps.append(Light(tuple(spots[k]), tuple(power * white), rng.uniform(0.05, 0.3)))
    if name == 'bench':
        for _ in range(int(rng.integers(1, 3))):
            at = middle + rng.uniform([-0.7, -0.7, 0.35], [0.7, 0.7, 1.1])
            lamps.insert(0, Light(tuple(at), tuple(rng.uniform(0.3, 1.5) * white), 0.05))
    if name == 'flash':
        offset = (*rng.uniform(-0.07, 0.07, 2), rng.uniform(-0.05, 0.02))
        flash = Light(offset, tuple(rng.uniform(0.2, 1.2) * white), 0.01)
    ambient = rng.uniform(*{'dim': (0.02, 0.1), 'flash': (0.02, 0.2)}.get(name, (0.08, 0.5)))
    exposure = rng.uniform(0.16, 0.3) if name == 'dim' else rng.uniform(0.3, 0.6)
    return lamps, ambient * (0.5 + 0.5 * white), float(exposure), flash
