"""The metrics of depth_perception.metrics and .similarity on batches of tensors, where they lie.

One value an image, equal to the numpy ones; means, intervals and the meaning of every option are
documented there. Everything is computed in float64 without a transfer to the host.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from depth_perception.metrics import ALIGNMENTS, MetricsError, crop_mask
from depth_perception.similarity import check_norm
from training.losses.masked import kept, known
from training.losses.scale_shift import scale_and_shift
from training.losses.ssim import masked_ssim


class Matched(NamedTuple):
    """Pixels to compare: prediction (aligned, clipped), truth and mask, each (B, H, W)."""

    prediction: Tensor
    truth: Tensor
    where: Tensor
    countable: Tensor  # (B,) pixels with truth


def depth_metrics(
    pred: Tensor,
    truth: Tensor,
    mask: Tensor | None = None,
    *,
    min_depth: float = 1e-3,
    max_depth: float = 80.0,
    align: str = 'none',
    crop: str = 'none',
) -> dict[str, Tensor]:
    """Twin of :func:`depth_perception.metrics.depth_metrics`.

    Parameters
    ----------
    pred, truth : Tensor
        (B, H, W) or (B, 1, H, W) metres; NaN or 0 without truth, NaN without prediction.
    mask : Tensor, optional
        Bool, of their shape: pixels that may count.

    Returns
    -------
    dict
        Metric -> (B,) float64; NaN for images without a pixel to compare.

    Raises
    ------
    MetricsError
        As the numpy function.
    """
    m = match(pred, truth, mask, min_depth, max_depth, align, crop)
    pixels, countable = m.where.sum(dim=(1, 2)).double(), m.countable.double()
    counts = {
        'valid': pixels / countable.clamp(min=1),
        'pixels': pixels,
        'truth_pixels': countable,
    }
    return _errors(m.prediction, m.truth, m.where) | counts


def similarity_metrics(
    pred: Tensor,
    truth: Tensor,
    mask: Tensor | None = None,
    *,
    norm: str = 'max_depth',
    min_depth: float = 1e-3,
    max_depth: float = 80.0,
    align: str = 'none',
    crop: str = 'none',
) -> dict[str, Tensor]:
    """Twin of :func:`depth_perception.similarity.similarity_metrics`: (B,) float64 each."""
    check_norm(norm)
    m = match(pred, truth, mask, min_depth, max_depth, align, crop)
    lo, span = torch.zeros(len(truth), 1, 1).to(m.truth), torch.full_like(m.truth, max_depth)
    if norm == 'minmax':
        lo = torch.where(m.where, m.truth, math.inf).amin(dim=(1, 2), keepdim=True)
        hi = torch.where(m.where, m.truth, -math.inf).amax(dim=(1, 2), keepdim=True)
        span = torch.where(hi > lo, hi - lo, math.nan)
    p, t = (m.prediction - lo) / span, (m.truth - lo) / span
    maps = [x.unsqueeze(1) for x in (p, t, m.where)]  # (B, 1, H, W)
    return {
        f'mse_{norm}': _mean((p - t).square(), m.where),
        f'ssim_{norm}': _mean(masked_ssim(*maps).squeeze(1), m.where),
    }


def aligned_depth(inverse: Tensor, truth: Tensor, *, max_depth: float = 80.0) -> Tensor:
    """Metres from inverse depth known up to a scale and a shift, fitted to each image's truth.

    Both are the least-squares ones in inverse depth, as Ranftl et al. (MiDaS) align; depth ends
    at `max_depth`.

    Parameters
    ----------
    inverse, truth : Tensor
        (B, 1, H, W): a prediction of kind 'relative', and metres with holes.
    """
    mask = known(truth) & torch.isfinite(inverse)
    wanted = 1 / torch.where(mask, truth, torch.ones_like(truth))
    scale, shift = scale_and_shift(kept(inverse, mask), wanted, mask)
    return 1 / (scale * inverse + shift).clamp(min=1 / max_depth)


def match(
    pred: Tensor,
    truth: Tensor,
    mask: Tensor | None,
    min_depth: float,
    max_depth: float,
    align: str,
    crop: str,
) -> Matched:
    """Choose the pixels to compare and align the prediction, image by image."""
    _check(pred, truth, mask, align)
    height, width = truth.shape[-2:]
    pred, truth = (x.reshape(-1, height, width).double() for x in (pred, truth))
    counts = (truth >= min_depth) & (truth <= max_depth)
    if mask is not None:
        counts &= mask.reshape(counts.shape)
    if crop != 'none':
        counts &= torch.from_numpy(crop_mask((height, width), crop)).to(counts.device)
    where = counts & torch.isfinite(pred)
    one = torch.ones_like(truth)
    p, t = torch.where(where, pred, one), torch.where(where, truth, one)
    p = _align(p, t, where, align).clamp(min_depth, max_depth)
    return Matched(p, t, where, counts.sum(dim=(1, 2)))


def _check(pred: Tensor, truth: Tensor, mask: Tensor | None, align: str) -> None:
    if pred.shape != truth.shape:
        raise MetricsError(f'prediction has shape {tuple(pred.shape)}, truth '
                           f'{tuple(truth.shape)}; resize the prediction to the truth first')
    if truth.ndim not in (3, 4) or (truth.ndim == 4 and truth.shape[1] != 1):
        raise MetricsError(f'truth has shape {tuple(truth.shape)}; '
                           'it must be (B, H, W) or (B, 1, H, W)')
    if mask is not None and (mask.shape != truth.shape or mask.dtype != torch.bool):
        raise MetricsError(f'mask has shape {tuple(mask.shape)} and type {mask.dtype}; '
                           f'it must be {tuple(truth.shape)} and bool')
    if align not in ALIGNMENTS:
        raise MetricsError(f'align is {align!r}; it must be one of {", ".join(ALIGNMENTS)}')


def _mean(values: Tensor, where: Tensor) -> Tensor:
    # (B, H, W) -> (B,); 0 / 0 = NaN without a pixel
    kept = torch.where(where, values, torch.zeros_like(values))
    return kept.sum(dim=(1, 2)) / where.sum(dim=(1, 2))


def _median(values: Tensor, where: Tensor) -> Tensor:
    # (B, H, W) -> (B,); the mean of the two middle values, as numpy's. torch.median takes one.
    ordered = torch.where(where, values, math.inf).flatten(1).sort(dim=1).values
    count = where.sum(dim=(1, 2)).clamp(min=1)
    middle = torch.stack([(count - 1) // 2, count // 2], dim=1)
    return ordered.gather(1, middle).mean(dim=1)


def _align(p: Tensor, t: Tensor, where: Tensor, align: str) -> Tensor:
    if align == 'median':
        middle, wanted = _median(p, where), _median(t, where)
        scale = torch.where(middle > 0, wanted / middle, 1.0)
        # An image without a pixel has infinite medians; nothing of it counts.
        return p * scale.nan_to_num(1.0).view(-1, 1, 1)
    if align == 'least_squares':
        mean_p, mean_t = (_mean(x, where).view(-1, 1, 1) for x in (p, t))
        spread = p - mean_p
        variance = _mean(spread.square(), where).view(-1, 1, 1)
        covariance = _mean(spread * (t - mean_t), where).view(-1, 1, 1)
        constant = variance <= (1e-9 * mean_p) ** 2
        scale = torch.where(constant, 1.0, covariance / variance)
        return scale * spread + mean_t
    return p


def _errors(p: Tensor, t: Tensor, where: Tensor) -> dict[str, Tensor]:
    difference, logs = p - t, p.log() - t.log()
    ratio = torch.maximum(p / t, t / p)
    mse = _mean(difference.square(), where)
    bias = _mean(logs, where).view(-1, 1, 1)
    variance = _mean((logs - bias).square(), where)
    return {
        'abs_rel': _mean(difference.abs() / t, where),
        'sq_rel': _mean(difference.square() / t, where),
        'rmse': mse.sqrt(),
        'rmse_log': _mean(logs.square(), where).sqrt(),
        'log10': _mean(logs.abs(), where) / math.log(10.0),
        **{f'delta{k}': _mean((ratio < 1.25**k).double(), where) for k in (1, 2, 3)},
        'silog': 100.0 * variance.sqrt(),
        'mse': mse,
        'scale_invariant': variance,
    }
