"""Stored views of several entries of splits.yaml as one list; they stay on disk."""
from __future__ import annotations

import logging
import math

import numpy as np

from training.data.faults import LIMIT, LISTED
from training.data.root import DataError
from training.data.shards import ShardSet, make_shards

log = logging.getLogger(__name__)

MEDIAN_STRIDE = 12  # px: 540 of the pixels of a view tell its median well enough


class Views:
    """Stored views of several entries, by number.

    Parameters
    ----------
    sets
        (shard set, wanted views) of each entry; missing shards are rendered first.
    workers
        Processes for rendering.

    Attributes
    ----------
    names : entries in the order given.
    damaged : files that could not be read; they are left out.
    """

    def __init__(self, sets: list[tuple[ShardSet, int]], workers: int):
        make_shards(sets, workers)
        opened = [shards.open(views) for shards, views in sets]
        self.names = [shards.entry.name for shards, _ in sets]
        self.damaged = [path for _, paths in opened for path in paths]
        self._maps = [maps for maps, _ in opened]
        self._ends = [np.cumsum([len(m) for m in maps]) for maps in self._maps]
        for name, count, (maps, damaged) in zip(self.names, self.counts, opened):
            if not count:
                raise DataError(f'{name} has no readable view; see the warnings above, then '
                                'delete its folder in .data_cache/shards')
            if len(damaged) > LIMIT * (len(maps) + len(damaged)):
                raise DataError(f'{name}: {len(damaged)} of {len(maps) + len(damaged)} shards '
                                f'cannot be read, more than {LIMIT:.0%}; delete them and they are '
                                f'made again: {", ".join(map(str, damaged[:LISTED]))}')
        if self.damaged:
            log.warning('%d damaged files left out', len(self.damaged))

    @property
    def counts(self) -> list[int]:
        """Views of each entry."""
        return [int(ends[-1]) if len(ends) else 0 for ends in self._ends]

    def __len__(self) -> int:
        return sum(self.counts)

    def log_medians(self, entry: int) -> np.ndarray:
        """Logarithm of each view's median depth in widths of the picture per focal length.

        It differs from that of canonical metres by a constant. NaN: a view without depth.
        """
        return np.array([_log_median(record) for shard in self._maps[entry] for record in shard])

    def read(self, entry: int, number: int) -> np.void:
        """Return record `number` of the entry numbered `entry`; its arrays stay on disk."""
        shard = int(np.searchsorted(self._ends[entry], number, side='right'))
        before = self._ends[entry][shard - 1] if shard else 0
        return self._maps[entry][shard][number - before]


def _log_median(record: np.void) -> float:
    depth = record['depth'][::MEDIAN_STRIDE, ::MEDIAN_STRIDE].astype(np.float32)
    if not np.isfinite(depth).any():
        return math.nan
    return math.log(float(np.nanmedian(depth)) * depth.shape[1] / focal_of(record))


def focal_of(record: np.void) -> float:
    """Focal length of a stored view, px."""
    return float(np.sqrt(float(record['camera'][0]) * float(record['camera'][1])))
