"""Textured triangle meshes: what a scene is made of."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np


class SceneError(ValueError):
    """A mesh, a light or a camera request that no picture can be made of."""


@dataclass(frozen=True)
class Mesh:
    """Triangles that share one texture.

    Attributes
    ----------
    vertices : (V, 3) float32, metres, Z up.
    triangles : (T, 3) integers, indices into `vertices`, counter-clockwise seen from outside.
    uv : (T, 3, 2) float32, one texture coordinate for each corner. (0, 0) is the outer corner
        of the texture's first pixel, u grows to the right, v grows downwards; outside 0..1 the
        texture repeats.
    texture : (h, w, 3) uint8 RGB; 1x1 for a plain colour.
    emission : light that the surface gives off by itself, times its texture (1: a white screen).
    gloss : strength of the highlight of the main light, 0 (matt) to 1 (varnish).
    """

    vertices: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray
    texture: np.ndarray
    emission: float = 0.0
    gloss: float = 0.0

    def __post_init__(self):
        count = len(self.triangles)
        if np.shape(self.vertices)[1:] != (3,) or np.shape(self.triangles)[1:] != (3,):
            raise SceneError(
                f'vertices {np.shape(self.vertices)} and triangles {np.shape(self.triangles)} '
                'must be (V, 3) and (T, 3)')
        if np.shape(self.uv) != (count, 3, 2):
            raise SceneError(
                f'uv has shape {np.shape(self.uv)}, must be (T, 3, 2) = ({count}, 3, 2): '
                'one coordinate for each corner of each triangle')
        if (np.ndim(self.texture) != 3 or np.shape(self.texture)[2] != 3
                or np.size(self.texture) == 0 or self.texture.dtype != np.uint8):
            raise SceneError(
                f'texture is {np.shape(self.texture)} {self.texture.dtype}, must be (h, w, 3) '
                'uint8 RGB; use a 1x1 texture for a plain colour')

    def moved(self, transform: np.ndarray) -> Mesh:
        """The same mesh after a 4x4 transform (rotation, scale, translation)."""
        vertices = self.vertices @ transform[:3, :3].T + transform[:3, 3]
        triangles = self.triangles
        uv = self.uv
        if np.linalg.det(transform[:3, :3]) < 0:  # a mirror turns the winding round
            triangles, uv = triangles[:, ::-1], uv[:, ::-1]
        return Mesh(vertices.astype(np.float32), triangles, uv, self.texture,
                    self.emission, self.gloss)


def bounds(meshes) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corner of some meshes, each (3,) float32 metres."""
    low = np.min([mesh.vertices.min(axis=0) for mesh in meshes], axis=0)
    high = np.max([mesh.vertices.max(axis=0) for mesh in meshes], axis=0)
    return low, high
