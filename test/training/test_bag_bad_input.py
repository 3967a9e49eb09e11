"""Bags as they come from robots: cut off, in the wrong unit, of another clock, half missing."""
from __future__ import annotations

import contextlib
import json
from pathlib import Path
import runpy
import shutil
import sqlite3
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from rosbags.rosbag2 import CompressionMode

from training.data import DATASETS, DataConfig, DataError, bag_writer
from training.data.bag import open_set
from training.data.bag_plan import Settings
from training.data.bag_topics import Names
from training.data.prepare import main, prepare

B = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name('made_bags.py'))))
ROOT = Path(__file__).parents[2]
WHOLE = Settings(split='train')


def notes(summary):
    return '\n'.join(note for row in summary.rows for note in row.notes)


def kept_of(summary, kind='depth'):
    return summary.counts.get(kind, {}).get('train', 0)


def stamps_of(root, split='train'):
    return [entry['stamp_ns'] for entry in open_set(root).entries if entry['split'] == split]


def cut(path, share):
    path.write_bytes(path.read_bytes()[:int(share * path.stat().st_size)])


# -- files that are damaged ----------------------------------------------------------------------


@pytest.mark.parametrize('storage, ending', [('mcap', 'mcap'), ('sqlite3', 'db3')])
@pytest.mark.parametrize('share', [0.3, 0.7, 0.99])
def test_of_a_file_that_is_cut_off_what_can_be_read_is_kept(storage, ending, share, tmp_path):
    bag = B.robot_bag(tmp_path / 'bag', storage, count=400)
    cut(bag / f'bag.{ending}', share)
    (bag / 'metadata.yaml').unlink()
    summary = prepare([bag], tmp_path / 'set', WHOLE)
    stamps = stamps_of(tmp_path / 'set')
    # MCAP loses the chunk that was cut, of 1 MB here; sqlite3 a few messages.
    assert 400 * share - 90 <= len(stamps) <= 400 * share + 1
    assert stamps == [B.START + i * B.SECOND // 2 for i in range(len(stamps))]
    assert 'metadata.yaml is missing' in notes(summary) and 'cut off' in notes(summary)


def test_a_damaged_chunk_in_the_middle_loses_its_own_messages_alone(tmp_path):
    bag = B.robot_bag(tmp_path / 'bag', compression=CompressionMode.STORAGE, count=400)
    file = bag / 'bag.mcap'
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle:middle + 5000] = bytes(5000)
    file.write_bytes(data)
    summary = prepare([bag], tmp_path / 'set', WHOLE)
    stamps = stamps_of(tmp_path / 'set')
    assert 250 <= len(stamps) < 400 and '1 chunks are damaged' in notes(summary)
    assert stamps[0] == B.START and stamps[-1] == B.START + 399 * B.SECOND // 2


@pytest.mark.parametrize('pages', [1, 40])
def test_a_damaged_page_of_a_database_loses_its_own_messages_alone(pages, tmp_path):
    def rgb(i, t):  # 56 pages, which nobody looks at before the message is read
        return B.image(t, np.kron(B.picture(i), np.ones((5, 5, 1), np.uint8)), 'rgb8')

    bag = B.robot_bag(tmp_path / 'bag', 'sqlite3', count=12, rgb=rgb,
                      deep=lambda i, t: B.image(t, np.full((240, 320), 1500, np.uint16), '16UC1'),
                      camera=lambda i, t: B.info(t, 320, 240, 250.0))
    file = bag / 'bag.db3'
    data = bytearray(file.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle:middle + pages * 4096] = bytes(pages * 4096)
    file.write_bytes(data)
    summary = prepare([bag], tmp_path / 'set', WHOLE)
    stamps = stamps_of(tmp_path / 'set')
    assert 10 <= len(stamps) < 12 and 'cut off or damaged' in notes(summary)
    assert stamps[0] == B.START and stamps[-1] == B.START + 11 * B.SECOND // 2


