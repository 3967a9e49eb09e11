from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from depth_perception.focus_stack import (
    FocusError,
    Slice,
    StackAssembler,
    StackRules,
    check_distance,
    check_f_number,
    newest,
    same_focus,
)

FIVE = (0.5, 0.65, 0.9, 1.5, 5.0)
PERIOD_NS = 100_000_000
IMAGE = np.zeros((4, 6, 3), np.uint8)


class Camera:
    """Feeds an assembler with slices, 0.1 s apart."""

    def __init__(self, size=5, **rules):
        self.assembler = StackAssembler(StackRules(size, **rules))
        self.stamp = 0

    def add(self, distance, step=1.0, **values):
        self.stamp += round(step * PERIOD_NS)
        values = {'image': IMAGE, 'f_number': 2.8, **values}
        return self.assembler.add(Slice(self.stamp, distance, **values))

    def sweep(self, *distances):
        """Distances of the stacks that came out, and the reasons of restarts."""
        added = [self.add(each) for each in distances]
        return ([[each.distance_m for each in one.stack] for one in added if one.stack],
                [one.restart.reason for one in added if one.restart])


def test_a_stack_is_complete_with_its_last_slice_and_sorted_from_near_to_far():
    camera = Camera()
    assert camera.sweep(*FIVE[:4]) == ([], [])
    assert camera.sweep(5.0) == ([list(FIVE)], [])
    assert camera.sweep(1.5, 0.5, 5.0, 0.65) == ([], [])
    assert camera.sweep(0.9) == ([list(FIVE)], [])
    assert camera.assembler.complete == FIVE
    assert camera.assembler.slices == []


@given(st.lists(st.permutations(FIVE), min_size=6, max_size=6))
def test_in_whatever_order_a_camera_sweeps_whole_stacks_come_out(sweeps):
    stacks, restarts = Camera().sweep(*[each for sweep in sweeps for each in sweep])
    assert 2 <= len(stacks) <= 6 and restarts == []
    assert stacks == [list(FIVE)] * len(stacks)


@pytest.mark.parametrize('order', [FIVE, FIVE[::-1]])
@pytest.mark.parametrize('first', range(5))
def test_wherever_one_comes_in_stacks_end_with_sweeps_from_the_first_turn_on(order, first):
    camera = Camera()
    camera.sweep(*order[first:])
    for _ in range(3):
        assert camera.sweep(*order[:-1]) == ([], [])
        assert camera.sweep(order[-1]) == ([list(FIVE)], [])


def test_after_a_gap_was_filled_stacks_end_with_sweeps_again():
    camera = Camera()
    camera.sweep(*FIVE)
    camera.sweep(0.5, 0.65, 1.5, 5.0)
    assert camera.sweep(0.5, 0.65, 0.9)[0] == [list(FIVE)]      # 0.9 m filled the gap
    camera.sweep(1.5, 5.0)
    assert camera.sweep(*FIVE[:-1]) == ([], [])
    assert camera.sweep(5.0) == ([list(FIVE)], [])


def test_a_camera_that_sweeps_to_and_fro_gives_a_stack_each_way():
    camera = Camera()
    to_and_fro = (*FIVE, *FIVE[-2:0:-1])
    stacks, restarts = camera.sweep(*to_and_fro * 4)
    assert len(stacks) >= 4 and restarts == []


def test_of_one_focus_distance_the_newest_image_counts():
    camera = Camera(size=2)
    camera.add(1.0)
    camera.add(1.004)       # the same position of the lens, read back a little differently
    newer = camera.stamp
    stack = camera.add(2.0).stack
    assert [each.stamp_ns for each in stack] == [newer, camera.stamp]
    assert newest(stack).distance_m == 2.0


def test_a_camera_that_dwells_at_each_distance_gives_one_stack_a_sweep():
    camera = Camera(size=3, missing='discard')
    twice = [each for each in (0.5, 1.0, 2.0) for _ in range(2)]
    stacks, restarts = camera.sweep(*twice, *twice)
    assert len(stacks) == 2 and restarts == []


def test_a_sliding_stack_comes_with_every_slice_once_it_is_full():
    camera = Camera(size=3, assembly='sliding')
    stacks, _ = camera.sweep(0.5, 1.0, 2.0, 0.5, 1.0)
    assert stacks == [[0.5, 1.0, 2.0]] * 3
    # a sweep over other distances pushes the oldest slices out
    assert camera.sweep(2.1)[0] == [[0.5, 1.0, 2.1]]


@pytest.mark.parametrize(('missing', 'stacks', 'restarts'), [
    ('wait', [[0.5, 1.0, 2.0]], []),
    ('discard', [[0.5, 1.0, 2.0]], ['sweep incomplete']),
    ('shorten', [[0.5, 2.0], [0.5, 1.0, 2.0]], [])])
