r"""Record a camera for training, with ros2 bag or, where that is not installed, without.

ros2 launch depth_perception record.launch.py bag:=/data/kitchen image_topic:=/camera/image_raw \
    depth_topic:=/camera/depth/image_raw
ros2 launch depth_perception record.launch.py bag:=/data/kitchen topic_style:=realsense \
    disk_budget:=20G keep:=newest

MCAP, compressed with zstd; Ctrl-C ends it. docs/bags.md tells what training makes of it.
"""

import shutil

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import ExecuteProcess, OpaqueFunction

from depth_perception.tools import launch_parts as parts
from depth_perception.tools import record_command, topic_styles

BAG = ('', 'Folder of the new bag.')
DEPTH_TOPIC = ('', 'Topic of the depth of an RGB-D camera; empty: as topic_style has it, for '
               'native: none is recorded.')
DEPTH_INFO_TOPIC = ('', 'Topic of its calibration; empty: camera_info beside depth_topic.')
FOCUS_TOPIC = ('', 'Topic that tells where the lens of a focus sweep stands; empty: none.')
RECORDER = ('auto', 'ros2bag, own (needs the packages mcap and rosbags), or auto: ros2 bag where '
            'it is installed and no disk_budget is set.')
SPLIT_SIZE = ('1G', 'A new file begins after so much.')
DISK_BUDGET = ('', 'Size of all files together, for example 20G; empty: as the disk allows.')
KEEP = ('first', 'With disk_budget: first stops at the end of it, newest removes the oldest file.')
QOS_FILE = ('', "Quality of service for ros2 bag; empty: the package's config/record/qos.yaml.")
NEEDED = ('ros2bag', 'rosbag2_storage_mcap')
#: Of the arguments that all launch files have, those that mean something here.
SHARED = ('image_topic', 'camera_info_topic', 'topic_style', 'camera', 'namespace',
          'use_sim_time')


def generate_launch_description() -> LaunchDescription:
    """Return the arguments, then the recorder: a function, because it depends on them."""
    declared = parts.arguments(
        SHARED, bag=BAG, depth_topic=DEPTH_TOPIC, depth_info_topic=DEPTH_INFO_TOPIC,
        focus_topic=FOCUS_TOPIC, recorder=RECORDER, split_size=SPLIT_SIZE,
        disk_budget=DISK_BUDGET, keep=KEEP, qos_file=QOS_FILE)
    return LaunchDescription([*declared, OpaqueFunction(function=_actions)])


def _actions(context: LaunchContext) -> list:
    return [*parts.transport(context), _recorder(context)]


def _recorder(context: LaunchContext) -> ExecuteProcess:
    given = {name: parts.value(context, name)
             for name in ('bag', 'recorder', 'split_size', 'disk_budget', 'keep', 'qos_file')}
    if not given['bag']:
        raise ValueError('bag is empty; give the folder of the new bag: bag:=/path/to/bag')
    topics = [parts.full_name(context, topic) for topic in _topics(context)]
    topics += record_command.TRANSFORMS
    recorder = record_command.chosen(given['recorder'], _has_ros2_bag(context),
                                     given['disk_budget'])
    if recorder == 'own':
        command = record_command.own(topics, given['bag'], given['split_size'],
                                     given['disk_budget'], given['keep'])
    else:
        folder = parts.share() / 'config' / 'record'
        command = record_command.ros2_bag(
            topics, given['bag'], given['split_size'], given['qos_file'] or folder / 'qos.yaml',
            folder / 'mcap.yaml', parts.value(context, 'use_sim_time').lower() == 'true')
    # The last file is finished, and read back, after Ctrl-C.
    return ExecuteProcess(cmd=command, output='screen', sigterm_timeout='60',
                          sigkill_timeout='10')


def _topics(context: LaunchContext) -> list[str]:
    style = topic_styles.style(parts.value(context, 'topic_style'))
    given = {name: parts.value(context, name)
             for name in ('camera', 'image_topic', 'camera_info_topic', 'depth_topic')}
    depth = given['depth_topic']
    if depth or parts.value(context, 'topic_style') != 'native':
        remappings = dict(topic_styles.paired(style, **given).remappings)
        depth = remappings['depth']
    else:
        given.pop('depth_topic')
        remappings = dict(topic_styles.inputs(style, **given))
    topics = [remappings['image'], remappings['camera_info']]
    if depth:
        info = parts.value(context, 'depth_info_topic')
        topics += [depth, info or topic_styles.beside(depth, 'camera_info')]
    topics.append(parts.value(context, 'focus_topic'))
    return list(dict.fromkeys(filter(None, topics)))


def _has_ros2_bag(context: LaunchContext) -> bool:
    try:
        for package in NEEDED:
            get_package_share_directory(package)
    except PackageNotFoundError:
        return False
    return shutil.which('ros2', path=context.environment.get('PATH')) is not None
