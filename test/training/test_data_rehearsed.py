from __future__ import annotations

from collections import Counter

import pytest

from training.data import DATASETS, DataConfig, DataError
from training.data import rehearsed as module
from training.data.rehearsed import Rehearsed, build_rehearsed


class Side:
    """A training set whose items say who they are."""

    def __init__(self, name):
        self.sources, self.epoch = [name], 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __getitem__(self, index):
        return {'source': self.sources[0], 'name': f'{self.epoch}/{index}'}


@pytest.fixture
def sides():
    return Side('new'), Side('old')


def config(**changes):
    return DataConfig(**({'samples_per_epoch': 2000, 'seed': 3} | changes))


def test_a_share_of_the_items_is_rehearsed_the_same_ones_in_each_run(sides):
    data = Rehearsed(*sides, config(), 0.3)
    drawn = [data[i]['source'] for i in range(2000)]
    assert Counter(drawn)['old'] == pytest.approx(600, abs=60)
    again = Rehearsed(*sides, config(), 0.3)
    assert [again[i]['source'] for i in range(2000)] == drawn
    assert data.sources == ['new', 'old']


def test_both_sides_draw_anew_in_another_epoch(sides):
    data = Rehearsed(*sides, config(), 0.5)
    data.set_epoch(4)
    assert {data[i]['name'] for i in range(20)} == {f'4/{i}' for i in range(20)}


def test_only_training_is_mixed(sides, monkeypatch):
    monkeypatch.setattr(module.mixed, 'build', lambda config, split, augment: sides[1])
    asked = []

    def build(config, split, augment):
        asked.append((split, config.options, config.root))
        return sides[0]

    options = {'dataset': 'robot', 'share': 0.5, 'options': {'a': 1}}
    data = build_rehearsed({'robot': build}, config(options=options, root='r'), 'train')
    assert isinstance(data, Rehearsed)
    assert build_rehearsed({'robot': build}, config(options=options, root='r'), 'val') is sides[0]
    assert asked == [('train', {'a': 1}, 'r'), ('val', {'a': 1}, 'r')]


@pytest.mark.parametrize(('options', 'message'), [
    ({'dataset': 'nowhere'}, "data set 'nowhere'; choose one of robot"),
    ({'dataset': 'robot', 'share': 0}, 'share is 0'),
    ({'dataset': 'robot', 'share': 'much'}, 'must be a number'),
    ({'dateset': 'robot'}, "nearest known is 'dataset'"),
])
def test_wrong_options_are_refused(options, message):
    with pytest.raises(DataError, match=message):
        build_rehearsed({'robot': None}, config(options=options))


def test_it_is_registered():
    assert DATASETS['rehearsed'].func is build_rehearsed
