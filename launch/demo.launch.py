"""No camera at hand: a simulated room (or a file) as the camera, and depth from it.

ros2 launch depth_perception demo.launch.py source:=video.mp4 hfov_deg:=60.0
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import OpaqueFunction

from depth_perception.tools import launch_parts as parts

SOURCE = ('scene', 'scene (a simulated room), an image, a folder of images, a video file or '
          '/dev/video0.')
HFOV_DEG = ('60.0', 'Horizontal field of view of your own source, in degrees; the scene knows '
            'its own.')


def generate_launch_description() -> LaunchDescription:
    """Return the arguments, then the nodes: a function, because they depend on the arguments."""
    return LaunchDescription([
        *parts.arguments(source=SOURCE, hfov_deg=HFOV_DEG), OpaqueFunction(function=_actions)])


def _actions(context: LaunchContext) -> list:
    source = {'source': parts.typed('source', str), 'hfov_deg': parts.typed('hfov_deg', float)}
    camera = parts.node(context, 'camera_node', parts.camera_topics(context), source)
    return [*parts.transport(context), camera, parts.depth_node(context),
            parts.frames(context), parts.rviz(context, 'depth_node')]
