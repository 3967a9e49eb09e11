"""Which scene, world, seed or frame is train, val or test: reads training/configs/splits.yaml.

The file is the only place that decides. Training asks `training_entries` / `require_training`,
which refuse everything of split test and everything that the file does not name.
"""
from __future__ import annotations

from dataclasses import dataclass
import hashlib
from pathlib import Path

import yaml

from training.data.root import REPOSITORY, DataError

SPLITS_FILE = REPOSITORY / 'training' / 'configs' / 'splits.yaml'
SPLITS = ('train', 'val', 'test')
KINDS = ('real', 'synthetic')


class SplitError(DataError):
    """An entry that splits.yaml does not hold, holds wrongly, or keeps for testing."""


@dataclass(frozen=True)
class Entry:
    """One line of splits.yaml.

    `seeds` and `frames` are (first, last), both included; `region` is the part of a world's
    extent along X in which cameras stand, 0..1. `style` is that of the rooms, see
    `depth_perception.scene_styles`.
    """

    name: str
    split: str
    dataset: str
    kind: str
    sensor: str
    row: str
    why: str
    scored: bool = True
    world: str = ''
    scene: str = ''
    sequence: str = ''
    frame: str = ''
    furniture: str = ''
    style: str = ''
    seeds: tuple[int, int] | None = None
    frames: tuple[int, int] | None = None
    region: tuple[float, float] | None = None

    def __post_init__(self):
        if self.split not in SPLITS:
            raise SplitError(f'{self.name}: split is {self.split!r}; use one of {SPLITS}')
        if self.kind not in KINDS:
            raise SplitError(f'{self.name}: kind is {self.kind!r}; use one of {KINDS}')
        if not self.why:
            raise SplitError(f'{self.name}: has no reason; say in `why` what the entry is for')
        for key in ('seeds', 'frames', 'region'):
            value = getattr(self, key)
            if value is not None and (len(value) != 2 or value[0] > value[1]):
                raise SplitError(f'{self.name}: {key} is {value}; give [first, last]')


def _entry(name: str, fields: dict) -> Entry:
    pairs = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    try:
        return Entry(name=name, **pairs)
    except TypeError as error:
        raise SplitError(f'{name}: {error}; see the head of splits.yaml for the keys') from error


@dataclass(frozen=True)
class Splits:
    """All entries by name, and the rule that splits the furniture models."""

    entries: dict[str, Entry]
    furniture_modulo: int
    furniture_test_remainders: tuple[int, ...]

    def entry(self, name: str) -> Entry:
        """Return the entry `name`; SplitError where the file does not name it."""
        if name not in self.entries:
            raise SplitError(f'{name!r} is not in splits.yaml; it names '
                             f'{", ".join(sorted(self.entries))}')
        return self.entries[name]

    def select(self, split: str, dataset: str | None = None) -> list[Entry]:
        """Return the entries of `split`, in the order of the file."""
        return [e for e in self.entries.values()
                if e.split == split and dataset in (None, e.dataset)]

    def require(self, name: str, split: str) -> Entry:
        """Return the entry `name` if it may be used as `split`.

        Training (split train or val) never gets a test entry, and val never gets a train one.

        Raises
        ------
        SplitError
            The entry is unknown, or belongs to another split.
        """
        entry = self.entry(name)
        if entry.split != split:
            raise SplitError(f'{name!r} is a {entry.split} entry of splits.yaml and was asked for '
                             f'as {split}; choose one of '
                             f'{", ".join(e.name for e in self.select(split))}')
        return entry

    def furniture_split(self, file_name: str) -> str:
        """Return 'train' or 'test' for a furniture model, from its file name alone."""
        first_byte = hashlib.sha256(file_name.encode()).digest()[0]
        test = first_byte % self.furniture_modulo in self.furniture_test_remainders
        return 'test' if test else 'train'


def load_splits(path: Path | str = SPLITS_FILE) -> Splits:
    """Read and check splits.yaml.

    Raises
    ------
    SplitError
        The file holds an unknown key, split or kind, or overlapping ranges.
    """
    document = yaml.safe_load(Path(path).read_text())
    if document.get('format_version') != 1:
        raise SplitError(f'{path}: format_version is {document.get("format_version")!r}; '
                         'this reader knows 1')
    rule = document['furniture_split']
    splits = Splits({name: _entry(name, fields) for name, fields in document['entries'].items()},
                    int(rule['modulo']), tuple(rule['test_remainders']))
    check_disjoint(splits)
    return splits


def _place(entry: Entry) -> tuple:
    return (entry.dataset, entry.world, entry.scene, entry.sequence, entry.frame)


def _overlap(a: Entry, b: Entry) -> bool:
    for key in ('seeds', 'frames', 'region'):
        first, second = getattr(a, key), getattr(b, key)
        if first and second and (first[0] > second[1] or second[0] > first[1]):
            return False
    return True


def check_disjoint(splits: Splits) -> None:
    """Raise SplitError where two entries of different splits share a seed, frame or place."""
    entries = list(splits.entries.values())
    for i, a in enumerate(entries):
        for b in entries[i + 1:]:
            if a.split != b.split and _place(a) == _place(b) and _overlap(a, b):
                raise SplitError(f'{a.name} ({a.split}) and {b.name} ({b.split}) overlap; '
                                 'give them separate seeds, frames or regions')
