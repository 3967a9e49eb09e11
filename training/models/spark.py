"""SparK: pre-training of a depth network's encoder by painting in hidden cells of pictures.

Source: K. Tian et al., "Designing BERT for Convolutional Networks: Sparse and Hierarchical Masked
Modeling" (2023), the pre-training of "Single Image Depth Estimation using SparK Encoder Decoder".
Cells of 32 px are hidden, 60% of them. The encoder sees the others; at four scales the empty cells
of its maps are filled with a learned token; a light U-Net decoder paints the picture; the loss is
the squared error at hidden cells, each normalised by its own mean and deviation.

`STRATEGIES` says how the encoder is kept from the hidden cells, as in the paper's figure 1:

- ``zero``: they are black, and the network is dense: black edges leak into visible features, and
  batch norm sees mostly black (the "zero-out problem");
- ``drop``: they are left out, as transformers do; a convnet then sees each visible cell alone;
- ``sparse``: SparK. Visible cells see each other across their borders, hidden ones are nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.models.realtime_unet import RealtimeUNet
from training.models.sparse import SparseEncoding, gather, scatter, spread
from training.models.unet import UNet
from training.models.unetpp import UNetPlusPlus

STRATEGIES = ('sparse', 'zero', 'drop')
SCALES = 4
TOKEN_STD = 0.02
VARIANCE_FLOOR = 1e-6  # even cells have no deviation to divide by


class EncoderPart(NamedTuple):
    """Which children of a network are its encoder, and how they make maps, finest first."""

    children: tuple[str, ...]
    maps: Callable[[nn.Module, Tensor], list[Tensor]]


def _realtime_unet_maps(network: nn.Module, image: Tensor) -> list[Tensor]:
    maps = [network.stem(image)]
    for block in network.encoder:
        maps.append(block(maps[-1]))
    return maps


def _unet_maps(network: nn.Module, image: Tensor) -> list[Tensor]:
    maps = [network.stem(image)]
    for block in network.down:
        maps.append(block(network.pool(maps[-1])))
    return maps


ENCODERS: dict[type[nn.Module], EncoderPart] = {
    RealtimeUNet: EncoderPart(('stem', 'encoder'), _realtime_unet_maps),
    UNet: EncoderPart(('stem', 'down', 'pool'), _unet_maps),
    UNetPlusPlus: EncoderPart(('encoder',), lambda network, image: network.encoder(image)),
}


def cut_encoder(network: nn.Module) -> EncoderPart:
    """Delete from `network` what is not its encoder; the keys of what stays do not change.

    Raises
    ------
    ValueError
        No encoder is known for this network; the message lists those that have one.
    """
    if type(network) not in ENCODERS:
        known = ', '.join(kind.__name__ for kind in ENCODERS)
        raise ValueError(
            f'{type(network).__name__} has no known encoder; SparK pre-trains those of {known}'
        )
    part = ENCODERS[type(network)]
    for name, _ in list(network.named_children()):
        if name not in part.children:
            delattr(network, name)
    return part


class _Densify(nn.Module):
    """Normalise a sparse map, fill its empty cells with a token, and go to the decoder's width."""

    def __init__(self, c_in: int, c_out: int, deepest: bool) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(c_in)
        self.token = nn.Parameter(torch.empty(1, c_in, 1, 1))
        nn.init.trunc_normal_(self.token, std=TOKEN_STD, a=-TOKEN_STD, b=TOKEN_STD)
        kernel = 1 if deepest else 3
        same = deepest and c_in == c_out
        project = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2)
        self.project = nn.Identity() if same else project

    def forward(self, x: Tensor, cells: Tensor) -> Tensor:
        visible = spread(cells, *x.shape[-2:])  # (B, H, W)
        x = scatter(self.norm(gather(x, visible)), visible)
        return self.project(torch.where(visible[:, None], x, self.token.to(x.dtype)))


