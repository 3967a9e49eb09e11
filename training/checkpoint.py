"""Reading trained weights back from a run's checkpoints."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

from training.models import build_model

_PREFIX = 'network.'


class CheckpointError(ValueError):
    """A file that is no checkpoint of this project, or holds another model's weights."""


def load_weights(path: str | Path) -> tuple[dict[str, Tensor], dict]:
    """Read the (averaged) weights and the training config of a checkpoint.

    Returns
    -------
    weights : dict of Tensor
        State dict of the network, on the CPU.
    config : dict
        The training config as plain values.

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
    if not isinstance(content, dict) or not {'state_dict', 'hyper_parameters'} <= content.keys():
        raise CheckpointError(f'{path} is no checkpoint written by training.train')
    weights = {
        name.removeprefix(_PREFIX): value
        for name, value in content['state_dict'].items()
        if name.startswith(_PREFIX)
    }
    return weights, content['hyper_parameters']


def load_into(network: nn.Module, path: str | Path) -> None:
    """Load a checkpoint's weights into `network`; every key must match.

    Raises
    ------
    CheckpointError
        As :func:`load_weights`; also where names or shapes differ.
    """
    weights, config = load_weights(path)
    try:
        network.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        message = f"{path} holds a {config.get('model')}, another model: {error}"
        raise CheckpointError(message) from error


def load_model(path: str | Path) -> tuple[nn.Module, dict]:
    """Build the network that a checkpoint names, in eval mode, with its weights; and its config."""
    _, config = load_weights(path)
    network = build_model(config['model'])
    load_into(network, path)
    return network.eval(), config
