"""Realtime U-Net: four-level encoder with batch norm, bilinear decoder without.

Source: Y. Zhang, "Realtime Single Image Depth Estimation" (Stanford CS231A). The paper gives the
blocks and the size (1.22 M parameters, 101 channels at 1/16) but not the widths, so three sets:

- ``R`` (16, 32, 48, 104, 101), 1,215,878 parameters: near the paper's speed ratio of 6x;
- ``A`` (21, 41, 61, 81, 101), 1,222,286 parameters: the only even progression of that size;
- ``M`` (16, 32, 48, 96, 192), 1,131,457 parameters: pools before the convolutions of a block
  instead of after, and keeps every width a multiple of 16, which fills the vector units;
- ``L`` (24, 48, 72, 144, 288), 2,543,905 parameters: M, half as wide again, for GPUs.

A wider network of this structure can start from a narrower one's weights: L from M's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
import math

import torch
from torch import Tensor, nn

from training.models.input_size import check_multiple
from training.models.widen import NOISE, Widening

SIZE_MULTIPLE = 16
HEAD_STD, HEAD_BIAS = 0.01, 0.4
FIRST_SCALE = 0.2  # of the error of log depth, before anything is learnt
SCALE_WIDTH = 12  # channels between the maps and the scale of the error

# Widths of the stem and of the four encoder blocks; the first decoder convolution's width per
# block as a function of (input channels, output channels); whether blocks pool first.
_SETS = {
    'R': ((16, 32, 48, 104, 101), lambda c_in, c_out: 2 * c_out, False),
    'A': ((21, 41, 61, 81, 101), lambda c_in, c_out: c_in, False),
    'M': ((16, 32, 48, 96, 192), lambda c_in, c_out: c_out, True),
    'L': ((24, 48, 72, 144, 288), lambda c_in, c_out: c_out, True),
}


def _conv_bn_relu(c_in: int, c_out: int) -> list[nn.Module]:
    # No bias: batch norm subtracts it again.
    conv = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)]


def _encoder_block(c_in: int, c_out: int, pool_first: bool) -> nn.Sequential:
    convs = [*_conv_bn_relu(c_in, c_out), *_conv_bn_relu(c_out, c_out)]
    pool = nn.MaxPool2d(2)
    return nn.Sequential(pool, *convs) if pool_first else nn.Sequential(*convs, pool)


class _DecoderBlock(nn.Module):
    def __init__(self, c_in: int, c_skip: int, c_mid: int, c_out: int) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode='bilinear', align_corners=False)
        self.convs = nn.Sequential(
            nn.Conv2d(c_in + c_skip, c_mid, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(c_mid, c_out, 3, padding=1),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.convs(torch.cat([self.up(x), skip], dim=1))


class _ErrorScale(nn.Module):
    """Log of the scale of the error, from the maps of all sizes.

    The last map alone holds little but depth: what tells that a picture is strange is in the
    coarse ones.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        *coarse, finest = widths
        self.coarse = nn.ModuleList(nn.Conv2d(x, SCALE_WIDTH, 3, padding=1) for x in coarse)
        self.up = nn.Upsample(scale_factor=2, mode='bilinear', align_corners=False)
        self.at_half = nn.Conv2d(SCALE_WIDTH, 1, 3, padding=1, bias=False)
        self.at_full = nn.Conv2d(finest, 1, 3, padding=1)
        self.apply(_init_conv)
        nn.init.zeros_(self.at_half.weight)
        nn.init.zeros_(self.at_full.weight)
        nn.init.constant_(self.at_full.bias, math.log(FIRST_SCALE))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        *coarse, finest = maps
        x = torch.relu(self.coarse[0](coarse[0]))
        for conv, beside in zip(self.coarse[1:], coarse[1:]):
            x = torch.relu(self.up(x) + conv(beside))
        return self.up(self.at_half(x)) + self.at_full(finest)


