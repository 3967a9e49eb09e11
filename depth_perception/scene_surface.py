"""What shading has to know about each triangle, and the texture lookup."""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from .scene_atlas import BORDER, TextureAtlas
from .scene_mesh import Mesh

# Columns of the table: texture coordinate of corner 0 and the two edges, texels per metre, the
# tile in the atlas (x, y, width, height, levels), the normal's upward part, light.
_U0, _V0, _U1, _V1, _U2, _V2, _DENSITY, _X, _Y, _W, _H, _LEVELS, _UP, _EMIT, _GLOSS = range(15)


class Surface(NamedTuple):
    """The table's columns for each pixel, (H, W) float32 each, in the order of the table."""

    u0: np.ndarray
    v0: np.ndarray
    u1: np.ndarray
    v1: np.ndarray
    u2: np.ndarray
    v2: np.ndarray
    density: np.ndarray
    x: np.ndarray
    y: np.ndarray
    width: np.ndarray
    height: np.ndarray
    levels: np.ndarray
    up: np.ndarray
    emission: np.ndarray
    gloss: np.ndarray


class SurfaceTable:
    """Rows for T triangles, and one more for rays that hit nothing.

    corners : (T, 3, 3) float32 world positions of the meshes' triangles, in their order.
    """

    def __init__(self, meshes: Sequence[Mesh], corners: np.ndarray):
        textures: dict[int, np.ndarray] = {}
        for mesh in meshes:  # parts often share a texture: keep it once
            textures.setdefault(id(mesh.texture), mesh.texture)
        atlas = TextureAtlas(list(textures.values()))
        tiles = dict(zip(textures, atlas.tiles))
        self.image = atlas.image
        self.normals = _face_normals(corners)
        self._table = np.zeros((len(corners) + 1, 15), np.float32)
        start = 0
        for mesh in meshes:
            stop = start + len(mesh.triangles)
            self._fill(self._table[start:stop], mesh, tiles[id(mesh.texture)])
            start = stop
        self._table[:-1, _DENSITY] = _texel_density(corners, self._table[:-1])
        self._table[:-1, _UP] = self.normals[:, 2]
        self._table[-1, [_W, _H]] = 1

    @staticmethod
    def _fill(rows: np.ndarray, mesh: Mesh, tile) -> None:
        uv = np.asarray(mesh.uv, np.float32)
        rows[:, _U0:_U1] = uv[:, 0]
        rows[:, _U1:_DENSITY] = (uv[:, 1:] - uv[:, :1]).reshape(-1, 4)
        rows[:, _X:_UP] = tile
        rows[:, _EMIT], rows[:, _GLOSS] = mesh.emission, mesh.gloss

    def rows(self, ids: np.ndarray) -> Surface:
        """The columns for triangle numbers (H, W)."""
        return Surface(*cv2.split(np.take(self._table, ids, axis=0, mode='clip')))

    def camera_normals(self, corners: np.ndarray, pose: np.ndarray) -> np.ndarray:
        """(T + 1, 3) float32 normals in the camera frame, each turned towards the camera."""
        to_camera = pose[:3, 3].astype(np.float32) - corners[:, 0]
        facing = np.einsum('ij,ij->i', to_camera, self.normals)
        normals = np.full((len(corners) + 1, 3), np.nan, np.float32)
        normals[:-1] = self.normals @ pose[:3, :3].astype(np.float32)
        normals[:-1][facing < 0] *= -1
        return normals

    def texels(self, surface: Surface, bary, depth, focal_px: float, out: np.ndarray) -> None:
        """Write each pixel's texture colour, bilinear at the mip level that fits its size.

        bary : the two barycentric planes (H, W); depth (H, W) metres; out (H, W, 3) uint8.
        """
        s, t = surface, bary
        u = s.u0 + t[0] * s.u1 + t[1] * s.u2
        v = s.v0 + t[0] * s.v1 + t[1] * s.v2
        u -= np.floor(u)
        v -= np.floor(v)
        # Texels in a pixel; 1.4: surfaces are seen at a slant.
        footprint = s.density * depth
        footprint *= np.float32(1.4 / focal_px)
        footprint += np.float32(1e-6)
        level = (footprint.view(np.int32) >> 23) - 127  # the exponent: floor of log2
        np.clip(level, 0, s.levels.astype(np.int32), out=level)
        scale = ((127 - level) << 23).view(np.float32)  # 2 ** -level
        x = s.x + s.width * (2 + scale * (u - 2)) + (2 * BORDER * level - 0.5).astype(np.float32)
        y = s.y + s.height * scale * v - np.float32(0.5)
        cv2.remap(self.image, x, y, cv2.INTER_LINEAR, dst=out)


def _face_normals(corners: np.ndarray) -> np.ndarray:
    edges = corners[:, 1:].astype(np.float64) - corners[:, :1]
    normals = np.cross(edges[:, 0], edges[:, 1])
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return (normals / np.maximum(length, 1e-30)).astype(np.float32)


def _texel_density(corners: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Texels per metre of each triangle: the root of its area in texels over that in metres."""
    texels = np.abs(table[:, _U1] * table[:, _V2] - table[:, _V1] * table[:, _U2])
    texels *= table[:, _W] * table[:, _H]
    edges = corners[:, 1:] - corners[:, :1]
    metres = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1)
    return np.sqrt(texels / np.maximum(metres, 1e-12))
