"""Pictures of textured, lit meshes by ray casting: colour, exact z depth and normals."""
from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Sequence

import cv2
import numpy as np
import open3d as o3d

from .scene_atlas import BORDER, TextureAtlas
from .scene_mesh import Mesh, SceneError


class View(NamedTuple):
    """What a camera sees.

    rgb (H, W, 3) uint8; depth (H, W) float32, metres along the optical axis, NaN where nothing
    was hit; normals (H, W, 3) float32, unit, camera optical frame, turned towards the camera,
    NaN where nothing was hit.
    """

    rgb: np.ndarray
    depth: np.ndarray
    normals: np.ndarray


@dataclass(frozen=True)
class Light:
    """A round lamp: position (3,) metres, colour (3,) as light at 1 m, radius in metres."""

    position: tuple[float, float, float]
    colour: tuple[float, float, float]
    radius: float = 0.1


# Columns of the table that holds all that shading needs to know about one triangle.
_U0, _V0, _U1, _V1, _U2, _V2, _DENSITY, _X, _Y, _W, _H, _LEVELS, _UP, _EMIT, _GLOSS = range(15)


def _texel_density(corners: np.ndarray, texel_uv: np.ndarray) -> np.ndarray:
    """Texels per metre of each triangle: sqrt of its area in texels over its area in metres."""
    a, b = texel_uv[:, 1] - texel_uv[:, 0], texel_uv[:, 2] - texel_uv[:, 0]
    texels = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
    metres = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0],
                                     corners[:, 2] - corners[:, 0]), axis=1)
    return np.sqrt(texels / np.maximum(metres, 1e-12))


