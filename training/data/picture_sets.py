"""Training items from stored pictures: as those of mixed.py, drawn and changed in the same way."""
from __future__ import annotations

import logging

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from training.data.augment import apply_crop, augment_labelled, cut_labels, fitted_crop
from training.data.faults import Faults, check_unit
from training.data.mixed import label_tensor
from training.data.pictures import DataConfig, Picture, Pictures
from training.data.root import DataError, UnreadableFile

log = logging.getLogger(__name__)

UNIT_SAMPLES = 16
HALF_MAX_M = 65504.0  # largest float16, in which views are cut


def item(image: np.ndarray, depth: np.ndarray, focal_px: float, source: str, name: str,
         labels: np.ndarray | None = None) -> dict:
    """Return what the network is fed with.

    Returns
    -------
    dict
        image uint8 (3, H, W) RGB, depth float32 (H, W) metres with NaN where missing, focal_px
        float32 at (H, W), source, name; labels int64 (H, W), -1 for none, where they are given.
    """
    made = {'image': torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
            'depth': torch.from_numpy(np.ascontiguousarray(depth)),
            'focal_px': torch.tensor(focal_px, dtype=torch.float32),
            'source': source, 'name': name}
    return made if labels is None else made | {'labels': label_tensor(labels)}


def with_holes(depth: np.ndarray) -> np.ndarray:
    """Return depth with NaN where it is missing, or more than views can hold."""
    known = (depth > 0) & (depth < HALF_MAX_M)
    return np.where(known, depth, np.float32(np.nan))


def _fitted(picture: Picture, height: int, width: int) -> tuple:
    # Image, depth, focal length and segmentation targets of the whole picture.
    image, depth, camera, labels = picture
    depth = with_holes(depth)
    if depth.shape == (height, width):
        return image, depth, camera.focal_px, labels  # truth keeps its full precision
    crop = fitted_crop(*depth.shape, height, width)
    if labels is not None:
        labels = cut_labels(labels, crop, height, width)
    cut = apply_crop(image, depth.astype(np.float16), camera.focal_px, crop, height, width)
    return *cut, labels


class TrainPictures(Dataset):
    """Endless random training items, as mixed.TrainViews; damaged pictures are drawn again.

    Attributes
    ----------
    sources
        What `source` of the items can be.
    faults
        The damaged pictures that were met so far, by any worker.
    """

    def __init__(self, pictures: Pictures, config: DataConfig, faults: Faults, changed: bool):
        self.pictures, self.config, self.faults = pictures, config, faults
        self.changed, self.sources = changed, [pictures.source]
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
        config, pictures = self.config, self.pictures
        rng = np.random.default_rng([config.seed, int(self._epoch[0]), index])
        drawn, picture = self.faults.draw(rng, pictures.load)
        size = (config.height, config.width)
        if self.changed:
            depth = with_holes(picture.depth).astype(np.float16)
            *changed, labels = augment_labelled(
                picture.image, depth, picture.labels, picture.intrinsics.focal_px, rng, *size,
                config.augmentation)
        else:
            *changed, labels = _fitted(picture, *size)
        return item(*changed, pictures.source, str(pictures.names[drawn]), labels)


class AllPictures(Dataset):
    """Every readable picture once, in order, fitted to the network's size, unchanged."""

    def __init__(self, pictures: Pictures, config: DataConfig, faults: Faults):
        self.pictures, self.config, self.faults = pictures, config, faults
        self.sources = [pictures.source]
        self._kept = faults.readable(pictures.load)

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int) -> dict:
        if not 0 <= index < len(self):
            raise IndexError(index)
        kept = int(self._kept[index])
        size = (self.config.height, self.config.width)
        *fitted, labels = _fitted(self.pictures.load(kept), *size)
        return item(*fitted, self.pictures.source, str(self.pictures.names[kept]), labels)


def open_pictures(pictures: Pictures, config: DataConfig, split: str, changed: bool) -> Dataset:
    """Return the items of one split, after a look at the files and at the unit of depth.

    Raises
    ------
    DataError
        There is no picture, more than 5 % are damaged, or none has valid depth.
    """
    count = len(pictures.names)
    if not count:
        raise DataError(f'{pictures.source} has no picture for split {split!r}; '
                        'check data.root and data.options')
    faults = Faults(pictures.source, pictures.names)
    faults.add_missing(pictures.files)
    _check_unit(pictures, faults)
    cv2.setNumThreads(1)  # loader workers share the cores with the model
    if split == 'train':
        data = TrainPictures(pictures, config, faults, changed)
    else:
        data = AllPictures(pictures, config, faults)
    log.info('%s %s: %d pictures, %d of them left out', pictures.source, split, count, len(faults))
    return data


def _check_unit(pictures: Pictures, faults: Faults) -> None:
    depths = []
    for i in np.unique(np.linspace(0, len(pictures.names) - 1, UNIT_SAMPLES).astype(int)):
        if int(i) in faults:
            continue
        try:
            depths.append(pictures.load(int(i)).depth)
        except UnreadableFile as error:
            faults.add(int(i), error)
    check_unit(pictures.source, depths)
