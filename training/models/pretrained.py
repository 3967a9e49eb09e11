"""Weights of other projects, from files that may come from anywhere."""

from __future__ import annotations

from pathlib import Path
import pickle

import safetensors
import safetensors.torch
import torch
from torch import Tensor


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a ``.safetensors`` file or one of ``torch.save`` without running code from it.

    Raises
    ------
    ValueError
        The file cannot be read or holds no weights by name.
    """
    try:
        if path.suffix == '.safetensors':
            return safetensors.torch.load_file(path)
        weights = torch.load(path, map_location='cpu', weights_only=True)
    except (
        OSError, RuntimeError, EOFError, pickle.UnpicklingError, safetensors.SafetensorError
    ) as error:
        raise ValueError(f'cannot read {path}: {error}') from error
    if not isinstance(weights, dict):
        raise ValueError(f'{path} holds a {type(weights).__name__}; weights are a dict by name')
    return weights
