"""Depth metrics as the literature defines them, with masks, caps, alignment and intervals.

With p the prediction, t the truth, both in metres, and means over the pixels that count
(Eigen et al. 2014; silog as in the KITTI depth benchmark):

- abs_rel = mean(|p - t| / t), sq_rel = mean((p - t)^2 / t) [m]
- mse = mean((p - t)^2) [m^2], rmse = sqrt(mse) [m]
- rmse_log = sqrt(mean((ln p - ln t)^2)), log10 = mean(|log10 p - log10 t|)
- delta1, delta2, delta3 = share of pixels with max(p / t, t / p) < 1.25, 1.25^2, 1.25^3
- scale_invariant = mean(e^2) - mean(e)^2 with e = ln p - ln t: Eigen's error, blind to a common
  scale; silog = 100 * sqrt(scale_invariant)

MSE and SSIM of depth brought to 0..1 are in :mod:`depth_perception.similarity`, averages over a
data set in :mod:`depth_perception.scoring`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

ALIGNMENTS = ('none', 'median', 'least_squares')
#: Eigen's crop of NYU Depth V2 at its full size: what the Kinect's projection leaves.
CROPS = ('none', 'eigen')
EIGEN_SIZE = (480, 640)
EIGEN_CROP = (slice(45, 471), slice(41, 601))  # rows, columns
METRICS = ('abs_rel', 'sq_rel', 'rmse', 'rmse_log', 'log10', 'delta1', 'delta2', 'delta3', 'silog',
           'mse', 'scale_invariant')


class MetricsError(ValueError):
    """Arrays that cannot be compared, or an unknown alignment or crop."""


class Matched(NamedTuple):
    """The N pixels of one image that are compared, and how many M have countable truth.

    `prediction` and `truth` are (N,) float64 metres, the prediction aligned and clipped;
    `where` is bool, of the image's shape, with N pixels True.
    """

    prediction: np.ndarray
    truth: np.ndarray
    where: np.ndarray
    countable: int


class Interval(NamedTuple):
    """A mean and the ends of its confidence interval."""

    mean: float
    lo: float
    hi: float


def depth_metrics(pred: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None, *,
                  min_depth: float = 1e-3, max_depth: float = 80.0,
                  align: str = 'none', crop: str = 'none') -> dict[str, float]:
    """Compare a depth image with the truth.

    Parameters
    ----------
    pred, truth : (...) arrays, metres
        Of the same shape. Pixels without truth are NaN or 0, without prediction NaN.
    mask : (...) bool array, optional
        Pixels that may count.
    min_depth, max_depth : float
        Metres. Truth outside does not count; the prediction is clipped to these limits after
        the alignment, so that one pixel near 0 does not rule a logarithm.
    align : str
        ``none``; ``median``: p * median(t) / median(p); ``least_squares``: s * p + b with the
        s and b of least squared error in depth. Whoever prints the result has to name it.
    crop : str
        ``none``; ``eigen``: rows 45 to 470 and columns 41 to 600 of (480, 640) images.

    Returns
    -------
    dict
        The metrics of the module's docstring; ``valid``: the share of the pixels with truth
        that have a prediction; ``pixels`` and ``truth_pixels``: how many these are. Pixels
        without a prediction count in ``valid`` only. Without a single pixel all metrics are NaN.

    Raises
    ------
    MetricsError
        If the shapes differ, the alignment or crop is unknown, or the image is not of the
        crop's size.
    """
    pixels = match(pred, truth, mask, min_depth=min_depth, max_depth=max_depth, align=align,
                   crop=crop)
    n = len(pixels.truth)
    counts = {'valid': n / max(1, pixels.countable), 'pixels': n,
              'truth_pixels': pixels.countable}
    if not n:
        return dict.fromkeys(METRICS, float('nan')) | counts
    return _errors(pixels.prediction, pixels.truth) | counts


def match(pred: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None, *,
          min_depth: float = 1e-3, max_depth: float = 80.0, align: str = 'none',
          crop: str = 'none') -> Matched:
    """Choose the pixels to compare and align the prediction; see :func:`depth_metrics`."""
    _check(pred, truth, mask, align)
    counts = (truth >= min_depth) & (truth <= max_depth)  # False for NaN
    if mask is not None:
        counts &= mask
    if crop != 'none':
        counts &= crop_mask(truth.shape, crop)
    where = counts & np.isfinite(pred)
    p, t = pred[where].astype(np.float64), truth[where].astype(np.float64)
    if len(t):
        p = np.clip(_align(p, t, align), min_depth, max_depth)
    return Matched(p, t, where, int(counts.sum()))


def crop_mask(shape: tuple[int, ...], crop: str) -> np.ndarray:
    """True inside the crop of an image of `shape` (H, W).

    Raises
    ------
    MetricsError
        If the crop is unknown or not defined for this size.
    """
    if crop not in CROPS:
        raise MetricsError(f'crop is {crop!r}; it must be one of {", ".join(CROPS)}')
    inside = np.ones(shape, bool)
    if crop == 'eigen':
        if tuple(shape) != EIGEN_SIZE:
            raise MetricsError(f'the image has shape {tuple(shape)}; the Eigen crop is one of '
                               f'{EIGEN_SIZE} images: resize to that first')
        inside[:] = False
        inside[EIGEN_CROP] = True
    return inside


def bootstrap_interval(values: Sequence[float] | np.ndarray, n: int = 2000, seed: int = 0,
                       level: float = 0.95, *,
                       weights: Sequence[float] | np.ndarray | None = None
                       ) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean.

    Parameters
    ----------
    values : (N,) array
        One value for each image (pixels of an image are not independent). NaN is left out.
    n : int
        Resamples.
    seed : int
    level : float
        Share of the resampled means that lie inside.
    weights : (N,) array, optional
        Of the mean, above 0; such as the pixels of each image.

    Returns
    -------
    (lo, hi) : floats
        NaN where there is no value.
    """
    values = np.asarray(values, np.float64)
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)
    values, weights = values[~np.isnan(values)], weights[~np.isnan(values)]
    if not len(values):
        return float('nan'), float('nan')
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(values), (n, len(values)))
    means = np.average(values[drawn], axis=1, weights=weights[drawn])  # (n, N) -> (n,)
    tail = 0.5 * (1.0 - level)
    lo, hi = np.quantile(means, (tail, 1.0 - tail))
    return float(lo), float(hi)


