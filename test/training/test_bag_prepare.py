"""Bags into data sets: every storage, compression and encoding, splits, filters, registration."""
from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path
import pickle
import runpy
import shutil
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import CompressionMode
import torch
from torch.utils.data import DataLoader

from training.data import DATASETS, DataConfig, DataError, bag_writer
from training.data.bag import open_set
from training.data.bag_plan import Settings
from training.data.bag_topics import Names
from training.data.prepare import main, prepare

B = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name('made_bags.py'))))
WHOLE = Settings(split='train')


def kept(summary, kind='depth'):
    return summary.counts.get(kind, {'train': 0, 'val': 0, 'test': 0})


def pictures(root, split='train'):
    """Stamp -> (image, depth, intrinsics) of what was kept with depth."""
    chosen = open_set(root).pictures(split)
    stamps = [int(name.rsplit('/')[-1]) for name in chosen.names]
    return {stamp: chosen.load(i)[:3] for i, stamp in enumerate(stamps)}


def notes(summary):
    return '\n'.join(note for row in summary.rows for note in row.notes)


def number_of(stamp, rate=2.0):
    return round((stamp - B.START) * rate / B.SECOND)


def split_by_writer(path, storage):
    """Two storage files under one folder, as ros2 bag record splits them."""
    messages = list(B.robot(count=24))
    half = len(messages) // 2
    ending = {'mcap': 'mcap', 'sqlite3': 'db3'}[storage]
    for number, part in enumerate((messages[:half], messages[half:])):
        B.write(path / f'part{number}', part, storage)
        (path / f'part{number}' / f'part{number}.{ending}').rename(
            path / f'bag_{9 + number}.{ending}')
    names = [f'bag_{9 + number}.{ending}' for number in (0, 1)]
    (path / 'metadata.yaml').write_text(json.dumps(
        {'rosbag2_bagfile_information': {'relative_file_paths': names}}))
    return path


STORED = {
    'mcap': ('mcap', CompressionMode.NONE), 'mcap chunks': ('mcap', CompressionMode.STORAGE),
    'mcap messages': ('mcap', CompressionMode.MESSAGE),
    'mcap file': ('mcap', CompressionMode.FILE),
    'sqlite3': ('sqlite3', CompressionMode.NONE),
    'sqlite3 messages': ('sqlite3', CompressionMode.MESSAGE),
    'sqlite3 file': ('sqlite3', CompressionMode.FILE)}


@pytest.mark.parametrize('stored', [*STORED, 'mcap split', 'sqlite3 split'])
def test_every_storage_and_compression_gives_the_same_pictures(stored, tmp_path):
    if stored in STORED:
        bag = B.robot_bag(tmp_path / 'bag', *STORED[stored], count=24)
    else:
        bag = split_by_writer(tmp_path / 'bag', stored.split()[0])
    summary = prepare([bag], tmp_path / 'set', WHOLE)
    assert kept(summary)['train'] == 24 and not notes(summary)
    found = pictures(tmp_path / 'set')
    assert [number_of(stamp) for stamp in found] == list(range(24))
    for stamp, (image, depth, camera) in found.items():
        number = number_of(stamp)
        np.testing.assert_array_equal(image, B.picture(number))
        np.testing.assert_allclose(depth, B.depth(number), rtol=2e-3)
        assert np.isnan(depth[5, 7]) and (camera.fx, camera.cx, camera.cy) == (50.0, 31.5, 23.5)
    assert not (tmp_path / 'set' / '.unpacked').exists()


def test_a_single_file_of_a_bag_will_do(tmp_path):
    bag = B.robot_bag(tmp_path / 'bag', count=6)
    assert kept(prepare([bag / 'bag.mcap'], tmp_path / 'set', WHOLE))['train'] == 6


GREY = cv2.cvtColor(B.picture(0), cv2.COLOR_RGB2GRAY)


