"""A live ROS graph for tests: real node processes, real DDS, a domain of its own per test module.

::

    @pytest.fixture(scope='module')
    def node(graph, make_model):
        return graph.spawn('depth_node', params={'model': str(make_model())})

    def test_a_picture_gives_depth(graph, node):
        depth = graph.listen('depth_node/depth/image_rect', Image)
        graph.publish('image', graph.image(pixels, 'rgb8'))
        assert depth.wait(1)[0].encoding == '32FC1'
"""

from __future__ import annotations

import array
from collections.abc import Callable, Iterator
import contextlib
import fcntl
import importlib.util
import itertools
import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).parents[2]
FRAME = 'camera_optical_frame'
HAS_ROS = importlib.util.find_spec('rclpy') is not None
if HAS_ROS:
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
    from lifecycle_msgs.srv import ChangeState, GetState
    from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParameters
    import rclpy
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
    from rclpy.parameter import Parameter, parameter_value_to_python
    from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import CameraInfo, Image
    from std_msgs.msg import Header

    TRANSITIONS = {'configure': 1, 'cleanup': 2, 'activate': 3, 'deactivate': 4}
else:
    collect_ignore_glob = ['test_*.py']


class Inbox:
    """The messages of one topic; filled by the executor's thread."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.messages: list[Any] = []

    def wait(self, count: int = 1, timeout: float = 10.0) -> list[Any]:
        """Return the messages once there are `count`; fail after `timeout` seconds."""
        what = f'{count} messages'
        self._graph.wait_for(lambda: len(self.messages) >= count, timeout, what)
        return list(self.messages)

    def clear(self) -> None:
        self.messages = []


class NodeProcess:
    """A running node and its log."""

    def __init__(self, name: str, namespace: str, process: subprocess.Popen, log: Path) -> None:
        self.name, self.process = name, process
        self.full_name = f'{namespace}/{name}'
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text(errors='replace')

    def stop(self, number: int = signal.SIGINT) -> int:
        """End the node as Ctrl-C does and return its exit code; kill it after 15 s."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            _remove_dead_segments()
            raise AssertionError(f'{self.name} ignored signal {number}') from None


