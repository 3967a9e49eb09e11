"""Hypersim, as its archives unpack: ``ai_VVV_NNN/images/scene_cam_XX_final_hdf5/*.color.hdf5``.

Beside the scenes lie two tables of the data set's own repository: the official split
(``metadata_images_split_scene_v1.csv``) and the cameras (``metadata_camera_parameters.csv``).
Colour is linear radiance, which is developed here as the data set does it; what is called depth is
the distance along each pixel's ray, which becomes z. Scenes whose camera is tilted or shifted so
that it is no pinhole are left out.
"""
from __future__ import annotations

from collections.abc import Iterator
import csv
from dataclasses import dataclass
import logging
from pathlib import Path

import h5py
import numpy as np
from torch.utils.data import Dataset

from depth_perception.geometry import Intrinsics, ray_planes
from training.data.faults import require_root
from training.data.picture_files import read_image
from training.data.picture_sets import open_pictures
from training.data.pictures import DataConfig, Picture, options, require_split
from training.data.root import DataError, UnreadableFile

log = logging.getLogger(__name__)

SOURCE = 'hypersim'
SPLIT_FILE, CAMERA_FILE = 'metadata_images_split_scene_v1.csv', 'metadata_camera_parameters.csv'
WHERE = 'it is in the repository of the data set, not in its archives: copy it into data.root'
# How the data set makes its own previews: the 90th percentile of brightness becomes 0.8.
BRIGHTNESS = np.array([0.3, 0.59, 0.11], np.float32)
PERCENTILE, PERCENTILE_BECOMES, GAMMA, DARK = 90, 0.8, 2.2, 1e-4
PINHOLE_TOLERANCE = 1e-3
IMAGES = ('color', 'preview')


@dataclass(frozen=True)
class HypersimOptions:
    """Settings of hypersim: `image` 'color' (HDR, developed here) or 'preview' (the JPEGs)."""

    image: str = 'color'

    def __post_init__(self):
        if self.image not in IMAGES:
            raise DataError(f'image is {self.image!r}; use one of {", ".join(IMAGES)}')


def developed(radiance: np.ndarray) -> np.ndarray:
    """Turn linear radiance (H, W, 3) into a uint8 photograph, exposed by its brightest tenth.

    Pixels that are not finite show nothing (black) and do not count.
    """
    radiance = radiance.astype(np.float32)
    seen = np.isfinite(radiance).all(axis=2)
    radiance = np.where(seen[..., None], radiance, 0)
    bright = float(np.percentile((radiance @ BRIGHTNESS)[seen], PERCENTILE)) if seen.any() else 0
    gain = PERCENTILE_BECOMES ** GAMMA / bright if bright >= DARK else 0.0
    encoded = np.clip(gain * radiance, 0, 1) ** (1 / GAMMA)
    return np.rint(255 * encoded).astype(np.uint8)


def z_of_distance(distance: np.ndarray, camera: Intrinsics) -> np.ndarray:
    """Turn the distance along each pixel's ray into z, (H, W) float32 metres."""
    x, y = ray_planes(camera)
    return (distance / np.sqrt(1 + x * x + y * y)).astype(np.float32)


def pinhole(row: dict[str, str]) -> Intrinsics | None:
    """Return the camera of a line of the table; None where the scene has no pinhole camera.

    The table's matrix maps (u, v), -1 to 1 across the picture with v upward, to a ray of the
    camera that looks along -z.

    Raises
    ------
    DataError
        A column is missing or no number.
    """
    try:
        m = np.array([[float(row[f'M_cam_from_uv_{i}{j}']) for j in range(3)] for i in range(3)])
        width, height = (int(float(row[f'settings_output_img_{side}']))
                         for side in ('width', 'height'))
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f'{CAMERA_FILE} has a damaged line for {row.get("scene_name")}: {error}; '
                        'copy it again') from error
    tilt = np.abs([m[0, 1], m[1, 0], m[2, 0], m[2, 1], m[2, 2] + 1]).max()
    if not (tilt < PINHOLE_TOLERANCE and min(m[0, 0], m[1, 1]) > 0):
        return None
    fx, fy = width / (2 * m[0, 0]), height / (2 * m[1, 1])
    return Intrinsics(width, height, fx, fy, (width - 1) / 2 - fx * m[0, 2],
                      (height - 1) / 2 + fy * m[1, 2])


