"""ResNet without its classifier, as an encoder that gives a map at each of five sizes.

Source: K. He et al., "Deep Residual Learning for Image Recognition" (2015), with the stride in the
3x3 convolution of a bottleneck, as published weights have it. Names in the state dict are those of
torchvision and timm (``conv1``, ``bn1``, ``layer1.0.conv1``, ``layer1.0.downsample.0``), so their
files load: see :meth:`ResNet.load_imagenet`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from training.models.pretrained import read_weights


def _conv(c_in: int, c_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False)


def _downsample(c_in: int, c_out: int, stride: int) -> nn.Sequential | None:
    # The shortcut is the input itself wherever shapes allow.
    if stride == 1 and c_in == c_out:
        return None
    return nn.Sequential(_conv(c_in, c_out, 1, stride), nn.BatchNorm2d(c_out))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; c_out is `width`."""

    expansion = 1

    def __init__(self, c_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(c_in, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _downsample(c_in, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c_in, H, W) to (B, c_out, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + shortcut)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut; c_out is four times `width`."""

    expansion = 4

    def __init__(self, c_in: int, width: int, stride: int) -> None:
        super().__init__()
        c_out = width * self.expansion
        self.conv1 = _conv(c_in, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv(width, c_out, 1)
        self.bn3 = nn.BatchNorm2d(c_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _downsample(c_in, c_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c_in, H, W) to (B, c_out, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.relu(self.bn3(self.conv3(x)) + shortcut)


class ResNet(nn.Module):
    """Encoder of normalised RGB.

    Parameters
    ----------
    block : type
        BasicBlock or Bottleneck.
    depths : sequence of int
        Blocks in each of the four stages.
    width : int
        Channels of the first convolution; each stage has twice the inner width of the one before.

    Attributes
    ----------
    channels : tuple of int
        Channels of the five maps, finest first.
    """

    def __init__(
        self, block: type[BasicBlock | Bottleneck], depths: Sequence[int], width: int = 64
    ) -> None:
        super().__init__()
        self.conv1 = _conv(3, width, 7, 2)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = [width]
        for stage, depth in enumerate(depths):
            inner = width << stage
            c_out = inner * block.expansion
            first = block(channels[-1], inner, stride=1 if stage == 0 else 2)
            rest = [block(c_out, inner, stride=1) for _ in range(depth - 1)]
            self.add_module(f'layer{stage + 1}', nn.Sequential(first, *rest))
            channels.append(c_out)
        self.channels = tuple(channels)
        self.apply(_init)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Maps of (B, 3, H, W) at 1/2, 1/4, 1/8, 1/16 and 1/32, finest first."""
        x = self.relu(self.bn1(self.conv1(image)))
        maps = [x]
        x = self.maxpool(x)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            maps.append(x)
        return maps

    def load_imagenet(self, path: str | Path) -> None:
        """Load a ``.safetensors`` or ``.pth`` file of torchvision or timm, less its classifier.

        Raises
        ------
        ValueError
            The file cannot be read, or holds another architecture.
        """
        weights = read_weights(Path(path))
        weights = {name: w for name, w in weights.items() if not name.startswith('fc.')}
        try:
            self.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(f'{path} does not fit this ResNet: {error}') from error


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')


def resnet18() -> ResNet:
    """Build the 18-layer encoder, 11,176,512 parameters."""
    return ResNet(BasicBlock, (2, 2, 2, 2))


def resnet34() -> ResNet:
    """Build the 34-layer encoder, 21,284,672 parameters."""
    return ResNet(BasicBlock, (3, 4, 6, 3))


def resnet50() -> ResNet:
    """Build the 50-layer encoder, 23,508,032 parameters."""
    return ResNet(Bottleneck, (3, 4, 6, 3))
