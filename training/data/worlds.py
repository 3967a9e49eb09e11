"""Views of the AWS RoboMaker worlds: a small house, a bookstore and a hospital, ray cast.

The worlds carry plain albedo and no light, so lights, exposure and missing textures are drawn at
random for each set of views. Cameras stand in free space above a floor, in the part of the world
that splits.yaml gives to the entry.
"""
from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import open3d as o3d

from depth_perception.geometry import Intrinsics
from depth_perception.scenes import Light, Mesh, MeshScene
from training.data.meshes import load_meshes
from training.data.root import DataError

DATASET = 'aws_robomaker_worlds'
GENERATOR_VERSION = 1
CAMERA_HEIGHT_M = (0.2, 1.9)
ROLL_DEG = 4.0
HFOV_DEG = (45.0, 90.0)
CLEARANCE_M = 0.25
MEDIAN_DEPTH_M, MIN_DEPTH_M, MAX_DEPTH_M, MAX_MISSED = (0.5, 9.0), 0.15, 30.0, 0.15
FLAT_RATIO, FLAT_KEPT = 2.0, 0.2
TRIES = 400


@dataclass(frozen=True)
class World:
    """A loaded world: its parts, its extent and a ray caster for free space."""

    name: str
    meshes: tuple[Mesh, ...]
    low: np.ndarray
    high: np.ndarray
    raycaster: o3d.t.geometry.RaycastingScene

    def look(self, eye: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return two (N,) arrays: how far rays from eye (3,) get, and which hit a back face."""
        origins = np.broadcast_to(eye, directions.shape)
        rays = np.concatenate([origins, directions], axis=1).astype(np.float32)
        hit = self.raycaster.cast_rays(o3d.core.Tensor(rays))
        behind = (hit['primitive_normals'].numpy() * directions).sum(axis=1) > 0
        return hit['t_hit'].numpy(), behind


def _raycaster(meshes) -> o3d.t.geometry.RaycastingScene:
    caster = o3d.t.geometry.RaycastingScene()
    for mesh in meshes:
        caster.add_triangles(o3d.core.Tensor(np.ascontiguousarray(mesh.vertices, np.float32)),
                             o3d.core.Tensor(np.ascontiguousarray(mesh.triangles, np.uint32)))
    return caster


def make_world(name: str, meshes) -> World:
    """Return the world that consists of `meshes`."""
    points = np.concatenate([mesh.vertices for mesh in meshes])
    return World(name, tuple(meshes), points.min(axis=0), points.max(axis=0), _raycaster(meshes))


@lru_cache(maxsize=1)
def load_world(folder: Path, name: str) -> World:
    """Read a world of the data set; its files are Z up already."""
    return make_world(name, load_meshes(folder / f'{name}.glb'))


def grain(rng: np.random.Generator, colour, contrast: float = 12.0, size: int = 128) -> np.ndarray:
    """Return a (size, size, 3) uint8 texture: a colour with coarse and fine grain."""
    fine = rng.normal(0, contrast, (size, size, 1))
    coarse = np.kron(rng.normal(0, contrast, (size // 16, size // 16, 1)), np.ones((16, 16, 1)))
    return np.clip(np.asarray(colour) + fine + coarse, 0, 255).astype(np.uint8)


def randomised(world: World, rng: np.random.Generator) -> MeshScene:
    """Return the world under random lights, parts without a texture in random colours."""
    meshes, drawn = [], {}
    for mesh in world.meshes:
        key = id(mesh.texture)
        if key not in drawn:
            # Now and then a surface borrows another's picture: two worlds have few textures.
            lender = world.meshes[rng.integers(len(world.meshes))] if rng.random() < 0.12 else mesh
            drawn[key] = _dressed(lender.texture, rng)
        meshes.append(replace(mesh, texture=drawn[key]))
    ambient = rng.uniform(0.25, 0.6) * rng.uniform(0.85, 1.1, 3)
    return MeshScene(meshes, _lights(world, rng), ambient=tuple(ambient),
                     background=tuple(int(x) for x in rng.integers(120, 240, 3)))


def _dressed(texture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    plain = texture.shape[0] * texture.shape[1] == 1
    if plain:
        return grain(rng, rng.uniform(60, 230, 3))
    if rng.random() < 0.25:  # another paint on the same pattern
        tint = rng.uniform(0.6, 1.25, 3)
        return np.clip(texture * tint, 0, 255).astype(np.uint8)
    return texture


def _lights(world: World, rng: np.random.Generator) -> list[Light]:
    count = int(rng.integers(4, 9))
    places = rng.uniform(world.low, world.high, (count, 3))
    places[:, 2] = world.low[2] + rng.uniform(2.0, 2.9, count)
    warmth = rng.uniform(0.8, 1.0, (count, 3)) * [1.0, 0.95, 0.85]
    strength = rng.uniform(0.4, 2.5, (count, 1))
    return [Light(tuple(p), tuple(c)) for p, c in zip(places, warmth * strength)]


def camera_to_world(eye: np.ndarray, yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Return the 4x4 pose of a camera (x right, y down, z forward); angles in radians.

    Yaw turns about the world's vertical, pitch > 0 looks up, roll turns about the optical axis.
    """
    forward = np.array([np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    down = np.cross(forward, right)
    cos, sin = np.cos(roll), np.sin(roll)
    pose = np.eye(4)
    pose[:3, :3] = np.column_stack([cos * right + sin * down, cos * down - sin * right, forward])
    pose[:3, 3] = eye
    return pose


def random_eye(world: World, rng: np.random.Generator, region=(0.0, 1.0)) -> np.ndarray | None:
    """Return a place (3,) where a camera can be, or None where this try found none.

    It stands 0.2 to 1.9 m above whatever the ray downwards meets, which must be near the world's
    ground floor, with nothing within CLEARANCE_M around it and walls on most sides.
    """
    x = world.low[0] + rng.uniform(*region) * (world.high[0] - world.low[0])
    y = rng.uniform(world.low[1], world.high[1])
    start = np.array([x, y, 2.0])
    fall = float(world.look(start, np.array([[0.0, 0.0, -1.0]]))[0][0])
    floor = start[2] - fall
    if not -0.3 < floor < 1.0:  # no floor, a roof, or the top of a cupboard
        return None
    eye = np.array([x, y, max(floor, 0.0) + rng.uniform(*CAMERA_HEIGHT_M)])
    around = _sphere()
    distance, behind = world.look(eye, around)
    level = np.abs(around[:, 2]) < 0.3
    enclosed = np.isfinite(distance[level]).mean() > 0.8
    # Inside a solid, such as a pillar, the rays come out through the backs of its faces.
    inside = behind.mean() > 0.5
    return eye if distance.min() > CLEARANCE_M and enclosed and not inside else None


@lru_cache(maxsize=1)
def _sphere(count: int = 64) -> np.ndarray:
    """Return `count` unit vectors spread over a sphere (golden-angle spiral)."""
    i = np.arange(count) + 0.5
    z = 1 - 2 * i / count
    angle = i * np.pi * (3 - np.sqrt(5))
    flat = np.sqrt(1 - z * z)
    return np.column_stack([flat * np.cos(angle), flat * np.sin(angle), z])


def usable(depth: np.ndarray, rng: np.random.Generator) -> bool:
    """Say whether a view shows a place, not the inside of a shelf or the open sky.

    Of views with little depth in them (a bare wall, a patch of floor) only some are kept: free
    space in a house is mostly near a wall, and such views teach little.
    """
    depth = depth[::4, ::4]
    values = depth[np.isfinite(depth)]
    if values.size < (1 - MAX_MISSED) * depth.size:
        return False
    low, median, high = np.quantile(values, [0.1, 0.5, 0.9])
    if not MEDIAN_DEPTH_M[0] < median < MEDIAN_DEPTH_M[1] or values.min() < MIN_DEPTH_M:
        return False
    return bool(high / low > FLAT_RATIO or rng.random() < FLAT_KEPT)


def exposed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the picture as a camera with automatic exposure would take it."""
    gain = rng.uniform(85, 150) / max(float(image[::4, ::4].mean()), 1.0)
    return cv2.convertScaleAbs(image, alpha=min(max(gain, 0.6), 2.5))


def render_views(world: World, seed: int, count: int, height: int, width: int,
                 region=(0.0, 1.0)) -> list[dict]:
    """Render `count` views of a world under one random lighting.

    Returns
    -------
    list of dict
        image uint8 (height, width, 3) RGB, depth float32 metres with NaN, intrinsics, name.

    Raises
    ------
    DataError
        No free place was found in the region.
    """
    rng = np.random.default_rng([17, seed])
    scene, views = randomised(world, rng), []
    for _ in range(TRIES * count):
        eye = random_eye(world, rng, region)
        if eye is None:
            continue
        view, intrinsics = _look(scene, eye, rng, height, width)
        depth = np.where(view.depth <= MAX_DEPTH_M, view.depth, np.float32(np.nan))
        if usable(depth, rng):
            views.append({'image': exposed(view.rgb, rng), 'depth': depth,
                          'intrinsics': intrinsics, 'name': f'{world.name}/{seed}/{len(views)}'})
        if len(views) == count:
            return views
    raise DataError(f'{world.name}: only {len(views)} of {count} views in region {region} after '
                    f'{TRIES * count} tries; give a larger region')


def _look(scene: MeshScene, eye: np.ndarray, rng: np.random.Generator, height: int, width: int):
    intrinsics = Intrinsics.from_hfov(width, height, rng.uniform(*HFOV_DEG))
    # Mostly ahead and a little down, as on a robot; now and then down at a table or the floor.
    pitch = rng.normal(-8, 12) if rng.random() < 0.75 else rng.uniform(-60, -20)
    roll = rng.normal(0, ROLL_DEG)
    pose = camera_to_world(eye, rng.uniform(0, 2 * np.pi), np.radians(pitch), np.radians(roll))
    return scene.render(intrinsics, pose), intrinsics
