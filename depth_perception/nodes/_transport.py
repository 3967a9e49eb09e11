"""What the shared memory of this host says of a publisher that is not heard.

Fast DDS sends through a segment of the publisher's own process. A message larger than the segment
is overwritten before it is read: best effort then loses it, and nobody is told.
"""

from __future__ import annotations

from collections.abc import Sequence
import contextlib
import fcntl
import os
from pathlib import Path
import re
from typing import NamedTuple

# The default is 512 KiB and a little; a picture of 640x480 in colour has 900 KiB.
SMALL_BYTES = 900 * 1024
CURE = 'FASTDDS_BUILTIN_TRANSPORTS=DEFAULT?sockets_size=8MB'
_LOCK_FILE = re.compile(r'(/dev/shm/fast[a-z]+_[0-9a-f]{16})_el')
_PID_BITS = 1 << 16


class Sender(NamedTuple):
    """A process on this host that publishes, and the size of its segment."""

    pid: int
    command: str
    segment_bytes: int

    @property
    def is_small(self) -> bool:
        """Whether a picture may not fit."""
        return self.segment_bytes < SMALL_BYTES


def sender(gid: Sequence[int], own_gid: Sequence[int],
           processes: Path = Path('/proc')) -> Sender | None:
    """
    Return the process behind a Fast DDS endpoint, if it runs on this host and may be looked at.

    Parameters
    ----------
    gid, own_gid : sequence of int
        Of the endpoint, and of one of this process. Bytes 2 and 3 name the host, 4 and 5 are the
        lower half of the process id.
    processes : Path
        Where the system shows its processes.

    """
    if len(gid) < 6 or tuple(gid[:4]) != tuple(own_gid[:4]):
        return None
    low = gid[4] | gid[5] << 8
    for pid in range(low, _pid_max(processes), _PID_BITS):
        size = segment_bytes(processes / str(pid))
        if size is not None:
            return Sender(pid, _command(processes / str(pid)), size)
    return None


def segment_bytes(process: Path) -> int | None:
    """Return the size of the largest segment that a process owns; None where none is seen."""
    sizes = []
    with contextlib.suppress(OSError):      # it ended, or belongs to another user
        for link in (process / 'fd').iterdir():
            with contextlib.suppress(OSError):
                owned = _LOCK_FILE.fullmatch(os.readlink(link))
                if owned:
                    sizes.append(Path(owned[1]).stat().st_size)
    return max(sizes, default=None)


class SharedMemory(NamedTuple):
    """The shared memory of this host: what dead processes left there, and what is free."""

    stale: int
    stale_bytes: int
    free_bytes: int


def shared_memory(folder: Path = Path('/dev/shm')) -> SharedMemory:
    """Look for segments whose owner is dead: its lock on them is gone."""
    sizes = []
    for lock in folder.glob('fast*_el'):
        segment = lock.with_name(lock.name[:-len('_el')])
        with contextlib.suppress(OSError), lock.open('rb') as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while its owner lives
            sizes.append(segment.stat().st_size)
    room = os.statvfs(folder)
    return SharedMemory(len(sizes), sum(sizes), room.f_bavail * room.f_frsize)


def _pid_max(processes: Path) -> int:
    try:
        return int((processes / 'sys/kernel/pid_max').read_text())
    except (OSError, ValueError):
        return 1 << 22


def _command(process: Path) -> str:
    try:
        return (process / 'comm').read_text().strip()
    except OSError:
        return '?'
