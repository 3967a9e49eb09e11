"""Depth that does not flicker: an average over time of what did not move, for still cameras.

Three things are told apart in each frame, on a grid of cells of 4 x 4 pixels:

- the network's scale changes from frame to frame: the median of depth / average over the cells
  at rest is that change, and only a part of it is let through;
- a pixel at rest is noisy: it moves a part of the way to the new value;
- something moved: the picture or the depth of the cell changed, and the new value is taken.

A new scene, a new size and a gap in time start anew. A camera that moves has no cells at rest:
the depth then passes through as it is, late by nothing.
"""

from __future__ import annotations

from collections import deque
import math
from statistics import median_low

import cv2
import numpy as np

CELL_PX = 4
PICTURE_STEP = (6.0, 14.0)  # grey levels (of 255): up to the first at rest, from the second moved
SLOW = 1 / 3                # share of the threshold that a change may not exceed for long
AT_ONCE = 3.0               # thresholds that a single pixel may change by at once
INNOVATION = 0.3            # weight of the newest frame in what counts as "for long",
NOISE = 0.05                # and in what counts as the noise of a cell (mean of its size)
AT_ONCE_NOISE = 2.9         # thresholds as multiples of that, where they are higher:
SLOW_NOISE = 1.2            # 2.5 standard deviations of normal noise each,
NOISY = 2.5                 # and no more than so many times what they are without noise
CUT_SHARE = 0.5             # of the cells that moved: a new scene
CUT_SCALE = 0.25            # change of all depth, as a logarithm: a new scene
REST_SHARE = 0.2            # fewer cells at rest say nothing about the scale
GAP_S = 1.0                 # without a frame for longer: start anew,
GAP_PERIODS = 4.0           # if that is also longer than so many frames usually take
PERIODS = 5                 # the median of so many is usual
_AROUND = np.ones((3, 3), np.uint8)


