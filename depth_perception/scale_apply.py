"""Applies a scale to depth images, and follows a range sensor from frame to frame."""

from __future__ import annotations

import math

import numpy as np

from depth_perception.scale import MIN_POINTS, Scale, ScaleError

CONTRADICTION = 0.3     # points of one frame that differ by more, as a logarithm, say nothing
LARGEST_STEP = 0.25     # that one frame may bring, as a logarithm
FIRST_FRAMES = 5        # before them there is no past: the median of these begins
_TINY = float(np.finfo(np.float32).tiny)
_LARGEST = float(np.finfo(np.float32).max)


class Rescaler:
    """Applies a scale to depth images, in place, with buffers made once a size."""

    def __init__(self) -> None:
        self._buffers(0, 0)

    def metric(self, depth: np.ndarray, scale: Scale, min_depth: float,
               max_depth: float) -> np.ndarray:
        """Correct metres of a model in place.

        Parameters
        ----------
        depth : (H, W) float32, metres, NaN invalid
        scale : Scale
        min_depth, max_depth : float
            Metres after the correction; outside becomes NaN.
        """
        self._buffers(*depth.shape)
        with np.errstate(divide='ignore', over='ignore', invalid='ignore'):
            if scale.shift == 0.0:
                np.multiply(depth, np.float32(1.0 / scale.scale), out=depth)
            else:
                np.multiply(depth, np.float32(scale.shift), out=self._divisor)
                np.add(self._divisor, np.float32(scale.scale), out=self._divisor)
                np.divide(depth, self._divisor, out=depth)
            return self._limited(depth, min_depth, max_depth)

    def relative(self, values: np.ndarray, scale: Scale, min_depth: float, max_depth: float,
                 out: np.ndarray) -> np.ndarray:
        """Metres of a relative model's values (H, W) float32, into `out` of the same shape."""
        self._buffers(*values.shape)
        with np.errstate(divide='ignore', over='ignore', invalid='ignore'):
            np.multiply(values, np.float32(scale.scale), out=out)
            np.add(out, np.float32(scale.shift), out=out)
            np.divide(np.float32(1.0), out, out=out)
            return self._limited(out, min_depth, max_depth)

    def _buffers(self, *shape: int) -> None:
        if shape == (0, 0) or self._divisor.shape != shape:
            self._divisor = np.empty(shape, np.float32)
            self._valid, self._within = (np.empty(shape, bool) for _ in range(2))

    def _limited(self, depth: np.ndarray, low: float, high: float) -> np.ndarray:
        # what lies behind infinity came out negative
        np.greater_equal(depth, np.float32(max(low, _TINY)), out=self._valid)
        np.less_equal(depth, np.float32(min(high, _LARGEST)), out=self._within)
        np.logical_and(self._valid, self._within, out=self._valid)
        np.copyto(depth, np.nan, where=np.logical_not(self._valid, out=self._valid))
        return depth


class Alignment:
    """Follows a range source: the factor that inverse depth lacks, smoothed over frames.

    Parameters
    ----------
    weight : float
        Of the past, 0 to 1.
    min_points : int
        Fewer in a frame say nothing: they may all lie on the robot itself.
    """

    def __init__(self, weight: float = 0.9, min_points: int = MIN_POINTS) -> None:
        self.weight, self._min_points = weight, min_points
        self._first: list[float] = []
        self._log: float | None = None

    @property
    def known(self) -> bool:
        """Whether enough was seen for a factor."""
        return self._log is not None

    @property
    def factor(self) -> float:
        """By how much inverse depth has to be multiplied; 1 until it is known."""
        return 1.0 if self._log is None else math.exp(self._log)

    @property
    def drift(self) -> float:
        """By how much depth is too far as a share, before this alignment; negative: too near."""
        return self.factor - 1.0

    def add(self, values: np.ndarray, metres: np.ndarray, scale: Scale) -> None:
        """Take the points of one frame as `fit_scale` does.

        Raises
        ------
        ScaleError
            They say too little.
        """
        middle = self._middle(values, metres, scale)
        if self._log is not None:
            # one wild frame moves it no more than a strong disagreement does
            step = min(max(middle - self._log, -LARGEST_STEP), LARGEST_STEP)
            self._log += (1.0 - self.weight) * step
            return
        self._first.append(middle)
        if len(self._first) == FIRST_FRAMES:
            self._log = float(np.median(self._first))

    def _middle(self, values: np.ndarray, metres: np.ndarray, scale: Scale) -> float:
        """Logarithm of what inverse depth lacks in one frame."""
        with np.errstate(divide='ignore', invalid='ignore'):
            ratios = 1.0 / (np.asarray(metres, np.float64) * scale.inverse(np.asarray(values)))
        ratios = np.log(ratios[(ratios > 0.0) & (ratios < math.inf)])
        if len(ratios) < self._min_points:
            raise ScaleError(f'{len(ratios)} points of the range source lie in the picture where '
                             f'there is depth; at least {self._min_points} are needed: check '
                             'that it sees what the camera sees')
        middle = float(np.median(ratios))
        spread = float(np.median(np.abs(ratios - middle)))
        if spread > CONTRADICTION:
            raise ScaleError(f'points of the range source differ from the depth by '
                             f'{100.0 * math.expm1(spread):.0f} % among themselves; check '
                             'where the sensor sits')
        return middle