@pytest.mark.parametrize('encoding, made', [
    ('bgr8', lambda rgb: rgb[..., ::-1]),
    ('rgba8', lambda rgb: np.dstack([rgb, rgb[..., :1]])),
    ('mono8', lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)),
    ('mono16', lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.uint16) * 257)])
def test_raw_encodings_become_rgb(encoding, made, tmp_path):
    bag = B.robot_bag(tmp_path / 'bag', count=3,
                      rgb=lambda i, t: B.image(t, made(B.picture(i)), encoding))
    assert kept(prepare([bag], tmp_path / 'set', WHOLE))['train'] == 3
    image = pictures(tmp_path / 'set')[B.START][0]
    truth = np.dstack([GREY] * 3) if 'mono' in encoding else B.picture(0)
    np.testing.assert_array_equal(image, truth)


@pytest.mark.parametrize('form, ending', [('jpeg', '.jpg'), ('rgb8; jpeg compressed bgr8', '.jpg'),
                                          ('png', '.png'), ('rgb8; png compressed bgr8', '.png')])
def test_compressed_pictures_are_decoded(form, ending, tmp_path):
    smooth = cv2.GaussianBlur(B.picture(3), (0, 0), 3)
    bag = B.robot_bag(tmp_path / 'bag', count=2, rgb_topic='/camera/image_raw/compressed',
                      rgb=lambda i, t: B.compressed(t, form, B.jpeg(smooth + np.uint8(i), ending)))
    assert kept(prepare([bag], tmp_path / 'set', WHOLE))['train'] == 2
    image = pictures(tmp_path / 'set')[B.START][0]
    assert np.abs(image.astype(int) - smooth).mean() < (4 if ending == '.jpg' else 0.1)


def png16(values):
    return cv2.imencode('.png', values)[1].tobytes()


QUANTISED = (100.0 * 101, 1 - 100.0 * 101 / 10)  # as compressed_depth_image_transport: 100, 10 m


def quantised(metres):
    a, b = QUANTISED
    values = np.where(np.isnan(metres), 0, a / np.nan_to_num(metres, nan=1.0) + b)
    return np.array([0], '<i4').tobytes() + np.array(QUANTISED, '<f4').tobytes() + png16(
        values.astype(np.uint16))


@pytest.mark.parametrize('made', [
    lambda t, m: B.image(t, m, '32FC1'),
    lambda t, m: B.image(t, B.millimetres(m), 'mono16'),
    lambda t, m: B.compressed(t, '16UC1; compressedDepth png',
                              bytes(12) + png16(B.millimetres(m))),
    lambda t, m: B.compressed(t, '16UC1; png compressed ', png16(B.millimetres(m))),
    lambda t, m: B.compressed(t, '32FC1; compressedDepth png', quantised(m)),
], ids=['32FC1', 'mono16', 'compressedDepth', 'png', 'quantised'])
def test_every_kind_of_depth_becomes_metres(made, tmp_path):
    bag = B.robot_bag(tmp_path / 'bag', count=3, deep=lambda i, t: made(t, B.depth(i)))
    assert kept(prepare([bag], tmp_path / 'set', WHOLE))['train'] == 3
    for stamp, (_, depth, _) in pictures(tmp_path / 'set').items():
        np.testing.assert_allclose(depth, B.depth(number_of(stamp)), rtol=3e-3)


