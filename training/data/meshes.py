"""GLB files as lists of `depth_perception.scenes.Mesh`, through trimesh."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh

from depth_perception.scenes import Mesh
from training.data.root import UnreadableFile

# glTF is Y up, facing +Z; this package is Z up.
Y_UP_TO_Z_UP = np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]], float)


def load_meshes(path: Path, to_world: np.ndarray | None = None) -> list[Mesh]:
    """Read a GLB file.

    Parameters
    ----------
    path
        The file.
    to_world
        4x4 transform of the file's axes into Z up; None leaves them.

    Returns
    -------
    list of Mesh
        One for each drawn part, metres.

    Raises
    ------
    UnreadableFile
        The file is missing, unreadable or holds no triangle.
    """
    to_world = np.eye(4) if to_world is None else to_world
    try:
        scene = trimesh.load(path, force='scene')
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise UnreadableFile(f'{path} is no GLB file that trimesh reads ({error}); '
                        'copy the file again') from error
    textures: dict[str, np.ndarray] = {}
    meshes = []
    for node in sorted(scene.graph.nodes_geometry):
        transform, name = scene.graph[node]
        geometry = scene.geometry[name]
        if not isinstance(geometry, trimesh.Trimesh) or not len(geometry.faces):
            continue
        if name not in textures:
            textures[name] = _texture(geometry)
        meshes.append(_mesh(geometry, textures[name], to_world @ transform))
    if not meshes:
        raise UnreadableFile(f'{path} holds no triangle; leave the file out')
    return meshes


def _mesh(geometry: trimesh.Trimesh, texture: np.ndarray, transform: np.ndarray) -> Mesh:
    triangles = np.asarray(geometry.faces)
    coordinates = getattr(geometry.visual, 'uv', None)
    if coordinates is None or len(coordinates) != len(geometry.vertices):
        uv = np.zeros((len(triangles), 3, 2), np.float32)
    else:
        uv = np.asarray(coordinates, np.float32)[triangles]
        uv[..., 1] = 1 - uv[..., 1]  # trimesh counts v from the bottom, Mesh from the top
    mesh = Mesh(np.asarray(geometry.vertices, np.float32), triangles, uv, texture)
    return mesh.moved(transform)


def _texture(geometry: trimesh.Trimesh) -> np.ndarray:
    """Return the base colour of a part, (h, w, 3) uint8; light grey where it has none."""
    material = getattr(geometry.visual, 'material', None)
    image = getattr(material, 'baseColorTexture', None)
    if image is not None:
        return np.ascontiguousarray(np.asarray(image.convert('RGB'), np.uint8))
    factor = getattr(material, 'baseColorFactor', None)
    colour = (200, 200, 200) if factor is None else np.asarray(factor)[:3]
    return np.full((1, 1, 3), colour, np.uint8)
