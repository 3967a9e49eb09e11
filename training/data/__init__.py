"""Data for training: what may be trained on, how views are made, and what the network is fed."""
from __future__ import annotations

from training.data.augment import AugmentConfig
from training.data.baseline import Baselines, baselines, load_baselines
from training.data.folder import build_folder
from training.data.mixed import build
from training.data.nyu import build_labeled
from training.data.nyu_raw import build_raw
from training.data.pictures import DataConfig
from training.data.root import DataError
from training.data.splits import SplitError

# name in data.dataset -> build(config, split, *, augment=True), which returns a Dataset of items
# as mixed.TrainViews describes them; split is 'train', 'val' or (not for mixed) 'test'
DATASETS = {
    'mixed': build,
    'nyu_labeled': build_labeled,
    'nyu_raw': build_raw,
    'folder': build_folder,
}

__all__ = ['DATASETS', 'AugmentConfig', 'Baselines', 'DataConfig', 'DataError', 'SplitError',
           'baselines', 'build', 'load_baselines']
