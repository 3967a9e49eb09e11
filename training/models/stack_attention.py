"""Attention across a focus stack, and the step that makes one map of a stack's.

Source: V. Subramanian, "Transformer-based Monocular Depth Estimation using Defocus Cues": the
motion module of Video Depth Anything (Chen et al. 2025), attention along time for each patch,
runs along the stack. Where a video has positions in time, a slice has its focus distance: it is
embedded by a small network, so that a stack may have any order and size. The network sees
dioptres (1 / canonical metres): by equation 2 blur is linear in them, and focus at infinity is 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

GROUPS = 32  # of the group norm; fewer where they do not divide the width
COLLAPSES = ('mean', 'max', 'attention')


class FocusEmbedding(nn.Module):
    """Adds an embedding of its focus to each slice."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(1, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor, dioptres: Tensor) -> Tensor:
        """Add to x (B, N, P, C) what belongs to dioptres (B, N)."""
        return x + self.scale * self.mlp(dioptres[..., None]).unsqueeze(2)


class SliceAttention(nn.Module):
    """Multi-head attention of the N slices of each patch to one another."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.focus = FocusEmbedding(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, dioptres: Tensor) -> Tensor:
        """Map (B, N, P, C) to the same shape."""
        qkv, width = self.qkv(self.focus(self.norm(x), dioptres)), x.shape[-1]
        # (B, N, P, C) to (B, P, heads, N, C / heads). Slices: see training.models.pvt.
        q, k, v = (
            qkv[..., i * width:(i + 1) * width].unflatten(-1, (self.heads, -1))
            .permute(0, 2, 3, 1, 4) for i in range(3)
        )
        weights = (q @ k.transpose(-1, -2) / math.sqrt(width // self.heads)).softmax(dim=-1)
        return self.proj((weights @ v).permute(0, 3, 1, 2, 4).flatten(3))


class GatedMLP(nn.Module):
    """GEGLU feed-forward layer of four times the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 8 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to the same shape."""
        x, half = self.fc1(self.norm(x)), 4 * x.shape[-1]
        return self.fc2(x[..., :half] * functional.gelu(x[..., half:]))


class StackAttention(nn.Module):
    """Two attentions along the stack and a feed-forward layer, beside the identity.

    The last layer starts at 0: a fresh module changes nothing. With a width of 384 and 8 heads it
    has 4,438,658 parameters.

    Parameters
    ----------
    width, heads : int
        Channels, a multiple of the attention heads.
    groups : int
        Of the norm over each slice; 1 keeps how its channels relate.
    """

    def __init__(self, width: int, heads: int = 8, groups: int = GROUPS) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.proj_in = nn.Linear(width, width)
        self.attentions = nn.ModuleList(SliceAttention(width, heads) for _ in range(2))
        self.mlp = GatedMLP(width)
        self.proj_out = nn.Linear(width, width)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)

    def forward(self, tokens: Tensor, dioptres: Tensor) -> Tensor:
        """Map tokens (B N, P, C) of stacks focused at dioptres (B, N) to the same shape."""
        x = self.norm(tokens.transpose(1, 2)).transpose(1, 2)
        x = self.proj_in(x).unflatten(0, dioptres.shape)  # (B, N, P, C)
        for attention in self.attentions:
            x = x + attention(x, dioptres)
        x = x + self.mlp(x)
        return tokens + self.proj_out(x).flatten(0, 1)


class Collapse(nn.Module):
    """Makes one map of the N of each stack: their mean, largest value, or weighted mean.

    'attention' learns the weights: for each place and each of `heads` groups of channels a
    softmax over the slices, of a linear map of their channels, which starts at 0: the mean.

    Raises
    ------
    ValueError
        A kind that does not exist.
    """

    def __init__(self, kind: str, width: int, axis: int = -1, heads: int = 4) -> None:
        super().__init__()
        if kind not in COLLAPSES:
            raise ValueError(f"collapse is {kind!r}; choose one of {', '.join(COLLAPSES)}")
        self.kind, self.axis, self.heads = kind, axis, heads
        self.score = nn.Linear(width, heads) if kind == 'attention' else None
        if self.score is not None:
            nn.init.zeros_(self.score.weight)
            nn.init.zeros_(self.score.bias)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """Map (B N, ...), with channels along `axis`, to (B, ...)."""
        stack = x.unflatten(0, (-1, frames))
        if self.kind == 'mean':
            return stack.mean(dim=1)
        if self.kind == 'max':
            return stack.amax(dim=1)
        assert self.score is not None
        values = x.movedim(self.axis, -1).unflatten(0, (-1, frames))  # (B, N, ..., C)
        weights = self.score(values).softmax(dim=1)[..., None]  # (B, N, ..., heads, 1)
        found = (values.unflatten(-1, (self.heads, -1)) * weights).sum(dim=1).flatten(-2)
        return found.movedim(-1, self.axis)
