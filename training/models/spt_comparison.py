"""The encoders that the paper compares SPT-Depth with, under SPT's own decoder and heads.

Source: Z. Xia et al. (see training.models.spt), tables 3 and 5. The decoder is the same for all,
so that the encoder alone makes the difference:

- ``vit16``, ``vit32``: ViT-Base with patches of 16 and of 32 px;
- ``dpt_hybrid``: a ResNet-50 up to 1/16, then a ViT;
- ``pvt``: PVT v2-B2 with ordinary attention, whose cost grows with the square of the pixels;
- ``pvt_linear_sra``: the same with linear SRA. This is the network of ``spt_base``: what the paper
  adds last, the scale- and shift-invariant loss, is no part of a network.

With ``size='tiny'`` each has the decoder of ``spt_tiny`` and about its width and depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from training.models.pvt import PyramidTransformer
from training.models.spt import SPT
from training.models.vit import GRID, HOOKS, HybridTransformer, VisionTransformer

DECODERS = {'base': (768, 256), 'tiny': (128, 64)}  # embedding, width
_TINY_VIT = {'width': 256, 'depth': 8, 'heads': 8}
_TINY_HOOKS = (1, 3, 5, 7)
_PYRAMIDS = {
    'base': ((64, 128, 320, 512), (3, 4, 6, 3)),
    'tiny': ((32, 64, 160, 256), (2, 2, 2, 2)),
}


def _of_size(size: str, choices: dict[str, Any]) -> Any:
    if size not in choices:
        raise ValueError(f"size is {size!r}; choose one of {', '.join(choices)}")
    return choices[size]


def _under_decoder(encoder: nn.Module, size: str, classes: int, output_kind: str) -> SPT:
    embedding, width = DECODERS[size]
    return SPT(encoder, embedding, width, classes, output_kind)


def _vit(
    patch: int, size: str, hooks: Sequence[int], classes: int, output_kind: str, dropout: float
) -> SPT:
    tiny_settings = {**_TINY_VIT, 'hooks': _TINY_HOOKS}
    settings = dict(_of_size(size, {'base': {'hooks': HOOKS}, 'tiny': tiny_settings}))
    if hooks:
        settings['hooks'] = hooks
    encoder = VisionTransformer(patch, dropout=dropout, grid=GRID * 16 // patch, **settings)
    return _under_decoder(encoder, size, classes, output_kind)


def vit16(
    size: str = 'base', hooks: Sequence[int] = (), classes: int = 2,
    output_kind: str = 'relative', dropout: float = 0.1,
) -> SPT:
    """Build ViT-16 of `size` 'base' or 'tiny'; `hooks` are four blocks (empty: evenly spread).

    Raises
    ------
    ValueError
        A size that does not exist, hooks beyond the depth.
    """
    return _vit(16, size, hooks, classes, output_kind, dropout)


def vit32(
    size: str = 'base', hooks: Sequence[int] = (), classes: int = 2,
    output_kind: str = 'relative', dropout: float = 0.1,
) -> SPT:
    """Build ViT-32; options as :func:`vit16`."""
    return _vit(32, size, hooks, classes, output_kind, dropout)


def dpt_hybrid(
    size: str = 'base', classes: int = 2, output_kind: str = 'relative', dropout: float = 0.1
) -> SPT:
    """Build the hybrid of ResNet and ViT, of `size` 'base' or 'tiny'."""
    tiny_settings = {**_TINY_VIT, 'depths': (1, 1, 1), 'stem': 16, 'hooks': _TINY_HOOKS[2:]}
    settings = _of_size(size, {'base': {}, 'tiny': tiny_settings})
    encoder = HybridTransformer(dropout=dropout, **settings)
    return _under_decoder(encoder, size, classes, output_kind)


def _pvt(linear_sra: bool, size: str, classes: int, output_kind: str, dropout: float) -> SPT:
    widths, depths = _of_size(size, _PYRAMIDS)
    encoder = PyramidTransformer(widths, depths, linear_sra=linear_sra, dropout=dropout)
    return _under_decoder(encoder, size, classes, output_kind)


def pvt(
    size: str = 'base', classes: int = 2, output_kind: str = 'relative', dropout: float = 0.1
) -> SPT:
    """Build the pyramid with ordinary attention, of `size` 'base' or 'tiny'."""
    return _pvt(False, size, classes, output_kind, dropout)


def pvt_linear_sra(
    size: str = 'base', classes: int = 2, output_kind: str = 'relative', dropout: float = 0.1
) -> SPT:
    """Build the pyramid with linear SRA, of `size` 'base' or 'tiny'."""
    return _pvt(True, size, classes, output_kind, dropout)


def tiny_vit(patch: int = 16) -> SPT:
    """Build ViT under the decoder with few channels, for tests."""
    return SPT(VisionTransformer(patch, 24, 4, 2, (0, 1, 2, 3), dropout=0.0, grid=4), 16, 8)


def tiny_hybrid() -> SPT:
    """Build the hybrid with few channels, for tests."""
    return SPT(HybridTransformer((1, 1, 1), 4, 24, 2, 2, (0, 1), dropout=0.0, grid=4), 16, 8)


def tiny_pvt() -> SPT:
    """Build the pyramid with ordinary attention and few channels, for tests."""
    encoder = PyramidTransformer((8, 16, 24, 32), (1, 1, 1, 1), (1, 2, 2, 2), (2, 2, 2, 2),
                                 linear_sra=False, dropout=0.0)
    return SPT(encoder, 16, 8)


tiny = tiny_vit
