r"""Depth of our network in place of an OAK-D's own, under the same names (depthai-ros).

ros2 launch depth_perception oak.launch.py driver:=true
ros2 launch depth_perception oak.launch.py output_style:=native           # beside its own depth

Cloud and stereo views of the sensor's own depth: point_cloud.launch.py and stereo.launch.py with
topic_style:=oak.
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import OpaqueFunction

from depth_perception.tools import launch_others as others
from depth_perception.tools import launch_parts as parts
from depth_perception.tools import topic_styles

TOPIC_STYLE = ('oak', 'Whose topic names to use, for the inputs and for our outputs.')


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
    name = (parts.value(context, 'camera') or topic_styles.STYLES['oak'].camera).strip('/')
    given = {'name': name, 'params_file': others.example('oak_without_depth.yaml'),
             'rectify_rgb': 'false'}
    # driver.launch.py: since 3.0
    return [others.included(context, 'depthai_ros_driver',
                            ('driver.launch.py', 'camera.launch.py'), given)]
