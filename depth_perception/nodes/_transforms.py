"""Where sensors sit, as /tf_static tells it; only where tf2_msgs is installed."""

from __future__ import annotations

from collections.abc import Sequence
import os

from geometry_msgs.msg import TransformStamped
import numpy as np
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from depth_perception.transforms import TransformError, TransformTree, rigid

try:
    from tf2_msgs.msg import TFMessage
except ImportError:
    TFMessage = None

BROADCASTERS = 100      # each sends a message of its own


class StaticTransforms:
    """
    What was told of frames that do not move.

    It listens to nothing by itself; see `subscribe`.
    """

    def __init__(self) -> None:
        self._tree = TransformTree()
        self._faults: dict[str, str] = {}

    def add(self, transforms: Sequence[TransformStamped]) -> None:
        """Take the transforms of a message; one that is none is remembered as such."""
        for each in transforms:
            shift, turn = each.transform.translation, each.transform.rotation
            child = each.child_frame_id.lstrip('/')
            try:
                matrix = rigid((shift.x, shift.y, shift.z), (turn.x, turn.y, turn.z, turn.w))
            except TransformError as error:
                self._faults[child] = str(error)
                continue
            self._faults.pop(child, None)
            self._tree.set(each.header.frame_id, child, matrix)

    def lookup(self, target: str, source: str) -> np.ndarray:
        """
        Return the matrix (4, 4) that takes points of ``source`` into ``target``.

        Raises
        ------
        TransformError
            There is no way between the two; the text names the ways out.

        """
        instead = 'set range.translation and range.rotation_xyzw'
        try:
            return self._tree.lookup(target, source)
        except TransformError as error:
            if TFMessage is None:
                distro = os.environ.get('ROS_DISTRO', '$ROS_DISTRO')
                raise TransformError(
                    f'where {source!r} sits in {target!r} is not known: {instead}, or apt '
                    f'install ros-{distro}-tf2-msgs for /tf_static') from None
            odd = ''.join(f'; of {frame}: {text}' for frame, text in list(self._faults.items()))
            raise TransformError(f'{error}{odd}; publish it on /tf_static (publish_tf of the '
                                 f'launch files), or {instead}') from None


def subscribe(node: Node, transforms: StaticTransforms) -> Subscription | None:
    """Listen to /tf_static; None where tf2_msgs is not installed."""
    if TFMessage is None:
        return None
    qos = QoSProfile(depth=BROADCASTERS, reliability=ReliabilityPolicy.RELIABLE,
                     durability=DurabilityPolicy.TRANSIENT_LOCAL)
    return node.create_subscription(
        TFMessage, '/tf_static', lambda message: transforms.add(message.transforms), qos)
