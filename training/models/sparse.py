"""Sparse-equivalent encoding: a dense convnet that sees the visible cells of a picture alone.

Source: K. Tian et al., "Designing BERT for Convolutional Networks" (SparK, 2023). A submanifold
sparse convolution computes visible positions from visible positions. On the dense layers this is:
zero whatever a convolution or pooling wrote into hidden cells, and normalise by the statistics of
the visible positions. Nothing is replaced, so the weights are the dense network's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

_SPREADING = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)  # write into hidden cells
_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)
_POINTWISE = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Identity)  # keep 0 at 0


def spread(cells: Tensor, height: int, width: int) -> Tensor:
    """Give every position of a (height, width) map its cell's value; (B, h, w) to (B, H, W).

    Raises
    ------
    ValueError
        The cells do not divide the map evenly.
    """
    rows, columns = cells.shape[-2:]
    if height % rows or width % columns:
        raise ValueError(
            f'a map of {height}x{width} has no whole number of positions in each of '
            f'{rows}x{columns} cells; take larger cells, or pictures of whole cells'
        )
    return cells.repeat_interleave(height // rows, 1).repeat_interleave(width // columns, 2)


def gather(x: Tensor, visible: Tensor) -> Tensor:
    """Take the n visible positions of (B, C, H, W), by (B, H, W) bool: (n, C, 1, 1)."""
    return x.permute(0, 2, 3, 1)[visible][..., None, None]


def scatter(rows: Tensor, visible: Tensor) -> Tensor:
    """Put (n, C, 1, 1) back to the visible positions of (B, C, H, W), zeros elsewhere."""
    x = rows.new_zeros((*visible.shape, rows.shape[1]))  # (B, H, W, C)
    x[visible] = rows[..., 0, 0]
    return x.permute(0, 3, 1, 2)


class SparseEncoding:
    """Makes the layers of `encoder` sparse-equivalent inside :meth:`seeing`; dense outside.

    Parameters
    ----------
    encoder : Module
        Convolutions, poolings, batch norm and ReLUs, joined by sums and concatenations.

    Raises
    ------
    ValueError
        `encoder` has a layer that would mix hidden with visible positions in its own way, such as
        a group norm or a global pooling.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self._cells: Tensor | None = None
        self._visible: Tensor | None = None  # of the batch norm that is being computed
        for name, layer in encoder.named_modules():
            if isinstance(layer, _SPREADING):
                layer.register_forward_hook(self._hide)
            elif isinstance(layer, _NORMS):
                layer.register_forward_pre_hook(self._gather)
                layer.register_forward_hook(self._scatter)
            elif not isinstance(layer, _POINTWISE) and not list(layer.children()):
                raise ValueError(
                    f'layer {name} is a {type(layer).__name__}, for which no sparse equivalent '
                    'is known; take an encoder of convolutions, poolings, batch norm and ReLU'
                )

    @contextmanager
    def seeing(self, cells: Tensor) -> Iterator[None]:
        """Hide the positions whose cell in `cells`, (B, h, w) bool, is False."""
        self._cells = cells
        try:
            yield
        finally:
            self._cells = None

    def _hide(self, layer: nn.Module, inputs: tuple, x: Tensor) -> Tensor:
        if self._cells is None:
            return x
        return x * spread(self._cells, *x.shape[-2:])[:, None]

    def _gather(self, layer: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        if self._cells is None:
            return inputs
        self._visible = spread(self._cells, *inputs[0].shape[-2:])
        return (gather(inputs[0], self._visible),)

    def _scatter(self, layer: nn.Module, inputs: tuple, rows: Tensor) -> Tensor:
        return rows if self._cells is None else scatter(rows, self._visible)