def test_messages_in_the_log_of_a_recorder_that_was_killed_are_read(tmp_path):
    bag = B.robot_bag(tmp_path / 'bag', 'sqlite3', count=20)
    file = bag / 'bag.db3'
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute('PRAGMA journal_mode=WAL')
        database.execute('PRAGMA wal_autocheckpoint=0')
        late = database.execute('SELECT topic_id, timestamp, data FROM messages WHERE id > 30')
        late = late.fetchall()
        database.execute('DELETE FROM messages WHERE id > 30')
        database.commit()
        database.execute('PRAGMA wal_checkpoint(TRUNCATE)')
        database.executemany('INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)',
                             late)
        database.commit()
        killed = tmp_path / 'killed'
        shutil.copytree(bag, killed)  # as it lay there when the power went
    (killed / 'metadata.yaml').unlink()
    assert (killed / 'bag.db3-wal').stat().st_size > 100_000
    assert kept_of(prepare([killed], tmp_path / 'set', WHOLE)) == 20


def test_a_compressed_file_that_is_cut_off_is_read_as_far_as_it_goes(tmp_path):
    bag = B.robot_bag(tmp_path / 'bag', 'mcap', CompressionMode.FILE, count=400)
    cut(bag / 'bag.mcap.zstd', 0.6)
    summary = prepare([bag], tmp_path / 'set', WHOLE)
    assert 100 <= kept_of(summary) <= 300 and 'compressed file is cut off' in notes(summary)


@pytest.mark.parametrize('name', ['bag_1.mcap', 'bag_1.db3', 'bag_1.mcap.zstd'])
def test_an_empty_file_beside_a_whole_one_is_named(name, tmp_path):
    bag = B.robot_bag(tmp_path / 'bag', count=5)
    (bag / name).touch()
    summary = prepare([bag], tmp_path / 'set', WHOLE)
    assert kept_of(summary) == 5 and f'{name}: the file is empty' in notes(summary)


def test_rubbish_instead_of_a_bag_gives_a_row_that_says_so(tmp_path):
    (tmp_path / 'noise.mcap').write_bytes(bytes(range(256)) * 40)
    (tmp_path / 'noise.db3').write_bytes(bytes(range(256)) * 40)
    (tmp_path / 'old.bag').touch()
    names = ['noise.mcap', 'noise.db3', 'old.bag', 'gone']
    summary = prepare([tmp_path / name for name in names], tmp_path / 'set', WHOLE)
    said = notes(summary)
    assert len(summary.rows) == 4 and not summary.counts
    assert 'rosbags-convert' in said and 'gone does not exist' in said
    assert said.count('no topic has colour pictures') == 2


def test_messages_with_garbled_bytes_are_counted_and_the_others_kept(tmp_path):
    def messages():
        for i, (topic, log, message) in enumerate(B.robot(count=10)):
            if topic == '/camera/image_raw' and i > 20:
                message.data = message.data[:-9]  # less than step * height
            yield topic, log, message

    bag = B.write(tmp_path / 'bag', messages())
    summary = prepare([bag], tmp_path / 'set', WHOLE)
    left = summary.rows[0].tally.left_out
    assert left.total() == 3 and all(reason.startswith('unreadable') for reason in left)
    assert kept_of(summary) == 7


# -- what robots record wrongly -------------------------------------------------------------------


def test_a_bag_without_depth_is_kept_as_pictures_and_said_so(tmp_path):
    bag = B.robot_bag(tmp_path / 'bag', count=30, deep=None)
    summary = prepare([bag], tmp_path / 'set', WHOLE)
    assert kept_of(summary, 'colour') == 30 and summary.rows[0].kind == 'colour'
    assert 'no depth: kept as pictures alone, for self-supervision' in notes(summary)
    with pytest.raises(DataError, match='no frames with depth, it has colour'):
        DATASETS['bag'](DataConfig(48, 64, 4, root=str(tmp_path / 'set')))


