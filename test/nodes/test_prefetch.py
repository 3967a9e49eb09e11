"""Frames made ahead in a thread: all of a recording, the newest of a camera, and how it ends."""

import threading
import time

import numpy as np
import pytest
from rclpy.clock import Clock

from depth_perception.nodes._prefetch import AHEAD, Prefetcher
from depth_perception.sources import Frame, SourceError


def frame(number):
    return Frame(np.full((1, 1, 3), number, np.uint8))


def wait_for(predicate):
    end = time.monotonic() + 5
    while not predicate():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.fixture
def start():
    running = []

    def make(frames, live=False, notify=lambda: None):
        running.append(Prefetcher(frames, live, Clock().now, notify))
        return running[-1]

    yield make
    for prefetch in running:
        prefetch.close()


def test_a_recording_comes_whole_and_in_order_and_then_says_its_end(start):
    prefetch = start(frame(number) for number in range(20))
    numbers = []
    while not prefetch.end:
        ready = prefetch.take()
        if ready is not None:
            numbers.append(int(ready.frame.image[0, 0, 0]))
    assert numbers == list(range(20))
    assert prefetch.take() is None


def test_a_recording_is_read_only_a_few_frames_ahead(start):
    made = []
    prefetch = start(made.append(number) or frame(number) for number in range(100))
    wait_for(lambda: len(made) == AHEAD + 1)  # one more waits to be put
    time.sleep(0.05)
    assert len(made) == AHEAD + 1
    prefetch.take()
    wait_for(lambda: len(made) == AHEAD + 2)


def test_of_a_live_camera_only_the_newest_frame_is_kept(start):
    told = []
    frames = (frame(number) for number in range(7))
    prefetch = start(frames, live=True, notify=lambda: told.append(1))
    wait_for(lambda: len(told) == 8)  # seven frames and the end
    assert prefetch.take().frame.image[0, 0, 0] == 6
    assert prefetch.take() is None


def test_an_error_of_the_source_is_its_end(start):
    def frames():
        yield frame(1)
        raise SourceError('unplugged')

    prefetch = start(frames())
    wait_for(lambda: prefetch.take() is not None)
    wait_for(lambda: prefetch.end == 'unplugged')


def test_a_bug_in_the_source_is_seen_by_the_taker(start):
    def frames():
        yield frame(1)
        raise KeyError('bug')

    prefetch = start(frames())

    def take_all():
        while True:
            prefetch.take()

    with pytest.raises(KeyError, match='bug'):
        take_all()


def test_closing_ends_a_thread_that_waits_for_room(start):
    before = threading.active_count()
    prefetch = start(frame(0) for _ in range(100))
    prefetch.close()
    assert threading.active_count() == before
