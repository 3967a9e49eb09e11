"""NYU Depth V2, pairs that others made of the raw videos, in the three layouts that are published.

Which one lies in the folder is seen by its files:

- ``data/nyu2_train.csv``: 50,688 pairs with filled 8-bit depth, 255 = 10 m; the 654 test pictures
  are 16-bit millimetres (DenseDepth's nyu_data.zip).
- ``SCENE/rgb_N.jpg`` and ``SCENE/sync_depth_N.png``, millimetres (BTS's sync.zip); no test set.
- ``train/SCENE/N.h5`` and ``val/official/N.h5``, rgb and depth in metres (FastDepth's
  nyudepthv2.tar.gz, 47,584 pairs and the 654).

Validation is whole scenes of the training part: the test pictures never choose a checkpoint.
"""
from __future__ import annotations

from collections.abc import Callable
import csv
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import h5py
import numpy as np
from torch.utils.data import Dataset

from training.data.faults import require_root
from training.data.nyu import Unframed, camera_of, in_split
from training.data.picture_files import read_depth
from training.data.picture_sets import open_pictures
from training.data.pictures import (
    DataConfig,
    PairedFiles,
    Picture,
    Pictures,
    number,
    options,
    require_split,
)
from training.data.root import DataError, UnreadableFile

SOURCE = 'nyu_raw'
EIGHT_BIT_SCALE, MILLIMETRES = 10.0 / 255, 0.001


@dataclass(frozen=True)
class RawOptions:
    """Settings of nyu_raw.

    Attributes
    ----------
    val_share
        Share of the training pictures, in whole scenes, that is kept for validation: 0.03 of
        50,688 is the 1,500 of the Realtime U-Net's paper.
    """

    val_share: float = 0.03

    def __post_init__(self):
        object.__setattr__(self, 'val_share', number(self.val_share, 'val_share'))


@dataclass(frozen=True)
class H5Pictures:
    """Pictures of which image and depth lie in one HDF5 file; `paths` below `root`."""

    root: Path
    names: np.ndarray
    paths: np.ndarray
    source: str = SOURCE

    def files(self, number: int) -> tuple[Path]:
        """Return the file of a picture."""
        return (self.root / str(self.paths[number]),)

    def load(self, number: int) -> Picture:
        """Read a picture; UnreadableFile where the file is damaged."""
        path, = self.files(number)
        try:
            with h5py.File(path, 'r') as file:
                image, depth = file['rgb'][()], file['depth'][()]
        except (OSError, KeyError) as error:
            raise UnreadableFile(f'{path} is damaged or has no rgb and depth: {error}') from error
        if image.shape != (3, *depth.shape):
            raise UnreadableFile(f'{path}: rgb is {image.shape} and depth {depth.shape}; '
                                 'they must be (3, H, W) and (H, W)')
        image = np.ascontiguousarray(image.transpose(1, 2, 0))  # (3, H, W) -> (H, W, 3)
        height, width = depth.shape
        return Picture(image, depth.astype(np.float32), camera_of(width, height))


def _paired(root: Path, images: list[str], depths: list[str], scale: float) -> PairedFiles:
    names = np.array([image.rsplit('.', 1)[0] for image in images])
    return PairedFiles(SOURCE, root, names, np.array(images), np.array(depths),
                       partial(read_depth, scale=scale), camera_of)


def _csv_table(folder: Path, part: str) -> Pictures:
    table = folder / f'nyu2_{part}.csv'
    try:
        with table.open(newline='') as file:
            # The paths start with 'data/', whatever the folder is called now.
            rows = [[cell.strip().removeprefix('data/') for cell in row]
                    for row in csv.reader(file) if row]
    except OSError as error:
        raise DataError(f'{table} cannot be read: {error.strerror}; copy it again') from error
    wrong = [i + 1 for i, row in enumerate(rows) if len(row) != 2]
    if wrong:
        raise DataError(f'{table}, line {wrong[0]}: a line is picture,depth; copy the file again')
    scale = EIGHT_BIT_SCALE if part == 'train' else MILLIMETRES
    return _paired(folder, [row[0] for row in rows], [row[1] for row in rows], scale)


def _synchronised(folder: Path, part: str) -> Pictures:
    if part == 'test':
        raise DataError(f'{folder} has no test pictures; those of nyu_labeled are the official '
                        'ones: data.dataset=nyu_labeled')
    depths = sorted(str(path.relative_to(folder)) for path in folder.glob('*/sync_depth_*.png'))
    images = [path.replace('sync_depth_', 'rgb_').replace('.png', '.jpg') for path in depths]
    return _paired(folder, images, depths, MILLIMETRES)


def _h5_files(folder: Path, part: str) -> Pictures:
    below = folder / ('train' if part == 'train' else 'val/official')
    paths = sorted(str(path.relative_to(folder)) for path in below.rglob('*.h5'))
    return H5Pictures(folder, np.array([path[:-3] for path in paths]), np.array(paths))


# file that shows the layout, how it is read
LAYOUTS: tuple[tuple[str, Callable[[Path, str], Pictures]], ...] = (
    ('nyu2_train.csv', _csv_table),
    ('*/sync_depth_*.png', _synchronised),
    ('train/*/*.h5', _h5_files),
)


def _layout(root: Path) -> tuple[Path, Callable[[Path, str], Pictures]]:
    """Return the folder of the files and their reader; archives unpack into a folder of theirs."""
    for folder in (root, root / 'data', root / 'sync', root / 'nyudepthv2'):
        for pattern, read in LAYOUTS:
            if next(folder.glob(pattern), None) is not None:
                return folder, read
    raise DataError(f'{root} holds none of {", ".join(pattern for pattern, _ in LAYOUTS)}; '
                    'set data.root to the unpacked folder of the raw pairs')


def _subset(pictures: Pictures, kept: np.ndarray) -> Pictures:
    columns = ('names', 'images', 'depths', 'paths')
    return replace(pictures, **{name: getattr(pictures, name)[kept] for name in columns
                                if hasattr(pictures, name)})


def build_raw(config: DataConfig, split: str = 'train', *, augment: bool = True) -> Dataset:
    """Return the raw pairs; config.root holds one of the three layouts.

    Parameters
    ----------
    split
        'train' and 'val' are parts of the training pairs, 'test' the 654, whole and in order.

    Raises
    ------
    DataError
        The folder has none of the layouts, or an option cannot work.
    """
    require_split(split, SOURCE)
    chosen = options(RawOptions, config.options, SOURCE)
    folder, read = _layout(require_root(config.root, SOURCE))
    pictures = read(folder, 'test' if split == 'test' else 'train')
    if split == 'test':
        return open_pictures(pictures, config, split, augment)
    scenes = np.array([name.split('/')[-2] for name in pictures.names])
    kept = in_split(np.arange(len(scenes)), scenes, split, chosen.val_share)
    return open_pictures(Unframed(_subset(pictures, kept)), config, split, augment)
