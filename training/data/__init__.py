"""Data for training: what may be trained on, how views are made, and what the network is fed."""
from __future__ import annotations

from training.data.augment import AugmentConfig
from training.data.baseline import Baselines, baselines, load_baselines
from training.data.mixed import DataConfig, TrainViews, ValViews, build
from training.data.root import DataError
from training.data.splits import SplitError

# split -> the data set that `build` returns for it
DATASETS = {'train': TrainViews, 'val': ValViews}

__all__ = ['DATASETS', 'AugmentConfig', 'Baselines', 'DataConfig', 'DataError', 'SplitError',
           'baselines', 'build', 'load_baselines']