def test_the_splits_are_blocks_of_time_with_gaps_and_training_reads_them(tmp_path):
    bag = B.robot_bag(tmp_path / 'bag', count=160, rate=4.0)  # 40 s: ten blocks of 4 s
    summary = prepare([bag], tmp_path / 'set')
    counts = kept(summary)
    assert counts['val'] >= 10 and counts['test'] >= 10 and counts['train'] >= 100
    stamps = {split: np.array(list(pictures(tmp_path / 'set', split))) for split in counts}
    for one, other in (('train', 'val'), ('train', 'test'), ('val', 'test')):
        apart = np.abs(stamps[one][:, None] - stamps[other][None]).min()
        assert apart >= 1.0 * B.SECOND  # a quarter of a block
    left = summary.rows[0].tally.left_out
    assert set(left) == {'between blocks of time'} and sum(counts.values()) + left.total() == 160
    config = DataConfig(B.HEIGHT, B.WIDTH, 8, root=str(tmp_path / 'set'))
    for split in counts:
        data = DATASETS['bag'](config, split)
        item = data[0]
        assert item['image'].shape == (3, 48, 64) and item['depth'].dtype == torch.float32
        assert item['source'] == 'bag' and len(data) == (8 if split == 'train' else counts[split])


def test_workers_of_a_loader_read_the_shards_by_themselves(tmp_path):
    bag = B.robot_bag(tmp_path / 'bag', count=30)
    prepare([bag], tmp_path / 'set', WHOLE)
    data = DATASETS['bag'](DataConfig(B.HEIGHT, B.WIDTH, 40, root=str(tmp_path / 'set')))
    loader = DataLoader(data, batch_size=10, num_workers=2)
    names = [name for batch in loader for name in batch['name']]
    assert names == [data[i]['name'] for i in range(40)]
    copy = pickle.dumps(data.pictures)
    assert len(copy) < 20_000
    np.testing.assert_array_equal(pickle.loads(copy).load(3).image, data.pictures.load(3).image)


def test_a_bag_that_is_added_later_meets_the_same_blocks(tmp_path):
    first = B.robot_bag(tmp_path / 'one', count=80)
    second = B.robot_bag(tmp_path / 'two', count=80, rgb=lambda i, t: B.image(
        t, B.picture(1000 + i), 'rgb8'))  # another camera at the same time
    prepare([first], tmp_path / 'set')
    summary = prepare([first, second], tmp_path / 'set')
    assert [row.earlier for row in summary.rows] == [True, False]
    assert summary.rows[0].tally.kept == summary.rows[1].tally.kept
    split_at = {}
    for entry in open_set(tmp_path / 'set').entries:
        assert split_at.setdefault(entry['stamp_ns'], entry['split']) == entry['split']


