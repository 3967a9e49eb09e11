"""DfDNet: metric depth from a focus stack, by attention across its slices.

Source: V. Subramanian, "Transformer-based Monocular Depth Estimation using Defocus Cues"; where
the paper is silent, its published form (Y. Zuo et al., "Zero-Shot Depth from Defocus", 2026). An
encoder runs on all N slices; after each of its first `collapse_after` blocks slices attend to one
another (training.models.stack_attention). The block after that is the last one that runs N times:
its maps collapse to one, and the rest of the encoder and the decoder run once. Time, and in
training memory, grow with the stack up to the collapse only; without training the largest layer
decides on memory, which lies before the collapse (benchmarks/bench_dfdnet.py shows both).

In: normalised stack (B, N, 3, H, W) and canonical focus distances (B, N), metres; no F-number, no
focal length. Stacks may have any order and size. Out: canonical depth. The canonical camera has a
focal length of one picture width (W / f); ``canonical=False`` leaves distances as they are.

Sizes. ``dfdnet`` is the paper's, on DINOv2 ViT-S/14: 42,539,721 parameters with four blocks of
stack attention, of which the encoder has 22,056,576, and 29 to 78 million with one to twelve.
``dfdnet_base`` is on ViT-B/14. Both are made for published weights (``init=FILE``, see
:meth:`DfDNet.load_imagenet`) and for GPUs.

``dfdnet_small`` trains from nothing on two cores. It has the same parts on a pyramid of
convolutions (training.models.conv_pyramid) for the transformer, for three reasons. Blur of a few
pixels is in the finest detail, and patches of 14 pixels must first learn to keep it; convolutions
need not learn from data that neighbours belong together; and of all the layers here they reach
the most operations a second in ONNX Runtime on a CPU. Stack attention runs at 1/8 of the picture:
at 1/4 it took more than half of a stack's time, as its many small products are bound by memory.
Where a slice is sharp is a matter of areas; edges come from the stem's maps at 1/4. Two blocks of
stack attention let one slice be judged by what was found in the others. How sharp each place is
in each slice comes to the stem's maps from training.models.focus_measure, ready for use. Depth is
given as its logarithm at half the size of the picture, so that no convolution runs at full size.

``dfdnet_single``, ``dfdnet_base_single`` and ``dfdnet_small_single`` estimate depth from one
image by the same encoder and decoder, without stack attention: what depth from defocus is
compared with.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional

from training.models.conv_pyramid import ConvPyramid
from training.models.dinov2 import DEPTH_ANYTHING, DinoV2, vit_base, vit_small
from training.models.dpt import DPTDecoder, depth_anything_weights
from training.models.focus_measure import FocusMeasure
from training.models.input_size import check_multiple
from training.models.pretrained import read_weights
from training.models.stack_attention import GROUPS, Collapse, StackAttention

FRAMES = 5
LOG_START, METRIC_START = 0.7, 2.0  # canonical metres that a fresh network gives, about
FRAMES_RANGE = (2, 16)
CANONICAL_FOCAL_PER_WIDTH = 1.0
PYRAMID = (64, 128, 192)  # channels at 1/8, 1/16 and 1/32


class SingleImageNet(nn.Module):
    """Depth from one image.

    Parameters
    ----------
    encoder : Module
        Blocks that run one by one: DinoV2 or ConvPyramid.
    decoder : Module
        Of the encoder's levels to one channel.
    output_kind : str
        'metric': softplus of it; 'log': as it is.
    canonical : bool
        Whether depth is canonical.
    """

    def __init__(self, encoder: DinoV2 | ConvPyramid, decoder: DPTDecoder, output_kind: str,
                 canonical: bool) -> None:
        super().__init__()
        self.output_kind = output_kind
        self.canonical_focal_per_width = CANONICAL_FOCAL_PER_WIDTH if canonical else None
        self.size_multiple = encoder.stride
        self.encoder = encoder
        self.decoder = decoder
        decoder.start_near(METRIC_START if output_kind == 'metric' else LOG_START)

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, 3, H, W) to canonical depth (B, 1, h, w)."""
        check_multiple(image, self.size_multiple)
        size, levels = image.shape[-2:], []
        x = self.encoder.start(image)
        for index, block in enumerate((nn.Identity(), *self.encoder.blocks), start=-1):
            x = block(x)
            if index in self.encoder.hooks:
                levels.append(self.encoder.level(x, size))
        return self._depth(levels, size)

    def _depth(self, levels: list[Tensor], size: tuple[int, int]) -> Tensor:
        x = self.decoder(levels, size)
        return functional.softplus(x) if self.output_kind == 'metric' else x

    def load_imagenet(self, path: str | Path) -> None:
        """Load a published encoder, or encoder and decoder of a file of Depth Anything V2.

        Raises
        ------
        ValueError
            The file cannot be read, or holds another architecture; or no files are published of
            this encoder.
        """
        if not isinstance(self.encoder, DinoV2):
            raise ValueError(f'{path} does not hold the weights of this network, whose encoder is '
                             'its own: none is published; give a file of training.export')
        self.encoder.load_imagenet(path)
        decoder = depth_anything_weights(read_weights(Path(path)), DEPTH_ANYTHING[1])
        if decoder:
            try:
                self.decoder.load_state_dict(decoder)
            except RuntimeError as error:
                raise ValueError(f'{path} does not fit this decoder: {error}') from error


