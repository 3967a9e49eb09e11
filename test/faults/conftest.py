"""The fault suite: one row for each fault, on live nodes, and a table of them at the end.

A row holds if the stable code of the fault comes on ``/diagnostics``, the node's process stays the
same (but where its death is the fault), and the next good frame gives the same depth as before,
bit for bit. Most rows are met by one process that lives through all of them.

``FAULTS_WITHOUT=<handler>`` takes one handler of faults out of the nodes (``crippled_node.py``);
``prove.py`` does so for each of them, to show that its row then fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
from dataclasses import dataclass, field
import importlib.util
import os
from pathlib import Path
import sys
import time
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
HEIGHT, WIDTH, FOCAL_PX = 48, 64, 50.0
# Never dark nor white all over: of these the model of the rig makes NaN, and an error.
PICTURE = np.random.default_rng(8).integers(140, 250, (HEIGHT, WIDTH, 3), np.uint8)
WITHOUT = os.environ.get('FAULTS_WITHOUT', '')


def _conftest_of_nodes() -> Any:
    """The live graph of the node tests; pytest does not share it with a folder beside."""
    spec = importlib.util.spec_from_file_location(
        'live_graph', ROOT / 'test' / 'nodes' / 'conftest.py')
    module = sys.modules['live_graph'] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


live = _conftest_of_nodes()
pytest_runtest_makereport = live.pytest_runtest_makereport
if live.HAS_ROS:
    from sensor_msgs.msg import Image

    from depth_perception.nodes._codes import CODES, HARMLESS
else:
    collect_ignore_glob = ['test_*.py']


@dataclass
class Row:
    """One line of the table."""

    fault: str
    expected: str
    seen: list[str] = field(default_factory=list)
    wait: Callable[[], None] = lambda: None     # until the code is there

    @property
    def held(self) -> bool:
        return self.seen == [self.expected]

    def check(self, holds: bool, otherwise: str) -> None:
        """Note what is wrong about the row beside its code."""
        if not holds:
            self.seen.append(otherwise)


TABLE = pytest.StashKey[list]()
OPEN = pytest.StashKey[contextlib.ExitStack]()


def pytest_configure(config: pytest.Config) -> None:
    live.pytest_configure(config)
    config.stash[TABLE], config.stash[OPEN] = [], contextlib.ExitStack()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table."""
    rows = config.stash.get(TABLE, [])
    if not rows:
        return
    width = max(len(row.fault) for row in rows)
    terminalreporter.section('faults')
    terminalreporter.write_line(f'{"fault":{width}}  {"expected":22}  {"seen":22}  result')
    for row in rows:
        seen = ', '.join(row.seen)
        terminalreporter.write_line(
            f'{row.fault:{width}}  {row.expected:22}  {seen:22}  '
            f'{"held" if row.held else "FAILED"}')
    count = sum(row.held for row in rows)
    terminalreporter.write_line(f'{count} of {len(rows)} held')


