r"""Depth from a bag: every frame of it, by the bag's own clock.

ros2 launch depth_perception bag.launch.py bag:=/path/to/bag image_topic:=/camera/image_raw
ros2 launch depth_perception bag.launch.py bag:=/path/to/bag topic_style:=realsense \
    output_style:=native rate:=0.5

The bag starts when the node is ready. Where the network is slower than the bag, frames wait in
the node's queue (queue_size): play the bag slower, or /diagnostics will tell what was lost.
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import OpaqueFunction

from depth_perception.tools import launch_others as others
from depth_perception.tools import launch_parts as parts

BAG = ('', 'Folder or file of the bag.')
RATE = ('1.0', 'How fast to play it; 0.5: half as fast as it was recorded.')
LOOP = ('false', 'true plays it again and again.')
USE_SIM_TIME = ('true', 'true takes the time from the bag, false from this computer.')
DEPTH_TOPIC = ('', 'Topic of recorded depth, registered to the images, to make a cloud of; empty: '
               'the network of depth_node makes the depth.')
EXECUTABLE = 'point_cloud_node'


def generate_launch_description() -> LaunchDescription:
    """Return the arguments, then the nodes: a function, because they depend on the arguments."""
    return LaunchDescription([
        *parts.arguments(bag=BAG, rate=RATE, loop=LOOP, use_sim_time=USE_SIM_TIME,
                         depth_topic=DEPTH_TOPIC),
        OpaqueFunction(function=_actions)])


def _actions(context: LaunchContext) -> list:
    recorded = parts.value(context, 'depth_topic')
    if recorded:
        node = parts.paired_node(context, EXECUTABLE, {'process': 'every'})
    else:
        node = parts.depth_node(context, {'process': 'every'})
    topics = [topic for _, topic in parts.camera_topics(context)] + [recorded] * bool(recorded)
    player = others.bag_player(context, node.node_executable, topics)
    return [*parts.transport(context), node, player, parts.frames(context),
            parts.rviz(context, node.node_executable)]
