"""What the launch files share: their arguments, the transport, one node, RViz.

Uses launch and launch_ros as ROS Humble has them.
"""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext
from launch.action import Action
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from depth_perception.tools.processes import TRANSPORT

PACKAGE = 'depth_perception'

#: name -> (default, description). An empty default leaves the matter to params_file.
ARGUMENTS = {
    'image_topic': (
        'image', 'Topic of the camera images, for example /camera/image_raw.'),
    'camera_info_topic': (
        '', 'Topic of the calibration; empty: camera_info beside image_topic.'),
    'namespace': (
        '', 'Namespace of the nodes, for example robot1; empty: none.'),
    'params_file': (
        '', "YAML file with parameters; empty: the package's config/<node>.yaml."),
    'model': (
        '', 'Name or path of an exported model; empty: as in params_file.'),
    'backend': (
        '', 'What runs the model: auto, cpu or cuda; empty: as in params_file.'),
    'use_rviz': (
        'false', 'true also starts RViz with config/depth.rviz.'),
    'use_sim_time': (
        'false', 'true takes the time from /clock: simulators, ros2 bag play --clock.'),
    'log_level': (
        'info', 'Least severe message that the nodes print: debug, info, warn, error or fatal.'),
    'autostart': (
        '', 'true configures and activates the nodes at start, false leaves that to '
        'ros2 lifecycle; empty: as in params_file.'),
}
DEPTH_TOPIC = ('', 'Topic of depth images registered to the camera images, for example from an '
               'RGB-D camera; empty: the network of depth_node makes the depth.')


def arguments(**more: tuple[str, str]) -> list[Action]:
    """Declare the arguments that all launch files have, and `more` in the same form."""
    return [DeclareLaunchArgument(name, default_value=default, description=description)
            for name, (default, description) in {**ARGUMENTS, **more}.items()]


def transport(context: LaunchContext) -> list[Action]:
    """Give Fast DDS shared memory for whole frames, unless the user has chosen a transport.

    With its default of 512 KiB, nearly all best-effort frames larger than that are lost. It is
    the sending process that counts: a camera driver started elsewhere needs the same variable.
    """
    chosen = {'FASTDDS_BUILTIN_TRANSPORTS', 'FASTDDS_DEFAULT_PROFILES_FILE',
              'FASTRTPS_DEFAULT_PROFILES_FILE'} & set(context.environment)
    return [] if chosen else [SetEnvironmentVariable('FASTDDS_BUILTIN_TRANSPORTS', TRANSPORT)]


def camera_topics(context: LaunchContext) -> list[tuple[str, str]]:
    """Return the remappings of a node that listens to a camera."""
    image = value(context, 'image_topic')
    info = value(context, 'camera_info_topic') or beside(image, 'camera_info')
    return [('image', image), ('camera_info', info)]


def beside(topic: str, name: str) -> str:
    """Return another topic in the namespace of `topic`: ``/a/image_raw`` -> ``/a/<name>``."""
    return '/'.join([*topic.split('/')[:-1], name])


def value(context: LaunchContext, name: str) -> str:
    """Return the value of a launch argument."""
    return LaunchConfiguration(name).perform(context)


def node(context: LaunchContext, executable: str, remappings: list[tuple[str, str]],
         overrides: dict[str, object] | None = None) -> Node:
    """Return one node of this package, its parameter file and what the arguments override.

    Parameters
    ----------
    context : LaunchContext
    executable : str
        Also the name of the node and of its file in ``config``.
    remappings : list of (str, str)
    overrides : dict, optional
        Parameters that come after the file.
    """
    file = value(context, 'params_file') or str(share() / 'config' / f'{executable}.yaml')
    given = {'use_sim_time': typed('use_sim_time', bool), **(overrides or {})}
    if value(context, 'autostart'):
        given['autostart'] = typed('autostart', bool)
    return Node(
        package=PACKAGE, executable=executable, name=executable, output='screen',
        namespace=value(context, 'namespace'), remappings=remappings, parameters=[file, given],
        ros_arguments=['--log-level', value(context, 'log_level')])


def depth_node(context: LaunchContext) -> Node:
    """Return the node that makes depth from one camera."""
    overrides = {name: typed(name, str) for name in ('model', 'backend') if value(context, name)}
    return node(context, 'depth_node', camera_topics(context), overrides)


def paired_node(context: LaunchContext, executable: str) -> Node:
    """Return a node that takes depth from elsewhere, or depth_node where there is none."""
    depth = value(context, 'depth_topic')
    if not depth:
        return depth_node(context)
    return node(context, executable, [*camera_topics(context), ('depth', depth)])


def rviz(context: LaunchContext, executable: str) -> Node:
    """Return RViz with the pictures of one of our nodes, if use_rviz says so."""
    shown = ['points', 'depth/image_colored', 'stereo/anaglyph']
    # depth.rviz names absolute topics; a relative target falls into the node's namespace.
    outputs = [(f'/depth_node/{topic}', f'{executable}/{topic}') for topic in shown]
    return Node(
        package='rviz2', executable='rviz2', output='screen',
        namespace=value(context, 'namespace'),
        arguments=['-d', str(share() / 'config' / 'depth.rviz')],
        remappings=[('/image', value(context, 'image_topic')), *outputs],
        parameters=[{'use_sim_time': typed('use_sim_time', bool)}],
        condition=IfCondition(LaunchConfiguration('use_rviz')))


def typed(name: str, value_type: type) -> ParameterValue:
    """Return a launch argument as a parameter of one type: a model may be called 3."""
    return ParameterValue(LaunchConfiguration(name), value_type=value_type)


def share() -> Path:
    """Return the folder that holds the package's config and launch files."""
    return Path(get_package_share_directory(PACKAGE))
