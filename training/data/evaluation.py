"""Held-out pictures with truth, by row of the evaluation table.

Nothing here is for training. Stored frames come at their own size; rendered rows are made once
and kept in .data_cache/ like the training views.

    for row, entries in rows().items():
        for entry in entries:
            for sample in samples(entry):
                sample['image'], sample['intrinsics'], sample['depth']
"""
from __future__ import annotations

from collections.abc import Iterator
import logging

import numpy as np

from depth_perception.geometry import Intrinsics
from training.data import mitsuba, real, worlds
from training.data.render import PROCEDURAL
from training.data.root import UnreadableFile, data_root, dataset_folder
from training.data.shards import ShardSet, make_shards
from training.data.splits import Entry, load_splits

# Rendered rows: dataset -> (height, width, views of each entry).
RENDERED = {PROCEDURAL: (480, 640, 64), worlds.DATASET: (480, 640, 64),
            mitsuba.DATASET: (mitsuba.HEIGHT, mitsuba.WIDTH, len(mitsuba.YAWS_DEG))}
# Rows pooled over others; the model has a bar to clear on both.
HELD_OUT_SCENES, UNSEEN_SENSORS = 'held-out scenes', 'unseen real sensors'
log = logging.getLogger(__name__)


def available(entry: Entry) -> bool:
    """Say whether the entry's data are here: all but procedural rooms need DATA_ROOT."""
    root = data_root()
    return entry.dataset == PROCEDURAL or (root is not None and (root / entry.dataset).is_dir())


def rows() -> dict[str, list[Entry]]:
    """Return the scored test entries that are available, by row of the table.

    Order: synthetic rows, real rows. Pooled rows are `pooled()`.
    """
    table: dict[str, list[Entry]] = {}
    for entry in load_splits().select('test'):
        if not entry.scored:
            continue
        if available(entry):
            table.setdefault(entry.row, []).append(entry)
        else:
            log.warning('no row for %s: %s is not under DATA_ROOT', entry.name, entry.dataset)
    return table


def pooled() -> dict[str, list[Entry]]:
    """Return the two pooled rows that the model is judged by.

    'held-out scenes': the rendered test scenes (rooms, hospital, Mitsuba). 'unseen real
    sensors': every scored real picture whose sensor took no training picture.
    """
    splits = load_splits()
    trained = {entry.sensor for entry in splits.select('train')}
    entries = [entry for row in rows().values() for entry in row]
    return {HELD_OUT_SCENES: [e for e in entries if e.dataset in RENDERED],
            UNSEEN_SENSORS: [e for e in entries if e.kind == 'real' and e.sensor not in trained]}


def pictures() -> list[Entry]:
    """Return the test entries without metric truth, for looking at."""
    return [e for e in load_splits().select('test') if not e.scored and available(e)]


def samples(entry: Entry, workers: int = 0) -> Iterator[dict]:
    """Give the pictures of a test entry, in a fixed order.

    Parameters
    ----------
    entry
        An entry of `rows()` or `pictures()`.
    workers
        Processes that render what the cache lacks; 0: this one.

    Yields
    ------
    dict
        image uint8 (H, W, 3) RGB, depth float32 (H, W) metres with NaN where unknown,
        intrinsics Intrinsics, focal_px, source, name.

    Raises
    ------
    DataError
        The data set, or Mitsuba for its rows, is missing.
    """
    if entry.dataset in RENDERED:
        yield from _rendered(entry, workers)
        return
    for file in real.frame_files(entry, dataset_folder(entry.dataset)):
        try:
            yield file.load()
        except UnreadableFile as error:
            log.warning('left out: %s', error)


def _rendered(entry: Entry, workers: int) -> Iterator[dict]:
    height, width, views = RENDERED[entry.dataset]
    shards = ShardSet(entry, height, width)
    make_shards([(shards, views)], workers)
    maps, _ = shards.open(views)
    records = [record for records in maps for record in records][:views]
    for record in records:
        intrinsics = Intrinsics(width, height, *(float(x) for x in record['camera']))
        yield {'image': np.array(record['image']), 'depth': record['depth'].astype(np.float32),
               'intrinsics': intrinsics, 'focal_px': intrinsics.focal_px, 'source': entry.name,
               'name': str(record['name'])}
