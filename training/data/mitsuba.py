"""Photoreal test views: Bitterli's rooms, path traced by Mitsuba 3 (requirements-evaluation.txt).

Test only. A view takes some ten seconds on two cores, so evaluation keeps them as shards.
"""
from __future__ import annotations

import itertools
from pathlib import Path
import re
import tarfile
import tempfile

import numpy as np

from depth_perception.geometry import Intrinsics
from training.data.root import DataError

DATASET = 'mitsuba_rooms'
GENERATOR_VERSION = 1
HEIGHT, WIDTH = 240, 320
# Scene units to metres, where they differ (SOURCES.md).
SCALE = {'dining_room': 0.32}
# The author's own view, and the same camera turned about the vertical: by the first of these
# angles at which nothing stands right before the lens.
YAWS_DEG = ((0.0,), (28.0, -28.0, 14.0, -14.0))
CLEAR_M = 0.4
MAX_DEPTH_M = 30.0  # what lies farther is the ground outside a window
SAMPLES, PATH_DEPTH = 24, 6
RADIUS = 5  # of the denoiser, px
GREY_LEVEL = 0.2


def read_camera(scene_xml: str) -> tuple[np.ndarray, float]:
    """Return the 4x4 camera-to-world matrix and the field of view (degrees) of a scene file.

    Raises
    ------
    DataError
        The file holds no perspective sensor as the data set writes it.
    """
    sensor = re.search(r'<sensor type="perspective".*?</sensor>', scene_xml, re.DOTALL)
    if sensor is None:
        raise DataError('the scene file holds no perspective sensor; copy the data set again')
    matrix = re.search(r'<matrix value="([^"]+)"', sensor[0])
    fov = re.search(r'name="fov" value="([^"]+)"', sensor[0])
    axis = re.search(r'name="fov_axis" value="([^"]+)"', sensor[0])
    if matrix is None or fov is None or (axis and axis[1] != 'x'):
        raise DataError('the sensor lacks a matrix or a horizontal field of view; '
                        'copy the data set again')
    return np.array(matrix[1].split(), float).reshape(4, 4), float(fov[1])


def turned(pose: np.ndarray, yaw_deg: float) -> np.ndarray:
    """Return a camera pose turned about the scene's vertical (Y in these scenes), in place."""
    cos, sin = np.cos(np.radians(yaw_deg)), np.sin(np.radians(yaw_deg))
    turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    result = pose.copy()
    result[:3, :3] = turn @ pose[:3, :3]
    return result


def z_from_distance(distance: np.ndarray, intrinsics: Intrinsics) -> np.ndarray:
    """Turn distance along each pixel's ray (0: nothing) into z depth (NaN: nothing), float32."""
    u, v = np.meshgrid(np.arange(intrinsics.width), np.arange(intrinsics.height))
    x, y = (u - intrinsics.cx) / intrinsics.fx, (v - intrinsics.cy) / intrinsics.fy
    z = distance / np.sqrt(1 + x * x + y * y)
    return np.where(z > 0, z, np.nan).astype(np.float32)


def denoised(radiance: np.ndarray, albedo: np.ndarray, normals: np.ndarray,
             depth: np.ndarray) -> np.ndarray:
    """Average light between neighbours on the same surface, leaving texture and edges alone.

    Path tracing at a few samples is noisy in its light, while albedo (H, W, 3), normals
    (H, W, 3) and depth (H, W) are almost free of noise: light = radiance / albedo is averaged
    with weights from the other two (a joint bilateral filter), then painted again.
    """
    paint = np.maximum(albedo, 0.05)
    light = radiance / paint
    light = np.minimum(light, 8 * np.median(light) + 1e-6)  # fireflies
    depth = np.nan_to_num(depth, nan=1e3)
    total, weight = np.zeros_like(light), np.zeros(depth.shape)
    for shift in itertools.product(range(-RADIUS, RADIUS + 1), repeat=2):
        light_there, normals_there, depth_there = (
            np.roll(plane, shift, axis=(0, 1)) for plane in (light, normals, depth))
        turn = np.maximum(1 - (normals * normals_there).sum(axis=2), 0)
        step = np.abs(depth_there / depth - 1)
        w = np.exp(-(shift[0] ** 2 + shift[1] ** 2) / 16 - 20 * turn - 60 * step)
        total += light_there * w[..., None]
        weight += w
    lamp = albedo.max(axis=2, keepdims=True) < 0.02  # a lamp or the sky has no paint
    return np.where(lamp, radiance, total / weight[..., None] * paint)