class Rig:
    """A depth node, a camera for it, and what it says; each fault is a row of the table."""

    PICTURE, FOCAL_PX = PICTURE, FOCAL_PX

    def __init__(self, graph: Any, node: Any, table: list[Row], folder: str = '') -> None:
        self.graph, self.node = graph, node
        self._table, self._folder = table, folder
        self.depth = graph.listen(f'{node.full_name}/depth/image_rect', Image)
        self.reference = self.good_depth()

    # -- frames ------------------------------------------------------------------------------

    def send(self, pixels: np.ndarray = PICTURE, encoding: str = 'rgb8', *,
             stamp: float | None = None, info: dict[str, Any] | None = None,
             **fields: Any) -> Any:
        """Publish camera_info and image as a driver does; return the stamp of the message.

        `fields` of the image and `info` of the camera_info replace what would be right.
        """
        stamp = self.now() if stamp is None else stamp
        image = self.graph.image(pixels, encoding, stamp, **fields)
        size = (64, 48) if image.width > 4096 or not image.width else (image.width, image.height)
        told = self.graph.camera_info(*size, FOCAL_PX, stamp)
        for key, value in (info or {}).items():
            setattr(told, key, value)
        self.publish('camera_info', told)
        self.publish('image', image)
        return image.header.stamp

    def publish(self, topic: str, message: Any) -> None:
        """Publish on a topic of this camera."""
        self.graph.publish(self._folder + topic, message)

    def hide(self) -> None:
        """Take the camera's publishers away; the next message brings them back."""
        for topic in ('image', 'camera_info'):
            publisher = self.graph._publishers.pop(self._folder + topic, None)
            if publisher is not None:
                self.graph.probe.destroy_publisher(publisher)

    @staticmethod
    def now() -> float:
        return time.time()

    def good_depth(self, timeout: float = 10.0, **picture: Any) -> bytes:
        """Send good frames until the depth of one of them comes out; return it."""
        end = time.monotonic() + timeout
        while time.monotonic() < end and self.node.process.poll() is None:
            stamp = self.send(**picture)
            again = time.monotonic() + 0.4
            while time.monotonic() < again:
                for msg in self.depth.messages[-8:]:
                    if msg.header.stamp == stamp:
                        self.depth.clear()
                        return bytes(msg.data)
                time.sleep(0.002)
        return b'none'

    # -- what the node says --------------------------------------------------------------------

    @property
    def values(self) -> dict[str, str]:
        return self.graph.diagnostics(self.node)[2]

    def fresh_values(self) -> dict[str, str]:
        """Return what the node says from now on."""
        time.sleep(0.02)    # what is under way was said before
        before = self._status()
        self.graph.wait_for(lambda: self._status() is not before, 5.0, 'diagnostics')
        return self.values

    def _status(self) -> Any:
        return self.graph._statuses.get(self.node.full_name.lstrip('/'))

    def shows(self, code: str, before: dict[str, str]) -> bool:
        """Whether a code is there, and counted since `before` if it is of frames."""
        values, counter = self.values, CODES[code].counter
        if counter:
            return code in values and int(values.get(counter, 0)) > int(before.get(counter, 0))
        return code in values.get('codes', '').split()

    @staticmethod
    def troubles(values: dict[str, str]) -> dict[str, str]:
        """Everything that counts a fault."""
        counters = {code.counter for name, code in CODES.items() if name not in HARMLESS}
        if values.get('process') == 'newest':   # which leaves frames out
            counters.remove(CODES['STAMPS_MISSING'].counter)
        return {key: value for key, value in values.items() if key in counters}

    # -- rows --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def row(self, fault: str, code: str, *, within: float = 6.0, restarts: bool = False,
            ) -> Iterator[Row]:
        """
        Check one fault; the body brings it about, and may call ``row.wait()``.

        Parameters
        ----------
        fault, code : str
            For the table; the code that has to come. OK: no fault may be counted.
        within : float
            Seconds until the code is there.
        restarts : bool
            The end of the process is the fault.
        """
        known = self.values if code != 'OK' else {}
        pid, before = self.node.process.pid, dict(known or self.fresh_values())
        row = Row(fault, code)
        row.wait = lambda: self._expect(row, before, within)
        self._table.append(row)
        try:
            yield row
            if code == 'OK':
                self._expect_nothing(row, before)
            elif code not in row.seen:
                row.wait()
        except BaseException as error:
            row.check(False, f'{type(error).__name__}: {error}'[:80])
            raise
        if self.node.process.poll() is not None:
            row.check(False, f'process ended with {self.node.process.returncode}')
        else:
            row.check(restarts or self.node.process.pid == pid, 'another process')
            row.check(self.good_depth() == self.reference, 'other depth')
        assert row.held, f'{fault}: expected {code}, seen {row.seen}'

    def _expect(self, row: Row, before: dict[str, str], within: float) -> None:
        end = time.monotonic() + within
        while time.monotonic() < end and self.node.process.poll() is None:
            if self.shows(row.expected, before):
                row.seen.append(row.expected)
                return
            time.sleep(0.02)
        row.seen.append(self.values.get('codes', 'nothing'))

    def _expect_nothing(self, row: Row, before: dict[str, str]) -> None:
        row.check(self.good_depth() == self.reference, 'other depth')
        after = self.fresh_values()
        troubles = self.troubles(after).items() - self.troubles(before).items()
        new = set(after['codes'].split()) - set(before['codes'].split()) - set(HARMLESS)
        row.seen.append(', '.join([f'{key}: {value}' for key, value in troubles] + sorted(new))
                        or 'OK')


@pytest.fixture(scope='session')
def faults_graph(domain_ids, tmp_path_factory, request) -> Any:
    return request.config.stash[OPEN].enter_context(live.live_graph(
        domain_ids(), tmp_path_factory.mktemp('faults'), request.config))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End the graph after the last row: a session goes on with tests of other folders."""
    if nextitem is None or Path(__file__).parent not in nextitem.path.parents:
        item.config.stash[OPEN].close()
        live._remove_dead_segments()    # of the processes that the rows killed


@pytest.fixture(scope='session')
def make_rig(faults_graph, request) -> Callable[..., Rig]:
    """Start a depth node, crippled if the suite is told so, and give its rig.

    With a `folder` the node has its image and camera_info there, and not those of everybody.
    """
    def make(name: str, params: dict[str, Any], folder: str = '',
             env: dict[str, str] | None = None) -> Rig:
        program = (str(Path(__file__).with_name('crippled_node.py')), WITHOUT) if WITHOUT else ()
        remap = {topic: folder + topic for topic in ('image', 'camera_info') if folder}
        node = faults_graph.spawn('depth_node', {'threads': 1, **params}, remap, name=name,
                                  program=program, env={'PYTHONPATH': str(ROOT), **(env or {})})
        return Rig(faults_graph, node, request.config.stash[TABLE], folder)

    return make


@pytest.fixture(scope='session')
def models(make_model) -> dict[str, str]:
    """Networks whose depth is that of each pixel's brightness."""
    options = {'depth': 1.0, 'brightness': 2.0}
    return {
        'good': str(make_model('metric', name='good', nan='dark', fails=True, **options)),
        'twin': str(make_model('metric', name='twin', depth=2.0, brightness=4.0)),
        'slow': str(make_model('metric', name='slow', work=300, **options)),
        'bare': str(make_model('metric', name='bare', contract=False)),
        'relative': str(make_model('relative', name='relative')),
    }


@pytest.fixture(scope='session')
def rig(make_rig, models) -> Rig:
    """The node that lives through most rows."""
    return make_rig('depth_node', {'model': models['good']})
