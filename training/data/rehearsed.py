"""A data set mixed with pictures of the first training, so that a network does not forget it."""
from __future__ import annotations

from collections.abc import Callable, Mapping
import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from training.data import mixed
from training.data.pictures import DataConfig, number, options
from training.data.root import DataError

REHEARSED = 'rehearsed'
STREAM = 0x7E  # keeps the choice of a side apart from what each side draws


@dataclass(frozen=True)
class RehearsedOptions:
    """`dataset` and its `options` are what is learnt; `share` of the items are rehearsed."""

    dataset: str = ''
    share: float = 0.3
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        object.__setattr__(self, 'share', number(self.share, 'share'))
        if not 0 < self.share < 1:
            raise DataError(f'share is {self.share}; give a number above 0 and below 1')


class Rehearsed(Dataset):
    """Endless random items of two training sets.

    Where the items of `new` have more than others have, its ``filled`` puts blanks into `old`'s.
    """

    def __init__(self, new: Dataset, old: Dataset, config: DataConfig, share: float):
        self.new, self.old, self.config, self.share = new, old, config, share
        self.sources = [*new.sources, *old.sources]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; call it before the loader is iterated."""
        self.new.set_epoch(epoch)
        self.old.set_epoch(epoch)

    def __len__(self) -> int:
        return self.config.samples_per_epoch

    def __getitem__(self, index: int) -> dict:
        if not 0 <= index < len(self):
            raise IndexError(index)
        # By item alone: the epoch changes what each side draws.
        chance = np.random.default_rng([STREAM, self.config.seed, index]).random()
        if chance >= self.share:
            return self.new[index]
        item = self.old[index]
        return self.new.filled(item) if hasattr(self.new, 'filled') else item


def build_rehearsed(
    datasets: Mapping[str, Callable], config: DataConfig, split: str = 'train', *,
    augment: bool = True,
) -> Dataset:
    """Return the mixture for training; of another split the new data set alone.

    Raises
    ------
    DataError
        `config.options` names no data set of `datasets`, or as one of the two says.
    """
    chosen = options(RehearsedOptions, config.options, REHEARSED)
    if chosen.dataset not in datasets:
        raise DataError(f'{REHEARSED} was asked for data set {chosen.dataset!r}; '
                        f'choose one of {", ".join(datasets)}')
    learnt = dataclasses.replace(config, options=chosen.options)
    new = datasets[chosen.dataset](learnt, split, augment=augment)
    if split != 'train':
        return new
    old = mixed.build(dataclasses.replace(config, options={}, root=''), split, augment=augment)
    return Rehearsed(new, old, config, chosen.share)
