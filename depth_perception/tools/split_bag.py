"""A rosbag2 folder of MCAP files, written as messages come: split by size, within a disk budget.

Foxglove, RViz, ``ros2 bag play`` and rosbags read it. Each chunk of a file has a checksum and is
on the disk once it is full: of a recording that is cut off, all but the last chunk is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
import shutil
from typing import BinaryIO

from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer
from rosbags.interfaces import Qos, QosDurability
from rosbags.rosbag2.metadata import dump_qos_v8
from rosbags.typesys import Stores, TypesysError, get_typestore
import yaml

GB = 1_000_000_000
#: Format 8 is read by rosbag2 of Humble to Kilted; 9 only by Jazzy and newer.
BAG_VERSION = 8
SPLIT_BYTES = GB
RESERVE_BYTES = GB // 5  # of the disk, left to others
CHUNK_BYTES = 1 << 20
LATCHED_MOST = 100  # messages of a latched topic that begin each file
KEEP = ('first', 'newest')


class RecordingError(RuntimeError):
    """A topic could not be recorded, or a bag does not hold what was written."""


@dataclass(frozen=True)
class Limits:
    """How much is written, and where it stops.

    Attributes
    ----------
    split_bytes
        A file is followed by the next once it has so much.
    budget_bytes
        Of all files together; 0: as long as there is space.
    keep : {'first', 'newest'}
        At the budget: 'first' stops, 'newest' removes the oldest file for each new one.
    reserve_bytes
        Of the disk, which stay free.
    """

    split_bytes: int = SPLIT_BYTES
    budget_bytes: int = 0
    keep: str = 'first'
    reserve_bytes: int = RESERVE_BYTES

    def __post_init__(self) -> None:
        if self.keep not in KEEP:
            raise ValueError(f'keep is {self.keep!r}; use one of {", ".join(KEEP)}')
        if self.split_bytes <= 0 or self.budget_bytes < 0:
            raise ValueError(f'split_bytes is {self.split_bytes} and budget_bytes '
                             f'{self.budget_bytes}; a file needs some bytes')
        if self.keep == 'newest' and self.budget_bytes < 2 * self.split_bytes:
            raise ValueError(f'keep is newest with a budget of {self.budget_bytes:,} bytes and '
                             f'files of {self.split_bytes:,}; the budget must hold two files')


@dataclass
class _Topic:
    type: str
    definition: str
    digest: str
    qos: str
    latched: bool
    last: list[bytes] = field(default_factory=list)


@dataclass
class _File:
    path: Path
    counts: Counter[str] = field(default_factory=Counter)
    start_ns: int = 2**63 - 1
    end_ns: int = 0
    size: int = 0


class SplitBag:
    """Writes one bag.

    Parameters
    ----------
    folder
        Made new; must not exist.
    limits
        Sizes.

    Attributes
    ----------
    full : str
        Why nothing more is written; '' while something is.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder, self.limits, self.full = folder, limits, ''
        folder.mkdir(parents=True)
        self._typestore = get_typestore(Stores.LATEST)
        self._topics: dict[str, _Topic] = {}
        self._files: list[_File] = []
        self._number = 0
        self._open()

    @property
    def size(self) -> int:
        """Bytes on the disk so far."""
        still_open = 0 if self._stream.closed else self._stream.tell()
        return sum(each.size for each in self._files) + still_open

    @property
    def counts(self) -> dict[str, int]:
        """Messages of each topic that the files hold."""
        return self._counts(self._files)

    def _counts(self, files: Sequence[_File]) -> dict[str, int]:
        total = sum((each.counts for each in files), Counter())
        return {name: total[name] for name in self._topics}

    def add_topic(self, name: str, type_name: str, qos: Sequence[Qos] = ()) -> None:
        """Declare a topic; `qos` is what its publishers offer.

        Raises
        ------
        RecordingError
            The definition of its type is not known.
        """
        try:
            definition, _ = self._typestore.generate_msgdef(type_name, ros_version=2)
            digest = self._typestore.hash_rihs01(type_name)
        except (TypesysError, KeyError) as error:
            raise RecordingError(f'{name}: the definition of {type_name} is not known, so that '
                                 'no reader could decode it; record it with ros2 bag') from error
        latched = any(each.durability == QosDurability.TRANSIENT_LOCAL for each in qos)
        self._topics[name] = _Topic(type_name, definition, digest, dump_qos_v8(list(qos)), latched)
        self._register(name)

    def write(self, topic: str, log_ns: int, data: bytes) -> None:
        """Write a serialised message of a topic that was added; nothing once the bag is full."""
        if self.full:
            return
        known = self._topics[topic]
        if known.latched:
            known.last = [*known.last, bytes(data)][-LATCHED_MOST:]
        try:
            self._write(topic, log_ns, data)
            if self._stream.tell() >= self.limits.split_bytes:
                self._close_file()
                self._open(log_ns)
            self._look()
        except OSError as error:
            self.full = f'nothing more could be written: {error}'

    def close(self) -> None:
        """Finish the last file and metadata.yaml.

        Raises
        ------
        RecordingError
            The disk is full or gone; what was written before is there.
        """
        try:
            self._close_file()
        except (OSError, ValueError) as error:  # ValueError: an error has closed it before
            raise RecordingError(f'{self._files[-1].path} could not be finished ({error}); all '
                                 'of it but the end can be read') from error
        if len(self._files) > 1 and not self._files[-1].counts:
            self._describe(self._files[:-1])
            self._files.pop().path.unlink()

    def _write(self, topic: str, log_ns: int, data: bytes) -> None:
        file = self._files[-1]
        self._writer.add_message(self._channels[topic], log_ns, data, log_ns,
                                 file.counts[topic])
        file.counts[topic] += 1
        file.start_ns, file.end_ns = min(file.start_ns, log_ns), max(file.end_ns, log_ns)

    def _look(self) -> None:
        """Stop, or make room, where the budget or the disk is used up."""
        limits = self.limits
        while (limits.keep == 'newest' and self.size > limits.budget_bytes
               and len(self._files) > 1):
            # The description first: cut off in between, it names no file that is gone.
            self._describe(self._files[1:-1])
            self._files.pop(0).path.unlink()
        if limits.budget_bytes and self.size > limits.budget_bytes:
            self.full = f'the budget of {limits.budget_bytes / GB:g} GB is used up'
        elif shutil.disk_usage(self.folder).free < limits.reserve_bytes:
            self.full = f'less than {limits.reserve_bytes / GB:g} GB of the disk are free'

    def _open(self, log_ns: int = 0) -> None:
        path = self.folder / f'{self.folder.name}_{self._number}.mcap'
        self._number += 1
        self._files.append(_File(path))
        self._stream: BinaryIO = path.open('wb')
        self._writer = Writer(self._stream, CHUNK_BYTES, CompressionType.ZSTD)
        self._writer.start(profile='ros2', library='depth_perception')
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, int] = {}
        for name, topic in self._topics.items():
            self._register(name)
            # What was said once must be in each file: the first one may be removed.
            for data in topic.last:
                self._write(name, log_ns, data)

    def _register(self, name: str) -> None:
        topic = self._topics[name]
        if topic.type not in self._schemas:
            self._schemas[topic.type] = self._writer.register_schema(
                topic.type, 'ros2msg', topic.definition.encode())
        self._channels[name] = self._writer.register_channel(
            name, 'cdr', self._schemas[topic.type],
            {'offered_qos_profiles': topic.qos, 'topic_type_hash': topic.digest})

    def _close_file(self) -> None:
        self._writer.finish()
        size = self._stream.tell()
        self._stream.close()
        self._files[-1].size = size
        self._describe(self._files)

    def _describe(self, files: Sequence[_File]) -> None:
        start = min((each.start_ns for each in files), default=0)
        length = max(0, max((each.end_ns for each in files), default=0) - start)
        counts = self._counts(files)
        content = {
            'version': BAG_VERSION, 'storage_identifier': 'mcap', 'ros_distro': '',
            **_span(start, length, sum(counts.values())),
            'relative_file_paths': [each.path.name for each in files],
            'topics_with_message_count': [{'message_count': counts[name], 'topic_metadata': {
                'name': name, 'type': topic.type, 'serialization_format': 'cdr',
                'offered_qos_profiles': topic.qos, 'type_description_hash': topic.digest}}
                for name, topic in self._topics.items()],
            'compression_format': '', 'compression_mode': '', 'custom_data': None,
            'files': [{'path': each.path.name, **_span(
                each.start_ns, max(0, each.end_ns - each.start_ns), each.counts.total())}
                for each in files]}
        partial = self.folder / 'metadata.yaml.partial'
        partial.write_text(yaml.safe_dump({'rosbag2_bagfile_information': content}))
        partial.replace(self.folder / 'metadata.yaml')


def _span(start_ns: int, length_ns: int, count: int) -> dict:
    return {'starting_time': {'nanoseconds_since_epoch': start_ns},
            'duration': {'nanoseconds': length_ns}, 'message_count': count}


def verify(folder: Path, counts: dict[str, int]) -> None:
    """Read every message of a bag and check each chunk's checksum.

    Raises
    ------
    RecordingError
        A file is damaged, or holds other messages than `counts`.
    """
    found: Counter[str] = Counter()
    for file in sorted(folder.glob('*.mcap')):
        with file.open('rb') as stream:
            try:
                for _, channel, _ in make_reader(stream, validate_crcs=True).iter_messages():
                    found[channel.topic] += 1
            except (ValueError, EOFError, OSError, RuntimeError) as error:
                raise RecordingError(f'{file} cannot be read back: {error}') from error
    if found != Counter(counts):
        raise RecordingError(f'{folder} holds {dict(found)} messages, {counts} were written')
