"""splits.yaml: complete, disjoint, and refused where training asks for test data."""
from __future__ import annotations

import pytest

from training.data.real import READERS
from training.data.splits import Entry, SplitError, Splits, check_disjoint, load_splits

SENSORS_NEVER_TRAINED_ON = {'xtion', 'realsense_sr300', 'realsense_f200', 'middlebury_2014'}


def entry(name='a', split='train', **fields):
    return Entry(name, split, 'procedural_rooms', 'synthetic', 'renderer', 'row', 'why', **fields)


def test_the_file_names_every_scene_of_the_issue_in_its_split():
    splits = load_splits()
    assert {e.split for e in splits.entries.values() if e.dataset == 'mitsuba_rooms'} == {'test'}
    assert len([e for e in splits.entries.values() if e.dataset == 'mitsuba_rooms']) == 8
    assert splits.entry('skimage_motorcycle').split == 'test'
    assert splits.entry('aws_hospital_test').world not in {
        e.world for e in splits.select('train', 'aws_robomaker_worlds')}


def test_the_last_quarter_of_the_real_sequence_is_test_and_the_frames_join_up():
    splits = load_splits()
    ranges = [splits.entry(f'tum_fr1_rpy_{part}').frames for part in ('train', 'val', 'test')]
    assert ranges == [(0, 143), (144, 179), (180, 239)]
    assert splits.entry('tum_fr1_rpy_test').row == 'same room'


def test_whole_sensors_appear_in_test_alone():
    splits = load_splits()
    seen = {e.sensor for e in splits.entries.values() if e.split != 'test'}
    held_out = {e.sensor for e in splits.select('test')}
    assert held_out >= SENSORS_NEVER_TRAINED_ON
    assert not SENSORS_NEVER_TRAINED_ON & seen


def test_seeds_of_rooms_and_close_scenes_are_disjoint():
    splits = load_splits()
    seeds = [set(range(e.seeds[0], e.seeds[1] + 1, 100)) | {e.seeds[1]}
             for e in splits.entries.values() if e.seeds]
    assert len(seeds) == 7 and len(set.union(*seeds)) == sum(len(s) for s in seeds)


def test_every_stored_data_set_has_a_reader():
    rendered = {'procedural_rooms', 'procedural_closeups', 'aws_robomaker_worlds', 'mitsuba_rooms'}
    named = {e.dataset for e in load_splits().entries.values()}
    assert named - rendered == set(READERS)


def test_furniture_is_split_by_name_into_about_a_quarter_and_the_rest():
    splits = load_splits()
    sides = [splits.furniture_split(f'chair{i}.glb') for i in range(1000)]
    assert 200 < sides.count('test') < 300
    # First bytes by sha256sum: 'table.glb' 3c, 'plant.glb' ef; modulo 4, 0 is test.
    assert splits.furniture_split('table.glb') == 'test'
    assert splits.furniture_split('plant.glb') == 'train'


def test_a_test_entry_is_refused_in_training_with_its_name_and_the_choices():
    with pytest.raises(SplitError, match='aws_hospital_test.*is a test entry.*procedural_train'):
        load_splits().require('aws_hospital_test', 'train')


def test_a_name_outside_the_file_is_refused():
    with pytest.raises(SplitError, match='not in splits.yaml'):
        load_splits().require('my_own_pictures', 'train')


def test_overlapping_seeds_of_two_splits_are_refused():
    entries = [entry('a', seeds=(0, 10)), entry('b', 'test', seeds=(10, 20))]
    with pytest.raises(SplitError, match='a .train. and b .test. overlap'):
        check_disjoint(Splits({e.name: e for e in entries}, 4, (0,)))


def test_ranges_side_by_side_do_not_overlap():
    entries = [entry('a', seeds=(0, 9)), entry('b', 'test', seeds=(10, 20))]
    check_disjoint(Splits({e.name: e for e in entries}, 4, (0,)))


@pytest.mark.parametrize('fields, message', [
    ({'split': 'training'}, 'split is'), ({'seeds': (5, 1)}, 'seeds is'),
])
def test_a_wrong_entry_is_refused(fields, message):
    with pytest.raises(SplitError, match=message):
        entry(**fields)


def test_an_unknown_key_in_the_file_is_refused(tmp_path):
    file = tmp_path / 'splits.yaml'
    file.write_text(
        'format_version: 1\nfurniture_split: {modulo: 4, test_remainders: [0]}\n'
        'entries: {a: {split: train, dataset: d, kind: real, sensor: s, row: r, why: w, sed: 1}}')
    with pytest.raises(SplitError, match='sed'):
        load_splits(file)
