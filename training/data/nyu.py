"""NYU Depth V2, the labelled part: ``nyu_depth_v2_labeled.mat`` beside ``splits.mat``.

The first is a MATLAB 7.3 file, which is HDF5, of 1449 pictures; the second names the official 795
training and 654 test pictures. Validation is whole scenes of the 795: the test pictures never
choose a checkpoint. The pairs that others made of the raw videos are in nyu_raw.py.
"""
from __future__ import annotations

from dataclasses import dataclass
import logging
from pathlib import Path
import re

import h5py
import numpy as np
import scipy.io
from scipy.io.matlab import MatReadError
from torch.utils.data import Dataset

from depth_perception.geometry import Intrinsics
from training.data.faults import require_root
from training.data.picture_sets import open_pictures
from training.data.pictures import (
    DataConfig,
    Picture,
    Pictures,
    held_out,
    number,
    options,
    require_split,
)
from training.data.root import DataError, UnreadableFile

log = logging.getLogger(__name__)

LABELED, SPLIT_FILE = 'nyu_depth_v2_labeled.mat', 'splits.mat'
OFFICIAL = (795, 654)  # training and test pictures
# The colour camera of the toolbox that came with the data; depth is projected into it.
CAMERA = Intrinsics(640, 480, 518.85790117450188, 519.46961112127485, 325.58244941119034,
                    253.73616633400465)
# Projecting leaves a white frame without depth; this part of 640x480 has both (toolbox crop).
X, Y, WIDTH, HEIGHT = 41, 45, 560, 426
DEPTHS = {'filled': 'depths', 'raw': 'rawDepths'}


@dataclass(frozen=True)
class LabeledOptions:
    """Settings of nyu_labeled.

    Attributes
    ----------
    depth
        'filled': holes painted in, as the benchmarks score it. 'raw': as the Kinect gave it.
    val_share
        Share of the 795 training pictures, in whole scenes, that is kept for validation.
    """

    depth: str = 'filled'
    val_share: float = 0.1

    def __post_init__(self):
        if self.depth not in DEPTHS:
            raise DataError(f'depth is {self.depth!r}; use one of {", ".join(DEPTHS)}')
        object.__setattr__(self, 'val_share', number(self.val_share, 'val_share'))


def camera_of(width: int, height: int) -> Intrinsics:
    """Return the colour camera for pictures that were made smaller."""
    return CAMERA.resized(width, height)


def without_frame(picture: Picture) -> Picture:
    """Cut the white frame off a whole picture (of 640x480, or smaller by a factor)."""
    height, width = picture.depth.shape
    x, y = round(X * width / 640), round(Y * height / 480)
    return picture.cropped(x, y, round(WIDTH * width / 640), round(HEIGHT * height / 480))


class Unframed:
    """Pictures without their white frame; for training, where nobody compares sizes."""

    def __init__(self, inner: Pictures):
        self.inner, self.source = inner, inner.source
        self.names, self.files = inner.names, inner.files

    def load(self, number: int) -> Picture:
        """Read a picture and cut its frame off; UnreadableFile where it is damaged."""
        return without_frame(self.inner.load(number))


@dataclass(frozen=True)
class LabeledPictures:
    """Pictures of the labelled .mat file.

    Attributes
    ----------
    depth
        Name of the array in the file.
    rows
        Number of each picture in the file, from 0.
    """

    path: Path
    depth: str
    names: np.ndarray
    rows: np.ndarray
    source: str = 'nyu_labeled'

    def files(self, number: int) -> tuple[Path]:
        """Return the one file."""
        return (self.path,)

    def load(self, number: int) -> Picture:
        """Read a picture; UnreadableFile where its part of the file is damaged."""
        row = int(self.rows[number])
        try:
            # Opened each time (1 ms): workers must not share a handle that was forked.
            with h5py.File(self.path, 'r') as file:
                image, depth = file['images'][row], file[self.depth][row]
        except OSError as error:
            raise UnreadableFile(f'{self.path}, picture {row + 1}: {error}') from error
        # MATLAB writes columns first: (3, W, H) -> (H, W, 3), (W, H) -> (H, W)
        image = np.ascontiguousarray(image.transpose(2, 1, 0))
        depth = np.ascontiguousarray(depth.T)
        return Picture(image, depth, camera_of(depth.shape[1], depth.shape[0]))


