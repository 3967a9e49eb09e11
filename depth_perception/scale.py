"""Right metres for a model that has none, or misjudges them: scale and shift of inverse depth.

    1 / metres = scale * value + shift

where `value` is the model's own inverse depth: 1 / its metres, or what a relative model gives.
Both numbers are fitted to points of known distance, robustly: a range sensor sees glass, its own
robot and what lies behind an edge, and a network is wrong in places.
"""

from __future__ import annotations

from dataclasses import dataclass
import math

import numpy as np

MIN_POINTS = 20
MIN_SPREAD = 1.5        # farthest / nearest: below, a shift cannot be told from a scale
MAX_ERROR = 0.2         # typical error of a fit, as a share of the distance
SENSED_M = 1e-3, 1e6     # other distances are none, and their inverse may be infinite or nothing
SHIFT_PAYS = 0.8        # a shift has to lower the typical error of a metric model to this share,
GOOD_ERROR = 0.02       # and is not looked for where the scale alone does as well as this
FOLLOWS = 0.8           # and a fit has to have at most this share of the error of a constant
_HYPOTHESES, _SCORED, _USED = 256, 1000, 20000
_TOLERANCE = 0.1        # error at which a point counts as an outlier of a hypothesis
_TUKEY = 4.685          # 95 % efficient for normal errors


class ScaleError(ValueError):
    """A scale cannot be found, or is none; the message gives the reason and the way out."""


@dataclass(frozen=True)
class Scale:
    """1 / metres = scale * value + shift, shift in 1/m.

    Raises
    ------
    ScaleError
        Unless the scale is above 0 and both are finite.
    """

    scale: float = 1.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        if not (0.0 < self.scale < math.inf and math.isfinite(self.shift)):
            raise ScaleError(f'scale is {self.scale:g} and shift {self.shift:g}; the scale must '
                             'be above 0 and both finite: calibrate again')

    def inverse(self, values: np.ndarray) -> np.ndarray:
        """1/m of the model's values."""
        return self.scale * values + self.shift

    def times(self, factor: float) -> Scale:
        """The scale that makes inverse depth `factor` times as large."""
        return Scale(self.scale * factor, self.shift * factor)


@dataclass(frozen=True)
class ScaleFit:
    """A scale and how well it is known.

    Attributes
    ----------
    scale : Scale
    points, inliers : int
        Points given, and those that agree.
    error : float
        Typical error over all points, as a share of the distance.
    nearest_m, farthest_m : float
        5th and 95th percentile of the distances.
    """

    scale: Scale
    points: int
    inliers: int
    error: float
    nearest_m: float
    farthest_m: float

    def __str__(self) -> str:
        seen = f'one point at {self.nearest_m:.2f} m' if self.points == 1 else (
            f'{self.points} points between {self.nearest_m:.2f} and {self.farthest_m:.2f} m '
            f'({self.inliers} agree), typical error {100.0 * self.error:.1f} %')
        return f'scale {self.scale.scale:.4g}, shift {self.scale.shift:.4g} 1/m from {seen}'


def fit_scale(values: np.ndarray, metres: np.ndarray, *, is_metric: bool,
              min_points: int = MIN_POINTS) -> ScaleFit:
    """Fit scale and shift.

    Parameters
    ----------
    values : (N,) array
        The model's inverse depth: 1 / its metres, or a relative model's output.
    metres : (N,) array
        True depth at the same places.
    is_metric : bool
        True: the shift stays 0 unless it is needed; also where distances are much alike. False:
        the model is relative, and both numbers have to be found.
    min_points : int
        Fewer usable points are refused.

    Raises
    ------
    ScaleError
        Too few points, too little spread in depth, a poor fit.
    """
    x, y = _usable(values, metres, is_metric)
    if len(x) < min_points:
        raise ScaleError(f'{len(x)} points of known distance lie in the picture; at least '
                         f'{min_points} are needed: check that the range source sees what the '
                         'camera sees')
    far, near = 1.0 / np.percentile(y, (5.0, 95.0))
    spread = bool(far >= MIN_SPREAD * near)
    if not spread and not is_metric:
        raise ScaleError(f'all distances lie between {near:.2f} and {far:.2f} m; a relative model '
                         f'needs a farthest of at least {MIN_SPREAD:g} times the nearest, to find '
                         'scale and shift: look at something near and something far')
    found = _best(x, y, is_metric, spread)
    errors = _errors(found, x, y)
    error = float(np.median(errors))
    _check(found, error, y, spread)
    inliers = int(np.count_nonzero(errors <= max(3.0 * 1.4826 * error, 0.02)))
    return ScaleFit(Scale(*map(float, found)), len(x), inliers, error, float(near), float(far))


