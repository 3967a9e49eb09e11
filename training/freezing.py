"""Parts of a network that a phase leaves as they are: weights, and statistics of batch norms."""

from __future__ import annotations

import warnings

from torch import nn

from training.config import Phase

# Lightning's, about modules that are fixed on purpose.
warnings.filterwarnings('ignore', message='.*module.* in eval mode at the start of training')

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def freeze(network: nn.Module, phase: Phase) -> None:
    """Let all weights train but those whose names begin as `phase.frozen` says.

    Frozen batch norms, and with `phase.fixed_norms` all, keep their statistics as well: call it
    again where the network was put into training mode.
    """
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not name.startswith(phase.frozen))
    for name, module in network.named_modules():
        fixed = phase.fixed_norms or f'{name}.'.startswith(phase.frozen)
        if fixed and isinstance(module, NORMS):
            module.eval()
