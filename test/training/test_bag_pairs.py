"""Pairing by stamp: what holds for any two streams, and what clocks do."""
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import pytest

from training.data.bag_pairs import NS_PER_S, Pairer

STAMPS = st.lists(st.integers(0, 400), max_size=25).map(sorted)


def run(first, second, tolerance, order=None, **limits):
    """Pair two lists of stamps; messages are (side, number). Returns events and the pairer."""
    pairer, events = Pairer(tolerance, **limits), []
    arrivals = [(stamp, side, (side, i)) for side, stamps in enumerate((first, second))
                for i, stamp in enumerate(stamps)]
    for stamp, side, message in order or sorted(arrivals):
        events += pairer.add(side, stamp, message, size=1)
    return [*events, *pairer.finish()], pairer


def nearest(stamp, others):
    """The number of the only nearest of others; None where there are two, or none."""
    gaps = sorted((abs(stamp - other), i) for i, other in enumerate(others))
    tie = len(gaps) > 1 and gaps[0][0] == gaps[1][0]
    return None if tie or not gaps else gaps[0][1]


@given(STAMPS, STAMPS, st.integers(0, 40))
def test_pairs_are_near_in_order_and_used_once(a, b, tolerance):
    events, pairer = run(a, b, tolerance)
    pairs = [(x[1], y[1]) for x, y in events if y is not None]
    assert all(abs(a[i] - b[j]) <= tolerance for i, j in pairs)
    assert pairs == sorted(pairs) and len({j for _, j in pairs}) == len(pairs)
    assert sorted(x[1] for x, _ in events) == list(range(len(a)))  # every picture comes out once
    assert pairer.alone == [len(a) - len(pairs), len(b) - len(pairs)]


@given(STAMPS, STAMPS, st.integers(0, 40))
def test_two_that_are_each_others_nearest_are_always_paired(a, b, tolerance):
    events, _ = run(a, b, tolerance)
    pairs = {(x[1], y[1]) for x, y in events if y is not None}
    for i, stamp in enumerate(a):
        j = nearest(stamp, b)
        if j is not None and nearest(b[j], a) == i and abs(stamp - b[j]) <= tolerance:
            assert (i, j) in pairs


@given(st.lists(st.integers(-14, 14), min_size=1, max_size=30), st.integers(15, 60))
def test_jitter_below_half_a_period_never_breaks_a_pair(jitter, tolerance):
    a = [33 * i for i in range(len(jitter))]
    events, _ = run(a, [x + j for x, j in zip(a, jitter)], tolerance)
    assert [(x[1], y[1]) for x, y in events] == [(i, i) for i in range(len(a))]


@given(STAMPS, STAMPS, st.integers(0, 40), st.integers(0, 300))
def test_it_does_not_matter_how_late_one_side_arrives(a, b, tolerance, delay):
    arrivals = sorted([(x, 0, x, (0, i)) for i, x in enumerate(a)]
                      + [(x + delay, 1, x, (1, i)) for i, x in enumerate(b)])
    late, _ = run(a, b, tolerance, order=[arrival[2:3] + arrival[1:2] + arrival[3:]
                                          for arrival in arrivals])
    assert late == run(a, b, tolerance)[0]


def test_the_nearer_of_two_pictures_gets_the_depth():
    events, pairer = run([0, 30, 60], [28], 50)
    assert events == [((0, 0), None), ((0, 1), (1, 0)), ((0, 2), None)]
    assert pairer.alone == [2, 0]


def test_a_clock_that_goes_back_starts_anew_and_is_counted():
    second = NS_PER_S
    order = [(at * second, side, (side, i)) for i, at in enumerate([100, 101, 7, 8])
             for side in (0, 1)]
    events, pairer = run([], [], 5, order=order)
    assert [(x[1], y and y[1]) for x, y in events] == [(0, 0), (1, 1), (2, None), (3, 3)]
    assert pairer.jumps == [1, 1]


def test_messages_that_overtake_each_other_are_put_in_order():
    order = [(10, 0, 'a10'), (30, 0, 'a30'), (20, 0, 'a20'), (10, 1, 'b10'), (20, 1, 'b20'),
             (30, 1, 'b30')]
    events, pairer = run([], [], 1, order=order)
    assert events == [('a10', 'b10'), ('a20', 'b20'), ('a30', 'b30')] and pairer.jumps == [0, 0]


def test_what_waits_is_bounded_and_comes_out_alone():
    pairer = Pairer(1, most_bytes=50)
    events = [event for i in range(100) for event in pairer.add(0, i * 100, i, size=10)]
    assert [x for x, _ in events] == list(range(95)) and pairer.alone == [95, 0]


@pytest.mark.parametrize('side', [0, 1])
def test_a_late_message_whose_place_has_passed_is_left_alone(side):
    pairer = Pairer(1)
    for each in (0, 1):
        list(pairer.add(each, 100, each))
    assert list(pairer.add(side, 50, 'late')) == ([('late', None)] if side == 0 else [])
    assert pairer.alone[side] == 1