class DfDNet(SingleImageNet):
    """Depth from a focus stack; see the module's text.

    Parameters
    ----------
    encoder, decoder, output_kind, canonical
        As :class:`SingleImageNet` has them.
    collapse_after : int
        Blocks with stack attention behind them.
    collapse : str
        'mean', 'max' or 'attention'.
    frames : int
        Images of a stack in training.
    heads, groups : int
        Of stack attention.
    focus_measure : bool
        Whether sharpness is measured for the network and added to what the encoder starts with,
        which has to have a quarter of the picture's size then.

    Raises
    ------
    ValueError
        A collapse that does not exist, or behind more blocks than there are.
    """

    extra_inputs = ('focus_distances',)
    frames_range = FRAMES_RANGE

    def __init__(
        self,
        encoder: DinoV2 | ConvPyramid,
        decoder: DPTDecoder,
        output_kind: str,
        canonical: bool,
        collapse_after: int,
        collapse: str,
        frames: int,
        heads: int = 8,
        groups: int = GROUPS,
        focus_measure: bool = False,
    ) -> None:
        super().__init__(encoder, decoder, output_kind, canonical)
        blocks = len(encoder.blocks)
        if not 1 <= collapse_after <= blocks:
            raise ValueError(f'collapse_after is {collapse_after}; the encoder has {blocks} '
                             f'blocks: give 1 to {blocks}')
        if not FRAMES_RANGE[0] <= frames <= FRAMES_RANGE[1]:
            raise ValueError(f'frames is {frames}; a stack has {FRAMES_RANGE[0]} to '
                             f'{FRAMES_RANGE[1]}')
        self.frames = frames
        self.stack_attention = nn.ModuleList(
            StackAttention(width, heads, groups) for width in encoder.widths[:collapse_after]
        )
        self.focus_measure = FocusMeasure(encoder.start_width) if focus_measure else None
        self.collapses_at = min(collapse_after, blocks - 1)
        axis = 1 if isinstance(encoder, ConvPyramid) else -1
        places = [*(h for h in encoder.hooks if h < self.collapses_at), self.collapses_at]
        widths = {-1: encoder.start_width, **dict(enumerate(encoder.widths))}
        self.collapse = nn.ModuleDict(
            {str(place): Collapse(collapse, widths[place], axis) for place in places}
        )

    def forward(self, image: Tensor, focus_distances: Tensor) -> Tensor:
        """Map stacks (B, N, 3, H, W), focused at (B, N) canonical metres, to (B, 1, h, w)."""
        check_multiple(image, self.size_multiple)
        size, frames = image.shape[-2:], image.shape[1]
        dioptres = 1 / focus_distances
        x, levels = self.encoder.start(image.flatten(0, 1)), []  # (B N, ...)
        if self.focus_measure is not None:
            x = x + self.focus_measure(image, dioptres)
        for index, block in enumerate((nn.Identity(), *self.encoder.blocks), start=-1):
            x = block(x)
            if 0 <= index < len(self.stack_attention):
                patches = self.stack_attention[index](self.encoder.patches(x), dioptres)
                x = self.encoder.with_patches(x, patches)
            if index == self.collapses_at:
                x = self.collapse[str(index)](x, frames)  # (B, ...) from here on
            if index in self.encoder.hooks:
                early = index < self.collapses_at
                level = self.collapse[str(index)](x, frames) if early else x
                levels.append(self.encoder.level(level, size))
        return self._depth(levels, size)


