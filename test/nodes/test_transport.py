"""What is read of shared memory, from folders made by hand."""

from __future__ import annotations

import fcntl
import os

import pytest

from depth_perception.nodes._transport import Sender, sender, shared_memory

HOST = [1, 15, 7, 9]


@pytest.fixture
def processes(tmp_path):
    """A /proc with process 70000, whose segment has the default size."""
    fd = tmp_path / '70000' / 'fd'
    fd.mkdir(parents=True)
    (tmp_path / '70000' / 'comm').write_text('driver\n')
    (tmp_path / 'sys/kernel').mkdir(parents=True)
    (tmp_path / 'sys/kernel/pid_max').write_text('4194304\n')
    return tmp_path


def test_a_publisher_is_found_by_the_lower_half_of_its_process_id(processes, monkeypatch):
    link = processes / '70000' / 'fd' / '5'
    link.symlink_to('/dev/shm/fastdds_0123456789abcdef_el')
    monkeypatch.setattr('pathlib.Path.stat', _stat_of_segment(549408))
    low = 70000 & 0xFFFF
    gid = [*HOST, low & 0xFF, low >> 8, 0, 0, 1, 0, 0, 0]
    found = sender(gid, HOST, processes)
    assert found == Sender(70000, 'driver', 549408) and found.is_small
    assert sender([1, 15, 7, 8, *gid[4:]], HOST, processes) is None     # another host
    assert sender([], HOST, processes) is None


def _stat_of_segment(size):
    real = os.stat

    def stat(path, **kwargs):
        result = real('/dev/null') if 'fastdds_0123' in str(path) else real(path, **kwargs)
        fields = list(result)
        fields[6] = size
        return os.stat_result(fields)

    return stat


def test_segments_without_an_owner_are_counted(tmp_path):
    for name, size in (('fastdds_00000000000000aa', 100), ('fastdds_00000000000000bb', 50)):
        (tmp_path / name).write_bytes(bytes(size))
        (tmp_path / f'{name}_el').touch()
    with (tmp_path / 'fastdds_00000000000000bb_el').open() as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        found = shared_memory(tmp_path)
    assert (found.stale, found.stale_bytes) == (1, 100) and found.free_bytes > 0
