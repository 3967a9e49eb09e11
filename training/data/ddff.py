"""DDFF 12-Scene: real focus stacks of a light-field camera, ``ddff-dataset-trainval.h5``.

``stack_train`` and ``stack_val`` are (scenes, 10, 383, 552, 3) uint8, ``disp_train`` and
``disp_val`` the disparity between sub-apertures in pixels, 0 where it is missing. Depth is a
constant over disparity, and each slice of a stack is focused at one disparity, in equal steps. The
common split of 400 and 200 stacks is a file of the same layout. The test file has no disparity.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from torch.utils.data import Dataset

from depth_perception.geometry import Intrinsics
from training.data.faults import require_root
from training.data.focus_sets import Stack, open_stacks
from training.data.pictures import DataConfig, options, require_split
from training.data.root import DataError, UnreadableFile

SOURCE = 'ddff'
SLICES = 10
# Of a sub-aperture image, px, and between neighbouring sub-apertures, metres: their product over
# disparity is depth.
FOCAL_PX, BASELINE_M = 521.4052, 0.00027088
DISPARITIES = np.linspace(0.28, 0.02, SLICES)  # px, at which the slices are focused


@dataclass(frozen=True)
class DDFFOptions:
    """Settings of ddff.

    Attributes
    ----------
    slices
        Numbers of the slices that make a stack, from 0, near to far. These five are what the
        methods that are compared on this data set take: 0.50, 0.64, 0.86, 1.32 and 7.06 m.
    """

    slices: Sequence[int] = (0, 2, 4, 6, 9)

    def __post_init__(self):
        known = range(SLICES)
        if not (len(set(self.slices)) == len(self.slices) >= 2
                and all(isinstance(i, int) and i in known for i in self.slices)):
            raise DataError(f'slices is {list(self.slices)}; give at least two different numbers '
                            f'of 0 to {SLICES - 1}')


def depth_of(disparity: np.ndarray) -> np.ndarray:
    """Turn disparity (px) into float32 metres; NaN where it is not above 0."""
    known = disparity > 0
    depth = FOCAL_PX * BASELINE_M / np.where(known, disparity, 1)
    return np.where(known, depth, np.nan).astype(np.float32)


@dataclass(frozen=True)
class DDFFStacks:
    """Stacks of one part of the file."""

    path: Path
    part: str
    names: np.ndarray
    slices: tuple[int, ...]
    source: str = SOURCE

    @property
    def frames(self) -> int:
        """Slices of a stack."""
        return len(self.slices)

    def files(self, number: int) -> tuple[Path]:
        """Return the one file."""
        return (self.path,)

    def load(self, number: int) -> Stack:
        """Read a stack; UnreadableFile where its part of the file is damaged."""
        try:
            # Opened each time: workers must not share a handle that was forked.
            with h5py.File(self.path, 'r') as file:
                images = file[f'stack_{self.part}'][number][list(self.slices)]
                disparity = file[f'disp_{self.part}'][number]
        except OSError as error:
            raise UnreadableFile(f'{self.path}, stack {number}: {error}') from error
        height, width = disparity.shape
        camera = Intrinsics(width, height, FOCAL_PX, FOCAL_PX, (width - 1) / 2, (height - 1) / 2)
        focus_m = depth_of(DISPARITIES[list(self.slices)])
        return Stack(images, focus_m, depth_of(disparity), camera)


def _count(path: Path, part: str) -> int:
    keys = f'stack_{part}', f'disp_{part}'
    try:
        with h5py.File(path, 'r') as file:
            stacks, disparities = (file[key].shape for key in keys)
            kind = file[keys[0]].dtype
    except (OSError, KeyError) as error:
        raise DataError(f'{path} is damaged or holds no {" and ".join(keys)}: {error}; copy it '
                        'again') from error
    if (len(stacks) != 5 or kind != np.uint8 or (stacks[1], stacks[4]) != (SLICES, 3)
            or disparities != (stacks[0], *stacks[2:4])):
        raise DataError(f'{path}: {keys[0]} is {kind} {stacks} and {keys[1]} {disparities}; they '
                        f'must be uint8 (N, {SLICES}, H, W, 3) and (N, H, W)')
    return stacks[0]


def _file(root: Path, part: str) -> Path:
    files = sorted(path for path in root.glob('*.h5') if 'test' not in path.name)
    if len(files) != 1:
        raise DataError(f'{root} holds {len(files)} files *.h5 that may be ddff-dataset-trainval'
                        f'.h5, for {part}; leave one')
    return files[0]


def build_ddff(config: DataConfig, split: str = 'train', *, augment: bool = True) -> Dataset:
    """Return focus stacks; config.root holds the .h5 file.

    Raises
    ------
    DataError
        The file is missing or damaged, or an option cannot work.
    """
    require_split(split, SOURCE, ('train', 'val'))
    chosen = options(DDFFOptions, config.options, SOURCE)
    path = _file(require_root(config.root, SOURCE), split)
    names = np.array([f'{split}/{i:04d}' for i in range(_count(path, split))])
    stacks = DDFFStacks(path, split, names, tuple(chosen.slices))
    return open_stacks(stacks, replace(config, options={}), split, augment)
