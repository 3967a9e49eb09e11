"""Start the package's nodes as processes of their own and stop them cleanly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
import os
from pathlib import Path
import signal
import subprocess
import sys
import tempfile
from typing import Any

#: 2 x 8 MB of shared memory a process: more than three organised VGA clouds. With Fast DDS's
#: own 512 KiB, best-effort frames larger than the segment are lost.
TRANSPORT = 'DEFAULT?sockets_size=8MB'


def graph_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment in which a graph on this machine loses no frames.

    What the user has set wins, a Fast DDS profile file included. Discovery stays on the
    loopback interface unless the user says otherwise.
    """
    env = dict(environ)
    if 'FASTDDS_DEFAULT_PROFILES_FILE' not in env:
        env.setdefault('FASTDDS_BUILTIN_TRANSPORTS', TRANSPORT)
    # Not ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST, its successor: rmw_fastrtps then builds its own
    # transports and ignores FASTDDS_BUILTIN_TRANSPORTS, and the frames are lost after all.
    if 'ROS_AUTOMATIC_DISCOVERY_RANGE' not in env:
        env.setdefault('ROS_LOCALHOST_ONLY', '1')
    # One line a message: what the user reads when a node of the demo fails.
    env.setdefault('RCUTILS_CONSOLE_OUTPUT_FORMAT', '[{severity}] [{name}]: {message}')
    return env


class NodeProcess:
    """One executable of this package, started with ``python -m`` and ended with SIGINT.

    Parameters
    ----------
    executable : str
        Module below ``depth_perception.nodes``, for example ``'depth_node'``.
    namespace : str
        ROS namespace, without a leading slash.
    parameters : mapping
        Values of parameters; written as YAML, so that types survive.
    remap : mapping
        Names remapped, ``{'image': '/camera/image_raw'}``.
    """

    def __init__(
        self,
        executable: str,
        namespace: str = '',
        parameters: Mapping[str, object] = {},
        remap: Mapping[str, str] = {},
    ) -> None:
        self.name = executable
        self._log = tempfile.NamedTemporaryFile('w+', suffix=f'.{executable}.log')  # noqa: SIM115 - closed by stop()
        command = [sys.executable, '-m', f'depth_perception.nodes.{executable}', '--ros-args']
        if namespace:
            command += ['-r', f'__ns:=/{namespace}']
        for source, target in remap.items():
            command += ['-r', f'{source}:={target}']
        for key, value in parameters.items():
            command += ['-p', f'{key}:={_yaml(value)}']
        self._process = subprocess.Popen(
            command,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=graph_environment(),
            cwd=Path(__file__).resolve().parents[2],
        )

    @property
    def pid(self) -> int:
        """Process id of the node."""
        return self._process.pid

    def log(self) -> str:
        """Return everything the node has printed so far."""
        return Path(self._log.name).read_text(errors='replace')

    def check_alive(self) -> None:
        """Raise ``RuntimeError`` with the node's last lines when it has ended by itself."""
        if self._process.poll() is not None:
            tail = '\n'.join(self.log().splitlines()[-15:])
            raise RuntimeError(
                f'{self.name} ended with status {self._process.returncode}; its last lines:\n'
                f'{tail}'
            )

    def stop(self, timeout: float = 10.0) -> int:
        """Interrupt the node as Ctrl-C would, wait, and return its exit status."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._log.close()
        return self._process.returncode

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the body by KeyboardInterrupt, as Ctrl-C does; of the main thread.

    What the body started is then stopped. Also a decorator.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_command(command: Sequence[str], timeout: float = 10.0, **options: Any) -> int:
    """Run a command and return its exit status; an interruption ends it in order, and waits.

    `options` are those of ``subprocess.Popen``; `timeout` is the time that it has for its end.
    """
    with subprocess.Popen(command, **options) as process:
        try:
            return process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(timeout)
                except subprocess.TimeoutExpired:
                    process.kill()


def _yaml(value: object) -> str:
    """Write a value so that rcl's YAML reader gives the same type back."""
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)
