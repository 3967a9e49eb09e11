"""``depth-perception record``: topics of the live graph into a bag, without ros2 bag.

It records what training needs until Ctrl-C, or until its time or its share of the disk is used
up, then reads back what it wrote.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import re
import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # mcap and rosbags are needed to record, not to show --help
    from depth_perception.tools.recorder import LiveRecorder
    from depth_perception.tools.split_bag import SplitBag

IMAGES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')
INFO = 'sensor_msgs/msg/CameraInfo'
TRANSFORMS = ('/tf', '/tf_static')
FOCUS = ('sensor_msgs/msg/JointState', 'focus')
# Our own nodes' outputs can be made again at any time, and are no truth to train on.
OWN_NODES = {'depth_node', 'focus_depth_node', 'point_cloud_node', 'stereo_view_node',
             'multi_depth_node'}
GB = 1_000_000_000
UNITS = {'': 1, 'K': 1e3, 'M': 1e6, 'G': 1e9, 'T': 1e12}


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        'record', help='record camera topics into a bag (MCAP), where ros2 bag is not installed')
    parser.add_argument('topics', nargs='*', metavar='TOPIC', help='full names; left out: '
                        'pictures, camera_info, focus and transforms of all cameras')
    parser.add_argument('-o', '--output', type=Path, required=True, help='folder of the new bag')
    parser.add_argument('--seconds', type=float, default=0.0,
                        help='stop after so long; 0: Ctrl-C stops (default)')
    parser.add_argument('--split-size', type=byte_count, default=GB, metavar='SIZE',
                        help='begin a new file after so much, such as 500M (default: 1G)')
    parser.add_argument('--disk-budget', type=byte_count, default=0, metavar='SIZE',
                        help='of all files together, such as 20G (default: what the disk has, '
                        'but 200 MB)')
    parser.add_argument('--keep', choices=('first', 'newest'), default='first',
                        help='when the budget is used up: first stops, newest removes the oldest '
                        'file (default: %(default)s)')
    parser.add_argument('--no-check', dest='check', action='store_false',
                        help='do not read the bag back at the end')
    parser.set_defaults(run=run)


def byte_count(text: str) -> int:
    """Read '1.5G', '500MB' or '1000' as bytes; ValueError where it is none."""
    match = re.fullmatch(r'(\d+(?:\.\d*)?)\s*([KMGT]?)B?', text.strip().upper())
    if not match or float(match[1]) <= 0:
        raise ValueError(f'{text!r} is no size; write 500M or 20G')
    return int(float(match[1]) * UNITS[match[2]])


def is_wanted(name: str, type_name: str) -> bool:
    """Whether a topic belongs to what training needs, where no topic is named."""
    if OWN_NODES & set(name.split('/')):
        return False
    return (type_name in (*IMAGES, INFO) or name in TRANSFORMS
            or (type_name == FOCUS[0] and name.rpartition('/')[2] == FOCUS[1]))


def run(topics: list[str], output: Path, seconds: float, split_size: int, disk_budget: int,
        keep: str, check: bool) -> int:
    """Record until Ctrl-C, `seconds` or the budget; 0 where every topic was recorded.

    Raises
    ------
    RuntimeError
        Nothing was recorded, it cannot be read back, or a package is missing.
    OSError
        The folder exists or cannot be made.
    ValueError
        The sizes do not fit each other.
    """
    try:
        import rclpy
        from rclpy.signals import SignalHandlerOptions

        from depth_perception.nodes._lifecycle import keep_big_blocks
        from depth_perception.tools.recorder import LiveRecorder
        from depth_perception.tools.split_bag import Limits, SplitBag
    except ImportError as error:
        raise RuntimeError(f'record needs ROS, mcap and rosbags ({error}): pip install mcap '
                           'rosbags, or use ros2 bag record') from None
    limits = Limits(split_size, disk_budget, keep)
    if output.exists():
        raise FileExistsError(f'{output} exists; name another folder with -o')
    keep_big_blocks()
    with signals_collected() as signals:
        # rclpy's own handlers would end the context.
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        node = rclpy.create_node('depth_perception_record', start_parameter_services=False)
        bag = SplitBag(output, limits)
        recorder = LiveRecorder(node, bag, topics, is_wanted)
        end = time.monotonic() + (seconds or float('inf'))
        try:
            recorder.spin(lambda: bool(signals) or time.monotonic() > end)
        finally:
            bag.close()
            node.destroy_node()
            rclpy.try_shutdown()
    return _finish(bag, recorder, check)


@contextmanager
def signals_collected() -> Iterator[list[int]]:
    """Only note Ctrl-C and SIGTERM in a list: an exception could cut a write in two."""
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, _: came.append(number))
              for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _finish(bag: SplitBag, recorder: LiveRecorder, check: bool) -> int:
    from depth_perception.tools.split_bag import RecordingError, verify

    counts = bag.counts
    for name, count in sorted(counts.items()):
        print(f'{count:8d}  {name}')
    if bag.full:
        print(f'stopped: {bag.full}')
    if not any(counts.values()):
        raise RecordingError(f'{bag.folder} is empty: no message came on '
                             f'{", ".join(recorder.waiting) or "any topic of a camera"}')
    if check:
        verify(bag.folder, counts)
    print(f'{bag.folder}: {bag.size / GB:.3f} GB' + (', read back and whole' if check else ''))
    for name in recorder.waiting:
        print(f'nobody published {name}')
    return 1 if recorder.waiting else 0
