"""Low-rank trainable matrices beside frozen weights (LoRA).

Source: E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021). A linear layer
with the frozen weight W, (out, in), computes with W + (ALPHA / rank) B A; A, (rank, in), starts at
random and B, (out, rank), at 0, so that training starts from W. Before an export
:func:`merge_low_rank` makes it an ordinary layer of the sum.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

ALPHA = 8.0
PREFIX = 'low_rank_'  # of the names of the added matrices


class LowRankLinear(nn.Linear):
    """`linear`, frozen and under its own key names, with trainable matrices of `rank` beside it.

    Raises
    ------
    ValueError
        `rank` is not between 1 and the smaller side of the weight.
    """

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        largest = min(self.in_features, self.out_features)
        if not 1 <= rank <= largest:
            raise ValueError(f'rank is {rank}; a layer of {self.in_features} to '
                             f'{self.out_features} features allows 1 to {largest}')
        self.weight, self.bias = linear.weight, linear.bias
        linear.requires_grad_(False)
        self.scale = ALPHA / rank
        self.low_rank_a = nn.Parameter(linear.weight.new_empty(rank, self.in_features))
        self.low_rank_b = nn.Parameter(linear.weight.new_zeros(self.out_features, rank))
        nn.init.kaiming_uniform_(self.low_rank_a, a=math.sqrt(5))

    def sum_weight(self) -> Tensor:
        """W + (ALPHA / rank) B A, (out, in)."""
        return self.weight + self.scale * (self.low_rank_b @ self.low_rank_a)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        return functional.linear(x, self.sum_weight(), self.bias)

    def merged(self) -> nn.Linear:
        """Ordinary layer that computes the same."""
        with torch.no_grad():
            linear = nn.Linear(self.in_features, self.out_features, self.bias is not None,
                               self.weight.device, self.weight.dtype)
            linear.weight.copy_(self.sum_weight())
            if self.bias is not None:
                linear.bias.copy_(self.bias)
        return linear.train(self.training)


def add_low_rank(encoder: nn.Module, rank: int) -> None:
    """Freeze `encoder`, then give every linear layer of its attention trainable matrices.

    Attention is what bears the name ``attn``.

    Raises
    ------
    ValueError
        As :class:`LowRankLinear`.
    """
    encoder.requires_grad_(False)
    attentions = [m for name, m in encoder.named_modules() if name.rpartition('.')[2] == 'attn']
    for attention in attentions:
        for name, layer in list(attention.named_children()):
            if isinstance(layer, nn.Linear):
                setattr(attention, name, LowRankLinear(layer, rank))


def merge_low_rank(network: nn.Module) -> nn.Module:
    """Put the sums in the place of all low-rank layers of `network`, in place, and return it."""
    for module in list(network.modules()):
        for name, layer in list(module.named_children()):
            if isinstance(layer, LowRankLinear):
                setattr(module, name, layer.merged())
    return network


def trainable_share(network: nn.Module) -> float:
    """Share of the parameters of `network` that are trained."""
    counts = [(p.numel(), p.requires_grad) for p in network.parameters()]
    return sum(n for n, trained in counts if trained) / sum(n for n, _ in counts)
