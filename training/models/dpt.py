"""Depth Anything's decoder: four levels reassembled, fused coarse to fine, and read out.

Source: R. Ranftl et al., "Vision Transformers for Dense Prediction" (2021), as L. Yang et al.,
"Depth Anything V2" (2024) build it. Names in the state dict are those of the published files
without their ``depth_head.``: ``projects``, ``resize_layers``, ``scratch.layer1_rn``,
``scratch.refinenet1.resConfUnit1.conv1``, ``scratch.output_conv2.0``. SPT-Depth's variant, with
norms, is training.models.reassemble.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

LAST_WIDTH = 32
SCALES = (4.0, 2.0, 1.0, 0.5)  # of the four equal maps of a vision transformer


class ResidualUnit(nn.Module):
    """x + two convolutions, each after a ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, h, w) to the same shape."""
        return x + self.conv2(functional.relu(self.conv1(functional.relu(x))))


class Fusion(nn.Module):
    """One level, added to the coarser ones and enlarged.

    The coarsest one has nothing to be added to: of it the first unit is in the published files,
    but never runs and is not trained.
    """

    def __init__(self, width: int, is_coarsest: bool) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(width, width, 1)
        self.resConfUnit1 = ResidualUnit(width).requires_grad_(not is_coarsest)
        self.resConfUnit2 = ResidualUnit(width)

    def forward(self, level: Tensor, coarser: Tensor | None, size: Sequence[int] | None) -> Tensor:
        """Fuse maps (B, width, h, w) to one of `size` (height, width), or of (2 h, 2 w)."""
        x = level if coarser is None else coarser + self.resConfUnit1(level)
        return self.out_conv(_enlarged(self.resConfUnit2(x), size))


def _enlarged(x: Tensor, size: Sequence[int] | None) -> Tensor:
    factor = None if size else 2.0
    return functional.interpolate(x, size, factor, mode='bilinear', align_corners=True)


def _resize(width: int, scale: float) -> nn.Module:
    if scale > 1:
        return nn.ConvTranspose2d(width, width, int(scale), stride=int(scale))
    return nn.Identity() if scale == 1 else nn.Conv2d(width, width, 3, stride=2, padding=1)


class DPTDecoder(nn.Module):
    """Decoder of four levels, finest first, to one channel.

    Parameters
    ----------
    channels : four ints
        Of the levels.
    projects : four ints
        Channels that each level is first mapped to.
    width : int
        Of the fused maps.
    scales : four floats
        By which each level is enlarged (a power of two) or made smaller (0.5), so that each has
        half the size of the one before.
    enlarges : bool
        Whether the last convolutions run at the size of the picture (as published), or at twice
        that of the finest level, which costs less.
    """

    def __init__(
        self,
        channels: Sequence[int],
        projects: Sequence[int],
        width: int,
        scales: Sequence[float] = SCALES,
        enlarges: bool = True,
    ) -> None:
        super().__init__()
        self.enlarges = enlarges
        self.projects = nn.ModuleList(
            nn.Conv2d(c_in, c_out, 1) for c_in, c_out in zip(channels, projects, strict=True)
        )
        self.resize_layers = nn.ModuleList(
            _resize(width, scale) for width, scale in zip(projects, scales, strict=True)
        )
        self.scratch = nn.Module()
        for index, c_in in enumerate(projects, start=1):
            layer = nn.Conv2d(c_in, width, 3, padding=1, bias=False)
            setattr(self.scratch, f'layer{index}_rn', layer)
            setattr(self.scratch, f'refinenet{index}', Fusion(width, index == len(projects)))
        self.scratch.output_conv1 = nn.Conv2d(width, width // 2, 3, padding=1)
        self.scratch.output_conv2 = nn.Sequential(
            nn.Conv2d(width // 2, LAST_WIDTH, 3, padding=1), nn.ReLU(),
            nn.Conv2d(LAST_WIDTH, 1, 1),
        )

    def forward(self, levels: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Map levels (B, C, h, w), of a picture of `size`, to (B, 1, H, W), of any sign."""
        parts = enumerate(zip(levels, self.projects, self.resize_layers), start=1)
        maps = [self._part('layer', i, '_rn')(resize(project(x)))
                for i, (x, project, resize) in parts]
        x: Tensor | None = None
        for index in range(len(maps), 0, -1):
            finer = maps[index - 2].shape[-2:] if index > 1 else None
            x = self._part('refinenet', index)(maps[index - 1], x, finer)
        x = self.scratch.output_conv1(x)
        return self.scratch.output_conv2(_enlarged(x, size) if self.enlarges else x)

    def _part(self, name: str, index: int, ending: str = '') -> nn.Module:
        return getattr(self.scratch, f'{name}{index}{ending}')

    def start_near(self, value: float) -> None:
        """Let a fresh decoder begin near a constant."""
        last = self.scratch.output_conv2[-1]
        nn.init.normal_(last.weight, std=0.01)
        nn.init.constant_(last.bias, value)


def depth_anything_weights(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those weights whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in weights.items()
            if name.startswith(prefix)}
