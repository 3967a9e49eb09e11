"""How much depth a frame is shown with: baseline and convergence, steady from frame to frame.

Depth that a network estimates for each frame alone breathes: the whole room comes and goes by a
few percent. The plan follows that scale slowly, and what it chooses by itself alike, until the
scene changes.
"""

from __future__ import annotations

from dataclasses import dataclass
import math
import sys
from typing import NamedTuple

import cv2
import numpy as np

from depth_perception.stereo import FILLS
from depth_perception.stereo_disparity import StereoError
from depth_perception.stereo_multiview import MAX_VIEWS

AUTO_CONVERGENCES = ('off', 'nearest', 'subject')
VIEWS = ('right', 'both')
SAMPLES = (64, 48)              # width, height of what is looked at of a frame
STILL_LEVELS = 4                # grey levels within which a pixel counts as unchanged
TEXTURE_LEVELS = 12             # between neighbours: a blank wall looks still even if it moves
FEWEST_STILL = 0.02             # share of the pixels
CUT_LEVELS, CUT_CORRELATION = 12.0, 0.6
EXTREMES = (1.0, 99.0)          # percentiles of 1 / depth that count as farthest and nearest


@dataclass(frozen=True)
class StereoSettings:
    """What the viewer wants.

    Attributes
    ----------
    baseline_m : distance between the eyes, metres
    convergence_m : distance in the plane of the screen, metres; infinite for parallel cameras
    auto_convergence : 'off'; 'nearest' puts the nearest, 'subject' the middle of the picture
        into the plane of the screen
    max_disparity_percent : comfort limit in percent of the width; 0 for none. Beyond it the
        baseline is made smaller, so that the geometry stays right
    views : 'right' keeps the image as the left view, 'both' draws both around it
    fill : one of stereo.FILLS
    edge_dilation_px, soft_edges : see stereo.StereoRenderer
    smoothing : weight of the past in the scale of depth and in what is chosen automatically,
        0 to below 1
    near_m, far_m : depth that is white and black in 2D+Z, metres
    view_count : views of quilt, tile and lenticular, spread over the baseline
    lens_pitch_px, lens_slope, lens_centre : see stereo_multiview.lenticular

    Raises
    ------
    StereoError
        If a value is not possible.
    """

    baseline_m: float = 0.065
    convergence_m: float = math.inf
    auto_convergence: str = 'off'
    max_disparity_percent: float = 0.0
    views: str = 'right'
    fill: str = 'background'
    edge_dilation_px: int = 1
    soft_edges: bool = True
    smoothing: float = 0.0
    near_m: float = 0.3
    far_m: float = 10.0
    view_count: int = 8
    lens_pitch_px: float = 5.0
    lens_slope: float = 0.0
    lens_centre: float = 0.0

    def __post_init__(self) -> None:
        """Check the values."""
        for name, value, known in (('auto_convergence', self.auto_convergence, AUTO_CONVERGENCES),
                                   ('views', self.views, VIEWS), ('fill', self.fill, FILLS)):
            if value not in known:
                raise StereoError(f'{name} is {value!r}; choose one of {", ".join(known)}')
        for name, low, high, good in (
                ('baseline_m', 'above 0', 'finite', 0.0 < self.baseline_m < math.inf),
                ('convergence_m', 'above 0', 'infinite at most', self.convergence_m > 0.0),
                ('max_disparity_percent', '0', '100', 0.0 <= self.max_disparity_percent <= 100.0),
                ('edge_dilation_px', '0', '16', 0 <= self.edge_dilation_px <= 16),
                ('smoothing', '0', 'below 1', 0.0 <= self.smoothing < 1.0),
                ('near_m', 'above 0', 'below far_m', 0.0 < self.near_m < self.far_m),
                ('view_count', '2', str(MAX_VIEWS), 2 <= self.view_count <= MAX_VIEWS),
                ('lens_pitch_px', 'above 0', 'finite', 0.0 < self.lens_pitch_px < math.inf)):
            if not good:
                raise StereoError(f'{name} is {getattr(self, name)}; it must be {low} to {high}')

    @property
    def looks_at_frames(self) -> bool:
        """Whether anything depends on what the frames show."""
        return (self.smoothing > 0.0 or self.max_disparity_percent > 0.0
                or self.auto_convergence != 'off' or self.fill == 'temporal')


class Plan(NamedTuple):
    """What a frame is drawn with.

    ``focal_px * baseline_m * (1 / depth - 1 / convergence_m)`` is the disparity, cut off beyond
    +-`limit_px`. Both lengths are in the metres of the frame's own depth.
    """

    baseline_m: float
    convergence_m: float
    limit_px: float
    cut: bool


