"""Pictures whose depth a model estimated, with the neighbours that tell whether it is right.

A folder that training.self_label wrote: ``labels.json`` says which model estimated depth from
what; ``train.npy``, ``val.npy`` and ``test.npy`` are records (:func:`record_type`), memory-mapped.
Nothing in it was measured.
"""
from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from training.data.augment import (
    Crop,
    apply_crop,
    change_picture,
    fitted_crop,
    random_crop,
)
from training.data.picture_sets import item
from training.data.pictures import DataConfig, require_split
from training.data.root import DataError

SELF_LABELLED, DESCRIPTION = 'self_labelled', 'labels.json'
NEIGHBOURS = 2  # before and after
NAME_LENGTH = 64


def record_type(height: int, width: int) -> np.dtype:
    """One picture: what a model said of it, and which rows are its neighbours.

    ``camera`` is fx fy cx cy in px; of each neighbour ``rows`` is its number in the file, -1 for
    none, and ``motions`` (3, 4) takes points of this camera into the neighbour's, in metres.
    """
    return np.dtype([('image', np.uint8, (height, width, 3)),
                     ('depth', np.float16, (height, width)), ('camera', np.float32, 4),
                     ('name', f'U{NAME_LENGTH}'), ('rows', np.int32, NEIGHBOURS),
                     ('motions', np.float32, (NEIGHBOURS, 3, 4))])


class SelfLabelled(Dataset):
    """Items as those of every picture set, and what training.self_task needs beside them.

    ``plain`` uint8 (3, H, W), the picture without changes of colour; ``neighbours`` uint8
    (N, 3, h, w); ``rays`` float32 (3, 3): pixel (u, v, 1) -> its point at 1 m; ``motions`` float32
    (N, 3, 4), all 0 where there is no neighbour; ``neighbour_camera`` float32 (3, 3).
    """

    def __init__(self, records: np.ndarray, config: DataConfig, is_training: bool, changed: bool):
        self.records, self.config = records, config
        self.is_training, self.changed = is_training, changed
        self.sources = [SELF_LABELLED]
        # Shared memory: workers that live on through the epochs see set_epoch too.
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; call it before the loader is iterated."""
        self._epoch[0] = epoch

    def __len__(self) -> int:
        return self.config.samples_per_epoch if self.is_training else len(self.records)

    def __getitem__(self, index: int) -> dict:
        if not 0 <= index < len(self):
            raise IndexError(index)
        if not self.is_training:
            return self._item(self.records[index], None)
        rng = np.random.default_rng([self.config.seed, int(self._epoch[0]), index])
        record = self.records[int(rng.integers(len(self.records)))]
        return self._item(record, rng if self.changed else None)

    def _item(self, record: np.void, rng: np.random.Generator | None) -> dict:
        size, view = (self.config.height, self.config.width), record['depth'].shape
        crop = fitted_crop(*view, *size)
        if rng is not None:
            crop = random_crop(rng, *view, *size, self.config.augmentation)
        fx, fy, cx, cy = (float(x) for x in record['camera'])
        plain, depth, focal_px = apply_crop(
            record['image'], record['depth'], float(np.sqrt(fx * fy)), crop, *size)
        image = plain
        if rng is not None:
            image = change_picture(plain, rng, self.config.augmentation)
        made = item(image, depth, focal_px, SELF_LABELLED, str(record['name']))
        camera = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        return made | {
            'plain': _planes(plain),
            'neighbours': torch.stack([self._neighbour(int(row), view) for row in record['rows']]),
            'rays': torch.from_numpy((np.linalg.inv(camera) @ _to_view(crop, *size)).astype('f4')),
            'motions': torch.from_numpy(np.array(record['motions'])),
            'neighbour_camera': torch.from_numpy(camera.astype(np.float32)),
        }

    def _neighbour(self, row: int, view: tuple[int, int]) -> torch.Tensor:
        if row < 0:
            return torch.zeros((3, *view), dtype=torch.uint8)
        return _planes(self.records[row]['image'])

    def filled(self, other: dict) -> dict:
        """Return an item of another data set with what these have beside: nothing that counts."""
        blank = self._item(self.records[0], None)
        more = {key: torch.zeros_like(blank[key]) for key in blank.keys() - other.keys()}
        return other | more


def _planes(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def _to_view(crop: Crop, height: int, width: int) -> np.ndarray:
    """Pixel (u, v, 1) of the picture -> pixel of the stored view, (3, 3)."""
    return np.vstack([crop.matrix(height, width), [0, 0, 1]])


def build_self_labelled(
    config: DataConfig, split: str = 'train', *, augment: bool = True
) -> SelfLabelled:
    """Return one split of the folder config.root.

    Raises
    ------
    DataError
        The folder was not written by training.self_label, or not to its end, or has no picture
        of this split.
    """
    require_split(split, SELF_LABELLED)
    root = Path(config.root)
    try:
        told = json.loads((root / DESCRIPTION).read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise DataError(f'{root} is no data set of training.self_label: {error}') from error
    if not told['counts'].get(split):
        raise DataError(f'{root} has no picture for split {split!r}; record more, or prepare with '
                        '--split')
    try:
        records = np.load(root / f'{split}.npy', mmap_mode='r')
    except (OSError, ValueError) as error:
        raise DataError(f'{root / split}.npy cannot be read: {error}; delete {root} and label '
                        'again') from error
    cv2.setNumThreads(1)  # loader workers share the cores with the model
    return SelfLabelled(records, config, split == 'train', augment)
