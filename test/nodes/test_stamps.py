"""Gaps, jumps and pairs, by stamps alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import pytest
from std_msgs.msg import Header

from depth_perception.nodes._stamps import StampMonitor, StampPairer, StampStep, stamp_ns

MS = 1_000_000
TOLERANCE = 20 * MS


def feed(monitor, *stamps_ms):
    return [monitor.step(stamp * MS) for stamp in stamps_ms]


def test_a_stamp_is_counted_in_nanoseconds():
    header = Header()
    header.stamp.sec, header.stamp.nanosec = 2, 5
    assert stamp_ns(header) == 2_000_000_005


def test_frames_that_are_missing_are_counted_by_the_usual_period():
    monitor = StampMonitor()
    feed(monitor, *range(0, 330, 33))
    assert monitor.step((297 + 4 * 33) * MS) == StampStep(False, 3)


def test_jitter_below_half_a_period_is_no_gap():
    monitor = StampMonitor()
    feed(monitor, *range(0, 330, 33))
    assert monitor.step((297 + 48) * MS) == StampStep(False, 0)


def test_a_jump_back_is_told_once_and_the_period_is_learnt_anew():
    monitor = StampMonitor()
    feed(monitor, *range(1000, 1330, 33))
    steps = feed(monitor, 0, 200, 400, 600)
    assert [step.jumped_back for step in steps] == [True, False, False, False]
    assert not any(step.missing for step in steps)


def test_equal_stamps_mean_nothing():
    assert feed(StampMonitor(), 5, 5, 5) == [StampStep(False, 0)] * 3


def pairs(pairer, *events):
    """Events are (side, stamp in ms); the message is the stamp itself."""
    added = [pairer.add(side, stamp * MS, stamp, TOLERANCE) for side, stamp in events]
    return [pair for pair in added if pair is not None]


def test_equal_stamps_are_a_pair_whichever_comes_first():
    assert pairs(StampPairer(10), (0, 5), (1, 5), (1, 9), (0, 9)) == [(5, 5), (9, 9)]


def test_a_difference_beyond_the_tolerance_is_no_pair_and_is_measured():
    pairer = StampPairer(10)
    assert pairs(pairer, (0, 100), (1, 121)) == []
    assert pairer.nearest_gap_ns == 21 * MS
    assert pairs(pairer, (0, 130)) == [(130, 121)]


def test_late_depth_finds_the_picture_that_waited():
    images = [(0, stamp) for stamp in range(0, 330, 33)]
    assert pairs(StampPairer(30), *images, (1, 66), (1, 99)) == [(66, 66), (99, 99)]


def test_a_fast_cameras_neighbour_frame_is_not_taken_for_the_partner():
    """At 100 Hz the next frame lies within the tolerance, and depth arrives before its image."""
    events = [event for stamp in range(0, 200, 10) for event in ((1, stamp), (0, stamp))]
    # the image of 100 ms is lost: its depth must not marry the image of 110
    events.remove((0, 100))
    found = pairs(StampPairer(30), *events)
    assert [pair for pair in found if pair[0] != pair[1] and pair[0] > 100] == []
    assert (110, 110) in found and (190, 190) in found


def test_no_more_than_the_size_waits():
    images = [(0, 40 * number) for number in range(10)]
    assert pairs(StampPairer(3), *images, (1, 0)) == []


def test_pairing_goes_on_after_both_sides_jumped_back():
    before = [event for stamp in range(1000, 1400, 40) for event in ((0, stamp), (1, stamp))]
    after = [event for stamp in range(0, 400, 40) for event in ((0, stamp), (1, stamp))]
    waiting = [(0, 1400), (0, 1440)]
    found = pairs(StampPairer(3), *before, *waiting, *after)
    assert found[-10:] == [(stamp, stamp) for stamp in range(0, 400, 40)]


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 400)), max_size=60))
@pytest.mark.filterwarnings('ignore')
def test_pairs_are_within_the_tolerance_and_no_message_is_used_twice(events):
    numbered = [(side, stamp, number) for number, (side, stamp) in enumerate(events)]
    pairer, used = StampPairer(10), []
    for side, stamp, number in numbered:
        pair = pairer.add(side, stamp * MS, (stamp, number), TOLERANCE)
        if pair is not None:
            assert abs(pair[0][0] - pair[1][0]) <= 20
            used += [each[1] for each in pair]
    assert len(used) == len(set(used))


def test_messages_that_are_given_up_for_want_of_a_partner_are_counted():
    pairer = StampPairer(3)
    for stamp in (10, 20, 30, 40):      # the first finds no room
        assert pairer.add(0, stamp, stamp, 0) is None
    assert pairer.unmatched == [1, 0]
    assert pairer.add(1, 30, 'partner', 0) == (30, 'partner')
    assert pairer.unmatched == [2, 0]   # 20 is older than the pair
    pairer.add(1, 35, 'nobody', 0)
    assert pairer.add(1, 40, 'partner', 0) == (40, 'partner')
    assert pairer.unmatched == [2, 1]
