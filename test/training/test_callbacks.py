from __future__ import annotations

import time

import pytest

from training.callbacks import WaitingTime


def test_the_share_of_waiting_counts_fetching_against_training_and_nothing_else():
    watch = WaitingTime()
    assert watch.share == 0
    for action, seconds in ((WaitingTime.WAIT, 0.05), (WaitingTime.WORK, 0.15), ('other', 0.1)):
        with watch.profile(action):
            time.sleep(seconds)
    # sleeping can only take longer: the ratio is checked loosely
    assert watch.share == pytest.approx(0.25, abs=0.2)


def test_an_action_that_ends_without_a_start_does_not_count():
    watch = WaitingTime()
    watch.stop(WaitingTime.WAIT)
    assert watch.share == 0
