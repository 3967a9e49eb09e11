"""Rendered views on disk: made once, resumed after a stop, read through a memory map.

A shard is one .npy file of records (image, depth, intrinsics, name) under .data_cache/. The
folder's name holds a hash of all that the pixels depend on, so a changed generator or setting
finds an empty folder, never an old view. A shard is written under another name and then renamed:
one that exists is complete.

    python -m training.data.shards procedural_train=3000 aws_small_house_train=800 workers=2
"""
from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
import hashlib
import json
import logging
import math
from multiprocessing import get_context
import os
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from training.data.augment import UNLABELLED
from training.data.render import recipe, safe_unit, unit_limit, views_per_unit
from training.data.root import CACHE_FOLDER
from training.data.splits import Entry, load_splits

HEIGHT, WIDTH = 240, 320  # the largest training size; four times as many views as at 480x360
VIEWS_PER_SHARD = 64
NAME_LENGTH = 64
LABELS_VERSION = 1  # raise it when segmentation targets are made in another way
log = logging.getLogger(__name__)


def record_type(height: int, width: int, labels: bool = False) -> np.dtype:
    """Return the NumPy type of one stored view; float16 metres resolve 4 mm at 8 m."""
    fields = [('image', np.uint8, (height, width, 3)),
              ('depth', np.float16, (height, width)),
              ('camera', np.float32, 4),  # fx fy cx cy, px
              ('name', f'U{NAME_LENGTH}')]
    return np.dtype(fields + [('labels', np.uint8, (height, width))] * labels)


@dataclass(frozen=True)
class ShardSet:
    """The shards of one entry of splits.yaml at one size, with segmentation targets or without."""

    entry: Entry
    height: int = HEIGHT
    width: int = WIDTH
    cache: Path = CACHE_FOLDER
    labels: bool = False

    @property
    def record_type(self) -> np.dtype:
        """NumPy type of one view."""
        return record_type(self.height, self.width, self.labels)

    @property
    def folder(self) -> Path:
        """Folder of the shards; its name changes with whatever the pixels depend on."""
        facts = {**recipe(self.entry), 'height': self.height, 'width': self.width,
                 'shard': VIEWS_PER_SHARD, 'unit': views_per_unit(self.entry)}
        if self.labels:
            facts['labels'] = LABELS_VERSION
        key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
        return self.cache / 'shards' / f'{self.entry.name}-{key}'

    @property
    def units_per_shard(self) -> int:
        """Units (rooms, lightings, frames) whose views share a shard."""
        return max(1, VIEWS_PER_SHARD // views_per_unit(self.entry))

    def path(self, index: int) -> Path:
        """Return the file of shard `index`."""
        return self.folder / f'{index:05d}.npy'

    def wanted(self, views: int) -> int:
        """Return how many shards hold `views` views, or all that there are if fewer."""
        units = math.ceil(views / views_per_unit(self.entry))
        limit = unit_limit(self.entry)
        units = units if limit is None else min(units, limit)
        return math.ceil(units / self.units_per_shard)

    def missing(self, views: int) -> list[int]:
        """Return the indices of the shards that are still to be made for `views` views."""
        return [i for i in range(self.wanted(views)) if not self.path(i).exists()]

    def make(self, index: int) -> int:
        """Render shard `index` and return how many views it holds."""
        first, limit = index * self.units_per_shard, unit_limit(self.entry)
        last = first + self.units_per_shard
        units = range(first, last if limit is None else min(last, limit))
        views = [v for u in units for v in safe_unit(self.entry, u, self.height, self.width)]
        records = np.empty(len(views), self.record_type)
        for record, view in zip(records, views):
            k = view['intrinsics']
            record['image'], record['depth'] = view['image'], view['depth']
            record['camera'], record['name'] = (k.fx, k.fy, k.cx, k.cy), view['name']
            if self.labels:
                record['labels'] = view.get('labels', UNLABELLED)
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.path(index).with_suffix(f'.{os.getpid()}.partial')
        with open(partial, 'wb') as file:
            np.save(file, records)
        os.replace(partial, self.path(index))
        return len(views)

    def open(self, views: int) -> tuple[list[np.ndarray], list[Path]]:
        """Map the shards of the first `views` views that exist.

        Returns
        -------
        tuple
            Memory-mapped record arrays, and the files that are damaged (named in the log).
        """
        maps, damaged = [], []
        for index in range(self.wanted(views)):
            path = self.path(index)
            if not path.exists():
                continue
            records = _map_records(path, self.record_type)
            if records is None:
                damaged.append(path)
            elif len(records):
                maps.append(records)
        return maps, damaged


def _map_records(path: Path, expected: np.dtype) -> np.ndarray | None:
    try:
        records = np.load(path, mmap_mode='r')
    except (ValueError, OSError, EOFError) as error:
        log.warning('left out %s: damaged (%s); delete it and it is made again', path, error)
        return None
    if records.dtype != expected:
        log.warning('left out %s: holds %s; delete it and it is made again', path, records.dtype)
        return None
    return records


def _start_worker():
    # The pool is parallel over shards already; threads inside would fight for the same cores.
    cv2.setNumThreads(1)
    os.nice(5)


def _make(task: tuple[ShardSet, int]) -> int:
    return task[0].make(task[1])


def make_shards(sets: list[tuple[ShardSet, int]], workers: int = 2) -> int:
    """Render what is missing of each (shard set, number of views); return the views rendered.

    Parameters
    ----------
    sets
        Shard sets with the number of views wanted of each.
    workers
        Processes; 0 renders in this one.
    """
    tasks = [(s, index) for s, views in sets for index in s.missing(views)]
    if not tasks:
        return 0
    bar = {'total': len(tasks), 'desc': 'rendering', 'unit': 'shard'}
    if workers == 0:
        return sum(tqdm(map(_make, tasks), **bar))
    # spawn: a fork would copy Open3D's and OpenCV's threads in an unknown state.
    with ProcessPoolExecutor(workers, mp_context=get_context('spawn'),
                             initializer=_start_worker) as pool:
        return sum(tqdm(pool.map(_make, tasks), **bar))


def main(argv=None, cache: Path = CACHE_FOLDER) -> int:
    """Parse `ENTRY=VIEWS …` and render into `cache`."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('wishes', nargs='+', metavar='ENTRY=VIEWS',
                        help='an entry of splits.yaml and how many views; also workers=N')
    wishes = dict(text.split('=', 1) for text in parser.parse_args(argv).wishes)
    workers, splits = int(wishes.pop('workers', 2)), load_splits()
    logging.basicConfig(level=logging.INFO)
    sets = [(ShardSet(splits.entry(name), cache=cache), int(views))
            for name, views in wishes.items()]
    log.info('rendered %d new views', make_shards(sets, workers))
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
