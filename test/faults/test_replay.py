"""Bags: simulated time that starts late, stands still, jumps and begins anew; no frame is lost."""

from __future__ import annotations

import time

import pytest
from rosgraph_msgs.msg import Clock

PERIOD_S = 0.05
START_S = 1000.0


class Bag:
    """Plays frames with their clock, as ``ros2 bag play --clock`` does."""

    def __init__(self, rig, graph):
        self.rig, self.time_s = rig, START_S
        self._graph = graph

    def tick(self):
        """Let simulated time go on by one frame; return it."""
        self.time_s += PERIOD_S
        message = Clock()
        message.clock = self._graph.header(self.time_s).stamp
        self._graph.publish('/clock', message)
        return self.time_s

    def play(self, count):
        """Play frames; return the stamps of those sent and of those that came out."""
        self.rig.depth.clear()
        sent = []
        for _ in range(count):
            sent.append(self.rig.send(stamp=self.tick()))
            time.sleep(0.01)
        end = time.monotonic() + 5.0
        while len(self.rig.depth.messages) < count and time.monotonic() < end:
            time.sleep(0.01)
        return sent, [msg.header.stamp for msg in self.rig.depth.messages]


@pytest.fixture(scope='module')
def replay(make_rig, models):
    """A node that takes every frame, in simulated time, and the bag that it hears."""
    rig = make_rig('replay', {'model': models['good'], 'process': 'every', 'use_sim_time': True},
                   folder='/replay/')
    bag = Bag(rig, rig.graph)
    rig.now = bag.tick      # good frames have the time of the bag
    rig.good_depth()
    yield bag
    assert rig.node.stop() == 0


@pytest.mark.slow
def test_a_bag_that_is_played_without_a_clock(make_rig, models):
    rig = make_rig('clockless', {'model': models['good'], 'use_sim_time': True},
                   folder='/clockless/')
    with rig.row('use_sim_time and no /clock', 'NO_CLOCK'):
        pass
    assert rig.node.stop() == 0


@pytest.mark.slow
def test_a_bag_loses_no_frame(replay):
    with replay.rig.row('100 frames of a bag at 5 x', 'OK') as row:
        sent, got = replay.play(100)
        row.check(got == sent, f'{len(got)} of {len(sent)} frames')


@pytest.mark.slow
def test_a_bag_that_is_paused_says_so_and_goes_on(replay):
    with replay.rig.row('bag is paused for 4 s', 'CLOCK_STANDS') as row:
        replay.play(5)
        row.wait()
        time.sleep(1.2)
        codes = replay.rig.values['codes'].split()
        row.check('SILENT_PUBLISHER' not in codes, 'silence of a paused bag')
        sent, got = replay.play(20)
        row.check(got == sent, f'{len(got)} of {len(sent)} frames')


def test_a_bag_that_begins_anew_loses_no_frame(replay):
    with replay.rig.row('bag begins anew (--loop)', 'STAMPS_JUMP_BACK') as row:
        for _ in range(3):
            replay.time_s = START_S
            sent, got = replay.play(20)
            row.check(got == sent, f'{len(got)} of {len(sent)} frames')
        row.check(replay.rig.values.get('INFO_STAMPS_DIFFER') is None, 'camera_info of before')


@pytest.mark.slow
def test_a_bag_that_jumps_an_hour_ahead(replay):
    with replay.rig.row('clock jumps an hour ahead', 'STAMPS_MISSING') as row:
        replay.play(10)
        replay.time_s += 3600.0
        sent, got = replay.play(20)
        row.check(got == sent, f'{len(got)} of {len(sent)} frames')
