"""Is a model as sure as it is right? Confidence against the share of pixels that are right.

Confidence is the probability that depth is off by less than a factor of 1.25
(training.contract), so that of all pixels with confidence c the share c should be.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from training.contract import CONFIDENT_RATIO

BINS = 20
PIXELS_KEPT = 2000  # of each picture, for what needs all of them sorted
FRACTIONS = np.linspace(0.0, 0.95, 20)  # of the pixels that are dropped, least confident first


class Reliability:
    """Collects pictures; see the module's text."""

    def __init__(self) -> None:
        self._pixels = np.zeros(BINS)
        self._confidence = np.zeros(BINS)
        self._right = np.zeros(BINS)
        self._kept: list[np.ndarray] = []

    def add(self, confidence: np.ndarray, depth: np.ndarray, truth: np.ndarray) -> None:
        """Count one picture: confidence 0..1, depth and truth in metres, all (H, W)."""
        known = np.isfinite(confidence) & (depth > 0) & (truth > 0) & np.isfinite(truth)
        c, p, t = (x[known].astype(np.float64) for x in (confidence, depth, truth))
        right = np.maximum(p / t, t / p) < CONFIDENT_RATIO
        bins = np.minimum((c * BINS).astype(int), BINS - 1)
        self._pixels += np.bincount(bins, minlength=BINS)
        self._confidence += np.bincount(bins, c, minlength=BINS)
        self._right += np.bincount(bins, right, minlength=BINS)
        step = max(1, len(c) // PIXELS_KEPT)
        self._kept.append(np.stack([c, np.abs(p / t - 1)])[:, ::step])

    def summary(self) -> dict[str, Any]:
        """What was counted.

        Returns
        -------
        dict
            ``bins``: mean ``confidence``, ``right`` (the share of pixels) and ``pixels`` of each
            bin that has any; ``expected_calibration_error``: mean |confidence - right|, by
            pixels; ``sparsification``: AbsRel of what stays when the least confident pixels are
            dropped (``by_confidence``), and when those with the largest error are (``best``), at
            each of ``dropped``; ``ause``: area between the two curves over AbsRel of all.
        """
        some = self._pixels > 0
        pixels = self._pixels[some]
        if not len(pixels):
            return {'bins': []}
        confidence, right = (x[some] / pixels for x in (self._confidence, self._right))
        gap = float((np.abs(confidence - right) * pixels).sum() / pixels.sum())
        chosen, best = self._curves()
        area = float((chosen - best).mean() * FRACTIONS[-1])
        return {
            'bins': [{'confidence': float(c), 'right': float(r), 'pixels': int(n)}
                     for c, r, n in zip(confidence, right, pixels)],
            'expected_calibration_error': gap,
            'sparsification': {'dropped': FRACTIONS.tolist(), 'by_confidence': chosen.tolist(),
                               'best': best.tolist()},
            'ause': area / chosen[0] if chosen[0] else 0.0,
        }

    def _curves(self) -> tuple[np.ndarray, np.ndarray]:
        confidence, error = np.concatenate(self._kept, axis=1)
        return tuple(_means_left(error[np.argsort(-key, kind='stable')])
                     for key in (confidence, -error))


def _means_left(error: np.ndarray) -> np.ndarray:
    """Mean of what is left when so many of the last are dropped, for each of FRACTIONS."""
    sums = np.cumsum(error)
    left = np.maximum(1, np.round((1 - FRACTIONS) * len(error)).astype(int))
    return sums[left - 1] / left


def draw(summary: dict[str, Any], path: Path) -> None:
    """Draw both curves as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout='constrained')
    left, right = figure.subplots(1, 2)
    bins = summary['bins']
    left.plot([0, 1], [0, 1], color='0.7', label='as sure as right')
    left.plot([b['confidence'] for b in bins], [b['right'] for b in bins], marker='o',
              label=f"error {summary['expected_calibration_error']:.3f}")
    left.set(xlabel='confidence', ylabel='share of pixels off by less than 1.25', xlim=(0, 1),
             ylim=(0, 1))
    curves = summary['sparsification']
    right.plot(curves['dropped'], curves['by_confidence'], label='by confidence')
    right.plot(curves['dropped'], curves['best'], label='by error: the best order')
    right.set(xlabel='share of pixels dropped', ylabel='AbsRel of the others', ylim=(0, None))
    for axes in (left, right):
        axes.legend(frameon=False)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=100)