class RealtimeUNet(nn.Module):
    """U-Net of :func:`realtime_unet`; every encoder map of a size is the skip of that size.

    Parameters
    ----------
    widths : sequence of int
        Channels of the stem and of the encoder blocks.
    mids : sequence of int
        Channels between the two convolutions of each decoder block, coarsest first.
    pool_first : bool
        Pool before (True) or after (False) the two convolutions of an encoder block.
    confidence : bool
        Whether there is a second map: log of the scale of the error, see training.contract.
    """

    output_kind = 'log'
    size_multiple = SIZE_MULTIPLE

    def __init__(self, widths: Sequence[int], mids: Sequence[int], pool_first: bool,
                 confidence: bool = False) -> None:
        super().__init__()
        self.confidence = confidence
        self.stem = nn.Sequential(
            *_conv_bn_relu(3, widths[0]), *_conv_bn_relu(widths[0], widths[0])
        )
        self.encoder = nn.ModuleList(
            _encoder_block(c_in, c_out, pool_first) for c_in, c_out in pairwise(widths)
        )
        down = list(reversed(widths))
        self.decoder = nn.ModuleList(
            _DecoderBlock(c_in, c_out, c_mid, c_out)
            for (c_in, c_out), c_mid in zip(pairwise(down), mids, strict=True)
        )
        self.head = nn.Conv2d(widths[0], 1, 3, padding=1)
        self.apply(_init_conv)
        self.decoder.apply(_centre_conv)
        # Start from a constant, about 1.5 m: loud random maps would drive the decoder's ReLUs,
        # which no batch norm holds, into silence within the first steps, and many for good.
        nn.init.normal_(self.head.weight, std=HEAD_STD)
        nn.init.constant_(self.head.bias, HEAD_BIAS)
        if confidence:
            # A part of its own: weights of a network without confidence fit all the rest.
            self.scale = _ErrorScale(down)

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, 1 or 2, H, W) log depth; H and W multiples of 16."""
        check_multiple(image, self.size_multiple)
        maps = [self.stem(image)]
        for block in self.encoder:
            maps.append(block(maps[-1]))
        ups = [maps.pop()]  # (B, widths[-1], H/16, W/16)
        for block in self.decoder:
            ups.append(block(ups[-1], maps.pop()))
        if self.confidence:
            return torch.cat([self.head(ups[-1]), self.scale(ups)], dim=1)
        return self.head(ups[-1])

    def widened(self, weights: Mapping[str, Tensor], noise: float = NOISE) -> dict[str, Tensor]:
        """State of this network that computes what a narrower one with `weights` does.

        See training.models.widen, whose `is_narrower` must hold.
        """
        to = Widening(weights, noise)
        maps = [to.through('stem', self.stem, torch.arange(3))]
        for number, block in enumerate(self.encoder):
            maps.append(to.through(f'encoder.{number}', block, maps[-1]))
        ups = [maps.pop()]
        for number, block in enumerate(self.decoder):
            beside = maps.pop() + ups[-1].max() + 1
            both = torch.cat([ups[-1], beside])  # in the order of torch.cat of maps
            ups.append(to.through(f'decoder.{number}.convs', block.convs, both))
        to.through('head', self.head, ups[-1])
        if self.confidence:
            for number, (conv, x) in enumerate(zip(self.scale.coarse, ups)):
                between = to.through(f'scale.coarse.{number}', conv, x)
            to.through('scale.at_half', self.scale.at_half, between)
            to.through('scale.at_full', self.scale.at_full, ups[-1])
        return to.state


def _init_conv(module: nn.Module) -> None:
    # He's rule for ReLU; without it signals fade in the decoder, which has no batch norm.
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity='relu')
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _centre_conv(module: nn.Module) -> None:
    # What comes in is positive: weights that do not add up to 0 would shift a whole channel, and
    # where no batch norm takes the shift away, a third of the ReLUs would start silent.
    if isinstance(module, nn.Conv2d):
        with torch.no_grad():
            module.weight -= module.weight.mean(dim=(1, 2, 3), keepdim=True)


def realtime_unet(width_set: str = 'R', confidence: bool = False) -> RealtimeUNet:
    """Build the Realtime U-Net with the width set 'R', 'A', 'M' or 'L' (see the module's text).

    With `confidence` it gives the scale of its error as well.

    Raises
    ------
    ValueError
        Another width set.
    """
    if width_set not in _SETS:
        raise ValueError(f"width set {width_set!r} is unknown; choose one of {', '.join(_SETS)}")
    widths, mid, pool_first = _SETS[width_set]
    down = list(reversed(widths))
    mids = [mid(c_in + c_out, c_out) for c_in, c_out in pairwise(down)]
    return RealtimeUNet(widths, mids, pool_first, confidence)


def realtime_unet_a(confidence: bool = False) -> RealtimeUNet:
    """Build the Realtime U-Net with the evenly growing widths."""
    return realtime_unet('A', confidence)


def realtime_unet_m(confidence: bool = False) -> RealtimeUNet:
    """Build the Realtime U-Net with the widths that run fastest."""
    return realtime_unet('M', confidence)


def realtime_unet_l(confidence: bool = False) -> RealtimeUNet:
    """Build the Realtime U-Net half as wide again as M."""
    return realtime_unet('L', confidence)


def tiny(confidence: bool = False) -> RealtimeUNet:
    """Build the same structure with few channels, for tests."""
    return RealtimeUNet((8, 8, 12, 12, 16), (16, 16, 16, 16), False, confidence)
