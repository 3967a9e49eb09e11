from __future__ import annotations

import numpy as np
import pytest

from depth_perception.focus_stack import FocusError
from depth_perception.focus_sweep import FixedSweep, check_distances

PERIOD_NS = 100_000_000


@pytest.mark.parametrize(('distances', 'text'), [
    ([1.0], 'at least two'), ([], 'no distance'), ([0.5, 0.0], 'above 0'),
    ([0.5, 2.0, 0.502], 'give each once')])
def test_a_list_of_distances_must_be_a_sweep(distances, text):
    with pytest.raises(FocusError, match=text):
        check_distances(distances)


def test_a_fixed_sweep_counts_through_its_distances():
    sweep = FixedSweep((0.5, 1.0, 2.0))
    given_out = [sweep.distance(PERIOD_NS * number) for number in range(7)]
    assert given_out == [0.5, 1.0, 2.0, 0.5, 1.0, 2.0, 0.5]


@pytest.mark.parametrize('number', [4, 9, 40])
def test_a_fixed_sweep_is_lost_after_a_gap_until_it_is_restarted(number):
    sweep = FixedSweep((0.5, 1.0))
    stamps = [PERIOD_NS * index for index in range(number)]
    assert None not in [sweep.distance(each) for each in stamps]
    late = stamps[-1] + round(1.6 * PERIOD_NS)
    assert sweep.distance(late) is None
    assert '0.160 s lie between two images that come every 0.100 s' in sweep.lost
    assert sweep.distance(late + PERIOD_NS) is None
    sweep.restart()
    assert sweep.distance(late + 2 * PERIOD_NS) == 0.5 and sweep.lost == ''


def test_a_fixed_sweep_forgives_what_a_clock_jitters():
    sweep = FixedSweep((0.5, 1.0))
    steps = np.random.default_rng(0).uniform(0.75, 1.1, 200)
    stamps = np.cumsum(steps * PERIOD_NS).astype(int).tolist()
    assert None not in [sweep.distance(each) for each in stamps]


def test_a_gap_right_after_the_start_is_found_as_soon_as_the_period_is_known():
    sweep = FixedSweep((0.5, 1.0))
    stamps = [0, 2 * PERIOD_NS, 3 * PERIOD_NS, 4 * PERIOD_NS]
    assert [sweep.distance(each) for each in stamps] == [0.5, 1.0, 0.5, None]


def test_a_fixed_sweep_is_lost_when_time_jumps_back():
    sweep = FixedSweep((0.5, 1.0))
    sweep.distance(PERIOD_NS)
    assert sweep.distance(0) is None and 'back' in sweep.lost
