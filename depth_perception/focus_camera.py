"""Cameras that sweep their focus: a simulated one in a procedural room, and a webcam's.

Both are frame sources that give one slice after the other, each with the focus distance at which
it was taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
import math
import time
from typing import Any

import cv2
import numpy as np

from depth_perception.focus_render import render_slice
from depth_perception.focus_table import FocusTable
from depth_perception.geometry import Intrinsics
from depth_perception.optics import Lens, focus_distances
from depth_perception.sources import Frame, FrameSource, SourceError, simulated_room

# Frames that V4L2 may hold back from before the lens stood still, however small its buffer.
STALE_FRAMES = 2
DEFAULT_FOCAL_LENGTH_M, DEFAULT_F_NUMBER = 0.036, 2.8      # of the simulated lens
POSES = 24              # places in the simulated room
DISPLAY_GAMMA = 2.2     # of the values of a picture, over the light
SETTLED = 0.01          # share of a step that is left after the lens' settle time


@dataclass
class FocusFrame(Frame):
    """A frame and how the lens stood.

    Attributes
    ----------
    focus_m : float
        Focus distance that the camera tells, metres.
    f_number : float or None
        None where the camera does not know.
    sharp : (H, W, 3) uint8 RGB array or None
        What a pinhole would have seen; for simulated frames only.
    """

    focus_m: float = math.nan
    f_number: float | None = None
    sharp: np.ndarray | None = None


class Sweep:
    """Focus distances in equal steps of dioptres, over and over, from far to near.

    The last slice of a sweep, whose view depth takes, is then the one that a breathing lens
    enlarges most: all others cover it. The range may be changed at any time, from another
    thread: it holds from the next sweep on.

    Parameters
    ----------
    count : int
        Focus distances of one sweep, 2 or more.
    nearest_m, farthest_m : float
    limits_m : (nearest, farthest) floats
        Where the lens can focus; a range beyond is cut there.

    Raises
    ------
    OpticsError
        If the range is none.
    """

    def __init__(self, count: int, nearest_m: float, farthest_m: float,
                 limits_m: tuple[float, float]) -> None:
        self._count, self._limits = count, limits_m
        self._index = 0
        self.set_range(nearest_m, farthest_m)
        self._distances = self._new

    @property
    def range_m(self) -> tuple[float, float]:
        """The nearest and the farthest focus distance, metres."""
        return float(self._new[-1]), float(self._new[0])

    def set_range(self, nearest_m: float, farthest_m: float) -> None:
        """Sweep over another range from the next sweep on; OpticsError if it is none."""
        low, high = self._limits
        ends = [min(max(each, low), high) for each in (nearest_m, farthest_m)]
        self._new = focus_distances(self._count, 1.0 / ends[1], 1.0 / ends[0])[::-1]

    def next(self) -> tuple[float, bool]:
        """Return the next focus distance [m], and whether a sweep begins with it."""
        begins = self._index == 0
        if begins:
            self._distances = self._new
        distance = float(self._distances[self._index])
        self._index = (self._index + 1) % self._count
        return distance, begins


@dataclass(frozen=True)
class LensDrive:
    """How a simulated lens moves.

    Attributes
    ----------
    lens : Lens
    breathing : bool
        Whether the picture is the larger the nearer the focus, as a thin lens makes it.
    moves_for_s : float
        Seconds until a movement is done but for a hundredth.
    waits_s : float
        Seconds that the camera waits before it takes the picture.
    """

    lens: Lens
    breathing: bool = True
    moves_for_s: float = 0.05
    waits_s: float = 0.05

    def reached(self, start_m: float, target_m: float) -> float:
        """Return the focus distance [m] at which the picture is taken."""
        if self.moves_for_s <= 0.0:
            return target_m
        left = SETTLED ** (self.waits_s / self.moves_for_s)
        return 1.0 / (1.0 / target_m + (1.0 / start_m - 1.0 / target_m) * left)

    def focal_px(self, focus_m: float) -> float:
        """Return the focal length of the picture, pixels."""
        lens = self.lens
        extension = 1.0 - lens.focal_length_m / focus_m if self.breathing else 1.0
        return lens.focal_length_m / lens.pixel_pitch_m / extension


class SimulatedFocusCamera(FrameSource):
    """A thin lens in a procedural room; it stands for some sweeps and then goes elsewhere.

    Parameters
    ----------
    width, height : int
    seed : int
        Of the room.
    sweep : Sweep
    drive : LensDrive
    sweeps_per_pose : int
        How many sweeps it stands at one place; 0: for good.
    """

    def __init__(self, width: int, height: int, seed: int, sweep: Sweep, drive: LensDrive,
                 sweeps_per_pose: int = 0) -> None:
        super().__init__()
        room = simulated_room(seed)
        self._render = room.render
        self._poses = room.camera_path(POSES)
        self._size = width, height
        self._sweep, self._drive, self._sweeps_per_pose = sweep, drive, sweeps_per_pose
        self._f_number = drive.lens.f_number
        self._sweeps = 0
        self._focus_m: float | None = None
        self._drawn: dict[float, FocusFrame] = {}   # of this pose; a standing camera costs nothing

    def __next__(self) -> FocusFrame:
        if self._f_number != self._drive.lens.f_number:
            self._turn_aperture()
        target_m, begins = self._sweep.next()
        if begins:
            self._begin_sweep()
        start_m = target_m if self._focus_m is None else self._focus_m
        self._focus_m = self._drive.reached(start_m, target_m)
        key = round(1.0 / self._focus_m, 3)
        if key not in self._drawn:
            self._drawn[key] = self._draw(1.0 / key)
        return replace(self._drawn[key], focus_m=target_m)

    def set_f_number(self, f_number: float) -> None:
        """Open or close the aperture, from the next frame on; from any thread."""
        self._f_number = f_number

    def _turn_aperture(self) -> None:
        lens = replace(self._drive.lens, f_number=self._f_number)
        self._drive = replace(self._drive, lens=lens)
        self._drawn = {}

    def _begin_sweep(self) -> None:
        if self._sweeps_per_pose and self._sweeps and self._sweeps % self._sweeps_per_pose == 0:
            self._poses = np.roll(self._poses, -1, axis=0)
            self._drawn = {}
        self._sweeps += 1

    def _draw(self, focus_m: float) -> FocusFrame:
        width, height = self._size
        focal_px, lens = self._drive.focal_px(focus_m), self._drive.lens
        intrinsics = Intrinsics(width, height, focal_px, focal_px,
                                (width - 1) / 2, (height - 1) / 2)
        view = self._render(intrinsics, self._poses[0])
        # a thin lens spreads light, not values, over a disc
        image = render_slice(view.rgb, view.depth, focus_m, lens, psf='disc', occlusion=True,
                             gamma=DISPLAY_GAMMA)
        return FocusFrame(image, intrinsics, view.depth, f_number=lens.f_number, sharp=view.rgb)


class FocusWebcam(FrameSource):
    """A webcam whose focus OpenCV can set, as UVC cameras on Linux.

    Parameters
    ----------
    capture : cv2.VideoCapture
        Opened.
    name : str
        For people, such as /dev/video0.
    sweep : Sweep
    table : FocusTable
    waits_s : float
        Until the lens stands still after each step.
    f_number : float or None
    sleep : callable

    Raises
    ------
    SourceError
        If the camera has no focus control.
    """

    live = True

    def __init__(self, capture: Any, name: str, sweep: Sweep, table: FocusTable, waits_s: float,
                 f_number: float | None = None,
                 sleep: Callable[[float], None] = time.sleep) -> None:
        super().__init__()
        self._capture, self._name, self._sweep, self._table = capture, name, sweep, table
        self._waits_s, self._f_number, self._sleep = waits_s, f_number, sleep
        capture.set(cv2.CAP_PROP_AUTOFOCUS, 0)
        if not capture.set(cv2.CAP_PROP_FOCUS, table.position(sweep.range_m[0])):
            capture.release()
            raise SourceError(
                f'{name} has no focus that can be set; `v4l2-ctl -d {name} -l` must list '
                'focus_absolute: use a camera that has it')

    def __next__(self) -> FocusFrame:
        position = self._table.position(self._sweep.next()[0])
        self._capture.set(cv2.CAP_PROP_FOCUS, position)
        self._sleep(self._waits_s)
        for _ in range(STALE_FRAMES):
            self._capture.grab()
        good, image = self._capture.read()
        if not good:
            raise SourceError(f'{self._name} gives no more frames; is it still plugged in?')
        there = self._capture.get(cv2.CAP_PROP_FOCUS)    # steps of the motor; below 0: unknown
        return FocusFrame(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), f_number=self._f_number,
                          focus_m=self._table.distance(position if there < 0 else there))

    def set_f_number(self, f_number: float) -> None:
        """Tell another f-number: the aperture of such a camera is fixed, or turned by hand."""
        self._f_number = f_number

    def close(self) -> None:
        """Release the camera."""
        self._capture.release()


def open_focus_webcam(device: str, width: int, height: int, sweep: Sweep, table: FocusTable,
                      waits_s: float, f_number: float | None = None) -> FocusWebcam:
    """Open ``/dev/videoN`` as a camera that sweeps its focus.

    Raises
    ------
    SourceError
        It cannot be opened, or has no focus control.
    """
    number = device.removeprefix('/dev/video')
    capture = cv2.VideoCapture(int(number)) if number.isdecimal() else None
    if capture is None or not capture.isOpened():
        raise SourceError(
            f'{device} cannot be opened; give scene or /dev/videoN: `ls /dev/video*` shows the '
            'cameras, and your user must be in the group video')
    capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
    capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return FocusWebcam(capture, device, sweep, table, waits_s, f_number)
