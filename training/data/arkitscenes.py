"""ARKitScenes, as its script downloads it: ``Training/VIDEO/…`` and ``Validation/VIDEO/…``.

Two parts hold depth. Upsampling: ``wide/`` (``color/`` in some copies) with ``highres_depth/``, a
laser scanner's. Raw and 3dod: ``lowres_wide/`` with ``lowres_depth/``, the tablet's own LiDAR, of
which pixels with little ``confidence/`` are missing. Files are ``VIDEO_TIME.png``, depth in
millimetres; ``*_intrinsics/VIDEO_TIME.pincam`` says width, height, fx, fy, cx, cy. Where
metadata.csv tells where the sky is, pictures are turned upright.
"""
from __future__ import annotations

from contextlib import suppress
import csv
from dataclasses import dataclass
import logging
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from depth_perception.geometry import GeometryError, Intrinsics
from training.data.faults import require_root
from training.data.picture_files import read_depth, read_image
from training.data.picture_sets import open_pictures
from training.data.pictures import DataConfig, Picture, number, options, require_split
from training.data.root import DataError, UnreadableFile

log = logging.getLogger(__name__)

SOURCE = 'arkitscenes'
FOLDERS = {'train': 'Training', 'val': 'Validation'}
MILLIMETRES = 0.001
METADATA = 'metadata.csv'
# quarter turns to the left (as np.rot90 counts) that bring the sky to the top
TURNS = {'Up': 0, 'Right': 1, 'Down': 2, 'Left': 3}


@dataclass(frozen=True)
class Part:
    """Folders of one kind of picture: colour, depth, confidence (or none), calibrations."""

    image: str
    depth: str
    confidence: str
    intrinsics: tuple[str, ...]


# best first
PARTS = (
    Part('wide', 'highres_depth', '', ('wide_intrinsics', 'lowres_wide_intrinsics')),
    Part('color', 'highres_depth', '', ('wide_intrinsics', 'lowres_wide_intrinsics')),
    Part('lowres_wide', 'lowres_depth', 'confidence', ('lowres_wide_intrinsics',)),
)


@dataclass(frozen=True)
class ARKitScenesOptions:
    """Settings of arkitscenes: LiDAR below `min_confidence` (0, 1 or 2) is missing."""

    min_confidence: float = 2

    def __post_init__(self):
        value = number(self.min_confidence, 'min_confidence')
        if value not in (0, 1, 2):
            raise DataError(f'min_confidence is {self.min_confidence}; give 0, 1 or 2')


@dataclass(frozen=True)
class ARKitPictures:
    """Pictures of videos; each array has one element a picture.

    Attributes
    ----------
    folders
        Of the video, below `root`.
    parts
        Number in PARTS.
    turns
        Quarter turns to the left that make it upright.
    """

    root: Path
    names: np.ndarray
    folders: np.ndarray
    parts: np.ndarray
    turns: np.ndarray
    min_confidence: float
    source: str = SOURCE

    def files(self, number: int) -> tuple[Path, ...]:
        """Return picture, depth and calibration, and the confidence where it is used."""
        part, folder = PARTS[int(self.parts[number])], self.root / str(self.folders[number])
        name = str(self.names[number]).rsplit('/', 1)[-1]
        found = [folder / part.image / f'{name}.png', folder / part.depth / f'{name}.png',
                 _calibration_file(folder, part, name)]
        if part.confidence and self.min_confidence > 0:
            found.append(folder / part.confidence / f'{name}.png')
        return tuple(found)

    def load(self, number: int) -> Picture:
        """Read a picture, upright; UnreadableFile where a file is damaged."""
        colour, depth_file, calibration, *confidence = self.files(number)
        image, depth = read_image(colour), read_depth(depth_file, MILLIMETRES)
        for path in confidence:
            depth = _confident(depth, read_depth(path, 1.0), self.min_confidence, path)
        if depth.shape != image.shape[:2]:
            raise UnreadableFile(f'{depth_file} is {depth.shape}, its picture {image.shape[:2]}; '
                                 'depth must be registered to the picture')
        camera = read_pincam(calibration).resized(depth.shape[1], depth.shape[0])
        return turned(Picture(image, depth, camera), int(self.turns[number]))


def _confident(depth: np.ndarray, confidence: np.ndarray, least: float,
               path: Path) -> np.ndarray:
    if confidence.shape != depth.shape:
        raise UnreadableFile(f'{path} is {confidence.shape}, its depth {depth.shape}; they must '
                             'be of one size')
    return np.where(confidence >= least, depth, np.float32(np.nan))


