"""``depth-perception doctor``: what is wrong with a live graph, and what to do."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from depth_perception.nodes._codes import CODES, HARMLESS

if TYPE_CHECKING:
    from depth_perception.tools.graph_snapshot import Snapshot

PICTURES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')
SEGMENT_BYTES = 17 << 20    # of one more process, as the launch files set it
FAST_DDS = 'rmw_fastrtps'


class Problem(NamedTuple):
    """A code, where it was found, and the sentence about it."""

    code: str
    where: str
    text: str

    @property
    def is_fault(self) -> bool:
        """Whether something has to be done about it."""
        return self.code not in HARMLESS


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        'doctor', help='look at the live graph: what is wrong, and what to do; exit status 0 or 1')
    parser.add_argument('--seconds', type=float, default=4.0,
                        help='how long to listen (default: %(default)s)')
    parser.set_defaults(run=run)


def run(seconds: float = 4.0) -> int:
    """Print what is wrong with the live graph; return 1 if anything is."""
    # Imported here: the other commands need no ROS.
    import rclpy

    from depth_perception.tools.graph_snapshot import take

    rclpy.init()
    try:
        snapshot = take(seconds)
    finally:
        rclpy.try_shutdown()
    problems = list(examine(snapshot))
    for line in report(snapshot, problems):
        print(line)
    return int(any(problem.is_fault for problem in problems))


def examine(snapshot: Snapshot) -> Iterator[Problem]:
    """Find everything that is worth a word in a graph."""
    yield from _of_nodes(snapshot)
    yield from _of_topics(snapshot)
    yield from _of_transport(snapshot)


def report(snapshot: Snapshot, problems: list[Problem]) -> Iterator[str]:
    """Put it into lines: the nodes, the faults with their cures, then what else to know."""
    domain = snapshot.environment.get('ROS_DOMAIN_ID', '0')
    yield f'ROS domain {domain}, {snapshot.rmw}, {len(snapshot.topics)} topics'
    for name, status in sorted(snapshot.statuses.items()):
        yield f'  /{name.lstrip("/")}: {("ok", "warning", "error")[min(status.level, 2)]}'
    faults = [problem for problem in problems if problem.is_fault]
    for problem in faults:
        yield ''
        yield f'{problem.code} ({problem.where})'
        yield f'  {problem.text}'
        if problem.code in CODES:
            yield f'  -> {CODES[problem.code].cure}'
    for problem in problems:
        if not problem.is_fault:
            yield f'note: {problem.code} ({problem.where}): {problem.text}'
    yield ''
    yield f'{len(faults)} to put right' if faults else 'nothing is wrong'


def _of_nodes(snapshot: Snapshot) -> Iterator[Problem]:
    if not snapshot.statuses:
        yield Problem('NO_NODE', 'graph', CODES['NO_NODE'].cause)
    for name, status in sorted(snapshot.statuses.items()):
        for code, text in status.findings.items():
            if code == 'NO_PUBLISHER':
                text += _candidates(snapshot)
            if code != 'OK':
                yield Problem(code, f'/{name.lstrip("/")}', text)


def _our_nodes(snapshot: Snapshot) -> set[str]:
    """Return full names; the status of one of several cameras is named NODE/CAMERA."""
    names = {f'/{name.lstrip("/")}' for name in snapshot.statuses}
    return names | {name.rpartition('/')[0] for name in names}


def _candidates(snapshot: Snapshot) -> str:
    """Name pictures that somebody publishes: one of them may be what is missing."""
    ours = _our_nodes(snapshot)
    names = sorted(name for name, topic in snapshot.topics.items() if any(
        each.kind in PICTURES and each.node not in ours for each in topic.publishers))
    return f' (there are pictures on {", ".join(names)})' if names else ''


def _of_topics(snapshot: Snapshot) -> Iterator[Problem]:
    """Find topics of our nodes where two do not understand each other."""
    ours = _our_nodes(snapshot)
    told = {code for status in snapshot.statuses.values() for code in status.findings}
    for name, topic in sorted(snapshot.topics.items()):
        for publisher, subscription, why in topic.unfit:
            of_input = subscription in ours and 'QOS_INCOMPATIBLE' in told
            if ours & {publisher, subscription} and not of_input:
                yield Problem('QOS_INCOMPATIBLE', name, (
                    f'{subscription} cannot hear {publisher}: {why}'))
        kinds = {each.kind for each in (*topic.publishers, *topic.subscriptions)}
        takes_part = ours & {each.node for each in (*topic.publishers, *topic.subscriptions)}
        if len(kinds) > 1 and takes_part and 'WRONG_TYPE' not in told:
            yield Problem('WRONG_TYPE', name, f'it carries {" and ".join(sorted(kinds))}')


def _of_transport(snapshot: Snapshot) -> Iterator[Problem]:
    if not snapshot.rmw.startswith(FAST_DDS):
        return
    ranged = snapshot.environment.get('ROS_AUTOMATIC_DISCOVERY_RANGE', 'SUBNET').upper()
    if ranged not in ('SUBNET', 'SYSTEM_DEFAULT', ''):
        yield Problem('TRANSPORT_IGNORED', 'environment', (
            f'ROS_AUTOMATIC_DISCOVERY_RANGE is {ranged} in this shell'))
    told = {code for status in snapshot.statuses.values() for code in status.findings}
    if 'TRANSPORT_TOO_SMALL' not in told:
        yield from _small_senders(snapshot)
    memory = snapshot.memory
    if memory is not None and memory.stale:
        yield Problem('STALE_SEGMENTS', '/dev/shm', (
            f'{memory.stale} segments of dead processes take {memory.stale_bytes >> 20} MB: '
            f'{CODES["STALE_SEGMENTS"].cure}'))
    if memory is not None and memory.free_bytes < SEGMENT_BYTES:
        yield Problem('SHARED_MEMORY_FULL', '/dev/shm', f'{memory.free_bytes >> 20} MB are free')


def _small_senders(snapshot: Snapshot) -> Iterator[Problem]:
    """Find processes whose pictures do not fit into their shared memory, each once."""
    seen = set()
    for name, topic in sorted(snapshot.topics.items()):
        for publisher in topic.publishers:
            small = publisher.sender
            if small is not None and small.is_small and small.pid not in seen:
                seen.add(small.pid)
                yield Problem('TRANSPORT_TOO_SMALL', name, (
                    f'{publisher.node} (process {small.pid}, {small.command}) sends through '
                    f'{small.segment_bytes >> 10} KiB of shared memory: best-effort subscribers '
                    'lose every larger message'))
