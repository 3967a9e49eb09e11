"""record.launch.py: the topics and the command it comes to, with a stand-in for ros2 bag."""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path
import re
import subprocess

import pytest
import yaml

from depth_perception.tools import record_command

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / 'launch' / 'record.launch.py'


class Machine:
    """A prefix with this package, and with ros2 bag if that is wanted."""

    def __init__(self, folder: Path, ros2_launch: Callable[..., list[str]]) -> None:
        self.folder, self._seen = folder, folder / 'seen'
        self._ros2_launch = ros2_launch
        self.install('depth_perception')
        (folder / 'share/depth_perception/config').symlink_to(ROOT / 'config')

    def install(self, *packages: str) -> None:
        index = self.folder / 'share/ament_index/resource_index/packages'
        index.mkdir(parents=True, exist_ok=True)
        for name in packages:
            (index / name).touch()
            (self.folder / 'share' / name).mkdir()

    def install_ros2_bag(self) -> None:
        self.install('ros2bag', 'rosbag2_storage_mcap')
        program = self.folder / 'bin/ros2'
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {self._seen}\n')
        program.chmod(0o755)

    def launch(self, *arguments: str) -> str:
        pytest.importorskip('launch_ros')
        path = os.pathsep.join([str(self.folder / 'bin'), os.environ['PATH']])
        prefix = os.pathsep.join(filter(None, [str(self.folder),
                                               os.environ.get('AMENT_PREFIX_PATH', '')]))
        done = subprocess.run(
            self._ros2_launch(FILE, *arguments), cwd=ROOT, capture_output=True, text=True,
            timeout=60, env={**os.environ, 'PATH': path, 'AMENT_PREFIX_PATH': prefix})
        return done.stdout + done.stderr

    def words(self) -> list[str]:
        return self._seen.read_text().split('\n')[:-1]


@pytest.fixture
def machine(tmp_path, ros2_launch) -> Machine:
    return Machine(tmp_path / 'prefix', ros2_launch)


def topics_of(pattern: str) -> list[str]:
    """The topics that a pattern of re.escape names."""
    return re.sub(r'\\(.)', r'\1', pattern).removeprefix('^(').removesuffix(')$').split('|')


def test_ros2_bag_gets_the_topics_the_format_and_the_quality_of_service(machine):
    machine.install_ros2_bag()
    said = machine.launch('bag:=/data/kitchen', 'image_topic:=/camera/image_raw',
                          'depth_topic:=/camera/depth/image_raw', 'focus_topic:=/camera/focus',
                          'split_size:=500M')
    words = machine.words()
    assert words[:2] == ['bag', 'record'], said
    options = dict(zip(words[2::2], words[3::2]))
    assert topics_of(options['--regex']) == [
        '/camera/image_raw', '/camera/camera_info', '/camera/depth/image_raw',
        '/camera/depth/camera_info', '/camera/focus', '/tf', '/tf_static']
    assert (options['--storage'], options['--output'], options['--max-bag-size']) == (
        'mcap', '/data/kitchen', '500000000')
    storage = yaml.safe_load(Path(options['--storage-config-file']).read_text())
    assert storage['compression'] == 'Zstd' and storage['noChunkCRC'] is False
    profiles = yaml.safe_load(Path(options['--qos-profile-overrides-path']).read_text())
    assert profiles['/tf_static']['durability'] == 'transient_local'


def test_a_style_knows_the_topics_of_its_depth_camera(machine):
    machine.install_ros2_bag()
    machine.launch('bag:=/data/kitchen', 'topic_style:=realsense', 'namespace:=robot1')
    words = machine.words()
    assert topics_of(words[words.index('--regex') + 1])[:4] == [
        f'/robot1/camera/camera/{name}' for name in (
            'color/image_raw', 'color/camera_info', 'aligned_depth_to_color/image_raw',
            'aligned_depth_to_color/camera_info')]


def test_without_ros2_bag_ours_records(machine, tmp_path):
    (tmp_path / 'taken').mkdir()
    said = machine.launch(f'bag:={tmp_path}/taken')
    assert 'taken exists; name another folder with -o' in said


@pytest.mark.parametrize('arguments, text', [
    ([], 'bag is empty'),
    (['bag:=/x', 'recorder:=tape'], "recorder is 'tape'"),
    (['bag:=/x', 'recorder:=ros2bag', 'disk_budget:=20G'], 'does not know')])
def test_what_cannot_be_recorded_says_why(machine, arguments, text):
    assert text in machine.launch(*arguments)


@pytest.mark.parametrize('recorder, has_ros2_bag, budget, chosen', [
    ('auto', True, '', 'ros2bag'), ('auto', False, '', 'own'), ('auto', True, '20G', 'own'),
    ('own', True, '', 'own'), ('ros2bag', False, '', 'ros2bag')])
def test_the_recorder_is_the_one_that_can_do_it(recorder, has_ros2_bag, budget, chosen):
    assert record_command.chosen(recorder, has_ros2_bag, budget) == chosen


def test_the_pattern_names_whole_topics():
    command = record_command.ros2_bag(['/a/image', '/tf'], 'bag', '1G', Path('q'), Path('s'),
                                      use_sim_time=True)
    pattern = command[command.index('--regex') + 1]
    assert [bool(re.search(pattern, name)) for name in (
        '/a/image', '/tf', '/a/image/compressed', '/b/a/image', '/tf_static')] == [
            True, True, False, False, False]
    assert command[-1] == '--use-sim-time'


def test_our_own_command_has_the_budget():
    command = record_command.own(['/image'], 'bag', '1G', '20G', 'newest')
    assert command[3:] == ['record', '--output', 'bag', '--split-size', '1G', '--disk-budget',
                           '20G', '--keep', 'newest', '/image']
