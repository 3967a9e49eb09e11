"""SPT-Depth: a pyramid transformer whose maps are fused by a convolutional decoder.

Source: Z. Xia et al., "Dense monocular depth estimation for stereoscopic vision based on pyramid
transformer and multi-scale feature fusion" (2024). The encoder is PVT v2-B2 with linear SRA. Where
the paper describes ViT (a class token, 16x16 patches, eight heads of width 96) the layers of
PVT v2 are meant. ``spt_base`` has 36,091,235 parameters; ``spt_large`` differs in the embedding of
the decoder alone, 1024 for 768, and has 36,616,547. ``spt_tiny`` has the widths of PVT v2-B0.

The paper's output is relative inverse depth, a sigmoid: 1 is near. With ``output_kind='log'`` the
last layer is linear and the network is trained as any other one here.

Two heads. ``forward`` gives the depth map alone, in training too, so that every depth loss trains
it; then no gradient reaches the segmentation head, and ``classes=0`` leaves it out. A joint loss
calls :meth:`SPT.joint`, which gives both maps of the same features: (depth, logits).

With `rank` above 0 the encoder is frozen and trains through low-rank matrices beside its attention
weights (training.models.low_rank); that makes sense from pre-trained weights only, which
``network.encoder.load_imagenet(FILE)`` reads by name.
"""

from __future__ import annotations

from collections.abc import Sequence
import logging
from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.models.input_size import crop, pad_to_multiple
from training.models.low_rank import add_low_rank, trainable_share
from training.models.pvt import PyramidTransformer
from training.models.reassemble import Fusion, Head, Reassemble, fuse

log = logging.getLogger(__name__)

STRIDES = (4, 8, 16, 32)  # of the levels that are fused
OUTPUT_KINDS = {'relative': 0.0, 'log': 0.4}  # with the start of the last layer: 0.5; 1.5 m
# Table 1 names blocks of ViT; read as the ends of the stages.
PAPER_HOOKS = ((2, 5, 8, 11), (3, 6, 9, 12), (5, 11, 17, 23))


class DepthAndClasses(NamedTuple):
    """Both maps of :meth:`SPT.joint`.

    Attributes
    ----------
    depth : Tensor
        (B, 1, H, W), as ``output_kind`` says.
    logits : Tensor
        (B, classes, H, W), before softmax.
    """

    depth: Tensor
    logits: Tensor


