"""The launch files that start other packages' programs, with stand-ins for those programs."""

from __future__ import annotations

import json
import os
from pathlib import Path
import sys

import pytest
import yaml

pytest.importorskip('launch')
pytest.importorskip('launch_ros')

from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import Image, PointCloud2

HERE = Path(__file__).resolve().parent
STAND_IN = HERE.parent / 'nodes' / 'stand_in_driver.py'
BAG = HERE / 'stand_in_bag.py'

# A launch file of another package: writes down what it was given, then runs a stand-in.
LAUNCH_FILE = """
import json
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction
def run(context):
    with open({seen!r}, 'w') as file:
        json.dump({{'arguments': dict(context.launch_configurations), 'transport':
                    context.environment.get('FASTDDS_BUILTIN_TRANSPORTS')}}, file)
    return [ExecuteProcess(cmd={command!r}, output='screen')] if {command!r} else []
def generate_launch_description():
    own = DeclareLaunchArgument('params_file', default_value='its own')
    return LaunchDescription([own, OpaqueFunction(function=run)])
"""


class Others:
    """A prefix in which other packages seem to be installed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._seen = folder, folder / 'seen.json'

    def package(self, name: str) -> Path:
        index = self.folder / 'share' / 'ament_index' / 'resource_index' / 'packages'
        index.mkdir(parents=True, exist_ok=True)
        (index / name).touch()
        share = self.folder / 'share' / name
        share.mkdir(parents=True, exist_ok=True)
        return share

    def launch_file(self, package: str, name: str, *command: str) -> None:
        file = self.package(package) / 'launch' / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(LAUNCH_FILE.format(seen=str(self._seen), command=list(command)))

    def program(self, path: str, *command: str) -> None:
        """A program that runs `command` with what it is given."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        words = ' '.join(f"'{word}'" for word in command)
        file.write_text(f'#!/bin/sh\necho "$@" > {self._seen}\nexec {words} "$@"\n')
        file.chmod(0o755)

    def seen(self) -> dict:
        """What the stand-in for a launch file was given."""
        return json.loads(self._seen.read_text())

    def words(self) -> list[str]:
        """What the stand-in for a program was given."""
        return self._seen.read_text().split()

    def environment(self, base: dict[str, str]) -> dict[str, str]:
        env = {name: value for name, value in base.items() if name != 'FASTDDS_BUILTIN_TRANSPORTS'}
        env['AMENT_PREFIX_PATH'] = os.pathsep.join([str(self.folder), base['AMENT_PREFIX_PATH']])
        env['PATH'] = os.pathsep.join([str(self.folder / 'bin'), base['PATH']])
        return env


@pytest.fixture
def others(tmp_path) -> Others:
    return Others(tmp_path / 'others')


@pytest.fixture
def launch(copied, live_graph, make_model, others, monkeypatch, ros2_launch):
    """Start a launch file of the installed package; our tiny model stands for the real one."""
    monkeypatch.delenv('FASTDDS_BUILTIN_TRANSPORTS')    # the launch file has to set it
    model = make_model(depth=2.0)

    def start(name: str, *arguments: str):
        file = copied.share / 'launch' / name
        command = ros2_launch(file, f'model:={model}', *arguments)
        return live_graph.running(command, others.environment(copied.environment()))

    return start


