"""MSE and SSIM of depth brought to 0..1: the two numbers of the Realtime U-Net paper.

Y. Zhang, "Realtime Single Image Depth Estimation", eq. 8 and table 1. The paper leaves the
normalisation unstated, so each result carries its own in its name.
"""

from __future__ import annotations

import cv2
import numpy as np

from depth_perception.metrics import Matched, MetricsError, match

#: depth / max_depth; or (depth - lo) / (hi - lo) with lo and hi of the image's true depth.
NORMS = ('max_depth', 'minmax')
WINDOW_PX, SIGMA_PX = 11, 1.5
C1, C2 = 0.01**2, 0.03**2


def similarity_metrics(pred: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None, *,
                       norm: str = 'max_depth', min_depth: float = 1e-3,
                       max_depth: float = 80.0, align: str = 'none',
                       crop: str = 'none') -> dict[str, float]:
    """MSE and mean SSIM of one image's normalised depth over the pixels that count.

    Parameters
    ----------
    pred, truth : (H, W) arrays, metres
        Pixels without truth are NaN or 0, without prediction NaN.
    norm : str
        ``max_depth`` or ``minmax``, see :data:`NORMS`; applied to truth and prediction alike.
    mask, min_depth, max_depth, align, crop
        As in :func:`depth_perception.metrics.depth_metrics`.

    Returns
    -------
    dict
        ``mse_NORM`` and ``ssim_NORM``. NaN without a pixel, and by ``minmax`` where the true
        depth is constant.

    Raises
    ------
    MetricsError
        If the norm is unknown, or as by ``depth_metrics``.
    """
    check_norm(norm)
    pixels = match(pred, truth, mask, min_depth=min_depth, max_depth=max_depth, align=align,
                   crop=crop)
    mse = similarity = float('nan')
    lo, hi = _limits(pixels, norm, max_depth)
    if hi > lo:
        p, t = ((values - lo) / (hi - lo) for values in (pixels.prediction, pixels.truth))
        mse = float(np.mean((p - t)**2))
        x, y = np.zeros(truth.shape), np.zeros(truth.shape)
        x[pixels.where], y[pixels.where] = p, t
        similarity = float(masked_ssim(x, y, pixels.where)[pixels.where].mean())
    return {f'mse_{norm}': mse, f'ssim_{norm}': similarity}


def masked_ssim(x: np.ndarray, y: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Structural similarity per pixel of (H, W) maps with values in 0..1.

    Gaussian windows (11 px, sigma 1.5) are renormalised over the pixels of `mask` in them, so
    that neither holes nor the border change a statistic. Meaningless where `mask` is False.
    """
    x, y = np.where(mask, x, 0.0), np.where(mask, y, 0.0)
    weight = np.maximum(_blur(mask.astype(np.float64)), 1e-6)
    mx, my, mxx, myy, mxy = (_blur(map_) / weight for map_ in (x, y, x * x, y * y, x * y))
    variances = np.maximum(mxx - mx * mx, 0) + np.maximum(myy - my * my, 0)
    return ((2 * mx * my + C1) * (2 * (mxy - mx * my) + C2)
            / ((mx * mx + my * my + C1) * (variances + C2)))


def check_norm(norm: str) -> None:
    """Raise MetricsError if the norm is unknown."""
    if norm not in NORMS:
        raise MetricsError(f'norm is {norm!r}; it must be one of {", ".join(NORMS)}')


def _limits(pixels: Matched, norm: str, max_depth: float) -> tuple[float, float]:
    if not len(pixels.truth):
        return 0.0, 0.0
    if norm == 'max_depth':
        return 0.0, max_depth
    return float(pixels.truth.min()), float(pixels.truth.max())


def _blur(image: np.ndarray) -> np.ndarray:
    # zero outside the image
    kernel = cv2.getGaussianKernel(WINDOW_PX, SIGMA_PX, cv2.CV_64F)
    return cv2.sepFilter2D(image, cv2.CV_64F, kernel, kernel, borderType=cv2.BORDER_CONSTANT)
