"""A small convolutional encoder whose blocks can be run one by one, as DINOv2's are.

A stem goes to 1/4 of the picture; three stages of residual blocks with batch norm follow, at 1/8,
1/16 and 1/32. Blur of a few pixels shows in the finest detail alone, which a stem of 3x3
convolutions keeps and an embedding of 14x14 patches has to learn to keep; see
training.models.dfdnet for what that means for a network that has an hour to train. The widths
are multiples of 16, which fill the vector units.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional


def _conv_bn(c_in: int, c_out: int, stride: int = 1) -> nn.Sequential:
    # No bias: batch norm subtracts it again.
    conv = nn.Conv2d(c_in, c_out, 3, stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out))


class Block(nn.Module):
    """x + two convolutions; where the width changes, behind one that halves the size."""

    def __init__(self, c_in: int, width: int) -> None:
        super().__init__()
        self.down = _conv_bn(c_in, width, stride=2) if c_in != width else None
        self.conv1 = _conv_bn(width, width)
        self.conv2 = _conv_bn(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (M, c_in, h, w) to (M, width, h, w), or to half the size."""
        if self.down is not None:
            x = functional.relu(self.down(x))
        return functional.relu(x + self.conv2(functional.relu(self.conv1(x))))


class ConvPyramid(nn.Module):
    """Encoder of normalised RGB.

    Parameters
    ----------
    stem : two ints
        Channels at 1/2 and 1/4.
    stages : three ints
        Channels at 1/8, 1/16 and 1/32; each another number than the one before.
    depths : three ints
        Blocks of each stage.

    Attributes
    ----------
    start_width, widths : int, tuple of int
        Channels after the stem, and after each block.
    hooks : tuple of int
        The last blocks of the stages, from 0, and -1, the stem: where levels are taken.
    stride : int
        Height and width of the input must be multiples of it.
    """

    stride = 16

    def __init__(self, stem: Sequence[int], stages: Sequence[int], depths: Sequence[int]) -> None:
        super().__init__()
        half, self.start_width = stem
        self.widths = tuple(width for width, depth in zip(stages, depths, strict=True)
                            for _ in range(depth))
        self.hooks = tuple(sum(depths[:i]) - 1 for i in range(len(depths) + 1))
        self.stem = nn.Sequential(_conv_bn(3, half, stride=2), nn.ReLU(), _conv_bn(half, half),
                                  nn.ReLU(), Block(half, self.start_width))
        widths = (self.start_width, *self.widths)
        self.blocks = nn.ModuleList(Block(c_in, width) for c_in, width in pairwise(widths))
        self.apply(_init_conv)

    def start(self, image: Tensor) -> Tensor:
        """Map (M, stem, H / 4, W / 4) of (M, 3, H, W), before the first block."""
        return self.stem(image)

    def patches(self, x: Tensor) -> Tensor:
        """Tokens (M, P, C) of a map (M, C, h, w)."""
        return x.flatten(2).transpose(1, 2)

    def with_patches(self, x: Tensor, patches: Tensor) -> Tensor:
        """Map of the size of `x` from tokens (M, P, C)."""
        return patches.transpose(1, 2).unflatten(2, x.shape[-2:])

    def level(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Map after a block, as it is."""
        return x


def _init_conv(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity='relu')