def _small_parts() -> tuple[DinoV2, DPTDecoder]:
    return vit_small(), DPTDecoder((384,) * 4, (48, 96, 192, 384), 64)


def _base_parts() -> tuple[DinoV2, DPTDecoder]:
    return vit_base(), DPTDecoder((768,) * 4, (96, 192, 384, 768), 128)


def _pyramid_parts() -> tuple[ConvPyramid, DPTDecoder]:
    encoder = ConvPyramid((16, 32), PYRAMID, (3, 2, 2))
    levels = (32, *PYRAMID)
    return encoder, DPTDecoder(levels, levels, 48, (1.0,) * 4, enlarges=False)


def dfdnet(collapse_after: int = 4, collapse: str = 'mean', canonical: bool = True,
           frames: int = FRAMES) -> DfDNet:
    """Build the paper's network on ViT-S/14; the options are those of :class:`DfDNet`."""
    return DfDNet(*_small_parts(), 'metric', canonical, collapse_after, collapse, frames)


def dfdnet_base(collapse_after: int = 4, collapse: str = 'mean', canonical: bool = True,
                frames: int = FRAMES) -> DfDNet:
    """Build the paper's network on ViT-B/14: 168,369,481 parameters."""
    return DfDNet(*_base_parts(), 'metric', canonical, collapse_after, collapse, frames)


def dfdnet_small(collapse_after: int = 2, collapse: str = 'mean', canonical: bool = True,
                 frames: int = FRAMES) -> DfDNet:
    """Build the one that trains from nothing on two cores: seven blocks."""
    return DfDNet(*_pyramid_parts(), 'log', canonical, collapse_after, collapse, frames,
                  heads=4, groups=1, focus_measure=True)


def dfdnet_single(canonical: bool = True) -> SingleImageNet:
    """Build encoder and decoder of :func:`dfdnet` for one image (Depth Anything V2 Small)."""
    return SingleImageNet(*_small_parts(), 'metric', canonical)


def dfdnet_base_single(canonical: bool = True) -> SingleImageNet:
    """Build encoder and decoder of :func:`dfdnet_base` for one image."""
    return SingleImageNet(*_base_parts(), 'metric', canonical)


def dfdnet_small_single(canonical: bool = True) -> SingleImageNet:
    """Build encoder and decoder of :func:`dfdnet_small` for one image."""
    return SingleImageNet(*_pyramid_parts(), 'log', canonical)


def tiny(collapse_after: int = 2, collapse: str = 'attention') -> DfDNet:
    """Build the same structure on a narrow transformer, for tests."""
    encoder = DinoV2(16, 2, depth=4, hooks=(0, 1, 2, 3), grid=4, layer_scale=0.1)
    decoder = DPTDecoder((16,) * 4, (8, 8, 16, 16), 8)
    network = DfDNet(encoder, decoder, 'metric', True, collapse_after, collapse, 3, 2, 4)
    for module in network.stack_attention:
        nn.init.normal_(module.proj_out.weight, std=0.02)  # as after a first step of training
    return network