def test_a_sweep_with_a_missing_slice_is_completed_thrown_away_or_shortened(
        missing, stacks, restarts):
    camera = Camera(size=3, missing=missing)
    camera.sweep(0.5, 1.0, 2.0)         # now it is known where sweeps begin
    assert camera.sweep(0.5, 2.0, 0.5, 1.0, 2.0) == (stacks, restarts)
    assert camera.sweep(0.5, 1.0, 2.0) == ([[0.5, 1.0, 2.0]], [])


def test_a_stack_is_not_shortened_below_what_the_model_takes():
    camera = Camera(size=4, fewest=3, missing='shorten')
    camera.sweep(0.5, 0.8, 1.0, 2.0)
    assert camera.sweep(0.5, 2.0, 0.5) == ([], ['sweep incomplete'])


def test_one_focus_distance_alone_never_makes_a_stack():
    camera = Camera(size=2)
    assert camera.sweep(*[1.0] * 20) == ([], [])
    assert len(camera.assembler.slices) == 1


def test_a_sweep_over_more_distances_than_a_stack_has_is_refused_from_then_on():
    camera = Camera(size=3)
    four = (0.5, 0.7, 1.0, 2.0)
    camera.sweep(*four)
    stacks, restarts = camera.sweep(*four, *four)
    assert stacks == [] and set(restarts) == {'sweep too long'}
    camera.sweep(0.5, 0.7, 1.0)
    assert camera.sweep(0.5, 0.7, 1.0)[0] == [[0.5, 0.7, 1.0]]


def test_slices_older_than_the_timeout_do_not_count():
    camera = Camera(size=3, timeout_s=0.25)
    assert camera.sweep(0.5, 1.0, 2.0) == ([[0.5, 1.0, 2.0]], [])
    camera.sweep(0.5, 1.0)
    added = camera.add(2.0, step=2.0)           # 0.3 s after the first, 0.2 s after the second
    assert not added.stack and added.restart.reason == 'timeout'
    assert '1 slices are older than 0.25 s' in added.restart.text
    assert [each.distance_m for each in camera.assembler.slices] == [1.0, 2.0]


@pytest.mark.parametrize(('values', 'reason', 'text'), [
    ({'image': np.zeros((8, 6, 3), np.uint8)}, 'size', 'after 6x4 came 6x8'),
    ({'f_number': 4.0}, 'settings', 'from 2.8 to 4.0'),
    ({'f_number': None}, 'settings', 'from 2.8 to None'),
    ({'kind': 'bgr'}, 'settings', 'camera changed'),
    ({'step': -0.5}, 'time', 'jumped back')])
def test_what_cannot_be_of_one_stack_starts_it_anew(values, reason, text):
    camera = Camera(size=2)
    camera.add(0.5)
    added = camera.add(1.0, **values)
    assert not added.stack
    assert added.restart.reason == reason and text in added.restart.text
    values.pop('step', None)
    assert [each.distance_m for each in camera.add(2.0, **values).stack] == [1.0, 2.0]


def test_a_camera_that_moved_starts_a_stack_anew_also_when_it_drifts():
    def moved(first, second):
        return abs(int(first.image[0, 0, 0]) - int(second.image[0, 0, 0])) > 2

    camera = Camera(size=3, moved=moved)
    for place, distance in enumerate((0.5, 1.0)):
        assert camera.add(distance, image=np.full_like(IMAGE, 2 * place)).restart is None
    # 2 from the last one, but 4 from the first
    added = camera.add(2.0, image=np.full_like(IMAGE, 4))
    assert added.restart.reason == 'moved' and not added.stack
    assert [each.distance_m for each in camera.assembler.slices] == [2.0]


@pytest.mark.parametrize('distance', [0.0, -1.0, math.nan])
def test_a_distance_that_is_none_is_refused(distance):
    with pytest.raises(FocusError, match='must be above 0'):
        check_distance(distance)


def test_no_lens_focuses_inside_its_focal_length_and_every_one_at_infinity():
    with pytest.raises(FocusError, match='0.04 m; it must be beyond the focal length of 0.05 m'):
        check_distance(0.04, 0.05)
    check_distance(0.051, 0.05)
    check_distance(math.inf, 0.05)


@pytest.mark.parametrize('f_number', [0.0, -2.8, math.nan])
def test_an_f_number_must_be_above_zero(f_number):
    with pytest.raises(FocusError, match='f-number'):
        check_f_number(f_number)
    check_f_number(None)
    check_f_number(math.inf)


@given(st.floats(0.1, 100.0))
def test_focus_is_the_same_within_a_hundredth_of_its_dioptres(distance):
    assert same_focus(distance, distance * 1.005)
    assert not same_focus(distance, distance * 1.02)
    assert not same_focus(distance, math.inf)
