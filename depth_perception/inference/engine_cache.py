"""Engines built once for a model and a machine, kept in the user's cache folder.

An entry is the engine (``NAME-DIGEST.engine``) and its record beside it (``….json``): the key it
was built for, size and SHA-256 of the engine, and the verdict of its verification. The digest is
that of the whole key: another model file, backend version, device, precision, shape or flag is
another entry, so an engine is never used for what it was not built for. An entry without a sound
record (a build cut off, a truncated file) counts as absent and is built again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
from dataclasses import asdict, dataclass
import fcntl
import hashlib
import json
import os
from pathlib import Path
import tempfile
import time
from typing import Any

from depth_perception import folders
from depth_perception.external_data import external_files
from depth_perception.inference.builder import Builder, BuildOptions, BuildStopped, Progress
from depth_perception.model_spec import load_graph

__all__ = ['BuildOptions', 'BuildStopped', 'Builder', 'CacheError', 'EngineCache', 'EngineKey',
           'Entry', 'Progress', 'Slot', 'cache_folder']

LIMIT_BYTES = 8 << 30
_LOCK_POLL_S = 0.1
_FIELDS = {'key', 'sha256', 'size', 'verdict'}


class CacheError(ValueError):
    """The cache folder, or a file in it, cannot be used; the message says which and why."""


@dataclass(frozen=True)
class EngineKey:
    """What an engine was built for; compare ARCHITECTURE, engine cache."""

    model: str
    model_sha256: str
    builder: str
    version: str
    device: str
    options: BuildOptions

    @classmethod
    def of(cls, model_path: Path, builder: Builder, options: BuildOptions,
           sha256: str = '') -> EngineKey:
        """Key of `model_path` built by `builder`; ModelError if the file is damaged."""
        return cls(model_path.stem, sha256 or model_sha256(model_path), builder.name,
                   builder.version, builder.device, options)

    @property
    def digest(self) -> str:
        """32 hexadecimal digits that stand for all fields."""
        text = json.dumps(self.as_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON has them: lists instead of tuples."""
        return json.loads(json.dumps(asdict(self)))


@dataclass(frozen=True)
class Slot:
    """Where one engine lies: the engine, its record and the lock of those who build it."""

    engine: Path

    @property
    def record(self) -> Path:
        """JSON beside the engine."""
        return self.engine.with_name(self.engine.name + '.json')

    @property
    def lock(self) -> Path:
        """Empty file that the one who builds holds."""
        return self.engine.with_name(self.engine.name + '.lock')


@dataclass(frozen=True)
class Entry:
    """An engine in the cache: its record, and when it was used last [s since 1970]."""

    slot: Slot
    record: dict[str, Any]
    size: int
    used: float


