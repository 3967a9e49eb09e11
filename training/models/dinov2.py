"""DINOv2's vision transformer, as an encoder whose blocks can be run one by one.

Source: M. Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision" (2023), as
Depth Anything and DfDNet use it: patches of 14 pixels, LayerScale, no register tokens. Names in
the state dict are those of the published files (``patch_embed.proj``, ``blocks.0.attn.qkv``,
``blocks.0.ls1.gamma``, ``norm``), which timm's files have too; ``mask_token``, which serves their
pre-training alone, is there so that they load, and is not trained.

Position embeddings are those of 37 x 37 patches (518 pixels), interpolated bicubically to the
picture's own grid, without antialiasing: this is exact and the same in torch and in ONNX.
"""

from __future__ import annotations

from collections.abc import Sequence
import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.models.pretrained import read_weights
from training.models.pvt import init_transformer, load_encoder
from training.models.vit import EPS, HOOKS, MLP, Attention, PatchEmbed

PATCH = 14
GRID = 37  # patches a side that the published position embeddings are made for: 518 / 14
LAYER_SCALE = 1e-5  # to start from, where no weights are loaded
DEPTH_ANYTHING = ('pretrained.', 'depth_head.')  # of its files: encoder and decoder


class LayerScale(nn.Module):
    """A factor for each channel."""

    def __init__(self, width: int, start: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), start))

    def forward(self, x: Tensor) -> Tensor:
        """Scale (..., width)."""
        return x * self.gamma


class Block(nn.Module):
    """Attention and MLP, each behind a norm and before a layer scale."""

    def __init__(self, width: int, heads: int, layer_scale: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attn = Attention(width, heads, dropout=0.0)
        self.ls1 = LayerScale(width, layer_scale)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.mlp = MLP(width, dropout=0.0)
        self.ls2 = LayerScale(width, layer_scale)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, 1 + P, width) to the same shape."""
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens)))
        return tokens + self.ls2(self.mlp(self.norm2(tokens)))


class DinoV2(nn.Module):
    """Encoder of normalised RGB; every map has the size of its grid of patches.

    Parameters
    ----------
    width, heads, depth : int
        Channels, attention heads, blocks.
    hooks : sequence of int
        Blocks, from 0, after which maps are taken, in ascending order.
    grid : int
        Patches a side for which there are position embeddings.
    layer_scale : float
        Start of the layer scales.

    Attributes
    ----------
    start_width, widths : int, tuple of int
        Channels before the first block, and after each.
    stride : int
        Height and width of the input must be multiples of it.
    """

    stride = PATCH

    def __init__(
        self,
        width: int,
        heads: int,
        depth: int = 12,
        hooks: Sequence[int] = HOOKS,
        grid: int = GRID,
        layer_scale: float = LAYER_SCALE,
    ) -> None:
        super().__init__()
        self.hooks = tuple(hooks)
        self.start_width, self.widths = width, (width,) * depth
        self.patch_embed = PatchEmbed(3, width, PATCH)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid * grid, width))
        self.mask_token = nn.Parameter(torch.zeros(1, width), requires_grad=False)
        self.blocks = nn.ModuleList(Block(width, heads, layer_scale) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.apply(init_transformer)
        nn.init.normal_(self.cls_token, std=1e-6)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def start(self, image: Tensor) -> Tensor:
        """Tokens (M, 1 + P, width) of (M, 3, H, W), class token first, before the first block."""
        x = self.patch_embed(image)
        size = x.shape[-2:]
        x = x.flatten(2).transpose(1, 2) + self._positions(size)
        cls_token = (self.cls_token + self.pos_embed[:, :1]).expand(x.shape[0], -1, -1)
        return torch.cat([cls_token, x], dim=1)

    def patches(self, tokens: Tensor) -> Tensor:
        """Those tokens (M, P, width) that stand for a patch."""
        return tokens[:, 1:]

    def with_patches(self, tokens: Tensor, patches: Tensor) -> Tensor:
        """`tokens` with other `patches`; the class token stays."""
        return torch.cat([tokens[:, :1], patches], dim=1)

    def level(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """Map (M, width, h, w) of tokens after a block, for a picture of `size` (H, W)."""
        patches = self.norm(tokens)[:, 1:]
        return patches.transpose(1, 2).unflatten(2, (size[0] // PATCH, size[1] // PATCH))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Maps of (M, 3, H, W), each (M, width, H / 14, W / 14), by hooks."""
        x, levels = self.start(image), []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.hooks:
                levels.append(self.level(x, image.shape[-2:]))
        return levels

    def _positions(self, size: tuple[int, int]) -> Tensor:
        grid = math.isqrt(self.pos_embed.shape[1] - 1)
        x = self.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (grid, grid))
        x = functional.interpolate(x, size, mode='bicubic', align_corners=False)
        return x.flatten(2).transpose(1, 2)  # (1, P, C)

    def load_imagenet(self, path: str | Path) -> None:
        """Load a published file of DINOv2, of timm, or the encoder of one of Depth Anything.

        ``.pth`` or ``.safetensors``; ``mask_token`` may be missing.

        Raises
        ------
        ValueError
            The file cannot be read, or holds another architecture.
        """
        weights = read_weights(Path(path))
        encoder, decoder = DEPTH_ANYTHING
        if any(name.startswith(encoder) for name in weights):
            weights = {name.removeprefix(encoder): value for name, value in weights.items()
                       if not name.startswith(decoder)}
        load_encoder(self, {'mask_token': self.mask_token.detach(), **weights}, path)


def vit_small(hooks: Sequence[int] = HOOKS) -> DinoV2:
    """Build ViT-S/14: 22,056,576 parameters."""
    return DinoV2(384, 6, hooks=hooks)


def vit_base(hooks: Sequence[int] = HOOKS) -> DinoV2:
    """Build ViT-B/14: 86,580,480 parameters."""
    return DinoV2(768, 12, hooks=hooks)
