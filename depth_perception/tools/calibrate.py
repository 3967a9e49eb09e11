"""``depth-perception calibrate``: calls ~/calibrate_scale of a node and prints what came of it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager, suppress
import time
from typing import TYPE_CHECKING, Any

from depth_perception.tools.processes import interrupted_by_sigterm

if TYPE_CHECKING:
    from rclpy.node import Node

SERVICE = '/calibrate_scale'
WALL = 'scale.wall_distance'
SEARCH_S = 5.0


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        'calibrate', help='scale of the depth: by a wall at a known distance or a range sensor')
    parser.add_argument('--node', default='',
                        help='such as /depth_node, or /multi_depth_node/front for one of several '
                        'cameras (default: the only one that runs)')
    parser.add_argument('--wall', type=float, default=None, metavar='METRES',
                        help='distance of a wall that the camera looks straight at (default: as '
                        f'{WALL} of the node says; 0: its range source)')
    parser.add_argument('--timeout', type=float, default=60.0, metavar='SECONDS',
                        help='how long to wait for the answer (default: %(default)s)')
    parser.set_defaults(run=run)


def run(node: str = '', wall: float | None = None, timeout: float = 60.0) -> int:
    """Print the answer of the node; return 0 if it is calibrated, else 1.

    Raises
    ------
    RuntimeError
        No node is found, or more than one, or none that answers.
    """
    # Imported here: the other commands need no ROS.
    import rclpy
    from rclpy.signals import SignalHandlerOptions
    from std_srvs.srv import Trigger

    # rclpy's own would end all calls at a Ctrl-C, and the node would keep the distance of the wall
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        own = rclpy.create_node('depth_perception_calibrate')
        name, owner = _chosen(own, f'/{node.strip("/")}' if node else '')
        with interrupted_by_sigterm(), _wall_at(own, owner, wall, timeout):
            answer = _call(own, Trigger, name + SERVICE, Trigger.Request(), timeout)
    finally:
        rclpy.try_shutdown()
    print(f'{name}: {answer.message}')
    return 0 if answer.success else 1


def _chosen(own: Node, wanted: str = '') -> tuple[str, str]:
    """What stands before the name of the service, and the full name of the node that offers it.

    They differ for one of several cameras: /multi_depth_node/front of /multi_depth_node. Without
    a wanted one it is the only one.
    """
    end = time.monotonic() + SEARCH_S
    found: dict[str, str] = {}
    while time.monotonic() < end and not (wanted in found if wanted else found):
        time.sleep(0.5)     # for others that are a little later
        found = dict(sorted(_offered(own)))
    names = ', '.join(found)
    if wanted and wanted not in found:
        raise RuntimeError(f'nobody offers {wanted}{SERVICE} within {SEARCH_S:g} s; is the name '
                           f'right? Offered are: {names or "none"}')
    if not found:
        raise RuntimeError(f'no node offers calibrate_scale within {SEARCH_S:g} s; start '
                           'depth_node, in the same ROS_DOMAIN_ID')
    if not wanted and len(found) > 1:
        raise RuntimeError(f'{len(found)} nodes or cameras offer calibrate_scale; choose one by '
                           f'--node: {names}')
    name = wanted or next(iter(found))
    return name, found[name]


def _offered(own: Node) -> Iterator[tuple[str, str]]:
    """Give what stands before the name of the service, and its node, wherever it is offered."""
    from rclpy.node import NodeNameNonExistentError

    for name, namespace in own.get_node_names_and_namespaces():
        # one by one, as the list of all services has those of clients as well
        with suppress(NodeNameNonExistentError):    # it ended just now
            for service, _ in own.get_service_names_and_types_by_node(name, namespace):
                if service.endswith(SERVICE):
                    yield service[:-len(SERVICE)], f'{namespace.rstrip("/")}/{name}'


@contextmanager
def _wall_at(own: Node, name: str, wall: float | None, timeout: float) -> Iterator[None]:
    """Tell the node the distance of the wall, and afterwards what it was told before."""
    if wall is None:
        yield
        return
    from rcl_interfaces.srv import GetParameters

    before = _call(own, GetParameters, f'{name}/get_parameters',
                   GetParameters.Request(names=[WALL]), timeout).values[0].double_value
    _set_wall(own, name, wall, timeout)
    try:
        yield
    finally:
        _set_wall(own, name, before, timeout)


def _set_wall(own: Node, name: str, metres: float, timeout: float) -> None:
    from rcl_interfaces.srv import SetParameters
    from rclpy.parameter import Parameter

    change = Parameter(WALL, Parameter.Type.DOUBLE, float(metres)).to_parameter_msg()
    result, = _call(own, SetParameters, f'{name}/set_parameters',
                    SetParameters.Request(parameters=[change]), timeout).results
    if not result.successful:
        raise RuntimeError(f'{name} refuses {WALL} = {metres:g}: {result.reason}')


def _call(own: Node, kind: type, service: str, request: Any, timeout: float) -> Any:
    import rclpy

    client = own.create_client(kind, service)
    if not client.wait_for_service(min(timeout, SEARCH_S)):
        raise RuntimeError(f'nobody offers {service}; is the name of the node right?')
    future, end = client.call_async(request), time.monotonic() + timeout
    while not future.done() and time.monotonic() < end:
        # in pieces: a signal does not end the wait for messages
        rclpy.spin_until_future_complete(own, future, timeout_sec=0.2)
    if not future.done():
        raise RuntimeError(f'{service} did not answer in {timeout:g} s; read its log')
    return future.result()
