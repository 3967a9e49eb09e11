"""What the launch files share: their arguments, the transport, our nodes, RViz.

Uses launch and launch_ros as ROS Humble has them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext
from launch.action import Action
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from depth_perception.tools import topic_styles
from depth_perception.tools.processes import TRANSPORT
from depth_perception.tools.topic_styles import Remappings, TopicStyle, Wiring

PACKAGE = 'depth_perception'
DEPTH_MAKERS = ('depth_node', 'focus_depth_node')

#: name -> (default, description). An empty default leaves the matter to params_file.
ARGUMENTS = {
    'image_topic': (
        '', 'Topic of the camera images, for example /camera/image_raw; empty: as topic_style '
        'has it, for native: image.'),
    'camera_info_topic': (
        '', 'Topic of the calibration; empty: camera_info beside image_topic.'),
    'topic_style': (
        'native', 'Whose topic names to use, for the inputs and for the outputs of our depth: '
        'those of a RealSense, ZED or OAK driver, or our own.'),
    'output_style': (
        '', 'Whose names to use for the outputs alone: native beside a running depth camera; '
        'empty: as topic_style.'),
    'camera': (
        '', "Namespace and name of the driver's node, for example camera/camera; empty: as its "
        'own launch file has them.'),
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
    'publish_tf': (
        'false', 'true publishes the turn from link_frame to optical_frame, for a camera whose '
        'driver does not.'),
    'link_frame': (
        'camera_link', 'With publish_tf: frame of the camera, x forward, z up.'),
    'optical_frame': (
        'camera_optical_frame', 'With publish_tf: frame_id of the images, z forward, y down.'),
}
CHOICES = {'topic_style': list(topic_styles.STYLES),
           'output_style': ['', *topic_styles.STYLES]}
DEPTH_TOPIC = ('', 'Topic of depth images registered to the camera images, for example from an '
               'RGB-D camera; empty: as topic_style has it, for native: the network of '
               'depth_node makes the depth.')


def arguments(shared: Collection[str] = tuple(ARGUMENTS), /,
              **more: tuple[str, str]) -> list[Action]:
    """Declare arguments that launch files share, all or some, and `more` in the same form."""
    declared = {**{name: ARGUMENTS[name] for name in shared}, **more}
    return [DeclareLaunchArgument(name, default_value=default, description=description,
                                  choices=CHOICES.get(name))
            for name, (default, description) in declared.items()]


def transport(context: LaunchContext) -> list[Action]:
    """Give Fast DDS shared memory for whole frames, unless the user has chosen a transport.

    With its default of 512 KiB, nearly all best-effort frames larger than that are lost. It is
    the sending process that counts: a camera driver started elsewhere needs the same variable.
    """
    chosen = {'FASTDDS_BUILTIN_TRANSPORTS', 'FASTDDS_DEFAULT_PROFILES_FILE',
              'FASTRTPS_DEFAULT_PROFILES_FILE'} & set(context.environment)
    return [] if chosen else [SetEnvironmentVariable('FASTDDS_BUILTIN_TRANSPORTS', TRANSPORT)]


def camera_topics(context: LaunchContext) -> Remappings:
    """Return the remappings of a node that listens to a camera."""
    return topic_styles.inputs(_style(context), **_given(
        context, 'camera', 'image_topic', 'camera_info_topic'))


def image_topic(context: LaunchContext) -> str:
    """Return the topic of the camera images."""
    return dict(camera_topics(context))['image']


def outputs(context: LaunchContext) -> Wiring:
    """Return the names of the outputs of our depth, and the parameters that go with them."""
    name = value(context, 'output_style') or value(context, 'topic_style')
    return topic_styles.outputs(topic_styles.style(name), value(context, 'camera'))


def output(context: LaunchContext, executable: str, topic: str) -> str:
    """Return what ``~/<topic>`` of a node is called, seen from its namespace."""
    return dict(outputs(context).remappings).get(f'~/{topic}', f'{executable}/{topic}')


def full_name(context: LaunchContext, topic: str) -> str:
    """Return a topic as it is called outside of the namespace of our nodes."""
    if topic.startswith('/'):
        return topic
    return '/' + '/'.join(filter(None, [value(context, 'namespace').strip('/'), topic]))


def value(context: LaunchContext, name: str) -> str:
    """Return the value of a launch argument."""
    return LaunchConfiguration(name).perform(context)


def node(context: LaunchContext, executable: str, remappings: list[tuple[str, str]],
         overrides: Mapping[str, object] = {}) -> Node:
    """Return one node of this package, its parameter file and what the arguments override.

    Parameters
    ----------
    context : LaunchContext
    executable : str
        Also the name of the node and of its file in ``config``.
    remappings : list of (str, str)
    overrides : mapping
        Parameters that come after the file.
    """
    file = value(context, 'params_file') or str(share() / 'config' / f'{executable}.yaml')
    given = {'use_sim_time': typed('use_sim_time', bool), **overrides}
    if value(context, 'autostart'):
        given['autostart'] = typed('autostart', bool)
    return Node(
        package=PACKAGE, executable=executable, name=executable, output='screen',
        namespace=value(context, 'namespace'), remappings=remappings, parameters=[file, given],
        # The enclave means something under ROS_SECURITY_ENABLE only: see config/sros2.
        ros_arguments=['--log-level', value(context, 'log_level'),
                       '--enclave', f'/{PACKAGE}/{executable}'])


def depth_node(context: LaunchContext, overrides: Mapping[str, object] = {}) -> Node:
    """Return the node that makes depth from one camera; `overrides` as in `node`."""
    names, given = outputs(context), model(context)
    return node(context, 'depth_node', [*camera_topics(context), *names.remappings],
                {**names.parameters, **given, **overrides})


def model(context: LaunchContext) -> dict[str, object]:
    """Return the parameters of the network that the user gave."""
    return {name: typed(name, str) for name in ('model', 'backend') if value(context, name)}


def paired_node(context: LaunchContext, executable: str,
                overrides: Mapping[str, object] = {}) -> Node:
    """Return a node that takes depth from elsewhere, or depth_node where there is none."""
    if not value(context, 'depth_topic') and value(context, 'topic_style') == 'native':
        return depth_node(context, overrides)
    wiring = topic_styles.paired(_style(context), **_given(
        context, 'camera', 'image_topic', 'camera_info_topic', 'depth_topic'))
    return node(context, executable, wiring.remappings, {**wiring.parameters, **overrides})


def frames(context: LaunchContext) -> Node:
    """Return what publishes how the optical frame lies in the camera's, if publish_tf says so."""
    turn = {'qx': '-0.5', 'qy': '0.5', 'qz': '-0.5', 'qw': '0.5',
            'frame-id': value(context, 'link_frame'),
            'child-frame-id': value(context, 'optical_frame')}
    return Node(
        package='tf2_ros', executable='static_transform_publisher', output='screen',
        arguments=[part for name, given in turn.items() for part in (f'--{name}', given)],
        condition=IfCondition(LaunchConfiguration('publish_tf')))


