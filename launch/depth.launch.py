"""Depth, point cloud and stereo views from one camera.

ros2 launch depth_perception depth.launch.py image_topic:=/camera/image_raw
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import OpaqueFunction

from depth_perception.tools import launch_parts as parts


def generate_launch_description() -> LaunchDescription:
    """Return the arguments, then the nodes: a function, because they depend on the arguments."""
    return LaunchDescription([*parts.arguments(), OpaqueFunction(function=_actions)])


def _actions(context: LaunchContext) -> list:
    return [*parts.transport(context), parts.depth_node(context), parts.frames(context),
            parts.rviz(context, 'depth_node')]
