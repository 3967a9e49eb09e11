"""Data sets made of a robot's own bags: ``python -m training.data.prepare BAG… -o DATASET``.

``data.dataset=bag data.root=DATASET`` trains on pictures with depth, ``bag_focus`` on its focus
stacks; `open_set` gives everything, videos without depth as well. docs/bags.md tells the layout.
"""
from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from depth_perception.geometry import Intrinsics
from training.data.bag_writer import DESCRIPTION, FORMAT_VERSION, MANIFEST
from training.data.faults import require_root
from training.data.focus_sets import Stack, open_stacks
from training.data.picture_sets import open_pictures
from training.data.pictures import DataConfig, Picture, options, require_split
from training.data.root import DataError, UnreadableFile

SOURCE, FOCUS_SOURCE = 'bag', 'bag_focus'
# Frames further apart than this in time do not show the same things.
LONGEST_STEP_NS = 500_000_000
MAPPED = 64  # shards that stay open

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NoOptions:
    """Settings of bag and bag_focus: there are none."""


class Shards:
    """Records by shard and row; files are opened when they are needed."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._maps: dict[str, np.ndarray] = {}

    def __reduce__(self) -> tuple:
        # A map that is pickled, for a worker that is spawned, would be all of its file.
        return Shards, (self._root,)

    def path(self, name: str) -> Path:
        """Return the file of a shard."""
        return self._root / name

    def read(self, name: str, row: int) -> np.void:
        """Return a record; its arrays stay on the disk. UnreadableFile where it is damaged."""
        if name not in self._maps:
            if len(self._maps) >= MAPPED:
                self._maps.clear()
            try:
                self._maps[name] = np.load(self.path(name), mmap_mode='r')
            except (OSError, ValueError, EOFError) as error:
                raise UnreadableFile(f'{self.path(name)} is damaged: {error}') from error
        try:
            return self._maps[name][row]
        except IndexError as error:
            raise UnreadableFile(f'{self.path(name)} has no row {row}') from error


@dataclass(frozen=True)
class _Rows:
    # Frames of one kind and split; arrays, because Python strings make forked workers grow.
    shards: Shards
    names: np.ndarray
    files_of: np.ndarray
    rows: np.ndarray

    def files(self, number: int) -> tuple[Path]:
        """Return the shard of a frame."""
        return (self.shards.path(str(self.files_of[number])),)

    def record(self, number: int) -> np.void:
        """Return the record of a frame."""
        return self.shards.read(str(self.files_of[number]), int(self.rows[number]))


@dataclass(frozen=True)
class BagPictures(_Rows):
    """Pictures with depth of one split, as pictures.Pictures has them."""

    source: str = SOURCE

    def load(self, number: int) -> Picture:
        """Read a picture; UnreadableFile where it is damaged."""
        record = self.record(number)
        image = np.array(record['image'])
        return Picture(image, record['depth'].astype(np.float32), _camera(record, image.shape))


@dataclass(frozen=True)
class Video(_Rows):
    """Pictures of one split in the order of time, with depth or without.

    Attributes
    ----------
    stamps : (N,) int64
        Nanoseconds.
    runs : (N,) int64
        Neighbours in time of one recording share a number; a longer step begins another.
    """

    stamps: np.ndarray
    runs: np.ndarray

    def load(self, number: int) -> tuple[np.ndarray, Intrinsics]:
        """Read a picture, (H, W, 3) uint8 RGB; UnreadableFile where it is damaged."""
        record = self.record(number)
        image = np.array(record['image'])
        return image, _camera(record, image.shape)


@dataclass(frozen=True)
class BagStacks(_Rows):
    """Focus stacks of one split, as focus_sets.Stacks has them."""

    frames: int = 0
    source: str = FOCUS_SOURCE

    def load(self, number: int) -> Stack:
        """Read a stack; UnreadableFile where it is damaged."""
        record = self.record(number)
        images = np.array(record['images'])
        return Stack(images, np.array(record['focus_m']), record['depth'].astype(np.float32),
                     _camera(record, images.shape[1:]))


def _camera(record: np.void, shape: tuple[int, ...]) -> Intrinsics:
    return Intrinsics(shape[1], shape[0], *(float(value) for value in record['camera']))


@dataclass(frozen=True)
class BagSet:
    """A data set that prepare wrote.

    Attributes
    ----------
    root : Path
    kinds : tuple of str
        Of 'depth', 'colour' and 'focus', those that it holds.
    counts : dict
        Frames by kind and split.
    bags : list of dict
        What was read, and what became of it.
    entries : list of dict
        The manifest's lines of the frames that were kept.
    """

    root: Path
    kinds: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    bags: list[dict[str, Any]]
    entries: list[dict[str, Any]]

    def pictures(self, split: str) -> BagPictures:
        """Return the pictures with depth of a split."""
        return BagPictures(*self._rows(split, 'depth'))

    def stacks(self, split: str) -> BagStacks:
        """Return the focus stacks of a split, all of as many pictures as most have."""
        stacks = BagStacks(*self._rows(split, 'focus'))
        sizes = Counter(len(stacks.record(i)['focus_m']) for i in range(len(stacks.names)))
        if not sizes:
            return stacks
        frames = sizes.most_common(1)[0][0]
        kept = np.array([len(stacks.record(i)['focus_m']) == frames
                         for i in range(len(stacks.names))])
        if not kept.all():
            log.warning('%s: left out %d stacks of other than %d pictures', self.root,
                        int((~kept).sum()), frames)
        return replace(stacks, names=stacks.names[kept], files_of=stacks.files_of[kept],
                       rows=stacks.rows[kept], frames=frames)

    def video(self, split: str) -> Video:
        """Return all single pictures of a split, each with its neighbours in time."""
        chosen = sorted((entry for entry in self.entries if entry['split'] == split
                         and entry['kind'] != 'focus'),
                        key=lambda entry: (entry['bag'], entry['stamp_ns']))
        stamps = np.array([entry['stamp_ns'] for entry in chosen], np.int64)
        bags = np.array([entry['bag'] for entry in chosen])
        starts = (np.diff(stamps) > LONGEST_STEP_NS) | (bags[1:] != bags[:-1])
        runs = np.concatenate([[0], np.cumsum(starts)]).astype(np.int64)[:len(chosen)]
        return Video(*self._table(chosen), stamps, runs)

    def _rows(self, split: str, kind: str) -> tuple:
        return self._table([entry for entry in self.entries
                            if entry['split'] == split and entry['kind'] == kind])

    def _table(self, entries: list[dict]) -> tuple:
        return (Shards(self.root),
                np.array([f'{entry["bag"]}/{entry["stamp_ns"]}' for entry in entries]),
                np.array([entry['shard'] for entry in entries]),
                np.array([entry['row'] for entry in entries], np.int64))


def is_set(root: Path) -> bool:
    """Whether a folder is a data set that prepare wrote."""
    return (Path(root) / DESCRIPTION).is_file() and (Path(root) / MANIFEST).is_file()


def open_set(root: str | Path) -> BagSet:
    """Open a data set that prepare wrote.

    Raises
    ------
    DataError
        The folder is none, or of a newer version, or damaged.
    """
    root = require_root(root, SOURCE)
    if not is_set(root):
        raise DataError(f'{root} is no data set of bags; make one: python -m '
                        f'training.data.prepare BAG -o {root}')
    try:
        content = json.loads((root / DESCRIPTION).read_text())
        version = content['format_version']
        entries = _committed(root / MANIFEST)
        if version == FORMAT_VERSION:
            return BagSet(root, tuple(content['kinds']), content['counts'],
                          list(content['bags'].values()), entries)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f'{root} is damaged ({error}); run prepare again') from error
    raise DataError(f'{root} is of version {version}, this reader knows {FORMAT_VERSION}; update '
                    'the package, or run prepare again')


def _committed(path: Path) -> list[dict]:
    """Return the lines of frames that were kept, as far as the writing was finished."""
    entries, waiting = [], []
    with path.open() as file:
        for line in file:
            if not line.endswith('\n'):
                break
            entry = json.loads(line)
            if 'commit' in entry:
                entries += waiting
                waiting = []
            elif 'shard' in entry:
                waiting.append(entry)
    return entries


def build_bag(config: DataConfig, split: str = 'train', *, augment: bool = True) -> Dataset:
    """Return the pictures with depth of the data set config.root.

    Raises
    ------
    DataError
        It is none, or has no such pictures.
    """
    bags = _opened(config, split, SOURCE)
    pictures = bags.pictures(split)
    _require(bags, len(pictures.names), 'depth', split)
    return open_pictures(pictures, config, split, augment)


def build_bag_focus(config: DataConfig, split: str = 'train', *, augment: bool = True) -> Dataset:
    """Return the focus stacks of the data set config.root; DataError as `build_bag`."""
    bags = _opened(config, split, FOCUS_SOURCE)
    stacks = bags.stacks(split)
    _require(bags, len(stacks.names), 'focus', split)
    return open_stacks(stacks, replace(config, options={}), split, augment)


def _opened(config: DataConfig, split: str, source: str) -> BagSet:
    require_split(split, source)
    options(NoOptions, config.options, source)
    return open_set(config.root)


def _require(bags: BagSet, count: int, kind: str, split: str) -> None:
    if count:
        return
    if kind not in bags.kinds:
        raise DataError(f'{bags.root} has no frames with {kind}, it has '
                        f'{" and ".join(bags.kinds) or "none at all"}; see its report.txt')
    raise DataError(f'{bags.root} has no {kind} frames for {split}; prepare another bag with '
                    f'--split {split}, or record longer')