def test_a_prediction_of_our_own_is_no_truth_unless_it_is_named(tmp_path):
    own = '/depth_node/depth/image_rect'
    bag = B.robot_bag(tmp_path / 'bag', count=6, deep_topic=own)
    summary = prepare([bag], tmp_path / 'set', WHOLE)
    assert kept_of(summary, 'colour') == 6 and f'{own} is a prediction' in notes(summary)
    named = Settings(split='train', names=Names(depth=own))
    assert kept_of(prepare([bag], tmp_path / 'named', named)) == 6


def other_frame(i, t):
    return B.image(t, B.millimetres(B.depth(i)), '16UC1', 'lidar')


def test_depth_of_another_camera_is_left_out_unless_it_is_said_to_fit(tmp_path):
    bag = B.robot_bag(tmp_path / 'bag', count=6, deep=other_frame)
    summary = prepare([bag], tmp_path / 'set', WHOLE)
    assert kept_of(summary, 'colour') == 6 and kept_of(summary) == 0
    assert "depth is of frame 'lidar', the picture of 'camera'" in notes(summary)
    fits = Settings(split='train', registered=True)
    assert kept_of(prepare([bag], tmp_path / 'fits', fits)) == 6
    more = [('/camera/depth/camera_info', lambda i, t: B.info(t, frame='lidar'))]
    bag = B.robot_bag(tmp_path / 'info', count=6, deep=other_frame, more=more)
    summary = prepare([bag], tmp_path / 'third', WHOLE)
    assert 'no static transform joins' in notes(summary) and kept_of(summary, 'colour') == 6


def test_depth_of_another_camera_whose_camera_info_is_void_is_told(tmp_path):
    more = [('/camera/depth/camera_info', lambda i, t: B.info(t, focal=0.0, frame='lidar')),
            ('/tf_static', lambda i, t: None if i else B.transforms(t, 'camera', 'lidar'))]
    bag = B.robot_bag(tmp_path / 'bag', count=4, deep=other_frame, more=more)
    summary = prepare([bag], tmp_path / 'set', WHOLE)
    assert summary.rows[0].tally.left_out == {'no usable camera_info of the depth': 4}
    assert 'focal lengths 0.0, 0.0' in notes(summary)


def test_millimetres_in_32fc1_are_found_and_said(tmp_path):
    bag = B.robot_bag(tmp_path / 'bag', count=6, deep=lambda i, t: B.image(
        t, B.depth(i) * 1000, '32FC1'))
    summary = prepare([bag], tmp_path / 'set', WHOLE)
    assert 'multiplied by 0.001' in notes(summary)
    np.testing.assert_allclose(open_set(tmp_path / 'set').pictures('train').load(0).depth,
                               B.depth(0), rtol=2e-3)


def test_metres_in_16uc1_are_found_and_left_out_unless_the_unit_is_given(tmp_path):
    bag = B.robot_bag(tmp_path / 'bag', count=6, deep=lambda i, t: B.image(
        t, np.rint(np.nan_to_num(B.depth(i))).astype(np.uint16), '16UC1'))
    summary = prepare([bag], tmp_path / 'set', WHOLE)
    assert '16UC1 depth seems to hold metres' in notes(summary)
    assert kept_of(summary, 'colour') == 6
    given = Settings(split='train', depth_scale=1.0)
    prepare([bag], tmp_path / 'given', given)
    depth = open_set(tmp_path / 'given').pictures('train').load(0).depth
    assert set(np.unique(depth[np.isfinite(depth)])) == {1.0, 2.0}


