"""Metrics of a data set: averages per image and per pixel, with intervals, by one protocol.

A number without its alignment, crop and caps cannot be compared with anybody's; the summary
therefore carries them.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
from dataclasses import dataclass

import numpy as np

from depth_perception.metrics import METRICS, bootstrap_interval, depth_metrics
from depth_perception.similarity import similarity_metrics

#: Roots of a mean over pixels: their squares are averaged over the pixels of all images.
ROOTS = ('rmse', 'rmse_log', 'silog')


@dataclass(frozen=True)
class Protocol:
    """How predictions are compared with the truth.

    The published protocol for NYU Depth V2 is ``Protocol(max_depth=10.0, crop='eigen')``.

    Attributes
    ----------
    min_depth, max_depth : float
        Metres; truth outside does not count, predictions are clipped.
    align : str
        ``none``, ``median`` or ``least_squares``, for each image by itself.
    crop : str
        ``none`` or ``eigen``.
    norm : str
        Of MSE and SSIM in 0..1: ``max_depth`` or ``minmax``.
    """

    min_depth: float = 1e-3
    max_depth: float = 80.0
    align: str = 'none'
    crop: str = 'none'
    norm: str = 'max_depth'

    def score(self, pred: np.ndarray, truth: np.ndarray,
              mask: np.ndarray | None = None) -> dict[str, float]:
        """All metrics of one image.

        Parameters
        ----------
        pred, truth : (H, W) arrays, metres
            Pixels without truth are NaN or 0, without prediction NaN.
        mask : (H, W) bool array, optional
            Pixels that may count.

        Returns
        -------
        dict
            What ``depth_metrics`` and ``similarity_metrics`` give.

        Raises
        ------
        MetricsError
            If the arrays do not fit, or the protocol names something unknown.
        """
        settings = dataclasses.asdict(self)
        similarity = similarity_metrics(pred, truth, mask, **settings)
        del settings['norm']
        return depth_metrics(pred, truth, mask, **settings) | similarity


class Scores:
    """Collects the metrics of images and averages them."""

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol
        self._images: list[dict[str, float]] = []

    def add(self, pred: np.ndarray, truth: np.ndarray,
            mask: np.ndarray | None = None) -> dict[str, float]:
        """Score one image (see :meth:`Protocol.score`), keep the result and return it."""
        scores = self.protocol.score(pred, truth, mask)
        self._images.append(scores)
        return scores

    def summary(self, *, resamples: int = 2000, seed: int = 0) -> dict:
        """Averages over the images that have a pixel to compare.

        Returns
        -------
        dict
            ``protocol``: its settings; ``images``: how many count; ``without_truth`` and
            ``without_prediction``: how many do not; ``pixels``; ``valid``: the share of all
            pixels with truth that have a prediction; ``per_image`` and ``per_pixel``: metric ->
            ``mean``, ``lo`` and ``hi``, the 95 % bootstrap interval over images. Per pixel,
            every image weighs as many pixels as it has, and roots are taken last.
        """
        kept = [image for image in self._images if image['pixels']]
        pixels = np.array([image['pixels'] for image in kept])
        names = (*METRICS, *(f'{name}_{self.protocol.norm}' for name in ('mse', 'ssim')))
        columns = {name: np.array([image[name] for image in kept]) for name in names}
        truth = np.array([image['truth_pixels'] for image in self._images])
        return {
            'protocol': dataclasses.asdict(self.protocol),
            'images': len(kept),
            'without_truth': int((truth == 0).sum()),
            'without_prediction': int((truth > 0).sum()) - len(kept),
            'pixels': int(pixels.sum()),
            'valid': float(pixels.sum() / truth.sum()) if truth.any() else float('nan'),
            'per_image': {name: _average(column, np.ones(len(kept)), False, resamples, seed)
                          for name, column in columns.items()},
            'per_pixel': {name: _average(column, pixels, name in ROOTS, resamples, seed)
                          for name, column in columns.items()},
        }


def _average(values: Sequence[float], weights: np.ndarray, is_root: bool, resamples: int,
             seed: int) -> dict[str, float]:
    values = np.asarray(values)**2 if is_root else np.asarray(values)
    known = ~np.isnan(values)
    mean = np.average(values[known], weights=weights[known]) if known.any() else np.nan
    interval = bootstrap_interval(values, resamples, seed, weights=weights)
    results = {'mean': mean, 'lo': interval[0], 'hi': interval[1]}
    return {key: float(np.sqrt(x) if is_root else x) for key, x in results.items()}
