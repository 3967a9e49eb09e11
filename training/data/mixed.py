"""The data sets that training reads: views of many entries mixed by weight, and all val views."""
from __future__ import annotations

from dataclasses import dataclass, field
import logging
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from training.data.augment import (
    UNLABELLED,
    AugmentConfig,
    apply_crop,
    augment_labelled,
    cut_labels,
    fitted_crop,
)
from training.data.render import GENERATED
from training.data.root import CACHE_FOLDER, DataError, data_root
from training.data.shards import HEIGHT, WIDTH, ShardSet
from training.data.splits import SplitError, load_splits
from training.data.views import Views, focal_of

log = logging.getLogger(__name__)

LOG_WIDTH = 0.25  # of depths that count as alike

DEFAULT_WEIGHTS = {'procedural_train': 0.39, 'closeup_train': 0.13, 'bare_train': 0.15,
                   'aws_small_house_train': 0.13, 'aws_bookstore_train': 0.12,
                   'tum_fr1_rpy_train': 0.08}
DEFAULT_VIEWS = {'procedural_train': 8192, 'closeup_train': 2048, 'bare_train': 2048,
                 'aws_small_house_train': 1024, 'aws_bookstore_train': 1024,
                 'tum_fr1_rpy_train': 144, 'procedural_val': 128, 'closeup_val': 64,
                 'bare_val': 64, 'aws_small_house_val': 64, 'aws_bookstore_val': 64,
                 'tum_fr1_rpy_val': 36}


@dataclass(frozen=True)
class DataConfig:
    """What training reads.

    Attributes
    ----------
    height, width
        Size of the network's picture, px.
    samples_per_epoch
        Length of the training set: items are drawn at random, so an epoch is any number.
    seed
        With the epoch and the item's number it decides which view is drawn and how it is changed.
    weights
        Training entry of splits.yaml -> share of the items, which need not add up to 1. Empty:
        DEFAULT_WEIGHTS.
    views
        Entry -> how many views to render or read (rounded up to whole shards). Empty:
        DEFAULT_VIEWS. The val entries named here are the validation set.
    workers
        Processes that render missing views.
    view_size
        (height, width) px of the stored views; larger than the picture, so that zoom has detail.
    cache
        Folder of the stored views.
    augmentation
        How views are changed, see AugmentConfig.
    labels
        Whether the items have segmentation targets.
    balance
        How much more often views of rare depth are drawn: 0 each view alike, 1 each canonical
        median depth alike. Close range is rare in rooms, and a network that sees little of it
        puts it too far.
    """

    height: int = 240
    width: int = 320
    samples_per_epoch: int = 4000
    seed: int = 0
    weights: dict[str, float] = field(default_factory=dict)
    views: dict[str, int] = field(default_factory=dict)
    workers: int = 2
    view_size: tuple[int, int] = (HEIGHT, WIDTH)
    cache: Path = CACHE_FOLDER
    augmentation: AugmentConfig = field(default_factory=AugmentConfig)
    labels: bool = False
    balance: float = 0.0

    def __post_init__(self):
        object.__setattr__(self, 'weights', dict(self.weights or DEFAULT_WEIGHTS))
        object.__setattr__(self, 'views', dict(self.views or DEFAULT_VIEWS))
        for key in ('height', 'width', 'samples_per_epoch'):
            if getattr(self, key) <= 0:
                raise DataError(f'{key} is {getattr(self, key)}; give a number above 0')
        splits = load_splits()
        for name, weight in self.weights.items():
            splits.require(name, 'train')
            if weight < 0:
                raise DataError(f'weight of {name} is {weight}; give 0 or more')
        if not 0 <= self.balance <= 1:
            raise DataError(f'balance is {self.balance}; give a number from 0 to 1')
        if not sum(self.weights.values()) > 0:
            raise DataError('no entry has a weight above 0; give at least one')
        for name in self.views:
            if splits.entry(name).split == 'test':
                raise SplitError(f'{name!r} is a test entry of splits.yaml and was asked for in '
                                 'training; take it out of views')


def _chances(log_medians: np.ndarray, balance: float) -> np.ndarray:
    # Cumulative chances of views, by how many others have a median within half a bin.
    known = np.isfinite(log_medians)
    ordered = np.sort(log_medians[known])
    near = (np.searchsorted(ordered, log_medians + LOG_WIDTH / 2, side='right')
            - np.searchsorted(ordered, log_medians - LOG_WIDTH / 2, side='left'))
    chances = np.where(known, np.maximum(near, 1.0) ** -balance, 0.0)
    return np.cumsum(chances / chances.sum())


def _item(image: np.ndarray, depth: np.ndarray, focal_px: float, source: str, name: str,
          labels: np.ndarray | None = None) -> dict:
    item = {'image': torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
            'depth': torch.from_numpy(depth),
            'focal_px': torch.tensor(focal_px, dtype=torch.float32),
            'source': source, 'name': name}
    return item if labels is None else item | {'labels': label_tensor(labels)}


def label_tensor(labels: np.ndarray) -> torch.Tensor:
    """Return stored segmentation targets as the loss takes them: int64, -1 where there is none."""
    return torch.from_numpy(np.where(labels == UNLABELLED, -1, labels.astype(np.int64)))


