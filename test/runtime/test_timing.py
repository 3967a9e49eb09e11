from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from depth_perception.timing import RateMeter, StageClock


def test_quantiles_are_numpys_in_milliseconds():
    clock = StageClock()
    seconds = np.random.default_rng(0).uniform(0.001, 0.1, 200)
    for value in seconds:
        clock.record('inference', value)
    p50, p99, count = clock.summary()['inference']
    assert count == 200
    np.testing.assert_allclose((p50, p99), np.percentile(seconds * 1e3, (50, 99)))


def test_only_the_last_frames_of_the_window_count():
    clock = StageClock(window=3)
    for value in (9.0, 9.0, 1.0, 2.0, 3.0):
        clock.record('stage', value)
    assert clock.summary()['stage'].p50_ms == 2000
    assert clock.summary()['stage'].count == 3


def test_stages_come_in_the_order_of_the_first_frame():
    clock = StageClock()
    for name in ('preprocess', 'inference', 'postprocess', 'preprocess'):
        clock.record(name, 0.001)
    assert list(clock.summary()) == ['preprocess', 'inference', 'postprocess']


def test_a_stage_is_timed_around_its_body():
    clock = StageClock()
    with clock.stage('sleep'):
        time.sleep(0.02)
    assert clock.summary()['sleep'].p50_ms >= 20


def test_a_body_that_raises_is_not_counted():
    clock = StageClock()
    with pytest.raises(KeyError), clock.stage('failing'):
        raise KeyError
    assert clock.summary() == {}


def test_a_reader_may_look_while_a_writer_writes():
    clock, stop = StageClock(window=16), threading.Event()

    def write():
        n = 0
        while not stop.is_set():
            clock.record(f'stage {n % 50}', 0.002)
            n += 1

    writer = threading.Thread(target=write)
    writer.start()
    seen = [q for _ in range(200) for q in clock.summary().values() if q.count]
    stop.set()
    writer.join()
    assert {q.p50_ms for q in seen} <= {2.0}


def test_a_steady_stream_has_its_rate():
    meter = RateMeter()
    for n in range(1000):
        meter.tick(n / 30)
    assert meter.rate_hz(999 / 30) == pytest.approx(30)
    assert meter.rate_hz(999 / 30 + 0.02) == pytest.approx(30)


def test_the_rate_falls_once_a_stream_stalls_and_ends_at_zero():
    meter = RateMeter(window_s=5)
    for n in range(100):
        meter.tick(n / 10)
    rates = [meter.rate_hz(9.9 + late) for late in (0, 1, 2, 4, 5.1)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == pytest.approx(10)
    assert rates[1] < 9.9
    assert rates[-1] == 0


def test_one_frame_has_no_rate_yet():
    meter = RateMeter()
    assert meter.rate_hz(0.0) == 0
    meter.tick(0.0)
    assert meter.rate_hz(0.1) == 0


def test_a_fast_stream_that_overflows_the_ring_keeps_its_rate():
    meter = RateMeter(window_s=5, capacity=64)
    for n in range(5000):
        meter.tick(n / 1000)
    assert meter.rate_hz(4.999) == pytest.approx(1000)