@dataclass(frozen=True)
class HypersimPictures:
    """Pictures by scene, camera and frame; `cameras` by scene."""

    root: Path
    names: np.ndarray
    scenes: np.ndarray
    views: np.ndarray
    frames: np.ndarray
    cameras: dict[str, Intrinsics]
    image: str
    source: str = SOURCE

    def files(self, number: int) -> tuple[Path, Path]:
        """Return the file of the picture and that of its depth."""
        start = self.root / str(self.scenes[number]) / 'images'
        view, frame = f'scene_{self.views[number]}', f'frame.{int(self.frames[number]):04d}'
        colour = (f'{view}_final_hdf5/{frame}.color.hdf5' if self.image == 'color'
                  else f'{view}_final_preview/{frame}.tonemap.jpg')
        return start / colour, start / f'{view}_geometry_hdf5/{frame}.depth_meters.hdf5'

    def load(self, number: int) -> Picture:
        """Read a picture; UnreadableFile where one of its files is damaged."""
        colour, depth = self.files(number)
        image = read_image(colour) if self.image == 'preview' else developed(_dataset(colour))
        distance, camera = _dataset(depth), self.cameras[str(self.scenes[number])]
        size = (camera.height, camera.width)
        if distance.shape != size or image.shape != (*size, 3):
            raise UnreadableFile(f'{depth} is {distance.shape} and its picture {image.shape}; '
                                 f'{CAMERA_FILE} says {size[0]}x{size[1]}')
        return Picture(image, z_of_distance(distance, camera), camera)


def _dataset(path: Path) -> np.ndarray:
    try:
        with h5py.File(path, 'r') as file:
            return file['dataset'][()].astype(np.float32)
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise UnreadableFile(f'{path} is damaged or no picture of Hypersim: {error}') from error


def _lines(path: Path) -> Iterator[dict[str, str]]:
    try:
        with path.open(newline='') as file:
            yield from csv.DictReader(file)
    except OSError as error:
        raise DataError(f'{path} cannot be read: {error.strerror}; {WHERE}') from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f'{path} is damaged: {error}; copy it again') from error


def _listed(root: Path, split: str) -> list[tuple[str, str, int]]:
    """Return (scene, camera, frame) of the released pictures of a split that are unpacked."""
    path, found = root / SPLIT_FILE, []
    for row in _lines(path):
        try:
            released = row['included_in_public_release'].strip().lower() == 'true'
            if released and row['split_partition_name'].strip() == split:
                found.append((row['scene_name'], row['camera_name'], int(row['frame_id'])))
        except (KeyError, ValueError, AttributeError) as error:
            raise DataError(f'{path} is not the split of {SOURCE}: {error}; {WHERE}') from error
    here = {scene: (root / scene).is_dir() for scene, _, _ in found}
    # One may have unpacked some archives only: a missing scene is a choice, a missing file damage.
    if not all(here.values()):
        log.warning('%s %s: %d of %d scenes are not in %s', SOURCE, split,
                    len(here) - sum(here.values()), len(here), root)
    return [item for item in found if here[item[0]]]


def _cameras(root: Path, scenes: set[str]) -> dict[str, Intrinsics]:
    cameras = {}
    for row in _lines(root / CAMERA_FILE):
        camera = pinhole(row) if row.get('scene_name') in scenes else None
        if camera is not None:
            cameras[row['scene_name']] = camera
    lost = sorted(scenes - set(cameras))
    if lost:
        log.warning('%s: left out %d scenes whose camera is unknown or no pinhole: %s', SOURCE,
                    len(lost), ', '.join(lost))
    return cameras


def build_hypersim(config: DataConfig, split: str = 'train', *, augment: bool = True) -> Dataset:
    """Return the pictures of a part of the official split; config.root holds scenes and tables.

    Raises
    ------
    DataError
        A table is missing or damaged, or an option cannot work.
    """
    require_split(split, SOURCE)
    chosen = options(HypersimOptions, config.options, SOURCE)
    root = require_root(config.root, SOURCE)
    listed = _listed(root, split)
    cameras = _cameras(root, {scene for scene, _, _ in listed})
    kept = [item for item in listed if item[0] in cameras]
    scenes, views, frames = (np.array([item[i] for item in kept]) for i in range(3))
    names = np.array([f'{scene}/{view}/{frame:04d}' for scene, view, frame in kept])
    pictures = HypersimPictures(root, names, scenes, views, frames, cameras, chosen.image)
    return open_pictures(pictures, config, split, augment)