def rviz(context: LaunchContext, executable: str, image: str = '') -> Node:
    """Return RViz with the pictures of one of our nodes, if use_rviz says so.

    Parameters
    ----------
    context : LaunchContext
    executable : str
        Where the names of the outputs begin.
    image : str
        Topic of the camera images; empty: as the arguments have it.
    """
    shown = ['points', 'depth/image_colored', 'stereo/anaglyph']
    named = output if executable in DEPTH_MAKERS else (lambda _, node, topic: f'{node}/{topic}')
    # depth.rviz names absolute topics; a relative target falls into the node's namespace.
    ours = [(f'/depth_node/{topic}', named(context, executable, topic)) for topic in shown]
    return Node(
        package='rviz2', executable='rviz2', output='screen',
        namespace=value(context, 'namespace'),
        arguments=['-d', str(share() / 'config' / 'depth.rviz')],
        remappings=[('/image', image or image_topic(context)), *ours],
        parameters=[{'use_sim_time': typed('use_sim_time', bool)}],
        condition=IfCondition(LaunchConfiguration('use_rviz')))


def typed(name: str, value_type: type) -> ParameterValue:
    """Return a launch argument as a parameter of one type: a model may be called 3."""
    return ParameterValue(LaunchConfiguration(name), value_type=value_type)


def _style(context: LaunchContext) -> TopicStyle:
    return topic_styles.style(value(context, 'topic_style'))


def _given(context: LaunchContext, *names: str) -> dict[str, str]:
    return {name: value(context, name) for name in names}


def share() -> Path:
    """Return the folder that holds the package's config and launch files."""
    return Path(get_package_share_directory(PACKAGE))