def read_pincam(path: Path) -> Intrinsics:
    """Read a calibration; UnreadableFile where it is missing or damaged."""
    try:
        width, height, fx, fy, cx, cy = (float(x) for x in path.read_text().split())
        return Intrinsics(round(width), round(height), fx, fy, cx, cy)
    except (OSError, ValueError, GeometryError) as error:
        raise UnreadableFile(f'{path} is no calibration (width height fx fy cx cy): '
                             f'{error}') from error


def _calibration_file(folder: Path, part: Part, name: str) -> Path:
    # The clocks of the two cameras' files differ by up to a millisecond in the last digit.
    video, _, stamp = name.rpartition('_')
    tried = [name]
    with suppress(ValueError):  # another name has no stamp to shift
        tried += [f'{video}_{float(stamp) + shift:.3f}' for shift in (-0.001, 0.001)]
    for calibrations in part.intrinsics:
        for stem in tried:
            path = folder / calibrations / f'{stem}.pincam'
            if path.is_file():
                return path
    return folder / part.intrinsics[0] / f'{name}.pincam'


def turned(picture: Picture, turns: int) -> Picture:
    """Turn a picture by quarter turns to the left, with its camera."""
    image, depth, k = picture.image, picture.depth, picture.intrinsics
    for _ in range(turns % 4):
        image, depth = np.rot90(image), np.rot90(depth)
        # (u, v) lands on (v, width - 1 - u)
        k = Intrinsics(k.height, k.width, k.fy, k.fx, k.cy, k.width - 1 - k.cx)
    return Picture(np.ascontiguousarray(image), np.ascontiguousarray(depth), k)


def read_turns(root: Path) -> dict[str, int]:
    """Return video -> quarter turns that make it upright, as metadata.csv says; empty without."""
    path = root / METADATA
    if not path.is_file():
        log.warning('%s: %s is missing, so pictures stay as the tablet was held', SOURCE, path)
        return {}
    try:
        with path.open(newline='') as file:
            return {row['video_id'].strip(): TURNS[row['sky_direction'].strip()]
                    for row in csv.DictReader(file)
                    if row['sky_direction'].strip() in TURNS}
    except (OSError, KeyError, AttributeError, csv.Error, UnicodeDecodeError) as error:
        raise DataError(f'{path} is damaged or has no video_id and sky_direction: {error}; copy '
                        'it again') from error


def _found(root: Path, split: str) -> list[tuple[str, str, int]]:
    """Return (name, folder below root, number of the part) of every picture with depth."""
    pictures = []
    for video in sorted(path for path in (root / FOLDERS[split]).iterdir() if path.is_dir()):
        # 3dod archives put everything into VIDEO_frames.
        for folder in (video, video / f'{video.name}_frames'):
            part = next((i for i, p in enumerate(PARTS) if (folder / p.image).is_dir()
                         and (folder / p.depth).is_dir()), None)
            if part is None:
                continue
            # Each video has stamps that only one of the cameras has: those are no damage.
            depths = {path.name for path in (folder / PARTS[part].depth).glob('*.png')}
            names = sorted(path.stem for path in (folder / PARTS[part].image).glob('*.png')
                           if path.name in depths)
            below = str(folder.relative_to(root))
            pictures += [(f'{video.name}/{name}', below, part) for name in names]
    return pictures


def build_arkitscenes(
    config: DataConfig, split: str = 'train', *, augment: bool = True
) -> Dataset:
    """Return the pictures of Training ('train') or Validation ('val') in config.root.

    Raises
    ------
    DataError
        The folder is not laid out so, or an option cannot work.
    """
    require_split(split, SOURCE, tuple(FOLDERS))
    chosen = options(ARKitScenesOptions, config.options, SOURCE)
    root = require_root(config.root, SOURCE)
    if not (root / FOLDERS[split]).is_dir():
        raise DataError(f'{root / FOLDERS[split]} is missing; set data.root to the folder that '
                        f'holds {" and ".join(FOLDERS.values())}')
    found, turns = _found(root, split), read_turns(root)
    names, folders, parts = (np.array([item[i] for item in found]) for i in range(3))
    turned_by = np.array([turns.get(name.split('/')[0], 0) for name, _, _ in found])
    pictures = ARKitPictures(root, names, folders, parts, turned_by, chosen.min_confidence)
    return open_pictures(pictures, config, split, augment)