def test_the_manifest_says_where_each_frame_is_from(tmp_path):
    bag = B.robot_bag(tmp_path / 'kitchen', count=6,
                      rgb=lambda i, t: B.image(t, B.picture(min(i, 4)), 'rgb8'))
    prepare([bag], tmp_path / 'set', WHOLE)
    lines = [json.loads(line) for line in (tmp_path / 'set/manifest.jsonl').open()]
    entries, commits = lines[:6], [line for line in lines if 'commit' in line]
    assert commits and [entry['stamp_ns'] for entry in entries] == [
        B.START + i * B.SECOND // 2 for i in range(6)]
    assert entries[5]['dropped'] == 'seen already'  # the fifth picture came twice
    assert len({entry['checksum'] for entry in entries}) == 5
    for entry in entries[:5]:
        assert entry['bag'].startswith('kitchen-') and entry['topic'] == '/camera/image_raw'
        assert entry['depth_topic'] == '/camera/depth/image_raw'
        records = np.load(tmp_path / 'set' / entry['shard'])
        assert records[entry['row']]['stamp'] == entry['stamp_ns']


def test_blurred_frames_and_those_of_a_robot_that_stands_are_left_out(tmp_path):
    rng = np.random.default_rng(0)
    scene = B.picture(7, 300, 400)

    def rgb(i, t):
        x = 3 * min(i, 20)  # it stands from the 20th picture on
        view = scene[50:98, x:x + 64].copy()
        if i == 12:
            view = cv2.blur(view, (25, 1))
        noisy = view + rng.normal(0, 1.0, view.shape)
        return B.image(t, np.clip(noisy, 0, 255).astype(np.uint8), 'rgb8')

    bag = B.robot_bag(tmp_path / 'bag', count=30, rgb=rgb)
    left = prepare([bag], tmp_path / 'set', Settings(split='train', still=2.5)).rows[0].tally
    assert left.left_out == {'blurred': 1, 'nothing moved': 9} and left.kept['train'] == 20


def test_wide_pictures_are_scaled_with_their_camera(tmp_path):
    bag = B.robot_bag(tmp_path / 'bag', count=2)
    prepare([bag], tmp_path / 'set', Settings(split='train', width=32))
    image, depth, camera = pictures(tmp_path / 'set')[B.START]
    assert image.shape == (24, 32, 3) and depth.shape == (24, 32)
    assert camera.fx == 25.0 and camera.cx == pytest.approx((31.5 + 0.5) / 2 - 0.5)


def test_depth_of_another_camera_is_registered_through_the_static_transforms(tmp_path):
    # f 50, 0.1 m to the right: a wall 2.5 m away moves by 50 * 0.1 / 2.5 = 2 pixels
    def deep(i, t):
        wall = np.full((B.HEIGHT, B.WIDTH), 2500, np.uint16)
        wall[20, 30] = 0
        return B.image(t, wall, '16UC1', 'depth_optical')

    more = [('/camera/depth/camera_info', lambda i, t: B.info(t, frame='depth_optical')),
            ('/tf_static', lambda i, t: None if i else B.transforms(
                t, 'base', 'depth_optical', (0.6, 0, 0))),
            ('/tf_static', lambda i, t: None if i else B.transforms(
                t, 'base', 'camera', (0.5, 0, 0)))]
    bag = B.robot_bag(tmp_path / 'bag', count=3, deep=deep, more=more)
    assert kept(prepare([bag], tmp_path / 'set', WHOLE))['train'] == 3
    _, depth, _ = pictures(tmp_path / 'set')[B.START]
    hole = np.argwhere(np.isnan(depth[:, 2:]))
    assert np.isnan(depth[:, :2]).all() and hole.tolist() == [[20, 30]]  # 30 + 2, less 2
    np.testing.assert_allclose(depth[np.isfinite(depth)], 2.5)


def test_a_lens_with_distortion_is_straightened_with_its_depth(tmp_path):
    d = (-0.2, 0.05, 0.0, 0.0, 0.0)
    bag = B.robot_bag(tmp_path / 'bag', count=2, camera=lambda i, t: B.info(t, d=d))
    prepare([bag], tmp_path / 'set', WHOLE)
    image, depth, camera = pictures(tmp_path / 'set')[B.START]
    k = camera.matrix()
    maps = cv2.initUndistortRectifyMap(k, np.array(d), None, k, (64, 48), cv2.CV_32FC1)
    truth = cv2.remap(B.picture(0), *maps, cv2.INTER_LINEAR)
    assert np.abs(image.astype(int) - truth).mean() < 1.0
    u, v = 10, 8  # a pixel well off the middle shows the depth of where it was in the lens
    assert depth[v, u] == pytest.approx(
        B.depth(0)[round(float(maps[1][v, u])), round(float(maps[0][v, u]))], rel=2e-3)


def test_a_focus_sweep_becomes_stacks_with_the_depth_of_its_last_slice(tmp_path):
    bag = B.sweep_bag(tmp_path / 'bag')
    summary = prepare([bag], tmp_path / 'set', WHOLE)
    assert summary.rows[0].kind == 'focus' and kept(summary, 'focus')['train'] == 10
    data = DATASETS['bag_focus'](DataConfig(48, 64, 10, root=str(tmp_path / 'set')), 'train',
                                 augment=False)
    item = data[0]
    assert data.frames == 4 and item['stack'].shape == (4, 3, 48, 64)
    assert item['focus_distances'].tolist() == B.FOCUS_M
    stacks = open_set(tmp_path / 'set').stacks('train')
    first = stacks.load(0)
    np.testing.assert_allclose(first.depth, B.depth(3), rtol=2e-3)
    assert [cv2.Laplacian(each, cv2.CV_32F).var() for each in first.images] == sorted(
        (cv2.Laplacian(each, cv2.CV_32F).var() for each in first.images), reverse=True)


def test_a_video_knows_the_neighbours_of_each_picture(tmp_path):
    first = B.robot_bag(tmp_path / 'one', count=10, rate=10.0, deep=None)
    late = B.START + 5 * B.SECOND
    second = B.robot_bag(tmp_path / 'two', count=5, rate=10.0, start=late,
                         rgb=lambda i, t: B.image(t, B.picture(50 + i), 'rgb8'))
    prepare([second, first], tmp_path / 'set', WHOLE)
    found = open_set(tmp_path / 'set')
    assert found.kinds == ('depth', 'colour')
    video = found.video('train')
    assert np.bincount(video.runs).tolist() == [10, 5]
    image, camera = video.load(3)
    np.testing.assert_array_equal(image, B.picture(number_of(int(video.stamps[3]), 10.0)))
    assert camera.width == 64


def test_the_command_prints_a_table_and_says_whether_there_is_anything(tmp_path, capsys):
    bag = B.robot_bag(tmp_path / 'bag', count=4)
    assert main([str(bag), '-o', str(tmp_path / 'set'), '--split', 'val', '--max-rate', '1']) == 0
    said = capsys.readouterr().out
    assert 'depth: 0 train, 2 val, 0 test' in said and '2 above the rate' in said
    assert 'Nothing is for train' in said
    assert (tmp_path / 'set/report.txt').read_text().splitlines()[-1] in said
    assert main([str(tmp_path / 'nothing'), '-o', str(tmp_path / 'empty')]) == 1
    assert 'nothing does not exist; give the folder' in capsys.readouterr().out
    assert not (tmp_path / 'empty').exists()


def test_another_width_in_the_same_data_set_is_refused(tmp_path):
    bag = B.robot_bag(tmp_path / 'bag', count=3)
    prepare([bag], tmp_path / 'set', WHOLE)
    with pytest.raises(DataError, match='width 640'):
        prepare([bag], tmp_path / 'set', Settings(width=320))
    with pytest.raises(DataError, match='blocks of'):
        prepare([bag], tmp_path / 'set', Settings(block_seconds=33.0))
    description = tmp_path / 'set/dataset.json'
    text = description.read_text()
    description.write_text(text.replace('"format_version": 1', '"format_version": 9'))
    for use in (lambda: prepare([bag], tmp_path / 'set'), lambda: open_set(tmp_path / 'set')):
        with pytest.raises(DataError, match='of version 9'):
            use()
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other/thesis.txt').write_text('mine')
    with pytest.raises(DataError, match='something that is no data set'):
        prepare([bag], tmp_path / 'other')


@pytest.mark.parametrize('changes', [
    {'hfov_deg': 60.0}, {'depth_scale': 0.002}, {'registered': True}, {'max_rate': 1.0},
    {'blur': 0.0}, {'still': 2.0}, {'tolerance': 0.05}, {'slices': 4},
    {'names': Names(info='/other/camera_info')}])
def test_a_bag_that_is_there_with_other_settings_is_refused(changes, tmp_path):
    bag = B.robot_bag(tmp_path / 'bag', count=4, more=[
        ('/other/camera_info', lambda i, t: B.info(t, focal=70.0))])
    prepare([bag], tmp_path / 'set', WHOLE)
    name, = changes
    said = f"holds bag with {name.replace('names', 'topics')} .*name another folder with -o"
    with pytest.raises(DataError, match=said):
        prepare([bag], tmp_path / 'set', replace(WHOLE, **changes))
    assert prepare([bag], tmp_path / 'set', WHOLE).rows[0].earlier


def test_a_run_does_not_go_on_with_other_settings_than_it_was_begun_with(tmp_path, monkeypatch):
    bag = B.robot_bag(tmp_path / 'bag', count=8)
    other = B.robot_bag(tmp_path / 'other', count=4, start=B.START - 60 * B.SECOND)
    saved = bag_writer._save

    def interrupted(path, records):
        if path.stem.endswith('00001'):
            raise KeyboardInterrupt
        saved(path, records)

    monkeypatch.setattr(bag_writer, 'VIEWS_PER_SHARD', 3)
    monkeypatch.setattr(bag_writer, '_save', interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare([bag], tmp_path / 'set', WHOLE)
    monkeypatch.setattr(bag_writer, '_save', saved)
    with pytest.raises(DataError, match='holds bag with still 0.6, and now it is 0.0'):
        prepare([other, bag], tmp_path / 'set', replace(WHOLE, still=0.0))
    assert len(open_set(tmp_path / 'set').entries) == 3  # the other bag was not begun either
    summary = prepare([bag.rename(tmp_path / 'moved')], tmp_path / 'set', WHOLE)
    assert kept(summary)['train'] == 8 and summary.rows[0].tally.pictures == 8


def test_a_recording_is_of_one_split_whatever_its_folder_topics_and_camera_are_called(tmp_path):
    rear = ('/rear/image_raw', lambda i, t: B.image(t, B.picture(70 + i), 'rgb8', 'rear'))
    front = replace(WHOLE, max_rate=1.0, names=Names(image='/camera/image_raw'))
    bag = B.robot_bag(tmp_path / 'bag', count=8, more=[rear])
    assert kept(prepare([bag], tmp_path / 'set', front))['train'] == 4  # and 4 could leak
    copy = shutil.copytree(bag, tmp_path / 'copy')
    assert prepare([copy], tmp_path / 'set', front).rows[0].earlier
    mapped = {'maps': ('/camera:=/eye',), 'names': Names(image='/eye/image_raw')}
    for path, changes in ((bag, {}), (copy, {}), (bag, mapped),
                          (bag, {'names': Names(image='/rear/image_raw')})):
        with pytest.raises(DataError, match="with split 'train', and now it is 'val'"):
            prepare([path], tmp_path / 'set', replace(front, split='val', **changes))


def test_a_run_of_which_no_bag_can_be_used_decides_nothing(tmp_path):
    bag = B.robot_bag(tmp_path / 'bag', count=100)
    typo = Settings(names=Names(image='/camera/image_rwa'))
    for wrong, asked in ((tmp_path / 'bug', Settings()), (bag, typo)):
        summary = prepare([wrong], tmp_path / 'set', asked)
        assert not summary.counts and len(summary.rows) == 1 and notes(summary)
    assert not (tmp_path / 'set').exists()
    prepare([bag], tmp_path / 'set')
    description = json.loads((tmp_path / 'set/dataset.json').read_text())
    assert description['settings']['block_seconds'] == pytest.approx(4.95)  # 99 steps of 0.5 s
    assert kept(prepare([tmp_path / 'bug'], tmp_path / 'set'))['train'] > 50  # what is there


def test_a_bag_for_which_the_blocks_of_the_data_set_are_short_is_told_of(tmp_path):
    first = B.robot_bag(tmp_path / 'one', count=5)
    second = B.robot_bag(tmp_path / 'two', count=25, rate=0.4, rgb=lambda i, t: B.image(
        t, B.picture(100 + i), 'rgb8'))
    prepare([first], tmp_path / 'set')
    said = 'blocks of 6 s would fit it, and the data set has some of 2 s'
    assert said in notes(prepare([second], tmp_path / 'set'))
    assert 'would fit' not in notes(prepare([first, second], tmp_path / 'both'))


def test_a_gap_that_is_given_again_alone_is_no_change(tmp_path):
    bag = B.robot_bag(tmp_path / 'bag', count=100)
    prepare([bag], tmp_path / 'set', Settings(gap_seconds=3.0))
    short = B.robot_bag(tmp_path / 'short', count=3)
    prepare([short], tmp_path / 'set', Settings(gap_seconds=3.0))  # its own blocks would be 2 s
    with pytest.raises(DataError, match='gaps of 3 s'):
        prepare([bag], tmp_path / 'set', Settings(gap_seconds=2.5))


@pytest.mark.parametrize('changes', [{'split': 'dev'}, {'width': -1}, {'hfov_deg': 200.0},
                                     {'tolerance': float('nan')}])
def test_settings_that_cannot_work_are_refused(changes):
    with pytest.raises(DataError):
        Settings(**changes)


def test_topics_can_be_named(tmp_path):
    second = ('/rear/image_raw', lambda i, t: B.image(t, B.picture(70 + i), 'rgb8', 'rear'))
    bag = B.robot_bag(tmp_path / 'bag', count=2, deep=None, more=[second])
    summary = prepare([bag], tmp_path / 'none', WHOLE)
    assert '/camera/image_raw, /rear/image_raw; choose one with --image-topic' in notes(summary)
    chosen = Settings(split='train', hfov_deg=90.0, names=Names(image='/rear/image_raw'))
    prepare([bag], tmp_path / 'set', chosen)
    image, camera = open_set(tmp_path / 'set').video('train').load(0)
    np.testing.assert_array_equal(image, B.picture(70))
    assert camera.fx == pytest.approx(32.0)
    front = Settings(split='train', names=Names(image='/camera/image_raw'))
    assert kept(prepare([bag], tmp_path / 'set', front), 'colour')['train'] == 4  # both cameras


@pytest.mark.parametrize('order', ['info first', 'picture first', 'no depth'])
def test_a_camera_that_zooms_keeps_its_frames_and_their_focal_lengths_together(order, tmp_path):
    def camera(i, t):
        return B.info(t, focal=50.0 if i < 7 else 80.0)

    last = {'camera': None, 'more': [('/camera/camera_info', camera)]}  # as image_transport does
    none = {'deep': None} if order == 'no depth' else {}
    parts = {'camera': camera} if order == 'info first' else last | none
    bag = B.robot_bag(tmp_path / 'bag', count=12, **parts)
    prepare([bag], tmp_path / 'set', WHOLE)
    frames = open_set(tmp_path / 'set').video('train')
    focal = [frames.load(i)[1].fx for i in range(len(frames.names))]
    assert focal == [50.0] * 7 + [80.0] * 5


def test_of_a_camera_info_that_came_once_all_frames_have_it(tmp_path):
    bag = B.robot_bag(tmp_path / 'bag', count=30,
                      camera=lambda i, t: None if i != 4 else B.info(t))
    summary = prepare([bag], tmp_path / 'set', WHOLE)
    assert kept(summary)['train'] == 30
    assert [number_of(stamp) for stamp in pictures(tmp_path / 'set')] == list(range(30))


def test_a_sweep_that_begins_in_another_split_is_left_out(tmp_path):
    # 4 s a sweep, the first of which lies between 3 and 6 s of a block of 8 s
    bag = B.sweep_bag(tmp_path / 'bag', 25, 1.0, B.START + 3 * B.SECOND)
    summary = prepare([bag], tmp_path / 'set', Settings(block_seconds=8.0, gap_seconds=1.5))
    assert min(kept(summary, 'focus').values()) >= 1
    shown = {}  # by split, when its slices were taken
    for entry in open_set(tmp_path / 'set').entries:
        shown.setdefault(entry['split'], []).extend(
            entry['stamp_ns'] - i * B.SECOND for i in range(4))
    for one, other in (('train', 'val'), ('train', 'test')):
        assert np.abs(np.subtract.outer(shown[one], shown[other])).min() >= 1.5 * B.SECOND