def read_scenes(file: h5py.File) -> np.ndarray:
    """Return the scene of each picture: `scenes` is a cell array, references to UTF-16 text."""
    references = np.ravel(file['scenes'][()])
    return np.array([file[r][()].astype('<u2').tobytes().decode('utf-16-le') for r in references])


def read_split(path: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Read splits.mat.

    Parameters
    ----------
    count
        Pictures in the .mat file.

    Returns
    -------
    tuple
        Numbers of the training and of the test pictures, from 0 (the file counts from 1).

    Raises
    ------
    DataError
        The file is missing or damaged, names pictures that do not exist, or names one twice.
    """
    try:
        content = scipy.io.loadmat(path)
        train, test = (content[key].ravel().astype(int) - 1 for key in ('trainNdxs', 'testNdxs'))
    except (OSError, ValueError, KeyError, TypeError, NotImplementedError, MatReadError) as error:
        raise DataError(f'{path} cannot be read as the official split: {error}; put splits.mat of '
                        f'the NYU Depth V2 page beside {LABELED}') from error
    both = np.concatenate([train, test])
    if both.min(initial=0) < 0 or both.max(initial=0) >= count or len(np.unique(both)) < len(both):
        raise DataError(f'{path} names pictures twice, or outside 1 to {count}; it is not the '
                        f'split of {LABELED} beside it')
    if (len(train), len(test)) != OFFICIAL:
        log.warning('%s has %d training and %d test pictures; the official split has %d and %d, '
                    'so scores cannot be compared', path, len(train), len(test), *OFFICIAL)
    return train, test


def scene_group(scene: str) -> str:
    """Return the place of a scene: 'kitchen_0028b' and 'kitchen_0028b_out' are kitchen_0028."""
    return re.sub(r'(?<=\d)[a-z]?(_out)?$', '', scene)


def in_split(pictures: np.ndarray, scenes: np.ndarray, split: str, val_share: float) -> np.ndarray:
    """Return the part of the training pictures that is 'train' or 'val', in whole scenes."""
    groups = np.array([scene_group(str(scene)) for scene in scenes])
    held = held_out(groups, val_share)
    return pictures[held] if split == 'val' else pictures[~held]


def build_labeled(config: DataConfig, split: str = 'train', *, augment: bool = True) -> Dataset:
    """Return the labelled pictures; config.root holds the .mat file and splits.mat.

    Parameters
    ----------
    split
        'train' and 'val' are parts of the official 795, 'test' is the 654, whole and in order.

    Raises
    ------
    DataError
        A file is missing or damaged, or an option cannot work.
    """
    require_split(split, 'nyu_labeled')
    chosen = options(LabeledOptions, config.options, 'nyu_labeled')
    path = require_root(config.root, 'nyu_labeled') / LABELED
    if not path.is_file():
        raise DataError(f'{path} is missing; copy it, and splits.mat, into data.root')
    depth = DEPTHS[chosen.depth]
    scenes = _checked_scenes(path, depth)
    train, test = read_split(path.with_name(SPLIT_FILE), len(scenes))
    if split == 'test':
        return open_pictures(_pictures(path, depth, test, scenes), config, split, augment)
    rows = in_split(train, scenes[train], split, chosen.val_share)
    return open_pictures(Unframed(_pictures(path, depth, rows, scenes)), config, split, augment)


def _pictures(path: Path, depth: str, rows: np.ndarray, scenes: np.ndarray) -> LabeledPictures:
    names = np.array([f'{scenes[row]}/{row + 1:04d}' for row in rows])
    return LabeledPictures(path, depth, names, rows)


def _checked_scenes(path: Path, depth: str) -> np.ndarray:
    try:
        with h5py.File(path, 'r') as file:
            images, depths, scenes = file['images'].shape, file[depth].shape, read_scenes(file)
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f'{path} is damaged or not the labelled .mat file: {error}; '
                        'copy it again') from error
    if len(images) != 4 or images[1] != 3 or depths != (len(scenes), *images[2:]):
        raise DataError(f'{path}: images are {images}, {depth} {depths}, scenes {scenes.shape}; '
                        'the labelled file has (N, 3, W, H), (N, W, H) and N')
    return scenes