class MeshScene:
    """Renders meshes with textures and lights.

    Parameters
    ----------
    meshes : the parts, world frame, Z up, metres.
    lights : the first one is the main light and throws shadows. Without lights the scene is lit
        by `ambient` alone.
    ambient : (3,) light that comes from everywhere.
    background : (3,) uint8 RGB where no surface is hit.
    """

    def __init__(self, meshes: Sequence[Mesh], lights: Sequence[Light] = (), *,
                 ambient=(0.5, 0.5, 0.5), background=(160, 190, 220)):
        meshes = [mesh for mesh in meshes if len(mesh.triangles)]
        if not meshes:
            raise SceneError('the scene has no triangles; give it at least one mesh')
        self.lights = tuple(lights)
        self.ambient = np.asarray(ambient, np.float32)
        self.background = np.asarray(background, np.uint8)
        self._corners = np.concatenate(
            [mesh.vertices[mesh.triangles] for mesh in meshes]).astype(np.float32)
        self._normals = self._face_normals()
        self._atlas, self._table = self._shading_table(meshes)
        self._raycaster = self._build_raycaster()
        self._rays: dict = {}

    def _face_normals(self) -> np.ndarray:
        c = self._corners
        normals = np.cross(c[:, 1] - c[:, 0], c[:, 2] - c[:, 0]).astype(np.float64)
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        return (normals / np.maximum(length, 1e-30)).astype(np.float32)

    def _build_raycaster(self):
        scene = o3d.t.geometry.RaycastingScene()
        triangles = np.arange(3 * len(self._corners), dtype=np.uint32).reshape(-1, 3)
        scene.add_triangles(o3d.core.Tensor(self._corners.reshape(-1, 3)),
                            o3d.core.Tensor(triangles))
        return scene

    def _shading_table(self, meshes) -> tuple[TextureAtlas, np.ndarray]:
        """The atlas, and (T + 1, 15) float32; the last row is for rays that hit nothing."""
        textures, index = [], {}
        for mesh in meshes:  # parts often share a texture: keep it once
            if id(mesh.texture) not in index:
                index[id(mesh.texture)] = len(textures)
                textures.append(mesh.texture)
        atlas = TextureAtlas(textures)
        blocks = [self._mesh_rows(mesh, atlas.tiles[index[id(mesh.texture)]]) for mesh in meshes]
        blocks.append(np.zeros((1, 15), np.float32))
        table = np.concatenate(blocks)
        scaled = table[:-1, :_DENSITY].reshape(-1, 3, 2).copy()
        scaled[:, 1:] += scaled[:, :1]
        table[:-1, _DENSITY] = _texel_density(self._corners, scaled * table[:-1, None, _W:_H + 1])
        table[:-1, _UP] = self._normals[:, 2]
        table[-1, [_W, _H]] = 1
        return atlas, table

    @staticmethod
    def _mesh_rows(mesh: Mesh, tile) -> np.ndarray:
        rows = np.zeros((len(mesh.triangles), 15), np.float32)
        uv = np.asarray(mesh.uv, np.float32)
        rows[:, [_U0, _V0]] = uv[:, 0]
        rows[:, [_U1, _V1]] = uv[:, 1] - uv[:, 0]
        rows[:, [_U2, _V2]] = uv[:, 2] - uv[:, 0]
        rows[:, _X:_LEVELS + 1] = tile
        rows[:, _EMIT], rows[:, _GLOSS] = mesh.emission, mesh.gloss
        return rows

    def _ray_planes(self, intrinsics) -> tuple[np.ndarray, np.ndarray]:
        key = (intrinsics.width, intrinsics.height, intrinsics.fx, intrinsics.fy,
               intrinsics.cx, intrinsics.cy)
        if key not in self._rays:
            if len(self._rays) >= 4:
                self._rays.clear()
            u, v = np.meshgrid(np.arange(intrinsics.width), np.arange(intrinsics.height))
            self._rays[key] = (((u - intrinsics.cx) / intrinsics.fx).astype(np.float32),
                               ((v - intrinsics.cy) / intrinsics.fy).astype(np.float32))
        return self._rays[key]

    def render(self, intrinsics, pose: np.ndarray) -> View:
        """The view of a pinhole camera.

        Parameters
        ----------
        intrinsics : `geometry.Intrinsics`.
        pose : (4, 4) camera optical frame (x right, y down, z forward) to world.

        Returns
        -------
        View, freshly allocated.
        """
        ray_x, ray_y = self._ray_planes(intrinsics)
        pose = np.asarray(pose, np.float64)
        depth, ids, bary = self._cast(ray_x, ray_y, pose)
        camera_normals = self._camera_normals(pose)
        normals = np.take(camera_normals, ids, axis=0)
        focal = float(np.sqrt(intrinsics.fx * intrinsics.fy))
        rgb = self._shade(ray_x, ray_y, depth, ids, bary, normals, pose, focal)
        missed = ids == len(self._corners)
        depth[missed] = np.nan
        rgb[missed] = self.background
        return View(rgb, depth, normals)

    def _cast(self, ray_x, ray_y, pose):
        """Depth (H, W), triangle numbers (H, W) and barycentric planes u, v."""
        height, width = ray_x.shape
        rays = np.empty((height, width, 6), np.float32)
        rays[..., :3] = pose[:3, 3]
        directions = np.stack([ray_x, ray_y, np.ones_like(ray_x)], axis=-1)
        # Directions keep z = 1 in the camera frame, so that t_hit is the z depth itself.
        rays[..., 3:] = cv2.transform(directions, pose[:3, :3].astype(np.float32))
        hit = self._raycaster.cast_rays(o3d.core.Tensor.from_numpy(rays))
        depth = hit['t_hit'].numpy()
        # A miss is numbered 2**32 - 1: the minimum sends it to the table's last row.
        ids = np.minimum(hit['primitive_ids'].numpy(), len(self._corners)).astype(np.int32)
        return np.minimum(depth, 1e4), ids, cv2.split(hit['primitive_uvs'].numpy())

    def _camera_normals(self, pose) -> np.ndarray:
        """(T + 1, 3) float32 normals in the camera frame, each turned towards the camera."""
        to_camera = pose[:3, 3].astype(np.float32) - self._corners[:, 0]
        facing = np.einsum('ij,ij->i', to_camera, self._normals)
        normals = np.full((len(self._normals) + 1, 3), np.nan, np.float32)
        normals[:-1] = self._normals @ pose[:3, :3].astype(np.float32)
        normals[:-1][facing < 0] *= -1
        return normals

    def _shade(self, ray_x, ray_y, depth, ids, bary, normals, pose, focal) -> np.ndarray:
        rows = np.take(self._table, ids.ravel(), axis=0).reshape(*ids.shape, -1)
        columns = [np.ascontiguousarray(rows[..., i]) for i in range(rows.shape[-1])]
        colour = self._texels(columns, bary, depth, focal)
        light = self._light(ray_x, ray_y, depth, normals, columns, pose)
        np.sqrt(light, out=light)
        return cv2.multiply(colour, light, dtype=cv2.CV_8U)

    def _texels(self, c, bary, depth, focal) -> np.ndarray:
        """(H, W, 3) uint8: the texture of each pixel, bilinear, at the mip level of its size."""
        u = c[_U0] + bary[0] * c[_U1] + bary[1] * c[_U2]
        v = c[_V0] + bary[0] * c[_V1] + bary[1] * c[_V2]
        u -= np.floor(u)
        v -= np.floor(v)
        footprint = c[_DENSITY] * depth * np.float32(1.4 / focal) + np.float32(1e-6)
        level = (footprint.view(np.int32) >> 23) - 127  # the exponent: floor of log2
        level = np.clip(level, 0, c[_LEVELS].astype(np.int32))
        scale = ((127 - level) << 23).view(np.float32)  # 2 ** -level
        x = c[_X] + 2 * c[_W] * (1 - scale) + 2 * BORDER * level + u * c[_W] * scale - 0.5
        y = c[_Y] + v * c[_H] * scale - 0.5
        return cv2.remap(self._atlas.image, x.astype(np.float32), y.astype(np.float32),
                         cv2.INTER_LINEAR)

    def _light(self, ray_x, ray_y, depth, normals, c, pose) -> np.ndarray:
        """(H, W, 3) float32 light that each pixel sends back, 1 = white stays white."""
        n = cv2.split(normals)
        total = [self.ambient[k] * (0.8 + 0.2 * c[_UP]) + c[_EMIT] for k in range(3)]
        to_camera = np.linalg.inv(pose)
        for light in self.lights:
            centre = to_camera[:3, :3] @ np.asarray(light.position) + to_camera[:3, 3]
            dx = np.float32(centre[0]) - ray_x * depth
            dy = np.float32(centre[1]) - ray_y * depth
            dz = np.float32(centre[2]) - depth
            square = dx * dx + dy * dy + dz * dz + np.float32(light.radius ** 2)
            lambert = np.maximum(dx * n[0] + dy * n[1] + dz * n[2], 0) / (square * np.sqrt(square))
            for k in range(3):
                total[k] += np.float32(light.colour[k]) * lambert
        return cv2.merge([plane.astype(np.float32, copy=False) for plane in total])