class SPT(nn.Module):
    """Decoder and heads over `encoder`.

    Parameters
    ----------
    encoder : Module
        Gives four maps, finest first, of ``encoder.channels`` at ``encoder.strides``.
    embedding, width : int
        Of the reassembled tokens and of the fused maps (the paper's emb_dim and resample_dim).
    classes : int
        Of the segmentation head; 0: there is none.
    output_kind : str
        'relative' or 'log'; see the module's text.
    rank : int
        Of the trainable matrices beside the encoder's frozen weights; 0: all of it is trained.

    Raises
    ------
    ValueError
        An output kind or rank that does not exist, an encoder that does not give four maps.
    """

    size_multiple = 32
    pads = True

    def __init__(
        self,
        encoder: nn.Module,
        embedding: int,
        width: int,
        classes: int = 2,
        output_kind: str = 'relative',
        rank: int = 0,
    ) -> None:
        super().__init__()
        if output_kind not in OUTPUT_KINDS:
            raise ValueError(f'output_kind is {output_kind!r}; '
                             f"choose one of {', '.join(OUTPUT_KINDS)}")
        if len(encoder.channels) != len(STRIDES):
            raise ValueError(f'the encoder gives {len(encoder.channels)} maps; the decoder fuses '
                             f'{len(STRIDES)}: give as many hooks')
        self.output_kind = output_kind
        self.encoder = encoder
        self.reassemble = nn.ModuleList(
            Reassemble(channels, embedding, width, own / stride)
            for channels, own, stride in zip(encoder.channels, encoder.strides, STRIDES)
        )
        self.fusion = nn.ModuleList(Fusion(width) for _ in STRIDES)
        self.depth_head = Head(width, 1, OUTPUT_KINDS[output_kind])
        self.segmentation_head = Head(width, classes) if classes else None
        if rank:
            add_low_rank(encoder, rank)
            log.info('rank %d: %.1f%% of the parameters are trained',
                     rank, 100 * trainable_share(self))

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, 1, H, W).

        Where H or W is no multiple of 32 the edge is repeated, and the map cropped.
        """
        return crop(self._depth(self._features(image)), image.shape[-2:])

    def joint(self, image: Tensor) -> DepthAndClasses:
        """Map (B, 3, H, W) to depth and segmentation, both of its size.

        Raises
        ------
        ValueError
            The network was built without a segmentation head.
        """
        if self.segmentation_head is None:
            raise ValueError('the network has classes=0, no segmentation head; give classes=2 '
                             'to train one')
        x = self._features(image)
        size = image.shape[-2:]
        return DepthAndClasses(crop(self._depth(x), size), crop(self.segmentation_head(x), size))

    def _features(self, image: Tensor) -> Tensor:
        maps = self.encoder(pad_to_multiple(image, self.size_multiple))
        return fuse(self.fusion, [level(x) for level, x in zip(self.reassemble, maps)])

    def _depth(self, features: Tensor) -> Tensor:
        x = self.depth_head(features)
        return torch.sigmoid(x) if self.output_kind == 'relative' else x


def _check_hooks(hooks: Sequence[int], ends: tuple[int, ...]) -> None:
    if tuple(hooks) in (ends, *PAPER_HOOKS):
        return
    if any(not 0 <= hook <= ends[-1] for hook in hooks):
        rule = f'the encoder has blocks 0 to {ends[-1]}'
    else:
        rule = 'each must be the last block of a stage'
    aliases = ', '.join(str(list(x)) for x in PAPER_HOOKS)
    raise ValueError(f'hooks is {list(hooks)}; {rule}: give {list(ends)}, or one of the '
                     f"paper's {aliases}, which mean the same")


def spt_base(
    embedding: int = 768,
    width: int = 256,
    classes: int = 2,
    output_kind: str = 'relative',
    rank: int = 0,
    hooks: Sequence[int] = (2, 6, 12, 15),
    dropout: float = 0.1,
) -> SPT:
    """Build SPT-base on PVT v2-B2 with linear SRA; the options are those of :class:`SPT`.

    `hooks` are the blocks that the decoder sees: the last ones of the stages.

    Raises
    ------
    ValueError
        Hooks beyond the encoder's depth, and as :class:`SPT`.
    """
    encoder = PyramidTransformer((64, 128, 320, 512), (3, 4, 6, 3), dropout=dropout)
    _check_hooks(hooks, encoder.ends)
    return SPT(encoder, embedding, width, classes, output_kind, rank)


def spt_large(
    classes: int = 2, output_kind: str = 'relative', rank: int = 0, dropout: float = 0.1
) -> SPT:
    """Build SPT-large: SPT-base with an embedding of 1024."""
    return spt_base(1024, 256, classes, output_kind, rank, dropout=dropout)


def spt_tiny(
    classes: int = 2, output_kind: str = 'relative', rank: int = 0, dropout: float = 0.1
) -> SPT:
    """Build a small one, on the widths of PVT v2-B0, that trains on a laptop."""
    encoder = PyramidTransformer((32, 64, 160, 256), (2, 2, 2, 2), dropout=dropout)
    return SPT(encoder, 128, 64, classes, output_kind, rank)


def tiny(classes: int = 2, output_kind: str = 'relative', rank: int = 0) -> SPT:
    """Build the same structure with few channels, for tests."""
    encoder = PyramidTransformer((8, 16, 24, 32), (1, 1, 1, 1), (1, 2, 2, 2), (2, 2, 2, 2),
                                 dropout=0.0)
    return SPT(encoder, 16, 8, classes, output_kind, rank)
