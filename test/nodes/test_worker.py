"""The queue and the thread behind it."""

from __future__ import annotations

import threading

import pytest

from depth_perception.nodes._worker import FrameQueue, Worker


def test_a_mailbox_of_one_holds_the_newest_and_tells_what_it_dropped():
    box = FrameQueue(1)
    assert [box.put(number) for number in range(3)] == [0, 1, 1]
    assert box.get() == 2


def test_a_longer_queue_keeps_the_order():
    queue = FrameQueue(3)
    assert sum(queue.put(number) for number in range(4)) == 1
    assert [queue.get() for _ in range(3)] == [1, 2, 3]


def test_closing_wakes_who_waits():
    queue, got = FrameQueue(1), []
    thread = threading.Thread(target=lambda: got.append(queue.get()))
    thread.start()
    queue.close()
    thread.join(5)
    assert got == [None]


def test_the_worker_takes_the_newest_while_it_is_busy():
    started, go_on, both, done = threading.Event(), threading.Event(), threading.Event(), []

    def work(item):
        started.set()
        go_on.wait(5)
        done.append(item)
        if len(done) == 2:
            both.set()

    worker = Worker(work, 1)
    worker.put('first')
    assert started.wait(5)
    assert [worker.put(item) for item in ('second', 'third')] == [0, 1]
    go_on.set()
    both.wait(5)
    worker.stop()
    assert done == ['first', 'third']


def test_stopping_finishes_the_item_in_work():
    started, done = threading.Event(), []

    def work(item):
        started.set()
        threading.Event().wait(0.05)
        done.append(item)

    worker = Worker(work, 1)
    worker.put('only')
    assert started.wait(5)
    worker.stop()
    assert done == ['only']


def test_stopping_tells_how_many_it_did_not_get_to():
    started, go_on, done = threading.Event(), threading.Event(), []

    def work(item):
        started.set()
        go_on.wait(5)
        done.append(item)

    worker = Worker(work, 5)
    for item in ('in work', 'waits', 'waits too'):
        worker.put(item)
        assert started.wait(5)
    threading.Timer(0.05, go_on.set).start()
    assert worker.stop() == 2
    assert done == ['in work']


def test_a_bug_in_the_work_is_raised_where_the_result_is_asked_for():
    ended = threading.Event()

    def work(item):
        raise KeyError(item)

    worker = Worker(work, 1, ended.set)
    worker.result()                             # nothing yet
    worker.put('bug')
    assert ended.wait(5)
    with pytest.raises(KeyError, match='bug'):
        worker.result()
    worker.stop()
