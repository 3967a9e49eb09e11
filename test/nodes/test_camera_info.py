"""Which camera_info belongs to which image."""

from __future__ import annotations

import threading
import time

import pytest
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from depth_perception.nodes import _camera_info
from depth_perception.nodes._camera_info import CameraInfoError, CameraInfoStore, checked_camera


def header(sec, frame_id='cam'):
    result = Header(frame_id=frame_id)
    result.stamp.sec = sec
    return result


def info(sec, frame_id='cam', focal_px=50.0, width=64, height=48):
    k = [focal_px, 0.0, 31.5, 0.0, focal_px, 23.5, 0.0, 0.0, 1.0]
    return CameraInfo(header=header(sec, frame_id), width=width, height=height, k=k)


@pytest.fixture
def store():
    return CameraInfoStore(3)


def test_the_info_of_the_same_stamp_is_exact(store):
    for sec in (1, 2, 3):
        store.add(info(sec, focal_px=10.0 * sec))
    match = store.match(header(2))
    assert match.exact and match.info.k[0] == 20.0


@pytest.fixture
def patient(monkeypatch):
    """From now on 20 ms last long enough for a thread of a busy machine."""
    return lambda: monkeypatch.setattr(_camera_info, 'PATIENCE_S', 30.0)


def test_an_info_that_comes_a_moment_after_its_image_is_waited_for(store, patient):
    store.add(info(1))
    patient()
    threading.Timer(0.005, store.add, [info(2)]).start()
    assert store.match(header(2)).exact


def test_else_the_latest_of_the_frame_is_taken_and_nobody_waits_again(store, patient):
    store.add(info(1))
    assert [store.match(header(sec)).never_exact for sec in (3, 4, 5)] == [False, False, True]
    patient()
    start = time.perf_counter()
    for sec in range(6, 106):
        assert store.match(header(sec)).info.header.stamp.sec == 1
    assert time.perf_counter() - start < 30.0       # not one wait


def test_an_info_that_came_too_late_makes_the_next_one_worth_waiting_for(store, patient):
    store.add(info(1))
    for sec in (2, 3, 4):
        assert not store.match(header(sec)).exact
    store.add(info(4))
    patient()
    threading.Timer(0.005, store.add, [info(5)]).start()
    assert store.match(header(5)).exact


def test_infos_lost_now_and_then_are_not_said_to_have_other_stamps(store):
    for sec in range(1, 13):
        if sec % 3 == 1:
            store.add(info(sec))
        assert not store.match(header(sec)).never_exact


def test_no_info_and_an_info_of_another_frame_are_errors_with_a_reason(store):
    with pytest.raises(CameraInfoError, match='no camera_info') as error:
        store.match(header(1))
    assert error.value.reason == 'no camera_info'
    store.add(info(1, 'right_camera'))
    with pytest.raises(CameraInfoError, match="'right_camera'.*'cam'") as error:
        store.match(header(1))
    assert error.value.reason == 'camera_info frame'


def test_no_more_infos_are_kept_than_the_size_and_a_bag_may_start_anew(store):
    for sec in (1, 2, 3, 4, 1):
        store.add(info(sec))
    assert store.match(header(1)).exact and not store.match(header(2)).exact


@pytest.mark.parametrize('changes, reason, text', [
    ({'width': 32}, 'camera_info size', '32x48.*64x48'),
    ({'focal_px': 0.0}, 'camera_info values', 'focal length'),
    ({'focal_px': float('nan')}, 'camera_info values', 'focal length'),
])
def test_an_info_that_does_not_fit_is_refused(changes, reason, text):
    with pytest.raises(CameraInfoError, match=text) as error:
        checked_camera(info(1, **changes), 64, 48)
    assert error.value.reason == reason
