"""The launch files as text: no launch package is needed, so this never skips."""

from __future__ import annotations

import ast
from pathlib import Path
import re

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAUNCH_FILES = {path.name: path for path in sorted((ROOT / 'launch').iterdir()) if path.is_file()}
PARTS, OTHERS = (ROOT / 'depth_perception' / 'tools' / name
                 for name in ('launch_parts.py', 'launch_others.py'))
ARGUMENTS = ['image_topic', 'camera_info_topic', 'topic_style', 'output_style', 'camera',
             'namespace', 'params_file', 'model', 'backend', 'use_rviz', 'use_sim_time',
             'log_level', 'autostart', 'publish_tf', 'link_frame', 'optical_frame']
EXTRA = {
    'bag.launch.py': ['bag', 'rate', 'loop', 'use_sim_time', 'depth_topic'],
    'depth.launch.py': [],
    'demo.launch.py': ['source', 'hfov_deg'],
    'focus_depth.launch.py': ['source', 'focus_table', 'focus_topic', 'focal_length'],
    'multi_depth.launch.py': ['cameras', 'image_topics'],
    'nav2.launch.py': ['example', 'nav2', 'nav2_params'],
    'oak.launch.py': ['topic_style', 'driver'],
    'point_cloud.launch.py': ['depth_topic'],
    'realsense.launch.py': ['topic_style', 'driver'],
    'record.launch.py': ['bag', 'depth_topic', 'depth_info_topic', 'focus_topic', 'recorder',
                         'split_size', 'disk_budget', 'keep', 'qos_file'],
    'rtabmap.launch.py': ['rtabmap', 'frame_id', 'rtabmap_args', 'rtabmap_viz'],
    'stereo.launch.py': ['depth_topic'],
    'usb_cam.launch.py': ['image_topic', 'driver', 'video_device', 'camera_info_url', 'hfov_deg'],
    'zed.launch.py': ['topic_style', 'driver', 'camera_model'],
}


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding='utf-8'))


def constants(path: Path) -> dict:
    """The module's literal constants by name."""
    found = {}
    for node in parse(path).body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            try:
                found[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                continue
    return found


def calls(path: Path, name: str) -> list[ast.Call]:
    """Calls of a function by its last name."""
    return [node for node in ast.walk(parse(path)) if isinstance(node, ast.Call)
            and ast.unparse(node.func).split('.')[-1] == name]


def executables() -> set[str]:
    """The entry points in setup.py."""
    strings = [node.value for node in ast.walk(parse(ROOT / 'setup.py'))
               if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return {match[1] for text in strings
            if (match := re.fullmatch(r'([\w-]+) = ([\w.]+):main', text))}


def test_there_is_one_file_per_story():
    assert set(LAUNCH_FILES) == set(EXTRA)


def test_every_argument_has_a_default_and_a_sentence_about_it():
    arguments = constants(PARTS)['ARGUMENTS']
    assert list(arguments) == ARGUMENTS
    for default, description in arguments.values():
        assert isinstance(default, str)  # launch knows no other type
        assert description.endswith('.') and len(description) > 20


@pytest.mark.parametrize('name', EXTRA)
def test_a_launch_file_declares_all_arguments_and_its_own(name):
    declared, = calls(LAUNCH_FILES[name], 'arguments')
    assert [keyword.arg for keyword in declared.keywords] == EXTRA[name]
    known = {**constants(PARTS), **constants(OTHERS), **constants(LAUNCH_FILES[name])}
    for keyword in declared.keywords:
        default, description = known[ast.unparse(keyword.value).split('.')[-1]]
        assert isinstance(default, str) and description.endswith('.')


@pytest.mark.parametrize('name', EXTRA)
def test_the_transport_is_set_before_any_node_starts(name):
    actions, = [node for node in parse(LAUNCH_FILES[name]).body
                if isinstance(node, ast.FunctionDef) and node.name == '_actions']
    returned, = [node for node in ast.walk(actions) if isinstance(node, ast.Return)]
    assert 'transport' in ast.unparse(returned.value.elts[0])


@pytest.mark.parametrize('path', [*LAUNCH_FILES.values(), PARTS], ids=lambda path: path.name)
def test_each_executable_is_an_entry_point_with_a_parameter_file(path):
    named = {text for node in ast.walk(parse(path)) if isinstance(node, ast.Constant)
             and isinstance(text := node.value, str) and re.fullmatch(r'\w+_node', text)}
    assert named <= executables()
    assert named <= {file.stem for file in (ROOT / 'config').glob('*.yaml')}


def test_every_entry_point_leads_to_a_main():
    strings = [node.value for node in ast.walk(parse(ROOT / 'setup.py'))
               if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    modules = [match[2] for text in strings
               if (match := re.fullmatch(r'([\w-]+) = ([\w.]+):main', text))]
    assert len(modules) == 8
    for module in modules:
        tree = parse(ROOT / (module.replace('.', '/') + '.py'))
        assert 'main' in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_transport_is_the_one_that_loses_no_frames():
    processes = ROOT / 'depth_perception' / 'tools' / 'processes.py'
    assert constants(processes)['TRANSPORT'] == 'DEFAULT?sockets_size=8MB'
