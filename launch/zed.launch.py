r"""Depth of our network in place of a ZED's own, under the same names (zed-ros2-wrapper).

ros2 launch depth_perception zed.launch.py driver:=true camera_model:=zed2i
ros2 launch depth_perception zed.launch.py output_style:=native           # beside its own depth

Cloud and stereo views of the sensor's own depth: point_cloud.launch.py and stereo.launch.py with
topic_style:=zed.
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import OpaqueFunction

from depth_perception.tools import launch_others as others
from depth_perception.tools import launch_parts as parts
from depth_perception.tools import topic_styles

TOPIC_STYLE = ('zed', 'Whose topic names to use, for the inputs and for our outputs.')
CAMERA_MODEL = ('', 'With driver: model of the camera, such as zed2i or zedx.')


def generate_launch_description() -> LaunchDescription:
    """Return the arguments, then the nodes: a function, because they depend on the arguments."""
    return LaunchDescription([
        *parts.arguments(topic_style=TOPIC_STYLE, driver=others.DRIVER, camera_model=CAMERA_MODEL),
        OpaqueFunction(function=_actions)])


def _actions(context: LaunchContext) -> list:
    return [*parts.transport(context), *_driver(context), parts.depth_node(context),
            parts.frames(context), parts.rviz(context, 'depth_node')]


def _driver(context: LaunchContext) -> list:
    if not others.wants_driver(context):
        return []
    model = parts.value(context, 'camera_model')
    if not model:
        raise ValueError('camera_model is empty; the ZED driver needs it, camera_model:=zed2i')
    camera = parts.value(context, 'camera') or topic_styles.STYLES['zed'].camera
    name, _, node = camera.strip('/').partition('/')
    given = {'camera_model': model, 'camera_name': name, 'node_name': node,
             'ros_params_override_path': others.example('zed_without_depth.yaml')}
    return [others.included(context, 'zed_wrapper', 'zed_camera.launch.py', given)]
