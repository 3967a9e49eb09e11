"""The messages of rosbag2 recordings, streamed: sqlite3 or MCAP, compressed or not, split or not.

Nothing is asked of metadata.yaml, which a recording that was cut off lacks: the storage files say
what they hold, and a compressed message shows itself by its first bytes.
"""
from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
import hashlib
import logging
from pathlib import Path
import re
import struct
from typing import Any

from rosbags.rosbag2 import Reader, ReaderError
from rosbags.typesys import Stores, get_typestore
import yaml

from training.data.bag_salvage import BROKEN, Damaged, Stored, log_beside, salvaged
from training.data.root import DataError

try:
    from apsw import Error as DatabaseError  # what rosbags reads sqlite3 with
except ImportError:
    from sqlite3 import Error as DatabaseError  # and what it did earlier
try:
    from compression import zstd  # Python 3.14
except ImportError:
    from backports import zstd

log = logging.getLogger(__name__)

STORAGE = ('.mcap', '.db3')
PACKED = '.zstd'
ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'
BLOCK = 1 << 20  # bytes
METADATA = 'metadata.yaml'
# What rosbags raises for damaged files, beside its own error.
DAMAGE = (ReaderError, DatabaseError, zstd.ZstdError, TypeError, AssertionError, KeyError,
          *BROKEN)
# What the layout of a message raises where its bytes are not of its type.
GARBLED = (ValueError, IndexError, struct.error, TypeError, AssertionError, UnicodeError,
           MemoryError)


class NotABag(DataError):
    """The path holds no recording of rosbag2."""


@dataclass
class Topic:
    """What a bag holds of one topic; the count is that of the files that could be read."""

    name: str
    type: str
    count: int = 0


