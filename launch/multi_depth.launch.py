r"""Depth and point clouds from several cameras, by one model in one process.

ros2 launch depth_perception multi_depth.launch.py cameras:=front,rear \
    image_topics:=/front_camera/image_raw,/rear_camera/image_raw
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import OpaqueFunction

from depth_perception.tools import launch_parts as parts
from depth_perception.tools.topic_styles import of_cameras

EXECUTABLE = 'multi_depth_node'
CAMERAS = ('front,rear', 'Names of the cameras, separated by commas: NAME publishes under '
           'multi_depth_node/NAME.')
IMAGE_TOPICS = ('', 'Topics of their images, in the same order; empty: NAME/image. The '
                'calibration of each is camera_info beside it.')
#: Of the arguments that all launch files have, those that mean nothing for several cameras.
FOREIGN = ('image_topic', 'camera_info_topic', 'topic_style', 'output_style', 'camera')


def generate_launch_description() -> LaunchDescription:
    """Return the arguments, then the nodes: a function, because they depend on the arguments."""
    shared = [name for name in parts.ARGUMENTS if name not in FOREIGN]
    declared = parts.arguments(shared, cameras=CAMERAS, image_topics=IMAGE_TOPICS)
    return LaunchDescription([*declared, OpaqueFunction(function=_actions)])


def _actions(context: LaunchContext) -> list:
    names, topics = (_listed(context, name) for name in ('cameras', 'image_topics'))
    remappings = of_cameras(names, topics)
    node = parts.node(context, EXECUTABLE, remappings,
                      {**parts.model(context), 'cameras': names})
    _, first_image = remappings[0]
    return [*parts.transport(context), node, parts.frames(context),
            parts.rviz(context, f'{EXECUTABLE}/{names[0]}', first_image)]


def _listed(context: LaunchContext, name: str) -> list[str]:
    return [part.strip() for part in parts.value(context, name).split(',') if part.strip()]
