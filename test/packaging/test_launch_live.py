"""The launch files with the real launch and launch_ros, where those are installed."""

from __future__ import annotations

from pathlib import Path
import runpy

import pytest

pytest.importorskip('launch')
pytest.importorskip('launch_ros')

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def launch(copied, live_graph, make_model, ros2_launch):
    """Start a launch file of the installed package; our tiny model stands for the real one."""
    model = make_model()

    def start(name: str, *arguments: str):
        file = copied.share / 'launch' / name
        command = ros2_launch(file, f'model:={model}', *arguments)
        return live_graph.running(command, copied.environment())

    return start


def test_several_cameras_have_no_arguments_of_a_single_one():
    file = runpy.run_path(str(ROOT / 'launch' / 'multi_depth.launch.py'))
    names = {each.name for each in file['generate_launch_description']().get_launch_arguments()}
    assert {'cameras', 'image_topics', 'namespace', 'model', 'use_rviz'} <= names
    assert not names & {'image_topic', 'camera_info_topic', 'topic_style', 'output_style',
                        'camera'}


def test_depth_listens_to_the_camera_that_it_is_given(launch, live_graph):
    with launch('depth.launch.py', 'image_topic:=/front/image_raw'):
        live_graph.wait_for('/depth_node', '/front/image_raw', '/front/camera_info',
                            '/depth_node/points')


def test_a_namespace_moves_the_nodes_and_their_parameters(launch, live_graph):
    with launch('depth.launch.py', 'namespace:=robot1', 'image_topic:=camera/image_raw'):
        live_graph.wait_for('/robot1/depth_node', '/robot1/camera/image_raw',
                            '/robot1/camera/camera_info', '/robot1/depth_node/points')


@pytest.mark.parametrize('name, node, topic', [
    ('point_cloud.launch.py', 'point_cloud_node', 'points'),
    ('stereo.launch.py', 'stereo_view_node', 'disparity'),
])
def test_depth_from_elsewhere_goes_to_the_node_for_it(launch, live_graph, name, node, topic):
    with launch(name, 'image_topic:=/rgb/image', 'depth_topic:=/depth/image'):
        live_graph.wait_for(f'/{node}', '/rgb/image', '/rgb/camera_info', '/depth/image',
                            f'/{node}/{topic}')
        assert '/depth_node' not in live_graph.names()


@pytest.mark.parametrize('name', ['point_cloud.launch.py', 'stereo.launch.py'])
def test_without_depth_from_elsewhere_the_network_makes_it(launch, live_graph, name):
    with launch(name):
        live_graph.wait_for('/depth_node', '/depth_node/points', '/depth_node/disparity')


def test_the_demo_starts_camera_and_depth(launch, live_graph):
    with launch('demo.launch.py'):
        live_graph.wait_for('/camera_node', '/image', '/depth_node/depth/image_rect')


def test_a_camera_that_sweeps_its_focus_goes_to_the_node_for_it(launch, live_graph, make_model):
    model = make_model(frames=5)
    with launch('focus_depth.launch.py', f'model:={model}', 'image_topic:=lens/image'):
        live_graph.wait_for('/focus_camera_node', '/focus_depth_node', '/lens/image',
                            '/lens/focus', '/lens/sweep_command', '/lens/camera_info',
                            '/focus_depth_node/depth/image_rect')


def test_autostart_false_leaves_the_node_unconfigured(launch, live_graph):
    with launch('depth.launch.py', 'autostart:=false'):
        live_graph.wait_for('/depth_node', '/depth_node/transition_event')
        assert '/depth_node/points' not in live_graph.names()


def test_a_parameter_file_of_the_user_counts(launch, live_graph, tmp_path):
    file = Path(tmp_path / 'mine.yaml')
    file.write_text('/**/depth_node:\n  ros__parameters:\n    autostart: false\n')
    with launch('depth.launch.py', f'params_file:={file}'):
        live_graph.wait_for('/depth_node', '/depth_node/transition_event')
        assert '/depth_node/points' not in live_graph.names()
