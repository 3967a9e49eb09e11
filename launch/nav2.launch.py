r"""Navigation with one ordinary camera: our cloud in the local costmap of Nav2.

ros2 launch depth_perception nav2.launch.py image_topic:=/camera/image_raw publish_tf:=true \
    nav2_params:=my_robot.yaml
ros2 launch depth_perception nav2.launch.py image_topic:=/camera/image_raw nav2:=false

Both take config/examples/nav2_dense.yaml: its first part for our node, its second over the
parameters of Nav2. Copy it, measure camera_height on the robot, and give it as example.
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import OpaqueFunction

from depth_perception.tools import launch_others as others
from depth_perception.tools import launch_parts as parts

EXAMPLE = ('', 'File with parameters of our node and what goes over those of Nav2; empty: '
           'config/examples/nav2_dense.yaml of this package.')
NAV2 = ('true', 'false starts our node alone, for a Nav2 that runs already.')
NAV2_PARAMS = ('', "With nav2: its parameters for this robot; empty: nav2_bringup's own example.")


def generate_launch_description() -> LaunchDescription:
    """Return the arguments, then the nodes: a function, because they depend on the arguments."""
    return LaunchDescription([
        *parts.arguments(example=EXAMPLE, nav2=NAV2, nav2_params=NAV2_PARAMS),
        OpaqueFunction(function=_actions)])


def _actions(context: LaunchContext) -> list:
    example = parts.value(context, 'example') or others.example('nav2_dense.yaml')
    if not parts.value(context, 'params_file'):
        context.launch_configurations['params_file'] = example
    return [*parts.transport(context), parts.depth_node(context), *_nav2(context, Path(example)),
            parts.frames(context), parts.rviz(context, 'depth_node')]


def _nav2(context: LaunchContext, example: Path) -> list:
    if parts.value(context, 'nav2').lower() != 'true':
        return []
    robot = parts.value(context, 'nav2_params') or str(
        others.share_of('nav2_bringup') / 'params' / 'nav2_params.yaml')
    cloud = parts.full_name(context, parts.output(context, 'depth_node', 'points'))
    given = {name: parts.value(context, name) for name in ('namespace', 'use_sim_time')}
    given['params_file'] = others.nav2_file(Path(robot), example, cloud)
    return [others.included(context, 'nav2_bringup', 'navigation_launch.py', given)]