def test_a_clock_that_goes_back_keeps_its_frames_and_their_splits_apart(tmp_path):
    first = list(B.robot(count=170, rate=4.0))
    back = list(B.robot(count=170, rate=4.0, start=B.START - 53 * B.SECOND,
                        rgb=lambda i, t: B.image(t, B.picture(200 + i), 'rgb8')))
    shift = first[-1][1] + B.SECOND // 4 - back[0][1]  # it is recorded right after
    messages = [*first, *((topic, log + shift, message) for topic, log, message in back)]
    bag = B.write(tmp_path / 'bag', messages)
    summary = prepare([bag], tmp_path / 'set', Settings(block_seconds=4.0, gap_seconds=1.0))
    assert 'the clock jumped 1 times' in notes(summary)
    assert summary.rows[0].tally.left_out['after a jump of the clock'] == 4
    log = {}
    for line in (tmp_path / 'set/manifest.jsonl').open():
        entry = json.loads(line)
        if 'shard' in entry:
            log.setdefault(entry['split'], []).append(entry['log_ns'])
    assert set(log) == {'train', 'val', 'test'}
    for one, other in (('train', 'val'), ('train', 'test')):
        apart = np.abs(np.subtract.outer(log[one], log[other])).min()
        assert apart >= B.SECOND  # also in the time that passed


def test_a_recording_that_follows_at_once_by_another_clock_is_kept_apart(tmp_path):
    first = B.robot_bag(tmp_path / 'one', count=80)
    begins = B.START + 40 * B.SECOND
    messages = ((topic, log + begins - B.SECOND, message) for topic, log, message in B.robot(
        count=80, start=B.SECOND, rgb=lambda i, t: B.image(t, B.picture(200 + i), 'rgb8')))
    second = B.write(tmp_path / 'two', messages)
    both = prepare([first, second], tmp_path / 'both')
    prepare([first], tmp_path / 'later')
    later = prepare([first, second], tmp_path / 'later')
    for summary in (both, later):
        assert summary.rows[1].tally.left_out['after a jump of the clock'] == 2  # 1 s at 2 Hz
    assert content(tmp_path / 'both') == content(tmp_path / 'later')


def test_the_same_recording_twice_is_taken_once(tmp_path):
    first = B.robot_bag(tmp_path / 'one', count=12)
    second = B.robot_bag(tmp_path / 'two', 'sqlite3', count=12)
    summary = prepare([first, second], tmp_path / 'set', WHOLE)
    assert kept_of(summary) == 12
    assert summary.rows[1].tally.left_out == {'seen already': 12}


def test_unequal_counts_are_told_and_pictures_without_depth_left_out(tmp_path):
    bag = B.robot_bag(tmp_path / 'bag', count=30, deep=lambda i, t: None if i % 3 else B.image(
        t + 5_000_000, B.millimetres(B.depth(i)), '16UC1'))
    summary = prepare([bag], tmp_path / 'set', WHOLE)
    assert kept_of(summary) == 10 and '30 pictures, 10 depth images' in notes(summary)
    assert summary.rows[0].tally.left_out == {'no depth of its time': 20}
    strict = prepare([bag], tmp_path / 'strict', Settings(split='train', tolerance=0.004))
    assert kept_of(strict) == 0


def test_depth_that_found_no_picture_and_whose_clock_went_back_is_told(tmp_path):
    def deep(i, t):  # every third came too early, and another clock stamped from the 20th on
        shift = 60 * B.SECOND if i >= 20 else 200_000_000 if i % 3 == 0 else 0
        return B.image(t - shift, B.millimetres(B.depth(i)), '16UC1')

    bag = B.robot_bag(tmp_path / 'bag', count=30, deep=deep)
    summary = prepare([bag], tmp_path / 'set', WHOLE)
    assert kept_of(summary) == 13
    assert '17 depth images have no picture of their time' in notes(summary)
    assert 'the stamps of the depth went back 1 times' in notes(summary)


def test_without_camera_info_the_field_of_view_must_be_given(tmp_path):
    bag = B.robot_bag(tmp_path / 'bag', count=5, camera=None)
    summary = prepare([bag], tmp_path / 'set', WHOLE)
    assert not summary.counts and summary.rows[0].tally.left_out == {'no camera_info': 5}
    assert '--hfov-deg' in notes(summary)
    assert kept_of(prepare([bag], tmp_path / 'set', Settings(split='val', hfov_deg=60.0))) == 0
    picture = open_set(tmp_path / 'set').pictures('val').load(0)
    assert picture.intrinsics.fx == pytest.approx(32 / np.tan(np.radians(30)))


