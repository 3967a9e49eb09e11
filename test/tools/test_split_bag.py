"""The recorder's files: splits, budget, latched topics, and what other readers make of them."""
from __future__ import annotations

from pathlib import Path
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip('rosbags')
pytest.importorskip('mcap')

from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore
import yaml

from depth_perception.tools.record import byte_count, is_wanted, signals_collected
from depth_perception.tools.split_bag import Limits, RecordingError, SplitBag, verify

STORE = get_typestore(Stores.LATEST)
IMAGE, TF = 'sensor_msgs/msg/Image', 'tf2_msgs/msg/TFMessage'
SECOND = 1_000_000_000
FREE = 10_000  # bytes of the disk: tests need no reserve


def qos(durability=QosDurability.VOLATILE):
    endless = QosTime(9223372036, 854775807)
    return Qos(QosHistory.KEEP_LAST, 5, QosReliability.RELIABLE, durability, endless, endless,
               QosLiveliness.AUTOMATIC, endless, False)


def picture(number):
    types = STORE.types
    time = types['builtin_interfaces/msg/Time'](number, 0)
    pixels = np.random.default_rng(number).integers(0, 256, 300_000).astype(np.uint8)
    return STORE.serialize_cdr(types[IMAGE](
        types['std_msgs/msg/Header'](time, 'eye'), 100, 1000, 'rgb8', 0, 3000, pixels), IMAGE)


NO_TRANSFORM = STORE.serialize_cdr(STORE.types[TF]([]), TF)


def record(folder, count=12, tf=False, **limits):
    bag = SplitBag(folder, Limits(**{'reserve_bytes': FREE} | limits))
    bag.add_topic('/image', IMAGE, [qos()])
    if tf:
        bag.add_topic('/tf_static', TF, [qos(QosDurability.TRANSIENT_LOCAL)])
        bag.write('/tf_static', 0, NO_TRANSFORM)
    for number in range(count):
        bag.write('/image', number * SECOND, picture(number))
    bag.close()
    return bag


def test_splits_are_one_bag_to_other_readers(tmp_path):
    bag = record(tmp_path / 'drive', split_bytes=1_000_000)
    names = sorted(path.name for path in bag.folder.glob('*.mcap'))
    assert names == ['drive_0.mcap', 'drive_1.mcap', 'drive_2.mcap']
    with Reader(bag.folder) as reader:
        assert reader.message_count == 12 and reader.topics['/image'].msgtype == IMAGE
        assert reader.connections[0].ext.offered_qos_profiles == [qos()]
        seen = [(stamp, STORE.deserialize_cdr(data, IMAGE)) for _, stamp, data in
                reader.messages()]
    assert [stamp for stamp, _ in seen] == [number * SECOND for number in range(12)]
    assert [message.header.stamp.sec for _, message in seen] == list(range(12))
    assert bag.counts == {'/image': 12} and not bag.full
    verify(bag.folder, bag.counts)


def test_the_description_names_every_file(tmp_path):
    bag = record(tmp_path / 'drive', split_bytes=1_000_000)
    content = yaml.safe_load((bag.folder / 'metadata.yaml').read_text())
    content = content['rosbag2_bagfile_information']
    assert content['storage_identifier'] == 'mcap' and content['message_count'] == 12
    assert content['duration'] == {'nanoseconds': 11 * SECOND}
    assert sum(each['message_count'] for each in content['files']) == 12


def test_a_used_up_budget_stops_the_recording(tmp_path):
    bag = record(tmp_path / 'drive', split_bytes=1_000_000, budget_bytes=2_000_000)
    assert bag.full == 'the budget of 0.002 GB is used up'
    assert 2_000_000 < bag.size < 3_500_000  # what waits for its chunk is written at the end
    verify(bag.folder, bag.counts)


def test_the_newest_can_be_kept_and_what_was_said_once_stays(tmp_path):
    bag = record(tmp_path / 'drive', 40, tf=True, split_bytes=1_000_000, budget_bytes=3_000_000,
                 keep='newest')
    assert not bag.full and bag.size < 4_500_000
    verify(bag.folder, bag.counts)
    with Reader(bag.folder) as reader:
        stamps = [stamp for each, stamp, _ in reader.messages() if each.topic == '/image']
        first = next(iter(reader.messages()))
    assert stamps[-1] == 39 * SECOND and stamps[0] > 20 * SECOND
    assert first[0].topic == '/tf_static' and bytes(first[2]) == NO_TRANSFORM


def test_the_description_names_no_file_that_was_removed(tmp_path, monkeypatch):
    named, unlink = [], Path.unlink

    def noted(path, *arguments, **more):
        content = yaml.safe_load((path.parent / 'metadata.yaml').read_text())
        named.append((path.name, content['rosbag2_bagfile_information']['relative_file_paths']))
        unlink(path, *arguments, **more)

    monkeypatch.setattr(Path, 'unlink', noted)
    record(tmp_path / 'drive', 40, split_bytes=1_000_000, budget_bytes=3_000_000, keep='newest')
    assert len(named) > 3
    assert all(removed not in files for removed, files in named)
    assert named[2][1]  # the others are there


