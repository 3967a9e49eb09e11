"""Start a wider network from the weights of a narrower one, so that it computes the same at first.

T. Chen, I. Goodfellow, J. Shlens, "Net2Net: Accelerating Learning via Knowledge Transfer" (ICLR
2016), section 2.1: channels beyond the old width are copies of old ones, and what reads a channel
that is there k times takes a k-th of its weight from each. Noise sets the copies apart, or they
would get the same gradients and never part.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

NOISE = 0.02  # relative deviation


def is_narrower(weights: Mapping[str, Tensor], network: nn.Module) -> bool:
    """Say whether `weights` are of the structure of `network`, with fewer channels."""
    own = network.state_dict()
    if own.keys() != weights.keys():
        return False
    pairs = [(weights[name].shape, own[name].shape) for name in own]
    return (any(a != b for a, b in pairs)
            and all(len(a) == len(b) and all(x <= y for x, y in zip(a, b)) for a, b in pairs))


class Widening:
    """Fills the `state` of a wider network from a narrower one's, layer by layer.

    A layer's inputs and outputs are told as the old channel that each new one is a copy of.

    Parameters
    ----------
    weights : mapping
        State of the narrower network.
    noise : float
        Relative deviation between copies.
    """

    def __init__(self, weights: Mapping[str, Tensor], noise: float = NOISE) -> None:
        self.state: dict[str, Tensor] = {}
        self._weights, self._noise = weights, noise
        self._rng = torch.Generator().manual_seed(0)

    def through(self, name: str, module: nn.Module, inputs: Tensor) -> Tensor:
        """Fill in `module`, called `name` in the state, and return its outputs.

        Knows convolutions and batch norms, alone and in a row with layers that have no weights.
        """
        if isinstance(module, nn.Sequential):
            for number, part in module.named_children():
                inputs = self.through(f'{name}.{number}', part, inputs)
            return inputs
        if isinstance(module, nn.Conv2d):
            return self._convolution(name, module, inputs)
        for key in module.state_dict():  # of a batch norm
            value = self._weights[f'{name}.{key}']
            self.state[f'{name}.{key}'] = value[inputs] if value.ndim else value.clone()
        return inputs

    def _convolution(self, name: str, module: nn.Conv2d, inputs: Tensor) -> Tensor:
        old = self._weights[f'{name}.weight']
        outputs = torch.arange(module.out_channels) % len(old)
        copies = inputs.bincount()[inputs].view(1, -1, 1, 1)
        weight = old[outputs][:, inputs] / copies
        apart = torch.randn(weight.shape, generator=self._rng)
        self.state[f'{name}.weight'] = weight * (1 + self._noise * apart)
        if module.bias is not None:
            self.state[f'{name}.bias'] = self._weights[f'{name}.bias'][outputs]
        return outputs