class TemporalFilter:
    """Stabilises the depth of one camera, in place.

    Parameters
    ----------
    smoothing : float
        Weight of the past, 0 to 0.99. At rest the standard deviation of noise falls by
        sqrt((1 + smoothing) / (1 - smoothing)).
    threshold : float
        Share of its depth by which a surface has moved when it changes at once.

    Attributes
    ----------
    smoothing, threshold : float
        May be set at any time.
    resets : int
        How often it started anew because of a new scene or a gap.
    """

    def __init__(self, smoothing: float = 0.9, threshold: float = 0.08) -> None:
        self.smoothing, self.threshold = smoothing, threshold
        self.resets = 0
        self._last_s = -math.inf
        self._periods: deque[float] = deque(maxlen=PERIODS)     # [s]
        self._average: np.ndarray | None = None

    def __call__(self, depth: np.ndarray, image: np.ndarray, stamp_s: float) -> np.ndarray:
        """Replace `depth` by what is steady in it.

        Parameters
        ----------
        depth : (H, W) float32, metres, NaN invalid
            Written in place, and returned. NaN stays NaN.
        image : (H, W, 3) uint8
            The picture that it belongs to, channels always in the same order.
        stamp_s : float
            Seconds; a jump back starts anew, as a gap does.
        """
        gap = self._is_gap(stamp_s)
        if self._average is None or self._average.shape != depth.shape:
            self._make_buffers(depth.shape)
            return self._begin(depth, image)
        self._shrink(image)
        change = self._picture_change()
        if gap or float(np.mean(change)) > CUT_SHARE:
            self.resets += 1
            return self._begin(depth, image)
        with np.errstate(divide='ignore', invalid='ignore'):
            step = self._scale_step(depth, change)
            if abs(step) > CUT_SCALE:
                self.resets += 1
                return self._begin(depth, image)
            self._blend(depth, change, step)
        return depth

    def _is_gap(self, stamp_s: float) -> bool:
        period, self._last_s = stamp_s - self._last_s, stamp_s
        usual = median_low(self._periods) if self._periods else 0.0
        if 0.0 <= period < math.inf:
            self._periods.append(period)
        return not 0.0 <= period <= max(GAP_S, GAP_PERIODS * usual)

    def _make_buffers(self, shape: tuple[int, int]) -> None:
        small = tuple(-(-size // CELL_PX) for size in shape)
        self._average, self._weight, self._rest, self._limit, self._absolute = (
            np.empty(shape, np.float32) for _ in range(5))
        self._mask = np.empty(shape, bool)
        self._color = np.empty((*small, 3), np.uint8)
        self._grey8 = np.empty(small, np.uint8)
        self._grey, self._memory, self._difference, self._innovation, self._noise = (
            np.zeros(small, np.float32) for _ in range(5))
        self._cell, self._limit_cell = (np.empty(small, np.float32) for _ in range(2))

    def _begin(self, depth: np.ndarray, image: np.ndarray) -> np.ndarray:
        self._shrink(image)
        np.copyto(self._memory, self._grey)
        np.copyto(self._average, depth)
        self._innovation.fill(0.0)
        self._noise.fill(0.0)
        return depth

    def _shrink(self, image: np.ndarray) -> None:
        size = self._grey.shape[::-1]
        cv2.resize(image, size, dst=self._color, interpolation=cv2.INTER_AREA)
        cv2.cvtColor(self._color, cv2.COLOR_RGB2GRAY, dst=self._grey8)
        np.copyto(self._grey, self._grey8)

    def _picture_change(self) -> np.ndarray:
        """0 where a cell of the picture is at rest, 1 where it moved, (h, w) float32."""
        # an exposure that changes is no movement
        cv2.subtract(self._grey, self._memory, dst=self._difference)
        self._difference -= np.float32(np.median(self._difference[::2, ::2]))
        np.abs(self._difference, out=self._difference)
        # what moved covers a part of the cells around it
        cv2.dilate(self._difference, _AROUND, dst=self._difference)
        return _ramp(self._difference, *PICTURE_STEP)

    def _scale_step(self, depth: np.ndarray, change: np.ndarray) -> float:
        """Logarithm of the scale of this frame's depth over that of the average."""
        now = depth[CELL_PX // 2::CELL_PX, CELL_PX // 2::CELL_PX]
        before = self._average[CELL_PX // 2::CELL_PX, CELL_PX // 2::CELL_PX]
        rest = change[:now.shape[0], :now.shape[1]] < 0.5
        ratios = now[rest] / before[rest]
        ratios = ratios[ratios > 0.0]       # NaN fails
        if not len(ratios) or len(ratios) < REST_SHARE * now.size:
            return 0.0
        return math.log(float(np.median(ratios)))

    def _blend(self, depth: np.ndarray, change: np.ndarray, step: float) -> None:
        """Bring average and depth to a common scale, then take a part of the difference."""
        past, rest, average = self.smoothing, self._rest, self._average
        # the common scale goes a part of the way as well
        _times(average, math.exp((1.0 - past) * step), average)
        _times(depth, math.exp(-past * step), depth)
        cv2.subtract(depth, average, dst=rest)
        self._depth_change(change)
        # the new weight: 1 - past at rest, 1 where something moved
        _times(change, past, self._cell)
        np.add(self._cell, np.float32(1.0 - past), out=self._cell)
        self._remember_picture()
        size = average.shape[::-1]
        cv2.resize(self._cell, size, dst=self._weight, interpolation=cv2.INTER_LINEAR)
        # what is narrower than a cell, such as the strip that an edge uncovers, pixel by pixel
        _times(average, AT_ONCE * self.threshold, self._limit)
        np.greater(np.abs(rest, out=self._absolute), self._limit, out=self._mask)
        np.copyto(self._weight, 1.0, where=self._mask)
        cv2.multiply(rest, self._weight, dst=rest)
        cv2.add(average, rest, dst=average)
        # unknown before: the new value; unknown now: unknown
        np.not_equal(average, average, out=self._mask)
        np.copyto(average, depth, where=self._mask)
        np.copyto(depth, average)

    def _depth_change(self, change: np.ndarray) -> None:
        """Raise `change` where depth itself changed, at once or little by little."""
        size = self._cell.shape[::-1]
        relative = self._cell
        # each cell by one pixel: a mean of two surfaces is neither
        cv2.resize(self._rest, size, dst=relative, interpolation=cv2.INTER_NEAREST)
        cv2.resize(self._average, size, dst=self._difference, interpolation=cv2.INTER_NEAREST)
        cv2.divide(relative, self._difference, dst=relative)
        cv2.patchNaNs(relative, 0.0)
        cv2.blur(relative, (3, 3), dst=relative)
        self._learn_noise(relative)
        # a place that always flickers has to change by more
        for measure, low, of_noise in ((relative, self.threshold, AT_ONCE_NOISE),
                                       (self._innovation, SLOW * self.threshold, SLOW_NOISE)):
            limit = np.clip(self._noise * np.float32(of_noise), low, NOISY * low)
            np.abs(measure, out=self._difference)
            np.divide(self._difference, limit, out=self._difference)
            cv2.max(change, _ramp(self._difference, 1.0, 1.5), dst=change)

    def _learn_noise(self, relative: np.ndarray) -> None:
        """Split what changed into what goes on for long and what comes and goes."""
        np.subtract(relative, self._innovation, out=self._difference)
        _times(self._difference, INNOVATION, self._limit_cell)
        np.add(self._innovation, self._limit_cell, out=self._innovation)
        np.abs(self._difference, out=self._difference)
        cv2.addWeighted(self._noise, 1.0 - NOISE, self._difference, NOISE, 0.0, dst=self._noise)

    def _remember_picture(self) -> None:
        """The picture at rest, averaged as depth is."""
        cv2.subtract(self._grey, self._memory, dst=self._difference)
        cv2.multiply(self._difference, self._cell, dst=self._difference)
        cv2.add(self._memory, self._difference, dst=self._memory)


def _times(values: np.ndarray, factor: float, out: np.ndarray) -> None:
    # eight times as fast as cv2.multiply by a number; float64 in NumPy 1 but for the cast
    np.multiply(values, np.float32(factor), out=out)


def _ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 up to `low`, 1 from `high`, straight between."""
    return np.clip((values - np.float32(low)) * np.float32(1.0 / (high - low)), 0.0, 1.0)
