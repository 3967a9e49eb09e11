r"""Depth from a camera that sweeps its focus.

ros2 launch depth_perception focus_depth.launch.py                          # simulated camera
ros2 launch depth_perception focus_depth.launch.py source:=/dev/video0 focus_table:=lens.yaml
ros2 launch depth_perception focus_depth.launch.py source:=none image_topic:=/camera/image_raw \
    focus_topic:=/camera/focus
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import OpaqueFunction

from depth_perception.focus_camera import DEFAULT_FOCAL_LENGTH_M
from depth_perception.tools import launch_parts as parts
from depth_perception.tools.topic_styles import beside

SOURCE = ('scene', 'scene (a simulated lens in a room), /dev/video0, or none: a camera that '
          'publishes image and focus by itself.')
FOCUS_TABLE = ('', 'Of /dev/videoN: YAML file with the positions of its focus control and their '
               'distances.')
FOCUS_TOPIC = ('', 'Topic of the focus distances; empty: focus beside image_topic.')
FOCAL_LENGTH = ('', "Physical focal length of the lens in metres; empty: the simulated lens' own, "
                'or as in params_file.')


def generate_launch_description() -> LaunchDescription:
    """Return the arguments, then the nodes: a function, because they depend on the arguments."""
    return LaunchDescription([
        *parts.arguments(source=SOURCE, focus_table=FOCUS_TABLE, focus_topic=FOCUS_TOPIC,
                         focal_length=FOCAL_LENGTH),
        OpaqueFunction(function=_actions)])


def _actions(context: LaunchContext) -> list:
    return [*parts.transport(context), *_camera(context), _depth(context),
            parts.frames(context), parts.rviz(context, 'focus_depth_node')]


def _topics(context: LaunchContext) -> list[tuple[str, str]]:
    focus = parts.value(context, 'focus_topic')
    image = parts.image_topic(context)
    return [*parts.camera_topics(context), ('focus', focus or beside(image, 'focus')),
            ('sweep_command', beside(image, 'sweep_command'))]


def _camera(context: LaunchContext) -> list:
    cameras = []
    if parts.value(context, 'source') != 'none':
        given = {name: parts.typed(name, str) for name in ('source', 'focus_table')}
        cameras.append(parts.node(context, 'focus_camera_node', _topics(context), given))
    return cameras


def _depth(context: LaunchContext):
    names = parts.outputs(context)
    given = {**names.parameters, **parts.model(context)}
    if parts.value(context, 'focal_length'):
        given['lens.focal_length'] = parts.typed('focal_length', float)
    elif parts.value(context, 'source') == 'scene':
        given['lens.focal_length'] = DEFAULT_FOCAL_LENGTH_M
    remappings = [*_topics(context), *names.remappings]
    return parts.node(context, 'focus_depth_node', remappings, given)
