"""What the diagnostics remember and say, on a clock that the test moves."""

from __future__ import annotations

import pytest

from depth_perception.nodes._diagnostics import Finding, Level, Tally, summary


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tally(clock):
    return Tally(clock)


def test_an_error_stands_until_the_next_output(tally, clock):
    tally.trouble('rejected.size', 'wrong size', Level.ERROR)
    clock.now += 60.0
    assert tally.findings() == [Finding(Level.ERROR, 'wrong size')]
    tally.output()
    assert tally.findings() == []


def test_after_an_output_an_error_is_a_warning_for_ten_seconds(tally, clock):
    tally.trouble('rejected.size', 'wrong size', Level.ERROR)
    clock.now += 1.0
    tally.output()
    assert tally.findings() == [Finding(Level.WARN, 'wrong size')]
    clock.now += 10.0
    assert tally.findings() == []


def test_the_latest_trouble_comes_first(tally, clock):
    tally.trouble('a', 'first', Level.WARN)
    clock.now += 1.0
    tally.trouble('b', 'second', Level.WARN)
    assert [finding.text for finding in tally.findings()] == ['second', 'first']


def test_the_same_trouble_is_logged_once_in_five_seconds_but_counted_each_time(tally, clock):
    logged = []
    for _ in range(60):
        logged.append(tally.trouble('size', 'wrong size', Level.ERROR))
        clock.now += 0.125
    assert sum(logged) == 2 and logged[0] and logged[40]
    assert tally.counts() == {'size': 60}


def test_news_about_a_trouble_is_logged_after_a_second(tally, clock):
    assert tally.trouble('size', '2 against 3', Level.ERROR)
    clock.now += 0.5
    assert not tally.trouble('size', '2 against 4', Level.ERROR)
    clock.now += 0.6
    assert tally.trouble('size', '2 against 5', Level.ERROR)


def test_the_summary_is_what_is_worst_said_once():
    found = [Finding(Level.WARN, 'slow'), Finding(Level.ERROR, 'blind'),
             Finding(Level.ERROR, 'deaf'), Finding(Level.ERROR, 'blind')]
    assert summary(found, 'fine') == Finding(Level.ERROR, 'blind; deaf')
    assert summary([], 'fine') == Finding(Level.OK, 'fine')
    assert summary([Finding(Level.OK, 'idle')], 'fine') == Finding(Level.OK, 'idle')