class Graph:
    """One DDS domain with a probe in this process and the node processes that it spawned."""

    def __init__(self, folder: Path, domain_id: int) -> None:
        self.folder, self.domain_id = folder, domain_id
        self.processes: list[NodeProcess] = []
        self._numbers = itertools.count()
        self._publishers: dict[str, Any] = {}
        self._clients: dict[str, Any] = {}
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain_id)
        self.probe = rclpy.create_node('probe', context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.probe)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()
        self._statuses: dict[str, DiagnosticStatus] = {}
        self.probe.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 50)

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        self._statuses.update({status.name: status for status in msg.status})

    # -- processes ---------------------------------------------------------------------------

    def spawn(
        self,
        module: str,
        params: dict[str, Any] | None = None,
        remap: dict[str, str] | None = None,
        *,
        name: str | None = None,
        namespace: str = '',
        state: str = 'active',
        yaml_text: str | None = None,
        arguments: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        program: tuple[str, ...] = (),
    ) -> NodeProcess:
        """Start ``depth_perception.nodes.<module>`` or `program`; wait until it is in `state`.

        `state` is a lifecycle state, or 'failed': unconfigured, and the reason is in the log.
        `params` go into a YAML file under the node's own name; `yaml_text` replaces that file.
        """
        name = name or module
        full_name = f'{namespace}/{name}'
        # several threads may start nodes of one name at once
        file = self.folder / f'{name}-{next(self._numbers)}.yaml'
        tree = {full_name: {'ros__parameters': params or {}}}
        file.write_text(yaml.safe_dump(tree) if yaml_text is None else yaml_text)
        program = program or ('-m', f'depth_perception.nodes.{module}')
        command = [sys.executable, *program, *arguments]
        command += ['--ros-args', '-r', f'__node:={name}', '--params-file', str(file)]
        command += ['-r', f'__ns:={namespace}'] if namespace else []
        for old, new in (remap or {}).items():
            command += ['-r', f'{old}:={new}']
        log = file.with_suffix('.log')
        with log.open('w') as sink:
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=sink, stderr=subprocess.STDOUT,
                env={**os.environ, 'PYTHONUNBUFFERED': '1', **(env or {})},
            )
        node = NodeProcess(name, namespace, process, log)
        self.processes.append(node)
        self.wait_for_state(node, state)
        return node

    def wait_for_state(self, node: NodeProcess, state: str, timeout: float = 30.0) -> None:
        def reached() -> bool:
            assert node.process.poll() is None, f'{node.name} ended:\n{node.log}'
            if state == 'failed':
                return self.state(node) == 'unconfigured' and 'cannot configure' in node.log
            return self.state(node) == state

        self.wait_for(reached, timeout, f'{node.name} to be {state}')

    def wait_for(self, predicate: Callable[[], Any], timeout: float = 10.0, what: str = '') -> Any:
        """Poll until `predicate` is true and return its value; fail after `timeout` seconds."""
        end = time.monotonic() + timeout
        while not (value := predicate()):
            if time.monotonic() > end:
                pytest.fail(f'waited {timeout} s in vain for {what or predicate}')
            time.sleep(0.02)
        return value

    # -- topics ------------------------------------------------------------------------------

    def listen(
        self, topic: str, kind: type, *, reliable: bool = True, latched: bool = False,
        depth: int = 100, on_message: Callable[[Any], None] | None = None,
    ) -> Inbox:
        """Subscribe and wait for a publisher, so that nothing sent from now on is missed."""
        inbox = Inbox(self)
        policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        keep = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
        qos = QoSProfile(depth=depth, reliability=policy, durability=keep)

        def store(msg: Any) -> None:
            inbox.messages.append(msg)
            if on_message is not None:
                on_message(msg)

        subscription = self.probe.create_subscription(kind, topic, store, qos)
        self.wait_for(
            lambda: self.probe.count_publishers(subscription.topic_name),
            what=f'a publisher of {topic}',
        )
        inbox.close = lambda: self.probe.destroy_subscription(subscription)
        return inbox

    def publish(self, topic: str, *messages: Any, subscribers: int = 1) -> None:
        """Publish reliably, once `subscribers` are matched."""
        for msg in messages:
            if topic not in self._publishers:
                self._publishers[topic] = self.probe.create_publisher(type(msg), topic, 20)
            publisher = self._publishers[topic]
            self.wait_for(
                lambda: publisher.get_subscription_count() >= subscribers,  # noqa: B023
                what=f'a subscriber of {topic}',
            )
            publisher.publish(msg)

    @staticmethod
    def header(stamp: float = 1.0, frame_id: str = FRAME) -> Header:
        header = Header(frame_id=frame_id)
        header.stamp.sec, header.stamp.nanosec = divmod(round(stamp * 1e9), 10**9)
        return header

    @classmethod
    def image(
        cls, pixels: np.ndarray, encoding: str, stamp: float = 1.0, frame_id: str = FRAME,
        **fields: Any,
    ) -> Image:
        """Return an Image of an array; `fields` replace what would be right, such as step=3."""
        pixels = np.ascontiguousarray(pixels)
        msg = Image(encoding=encoding, height=pixels.shape[0], width=pixels.shape[1])
        msg.header = cls.header(stamp, frame_id)
        msg.step = pixels.strides[0]
        msg.data = array.array('B', pixels.tobytes())
        for key, value in fields.items():
            setattr(msg, key, value)
        return msg

    @classmethod
    def camera_info(
        cls, width: int, height: int, focal_px: float, stamp: float = 1.0, frame_id: str = FRAME,
        **fields: Any,
    ) -> CameraInfo:
        """Return the CameraInfo of a pinhole camera with its principal point in the centre."""
        cx, cy = (width - 1) / 2, (height - 1) / 2
        msg = CameraInfo(width=width, height=height, distortion_model='plumb_bob', d=[0.0] * 5)
        msg.header = cls.header(stamp, frame_id)
        msg.k = [focal_px, 0.0, cx, 0.0, focal_px, cy, 0.0, 0.0, 1.0]
        msg.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
        msg.p = [focal_px, 0.0, cx, 0.0, 0.0, focal_px, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
        for key, value in fields.items():
            setattr(msg, key, value)
        return msg

    # -- services ----------------------------------------------------------------------------

    def call(
        self, kind: type, service: str, request: Any, timeout: float = 15.0, patience: float = 2.0
    ) -> Any:
        """Call a service and return its response; ask again each `patience` seconds.

        A server that has not yet discovered the client's reader loses its first answer.
        """
        client = self._client(kind, service)
        assert client.wait_for_service(timeout), f'no service {service}'
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            future = client.call_async(request)
            again = min(end, time.monotonic() + patience)
            while time.monotonic() < again:
                if future.done():
                    return future.result()
                time.sleep(0.005)
        raise AssertionError(f'no answer of {service} in {timeout} s')

    def _client(self, kind: type, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self.probe.create_client(kind, service)
        return self._clients[service]

    def state(self, node: NodeProcess) -> str:
        """Return the label of the lifecycle state; '' while the node is not up."""
        service = f'{node.full_name}/get_state'
        if not self._client(GetState, service).service_is_ready():
            return ''
        return self.call(GetState, service, GetState.Request()).current_state.label

    def change_state(self, node: NodeProcess, transition: str) -> bool:
        """Ask for 'configure', 'activate', 'deactivate' or 'cleanup'; return whether it worked."""
        request = ChangeState.Request()
        request.transition.id = TRANSITIONS[transition]
        service = f'{node.full_name}/change_state'
        if service not in self._clients:
            assert self._client(ChangeState, service).wait_for_service(10)
            time.sleep(0.2)  # let the server discover the client: a transition is asked for once
        return self.call(ChangeState, service, request, 30.0, patience=30.0).success

    def set_parameter(self, node: NodeProcess, name: str, value: Any) -> Any:
        """Return the SetParametersResult of ``ros2 param set``."""
        change = Parameter(name, value=value).to_parameter_msg()
        request = SetParameters.Request(parameters=[change])
        return self.call(SetParameters, f'{node.full_name}/set_parameters', request).results[0]

    def get_parameter(self, node: NodeProcess, name: str) -> Any:
        request = GetParameters.Request(names=[name])
        values = self.call(GetParameters, f'{node.full_name}/get_parameters', request).values
        return parameter_value_to_python(values[0])

    def describe_parameter(self, node: NodeProcess, name: str) -> Any:
        request = DescribeParameters.Request(names=[name])
        service = f'{node.full_name}/describe_parameters'
        return self.call(DescribeParameters, service, request).descriptors[0]

    # -- diagnostics -------------------------------------------------------------------------

    def diagnostics(self, node: NodeProcess) -> tuple[int, str, dict[str, str]]:
        """Return level (0 OK, 1 WARN, 2 ERROR), message and values that the node said last."""
        for name, status in list(self._statuses.items()):
            if node.name in name:
                level = int.from_bytes(bytes(status.level), 'little')
                return level, status.message, {pair.key: pair.value for pair in status.values}
        return 0, '', {}

    def wait_for_diagnostics(
        self, node: NodeProcess, predicate: Callable[[int, str, dict], Any], timeout: float = 10.0
    ) -> tuple[int, str, dict[str, str]]:
        """Wait until ``predicate(level, message, values)`` holds; return the three."""
        end = time.monotonic() + timeout
        while not predicate(*(last := self.diagnostics(node))):
            if time.monotonic() > end:
                pytest.fail(f'diagnostics of {node.name} stayed at {last}')
            time.sleep(0.02)
        return last

    def close(self) -> dict[str, int]:
        """End everything; return the exit code of each process that was still running."""
        running = [node for node in self.processes if node.process.poll() is None]
        for node in running:
            node.process.send_signal(signal.SIGINT)  # all at once, then wait
        codes = {node.name: node.stop() for node in running}
        self._executor.shutdown()
        self._thread.join(5)
        self.probe.destroy_node()
        self._context.try_shutdown()
        return codes


class Camera:
    """Sends pictures, their camera_info and depth, stamped now, as a driver does."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def send(
        self, pixels: np.ndarray, encoding: str = 'rgb8', *, focal_px: float | None = 50.0,
        depth: np.ndarray | None = None, stamp: float | None = None, frame_id: str = FRAME,
        **info_fields: Any,
    ) -> float:
        """Publish one frame and return its stamp; without `focal_px` there is no camera_info."""
        stamp = time.time() if stamp is None else stamp
        height, width = pixels.shape[:2]
        if focal_px is not None:
            info = self._graph.camera_info(
                width, height, focal_px, stamp, frame_id=frame_id, **info_fields)
            self._graph.publish('camera_info', info)
        if depth is not None:
            encoding_of_depth = '16UC1' if depth.dtype == np.uint16 else '32FC1'
            msg = self._graph.image(depth, encoding_of_depth, stamp, frame_id)
            self._graph.publish('depth', msg)
        self._graph.publish('image', self._graph.image(pixels, encoding, stamp, frame_id))
        return stamp

    def send_until(self, inboxes: list[Inbox], *args: Any, timeout: float = 10.0,
                   **kwargs: Any) -> list[Any]:
        """Send frames at 20 Hz until each inbox has a message; return the last of each.

        The first frames may find the subscriptions not matched yet, which is no loss. What a busy
        node still makes of the others has come, too, so that a test's next message is its own.
        """
        for inbox in inboxes:
            inbox.clear()
        end, stamp = time.monotonic() + timeout, None
        while stamp is None or not all(inbox.messages for inbox in inboxes):
            if time.monotonic() > end:
                pytest.fail(f'sent frames for {timeout} s in vain')
            stamp = self._graph.header(self.send(*args, **kwargs)).stamp
            time.sleep(0.05)
        stamped = [inbox for inbox in inboxes if hasattr(inbox.messages[-1], 'header')]
        end = time.monotonic() + 0.5    # best effort: the last one may be lost
        while time.monotonic() < end and not all(
                inbox.messages[-1].header.stamp == stamp for inbox in stamped):
            time.sleep(0.005)
        return [inbox.messages[-1] for inbox in inboxes]


def _remove_dead_segments() -> None:
    """Remove Fast DDS segments of killed processes, as ``fastdds shm clean`` does."""
    for lock in Path('/dev/shm').glob('fast*_el'):
        try:
            with lock.open('rb') as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while its owner lives
                lock.with_name(lock.name[: -len('_el')]).unlink(missing_ok=True)
                lock.unlink(missing_ok=True)
        except OSError:
            continue


@pytest.fixture(scope='module')
def graph(domain_ids, tmp_path_factory, request) -> Iterator[Graph]:
    with live_graph(domain_ids(), tmp_path_factory.mktemp('graph'), request.config) as live:
        yield live


@contextlib.contextmanager
def live_graph(domain_id: int, folder: Path, config: pytest.Config) -> Iterator[Graph]:
    """Give a graph; whatever still runs at the end has to end by SIGINT without an error."""
    settings = {
        'ROS_DOMAIN_ID': str(domain_id),
        # Not ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST: with it rmw_fastrtps ignores the transport.
        'ROS_LOCALHOST_ONLY': '1',
        # Without it a frame does not fit the sender's shared memory, and best effort loses it.
        'FASTDDS_BUILTIN_TRANSPORTS': 'DEFAULT?sockets_size=8MB',
        'ROS_LOG_DIR': str(folder),
    }
    with pytest.MonkeyPatch.context() as patch:
        for key, value in settings.items():
            patch.setenv(key, value)
        live = Graph(folder, domain_id)
        config.stash[LIVE].append(live)
        yield live
        config.stash[LIVE].remove(live)
        codes = live.close()
    assert not any(codes.values()), f'exit codes after SIGINT: {codes}'


@pytest.fixture(scope='module')
def camera(graph) -> Camera:
    return Camera(graph)


LIVE = pytest.StashKey[list[Graph]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[LIVE] = []


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """Show what the nodes of the graph logged when a test fails."""
    report = (yield).get_result()
    if report.failed:
        for live in item.config.stash.get(LIVE, []):
            for node in live.processes:
                report.sections.append((f'log of {node.name}', node.log[-6000:]))
