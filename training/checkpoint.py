"""Reading trained weights back from a run's checkpoints."""

from __future__ import annotations

from pathlib import Path
import pickle
from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.models import build_model

_PREFIX = 'network.'


class CheckpointError(ValueError):
    """A file that is no checkpoint of this project, or holds another model's weights."""


class Checkpoint(NamedTuple):
    """What a training run leaves.

    Attributes
    ----------
    weights : dict of Tensor
        State dict of the network, averaged where the run averages; on the CPU.
    config : dict
        The training config as plain values.
    sources : list of str
        Entries of splits.yaml that were trained on.
    """

    weights: dict[str, Tensor]
    config: dict
    sources: list[str]


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint of ``training.train``.

    Raises
    ------
    CheckpointError
        Missing file, or not a checkpoint written by ``training.train``.
    """
    try:
        # weights_only: a checkpoint from elsewhere must not run code.
        content = torch.load(path, map_location='cpu', weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f'cannot read {path}: {error}') from error
    needed = {'state_dict', 'hyper_parameters', 'sources'}
    if not isinstance(content, dict) or not needed <= content.keys():
        raise CheckpointError(f'{path} is no checkpoint written by training.train')
    weights = {
        name.removeprefix(_PREFIX): value
        for name, value in content['state_dict'].items()
        if name.startswith(_PREFIX)
    }
    return Checkpoint(weights, content['hyper_parameters'], content['sources'])


def load_into(network: nn.Module, path: str | Path) -> None:
    """Load a checkpoint's weights into `network`; every key must match.

    Raises
    ------
    CheckpointError
        As :func:`read_checkpoint`; also where names or shapes differ.
    """
    checkpoint = read_checkpoint(path)
    try:
        network.load_state_dict(checkpoint.weights, strict=True)
    except RuntimeError as error:
        model = checkpoint.config.get('model')
        raise CheckpointError(f'{path} holds a {model}, another model: {error}') from error


def load_model(path: str | Path) -> tuple[nn.Module, Checkpoint]:
    """Build the network that a checkpoint names, in eval mode, with its weights."""
    checkpoint = read_checkpoint(path)
    network = build_model(checkpoint.config['model'])
    load_into(network, path)
    return network.eval(), checkpoint