@pytest.mark.parametrize('name, package, file, driver, depth, given', [
    ('realsense', 'realsense2_camera', 'rs_launch.py', 'realsense',
     '/camera/camera/aligned_depth_to_color/image_raw',
     {'camera_namespace': 'camera', 'camera_name': 'camera', 'enable_depth': 'false'}),
    ('zed', 'zed_wrapper', 'zed_camera.launch.py', 'zed', '/zed/zed_node/depth/depth_registered',
     {'camera_name': 'zed', 'node_name': 'zed_node', 'camera_model': 'zed2i'}),
    ('oak', 'depthai_ros_driver', 'driver.launch.py', 'oak', '/oak/stereo/image_raw',
     {'name': 'oak', 'rectify_rgb': 'false'}),
    ('oak', 'depthai_ros_driver', 'camera.launch.py', 'oak', '/oak/stereo/image_raw', {}),
])
def test_a_driver_starts_without_its_depth_and_ours_takes_the_name(
        launch, live_graph, others, name, package, file, driver, depth, given):
    others.launch_file(package, file, sys.executable, str(STAND_IN), driver)
    more = ['camera_model:=zed2i'] if name == 'zed' else []
    with launch(f'{name}.launch.py', 'driver:=true', *more):
        message, = live_graph.messages(depth, Image)
        assert message.encoding == ('32FC1' if name == 'zed' else '16UC1')
        seen = others.seen()
    assert given.items() <= seen['arguments'].items()
    assert seen['transport'] == 'DEFAULT?sockets_size=8MB'
    # our own arguments stay out, those of the same name above all
    assert not {'topic_style', 'model', 'log_level'} & set(seen['arguments'])
    expected = {'oak': 'oak_without_depth.yaml', 'zed': 'zed_without_depth.yaml'}.get(name)
    file = seen['arguments'].get({'oak': 'params_file', 'zed': 'ros_params_override_path'}
                                 .get(name), expected)
    assert expected is None or (file.endswith(expected) and Path(file).is_file())


def test_a_webcam_starts_and_a_guess_of_its_view_is_passed_on(launch, live_graph, others):
    others.package('usb_cam')
    others.program('lib/usb_cam/usb_cam_node_exe', sys.executable, str(STAND_IN), 'usb_cam')
    with launch('usb_cam.launch.py', 'driver:=true', 'hfov_deg:=60.0'):
        cloud, = live_graph.messages('/depth_node/points', PointCloud2)
        assert cloud.header.frame_id == 'default_cam'


def test_a_bag_is_played_when_the_node_is_ready_and_every_frame_counts(
        launch, live_graph, others):
    others.program('bin/ros2', sys.executable, str(BAG))
    with launch('bag.launch.py', 'bag:=/tmp/recorded', 'image_topic:=/cam/image_raw', 'rate:=2.0'):
        depths = live_graph.messages('/depth_node/depth/image_rect', Image, 20)
        stamps = [message.header.stamp.sec for message in depths]
        assert stamps == list(range(1000, 1020))
        words = others.words()
    assert words[:3] == ['bag', 'play', '/tmp/recorded']
    assert words[words.index('--rate') + 1] == '2.0'
    profiles = yaml.safe_load(Path(words[-1]).read_text())
    assert set(profiles) == {'/cam/image_raw', '/cam/camera_info'}
    assert {each['reliability'] for each in profiles.values()} == {'reliable'}


def test_rtabmap_gets_picture_depth_and_info_of_one_stamp(launch, live_graph, others):
    others.launch_file('rtabmap_launch', 'rtabmap.launch.py', sys.executable, str(STAND_IN),
                       'usb_cam')
    with launch('rtabmap.launch.py', 'image_topic:=/image_raw', 'frame_id:=base',
                'rtabmap_args:=--delete_db_on_start'):
        picture, = live_graph.messages('/depth_node/left/image_rect', Image)
        arguments = others.seen()['arguments']
    assert (picture.width, picture.height) == (64, 48)
    assert {name: arguments[name] for name in (
        'rgb_topic', 'depth_topic', 'camera_info_topic', 'approx_sync', 'frame_id', 'args')} == {
            'rgb_topic': '/depth_node/left/image_rect',
            'depth_topic': '/depth_node/depth/image_rect',
            'camera_info_topic': '/depth_node/depth/camera_info', 'approx_sync': 'false',
            'frame_id': 'base', 'args': '--delete_db_on_start'}


