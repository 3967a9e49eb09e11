"""Pictures of textured, lit meshes by ray casting: colour, exact z depth and normals."""
from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np
import open3d as o3d

from .geometry import Intrinsics, ray_planes
from .scene_light import Light, Occlusion, add_light, smooth_within_surfaces
from .scene_mesh import Mesh, SceneError
from .scene_surface import SurfaceTable

_FAR = 1e4      # metres at which a ray that hits nothing is shaded
_BANDS = 8      # parts of a picture that are shaded by two threads: small ones stay in the cache


class View(NamedTuple):
    """What a camera sees.

    rgb (H, W, 3) uint8; depth (H, W) float32, metres along the optical axis, NaN where nothing
    was hit; normals (H, W, 3) float32, unit, camera optical frame, turned towards the camera,
    NaN where nothing was hit.
    """

    rgb: np.ndarray
    depth: np.ndarray
    normals: np.ndarray


class MeshScene:
    """Renders meshes with textures and lights.

    Parameters
    ----------
    meshes : the parts, world frame, Z up, metres.
    lights : the first one is the main light: it throws shadows and makes highlights. Without
        lights the scene is lit by `ambient` alone.
    ambient : (3,) light that comes from everywhere, less in corners.
    background : (3,) uint8 RGB where no surface is hit.
    exposure : the mean brightness, 0..1, that each picture is exposed for; None: the lights'
        own brightness, where 1 leaves a texture as it is.
    close : low corner, high corner and reach in metres of the part in which corners darken finely,
        for a scene that is seen from near; None: all of the scene, as fits a room.
    """

    def __init__(self, meshes: Sequence[Mesh], lights: Sequence[Light] = (), *,
                 ambient=(0.5, 0.5, 0.5), background=(160, 190, 220),
                 exposure: float | None = 0.45, close=None):
        meshes = [mesh for mesh in meshes if len(mesh.triangles)]
        if not meshes:
            raise SceneError('the scene has no triangles; give it at least one mesh')
        self.lights = tuple(lights)
        self.ambient = np.asarray(ambient, np.float32)
        self.background = np.asarray(background, np.uint8)
        self.exposure = exposure
        self._close = close
        self._corners = np.concatenate(
            [mesh.vertices[mesh.triangles] for mesh in meshes]).astype(np.float32)
        self._surfaces = SurfaceTable(meshes, self._corners)
        self._raycaster = o3d.t.geometry.RaycastingScene()
        self._raycaster.add_triangles(
            o3d.core.Tensor(self._corners.reshape(-1, 3)),
            o3d.core.Tensor(np.arange(self._corners.shape[0] * 3, dtype=np.uint32).reshape(-1, 3)))
        self._occlusion: Occlusion | None = None
        self._rays: dict[Intrinsics, tuple[np.ndarray, np.ndarray]] = {}

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner, each (3,) float32 metres."""
        return self._corners.min(axis=(0, 1)), self._corners.max(axis=(0, 1))

    def clearance(self, points) -> np.ndarray:
        """(N,) float32 metres from (N, 3) world points to the nearest surface."""
        query = o3d.core.Tensor(np.ascontiguousarray(points, dtype=np.float32))
        return self._raycaster.compute_distance(query).numpy()

    def depth_along(self, ray_x, ray_y, pose) -> np.ndarray:
        """Depth (H, W) in float32 metres, NaN for none, for the rays (x, y, 1) of a camera."""
        depth, ids, _ = self._cast(ray_x, ray_y, np.asarray(pose, np.float64))
        depth[ids == len(self._corners)] = np.nan
        return depth

    def render(self, intrinsics: Intrinsics, pose: np.ndarray) -> View:
        """The view of a pinhole camera.

        Parameters
        ----------
        intrinsics : size and focal length of the picture.
        pose : (4, 4) camera optical frame (x right, y down, z forward) to world.

        Returns
        -------
        View, freshly allocated.
        """
        pose = np.asarray(pose, np.float64)
        ray_x, ray_y = self._ray_planes(intrinsics)
        depth, ids, bary = self._cast(ray_x, ray_y, pose)
        normal_table = self._surfaces.camera_normals(self._corners, pose)
        visibility = self._visibility(ray_x, ray_y, depth, ids, normal_table, pose)
        normals = np.empty((*ids.shape, 3), np.float32)
        rgb = np.empty((*ids.shape, 3), np.uint8)
        light = np.empty((*ids.shape, 3), np.float32)

        def shade(rows: slice) -> None:
            np.take(normal_table, ids[rows], axis=0, out=normals[rows], mode='clip')
            surface = self._surfaces.rows(ids[rows])
            self._surfaces.texels(surface, [plane[rows] for plane in bary], depth[rows],
                                  intrinsics.focal_px, rgb[rows])
            light[rows] = self._light(ray_x[rows], ray_y[rows], depth[rows], normals[rows],
                                      surface, [plane[rows] for plane in visibility], pose)

        edges = np.linspace(0, ids.shape[0], _BANDS + 1).astype(int)
        bands = [slice(a, b) for a, b in zip(edges[:-1], edges[1:]) if b > a]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(shade, bands))
        self._expose(rgb, light)
        missed = ids == len(self._corners)
        if missed.any():
            depth[missed] = np.nan
            rgb[missed] = self.background
        return View(rgb, depth, normals)

    def _ray_planes(self, intrinsics):
        if intrinsics not in self._rays:
            if len(self._rays) >= 4:
                self._rays.clear()
            self._rays[intrinsics] = ray_planes(intrinsics)
        return self._rays[intrinsics]

    def _cast(self, ray_x, ray_y, pose):
        """Depth (H, W), triangle numbers (H, W) and the two barycentric planes."""
        rays = np.empty((*ray_x.shape, 6), np.float32)
        rays[..., :3] = pose[:3, 3]
        # Directions keep z = 1 in the camera frame, so that t_hit is the z depth itself.
        directions = cv2.merge([ray_x, ray_y, np.ones_like(ray_x)])
        rays[..., 3:] = cv2.transform(directions, pose[:3, :3].astype(np.float32))
        hit = self._raycaster.cast_rays(o3d.core.Tensor.from_numpy(rays))
        # A miss is numbered 2**32 - 1: the minimum sends it to the tables' last row.
        ids = np.minimum(hit['primitive_ids'].numpy(), len(self._corners)).astype(np.intp)
        depth = np.minimum(hit['t_hit'].numpy(), np.float32(_FAR))
        return depth, ids, cv2.split(hit['primitive_uvs'].numpy())

    def _visibility(self, ray_x, ray_y, depth, ids, normal_table, pose):
        """Two (H, W) float32 planes 0..1: the main light's share, and the ambient light's.

        Both are found for every second pixel of every second row, softened within surfaces and
        repeated: shadows are smooth, and rays are what a picture's time goes into.
        """
        every = (slice(None, None, 2), slice(None, None, 2))
        near = np.ascontiguousarray(depth[every])
        points = cv2.merge([ray_x[every] * near, ray_y[every] * near, near])
        normals = np.nan_to_num(normal_table[ids[every]])
        rotation = pose[:3, :3].astype(np.float32)
        points = cv2.transform(points, rotation) + pose[:3, 3].astype(np.float32)
        normals = cv2.transform(normals, rotation)
        if self._occlusion is None:
            self._occlusion = Occlusion(self._raycaster, *(self._close or self.bounds))
        planes = [self._occlusion.lit(points, normals, self.lights),
                  self._occlusion.openness(points, normals)]
        planes = smooth_within_surfaces(planes, near)
        size = depth.shape[1::-1]
        return [cv2.resize(plane, (2 * near.shape[1], 2 * near.shape[0]),
                           interpolation=cv2.INTER_NEAREST)[:size[1], :size[0]]
                for plane in planes]

    def _light(self, ray_x, ray_y, depth, normals, surface, visibility, pose) -> np.ndarray:
        """(H, W, 3) float32 light that each pixel sends back; 1 = the texture as it is."""
        shadow, openness = visibility
        sky = openness * (1 + np.float32(0.15) * surface.up)
        total = [sky * self.ambient[k] + surface.emission for k in range(3)]
        n, to_camera = cv2.split(normals), np.linalg.inv(pose)
        point = (ray_x * depth, ray_y * depth, depth)
        for index, light in enumerate(self.lights):
            centre = to_camera[:3, :3] @ np.asarray(light.position) + to_camera[:3, 3]
            add_light(total, light.colour, light.radius, centre.astype(np.float32), point, n,
                      shadow if index == 0 else openness,
                      surface.gloss if index == 0 else None)
        return cv2.merge(total)

    def _expose(self, rgb: np.ndarray, light: np.ndarray) -> None:
        """Textures times the square root of the light (a display gamma of 2), in place."""
        if self.exposure is not None:
            sample = rgb[::8, ::8] * np.sqrt(np.nan_to_num(light[::8, ::8]))
            # The mean of a clipped picture, as cameras meter: bright windows count once.
            mean = float(np.minimum(sample, 2.5 * np.median(sample) + 1).mean()) / 255
            light *= np.float32(np.clip((self.exposure / max(mean, 1e-3)) ** 2, 0.05, 20))
        np.sqrt(light, out=light)
        cv2.multiply(rgb, light, dst=rgb, dtype=cv2.CV_8U)