class _UpBlock(nn.Module):
    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(c_in, c_in, 4, stride=2, padding=1)
        self.convs = nn.Sequential(
            nn.Conv2d(c_in, c_in, 3, padding=1, bias=False),
            nn.BatchNorm2d(c_in),
            nn.ReLU6(inplace=True),
            nn.Conv2d(c_in, c_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(c_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.convs(self.up(x))


class SparK(nn.Module):
    """Encoder of a depth network with the decoder that its pre-training needs.

    Parameters
    ----------
    network : Module
        One of ENCODERS; its other parts are cut off. `network` of this module keeps the encoder,
        with the depth network's own keys.
    ratio : float
        Share of cells that is hidden.
    cell_px : int
        Side of a cell in pixels; a multiple of the encoder's stride.
    width : int
        Channels of the decoder at the coarsest scale; each scale has half of the one before.
    strategy : str
        One of STRATEGIES.
    """

    def __init__(
        self, network: nn.Module, *, ratio: float = 0.6, cell_px: int = 32, width: int = 256,
        strategy: str = 'sparse',
    ) -> None:
        super().__init__()
        if strategy not in STRATEGIES:
            known = ', '.join(STRATEGIES)
            raise ValueError(f'strategy {strategy!r} is unknown; choose one of {known}')
        if not 0 < ratio < 1:
            raise ValueError(f'ratio is {ratio}; the share of hidden cells is between 0 and 1')
        self.ratio, self.cell_px, self.strategy = ratio, cell_px, strategy
        self._maps = cut_encoder(network).maps
        channels, stride = self._measure(network)
        widths = [width >> i for i in range(stride.bit_length())]
        _check_sizes(cell_px, stride, width)
        self.network = network
        self.densify = nn.ModuleList(
            _Densify(c_in, c_out, deepest=i == 0)
            for i, (c_in, c_out) in enumerate(zip(channels, widths))
        )
        self.decoder = nn.ModuleList(_UpBlock(a, b) for a, b in pairwise(widths))
        self.paint = nn.Conv2d(widths[-1], 3, 1)
        self._sparse = SparseEncoding(network) if strategy == 'sparse' else None

    def _measure(self, network: nn.Module) -> tuple[list[int], int]:
        # Channels of the coarsest maps, coarsest first, and the stride of the coarsest.
        training = network.training
        with torch.no_grad():
            image = torch.zeros(1, 3, 2 * self.cell_px, 2 * self.cell_px)
            maps = self._maps(network.eval(), image)
        network.train(training)
        channels = [x.shape[1] for x in maps[: -SCALES - 1 : -1]]
        return channels, 2 * self.cell_px // maps[-1].shape[-1]

    def draw_cells(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Choose the visible cells of each picture of (B, 3, H, W): (B, h, w) bool.

        Raises
        ------
        ValueError
            The pictures are no whole number of cells, or too small to hide one and show one.
        """
        batch, _, height, width = image.shape
        if height % self.cell_px or width % self.cell_px:
            raise ValueError(
                f'image is {height}x{width}; height and width must be multiples of the cells of '
                f'{self.cell_px} px: resize or crop it first'
            )
        grid = (height // self.cell_px, width // self.cell_px)
        count = grid[0] * grid[1]
        kept = round(count * (1 - self.ratio))
        if not 0 < kept < count:
            raise ValueError(
                f'image is {height}x{width}, {count} cells, of which {kept} would be visible; '
                'take larger images or smaller cells'
            )
        order = torch.rand(batch, count, generator=generator).argsort(dim=1)
        return (order.argsort(dim=1) < kept).view(batch, *grid).to(image.device)

    def encode(self, image: Tensor, cells: Tensor) -> list[Tensor]:
        """Maps of the SCALES coarsest scales, coarsest first, by the strategy."""
        if self.strategy == 'drop':
            return self._encode_apart(image, cells)
        visible = spread(cells, *image.shape[-2:])[:, None]
        shown = torch.where(visible, image, 0)
        if self._sparse is None:
            return self._maps(self.network, shown)[: -SCALES - 1 : -1]
        with self._sparse.seeing(cells):
            return self._maps(self.network, shown)[: -SCALES - 1 : -1]

    def _encode_apart(self, image: Tensor, cells: Tensor) -> list[Tensor]:
        # Every visible cell is a picture of its own.
        shape = (*cells.shape, 3, self.cell_px, self.cell_px)
        apart = to_cells(image, self.cell_px).view(shape)[cells]  # (n, 3, cell, cell)
        maps = self._maps(self.network, apart)[: -SCALES - 1 : -1]
        return [_from_visible(x, cells) for x in maps]

    def forward(self, image: Tensor, cells: Tensor) -> Tensor:
        """Paint (B, 3, H, W) from its visible `cells`, in units of each cell's deviation."""
        maps = self.encode(image, cells)
        dense = [densify(x, cells) for densify, x in zip(self.densify, maps)]
        x = self.decoder[0](dense[0])
        for i, block in enumerate(self.decoder[1:], start=1):
            x = block(x + dense[i] if i < len(dense) else x)
        return self.paint(x)


def _check_sizes(cell_px: int, stride: int, width: int) -> None:
    if cell_px % stride:
        raise ValueError(
            f'cell_px is {cell_px}; it must be a multiple of the encoder stride, {stride}'
        )
    if width % stride:
        raise ValueError(
            f'width is {width}; it is halved down to full size, so it must be a multiple of '
            f'{stride}'
        )


def _from_visible(maps: Tensor, cells: Tensor) -> Tensor:
    # (n, C, k, k) of the visible cells to (B, C, h k, w k), zeros elsewhere
    whole = maps.new_zeros((*cells.shape, *maps.shape[1:]))  # (B, h, w, C, k, k)
    whole[cells] = maps
    batch, rows, columns, channels, k, _ = whole.shape
    return whole.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels, rows * k, columns * k)


def to_cells(image: Tensor, cell_px: int) -> Tensor:
    """Cut (B, C, H, W) into (B, h, w, C * cell_px**2)."""
    batch, channels, height, width = image.shape
    rows, columns = height // cell_px, width // cell_px
    x = image.reshape(batch, channels, rows, cell_px, columns, cell_px)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(batch, rows, columns, -1)


def from_cells(cells: Tensor, cell_px: int) -> Tensor:
    """Join what :func:`to_cells` cut."""
    batch, rows, columns, _ = cells.shape
    x = cells.view(batch, rows, columns, -1, cell_px, cell_px).permute(0, 3, 1, 4, 2, 5)
    return x.reshape(batch, -1, rows * cell_px, columns * cell_px)


def cell_statistics(image: Tensor, cell_px: int) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each cell over its pixels and channels, (B, h, w, 1) each."""
    cells = to_cells(image, cell_px)
    deviation = (cells.var(dim=-1, keepdim=True) + VARIANCE_FLOOR).sqrt()
    return cells.mean(dim=-1, keepdim=True), deviation


def hidden_cell_loss(painted: Tensor, image: Tensor, cells: Tensor, cell_px: int) -> Tensor:
    """Mean squared error over the hidden cells between `painted` and the normalised `image`.

    A cell's target is (x - mean) / sqrt(var + 1e-6), with its own mean and unbiased variance.

    Parameters
    ----------
    painted, image : Tensor
        (B, 3, H, W) float32.
    cells : Tensor
        (B, h, w) bool, True where visible.
    cell_px : int
        Side of a cell.
    """
    mean, deviation = cell_statistics(image, cell_px)
    target = (to_cells(image, cell_px) - mean) / deviation
    error = (to_cells(painted, cell_px) - target).square().mean(dim=-1)  # (B, h, w)
    hidden = ~cells
    return (error * hidden).sum() / hidden.sum().clamp(min=1)


def repaint(painted: Tensor, image: Tensor, cells: Tensor, cell_px: int) -> Tensor:
    """Return `image` with its hidden cells as painted, for eyes.

    The mean and deviation of a hidden cell are no part of what the decoder paints; they are
    taken from `image`.
    """
    mean, deviation = cell_statistics(image, cell_px)
    filled = from_cells(to_cells(painted, cell_px) * deviation + mean, cell_px)
    return torch.where(spread(cells, *image.shape[-2:])[:, None], image, filled)
