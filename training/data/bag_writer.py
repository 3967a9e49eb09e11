"""The data set that prepare writes: shards, a manifest, and how far it came.

A line of manifest.jsonl is one picture that was looked at, kept or not, and why. Frames gather in
memory; a commit writes their shards, then their lines, then a line that ends them. What follows
the last such line was cut off, and is made again: a data set that was killed goes on where it was.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
import errno
import json
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from training.data.root import DataError
from training.data.shards import NAME_LENGTH, VIEWS_PER_SHARD
from training.data.splits import SPLITS

FORMAT_VERSION = 1
DESCRIPTION, MANIFEST, SHARDS = 'dataset.json', 'manifest.jsonl', 'shards'
KINDS = ('depth', 'colour', 'focus')
# A commit also comes after so many pictures of which none was kept, or so many bytes of frames.
MOST_LINES, MOST_BYTES = 2000, 200 << 20
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def record_type(kind: str, height: int, width: int, slices: int = 0) -> np.dtype:
    """Return the NumPy type of one frame; see shards.record_type for depth in float16."""
    fields: list[tuple] = [('name', f'U{NAME_LENGTH}'), ('stamp', np.int64),
                           ('camera', np.float32, 4)]  # fx fy cx cy, px
    if kind == 'focus':
        fields += [('images', np.uint8, (slices, height, width, 3)),
                   ('focus_m', np.float32, slices)]
    else:
        fields += [('image', np.uint8, (height, width, 3))]
    if kind != 'colour':
        fields += [('depth', np.float16, (height, width))]
    return np.dtype(fields)


def stored_settings(folder: Path) -> dict | None:
    """Return the settings with which a data set was begun; None where there is none yet.

    Raises
    ------
    DataError
        It is of another version.
    """
    description = folder / DESCRIPTION
    if not description.exists():
        return None
    content = json.loads(description.read_text())
    if content['format_version'] != FORMAT_VERSION:
        raise DataError(f'{folder} is of version {content["format_version"]}, this package '
                        f'writes {FORMAT_VERSION}; name another folder with -o')
    return content['settings']


class DataSetWriter:
    """Writes one data set, or goes on with one.

    Parameters
    ----------
    folder
        The data set; made where it is not there.
    settings
        What must be the same for all of its bags.

    Attributes
    ----------
    bags : dict of str to dict
        What is known of each bag, by its key.
    checksums : set of str
        Of all pictures that were kept.
    counts : Counter
        Frames by (kind, split).

    Raises
    ------
    DataError
        The folder holds something else, or was made with other settings.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self.bags: dict[str, dict] = {}
        self.checksums: set[str] = set()
        self.counts: Counter[tuple[str, str]] = Counter()
        self._shards: list[dict] = []
        self._entries: list[dict] = []
        self._lines: list[dict] = []
        self._frames: list[tuple[dict, np.ndarray]] = []
        self._bytes = 0
        self._start(dict(settings))

    def entries(self, bag: str) -> list[dict]:
        """Return the manifest's lines of a bag, in order: what a resumed run need not look at."""
        return [entry for entry in self._entries if entry['bag'] == bag]

    def add(self, entry: dict, frame: np.ndarray | None = None) -> None:
        """Take one picture that was looked at, and its frame if it is kept.

        Parameters
        ----------
        entry
            Its line: bag, topic, stamp_ns and checksum; kind and split where it is kept.
        frame
            () record of `record_type`.
        """
        self._lines.append(entry)
        if frame is not None:
            self._frames.append((entry, frame))
            self._bytes += frame.nbytes
            self.checksums.add(entry['checksum'])
            self.counts[entry['kind'], entry['split']] += 1
        if (len(self._frames) >= VIEWS_PER_SHARD or self._bytes >= MOST_BYTES
                or len(self._lines) >= MOST_LINES):
            self.commit()

    def commit(self) -> None:
        """Bring everything so far to the disk.

        Raises
        ------
        DataError
            The disk is full; what was committed before is safe.
        """
        try:
            shards = self._write_shards()
            self._append([*self._lines, {'commit': shards}])
            self._shards += shards
            self._describe()
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise DataError(
                f'{self.folder} cannot be written on: {error.strerror}; {self.frames} frames are '
                'safe. Free some space and run the same command again: it goes on from there'
            ) from error
        self._lines, self._frames, self._bytes = [], [], 0

    @property
    def frames(self) -> int:
        """Frames on the disk."""
        return sum(shard['rows'] for shard in self._shards)

    def _start(self, settings: dict) -> None:
        description = self.folder / DESCRIPTION
        if not description.exists():
            if self.folder.exists() and any(not each.name.startswith('.')
                                            for each in self.folder.iterdir()):
                raise DataError(f'{self.folder} holds something that is no data set of bags; name '
                                'another folder with -o')
            (self.folder / SHARDS).mkdir(parents=True, exist_ok=True)
            self.settings = settings
            self._describe()
            return
        known = json.loads(description.read_text())
        self.settings = known['settings']
        for key, value in settings.items():
            if self.settings.get(key) != value:
                raise DataError(
                    f'{self.folder} was made with {key} {self.settings.get(key)!r}, and now it is '
                    f'{value!r}; use the same, or name another folder with -o')
        self.bags = known['bags']
        self._resume()

    def _resume(self) -> None:
        """Read what was committed, and take away what a killed run left behind it."""
        path = self.folder / MANIFEST
        path.touch()
        waiting, committed, end = [], 0, 0
        with path.open('rb') as file:
            for line in file:
                try:
                    entry = json.loads(line)
                except ValueError:
                    break  # cut off while it was written
                end += len(line)
                if 'commit' not in entry:
                    waiting.append(entry)
                    continue
                self._take(waiting, entry['commit'])
                waiting, committed = [], end
        os.truncate(path, committed)
        named = {Path(shard['file']).name for shard in self._shards}
        for file in (self.folder / SHARDS).iterdir():
            if file.name not in named:
                file.unlink()

    def _take(self, lines: list[dict], shards: list[dict]) -> None:
        self._shards += shards
        for entry in lines:
            if not self.bags.get(entry['bag'], {}).get('finished'):
                self._entries.append(entry)
            if 'shard' in entry:
                self.checksums.add(entry['checksum'])
                self.counts[entry['kind'], entry['split']] += 1

    def _write_shards(self) -> list[dict]:
        """Write the frames that wait: a shard for each kind, split and size."""
        groups: dict[tuple, list[tuple[dict, np.ndarray]]] = {}
        for entry, frame in self._frames:
            key = entry['kind'], entry['split'], frame.dtype
            groups.setdefault(key, []).append((entry, frame))
        made: list[dict] = []
        for (kind, split, dtype), members in groups.items():
            number = sum((each['kind'], each['split']) == (kind, split)
                         for each in (*self._shards, *made))
            name = f'{SHARDS}/{kind}-{split}-{number:05d}.npy'
            _save(self.folder / name, np.array([frame for _, frame in members], dtype))
            for row, (entry, _) in enumerate(members):
                entry.update(shard=name, row=row)
            made.append({'file': name, 'kind': kind, 'split': split, 'rows': len(members)})
        return made

    def _append(self, lines: list[dict]) -> None:
        with (self.folder / MANIFEST).open('ab') as file:
            file.write(''.join(json.dumps(line, allow_nan=False) + '\n' for line in lines)
                       .encode())
            file.flush()
            os.fsync(file.fileno())

    def table(self) -> dict[str, dict[str, int]]:
        """Return how many frames of each kind each split has."""
        return {kind: {split: self.counts[kind, split] for split in SPLITS} for kind in KINDS
                if any(self.counts[kind, split] for split in SPLITS)}

    def _describe(self) -> None:
        counts = self.table()
        content = {'format_version': FORMAT_VERSION, 'kinds': list(counts), 'counts': counts,
                   'settings': self.settings, 'bags': self.bags}
        partial = self.folder / f'{DESCRIPTION}.partial'
        partial.write_text(json.dumps(content, indent=1))
        os.replace(partial, self.folder / DESCRIPTION)


def _save(path: Path, records: np.ndarray) -> None:
    partial = path.with_suffix('.partial')
    try:
        with partial.open('wb') as file:
            np.save(_Plain(file), records)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        partial.unlink(missing_ok=True)  # a full disk needs the space
        raise
    os.replace(partial, path)


class _Plain:
    # Hides that it is a file: NumPy's own way of writing one tells no errno.
    def __init__(self, file: BinaryIO) -> None:
        self.write = file.write
