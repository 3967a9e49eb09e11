"""U-Net++: a U-Net whose skips are nested dense blocks, on a ResNet encoder.

Source: Z. Zhou et al., "UNet++: A Nested U-Net Architecture" (2018); the network of "Single Image
Depth Estimation using SparK Encoder Decoder". Node X(i, j) is two convolutions over X(i, 0..j-1)
and the doubled X(i+1, j-1); i is the size, 1/2 at 0 to 1/32 at 4, and X(i, 0) are the encoder's
maps. The depth paper names no encoder: 15,970,449 parameters with ResNet-18, 26,078,609 with 34,
48,985,745 with 50.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.models.input_size import check_multiple
from training.models.resnet import BasicBlock, ResNet, resnet18, resnet34, resnet50

WIDTHS = (256, 128, 64, 32, 16)
HEAD_STD, HEAD_BIAS = 0.01, 1.25  # a fresh network says softplus(1.25) = 1.5 m


def _conv_bn_relu(c_in: int, c_out: int) -> list[nn.Module]:
    conv = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)]


class _Node(nn.Module):
    def __init__(self, c_below: int, c_skips: int, c_out: int) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode='nearest')
        self.convs = nn.Sequential(
            *_conv_bn_relu(c_below + c_skips, c_out), *_conv_bn_relu(c_out, c_out)
        )

    def forward(self, below: Tensor, skips: Sequence[Tensor] = ()) -> Tensor:
        return self.convs(torch.cat([self.up(below), *skips], dim=1))


def _head(c_in: int) -> nn.Conv2d:
    head = nn.Conv2d(c_in, 1, 3, padding=1)
    nn.init.normal_(head.weight, std=HEAD_STD)
    nn.init.constant_(head.bias, HEAD_BIAS)
    return head


class UNetPlusPlus(nn.Module):
    """Decoder of nested nodes over `encoder`.

    Parameters
    ----------
    encoder : ResNet
        Gives maps of ``encoder.channels`` at 1/2 to 1/32.
    widths : sequence of int
        Channels of the last node of each size, 1/16 to 1/2, and of the block at full size.
    deep_supervision : bool
        In training mode give a tuple: the output, then the maps of X(0, 1), X(0, 2) and X(0, 3),
        each from a head of its own and enlarged to the size of the image.
    """

    output_kind = 'metric'
    size_multiple = 32

    def __init__(
        self, encoder: ResNet, widths: Sequence[int] = WIDTHS, deep_supervision: bool = False
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.depth = len(encoder.channels) - 1
        self.decoder = nn.ModuleDict(
            {f'x_{i}_{j}': self._node(i, j, widths) for i, j in self._order()}
        )
        self.decoder['out'] = _Node(widths[-2], 0, widths[-1])
        self.head = _head(widths[-1])
        count = self.depth - 1 if deep_supervision else 0
        self.side_heads = nn.ModuleList(_head(encoder.channels[0]) for _ in range(count))

    def _order(self) -> list[tuple[int, int]]:
        # Each node after those it needs: by columns.
        return [(i, j) for j in range(1, self.depth + 1) for i in range(self.depth + 1 - j)]

    def _node(self, i: int, j: int, widths: Sequence[int]) -> _Node:
        below = self._channels(i + 1, j - 1, widths)
        return _Node(below, j * self.encoder.channels[i], self._channels(i, j, widths))

    def _channels(self, i: int, j: int, widths: Sequence[int]) -> int:
        # Only the last node of a size has a width of the decoder's own.
        is_last = j > 0 and i + j == self.depth
        return widths[j - 1] if is_last else self.encoder.channels[i]

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Map (B, 3, H, W) to (B, 1, H, W) metres; H and W multiples of 32."""
        check_multiple(image, self.size_multiple)
        rows = [[x] for x in self.encoder(image)]  # rows[i][j] is X(i, j)
        for i, j in self._order():
            rows[i].append(self.decoder[f'x_{i}_{j}'](rows[i + 1][j - 1], rows[i]))
        depth = functional.softplus(self.head(self.decoder['out'](rows[0][-1])))
        if not self.training or not self.side_heads:
            return depth
        sides = (head(x) for head, x in zip(self.side_heads, rows[0][1:]))
        return depth, *(self._enlarge(functional.softplus(x)) for x in sides)

    @staticmethod
    def _enlarge(depth: Tensor) -> Tensor:
        return functional.interpolate(depth, scale_factor=2, mode='bilinear', align_corners=False)


def unetpp18(deep_supervision: bool = False) -> UNetPlusPlus:
    """Build U-Net++ on ResNet-18."""
    return UNetPlusPlus(resnet18(), deep_supervision=deep_supervision)


def unetpp34(deep_supervision: bool = False) -> UNetPlusPlus:
    """Build U-Net++ on ResNet-34."""
    return UNetPlusPlus(resnet34(), deep_supervision=deep_supervision)


def unetpp50(deep_supervision: bool = False) -> UNetPlusPlus:
    """Build U-Net++ on ResNet-50."""
    return UNetPlusPlus(resnet50(), deep_supervision=deep_supervision)


def tiny(deep_supervision: bool = False) -> UNetPlusPlus:
    """Build the same structure with few channels, for tests."""
    encoder = ResNet(BasicBlock, (1, 1, 1, 1), width=4)
    return UNetPlusPlus(encoder, (16, 12, 8, 8, 4), deep_supervision)
