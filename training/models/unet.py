"""Classic U-Net with bilinear upsampling: the baseline the Realtime U-Net is compared with.

Source: O. Ronneberger et al., "U-Net" (2015), with padding, batch norm, bilinear upsampling and
the deepest two widths equal: 17,262,977 parameters with one output channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from training.models.input_size import check_multiple

WIDTHS = (64, 128, 256, 512, 512)


def _double_conv(c_in: int, c_mid: int, c_out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in ((c_in, c_mid), (c_mid, c_out)):
        layers += [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b)]
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """U-Net over five image sizes.

    Parameters
    ----------
    widths : sequence of int
        Channels of the five sizes, finest first; the last two are equal in the paper's net.
    """

    output_kind = 'log'
    size_multiple = 16

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.stem = _double_conv(3, widths[0], widths[0])
        self.down = nn.ModuleList(_double_conv(a, b, b) for a, b in pairwise(widths))
        self.pool = nn.MaxPool2d(2)
        self.upsample = nn.Upsample(scale_factor=2, mode='bilinear', align_corners=False)
        # Each up block halves its input's channels in the middle and leaves the width that the
        # next concatenation needs.
        skips = widths[-2::-1]
        outs = (*widths[-3::-1], widths[0])
        ins = (widths[-1], *outs[:-1])
        self.up = nn.ModuleList(
            _double_conv(c_in + skip, (c_in + skip) // 2, c_out)
            for c_in, skip, c_out in zip(ins, skips, outs, strict=True)
        )
        self.head = nn.Conv2d(widths[0], 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, 1, H, W) log depth; H and W multiples of 16."""
        check_multiple(image, self.size_multiple)
        maps = [self.stem(image)]
        for block in self.down:
            maps.append(block(self.pool(maps[-1])))
        x = maps.pop()  # (B, widths[-1], H/16, W/16)
        for block in self.up:
            x = block(torch.cat([self.upsample(x), maps.pop()], dim=1))
        return self.head(x)


def unet() -> UNet:
    """Build the baseline with 17,262,977 parameters."""
    return UNet()


def tiny() -> UNet:
    """Build the same structure with few channels, for tests."""
    return UNet((8, 8, 12, 16, 16))
