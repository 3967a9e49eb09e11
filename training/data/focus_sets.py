"""Training items from real focus stacks, such as those of DDFF-12: cut and changed like pictures.

Items are those of picture_sets.py, of the stack's sharpest parts, and hold beside them what makes
a stack: ``stack`` uint8 (N, 3, H, W), ``focus_distances`` float32 (N,) metres, ``blur_scale``
float32 px m (NaN where the lens is not known) and ``noise``, see training/stacks.py.
"""
from __future__ import annotations

from collections.abc import Sequence
import logging
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from depth_perception.geometry import Intrinsics
from training.data.augment import apply_crop, fitted_crop, jitter_colour, random_crop
from training.data.faults import Faults, check_unit
from training.data.picture_sets import UNIT_SAMPLES, item, with_holes
from training.data.pictures import DataConfig
from training.data.root import DataError, UnreadableFile

log = logging.getLogger(__name__)

SHARPNESS_SIGMA_PX = 2.0


class Stack(NamedTuple):
    """One stack: images (N, H, W, 3) uint8 RGB, focus_m (N,), depth (H, W) metres, intrinsics.

    Depth that is 0, negative or not finite is missing.
    """

    images: np.ndarray
    focus_m: np.ndarray
    depth: np.ndarray
    intrinsics: Intrinsics


class Stacks(Protocol):
    """Stacks by number, `frames` images each."""

    source: str
    names: np.ndarray
    frames: int

    def files(self, number: int) -> Sequence[Path]:
        """Return the files of a stack, to see whether they are there."""

    def load(self, number: int) -> Stack:
        """Read a stack; UnreadableFile where it is damaged."""


def sharpest(images: np.ndarray) -> np.ndarray:
    """Put together the sharpest parts of (N, H, W, 3) uint8: nearly an all-in-focus image."""
    energies = []
    for image in images:
        edges = cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_32F)
        energies.append(cv2.GaussianBlur(edges * edges, (0, 0), SHARPNESS_SIGMA_PX))
    best = np.argmax(energies, axis=0)
    return np.take_along_axis(images, best[None, ..., None], axis=0)[0]


def _cut(stack: Stack, crop, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, float]:
    depth, cut = with_holes(stack.depth).astype(np.float16), []
    for image in stack.images:
        picture, metres, focal_px = apply_crop(image, depth, stack.intrinsics.focal_px, crop,
                                               *size)
        cut.append(picture)
    return np.stack(cut), metres, focal_px


class _Items:
    # How a stack becomes an item, the same for both data sets below.
    def __init__(self, stacks: Stacks, config: DataConfig, faults: Faults):
        self.stacks, self.config, self.faults = stacks, config, faults
        self.sources, self.frames = [stacks.source], stacks.frames
        self.pictures = stacks  # what else asks data sets for their names

    def _item(self, number: int, stack: Stack, rng: np.random.Generator | None) -> dict:
        size, shape = (self.config.height, self.config.width), stack.depth.shape
        settings = self.config.augmentation
        crop = (fitted_crop(*shape, *size) if rng is None
                else random_crop(rng, *shape, *size, settings))
        images, depth, focal_px = _cut(stack, crop, size)
        if rng is not None and rng.random() < settings.colour:
            # One above the other: all slices of a stack are changed alike.
            tall = jitter_colour(images.reshape(-1, size[1], 3), rng, grey=False)
            images = tall.reshape(images.shape)
        name = str(self.stacks.names[number])
        return item(sharpest(images), depth, focal_px, self.stacks.source, name) | {
            'stack': torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))),
            'focus_distances': torch.from_numpy(stack.focus_m.astype(np.float32)),
            'blur_scale': torch.tensor(torch.nan), 'noise': torch.tensor(0.0)}


class TrainStacks(_Items, Dataset):
    """Endless random training items, as picture_sets.TrainPictures."""

    def __init__(self, stacks: Stacks, config: DataConfig, faults: Faults, changed: bool):
        super().__init__(stacks, config, faults)
        self.changed = changed
        # Shared memory: workers that live on through the epochs see set_epoch too.
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; call it before the loader is iterated."""
        self._epoch[0] = epoch

    def __len__(self) -> int:
        return self.config.samples_per_epoch

    def __getitem__(self, index: int) -> dict:
        if not 0 <= index < len(self):
            raise IndexError(index)
        rng = np.random.default_rng([self.config.seed, int(self._epoch[0]), index])
        drawn, stack = self.faults.draw(rng, self.stacks.load)
        return self._item(drawn, stack, rng if self.changed else None)


class AllStacks(_Items, Dataset):
    """Every readable stack once, in order, fitted to the network's size, unchanged."""

    def __init__(self, stacks: Stacks, config: DataConfig, faults: Faults):
        super().__init__(stacks, config, faults)
        self._kept = faults.readable(stacks.load).tolist()

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int) -> dict:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._item(self._kept[index], self.stacks.load(self._kept[index]), None)


def open_stacks(stacks: Stacks, config: DataConfig, split: str, changed: bool) -> Dataset:
    """Return the items of one split, after a look at the files and at the unit of depth.

    Raises
    ------
    DataError
        There is no stack, more than 5 % are damaged, or none has valid depth.
    """
    count = len(stacks.names)
    if not count:
        raise DataError(f'{stacks.source} has no stack for split {split!r}; check data.root')
    faults = Faults(stacks.source, stacks.names)
    faults.add_missing(stacks.files)
    depths = []
    for i in np.unique(np.linspace(0, count - 1, UNIT_SAMPLES).astype(int)):
        if int(i) in faults:
            continue
        try:
            depths.append(stacks.load(int(i)).depth)
        except UnreadableFile as error:
            faults.add(int(i), error)
    check_unit(stacks.source, depths)
    cv2.setNumThreads(1)  # loader workers share the cores with the model
    data = (TrainStacks(stacks, config, faults, changed) if split == 'train'
            else AllStacks(stacks, config, faults))
    log.info('%s %s: %d stacks, %d of them left out', stacks.source, split, count, len(faults))
    return data