def _labels(record: np.void) -> np.ndarray | None:
    return record['labels'] if 'labels' in record.dtype.names else None


def _fitted(record: np.void, height: int, width: int) -> tuple:
    # Image, depth, focal length and targets of a whole view, unchanged.
    crop, labels = fitted_crop(*record['depth'].shape, height, width), _labels(record)
    cut = None if labels is None else cut_labels(labels, crop, height, width)
    return *apply_crop(record['image'], record['depth'], focal_of(record), crop, height,
                       width), cut


class TrainViews(Dataset):
    """Endless random training items; item i of epoch e is the same in any run and worker.

    Items: image uint8 (3, H, W) RGB, depth float32 (H, W) metres with NaN where invalid,
    focal_px float32 at (H, W), source (entry of splits.yaml), name; with config.labels also
    labels int64 (H, W), -1 where there is none: procedural rooms alone have any.
    """

    def __init__(self, views: Views, config: DataConfig, changed: bool = True):
        self.views, self.config, self.changed = views, config, changed
        weights = np.array([config.weights[name] for name in views.names])
        self._shares = np.cumsum(weights / weights.sum())
        self._chances = [_chances(views.log_medians(entry), config.balance)
                         for entry in range(len(views.names))] if config.balance else None
        # Shared memory: workers that live on through the epochs see set_epoch too.
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()

    @property
    def sources(self) -> list[str]:
        """What `source` of the items can be."""
        return self.views.names

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; call it before the loader is iterated."""
        self._epoch[0] = epoch

    def __len__(self) -> int:
        return self.config.samples_per_epoch

    def __getitem__(self, index: int) -> dict:
        if not 0 <= index < len(self):
            raise IndexError(index)
        config = self.config
        rng = np.random.default_rng([config.seed, int(self._epoch[0]), index])
        entry = min(int(np.searchsorted(self._shares, rng.random(), side='right')),
                    len(self.views.names) - 1)
        record = self.views.read(entry, self._draw(entry, rng))
        size = (config.height, config.width)
        if self.changed:
            *picture, labels = augment_labelled(
                record['image'], record['depth'], _labels(record), focal_of(record), rng, *size,
                config.augmentation)
        else:
            *picture, labels = _fitted(record, *size)
        return _item(*picture, self.views.names[entry], str(record['name']), labels)

    def _draw(self, entry: int, rng: np.random.Generator) -> int:
        count = self.views.counts[entry]
        if self._chances is None:
            return int(rng.integers(count))
        drawn = int(np.searchsorted(self._chances[entry], rng.random(), side='right'))
        return min(drawn, count - 1)


class ValViews(Dataset):
    """Every stored val view once, fitted to the network's size, unchanged; items as TrainViews."""

    def __init__(self, views: Views, config: DataConfig):
        self.views, self.config = views, config
        self._ends = np.cumsum(views.counts)

    def __len__(self) -> int:
        return len(self.views)

    def __getitem__(self, index: int) -> dict:
        if not 0 <= index < len(self):
            raise IndexError(index)
        entry = int(np.searchsorted(self._ends, index, side='right'))
        number = index - (int(self._ends[entry - 1]) if entry else 0)
        record = self.views.read(entry, number)
        *picture, labels = _fitted(record, self.config.height, self.config.width)
        return _item(*picture, self.views.names[entry], str(record['name']), labels)


def _available(entries) -> list:
    """Keep the entries whose data are here: without DATA_ROOT the procedural scenes alone."""
    if data_root() is not None:
        return list(entries)
    kept = [entry for entry in entries if entry.dataset in GENERATED]
    log.warning('DATA_ROOT is not set: using procedural scenes alone, without furniture models; '
                'set it to the folder of the data sets for the full training set')
    return kept


def build(config: DataConfig, split: str = 'train', *, augment: bool = True) -> Dataset:
    """Return the training or validation set, rendering what .data_cache/ lacks.

    Parameters
    ----------
    config
        What to read.
    split
        'train': random items of the entries in config.weights. 'val': all views of the val
        entries in config.views.
    augment
        False: training items are drawn alike but not changed (for the baselines).

    Raises
    ------
    SplitError
        The split is test, or anything but train and val: training never sees test data.
    DataError
        No entry is available, or an entry has no readable view.
    """
    if split not in ('train', 'val'):
        raise SplitError(f"training was asked for split {split!r}; it gets 'train' and 'val' "
                         'only, test data are for training.data.evaluation')
    splits = load_splits()
    names = config.weights if split == 'train' else [
        name for name in config.views if splits.entry(name).split == 'val']
    wanted = [splits.entry(n) for n in names if split == 'val' or config.weights[n] > 0]
    entries = _available(wanted)
    if not entries:
        raise DataError(f'no {split} entry is available; give procedural rooms a weight and '
                        'views, or set DATA_ROOT')
    where = (*config.view_size, config.cache, config.labels)
    sets = [(ShardSet(e, *where), _views_of(config, e.name)) for e in entries]
    views = Views(sets, config.workers)
    cv2.setNumThreads(1)  # loader workers share the cores with the model
    return TrainViews(views, config, augment) if split == 'train' else ValViews(views, config)


def _views_of(config: DataConfig, name: str) -> int:
    if config.views.get(name, 0) <= 0:
        raise DataError(f'{name} has a weight but no number of views; add it to views')
    return config.views[name]