@pytest.mark.parametrize('camera, said', [
    (lambda i, t: B.info(t, focal=0.0), 'focal lengths'),
    (lambda i, t: B.info(t, width=32), 'another size')])
def test_a_camera_info_that_cannot_be_right_is_told(camera, said, tmp_path):
    bag = B.robot_bag(tmp_path / 'bag', count=3, camera=camera)
    summary = prepare([bag], tmp_path / 'set', WHOLE)
    assert not summary.counts
    assert said in notes(summary) + str(summary.rows[0].tally.left_out)


def test_an_unknown_encoding_is_told(tmp_path):
    bag = B.robot_bag(tmp_path / 'bag', count=3, rgb=lambda i, t: B.image(
        t, B.picture(i), 'nv24'))
    assert '/camera/image_raw (nv24) cannot be read' in notes(
        prepare([bag], tmp_path / 'set', WHOLE))


def test_topics_of_another_namespace_are_suggested_and_mapped(tmp_path, capsys):
    bag = B.robot_bag(tmp_path / 'bag', count=3, rgb_topic='/robot1/camera/image_raw',
                      deep_topic='/robot1/camera/depth/image_raw')
    command = [str(bag), '-o', str(tmp_path / 'set'), '--image-topic', '/camera/image_raw',
               '--split', 'train']
    assert main(command) == 1
    said = capsys.readouterr().out
    assert '--image-topic /robot1/camera/image_raw, or for all topics --map /robot1:=/' in said
    assert main([*command, '--map', '/robot1:=/']) == 0
    assert open_set(tmp_path / 'set').entries[0]['topic'] == '/camera/image_raw'
    assert main([*command, '--map', 'robot1']) == 1
    assert 'is no rule for names' in capsys.readouterr().err


def test_a_misspelt_topic_is_suggested(tmp_path):
    bag = B.robot_bag(tmp_path / 'bag', count=3)
    named = Settings(names=Names(image='/camera/image_rwa'))
    assert 'nearest is /camera/image_raw' in notes(prepare([bag], tmp_path / 'set', named))


@pytest.mark.parametrize('role, topic, takes', [
    ('image', '/camera/camera_info', '--image-topic takes sensor_msgs/msg/Image or'),
    ('depth', '/camera/focus', '--depth-topic takes'),
    ('info', '/camera/image_raw', '--info-topic takes sensor_msgs/msg/CameraInfo'),
    ('depth_info', '/camera/focus', '--depth-info-topic takes'),
    ('focus', '/camera/image_raw', '--focus-topic takes sensor_msgs/msg/JointState')])
def test_a_named_topic_of_another_type_is_told_and_not_replaced(role, topic, takes, tmp_path):
    bag = B.robot_bag(tmp_path / 'bag', count=2,
                      more=[('/camera/focus', lambda i, t: B.focus(t, 1.0 + i))])
    summary = prepare([bag], tmp_path / 'set', Settings(names=Names(**{role: topic})))
    assert not summary.counts
    assert f'{topic} is of type' in notes(summary) and takes in notes(summary)


def test_a_named_topic_without_a_message_is_told_and_not_replaced(tmp_path):
    bag = tmp_path / 'bag'
    with contextlib.closing(sqlite3.connect(
            B.robot_bag(bag, 'sqlite3', count=2) / 'bag.db3')) as database:
        database.execute('DELETE FROM messages WHERE topic_id = '
                         "(SELECT id FROM topics WHERE name = '/camera/depth/image_raw')")
        database.commit()
    named = Settings(names=Names(depth='/camera/depth/image_raw'))
    assert '/camera/depth/image_raw has no message' in notes(
        prepare([bag], tmp_path / 'set', named))