def test_a_folder_that_is_taken_away_is_told_at_the_end(tmp_path):
    bag = SplitBag(tmp_path / 'drive', Limits(split_bytes=1_000_000, reserve_bytes=FREE))
    bag.add_topic('/image', IMAGE)
    shutil.rmtree(bag.folder)
    for number in range(12):
        bag.write('/image', number, picture(number))
    assert 'nothing more could be written' in bag.full
    with pytest.raises(RecordingError, match='could not be finished'):
        bag.close()


def test_signals_are_noted_and_cut_nothing():
    before = signal.getsignal(signal.SIGINT)
    with signals_collected() as came:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            signal.raise_signal(number)
    assert came == [signal.SIGINT, signal.SIGTERM, signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) == before


def test_a_disk_that_fills_up_stops_the_recording(tmp_path):
    bag = record(tmp_path / 'drive', reserve_bytes=10**18)
    assert 'of the disk are free' in bag.full
    assert bag.counts['/image'] < 12
    verify(bag.folder, bag.counts)


FULL = """
import resource, runpy, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
test = runpy.run_path(sys.argv[1])
bag = test['SplitBag'](test['Path'](sys.argv[2]), test['Limits'](reserve_bytes=1))
bag.add_topic('/image', test['IMAGE'])
for number in range(40):
    bag.write('/image', number, test['picture'](number))
print(bag.full)
try:
    bag.close()
except test['RecordingError'] as error:
    print(error)
"""


def test_a_disk_that_is_full_all_of_a_sudden_leaves_what_was_written(tmp_path):
    done = subprocess.run([sys.executable, '-c', FULL, __file__, str(tmp_path / 'drive')],
                          cwd=Path(__file__).parents[2], capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0, done.stderr
    assert 'nothing more could be written' in done.stdout
    assert 'all of it but the end can be read' in done.stdout


def test_a_bag_with_damage_does_not_pass(tmp_path):
    bag = record(tmp_path / 'drive')
    file = bag.folder / 'drive_0.mcap'
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 0xFF
    file.write_bytes(data)
    with pytest.raises(RecordingError, match='cannot be read back'):
        verify(bag.folder, bag.counts)


def test_missing_messages_do_not_pass(tmp_path):
    bag = record(tmp_path / 'drive')
    with pytest.raises(RecordingError, match='13'):
        verify(bag.folder, {'/image': 13})


def test_a_recording_that_was_killed_can_be_read_up_to_its_last_chunk(tmp_path):
    from mcap.exceptions import McapError
    from mcap.stream_reader import StreamReader

    bag = SplitBag(tmp_path / 'drive', Limits(reserve_bytes=FREE))
    bag.add_topic('/image', IMAGE)
    for number in range(14):
        bag.write('/image', number, picture(number))
    bag._stream.flush()  # what the system had; no finish
    copy = tmp_path / 'killed.mcap'
    copy.write_bytes((bag.folder / 'drive_0.mcap').read_bytes())
    bag.close()
    found = []
    with copy.open('rb') as stream, pytest.raises(McapError):
        for each in StreamReader(stream, validate_crcs=True).records:
            found += [each] if hasattr(each, 'sequence') else []
    assert len(found) == 12  # three chunks of 1 MiB; two pictures waited for the fourth


@pytest.mark.parametrize('limits', [{'keep': 'all'}, {'split_bytes': 0},
                                    {'keep': 'newest', 'budget_bytes': 10}])
def test_limits_that_cannot_work_are_refused(limits):
    with pytest.raises(ValueError):
        Limits(**limits)


def test_a_type_that_nobody_knows_is_refused(tmp_path):
    bag = SplitBag(tmp_path / 'drive', Limits(reserve_bytes=FREE))
    with pytest.raises(RecordingError, match='robots_msgs/msg/Arm is not known'):
        bag.add_topic('/arm', 'robots_msgs/msg/Arm')
    bag.close()


@pytest.mark.parametrize('text, count', [('500M', 500_000_000), ('1.5G', 1_500_000_000),
                                         ('20GB', 20 * 10**9), ('1000', 1000), ('2 k', 2000)])
def test_sizes_are_read(text, count):
    assert byte_count(text) == count


@pytest.mark.parametrize('text', ['', 'much', '-1G', '0', '5X'])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match='is no size'):
        byte_count(text)


@pytest.mark.parametrize('name, type_name, wanted', [
    ('/camera/image_raw', IMAGE, True),
    ('/camera/image_raw/compressed', 'sensor_msgs/msg/CompressedImage', True),
    ('/camera/depth/camera_info', 'sensor_msgs/msg/CameraInfo', True),
    ('/camera/focus', 'sensor_msgs/msg/JointState', True),
    ('/joint_states', 'sensor_msgs/msg/JointState', False),
    ('/tf_static', TF, True),
    ('/robot1/depth_node/depth/image_rect', IMAGE, False),
    ('/scan', 'sensor_msgs/msg/LaserScan', False)])
def test_what_training_needs_is_recorded_unless_topics_are_named(name, type_name, wanted):
    assert is_wanted(name, type_name) == wanted


def test_the_recorder_and_prepare_leave_out_the_same_nodes():
    source = (Path(__file__).parents[2] / 'training/data/bag_topics.py').read_text()
    from depth_perception.tools.record import OWN_NODES

    assert all(repr(name) in source for name in OWN_NODES)
