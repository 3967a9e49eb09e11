"""iBims-1, 100 indoor test pictures with laser-scanned depth, in both published layouts.

``ibims1_core_raw``: ``imagelist.txt``, ``rgb/``, ``depth/`` (16 bits for 50 m), ``mask_invalid/``,
``mask_transp/`` and ``calib/NAME.txt`` (fx,fy,cx,cy). ``ibims1_core_mat``: the same in one
``NAME.mat`` a picture. Missing, invalid and transparent pixels have no depth, as in the
benchmark's own evaluation. Test only: nothing is trained on it.
"""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
import zlib

import numpy as np
import scipy.io
from scipy.io.matlab import MatReadError
from torch.utils.data import Dataset

from depth_perception.geometry import GeometryError, Intrinsics
from training.data.faults import require_root
from training.data.picture_files import read_depth, read_image
from training.data.picture_sets import open_pictures
from training.data.pictures import DataConfig, Picture, options, require_split
from training.data.root import DataError, UnreadableFile

SOURCE = 'ibims'
LIST_FILE = 'imagelist.txt'
RAW, MAT = 'ibims1_core_raw', 'ibims1_core_mat'
DEPTH_SCALE = 50.0 / 65535
MASKS = ('mask_invalid', 'mask_transp')  # 0 where the pixel does not count


@dataclass(frozen=True)
class NoOptions:
    """ibims has no settings of its own."""


@dataclass(frozen=True)
class RawPictures:
    """Pictures of ibims1_core_raw."""

    root: Path
    names: np.ndarray
    source: str = SOURCE

    def files(self, number: int) -> tuple[Path, ...]:
        """Return picture, depth, both masks and calibration."""
        name = str(self.names[number])
        pictures = tuple(self.root / part / f'{name}.png' for part in ('rgb', 'depth', *MASKS))
        return (*pictures, self.root / 'calib' / f'{name}.txt')

    def load(self, number: int) -> Picture:
        """Read a picture; UnreadableFile where a file is damaged."""
        rgb, depth, *masks, calibration = self.files(number)
        image, metres = read_image(rgb), read_depth(depth, DEPTH_SCALE)
        return _checked(image, metres, [read_depth(mask, 1.0) for mask in masks],
                        _calibration(calibration), depth)


@dataclass(frozen=True)
class MatPictures:
    """Pictures of ibims1_core_mat; their calibration is that of the raw part where it is there."""

    root: Path
    names: np.ndarray
    source: str = SOURCE

    def files(self, number: int) -> tuple[Path]:
        """Return the one file."""
        return (self.root / f'{self.names[number]}.mat',)

    def load(self, number: int) -> Picture:
        """Read a picture; UnreadableFile where the file is damaged."""
        path, = self.files(number)
        try:
            data = scipy.io.loadmat(path)['data'][0, 0]
            image, depth, calib = (np.asarray(data[key]) for key in ('rgb', 'depth', 'calib'))
            masks = [np.asarray(data[key]) for key in MASKS]
        except (OSError, ValueError, KeyError, TypeError, IndexError, NotImplementedError,
                MatReadError, zlib.error) as error:
            raise UnreadableFile(f'{path} is damaged or not of {MAT}: {error}') from error
        return _checked(np.ascontiguousarray(image, np.uint8), depth.astype(np.float32), masks,
                        _from_matrix(calib, path), path)


def _from_matrix(calib: np.ndarray, path: Path) -> tuple[float, ...]:
    if calib.shape != (3, 3):
        raise UnreadableFile(f'{path}: calib is {calib.shape}; it must be a 3x3 matrix')
    # MATLAB keeps camera matrices transposed; in either form one off-diagonal pair is 0.
    k = calib.T if calib[2, :2].any() else calib
    return float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2])


def _calibration(path: Path) -> tuple[float, ...]:
    try:
        values = [float(x) for x in path.read_text().replace(',', ' ').split()]
    except (OSError, ValueError) as error:
        raise UnreadableFile(f'{path} is damaged: {error}') from error
    if len(values) == 9:
        return _from_matrix(np.reshape(values, (3, 3)), path)
    if len(values) != 4:
        raise UnreadableFile(f'{path} holds {len(values)} numbers; it must be fx,fy,cx,cy')
    return tuple(values)


def _checked(image: np.ndarray, depth: np.ndarray, masks: list[np.ndarray],
             camera: tuple[float, ...], path: Path) -> Picture:
    sizes = {array.shape[:2] for array in (image, depth, *masks)}
    if len(sizes) != 1 or image.ndim != 3:
        raise UnreadableFile(f'{path}: picture, depth and masks are {sorted(sizes)}; they must '
                             'be of one size')
    counts = np.logical_and.reduce([mask > 0 for mask in masks])
    height, width = depth.shape
    try:
        intrinsics = Intrinsics(width, height, *camera)
    except GeometryError as error:
        raise UnreadableFile(f'{path}: {error}') from error
    return Picture(image, np.where(counts & (depth > 0), depth, np.float32(np.nan)), intrinsics)


def _folder(root: Path) -> Path:
    for folder in (root, root / RAW, root / MAT):
        if (folder / 'rgb').is_dir() or next(folder.glob('*.mat'), None) is not None:
            return folder
    raise DataError(f'{root} holds neither rgb/ nor *.mat; set data.root to {RAW}, {MAT}, or the '
                    'folder that holds one of them')


def _names(folder: Path, root: Path) -> np.ndarray:
    for path in (folder / LIST_FILE, root / LIST_FILE):
        if path.is_file():
            return np.array(path.read_text().split())
    raise DataError(f'{folder / LIST_FILE} is missing; it names the pictures: copy it again')


def build_ibims(config: DataConfig, split: str = 'test', *, augment: bool = True) -> Dataset:
    """Return the 100 pictures, in the order of imagelist.txt.

    Raises
    ------
    SplitError
        The split is not test.
    DataError
        The folder is neither layout.
    """
    require_split(split, SOURCE, ('test',))
    options(NoOptions, config.options, SOURCE)
    root = require_root(config.root, SOURCE)
    folder = _folder(root)
    kind = RawPictures if (folder / 'rgb').is_dir() else MatPictures
    return open_pictures(kind(folder, _names(folder, root)), config, split, augment)