@dataclass
class Recording:
    """One recording: a folder of storage files, or a single one.

    Parameters
    ----------
    path
        Folder or file.
    scratch
        Folder for a storage file that is unpacked; one at a time lies there.
    rename
        Name of a topic in the bag -> the name that it goes by.

    Attributes
    ----------
    notes : list of str
        What is wrong with the files, one sentence each.
    topics : dict of str to Topic
    start_ns, end_ns : int
        Log time of the first and the last message.

    Raises
    ------
    NotABag
        There is no such path, or no storage file in it.
    """

    path: Path
    scratch: Path
    rename: Callable[[str], str] = str
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.files = storage_files(self.path)
        self._missing()
        self._types = get_typestore(Stores.LATEST)
        self._unpacked: tuple[Path, Path] | None = None
        self._damaged: set[Path] = set()
        self.topics: dict[str, Topic] = {}
        self.start_ns, self.end_ns = 2**63 - 1, 0
        for file in self.files:
            self._survey(file)

    @property
    def name(self) -> str:
        """Name of the folder or file."""
        return self.path.resolve().name

    def fingerprint(self) -> str:
        """Return the SHA-256 of the files' names, sizes and both ends: it takes no time."""
        digest = hashlib.sha256()
        for file in self.files:
            size = file.stat().st_size
            digest.update(f'{file.name} {size}'.encode())
            with file.open('rb') as stream:
                digest.update(stream.read(BLOCK))
                stream.seek(max(0, size - BLOCK))
                digest.update(stream.read(BLOCK))
        return digest.hexdigest()

    def messages(self, topics: Collection[str]) -> Iterator[Stored]:
        """Yield the messages of some topics, file by file, in the order of time where possible.

        A file that turns out to be damaged goes on from there with what can be salvaged.
        """
        for file in self.files:
            if file in self._damaged:
                yield from self._salvaged(file, topics)
                continue
            storage, last_ns = self._storage(file), -1
            try:
                for message in self._intact(storage, topics):
                    last_ns = max(last_ns, message.log_ns)
                    yield message
            except DAMAGE as error:
                self._damaged.add(file)
                self._note(f'{file.name}: damaged ({error or type(error).__name__})')
                yield from self._salvaged(file, topics, last_ns)

    def first(self, topic: str) -> Any | None:
        """Return the first message of a topic that can be decoded; None where none can."""
        for number, message in enumerate(self.messages([topic])):
            decoded = self.decoded(message)
            if decoded is not None or number == 100:
                return decoded
        return None

    def decoded(self, message: Stored) -> Any | None:
        """Return the fields of a message; None where its bytes are not of its type."""
        try:
            return self._types.deserialize_cdr(message.data, message.type)
        except GARBLED:
            return None

    def close(self) -> None:
        """Remove what was unpacked."""
        if self._unpacked:
            self._unpacked[1].unlink(missing_ok=True)
            self._unpacked = None

    def _missing(self) -> None:
        """Note what metadata.yaml tells of files that are not there."""
        description = self.path / METADATA
        if not self.path.is_dir():
            return
        if not description.is_file():
            self._note(f'{METADATA} is missing: the recording was cut off')
            return
        try:
            named = yaml.safe_load(description.read_text())['rosbag2_bagfile_information']
            named = [Path(name).name for name in named['relative_file_paths']]
        except (OSError, UnicodeError, yaml.YAMLError, KeyError, TypeError):
            self._note(f'{METADATA} is damaged; the files themselves are read')
            return
        lost = sorted(set(named) - {file.name for file in self.files})
        if lost:
            self._note(f'{", ".join(lost)} of {METADATA} is not there')

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
            log.warning('%s: %s', self.path, text)

    def _survey(self, file: Path) -> None:
        """Count the topics of a file, and see whether it is whole."""
        storage = self._storage(file)
        try:
            if log_beside(storage):
                raise ReaderError('its last messages are in the write-ahead log')
            with Reader(storage) as reader:
                for each in reader.connections:
                    self._count(each.topic, each.msgtype, each.msgcount)
                if reader.message_count:
                    self._span(reader.start_time, reader.end_time)
        except DAMAGE as error:
            log.info('%s is salvaged: %s', file, error)
            self._damaged.add(file)
            for message in self._salvaged(file, None):
                self._count(message.topic, message.type, 1, renamed=True)
                self._span(message.log_ns, message.log_ns)

    def _count(self, name: str, kind: str, count: int, renamed: bool = False) -> None:
        name = name if renamed else self.rename(name)
        self.topics.setdefault(name, Topic(name, kind)).count += count

    def _span(self, start_ns: int, end_ns: int) -> None:
        self.start_ns, self.end_ns = min(self.start_ns, start_ns), max(self.end_ns, end_ns)

    def _intact(self, storage: Path, topics: Collection[str]) -> Iterator[Stored]:
        with Reader(storage) as reader:
            wanted = [each for each in reader.connections if self.rename(each.topic) in topics]
            if not wanted:
                return
            for each, log_ns, data in reader.messages(wanted):
                yield Stored(self.rename(each.topic), each.msgtype, log_ns, _plain(data))

    def _salvaged(self, file: Path, topics: Collection[str] | None,
                  after_ns: int = -1) -> Iterator[Stored]:
        kept = 0
        try:
            for message in salvaged(self._storage(file)):
                kept += 1
                name = self.rename(message.topic)
                if message.log_ns > after_ns and (topics is None or name in topics):
                    yield message._replace(topic=name, data=_plain(message.data))
        except Damaged as error:
            self._note(f'{file.name}: {error}; {kept} messages could be read')

    def _storage(self, file: Path) -> Path:
        """Return the file itself, or what it holds where it is compressed as a whole."""
        if file.suffix != PACKED:
            return file
        if self._unpacked and self._unpacked[0] == file:
            return self._unpacked[1]
        self.close()
        self.scratch.mkdir(parents=True, exist_ok=True)
        target = self.scratch / file.stem
        self._unpacked = file, target
        with file.open('rb') as packed, target.open('wb') as out:
            try:
                with zstd.open(packed, 'rb') as stream:
                    while block := stream.read(BLOCK):
                        out.write(block)
            except (EOFError, zstd.ZstdError) as error:
                self._note(f'{file.name}: the compressed file is cut off ({error})')
        return target


def storage_files(path: Path) -> list[Path]:
    """Return the storage files of a recording in the order in which they were written.

    Raises
    ------
    NotABag
        There are none.
    """
    if path.suffix == '.bag':
        raise NotABag(f'{path} is a bag of ROS 1; convert it: rosbags-convert --src {path} '
                      f'--dst {path.with_suffix("")}')
    found = [path] if path.is_file() else list(path.glob('*')) if path.is_dir() else []
    files = [file for file in found if file.name.removesuffix(PACKED).endswith(STORAGE)]
    if not files:
        what = 'holds no .mcap or .db3 file' if path.exists() else 'does not exist'
        raise NotABag(f'{path} {what}; give the folder that ros2 bag record made, or a file of it')
    # bag_10 comes after bag_9
    return sorted(files, key=lambda file: [
        int(part) if part.isdigit() else part for part in re.split(r'(\d+)', file.name)])


def _plain(data: bytes) -> bytes:
    data = bytes(data)
    if data[:4] != ZSTD_MAGIC:
        return data
    try:
        return zstd.decompress(data)
    except zstd.ZstdError:
        return b''  # a message that no reader takes, which is then counted as such
