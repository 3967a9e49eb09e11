"""A data set and a network of no size, and a command that trains them in their own process.

    KILL_AT=EPOCH,ITEM python test/training/toy_run.py CONFIG key=value ...
"""
from __future__ import annotations

import math
import os
import signal

import torch
from torch import nn
from torch.utils.data import Dataset

from training.data import DATASETS
from training.losses import LOSSES
from training.models import MODELS
from training.train import main


class BrightIsNear(Dataset):
    """Even pictures whose depth follows from their brightness; some pixels are holes."""

    def __init__(self, config, split, augment=True):
        self.config, self.split, self.epoch = config, split, 0
        self.sources = ['toy']
        self.options = config.options

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return self.config.samples_per_epoch if self.split == 'train' else 5

    def __getitem__(self, index):
        if index >= len(self):
            raise IndexError(index)
        self._maybe_die(index)
        size = (self.config.height, self.config.width)
        share, metres = self._depth(index)
        depth = torch.full(size, metres)
        depth[0] = torch.nan
        image = torch.full((3, *size), round(255 * share), dtype=torch.uint8)
        return {'image': image, 'depth': depth, 'focal_px': torch.tensor(13.0 * size[1] / 16),
                'source': 'toy', 'name': f'{self.epoch}/{index}'}

    def _maybe_die(self, index):
        if self.split != 'train':
            return
        if os.environ.get('KILL_AT') == f'{self.epoch},{index}':
            os.kill(os.getpid(), signal.SIGKILL)
        if self.options.get('fail_at') == [self.epoch, index]:
            raise RuntimeError('the power went')

    def _depth(self, index):
        share = (index * 0.37 + self.epoch * 0.11) % 1.0
        is_bad = self.split == 'train' and self.options.get('nan_at') == [self.epoch, index]
        return share, math.inf if is_bad else 4.0 - 3.0 * share


class ToyNet(nn.Module):
    """Two convolutions with batch norm and dropout: all that a resume can get wrong."""

    output_kind = 'log'
    size_multiple = 4

    def __init__(self, width: int = 4, plain: bool = False) -> None:
        super().__init__()
        norm = [] if plain else [nn.BatchNorm2d(width), nn.Dropout(0.3)]
        self.convs = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), *norm, nn.ReLU())
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, image):
        return self.head(self.convs(image))


class Unmasked(nn.Module):
    """A loss that takes NaN for a number, and holes for an error of 1."""

    def forward(self, log_depth, depth, image):
        return (log_depth - depth.nan_to_num(nan=1.0, posinf=math.nan)).abs().mean()


def register():
    """Put all three under the name 'toy'."""
    DATASETS['toy'], MODELS['toy'], LOSSES['toy'] = BrightIsNear, ToyNet, Unmasked


if __name__ == '__main__':
    register()
    main()
