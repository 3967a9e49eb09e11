"""One unit of rendering or reading: an entry of splits.yaml and a number give some views.

A unit is what one random number decides: a room, a lighting of a world, a stored frame. Views
of a unit depend on nothing but the entry, the unit's number and the size.
"""
from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np

from training.data import closeups, furniture, mitsuba, procedural, real, worlds
from training.data.root import UnreadableFile, data_root, dataset_folder
from training.data.splits import Entry

PROCEDURAL = 'procedural_rooms'
GENERATED = (PROCEDURAL, closeups.DATASET)  # need no DATA_ROOT
VIEWS_PER_ROOM, VIEWS_PER_CLOSEUP, VIEWS_PER_LIGHTING = 4, 4, 8
# Part of every cache key: raise it when stored views are made in another way.
FORMAT_VERSION = 1
log = logging.getLogger(__name__)


def views_per_unit(entry: Entry) -> int:
    """Return how many views one unit of the entry gives."""
    return {PROCEDURAL: VIEWS_PER_ROOM, closeups.DATASET: VIEWS_PER_CLOSEUP,
            worlds.DATASET: VIEWS_PER_LIGHTING}.get(entry.dataset, 1)


def unit_limit(entry: Entry) -> int | None:
    """Return how many units the entry has; None: as many as one likes."""
    if entry.dataset in GENERATED:
        return entry.seeds[1] - entry.seeds[0] + 1
    if entry.dataset == worlds.DATASET:
        return None
    if entry.dataset == mitsuba.DATASET:
        return len(mitsuba.YAWS_DEG)
    return len(real.frame_files(entry, dataset_folder(entry.dataset)))


def recipe(entry: Entry) -> dict:
    """Return what the pixels of the entry's views depend on, for the cache's key."""
    facts = {'format': FORMAT_VERSION, 'entry': entry.name, 'dataset': entry.dataset}
    if entry.dataset in GENERATED:
        maker = procedural if entry.dataset == PROCEDURAL else closeups
        facts.update(version=maker.GENERATOR_VERSION, seeds=entry.seeds,
                     furniture=entry.furniture if _furniture_folder() else '')
        if entry.style:
            facts['style'] = entry.style
    elif entry.dataset == worlds.DATASET:
        facts.update(version=worlds.GENERATOR_VERSION, world=entry.world, region=entry.region)
    elif entry.dataset == mitsuba.DATASET:
        facts.update(version=mitsuba.GENERATOR_VERSION, scene=entry.scene)
    else:
        facts.update(sequence=entry.sequence, frames=entry.frames, frame=entry.frame)
    return facts


def render_unit(entry: Entry, unit: int, height: int, width: int) -> list[dict]:
    """Return the views of one unit at height x width.

    Returns
    -------
    list of dict
        image uint8 (height, width, 3) RGB, depth float32 metres with NaN, intrinsics, name.

    Raises
    ------
    DataError
        The data set is missing, or a renderer is (UnreadableFile: this one file is damaged).
    """
    if entry.dataset in GENERATED:
        folder = _furniture_folder()
        models = furniture.load_furniture(folder, entry.furniture) if folder else ()
        scene = entry.seeds[0] + unit, views_per_unit(entry), height, width, models
        return (procedural.render_room(*scene, entry.style) if entry.dataset == PROCEDURAL
                else closeups.render_closeup(*scene))
    folder = dataset_folder(entry.dataset)
    if entry.dataset == worlds.DATASET:
        # Train and val differ in region; distinct seeds keep their lights apart as well.
        seed = unit + (0 if entry.split == 'train' else 10 ** 6)
        return worlds.render_views(worlds.load_world(folder, entry.world), seed,
                                   VIEWS_PER_LIGHTING, height, width, entry.region)
    if entry.dataset == mitsuba.DATASET:
        archive = folder / f'{entry.scene}.tar.xz'
        return [mitsuba.render_view(archive, entry.scene, unit, height, width)]
    sample = real.frame_files(entry, folder)[unit].load()
    return [fit_to(sample, height, width)]


def fit_to(sample: dict, height: int, width: int) -> dict:
    """Resize a sample to height x width after cutting its longer side to that aspect ratio."""
    image, depth, intrinsics = sample['image'], sample['depth'], sample['intrinsics']
    scale = min(intrinsics.height / height, intrinsics.width / width)
    cut_h, cut_w = round(scale * height), round(scale * width)
    y, x = (intrinsics.height - cut_h) // 2, (intrinsics.width - cut_w) // 2
    image, depth = image[y:y + cut_h, x:x + cut_w], depth[y:y + cut_h, x:x + cut_w]
    shrink = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    return {**sample,
            'image': cv2.resize(image, (width, height), interpolation=shrink),
            'depth': cv2.resize(np.ascontiguousarray(depth), (width, height),
                                interpolation=cv2.INTER_NEAREST),
            'intrinsics': intrinsics.cropped(x, y, cut_w, cut_h).resized(width, height)}


def _furniture_folder() -> Path | None:
    root = data_root()
    if root is None or not (root / furniture.DATASET).is_dir():
        return None
    return root / furniture.DATASET


def safe_unit(entry: Entry, unit: int, height: int, width: int) -> list[dict]:
    """Return the views of a unit; a unit that cannot be read is named in the log and is empty."""
    try:
        return render_unit(entry, unit, height, width)
    except UnreadableFile as error:
        log.warning('left out unit %d of %s: %s', unit, entry.name, error)
        return []
