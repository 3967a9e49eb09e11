"""From a transformer's tokens to one map: the decoder of dense prediction transformers.

Source: R. Ranftl et al., "Vision Transformers for Dense Prediction" (2021), as Xia et al.,
SPT-Depth, change it: layer norm over channels in the place of batch norm. Each level is mapped to
an embedding, put back in its place in the picture and resampled to one width
(:class:`Reassemble`); from the coarsest level on, levels are added and doubled (:class:`Fusion`);
a :class:`Head` doubles once more.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

HEAD_WIDTH = 32


class Reassemble(nn.Module):
    """Map, concatenate and resample (eqs. 5 to 8): (B, c_in, h, w) to (B, width, f h, f w).

    `factor` f is a power of two, above, at or below 1. A class token is not in the input.
    """

    def __init__(self, c_in: int, embedding: int, width: int, factor: float) -> None:
        super().__init__()
        self.mapping = nn.Linear(c_in, embedding)
        self.project = nn.Conv2d(embedding, width, 1)
        up = max(1, int(factor))
        self.up = nn.ConvTranspose2d(width, width, up, stride=up) if up > 1 else nn.Identity()
        self.resample = nn.Conv2d(width, width, 3, stride=max(1, int(1 / factor)), padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Resample one level."""
        x = self.mapping(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # linear over channels
        return self.resample(self.up(self.project(x)))


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of (B, C, H, W), for each pixel."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ResidualUnit(nn.Module):
    """x + two convolutions, each after a ReLU and before a norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.norm1 = ChannelNorm(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.norm2 = ChannelNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        y = self.norm1(self.conv1(functional.relu(x)))
        return x + self.norm2(self.conv2(functional.relu(y)))


class Fusion(nn.Module):
    """One level, added to the coarser ones and doubled in size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before = ResidualUnit(width)
        self.after = ResidualUnit(width)
        self.up = nn.Upsample(scale_factor=2, mode='bilinear', align_corners=True)

    def forward(self, level: Tensor, coarser: Tensor | None = None) -> Tensor:
        """Fuse `level` (B, C, H, W) with `coarser`, of the same shape, to (B, C, 2H, 2W)."""
        x = self.before(level)
        if coarser is not None:
            x = x + coarser
        return self.up(self.after(x))


class Head(nn.Sequential):
    """Double the size and give `c_out` channels; starts near the constant `bias`."""

    def __init__(self, width: int, c_out: int, bias: float = 0.0) -> None:
        last = nn.Conv2d(HEAD_WIDTH, c_out, 1)
        nn.init.normal_(last.weight, std=0.01)
        nn.init.constant_(last.bias, bias)
        super().__init__(
            nn.Conv2d(width, width // 2, 3, padding=1),
            nn.Upsample(scale_factor=2, mode='bilinear', align_corners=True),
            nn.Conv2d(width // 2, HEAD_WIDTH, 3, padding=1),
            nn.ReLU(),
            last,
        )


def fuse(fusions: nn.ModuleList, levels: list[Tensor]) -> Tensor:
    """Fuse `levels`, finest first, with the module of each, to twice the finest one's size."""
    x: Tensor | None = None
    for fusion, level in zip(reversed(fusions), reversed(levels)):
        x = fusion(level, x)
    assert isinstance(x, torch.Tensor)
    return x
