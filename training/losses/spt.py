"""The joint loss of SPT-Depth: segmentation, and depth by three terms, weighed epoch by epoch.

Source: Z. Xia et al. (see training.models.spt), eq. 9 to 16. Depth is compared as inverse depth
that each picture's own range brings to 0..1, 1 near, as the paper's grey depth pictures are: that
is what a network of kind 'relative' gives. The range is that between the 2nd and the 98th
percentile, so that one wild pixel does not flatten a picture.

- Data term: the scale- and shift-invariant loss of training.losses.scale_shift in the coarse
  stage, the mean squared error in the fine one. The paper weighs foreground ("out", nearer than
  the datum) and background ("in") apart, because solving scale and shift for each of them would
  lose their order: they are solved once, and the residuals are weighed.
- Structure: 1 - SSIM. Smoothness: edge-aware, of the prediction alone.
- Segmentation: cross-entropy, and the penalty for having been better before. The paper compares
  epochs: the lowest so far is the mean of an epoch, and no penalty meets the first one.

What the paper contradicts itself in: it discards the gradient matching of the first term and sets
its weight to 0.5 (`ssi_alpha`; 0 discards it).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from training.losses.edges import smoothness_loss
from training.losses.masked import kept, known, masked_mean
from training.losses.scale_shift import gradient_matching, scale_and_shift
from training.losses.segmentation import cross_entropy, segmentation_penalty
from training.losses.ssim import ssim_loss
from training.schedule import is_coarse, named_scheme, weights_at

PERCENTILES = (0.02, 0.98)

#: What :meth:`SPTLoss.terms` gives: weighted contributions, whose sum is the loss.
DEPTH_TERMS = ('data_in', 'data_out', 'ssim', 'smooth')
SEGMENTATION_TERMS = ('cross_entropy', 'penalty')


def unit_range(inverse: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Low end and width, (B, 1, 1, 1), of each image's range of inverse depth (B, 1, H, W).

    The width of an image of one depth, or of none, is 1.
    """
    values = torch.where(mask, inverse, torch.nan).flatten(1)
    ends = values.new_tensor(PERCENTILES)
    low, high = torch.nanquantile(values, ends, dim=1).nan_to_num(0).view(2, -1, 1, 1, 1)
    width = high - low
    return low, torch.where(width > 0, width, torch.ones_like(width))


class SPTLoss(nn.Module):
    """Joint loss of depth and segmentation; called as a depth loss it is the depth part alone.

    Parameters
    ----------
    scheme : str
        Of training.schedule: a column of the paper's table 2.
    ssi : bool
        Whether the coarse stage forgives scale and shift; without, it is the squared error as in
        the fine stage (the paper's ablation).
    ssi_alpha : float
        Weight of gradient matching in the coarse stage.
    metric : bool
        The network gives metres, not relative inverse depth: the truth's range is applied to its
        inverse, and it learns the scale.

    Raises
    ------
    ConfigError
        A scheme that does not exist.
    """

    def __init__(
        self,
        *,
        scheme: str = 'scheme7',
        ssi: bool = True,
        ssi_alpha: float = 0.5,
        metric: bool = False,
    ) -> None:
        super().__init__()
        self.scheme = named_scheme(scheme)
        self.ssi, self.ssi_alpha, self.metric = ssi, ssi_alpha, metric
        # Buffers, so that a resumed run goes on with them.
        self.register_buffer('lowest', torch.tensor(math.inf))
        self.register_buffer('sum', torch.tensor(0.0))  # of this epoch's cross-entropies
        self.register_buffer('count', torch.tensor(0))
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Take the weights of `epoch`, from 0."""
        self.is_coarse = is_coarse(epoch)
        self.weights = weights_at(self.scheme, epoch)

    def forward(self, log_depth: Tensor, depth: Tensor, image: Tensor) -> Tensor:
        """Depth part alone, of natural log of depth against metres with holes; RGB in 0..1."""
        return sum(self.depth_terms(log_depth, depth, image).values())

    def depth_terms(self, log_depth: Tensor, depth: Tensor, image: Tensor) -> dict[str, Tensor]:
        """DEPTH_TERMS, weighted.

        Parameters
        ----------
        log_depth : Tensor
            (B, 1, H, W), as training.contract.log_depth gives it.
        depth : Tensor
            (B, 1, H, W) metres with holes.
        image : Tensor
            (B, 3, H, W) RGB in 0..1.
        """
        prediction, target, mask = self.pair(log_depth, depth)
        data_in, data_out = self._data(prediction, target, mask)
        weights = self.weights
        return {
            'data_in': weights.data * data_in,
            'data_out': weights.data * data_out,
            'ssim': weights.ssim * ssim_loss(prediction, target, mask),
            'smooth': weights.smooth * smoothness_loss(prediction, mask, image),
        }

    def segmentation_terms(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """SEGMENTATION_TERMS, weighted.

        In training it remembers the cross-entropy, for the mean of the epoch.

        Parameters
        ----------
        logits : Tensor
            (B, C, H, W), before softmax.
        labels : Tensor
            (B, H, W) integers; below 0 are holes.
        """
        mask = labels >= 0
        entropy = cross_entropy(logits, labels, mask)
        penalty = segmentation_penalty(entropy, self.lowest, self.scheme.seg_penalty_factor)
        if self.training and mask.any():
            self.sum, self.count = self.sum + entropy.detach(), self.count + 1
        return {'cross_entropy': self.weights.segmentation * entropy,
                'penalty': self.weights.penalty * penalty}

    def end_epoch(self) -> None:
        """Keep the mean cross-entropy of the epoch where it is the lowest so far."""
        if self.count:
            self.lowest = torch.minimum(self.lowest, self.sum / self.count)
        self.sum, self.count = torch.zeros_like(self.sum), torch.zeros_like(self.count)

    def pair(self, log_depth: Tensor, depth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Prediction, target and mask, (B, 1, H, W) each; the target is 0..1, 1 near."""
        mask = known(depth)
        inverse = 1 / torch.where(mask, depth, torch.ones_like(depth))
        low, width = unit_range(inverse, mask)
        target = ((inverse - low) / width).clamp(0, 1)
        prediction = torch.exp(-kept(log_depth, mask))
        if self.metric:
            prediction = (prediction - low) / width
        return kept(prediction, mask), kept(target, mask), mask

    def _data(self, prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        # Shares of background and foreground in one mean over all known pixels.
        near = mask & (target > self.scheme.depth_datum)
        forgiving = self.is_coarse and self.ssi
        gradient = prediction.new_zeros(())
        if forgiving:
            scale, shift = scale_and_shift(prediction, target, mask)
            prediction = scale * prediction + shift
            gradient = self.ssi_alpha * gradient_matching(prediction, target, mask)
        error = (0.5 if forgiving else 1.0) * (prediction - target).square()
        background = masked_mean(kept(error, ~near), mask)
        foreground = masked_mean(kept(error, near), mask)
        # Gradients cross the datum: half of them to either side.
        return (self.weights.background * (background + gradient / 2),
                self.weights.foreground * (foreground + gradient / 2))
