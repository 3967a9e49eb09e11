r"""Stereo views (left, right, disparity, side by side, anaglyph) from any depth source.

ros2 launch depth_perception stereo.launch.py image_topic:=/camera/color/image_raw \
    depth_topic:=/camera/aligned_depth_to_color/image_raw
ros2 launch depth_perception stereo.launch.py topic_style:=realsense     # the same
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import OpaqueFunction

from depth_perception.tools import launch_parts as parts

EXECUTABLE = 'stereo_view_node'


def generate_launch_description() -> LaunchDescription:
    """Return the arguments, then the nodes: a function, because they depend on the arguments."""
    return LaunchDescription([
        *parts.arguments(depth_topic=parts.DEPTH_TOPIC), OpaqueFunction(function=_actions)])


def _actions(context: LaunchContext) -> list:
    node = parts.paired_node(context, EXECUTABLE)
    return [*parts.transport(context), node, parts.frames(context),
            parts.rviz(context, node.node_executable)]
