"""What a damaged storage file of a bag still holds, MCAP or sqlite3.

Records are read in the order in which they were written until the damage, and past it where the
format allows: MCAP goes on with the next chunk whose checksum is right.
"""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import sqlite3
import struct
from typing import NamedTuple
from urllib.parse import quote

from mcap.exceptions import McapError
from mcap.records import Channel, Chunk, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
import zstandard

from training.data.root import DataError

# A record whose length says more than this has a damaged length.
RECORD_LIMIT = 1 << 30
# Messages of a database that are skipped one by one; of one that was cut off all the rest is gone.
MOST_LOST = 100
# What the readers of a format raise where bytes are not what they should be.
BROKEN = (McapError, struct.error, zstandard.ZstdError, ValueError, EOFError, RuntimeError,
          MemoryError, OSError)


class Damaged(DataError):
    """A storage file ends early or holds damage; what was readable came out before."""


class Stored(NamedTuple):
    """One message as it is stored."""

    topic: str
    type: str
    log_ns: int
    data: bytes


def salvaged(path: Path) -> Iterator[Stored]:
    """Yield what a storage file holds, in the order of writing.

    Raises
    ------
    Damaged
        After the last message that could be read; the text says what is wrong.
    """
    if not path.stat().st_size:
        raise Damaged('the file is empty: nothing was recorded')
    yield from (_mcap(path) if path.suffix == '.mcap' else _sqlite(path))


def _mcap(path: Path) -> Iterator[Stored]:
    schemas: dict[int, str] = {}
    channels: dict[int, Channel] = {}
    lost = 0
    with path.open('rb') as file:
        records = StreamReader(file, emit_chunks=True, record_size_limit=RECORD_LIMIT).records
        while True:
            try:
                record = next(records)
            except StopIteration:
                break
            except BROKEN as error:
                raise Damaged(f'cut off after {file.tell():,} bytes ({_said(error)})') from error
            try:
                inside = (breakup_chunk(record, validate_crc=True) if isinstance(record, Chunk)
                          else [record])
            except BROKEN:
                lost += 1
                continue
            for each in inside:
                if isinstance(each, Schema):
                    schemas[each.id] = each.name
                elif isinstance(each, Channel):
                    channels[each.id] = each
                elif isinstance(each, Message) and each.channel_id in channels:
                    channel = channels[each.channel_id]
                    yield Stored(channel.topic, schemas.get(channel.schema_id, ''), each.log_time,
                                 each.data)
    if lost:
        raise Damaged(f'{lost} chunks are damaged')


def _sqlite(path: Path) -> Iterator[Stored]:
    connection, lost, problem = _connected(path), 0, None
    try:
        # Without it sqlite refuses a file that is shorter than its header says.
        connection.execute('PRAGMA writable_schema=ON')
        topics = {number: (name, kind) for number, name, kind in connection.execute(
            'SELECT id, name, type FROM topics')}
        last = 0
        while lost <= MOST_LOST:
            try:
                # By id: the index of time lies at the end, and is the first to be lost.
                for row, number, log_ns, data in connection.execute(
                        'SELECT id, topic_id, timestamp, data FROM messages NOT INDEXED '
                        'WHERE id > ? ORDER BY id', (last,)):
                    last = row
                    if number in topics and type(log_ns) is int and type(data) is bytes:
                        yield Stored(*topics[number], log_ns, data)
                break
            except (sqlite3.Error, MemoryError) as error:
                problem, last, lost = error, last + 1, lost + 1  # the next one may be whole
    except (sqlite3.Error, TypeError, MemoryError) as error:
        problem = error
    finally:
        connection.close()
    if problem:
        raise Damaged(f'cut off or damaged ({_said(problem)})') from problem


def log_beside(path: Path) -> bool:
    """Whether a recorder that was killed left messages in the write-ahead log of sqlite3."""
    log = Path(f'{path}-wal')
    return log.is_file() and log.stat().st_size > 0


def _connected(path: Path) -> sqlite3.Connection:
    mode = 'mode=ro' if log_beside(path) else 'mode=ro&immutable=1'
    return sqlite3.connect(f'file:{quote(str(path))}?{mode}', uri=True)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