def paired_difference(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray,
                      n: int = 2000, seed: int = 0, level: float = 0.95) -> Interval:
    """Mean of a - b over the same images, with its bootstrap interval.

    An interval without 0 says that the two differ. Images where either is NaN are left out.

    Raises
    ------
    MetricsError
        If a and b differ in length.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        raise MetricsError(f'a has {a.shape}, b has {b.shape} values; '
                           'a pair needs one of each for every image')
    difference = a - b
    difference = difference[~np.isnan(difference)]
    mean = float(difference.mean()) if len(difference) else float('nan')
    return Interval(mean, *bootstrap_interval(difference, n, seed, level))


def _check(pred: np.ndarray, truth: np.ndarray, mask: np.ndarray | None, align: str) -> None:
    if pred.shape != truth.shape:
        raise MetricsError(f'prediction has shape {pred.shape}, truth {truth.shape}; '
                           'resize the prediction to the truth first')
    if mask is not None and (mask.shape != truth.shape or mask.dtype != bool):
        raise MetricsError(f'mask has shape {mask.shape} and type {mask.dtype}; '
                           f'it must be {truth.shape} and bool')
    if align not in ALIGNMENTS:
        raise MetricsError(f'align is {align!r}; it must be one of {", ".join(ALIGNMENTS)}')


def _align(p: np.ndarray, t: np.ndarray, align: str) -> np.ndarray:
    if align == 'median':
        middle = np.median(p)
        # A median of 0 or less has no scale that could help.
        return p * (np.median(t) / middle) if middle > 0 else p
    if align == 'least_squares':
        spread = p - p.mean()
        variance = np.dot(spread, spread)
        # A constant prediction (but for rounding) leaves the scale open: only the shift is used.
        constant = variance <= len(p) * (1e-9 * p.mean())**2
        scale = 1.0 if constant else np.dot(spread, t - t.mean()) / variance
        return scale * spread + t.mean()
    return p


def _errors(p: np.ndarray, t: np.ndarray) -> dict[str, float]:
    difference = p - t
    logs = np.log(p) - np.log(t)
    ratio = np.maximum(p / t, t / p)
    mse, variance = np.mean(difference**2), np.var(logs)
    values = {
        'abs_rel': np.mean(np.abs(difference) / t),
        'sq_rel': np.mean(difference**2 / t),
        'rmse': np.sqrt(mse),
        'rmse_log': np.sqrt(np.mean(logs**2)),
        'log10': np.mean(np.abs(logs)) / np.log(10.0),
        'delta1': np.mean(ratio < 1.25),
        'delta2': np.mean(ratio < 1.25**2),
        'delta3': np.mean(ratio < 1.25**3),
        'silog': 100.0 * np.sqrt(variance),
        'mse': mse,
        'scale_invariant': variance,
    }
    return {name: float(value) for name, value in values.items()}