def developed(radiance: np.ndarray) -> np.ndarray:
    """Turn linear radiance (H, W, 3) into a uint8 photograph, automatically exposed."""
    return encoded(radiance * (GREY_LEVEL / max(float(np.median(radiance.mean(axis=2))), 1e-6)))


def encoded(linear: np.ndarray) -> np.ndarray:
    """Turn linear light of any shape, 1 is white, into uint8 as sRGB encodes it."""
    linear = np.clip(linear, 0, 1)
    values = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(values * 255).astype(np.uint8)


def load_mitsuba():
    """Return the module of Mitsuba; DataError where it is not installed."""
    try:
        import mitsuba
    except ImportError as error:
        raise DataError('the rows of mitsuba_rooms need Mitsuba; '
                        'pip install -r requirements-evaluation.txt') from error
    # The one variant that needs no LLVM and no GPU.
    mitsuba.set_variant('scalar_rgb')
    return mitsuba


def sensor(mi, pose: np.ndarray, fov_deg: float, height: int, width: int) -> dict:
    """Return a pinhole camera as Mitsuba's dictionary, for the scene's units."""
    return {'type': 'perspective', 'fov': fov_deg, 'fov_axis': 'x', 'near_clip': 0.01,
            'far_clip': 1000.0, 'to_world': mi.ScalarTransform4f(pose.tolist()),
            'sampler': {'type': 'independent', 'sample_count': 1},
            'film': {'type': 'hdrfilm', 'width': width, 'height': height,
                     'rfilter': {'type': 'box'}}}


def render(mi, scene, camera, samples: int, *, seed: int = 0, **integrator) -> np.ndarray:
    """Return what a loaded camera sees of a loaded scene, (H, W, channels) float32."""
    integrator = mi.load_dict(integrator)
    return np.array(mi.render(scene, sensor=camera, integrator=integrator, spp=samples,
                              seed=seed))


def render_view(archive: Path, scene: str, view: int, height: int, width: int) -> dict:
    """Render one view of a scene.

    Parameters
    ----------
    archive
        <scene>.tar.xz of the data set.
    scene, view
        Its name, and which of YAWS_DEG.
    height, width
        Size in px.

    Returns
    -------
    dict
        image uint8 (height, width, 3) RGB, depth float32 metres with NaN, intrinsics, name.

    Raises
    ------
    DataError
        Mitsuba is not installed, or the archive is not as expected.
    """
    mi = load_mitsuba()
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter='data')
        file = Path(folder) / scene / 'scene.xml'
        pose, fov_deg = read_camera(file.read_text())
        loaded = mi.load_file(str(file))
        intrinsics = Intrinsics.from_hfov(width, height, fov_deg)
        for yaw in YAWS_DEG[view]:
            camera = mi.load_dict(sensor(mi, turned(pose, yaw), fov_deg, height, width))
            # One sample a pixel: more would blend the depths of two surfaces at an edge.
            distance = render(mi, loaded, camera, 1, type='aov', aovs='d:depth')[..., -1]
            depth = z_from_distance(distance * SCALE.get(scene, 1.0), intrinsics)
            depth[depth > MAX_DEPTH_M] = np.nan
            if np.nanquantile(depth, 0.01) > CLEAR_M:
                break
        light = render(mi, loaded, camera, SAMPLES, type='path', max_depth=PATH_DEPTH)[..., :3]
        guides = render(mi, loaded, camera, 12, type='aov', aovs='a:albedo,n:sh_normal')
    clean = denoised(light, guides[..., -6:-3], guides[..., -3:], depth)
    return {'image': developed(clean), 'depth': depth, 'intrinsics': intrinsics,
            'name': f'{scene}/{view}'}
