"""Cross-entropy with the penalty for having been better before.

Source: Xia et al., SPT-Depth, eq. 12 (which prints - sum q log2 x; the text and the code it
stands for mean - sum q ln p) and the penalty described after eq. 13, for which no equation is
printed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
import torch.nn.functional as F

from training.losses.masked import masked_mean

PENALTY_FACTOR = 3.0


def cross_entropy(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Mean of -ln softmax(logits)[label] over `mask`; eq. 12.

    `logits` is (B, C, H, W); `labels`, integer, and `mask`, bool, are (B, H, W). What stands in
    labels behind the mask does not matter.
    """
    safe = torch.where(mask, labels, torch.zeros_like(labels)).long()
    finite = torch.where(mask.unsqueeze(1), logits, torch.zeros_like(logits))
    return masked_mean(F.cross_entropy(finite, safe, reduction='none'), mask)


def segmentation_penalty(
    entropy: Tensor, lowest: Tensor, factor: float = PENALTY_FACTOR
) -> Tensor:
    """`factor` * max(0, CE - lowest CE so far); 0 where there is none yet (lowest = inf)."""
    return factor * (entropy - lowest).clamp(min=0)


class SegmentationLoss(nn.Module):
    """Cross-entropy + penalty; in training it remembers the lowest cross-entropy of a batch.

    The memory is a buffer, so a resumed run goes on with it.
    """

    def __init__(self, *, penalty_factor: float = PENALTY_FACTOR) -> None:
        super().__init__()
        self.penalty_factor = penalty_factor
        self.register_buffer('lowest', torch.tensor(math.inf))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of `logits` (B, C, H, W) against `labels` (B, H, W); negative labels are holes."""
        mask = labels >= 0
        entropy = cross_entropy(logits, labels, mask)
        loss = entropy + segmentation_penalty(entropy, self.lowest, self.penalty_factor)
        if self.training and mask.any():
            self.lowest = torch.minimum(self.lowest, entropy.detach())
        return loss
