"""Vision Transformers as encoders that give four maps, plain or on the maps of a ResNet.

Sources: A. Dosovitskiy et al., "An Image is Worth 16x16 Words" (2020); R. Ranftl et al., "Vision
Transformers for Dense Prediction" (2021), whose choice of blocks is ``HOOKS``. Names in the state
dict are timm's (``cls_token``, ``pos_embed``, ``blocks.0.attn.qkv``), so that its files load: see
:meth:`VisionTransformer.load_imagenet`. Maps are taken as they leave the blocks, hence there is no
last norm.
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
from training.models.resnet import Bottleneck, ResNet

HOOKS = (2, 5, 8, 11)
GRID = 24  # patches a side of the picture that the position embeddings are made for: 384 / 16
EPS = 1e-6


class Attention(nn.Module):
    """Multi-head attention of all tokens to all tokens."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.proj_drop = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, N, C) to the same shape."""
        qkv, width = self.qkv(tokens), tokens.shape[-1]
        # Slices: see training.models.pvt.
        parts = (qkv[..., i * width:(i + 1) * width] for i in range(3))
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in parts)
        x = functional.scaled_dot_product_attention(q, k, v)  # (B, heads, N, C / heads)
        return self.proj_drop(self.proj(x.transpose(1, 2).flatten(2)))


class MLP(nn.Module):
    """Two linear layers, four times as wide in between."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (..., C) to the same shape."""
        return self.drop(self.fc2(self.drop(functional.gelu(self.fc1(tokens)))))


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attn = Attention(width, heads, dropout)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.mlp = MLP(width, dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class PatchEmbed(nn.Module):
    """Embeds each patch of a picture, none overlapping."""

    def __init__(self, c_in: int, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(c_in, width, patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c_in, H, W) to (B, width, H / patch, W / patch)."""
        return self.proj(x)


class VisionTransformer(nn.Module):
    """Encoder of normalised RGB; all maps have the size of its grid of patches.

    Parameters
    ----------
    patch : int
        Side of a patch of the input.
    width, depth, heads : int
        Channels, blocks, and attention heads of each block.
    hooks : sequence of int
        Blocks, from 0, after which maps are taken, in ascending order.
    dropout : float
        Of the embedded patches, after attention and in the MLP.
    grid : int
        Patches a side for which there are position embeddings; they are interpolated for others.
    c_in : int
        Channels of the input.

    Attributes
    ----------
    channels, strides : tuple of int
        Of the maps.

    Raises
    ------
    ValueError
        Hooks that are not ascending, or beyond `depth`.
    """

    def __init__(
        self,
        patch: int,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        hooks: Sequence[int] = HOOKS,
        dropout: float = 0.1,
        grid: int = GRID,
        c_in: int = 3,
    ) -> None:
        super().__init__()
        if list(hooks) != sorted(set(hooks)) or not all(0 <= hook < depth for hook in hooks):
            raise ValueError(f'hooks is {list(hooks)}; the encoder has blocks 0 to {depth - 1}: '
                             'give some of them in ascending order')
        self.hooks = tuple(hooks)
        self.patch_embed = PatchEmbed(c_in, width, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid * grid, width))
        self.pos_drop = nn.Dropout(dropout)
        # What comes after the last hook would be computed in vain.
        self.blocks = nn.ModuleList(
            _Block(width, heads, dropout) for _ in range(self.hooks[-1] + 1)
        )
        self.channels = (width,) * len(self.hooks)
        self.strides = (patch,) * len(self.hooks)
        self.apply(init_transformer)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Maps of (B, c_in, H, W), each (B, width, H / patch, W / patch), by hooks."""
        x = self.patch_embed(image)
        size = x.shape[-2:]
        x = x.flatten(2).transpose(1, 2) + self._positions(size)  # (B, N, C)
        cls_token = (self.cls_token + self.pos_embed[:, :1]).expand(x.shape[0], -1, -1)
        x = self.pos_drop(torch.cat([cls_token, x], dim=1))
        maps = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.hooks:
                maps.append(x[:, 1:].transpose(1, 2).unflatten(2, size))  # the class token is left
        return maps

    def _positions(self, size: tuple[int, int]) -> Tensor:
        grid = math.isqrt(self.pos_embed.shape[1] - 1)
        x = self.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (grid, grid))
        x = functional.interpolate(x, size, mode='bilinear', align_corners=False)
        return x.flatten(2).transpose(1, 2)  # (1, N, C)

    def load_imagenet(self, path: str | Path) -> None:
        """Load a ``.pth`` or ``.safetensors`` file of timm of the same grid of patches.

        Its classifier, its last norm, and blocks after the last hook are left out.

        Raises
        ------
        ValueError
            The file cannot be read, or holds another architecture.
        """
        beyond = tuple(f'blocks.{i}.' for i in range(len(self.blocks), 64))
        weights = {name: value for name, value in read_weights(Path(path)).items()
                   if not name.startswith(('norm.', *beyond))}
        load_encoder(self, weights, path)


class _ResNetStages(ResNet):
    """The first three stages: maps at 1/4, 1/8 and 1/16."""

    def forward(self, image: Tensor) -> list[Tensor]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(image))))
        maps = []
        for layer in (self.layer1, self.layer2, self.layer3):
            x = layer(x)
            maps.append(x)
        return maps


class HybridTransformer(nn.Module):
    """A ResNet's maps at 1/4 and 1/8, then those of two blocks of a transformer on that at 1/16.

    Like DPT-Hybrid, whose ResNet has group norm and standardised weights where this has batch
    norm: its files do not load.

    Parameters
    ----------
    depths : sequence of int
        Bottleneck blocks of the ResNet's three stages.
    stem : int
        Channels of its first convolution.
    width, depth, heads, hooks, dropout, grid
        Of the transformer, as :class:`VisionTransformer` has them; two hooks.
    """

    def __init__(
        self,
        depths: Sequence[int] = (3, 4, 9),
        stem: int = 64,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        hooks: Sequence[int] = HOOKS[2:],
        dropout: float = 0.1,
        grid: int = GRID,
    ) -> None:
        super().__init__()
        self.resnet = _ResNetStages(Bottleneck, depths, stem)
        channels = self.resnet.channels[1:]  # without the stem's
        self.transformer = VisionTransformer(
            1, width, depth, heads, hooks, dropout, grid, c_in=channels[-1]
        )
        self.channels = (*channels[:2], *self.transformer.channels)
        self.strides = (4, 8, 16, 16)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Maps of (B, 3, H, W), finest first."""
        quarter, eighth, sixteenth = self.resnet(image)
        return [quarter, eighth, *self.transformer(sixteenth)]
