"""Coarse and fine networks: a global map from fully connected layers, refined by convolutions.

Source: D. Eigen et al., "Depth Map Prediction from a Single Image using a Multi-Scale Deep
Network" (2014): 304x228 px in, 74x55 out. Of the readings of its figure only a fifth convolution
with stride 2 and no padding gives the 8x6 that the first fully connected layer sees. Coarse
70,757,734 parameters, fine 119,437. The coarse network is trained first; then the fine one, with
the coarse one fixed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.models.input_size import check_exact

INPUT_SIZE = (228, 304)
COARSE_WIDTHS = (96, 256, 384, 384, 256)
HIDDEN = 4096
FINE_WIDTH = 64
DROPOUT = 0.5
LAST_STD, LAST_BIAS = 0.01, 0.4  # both networks start from about 1.5 m


def _coarse_size(side: int) -> int:
    return (side - 11) // 4 + 1  # after the first convolution; the size of the output as well


def _deepest_size(side: int) -> int:
    return (_coarse_size(side) // 4 - 3) // 2 + 1


class _Coarse(nn.Module):
    def __init__(self, size: tuple[int, int], widths: Sequence[int], hidden: int) -> None:
        super().__init__()
        c1, c2, c3, c4, c5 = widths
        self.convs = nn.Sequential(
            nn.Conv2d(3, c1, 11, stride=4), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(c1, c2, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(c2, c3, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(c3, c4, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(c4, c5, 3, stride=2), nn.ReLU(inplace=True),
        )
        self.output_size = tuple(_coarse_size(side) for side in size)
        height, width = (_deepest_size(side) for side in size)
        self.hidden = nn.Linear(c5 * height * width, hidden)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(DROPOUT)
        self.last = nn.Linear(hidden, self.output_size[0] * self.output_size[1])

    def forward(self, image: Tensor) -> Tensor:
        x = self.convs(image).flatten(1)  # (B, C H W)
        x = self.last(self.dropout(self.relu(self.hidden(x))))
        return x.unflatten(1, (1, *self.output_size))  # (B, 1, h, w)


class _Fine(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        # The coarse map is the last channel of what the second convolution sees.
        self.edges = nn.Sequential(
            nn.Conv2d(3, width - 1, 9, stride=2), nn.ReLU(inplace=True), nn.MaxPool2d(2)
        )
        self.refine = nn.Sequential(
            nn.Conv2d(width, width, 5, padding=2), nn.ReLU(inplace=True)
        )
        self.last = nn.Conv2d(width, 1, 5, padding=2)

    def forward(self, image: Tensor, coarse: Tensor) -> Tensor:
        return self.last(self.refine(torch.cat([self.edges(image), coarse], dim=1)))


class Eigen(nn.Module):
    """Coarse and fine network.

    Parameters
    ----------
    input_size : tuple of int
        Height and width of the image; the fully connected layers fix it.
    widths : sequence of int
        Channels of the five coarse convolutions.
    hidden, fine_width : int
        Width of the first fully connected layer, and channels of the fine network.
    """

    output_kind = 'log'
    input_size = INPUT_SIZE
    stages = ('coarse', 'fine')

    def __init__(
        self,
        input_size: tuple[int, int] = INPUT_SIZE,
        widths: Sequence[int] = COARSE_WIDTHS,
        hidden: int = HIDDEN,
        fine_width: int = FINE_WIDTH,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.stage = ''
        self.coarse = _Coarse(input_size, widths, hidden)
        self.fine = _Fine(fine_width)
        self.apply(_init)
        for layer in (self.coarse.last, self.fine.last):
            nn.init.normal_(layer.weight, std=LAST_STD)
            nn.init.constant_(layer.bias, LAST_BIAS)

    def set_stage(self, stage: str) -> None:
        """Choose what trains and what forward gives.

        Parameters
        ----------
        stage : str
            'coarse': the coarse network trains and gives the map. 'fine': it is fixed, without
            dropout, and the fine network trains and gives the map.

        Raises
        ------
        ValueError
            Another name.
        """
        if stage not in self.stages:
            raise ValueError(f"stage {stage!r} is unknown; choose one of {', '.join(self.stages)}")
        self.stage = stage
        self.coarse.requires_grad_(stage == 'coarse')
        self.fine.requires_grad_(stage == 'fine')
        self.train(self.training)

    def train(self, mode: bool = True) -> Eigen:
        """Set training mode; the fixed coarse network stays in eval mode."""
        super().train(mode)
        if self.stage == 'fine':
            self.coarse.eval()
        return self

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, 3, 228, 304) to (B, 1, 55, 74) log depth."""
        check_exact(image, self.input_size)
        coarse = self.coarse(image)
        return coarse if self.stage == 'coarse' else self.fine(image, coarse)


def _init(module: nn.Module) -> None:
    # He's rule: without it the signal fades over nine layers that no norm holds.
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.kaiming_normal_(module.weight, nonlinearity='relu')
        nn.init.zeros_(module.bias)


def eigen() -> Eigen:
    """Build both networks at the paper's size, 70,877,171 parameters."""
    return Eigen()


def tiny() -> Eigen:
    """Build the same structure for images of 68x92 with few channels, for tests."""
    return Eigen((68, 92), (12, 12, 16, 16, 32), hidden=48, fine_width=12)
