"""Shapes that furniture is built from: boxes, surfaces of revolution, sheets, extrusions."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .scene_mesh import Mesh


@dataclass(frozen=True)
class Material:
    """A texture and how it sends light back (see `Mesh`).

    tile : metres that one repeat covers; 0: stretched over each face once.
    """

    texture: np.ndarray
    tile: float = 1.0
    gloss: float = 0.0
    emission: float = 0.0


def plain(colour, *, gloss=0.0, emission=0.0) -> Material:
    """A single colour, (3,) 0..255."""
    texture = np.clip(np.asarray(colour), 0, 255).astype(np.uint8).reshape(1, 1, 3)
    return Material(texture, 1.0, gloss, emission)


def _mesh(vertices, triangles, uv, material: Material) -> Mesh:
    return Mesh(np.asarray(vertices, np.float32), np.asarray(triangles, np.int32),
                np.asarray(uv, np.float32), material.texture, material.emission, material.gloss)


# Corner k of a box is (k & 1, k >> 1 & 1, k >> 2) of low..high. For each face: its corners
# counter-clockwise seen from outside, starting at the texture's lower left corner, and the
# axes that u and v run along.
_FACES = (((0, 1, 5, 4), 0, 2), ((1, 3, 7, 5), 1, 2), ((3, 2, 6, 7), 0, 2),
          ((2, 0, 4, 6), 1, 2), ((4, 5, 7, 6), 0, 1), ((2, 3, 1, 0), 0, 1))
_FACE_UV = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], np.float32)


def box(low, high, material: Material) -> Mesh:
    """An axis-aligned box between two corners, metres. Faces: -y, +x, +y, -x, top, bottom."""
    low, high = np.asarray(low, np.float32), np.asarray(high, np.float32)
    picks = np.array([[k & 1, k >> 1 & 1, k >> 2] for k in range(8)])
    vertices = np.where(picks, high, low)
    size = high - low
    triangles, uv = [], []
    for corners, u_axis, v_axis in _FACES:
        scale = size[[u_axis, v_axis]] / material.tile if material.tile else np.ones(2)
        face_uv = _FACE_UV * scale
        for a, b, c in ((0, 1, 2), (0, 2, 3)):
            triangles.append([corners[a], corners[b], corners[c]])
            uv.append(face_uv[[a, b, c]])
    return _mesh(vertices, triangles, uv, material)


def block(centre_x, centre_y, z, size, material: Material) -> Mesh:
    """A box of a size (sx, sy, sz) that stands with its bottom centre at a point."""
    half_x, half_y = size[0] / 2, size[1] / 2
    return box((centre_x - half_x, centre_y - half_y, z),
               (centre_x + half_x, centre_y + half_y, z + size[2]), material)


def sheet(grid, material: Material) -> Mesh:
    """A surface through an (n, m, 3) grid of points; its front is rows x columns.

    u runs along the columns and v along the rows, both by the length of the first row and
    column in metres over the material's tile.
    """
    grid = np.asarray(grid, np.float32)
    rows, columns = grid.shape[:2]
    u = _arc_lengths(grid[rows // 2], material.tile)
    v = _arc_lengths(grid[:, 0], material.tile)
    corner_uv = np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2)
    first = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).reshape(-1, 1)
    a, b, c, d = first, first + 1, first + columns, first + columns + 1
    triangles = np.concatenate([np.hstack([a, c, d]), np.hstack([a, d, b])])
    return _mesh(grid.reshape(-1, 3), triangles, corner_uv[triangles], material)


def _arc_lengths(points, tile: float) -> np.ndarray:
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    lengths = np.concatenate([[0.0], np.cumsum(steps)])
    return lengths / tile if tile else lengths / max(lengths[-1], 1e-6)


def lathe(profile, material: Material, *, segments: int = 16, centre=(0.0, 0.0)) -> Mesh:
    """A surface of revolution about a vertical axis.

    profile : (n, 2) radius and height in metres, from bottom to top (seen from outside).
    """
    profile = np.asarray(profile, np.float32)[::-1]
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    radius, height = profile[:, :1], profile[:, 1:]
    grid = np.stack([centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle),
                     np.broadcast_to(height, (len(profile), segments + 1))], axis=-1)
    return sheet(grid, material)


def cylinder(x, y, z, radius, height, material: Material, *, top=None, segments: int = 16) -> Mesh:
    """An upright closed cylinder, or a cone frustum where `top` gives another radius."""
    top = radius if top is None else top
    return lathe([(0, z), (radius, z), (top, z + height), (0, z + height)], material,
                 segments=segments, centre=(x, y))


def ball(x, y, z, radius, material: Material, *, segments: int = 18) -> Mesh:
    """A sphere about a centre."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, segments // 2 + 1)
    profile = np.stack([radius * np.cos(angle), z + radius * np.sin(angle)], axis=-1)
    return lathe(profile, material, segments=segments, centre=(x, y))


def extrusion(outline, low, high, material: Material) -> Mesh:
    """A closed prism: an (n, 2) convex outline in x and y, counter-clockwise, from low to high."""
    outline = np.asarray(outline, np.float32)
    ring = np.concatenate([outline, outline[:1]])
    middle = np.broadcast_to(outline.mean(axis=0), ring.shape)
    rows = [(middle, high), (ring, high), (ring, low), (middle, low)]
    grid = [np.column_stack([points, np.full(len(points), z)]) for points, z in rows]
    return sheet(grid, material)


def rotation_z(yaw: float) -> np.ndarray:
    """(4, 4) turn about the vertical axis, radians."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    matrix = np.eye(4)
    matrix[:2, :2] = [[cos, -sin], [sin, cos]]
    return matrix


def placed(meshes, x=0.0, y=0.0, z=0.0, yaw=0.0) -> list[Mesh]:
    """The meshes turned about their origin and then moved."""
    transform = rotation_z(yaw)
    transform[:3, 3] = x, y, z
    return [mesh.moved(transform) for mesh in meshes]


def lying(meshes, axis: int = 0) -> list[Mesh]:
    """The meshes turned by 90 degrees about x (0: z becomes -y) or y (1: z becomes x)."""
    transform = np.eye(4)
    transform[:3, :3] = ([[1, 0, 0], [0, 0, -1], [0, 1, 0]] if axis == 0
                         else [[0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    return [mesh.moved(transform) for mesh in meshes]
