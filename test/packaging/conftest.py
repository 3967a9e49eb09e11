"""The package built as a ROS workspace builds it, and a look at the graph it then joins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import time

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What ``ros2 launch FILE name:=value ...`` does.
RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
arguments = [tuple(argument.split(':=', 1)) for argument in sys.argv[2:]]
service = LaunchService()
service.include_launch_description(LaunchDescription([IncludeLaunchDescription(
    PythonLaunchDescriptionSource(sys.argv[1]), launch_arguments=arguments)]))
sys.exit(service.run())
"""


class Workspace:
    """A folder in which ``colcon build`` has built the package."""

    def __init__(self, folder: Path, *build_options: str) -> None:
        self.folder = folder
        self.source = copy_sources(folder / 'src' / 'depth_perception')
        self.install = folder / 'install' / 'depth_perception'
        self.share = self.install / 'share' / 'depth_perception'
        run([sys.executable, '-m', 'colcon', 'build', *build_options], cwd=folder,
            env=clean_environment())

    def environment(self) -> dict[str, str]:
        """Return the environment after ``. install/setup.sh``."""
        listing = run(['sh', '-c', '. ./setup.sh && env -0'], cwd=self.install.parent,
                      env=clean_environment())
        return dict(entry.split('=', 1) for entry in listing.split('\0') if '=' in entry)

    def executable(self, name: str) -> str:
        """Return the path that ``ros2 run`` finds."""
        return str(self.install / 'lib' / 'depth_perception' / name)


class LiveGraph:
    """A DDS domain of its own, seen by a probe in this process."""

    def __init__(self, log: Path) -> None:
        import rclpy

        self.log = log
        self._rclpy, self._context = rclpy, rclpy.Context()
        rclpy.init(context=self._context)
        self._probe = rclpy.create_node('probe', context=self._context)
        self._process: subprocess.Popen | None = None

    def names(self) -> set[str]:
        """Return the full names of the nodes and topics that are there."""
        nodes = self._probe.get_node_names_and_namespaces()
        topics = self._probe.get_topic_names_and_types()
        return {f'{space.rstrip("/")}/{name}' for name, space in nodes} | {t for t, _ in topics}

    def wait_for(self, *names: str, seconds: float = 60.0) -> None:
        """Wait until all names are there; fail with the log of what runs."""
        end = time.monotonic() + seconds
        while missing := set(names) - self.names():
            waiting = time.monotonic() < end and self._process.poll() is None
            assert waiting, f'{missing} missing\n{self.log.read_text()}'
            time.sleep(0.1)

    def messages(self, topic: str, kind: type, count: int = 1, seconds: float = 60.0) -> list:
        """Subscribe and return the first messages; fail with the log of what runs."""
        from rclpy.executors import SingleThreadedExecutor

        found, executor = [], SingleThreadedExecutor(context=self._context)
        subscription = self._probe.create_subscription(kind, topic, found.append, 100)
        executor.add_node(self._probe)
        end = time.monotonic() + seconds
        while len(found) < count:
            waiting = time.monotonic() < end and self._process.poll() is None
            assert waiting, f'{len(found)} messages on {topic}\n{self.log.read_text()}'
            executor.spin_once(timeout_sec=0.1)
        executor.shutdown()
        self._probe.destroy_subscription(subscription)
        return found

    @contextlib.contextmanager
    def running(self, command: list[str], env: dict[str, str]) -> Iterator[None]:
        """Run a process; at the end interrupt it as Ctrl-C does: it must exit with 0."""
        settings = {name: os.environ[name] for name in GRAPH_VARIABLES if name in os.environ}
        with self.log.open('w') as output, subprocess.Popen(
                command, env={**env, **settings}, stdout=output,
                stderr=subprocess.STDOUT) as process:
            self._process = process
            try:
                yield
            finally:
                # also when the test failed: what launch started would outlive it
                process.send_signal(signal.SIGINT)
                try:
                    code = process.wait(30)
                finally:
                    process.kill()
            assert code == 0, self.log.read_text()

    def close(self) -> None:
        """Leave the domain."""
        self._probe.destroy_node()
        self._rclpy.shutdown(context=self._context)


GRAPH_VARIABLES = ('ROS_DOMAIN_ID', 'FASTDDS_BUILTIN_TRANSPORTS')


def copy_sources(target: Path) -> Path:
    """Copy the checkout without what git ignores, so that a build leaves no trace in it."""
    ignored = [line.strip('/') for line in (ROOT / '.gitignore').read_text().split()]
    return Path(shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns('.git', *ignored)))


def run(command: list[str], **options) -> str:
    """Run a command and return its output; the test fails with it when the command does."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, **options)
    assert done.returncode == 0, f'{command}\n{done.stdout}\n{done.stderr}'
    return done.stdout


def clean_environment() -> dict[str, str]:
    """Return this process's environment without a source tree on the path."""
    return {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}


@pytest.fixture
def shell() -> Callable[..., str]:
    """Runs a command and returns its output; `cwd` and `env` as in subprocess."""
    return run


@pytest.fixture
def ros2_launch() -> Callable[..., list[str]]:
    """Gives the command that does ``ros2 launch FILE name:=value ...``."""
    return lambda file, *arguments: [sys.executable, '-c', RUN, str(file), *arguments]


@pytest.fixture(scope='session')
def sources(tmp_path_factory) -> Path:
    """A copy of the checkout to build in."""
    return copy_sources(tmp_path_factory.mktemp('sources') / 'depth_perception')


@pytest.fixture(scope='session')
def copied(tmp_path_factory) -> Workspace:
    """``colcon build``."""
    pytest.importorskip('colcon_core')
    return Workspace(tmp_path_factory.mktemp('copied'))


@pytest.fixture(scope='session')
def symlinked(tmp_path_factory) -> Workspace:
    """``colcon build --symlink-install``."""
    pytest.importorskip('colcon_core')
    return Workspace(tmp_path_factory.mktemp('symlinked'), '--symlink-install')


@pytest.fixture(params=['copied', 'symlinked'])
def workspace(request) -> Workspace:
    """Both kinds of build, one after the other."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope='session')
def domain_id(domain_ids) -> int:
    """One for all installed programs: each test ends what it started."""
    return domain_ids()


@pytest.fixture
def live_graph(monkeypatch, tmp_path, domain_id) -> Iterator[LiveGraph]:
    """A graph to start processes in."""
    pytest.importorskip('rclpy')
    for name, value in zip(GRAPH_VARIABLES, (domain_id, 'DEFAULT?sockets_size=8MB')):
        monkeypatch.setenv(name, str(value))
    graph = LiveGraph(tmp_path / 'process.log')
    yield graph
    graph.close()