def test_nav2_gets_the_robots_parameters_and_our_cloud(launch, live_graph, others, tmp_path):
    others.launch_file('nav2_bringup', 'navigation_launch.py', sys.executable, str(STAND_IN),
                       'usb_cam')
    robot = tmp_path / 'robot.yaml'
    robot.write_text('planner_server:\n  ros__parameters:\n    frequency: 5.0\n')
    with launch('nav2.launch.py', 'image_topic:=/image_raw', f'nav2_params:={robot}'):
        cloud, = live_graph.messages('/depth_node/points', PointCloud2)
        arguments = others.seen()['arguments']
    assert cloud.height == 1            # a plain list, as the example wants it
    tree = yaml.safe_load(Path(arguments['params_file']).read_text())
    assert tree['planner_server']['ros__parameters'] == {'frequency': 5.0}
    assert 'depth_mark' in str(tree['local_costmap'])
    assert arguments['use_sim_time'] == 'false'


def test_the_demo_can_pose_as_a_realsense(launch, live_graph):
    with launch('demo.launch.py', 'topic_style:=realsense', 'namespace:=robot1'):
        depth, = live_graph.messages(
            '/robot1/camera/camera/aligned_depth_to_color/image_raw', Image)
        assert depth.encoding == '16UC1'


def test_several_cameras_share_a_node(launch, live_graph):
    with launch('multi_depth.launch.py', 'cameras:=left,right',
                'image_topics:=/l/image_raw,/r/image_raw'):
        live_graph.wait_for('/multi_depth_node', '/l/image_raw', '/l/camera_info', '/r/image_raw',
                            '/r/camera_info', '/multi_depth_node/left/points',
                            '/multi_depth_node/right/points')


def test_publish_tf_turns_the_link_into_the_optical_frame(launch, live_graph, others):
    others.package('tf2_ros')
    others.program('lib/tf2_ros/static_transform_publisher', 'true')
    with launch('depth.launch.py', 'publish_tf:=true', 'optical_frame:=eye'):
        live_graph.wait_for('/depth_node/points')
        words = others.words()
    given = dict(zip(words[::2], words[1::2]))
    assert (given['--frame-id'], given['--child-frame-id']) == ('camera_link', 'eye')
    x, y, z, w = (float(given[f'--q{axis}']) for axis in 'xyzw')
    # columns of the rotation: where the optical axes point in the link, x forward, z up
    right = (1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w))
    down = (2 * (x * y - z * w), 1 - 2 * (x * x + z * z), 2 * (y * z + x * w))
    assert (right, down) == ((0, -1, 0), (0, 0, -1))


@pytest.mark.parametrize('name, arguments, text', [
    ('realsense', ['driver:=true'], 'package realsense2_camera is not installed: apt install'),
    ('zed', ['driver:=true'], 'camera_model is empty'),
    ('oak', ['driver:=true', 'namespace:=r1'], 'leave out one of the two'),
    ('bag', [], 'bag is empty'),
    ('depth', ['topic_style:=kinect'], "Valid options are: ['native', 'realsense', 'zed', 'oak']"),
])
def test_what_cannot_be_started_says_why(copied, others, shell, ros2_launch, name, arguments,
                                         text):
    command = ros2_launch(copied.share / 'launch' / f'{name}.launch.py', *arguments)
    words = shell(['sh', '-c', '! "$@" 2>&1', 'sh', *command],
                  env=others.environment(copied.environment()))
    assert text in words


def test_diagnostics_of_a_started_node_are_calm(launch, live_graph, others):
    others.launch_file('zed_wrapper', 'zed_camera.launch.py', sys.executable, str(STAND_IN), 'zed')
    with launch('zed.launch.py', 'driver:=true', 'camera_model:=zed2i'):
        live_graph.messages('/zed/zed_node/point_cloud/cloud_registered', PointCloud2)
        status = live_graph.messages('/diagnostics', DiagnosticArray)[-1].status[0]
        assert int.from_bytes(bytes(status.level), 'little') < 2, status.message