def model_sha256(path: Path) -> str:
    """SHA-256 of the ONNX file and of the files that hold its weights."""
    digest = hashlib.sha256(path.read_bytes())
    for file in external_files(load_graph(path), path):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/depth_perception/engines``; see `folders.cache_folder`."""
    return folders.cache_folder() / 'engines'


class EngineCache:
    """The engines of one folder.

    Parameters
    ----------
    folder : Path, optional
        `cache_folder()` when left out.
    limit_bytes : int
        Size of all engines above which those that were not used for the longest time go.
    """

    def __init__(self, folder: Path | None = None, limit_bytes: int = LIMIT_BYTES) -> None:
        self.folder = folder or cache_folder()
        self.limit_bytes = limit_bytes

    def slot(self, key: EngineKey) -> Slot:
        """Where the engine of `key` lies, whether it is there or not."""
        return Slot(self.folder / f'{key.model}-{key.digest}.engine')

    def read(self, slot: Slot, key: EngineKey) -> tuple[bytes, dict[str, Any]] | None:
        """Engine and record of `slot`; None where it is absent, stale or damaged.

        Raises
        ------
        CacheError
            If it is there and cannot be read.
        """
        try:
            record = _read_record(slot)
            if record is None or record['key'] != key.as_json():
                return None
            blob = slot.engine.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CacheError(f'engine {slot.engine} cannot be read ({error.strerror}); remove it, '
                             'or give another engine_file_path') from None
        if hashlib.sha256(blob).hexdigest() != record['sha256']:
            return None
        with contextlib.suppress(OSError):  # read-only: then nothing is ever removed either
            os.utime(slot.record)
        return blob, record

    def write(self, slot: Slot, key: EngineKey, blob: bytes, verdict: dict[str, Any]) -> None:
        """Keep an engine and its verdict, then remove the oldest ones above the limit.

        Raises
        ------
        CacheError
            If the folder is read-only, full, or the path is that of a folder.
        """
        record = {'key': key.as_json(), 'sha256': hashlib.sha256(blob).hexdigest(),
                  'size': len(blob), 'built': time.time(), 'verdict': verdict}
        try:
            slot.engine.parent.mkdir(parents=True, exist_ok=True)
            _replace(slot.engine, blob)
            _replace(slot.record, json.dumps(record, indent=1).encode())
        except OSError as error:
            raise CacheError(
                f'engine {slot.engine} cannot be kept ({error.strerror}) and will be built anew '
                'at each start; free some space, make the folder writable, or set XDG_CACHE_HOME '
                'or engine_file_path to another place') from None
        self._trim(slot)

    @contextlib.contextmanager
    def lock(self, slot: Slot, stopped: Callable[[], bool] = lambda: False) -> Iterator[bool]:
        """Wait until no other process builds this engine; False if `stopped` came first.

        The system gives the lock back when its holder dies. In a folder where no lock can be
        made nothing can be kept either, and everyone builds for himself.
        """
        try:
            slot.lock.parent.mkdir(parents=True, exist_ok=True)
            handle = slot.lock.open('w')
        except OSError:
            yield not stopped()
            return
        with handle:
            while not _try_lock(handle):
                if stopped():
                    yield False
                    return
                time.sleep(_LOCK_POLL_S)
            yield True

    def entries(self) -> list[Entry]:
        """All sound entries, the one used last first."""
        found = []
        for engine in sorted(self.folder.glob('*.engine')):
            slot = Slot(engine)
            with contextlib.suppress(OSError):
                record = _read_record(slot)
                if record is not None:
                    found.append(Entry(slot, record, engine.stat().st_size,
                                       slot.record.stat().st_mtime))
        return sorted(found, key=lambda entry: -entry.used)

    def clear(self, model: str = '') -> int:
        """Remove what `model` has, or everything; return the bytes that are free now."""
        freed = 0
        for file in self.folder.glob(f'{model or "*"}-*.engine*'):
            freed += file.stat().st_size
            file.unlink(missing_ok=True)
        return freed

    def _trim(self, kept: Slot) -> None:
        total = 0
        for entry in self.entries():
            total += entry.size
            if total > self.limit_bytes and entry.slot != kept:
                remove(entry.slot)


def remove(slot: Slot) -> None:
    """Remove an engine and its record; a process that has it loaded keeps it."""
    slot.record.unlink(missing_ok=True)     # first: an engine without a record counts as absent
    slot.engine.unlink(missing_ok=True)


def judged(slot: Slot) -> bool:
    """Whether a verdict lies beside the engine, or beside what is left of it."""
    try:
        return bool(_record(slot)['verdict'])
    except (OSError, ValueError):
        return False


def _read_record(slot: Slot) -> dict[str, Any] | None:
    """The record, or None where it is damaged or the engine has not the size it tells."""
    try:
        record = _record(slot)
    except ValueError:
        return None
    return record if record['size'] == slot.engine.stat().st_size else None


def _record(slot: Slot) -> dict[str, Any]:
    record = json.loads(slot.record.read_text(encoding='utf-8'))
    if not isinstance(record, dict) or not set(record) >= _FIELDS:
        raise ValueError('not a record')
    return record


def _replace(path: Path, data: bytes) -> None:
    """Write in one step: who reads sees the old file or the new one, never half of it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
    try:
        with os.fdopen(handle, 'wb') as file:
            file.write(data)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise


def _try_lock(handle: Any) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
