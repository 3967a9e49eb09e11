"""Data for training: what may be trained on, how views are made, and what the network is fed."""
from __future__ import annotations

from functools import partial

from training.data.arkitscenes import build_arkitscenes
from training.data.augment import AugmentConfig
from training.data.bag import build_bag, build_bag_focus
from training.data.baseline import Baselines, baselines, load_baselines
from training.data.ddff import build_ddff
from training.data.focus import build_focus
from training.data.folder import build_folder
from training.data.hypersim import build_hypersim
from training.data.ibims import build_ibims
from training.data.mixed import build
from training.data.nyu import build_labeled
from training.data.nyu_raw import build_raw
from training.data.pictures import DataConfig
from training.data.rehearsed import build_rehearsed
from training.data.root import DataError
from training.data.self_labelled import build_self_labelled
from training.data.splits import SplitError
from training.data.tartanair import build_tartanair

# name in data.dataset -> build(config, split, *, augment=True), which returns a Dataset of items
# as mixed.TrainViews describes them; split is 'train', 'val' or (not for mixed) 'test'
PICTURES = {
    'mixed': build,
    'nyu_labeled': build_labeled,
    'nyu_raw': build_raw,
    'folder': build_folder,
    'bag': build_bag,
    'hypersim': build_hypersim,
    'arkitscenes': build_arkitscenes,
    'tartanair': build_tartanair,
    'ibims': build_ibims,
    'self_labelled': build_self_labelled,
}
# Items of the last two are focus stacks, as training/stacks.py has them.
DATASETS = {**PICTURES, 'rehearsed': partial(build_rehearsed, PICTURES),
            'focus': partial(build_focus, PICTURES), 'ddff': build_ddff,
            'bag_focus': build_bag_focus}

__all__ = ['DATASETS', 'AugmentConfig', 'Baselines', 'DataConfig', 'DataError', 'SplitError',
           'baselines', 'build', 'load_baselines']
