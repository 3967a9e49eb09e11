r"""Depth of our network in place of a RealSense's own, under the same names (realsense-ros).

ros2 launch depth_perception realsense.launch.py driver:=true
ros2 launch depth_perception realsense.launch.py output_style:=native     # beside its own depth

Cloud and stereo views of the sensor's own depth: point_cloud.launch.py and stereo.launch.py with
topic_style:=realsense.
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import OpaqueFunction

from depth_perception.tools import launch_others as others
from depth_perception.tools import launch_parts as parts
from depth_perception.tools import topic_styles

TOPIC_STYLE = ('realsense', 'Whose topic names to use, for the inputs and for our outputs.')


def generate_launch_description() -> LaunchDescription:
    """Return the arguments, then the nodes: a function, because they depend on the arguments."""
    return LaunchDescription([
        *parts.arguments(topic_style=TOPIC_STYLE, driver=others.DRIVER),
        OpaqueFunction(function=_actions)])


def _actions(context: LaunchContext) -> list:
    return [*parts.transport(context), *_driver(context), parts.depth_node(context),
            parts.frames(context), parts.rviz(context, 'depth_node')]


def _driver(context: LaunchContext) -> list:
    if not others.wants_driver(context):
        return []
    camera = parts.value(context, 'camera') or topic_styles.STYLES['realsense'].camera
    namespace, _, name = camera.strip('/').rpartition('/')
    given = {'camera_namespace': namespace, 'camera_name': name, 'enable_color': 'true',
             'enable_depth': 'false', 'enable_infra1': 'false', 'enable_infra2': 'false'}
    return [others.included(context, 'realsense2_camera', 'rs_launch.py', given)]