def _usable(values: np.ndarray, metres: np.ndarray,
            is_metric: bool) -> tuple[np.ndarray, np.ndarray]:
    x = np.asarray(values, np.float64).ravel()
    z = np.asarray(metres, np.float64).ravel()
    with np.errstate(invalid='ignore'):
        good = np.isfinite(x) & np.isfinite(z) & (z >= SENSED_M[0]) & (z <= SENSED_M[1])
    if is_metric:
        good &= x > 0.0
    x, z = x[good], z[good]
    step = -(-len(x) // _USED) or 1
    return x[::step], 1.0 / z[::step]


def _best(x: np.ndarray, y: np.ndarray, is_metric: bool,
          spread: bool) -> tuple[float, float]:
    """Scale and shift; of a metric model the scale alone where the shift does not pay."""
    line = _line(x, y) if spread else None
    if not is_metric:
        return line
    ratio = _refined((float(np.median(y / x)), 0.0), x, y, with_shift=False)
    if line is None:
        return ratio
    errors = [float(np.median(_errors(each, x, y))) for each in (line, ratio)]
    pays = errors[1] > GOOD_ERROR and errors[0] < SHIFT_PAYS * errors[1]
    return line if pays and line[0] > 0.0 else ratio


def _check(found: tuple[float, float], error: float, y: np.ndarray, spread: bool) -> None:
    if found[0] <= 0.0:
        raise ScaleError('the model calls far what the range source calls near; check where the '
                         'range source sits: range.translation, range.rotation_xyzw, /tf_static')
    if error > MAX_ERROR:
        raise ScaleError(f'the best fit has a typical error of {100 * error:.0f} %, more than '
                         f'{100 * MAX_ERROR:.0f} %; check where the range source sits, hold the '
                         'camera still, and look at surfaces that both see')
    constant = float(np.median(_apart(np.median(y), y)))
    if spread and error > FOLLOWS * constant:
        raise ScaleError(f'the depth of the model hardly follows the range source (typical error '
                         f'{100 * error:.0f} %, of a constant {100 * constant:.0f} %); check '
                         'where the range source sits and that stamps agree')


def _errors(line: tuple[float, float], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How far off, as a share of the smaller of both distances: twice and half are the same."""
    return _apart(line[0] * x + line[1], y)


def _apart(predicted: np.ndarray, y: np.ndarray) -> np.ndarray:
    with np.errstate(divide='ignore'):
        ratio = np.maximum(predicted, 0.0) / y
        return np.maximum(ratio, 1.0 / ratio) - 1.0


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """RANSAC with a smooth score, then least squares; the same points give the same answer."""
    rng = np.random.default_rng(0)
    i, j = rng.integers(0, len(x), (2, _HYPOTHESES))
    different = x[i] != x[j]
    i, j = i[different], j[different]
    if not len(i):
        raise ScaleError('the model gives the same depth everywhere while the distances differ; '
                         'look at a scene that the model understands')
    scale = (y[i] - y[j]) / (x[i] - x[j])
    shift = y[i] - scale * x[i]
    some = rng.permutation(len(x))[:_SCORED]
    errors = _apart(scale[:, None] * x[some] + shift[:, None], y[some])
    best = int(np.argmin(np.mean(np.minimum(errors, _TOLERANCE) ** 2, axis=1)))
    return _refined((scale[best], shift[best]), x, y, with_shift=True)


def _refined(start: tuple[float, float], x: np.ndarray, y: np.ndarray, *,
             with_shift: bool) -> tuple[float, float]:
    """Least squares of the relative error, outliers weighted down (Tukey's biweight).

    The difference is divided by the root of both sides, as a logarithm would weigh it: divided
    by y alone, poor data are explained best by a scale near 0.
    """
    columns = np.stack((x, np.ones_like(x)), axis=1)[:, :1 + with_shift]
    found = np.array(start[:1 + with_shift])
    for _ in range(20):
        predicted = columns @ found
        if not (predicted > 0.0).any():
            break
        unit = np.sqrt(y * np.maximum(predicted, 0.01 * y))
        residual = (predicted - y) / unit
        sigma = max(1.4826 * float(np.median(np.abs(residual))), 1e-6)
        root = np.clip(1.0 - (residual / (_TUKEY * sigma)) ** 2, 0.0, None)  # of the weight
        last, found = found, _least_squares(columns * (root / unit)[:, None], y * root / unit)
        if np.allclose(found, last, rtol=1e-9, atol=0.0):
            break
    return float(found[0]), float(found[1]) if with_shift else 0.0


def _least_squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.lstsq(a, b, rcond=None)[0]
    except np.linalg.LinAlgError:
        raise ScaleError('the model gives values from which no scale can be found; look at a '
                         'scene that the model understands') from None