class Planner:
    """Makes a plan of each frame and remembers the frames before."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self._last: tuple[np.ndarray, np.ndarray] | None = None     # grey, log depth
        self._scale = self._smooth_scale = 0.0                      # natural logarithms
        self._screen: float | None = None       # 1 / convergence, 1/m of the smoothed scale
        self._gain: float | None = None         # natural logarithm

    def plan(self, image: np.ndarray, depth: np.ndarray, focal_px: float,
             settings: StereoSettings) -> Plan:
        """Plan the next frame.

        Parameters
        ----------
        image : (H, W, 3) uint8
        depth : (H, W) float32, metres; NaN, 0 and less are unknown
        focal_px : pixels
        settings : StereoSettings
        """
        if not settings.looks_at_frames:
            self.forget()
            return Plan(settings.baseline_m, settings.convergence_m, math.inf, False)
        grey, log_depth = sampled(image, depth)
        cut = self._last is not None and is_cut(self._last[0], grey)
        if cut:
            self.forget()
        stretch = self._steady_scale(grey, log_depth, settings.smoothing)
        self._last = grey, log_depth
        with np.errstate(over='ignore'):
            inverse = np.exp(-log_depth - stretch)      # of the smoothed scale
        screen = self._steady_screen(inverse, settings)
        gain, limit = self._comfort(inverse - screen, focal_px * settings.baseline_m,
                                    image.shape[1], settings)
        factor = math.exp(-stretch)         # smoothed metres are this much shorter
        return Plan(settings.baseline_m * gain * factor,
                    factor / screen if screen > 0.0 else math.inf, limit, cut)

    def _steady_scale(self, grey: np.ndarray, log_depth: np.ndarray, weight: float) -> float:
        """Logarithm of what depth is multiplied with to stay steady."""
        if self._last is None:
            self._scale = self._smooth_scale = 0.0
        else:
            self._scale += _change_of_scale(*self._last, grey, log_depth)
            self._smooth_scale += (1.0 - weight) * (self._scale - self._smooth_scale)
        return self._smooth_scale - self._scale

    def _steady_screen(self, inverse: np.ndarray, settings: StereoSettings) -> float:
        """1 / convergence, 1/m."""
        if settings.auto_convergence == 'off':
            return 1.0 / settings.convergence_m
        height, width = inverse.shape
        part, share = inverse, EXTREMES[1]
        if settings.auto_convergence == 'subject':
            part, share = inverse[height // 3:-(height // 3), width // 3:-(width // 3)], 50.0
        known = part[np.isfinite(part)]
        if known.size:
            target = float(np.percentile(known, share))
            past = target if self._screen is None else self._screen
            self._screen = target + settings.smoothing * (past - target)
        return self._screen or 0.0

    def _comfort(self, inverse: np.ndarray, focal_baseline: float, width: int,
                 settings: StereoSettings) -> tuple[float, float]:
        """By how much the baseline is shortened, and the limit in pixels."""
        if not settings.max_disparity_percent:
            return 1.0, math.inf
        limit = settings.max_disparity_percent / 100.0 * width
        known = inverse[np.isfinite(inverse)]
        most = float(np.abs(np.percentile(known, EXTREMES)).max()) if known.size else 0.0
        most *= focal_baseline
        share = max(limit / most, sys.float_info.min) if most > 0.0 else 1.0    # 0 has no log
        target = math.log(min(1.0, share))
        past = target if self._gain is None else self._gain
        self._gain = target + settings.smoothing * (past - target)
        return math.exp(self._gain), limit


class FlickerMeter:
    """How much disparity trembles, in pixels.

    Of each three frames in a row the second difference of disparity is taken, its median over the
    pixels, and of those the mean: steady motion of the camera or of things counts for nothing.

    Attributes
    ----------
    frames : frames that were measured, each with the two before it
    """

    def __init__(self) -> None:
        self.frames, self._sum = 0, 0.0
        self._last: list[tuple[np.ndarray, np.ndarray]] = []

    @property
    def px(self) -> float:
        """Mean so far; NaN without anything measured."""
        return self._sum / self.frames if self.frames else math.nan

    def add(self, image: np.ndarray, disparity: np.ndarray) -> None:
        """Take the next frame: (H, W, 3) uint8, and (H, W) float32 in pixels."""
        grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), SAMPLES,
                          interpolation=cv2.INTER_AREA)
        small = cv2.resize(disparity, SAMPLES, interpolation=cv2.INTER_NEAREST)
        if self._last and is_cut(self._last[-1][0], grey):
            self._last = []
        if len(self._last) == 2:
            second = np.abs(small - 2.0 * self._last[1][1] + self._last[0][1])
            second = second[np.isfinite(second)]
            if second.size:
                self._sum += float(np.median(second))
                self.frames += 1
        self._last = [*self._last[-1:], (grey, small)]


def sampled(image: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A small grey picture and the logarithm of its depth, NaN where unknown."""
    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), SAMPLES,
                      interpolation=cv2.INTER_AREA)
    small = cv2.resize(depth, SAMPLES, interpolation=cv2.INTER_NEAREST)
    known = (small > 0.0) & np.isfinite(small)
    return grey, np.log(np.where(known, small, np.nan))


def is_cut(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether two small grey pictures show different scenes."""
    if cv2.absdiff(before, after).mean() < CUT_LEVELS:
        return False
    a, b = (cv2.GaussianBlur(each, (0, 0), 2).astype(float) for each in (before, after))
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum()) < CUT_CORRELATION * math.sqrt((a * a).sum() * (b * b).sum())


def is_still(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Pixels of two small grey pictures that show the same thing at the same place, bool."""
    texture = cv2.morphologyEx(after, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    return (cv2.absdiff(before, after) < STILL_LEVELS) & (texture >= TEXTURE_LEVELS)


def _change_of_scale(grey: np.ndarray, log_depth: np.ndarray, new_grey: np.ndarray,
                     new_log_depth: np.ndarray) -> float:
    """Median logarithm of the ratio of depths, of pixels that did not change if there are any."""
    change = new_log_depth - log_depth
    known = np.isfinite(change)
    still = known & is_still(grey, new_grey)
    where = still if still.mean() > FEWEST_STILL else known
    return float(np.median(change[where])) if where.any() else 0.0
