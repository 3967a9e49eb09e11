"""Pyramid Vision Transformer v2 without its classifier: a map at each of four sizes.

Source: W. Wang et al., "PVT v2: Improved Baselines with Pyramid Vision Transformer" (2021). Names
in the state dict are timm's (``patch_embed.proj``, ``stages.1.downsample.proj``,
``stages.0.blocks.0.attn.q``); the names of the authors' own files are translated, see
:meth:`PyramidTransformer.load_imagenet`. There is no class token and there are no position
embeddings: the zero border of the depthwise convolutions tells where a token lies.

Attention is the linear spatial reduction (linear SRA: keys and values from a map that is averaged
to 7x7) or ordinary attention over all tokens, for comparison. No adaptive pooling is in the graph,
which exporters refuse or TensorRT does not read: the average is a product with two matrices that
depend on the size alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
import math
from pathlib import Path
import re

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.models.low_rank import PREFIX
from training.models.pretrained import read_weights

POOLED = 7
BLOCK_EPS = 1e-6  # of the norms of blocks and stages; the others have torch's default
_TIMM_PLACES = {  # of what the authors number from 1
    'patch_embed': 'stages.{}.downsample.',
    'block': 'stages.{}.blocks.',
    'norm': 'stages.{}.norm.',
}


def pooling_matrix(bins: int, size: int, like: Tensor) -> Tensor:
    """Matrix (bins, size) of adaptive average pooling along one axis, in the dtype of `like`.

    Bin i is the mean of elements floor(i size / bins) to ceil((i + 1) size / bins), exclusive.
    """
    i = torch.arange(bins, device=like.device)[:, None]
    element = torch.arange(size, device=like.device)[None]
    # The two bounds without their divisions, which exporters spell out in many operators.
    inside = (i * size < (element + 1) * bins) & (element * bins < (i + 1) * size)
    inside = inside.to(like.dtype)
    return inside / inside.sum(dim=1, keepdim=True)


class Attention(nn.Module):
    """Multi-head attention of all tokens to all tokens."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        self.proj_drop = nn.Dropout(dropout)

    def context(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """Tokens (B, M, C) that keys and values come from."""
        return tokens

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """Map (B, N, C) of a map of `size` to (B, N, C)."""
        q = self._split(self.q(tokens))  # (B, heads, N, C / heads)
        # Slices: ONNX' Split of opset 18, which chunk becomes, cannot be put back to opset 17.
        kv, width = self.kv(self.context(tokens, size)), tokens.shape[-1]
        k, v = self._split(kv[..., :width]), self._split(kv[..., width:])
        x = functional.scaled_dot_product_attention(q, k, v)
        return self.proj_drop(self.proj(x.transpose(1, 2).flatten(2)))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class LinearSRA(Attention):
    """Attention to the 7x7 tokens of the averaged map: cost 2 h w 49 C instead of 2 (h w)^2 C."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__(width, heads, dropout)
        self.sr = nn.Conv2d(width, width, 1)
        self.norm = nn.LayerNorm(width)

    def context(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """Tokens (B, 49, C) of the averaged map."""
        x = _as_map(tokens, size)
        rows, columns = (pooling_matrix(POOLED, side, x) for side in size)
        x = self.sr(rows @ x @ columns.transpose(0, 1))  # (B, C, 7, 7)
        return functional.gelu(self.norm(_as_tokens(x)))


class _MLP(nn.Module):
    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        x = functional.relu(_as_map(self.fc1(tokens), size))
        x = functional.gelu(_as_tokens(self.dwconv(x)))
        return self.drop(self.fc2(self.drop(x)))


class _Block(nn.Module):
    def __init__(self, width: int, ratio: int, attention: Attention, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=BLOCK_EPS)
        self.attn = attention
        self.norm2 = nn.LayerNorm(width, eps=BLOCK_EPS)
        self.mlp = _MLP(width, ratio * width, dropout)

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens), size)
        return tokens + self.mlp(self.norm2(tokens), size)


class _PatchEmbed(nn.Module):
    def __init__(self, c_in: int, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        # The kernel is wider than the stride: patches overlap.
        self.proj = nn.Conv2d(c_in, width, kernel, stride, padding=kernel // 2)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        x = self.proj(x)
        return self.norm(_as_tokens(x)), x.shape[-2:]


class _Stage(nn.Module):
    def __init__(self, c_in: int, width: int, blocks: Sequence[_Block]) -> None:
        super().__init__()
        # timm keeps the first stage's embedding outside of the stage.
        self.downsample = _PatchEmbed(c_in, width, kernel=3, stride=2) if c_in else None
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width, eps=BLOCK_EPS)

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens, size)
        return _as_map(self.norm(tokens), size)


class PyramidTransformer(nn.Module):
    """Encoder of normalised RGB.

    Parameters
    ----------
    widths, depths, heads, ratios : sequence of int
        Of each stage: channels, blocks, attention heads, and hidden channels of the MLP over its
        channels.
    linear_sra : bool
        Linear SRA (True) or ordinary attention.
    dropout : float
        After attention and in the MLP.

    Attributes
    ----------
    channels, strides : tuple of int
        Of the four maps, finest first.
    ends : tuple of int
        Number of the last block of each stage, from 0.
    """

    def __init__(
        self,
        widths: Sequence[int],
        depths: Sequence[int],
        heads: Sequence[int] = (1, 2, 5, 8),
        ratios: Sequence[int] = (8, 8, 4, 4),
        linear_sra: bool = True,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        kind = LinearSRA if linear_sra else Attention
        self.patch_embed = _PatchEmbed(3, widths[0], kernel=7, stride=4)
        self.stages = nn.ModuleList(
            _Stage(c_in, width, [
                _Block(width, ratio, kind(width, count, dropout), dropout) for _ in range(depth)
            ])
            for c_in, width, depth, count, ratio
            in zip((0, *widths), widths, depths, heads, ratios)
        )
        self.channels = tuple(widths)
        self.strides = (4, 8, 16, 32)
        self.ends = tuple(end - 1 for end in accumulate(depths))
        self.apply(init_transformer)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Maps of (B, 3, H, W) at 1/4, 1/8, 1/16 and 1/32, finest first."""
        maps: list[Tensor] = []
        for stage in self.stages:
            embed = stage.downsample if maps else self.patch_embed
            maps.append(stage(*embed(maps[-1] if maps else image)))
        return maps

    def load_imagenet(self, path: str | Path) -> None:
        """Load a ``.pth`` or ``.safetensors`` file of timm or of the authors, less its classifier.

        Raises
        ------
        ValueError
            The file cannot be read, or holds another architecture.
        """
        weights = read_weights(Path(path))
        if 'patch_embed.proj.weight' not in weights:
            weights = {timm_name(name): value for name, value in weights.items()}
        load_encoder(self, weights, path)


def timm_name(name: str) -> str:
    """Translate the name of a weight in the authors' files."""
    name = re.sub(r'^patch_embed1\.', 'patch_embed.', name)
    for part, place in _TIMM_PLACES.items():
        name = re.sub(rf'^{part}(\d)\.', lambda x, to=place: to.format(int(x[1]) - 1), name)
    return name.replace('dwconv.dwconv', 'dwconv')


def load_encoder(encoder: nn.Module, weights: dict[str, Tensor], path: str | Path) -> None:
    """Load `weights` of `path`, less a classifier, into `encoder`; low-rank matrices stay.

    Raises
    ------
    ValueError
        Names or shapes differ.
    """
    weights = {name: w for name, w in weights.items() if not name.startswith('head.')}
    added = {name: w for name, w in encoder.state_dict().items() if PREFIX in name}
    try:
        encoder.load_state_dict({**weights, **added})
    except RuntimeError as error:
        kind = type(encoder).__name__
        raise ValueError(f'{path} does not fit this {kind}: {error}') from error


def init_transformer(module: nn.Module) -> None:
    """Start linear layers and convolutions as the authors do."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        nn.init.zeros_(module.bias)


def _as_map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    return tokens.transpose(1, 2).unflatten(2, size)  # (B, N, C) to (B, C, H, W)


def _as_tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)  # (B, C, H, W) to (B, N, C)
