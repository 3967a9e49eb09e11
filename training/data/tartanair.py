"""TartanAir, as its archives unpack: ``ENV/Easy/P000/image_left/000000_left.png``.

Depth is z in metres, ``depth_left/000000_left_depth.npy``; the sky is thousands of metres away and
counts as missing. Whole environments are held out for validation. The test part was published
without depth.
"""
from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from depth_perception.geometry import Intrinsics
from training.data.faults import require_root
from training.data.picture_files import read_depth
from training.data.picture_sets import open_pictures
from training.data.pictures import (
    DataConfig,
    PairedFiles,
    held_out,
    number,
    options,
    require_split,
)
from training.data.root import DataError

SOURCE = 'tartanair'
CAMERA = Intrinsics(640, 480, 320.0, 320.0, 320.0, 240.0)
LEVELS = ('Easy', 'Hard')


@dataclass(frozen=True)
class TartanAirOptions:
    """Settings of tartanair.

    Attributes
    ----------
    val_share
        Share of the pictures, in whole environments, that is kept for validation.
    max_depth
        Metres beyond which depth is missing: the sky.
    """

    val_share: float = 0.1
    max_depth: float = 1000.0

    def __post_init__(self):
        for key in ('val_share', 'max_depth'):
            object.__setattr__(self, key, number(getattr(self, key), key))
        if not self.max_depth > 0:
            raise DataError(f'max_depth is {self.max_depth}; give metres above 0')


@dataclass(frozen=True)
class _Depth:
    # A class, not a closure: data sets go to workers that do not fork.
    max_depth: float

    def __call__(self, path: Path) -> np.ndarray:
        depth = read_depth(path, 1.0)
        return np.where(depth < self.max_depth, depth, np.float32(np.nan))


def camera_of(width: int, height: int) -> Intrinsics:
    """Return the one camera of the data set, for pictures that were made smaller too."""
    return CAMERA.resized(width, height)


def build_tartanair(config: DataConfig, split: str = 'train', *, augment: bool = True) -> Dataset:
    """Return the left pictures of every trajectory; config.root holds the environments.

    Raises
    ------
    DataError
        The folder is not laid out so, or an option cannot work.
    """
    require_split(split, SOURCE, ('train', 'val'))
    chosen = options(TartanAirOptions, config.options, SOURCE)
    root = require_root(config.root, SOURCE)
    # Archives hold ENV/Easy or ENV/ENV/Easy, by how they are unpacked.
    folders = sorted(folder for level in LEVELS for start in ('*', '*/*')
                     for folder in root.glob(f'{start}/{level}/*/image_left'))
    images = [str(path.relative_to(root)) for folder in folders
              for path in sorted(folder.glob('*_left.png'))]
    if not images:
        raise DataError(f'{root} holds no ENVIRONMENT/Easy/P000/image_left/*_left.png; set '
                        'data.root to the folder of the environments')
    depths = [image.replace('/image_left/', '/depth_left/').replace('.png', '_depth.npy')
              for image in images]
    names = [image.replace('/image_left', '').removesuffix('_left.png') for image in images]
    kept = held_out(np.array([image.split('/')[0] for image in images]), chosen.val_share)
    kept = kept if split == 'val' else ~kept
    pictures = PairedFiles(SOURCE, root, np.array(names), np.array(images), np.array(depths),
                           _Depth(chosen.max_depth), camera_of)
    part = {key: getattr(pictures, key)[kept] for key in ('names', 'images', 'depths')}
    return open_pictures(replace(pictures, **part), config, split, augment)
