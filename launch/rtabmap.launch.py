r"""A map from one ordinary camera: our depth for RTAB-Map (rtabmap_ros).

ros2 launch depth_perception rtabmap.launch.py image_topic:=/camera/image_raw frame_id:=base_link
ros2 launch depth_perception rtabmap.launch.py topic_style:=realsense rtabmap:=false

RTAB-Map gets the picture without distortion, its depth and its camera_info from our node: one
stamp, so it needs no approximate synchronisation.
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import OpaqueFunction

from depth_perception.tools import launch_others as others
from depth_perception.tools import launch_parts as parts

RTABMAP = ('true', 'false starts our node alone, for an RTAB-Map that runs already.')
FRAME_ID = ('base_link', 'With rtabmap: frame of the robot; a tf from it to the camera is needed.')
RTABMAP_ARGS = ('', "With rtabmap: its own options, such as --delete_db_on_start.")
RTABMAP_VIZ = ('true', "With rtabmap: true also opens its window.")


def generate_launch_description() -> LaunchDescription:
    """Return the arguments, then the nodes: a function, because they depend on the arguments."""
    return LaunchDescription([
        *parts.arguments(rtabmap=RTABMAP, frame_id=FRAME_ID, rtabmap_args=RTABMAP_ARGS,
                         rtabmap_viz=RTABMAP_VIZ),
        OpaqueFunction(function=_actions)])


def _actions(context: LaunchContext) -> list:
    return [*parts.transport(context), parts.depth_node(context), *_rtabmap(context),
            parts.frames(context), parts.rviz(context, 'depth_node')]


def _rtabmap(context: LaunchContext) -> list:
    if parts.value(context, 'rtabmap').lower() != 'true':
        return []
    topics = {'rgb_topic': 'left/image_rect', 'depth_topic': 'depth/image_rect',
              'camera_info_topic': 'depth/camera_info'}
    given = {name: parts.full_name(context, parts.output(context, 'depth_node', topic))
             for name, topic in topics.items()}
    given |= {name: parts.value(context, name)
              for name in ('frame_id', 'rtabmap_viz', 'use_sim_time')}
    given |= {'approx_sync': 'false', 'qos': '1', 'args': parts.value(context, 'rtabmap_args')}
    return [others.included(context, 'rtabmap_launch', 'rtabmap.launch.py', given)]
