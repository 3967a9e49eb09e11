"""Furniture models to stand in procedural rooms: the CC0 collection of Sweet Home 3D."""
from __future__ import annotations

import csv
from functools import lru_cache
import logging
from pathlib import Path

from depth_perception.scenes import Mesh
from training.data.meshes import Y_UP_TO_Z_UP, load_meshes
from training.data.root import DataError, UnreadableFile
from training.data.splits import load_splits

DATASET = 'sweethome3d_cc0_furniture'
# Things that hang on a wall or from a ceiling, and floor coverings: Room sets models on the floor.
NOT_ON_THE_FLOOR = ('Lights', 'Staircases')
MIN_HEIGHT_M, MIN_WIDTH_M = 0.15, 0.12
MAX_SIZE_M = 2.5
HANGING = ('upper', 'Upper', 'ceiling', 'shower', 'towel', 'rangeHood', 'urinal', 'emergency',
           'glassDoor')
log = logging.getLogger(__name__)


def stands_on_floor(row: dict) -> bool:
    """Say whether a line of catalogue.csv is a thing that stands on a floor by itself."""
    size = [float(row[key]) for key in ('width_m', 'depth_m', 'height_m')]
    hangs = any(word in row['file'] for word in HANGING)
    return (not hangs and row['category'] not in NOT_ON_THE_FLOOR and max(size) <= MAX_SIZE_M
            and size[2] >= MIN_HEIGHT_M and min(size[:2]) >= MIN_WIDTH_M)


@lru_cache(maxsize=4)
def load_furniture(folder: Path, split: str) -> tuple[tuple[Mesh, ...], ...]:
    """Return the models of `split` ('train' or 'test'), Z up, origin at the floor's centre.

    A file that cannot be read is named in the log and left out.

    Parameters
    ----------
    folder
        The data set: catalogue.csv and models/.
    split
        Which side of splits.yaml's furniture_split.

    Raises
    ------
    DataError
        The folder holds no usable model of that split.
    """
    with open(folder / 'catalogue.csv', newline='') as file:
        rows = [row for row in csv.DictReader(file) if stands_on_floor(row)]
    splits, models = load_splits(), []
    for row in rows:
        if splits.furniture_split(row['file']) != split:
            continue
        try:
            models.append(tuple(load_meshes(folder / 'models' / row['file'], Y_UP_TO_Z_UP)))
        except UnreadableFile as error:
            log.warning('left out: %s', error)
    if not models:
        raise DataError(f'{folder} holds no furniture of split {split!r}; copy the data set again')
    return tuple(models)
