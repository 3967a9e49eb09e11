"""High-frequency loss and edge-aware smoothness: depth where the picture has edges, and elsewhere.

Sources: Zhang, Realtime U-Net, eq. 6, whose gradients need absolute values (without them an edge
weight is negative on one side of a line); Xia et al., SPT-Depth, eq. 14, which as printed weighs
both directions by both gradients and is then not edge-aware in each axis: here each has its own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
import torch.nn.functional as F

from training.losses.masked import image_means, kept, masked_mean
from training.losses.space import DepthSpace


def edge_weight(image: Tensor) -> Tensor:
    """(1 - exp(-|gx|)) + (1 - exp(-|gy|)) of the grey image.

    `image` is (B, 3, H, W) RGB in 0..1; gradients are forward differences, 0 in the last row and
    column; grey is ITU-R BT.601. Returns (B, 1, H, W).
    """
    red_green_blue = image.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    grey = (image * red_green_blue).sum(dim=1, keepdim=True)
    gx = F.pad((grey[..., :, 1:] - grey[..., :, :-1]).abs(), (0, 1, 0, 0))
    gy = F.pad((grey[..., 1:, :] - grey[..., :-1, :]).abs(), (0, 0, 0, 1))
    return 2 - torch.exp(-gx) - torch.exp(-gy)


def high_frequency_loss(
    prediction: Tensor, target: Tensor, mask: Tensor, image: Tensor
) -> Tensor:
    """Mean [(1 - exp(-|gx|)) |p - t| + (1 - exp(-|gy|)) |p - t|] over `mask`; eq. 6.

    Maps and mask are (B, 1, H, W), `image` is (B, 3, H, W) RGB in 0..1.
    """
    return masked_mean(edge_weight(image) * (prediction - target).abs(), mask)


def smoothness_loss(
    disparity: Tensor, mask: Tensor, image: Tensor, *, normalised: bool = False
) -> Tensor:
    """mean(|dx d| exp(-|dx I|)) + mean(|dy d| exp(-|dy I|)), per axis; eq. 14.

    |dx I| is the mean over the colours. Differences count where both pixels are known.

    Parameters
    ----------
    disparity : Tensor
        (B, 1, H, W), a prediction that is large where it is near.
    mask : Tensor
        (B, 1, H, W) bool.
    image : Tensor
        (B, 3, H, W) RGB in 0..1.
    normalised : bool
        Divide by the mean of each image's disparity, so that its scale has no say.
    """
    disparity = kept(disparity, mask)
    if normalised:
        disparity = disparity / (image_means(disparity, mask) + 1e-7)
    along_rows = _smoothness(disparity, mask, image)
    return along_rows + _smoothness(disparity.mT, mask.mT, image.mT)


def _smoothness(disparity: Tensor, mask: Tensor, image: Tensor) -> Tensor:
    step = disparity.diff(dim=-1).abs()
    edge = image.diff(dim=-1).abs().mean(dim=1, keepdim=True)
    return masked_mean(step * torch.exp(-edge), mask[..., 1:] & mask[..., :-1])


class HighFrequencyLoss(nn.Module):
    """:func:`high_frequency_loss` in a depth space; z / far by default."""

    def __init__(self, *, space: str = 'unit', near: float = 0.25, far: float = 12.0) -> None:
        super().__init__()
        self.space = DepthSpace(space, near, far)

    def forward(self, log_depth: Tensor, depth: Tensor, image: Tensor) -> Tensor:
        """Loss of log metres against metres with holes; `image` is RGB in 0..1."""
        return high_frequency_loss(*self.space.pair(log_depth, depth), image)


class SmoothnessLoss(nn.Module):
    """:func:`smoothness_loss` of the prediction alone; near / z by default.

    The truth only says which pixels count. A constant depth costs nothing: use it as a term of
    ``weighted``.
    """

    def __init__(
        self,
        *,
        normalised: bool = False,
        space: str = 'inverse',
        near: float = 0.25,
        far: float = 12.0,
    ) -> None:
        super().__init__()
        self.space, self.normalised = DepthSpace(space, near, far), normalised

    def forward(self, log_depth: Tensor, depth: Tensor, image: Tensor) -> Tensor:
        """Loss of log metres where `depth` in metres is known; `image` is RGB in 0..1."""
        prediction, _, mask = self.space.pair(log_depth, depth)
        return smoothness_loss(prediction, mask, image, normalised=self.normalised)
