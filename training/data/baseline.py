"""What a model must beat: the training set's mean depth at each pixel, and its median depth."""
from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

HISTOGRAM_EDGES = np.geomspace(0.05, 100.0, 4001)  # bins of 0.19 %


class Baselines(NamedTuple):
    """mean (h, w) float32 metres at each pixel; median float metres over all pixels."""

    mean: np.ndarray
    median: float

    def mean_at(self, height: int, width: int) -> np.ndarray:
        """Return the mean-depth map for pictures of another size."""
        return cv2.resize(self.mean, (width, height), interpolation=cv2.INTER_LINEAR)

    def save(self, path: Path | str) -> None:
        """Write both to one .npz file."""
        np.savez(path, mean=self.mean, median=np.float32(self.median))


def load_baselines(path: Path | str) -> Baselines:
    """Read what Baselines.save wrote."""
    with np.load(path) as archive:
        return Baselines(archive['mean'], float(archive['median']))


def baselines(dataset, samples: int = 2000) -> Baselines:
    """Measure both over `samples` items of a training set.

    Parameters
    ----------
    dataset
        `build(config, 'train', augment=False)`: views drawn by the training weights, unchanged.
    samples
        Items to read, at most the length of the data set.

    Returns
    -------
    Baselines
        Invalid (NaN) depth counts nowhere; a pixel never valid gets the median.
    """
    total = count = 0.0
    histogram = np.zeros(len(HISTOGRAM_EDGES) - 1)
    for index in range(min(samples, len(dataset))):
        depth = np.asarray(dataset[index]['depth'], np.float64)
        valid = np.isfinite(depth)
        total = total + np.where(valid, depth, 0.0)
        count = count + valid
        histogram += np.histogram(depth[valid], HISTOGRAM_EDGES)[0]
    bin_index = int(np.searchsorted(np.cumsum(histogram), histogram.sum() / 2))
    median = float(np.sqrt(HISTOGRAM_EDGES[bin_index] * HISTOGRAM_EDGES[bin_index + 1]))
    mean = np.where(count > 0, total / np.maximum(count, 1), median)
    return Baselines(mean.astype(np.float32), median)
