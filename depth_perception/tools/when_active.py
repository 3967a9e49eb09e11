"""Run a command once a lifecycle node is active: ``python -m ….when_active /depth_node ros2 …``.

A bag has to wait for the node that shall see all of it, and loading a model takes its time.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
import rclpy
from rclpy.signals import SignalHandlerOptions

PERIOD_S = 0.2
PATIENCE_S = 2.0        # for one answer: the first may get lost while the two sides meet
REMIND_S = 10.0


def main(argv: list[str] | None = None) -> int:
    """Wait, then become the command; 1 where that is impossible, 0 after Ctrl-C."""
    node_name, *command = sys.argv[1:] if argv is None else argv
    # A shell starts what runs in its background with this signal ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if not wait_until_active(node_name):
            return 0
        os.execvp(command[0], command)
    except OSError as error:
        print(f'cannot run {command[0]}: {error.strerror}; is it installed and on the PATH?',
              file=sys.stderr)
    return 1


def wait_until_active(node_name: str) -> bool:
    """Return True once the node is active, False when this process was interrupted before."""
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)  # KeyboardInterrupt does
    node = rclpy.create_node('when_active', start_parameter_services=False)
    client = node.create_client(GetState, f'{node_name}/get_state')
    remind = time.monotonic() + REMIND_S
    try:
        while not _is_active(node, client):
            if time.monotonic() > remind:
                print(f'still waiting for {node_name} to be active', flush=True)
                remind += REMIND_S
            time.sleep(PERIOD_S)
        return True
    except KeyboardInterrupt:
        return False
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def _is_active(node: rclpy.node.Node, client: rclpy.client.Client) -> bool:
    if not client.service_is_ready():
        return False
    future = client.call_async(GetState.Request())
    rclpy.spin_until_future_complete(node, future, timeout_sec=PATIENCE_S)
    return future.done() and future.result().current_state.id == State.PRIMARY_STATE_ACTIVE


if __name__ == '__main__':
    raise SystemExit(main())
