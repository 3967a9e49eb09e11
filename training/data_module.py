"""Batches for Lightning: each process its share, and after a resume the rest of the epoch."""

from __future__ import annotations

from collections.abc import Iterator
import warnings

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from training.config import Config, Phase
from training.registry import build_data

# DepthData goes on inside an epoch by its own state; and an epoch may well be short.
warnings.filterwarnings('ignore', message=".*your dataloader is not resumable")
warnings.filterwarnings('ignore', message='The number of training batches .* is smaller than')


class Share(Sampler[int]):
    """Indices of one of `world` processes for one epoch, from its `start`-th on.

    The length is that of the whole share even where a start is given: Lightning counts the
    batches before it as done.
    """

    def __init__(self, count: int, rank: int, world: int) -> None:
        self._indices = range(rank, count - count % world, world)
        self.start = 0

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[int]:
        left, self.start = self._indices[self.start :], 0  # the next epoch is a whole one
        return iter(left)


class DepthData(L.LightningDataModule):
    """Training and validation set of one phase.

    Its state in a checkpoint is the epoch and how many of its batches were trained on. Training
    sets draw item i of epoch e by themselves, by seed: nothing else decides what comes next.
    """

    def __init__(self, config: Config, phase: Phase) -> None:
        super().__init__()
        self.train_set = build_data(config, phase, 'train')
        self.val_set = build_data(config, phase, 'val')
        self._data = config.data
        self._has_epochs = config.epochs.count > 0
        self._batch_size = phase.batch_size
        self._state = {'epoch': 0, 'batches': 0, 'length': 0}

    @property
    def sources(self) -> list[str]:
        """Where the training pictures come from."""
        return self.train_set.sources

    def set_epoch(self, epoch: int) -> None:
        """Let the training set draw the epoch."""
        self.train_set.set_epoch(epoch)

    def train_dataloader(self) -> DataLoader:
        """Batches of this process; each has its full size."""
        count, state = len(self.train_set), self._state
        if self._has_epochs:  # then this is called for each of them, and the task says its length
            state, self._state = self._state, {'epoch': 0, 'batches': 0, 'length': 0}
            size, task = self._batch_size * self.trainer.world_size, self.trainer.lightning_module
            count = size * (state['length'] or task.batches_of_epoch(size))
        sampler = Share(count, self.trainer.global_rank, self.trainer.world_size)
        sampler.start = state['batches'] * self._batch_size
        self.set_epoch(self.trainer.current_epoch if self._has_epochs else state['epoch'])
        return self._loader(self.train_set, sampler=sampler, drop_last=True)

    def val_dataloader(self) -> DataLoader:
        """Validation pictures of this process, evenly thinned out."""
        kept = thinned(self.val_set, self._data.validation_images)
        rank, world = self.trainer.global_rank, self.trainer.world_size
        return self._loader(Subset(kept, range(rank, len(kept), world)))

    def _loader(self, data: Dataset, **settings) -> DataLoader:
        workers = self._data.workers
        return DataLoader(data, batch_size=self._batch_size, num_workers=workers,
                          persistent_workers=workers > 0, pin_memory=torch.cuda.is_available(),
                          **settings)

    def state_dict(self) -> dict[str, int]:
        """What a checkpoint keeps."""
        progress = self.trainer.fit_loop.epoch_loop.batch_progress.current
        return {'epoch': self.trainer.current_epoch, 'batches': progress.ready,
                'length': int(self.trainer.num_training_batches)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on behind the batches that a checkpoint counts."""
        self._state = {'length': 0} | state


def thinned(data: Dataset, count: int) -> Dataset:
    """At most `count` items, evenly spaced, so that every source keeps its share."""
    if len(data) <= count:
        return data
    return Subset(data, [i * len(data) // count for i in range(count)])
