from __future__ import annotations

import math

import cv2
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from depth_perception.focus_camera import (
    FocusWebcam,
    LensDrive,
    SimulatedFocusCamera,
    Sweep,
    open_focus_webcam,
)
from depth_perception.focus_table import FocusTable
from depth_perception.optics import Lens, OpticsError
from depth_perception.sources import SourceError

LENS = Lens(0.029, 1.0, 0.036 / 96)
LIMITS = (0.2, 1000.0)


def distances(sweep: Sweep, count: int) -> list[float]:
    return [sweep.next()[0] for _ in range(count)]


def test_a_sweep_goes_from_far_to_near_in_equal_dioptres_over_and_over():
    sweep = Sweep(3, 0.5, 2.0, LIMITS)
    assert distances(sweep, 6) == pytest.approx([2.0, 0.8, 0.5] * 2)    # 2, 1.25, 0.5 dioptres
    assert [sweep.next()[1] for _ in range(4)] == [True, False, False, True]


def test_a_new_range_holds_from_the_next_sweep_on_and_within_the_lens():
    sweep = Sweep(2, 0.5, 2.0, (0.4, 10.0))
    first = distances(sweep, 1)
    sweep.set_range(0.1, 50.0)
    assert [*first, *distances(sweep, 3)] == pytest.approx([2.0, 0.5, 10.0, 0.4])
    assert sweep.range_m == pytest.approx((0.4, 10.0))


def test_a_range_that_is_none_is_refused():
    with pytest.raises(OpticsError):
        Sweep(3, 2.0, 0.5, LIMITS)


@given(st.floats(0.25, 20.0), st.floats(0.25, 20.0))
def test_after_its_settle_time_a_lens_has_gone_all_but_a_hundredth_of_the_way(start, target):
    drive = LensDrive(LENS, moves_for_s=0.1, waits_s=0.1)
    left = (1 / drive.reached(start, target) - 1 / target)
    assert left == pytest.approx(0.01 * (1 / start - 1 / target), abs=1e-9)


def test_a_lens_that_is_not_waited_for_is_focused_elsewhere():
    assert LensDrive(LENS, moves_for_s=0.1, waits_s=0.0).reached(0.5, 2.0) == pytest.approx(0.5)
    assert LensDrive(LENS, moves_for_s=0.0, waits_s=0.0).reached(0.5, 2.0) == 2.0


@pytest.fixture(scope='module')
def camera():
    sweep = Sweep(3, 0.6, 6.0, LIMITS)
    return SimulatedFocusCamera(96, 72, 4, sweep, LensDrive(LENS, moves_for_s=0.0), 2)


@pytest.fixture(scope='module')
def frames(camera):
    return [next(camera) for _ in range(7)]


def test_a_simulated_slice_has_focus_blur_truth_and_a_sharp_picture(frames):
    for frame, distance in zip(frames, (6.0, 1.0909, 0.6)):
        assert frame.focus_m == pytest.approx(distance, rel=1e-3) and frame.f_number == 1.0
        assert frame.image.shape == frame.sharp.shape == (72, 96, 3)
        assert frame.depth.shape == (72, 96) and np.nanmin(frame.depth) > 0.1
    blur = [np.abs(frame.image.astype(int) - frame.sharp).mean() for frame in frames[:3]]
    assert max(blur) > 0.5


def test_a_simulated_lens_breathes_as_a_thin_one_does(frames):
    for frame in frames[:3]:
        image_distance = 1 / (1 / LENS.focal_length_m - 1 / frame.focus_m)
        assert frame.intrinsics.fx == pytest.approx(image_distance / LENS.pixel_pitch_m, rel=1e-4)


def test_a_camera_stands_for_its_sweeps_and_then_goes_elsewhere(frames):
    np.testing.assert_array_equal(frames[0].image, frames[3].image)
    assert np.abs(frames[6].image.astype(int) - frames[0].image).mean() > 5


def test_without_breathing_all_slices_see_the_same():
    sweep = Sweep(2, 0.6, 6.0, LIMITS)
    drive = LensDrive(LENS, breathing=False, moves_for_s=0.0)
    camera = SimulatedFocusCamera(48, 36, 4, sweep, drive)
    far, near = next(camera), next(camera)
    assert near.intrinsics == far.intrinsics
    np.testing.assert_array_equal(near.sharp, far.sharp)
    camera.set_f_number(math.inf)
    again = next(camera)
    assert again.f_number == math.inf
    np.testing.assert_array_equal(again.image, again.sharp)


TABLE = FocusTable([0, 100, 250], [10.0, 0.5, 0.2])


class Device:
    """What cv2.VideoCapture is to a webcam: its pictures are as bright as its focus position."""

    def __init__(self, has_focus=True, step=10):
        self.has_focus, self.step = has_focus, step
        self.values, self.shown, self.waited, self.released = {}, [0, 0, 0], 0.0, False

    def set(self, key, value):
        if key == cv2.CAP_PROP_FOCUS:
            value = round(value / self.step) * self.step
        self.values[key] = value
        return key != cv2.CAP_PROP_FOCUS or self.has_focus

    def get(self, key):
        return self.values.get(key, -1)

    def grab(self):
        # what was exposed before the lens moved still lies in the driver's buffers
        self.shown = [*self.shown[1:], self.values[cv2.CAP_PROP_FOCUS]]
        return True

    def read(self):
        self.grab()
        return not self.released, np.full((4, 6, 3), (self.shown[0], 0, 7), np.uint8)

    def release(self):
        self.released = True


def test_a_webcam_waits_and_skips_what_was_exposed_while_its_lens_moved():
    device, waits = Device(), []
    sweep = Sweep(3, 0.25, 5.0, TABLE.limits_m)
    webcam = FocusWebcam(device, 'test', sweep, TABLE, 0.2, 2.0, waits.append)
    frames = [next(webcam) for _ in range(3)]
    assert waits == [0.2] * 3
    assert device.values[cv2.CAP_PROP_AUTOFOCUS] == 0
    for frame in frames:
        blue = int(frame.image[0, 0, 2])
        # the distance is that of the motor's step, not of the one asked for
        assert frame.focus_m == pytest.approx(TABLE.distance(blue))
        assert tuple(frame.image[0, 0, :2]) == (7, 0) and frame.f_number == 2.0
    assert frames[0].focus_m > frames[1].focus_m > frames[2].focus_m
    webcam.close()
    assert device.released


def test_a_camera_without_focus_control_says_so():
    device = Device(has_focus=False)
    with pytest.raises(SourceError, match='focus_absolute'):
        FocusWebcam(device, '/dev/video7', Sweep(2, 0.3, 5.0, TABLE.limits_m), TABLE, 0.0)
    assert device.released


def test_a_webcam_that_is_pulled_out_says_so():
    device = Device()
    webcam = FocusWebcam(device, '/dev/video7', Sweep(2, 0.3, 5.0, TABLE.limits_m), TABLE, 0.0)
    webcam.close()
    with pytest.raises(SourceError, match='still plugged in'):
        next(webcam)


@pytest.mark.parametrize('device', ['/dev/video99', 'video.mp4'])
def test_what_is_no_webcam_says_what_to_give(device):
    with pytest.raises(SourceError, match='cannot be opened; give scene or /dev/videoN'):
        open_focus_webcam(device, 64, 48, Sweep(2, 0.3, 5.0, TABLE.limits_m), TABLE, 0.0)