# -- runs that are stopped ------------------------------------------------------------------------


def content(root):
    """What a data set holds, by name: shards and manifest without what differs by batches."""
    found = open_set(root)
    frames = {}
    for split in ('train', 'val', 'test'):
        chosen = found.pictures(split)
        for i, name in enumerate(chosen.names):
            picture = chosen.load(i)
            frames[split, str(name)] = (picture.image.tobytes(), picture.depth.tobytes())
    lines = [json.loads(line) for line in (root / 'manifest.jsonl').open()]
    return frames, [{key: value for key, value in line.items() if key not in ('shard', 'row')}
                    for line in lines if 'commit' not in line]


def noisy(path):
    rng = np.random.default_rng(5)

    def rgb(i, t):  # some stand still, some are blurred
        view = B.picture(i // 3 * 3 if i % 7 else i).astype(int)
        return B.image(t, np.clip(view + rng.integers(-1, 2, view.shape), 0, 255).astype(
            np.uint8), 'rgb8')

    return B.robot_bag(path, count=300, rate=5.0, rgb=rgb)


KILLED = '''
import os, sys
from pathlib import Path
from training.data import bag_writer, prepare
saved = bag_writer._save
def save(path, records, left=[int(sys.argv[3])]):
    left[0] -= 1
    if left[0] == 0 and sys.argv[4] == 'before':
        Path(str(path)[:-4] + '.partial').write_bytes(b'half')
        os._exit(9)
    saved(path, records)
    if left[0] == 0:
        os._exit(9)
bag_writer._save = save
prepare.main([sys.argv[1], '-o', sys.argv[2]])
'''


@pytest.mark.parametrize('at, when', [
    (2, 'before'), pytest.param(4, 'after', marks=pytest.mark.slow)])
def test_a_run_that_was_killed_goes_on_to_the_same_data_set(at, when, tmp_path):
    bag = noisy(tmp_path / 'bag')
    whole = prepare([bag], tmp_path / 'whole')
    killed = subprocess.run([sys.executable, '-c', KILLED, str(bag), str(tmp_path / 'set'),
                             str(at), when], cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert killed.returncode == 9, killed.stderr
    # a line of the manifest that was being written when the power went
    with (tmp_path / 'set/manifest.jsonl').open('a') as file:
        file.write('{"bag": "no')
    resumed = prepare([bag], tmp_path / 'set')
    assert content(tmp_path / 'set') == content(tmp_path / 'whole')
    assert resumed.rows[0].tally == whole.rows[0].tally
    assert len(list((tmp_path / 'set/shards').iterdir())) == len(
        {entry['shard'] for entry in open_set(tmp_path / 'set').entries})
    again = prepare([bag], tmp_path / 'set')
    assert again.rows[0].earlier and again.rows[0].tally == whole.rows[0].tally


def test_a_run_over_focus_sweeps_goes_on_as_well(tmp_path, monkeypatch):
    bag = B.sweep_bag(tmp_path / 'bag')
    monkeypatch.setattr(bag_writer, 'VIEWS_PER_SHARD', 3)
    prepare([bag], tmp_path / 'whole', WHOLE)
    saved = bag_writer._save

    def interrupted(path, records):
        if path.stem.endswith('00002'):
            raise KeyboardInterrupt
        saved(path, records)

    monkeypatch.setattr(bag_writer, '_save', interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare([bag], tmp_path / 'set', WHOLE)
    assert len(open_set(tmp_path / 'set').entries) == 6  # readable as far as it came
    monkeypatch.setattr(bag_writer, '_save', saved)
    summary = prepare([bag], tmp_path / 'set', WHOLE)
    assert kept_of(summary, 'focus') == 10 == summary.rows[0].tally.kept['train']
    whole, resumed = (open_set(tmp_path / name).stacks('train') for name in ('whole', 'set'))
    for i in range(10):
        for one, other in zip(whole.load(i)[:3], resumed.load(i)[:3]):
            np.testing.assert_array_equal(one, other)


def test_a_lens_that_never_stops_gives_single_pictures(tmp_path):
    bag = B.robot_bag(tmp_path / 'bag', count=60, more=[
        ('/camera/focus', lambda i, t: B.focus(t, 0.5 + 0.1 * i))])
    summary = prepare([bag], tmp_path / 'set', WHOLE)
    assert kept_of(summary) == 60 and 'the lens has 60 focus distances' in notes(summary)


FULL = '''
import resource, signal, sys
from training.data import prepare
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
sys.exit(prepare.main([sys.argv[1], '-o', sys.argv[2]]))
'''


def test_a_full_disk_is_told_and_the_run_goes_on_once_there_is_space(tmp_path):
    # a shard of 64 frames takes 1 MB, and the system refuses to write that much
    bag = noisy(tmp_path / 'bag')
    full = subprocess.run([sys.executable, '-c', FULL, str(bag), str(tmp_path / 'set')], cwd=ROOT,
                          capture_output=True, text=True, timeout=280)
    assert full.returncode == 1 and 'it goes on from there' in full.stderr, full.stderr
    assert 'Traceback' not in full.stderr
    prepare([bag], tmp_path / 'set')
    prepare([bag], tmp_path / 'whole')
    assert content(tmp_path / 'set') == content(tmp_path / 'whole')


def test_a_bag_that_changed_since_it_was_begun_is_another_one(tmp_path):
    bag = B.robot_bag(tmp_path / 'bag', count=5)
    prepare([bag], tmp_path / 'set', WHOLE)
    for file in bag.iterdir():
        file.unlink()
    bag.rmdir()
    B.robot_bag(tmp_path / 'bag', count=9)
    summary = prepare([bag], tmp_path / 'set', WHOLE)
    assert kept_of(summary) == 9 and summary.rows[0].tally.left_out == {'seen already': 5}


def test_a_damaged_shard_is_left_out_of_training_with_its_name(tmp_path):
    bag = B.robot_bag(tmp_path / 'bag', count=20)
    prepare([bag], tmp_path / 'set', WHOLE)
    shard, = (tmp_path / 'set/shards').iterdir()
    cut(shard, 0.5)
    with pytest.raises(DataError, match='2 of 20 pictures cannot be read'):
        DATASETS['bag'](DataConfig(48, 64, 4, root=str(tmp_path / 'set')))


def test_a_folder_that_is_no_data_set_is_refused_with_the_command(tmp_path):
    (tmp_path / 'dataset.yaml').write_text('scale: 1')
    with pytest.raises(DataError, match=r'python -m training.data.prepare BAG -o'):
        DATASETS['bag'](DataConfig(48, 64, 4, root=str(tmp_path)))


PEAK = '''
import resource, sys
from training.data import prepare
assert prepare.main([sys.argv[1], '-o', sys.argv[2], '--width', '64', '--still', '0']) == 0
print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
'''


def long_bag(path, count):
    """A bag of VGA frames, 1.5 MB each, whose file is small."""
    flat = np.full((480, 640), 1500, np.uint16)

    def rgb(i, t):
        return B.image(t, np.kron(B.picture(i), np.ones((10, 10, 1), np.uint8)), 'rgb8')

    return B.robot_bag(path, 'mcap', CompressionMode.STORAGE, count=count, rate=10.0, rgb=rgb,
                       deep=lambda i, t: B.image(t, flat, '16UC1'),
                       camera=lambda i, t: B.info(t, 640, 480, 500.0))


def peak_of(bag, output):
    done = subprocess.run([sys.executable, '-c', PEAK, str(bag), str(output)], cwd=ROOT,
                          capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])  # MB


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_a_bag(tmp_path):
    short, long = (peak_of(long_bag(tmp_path / f'bag{count}', count), tmp_path / f'set{count}')
                   for count in (200, 1600))
    assert long < 2000 and long - short < 60  # seven times 300 MB more were read
