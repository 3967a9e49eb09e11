"""Trained weights in files: read back safely, written so that the earlier file survives."""

from __future__ import annotations

import logging
import os
from pathlib import Path
import pickle
from typing import Any, NamedTuple

from lightning.fabric.plugins import TorchCheckpointIO
import torch
from torch import Tensor, nn

from depth_perception.model_spec import ModelError, find_model
from training.config import ConfigError
from training.models.pretrained import read_weights
from training.models.widen import is_narrower
from training.registry import build_network

log = logging.getLogger(__name__)

_PREFIX = 'network.'
_SURE = 'scale.'  # part of a network that says how sure it is, where it does
_SHOWN = 5  # names of weights in an error


class CheckpointError(ValueError):
    """A checkpoint that cannot be read or written, or holds another model's weights."""


class Checkpoint(NamedTuple):
    """What a training run leaves.

    Attributes
    ----------
    weights : dict of Tensor
        State dict of the network, averaged where the run averages; on the CPU.
    config : dict
        The training config as plain values.
    sources : list of str
        Where the training data came from.
    stage : str
        Part of the network that was trained last and gives the map; empty: it has no parts.
    encoder_only : bool
        The weights are those of the encoder alone, from ``training.pretrain``.
    blur_scale_range : two floats or None
        Smallest and largest of the focus stacks of the training, as the contract has it.
    comparison : dict or None
        Of a fine-tuning: how the model compares with what it started from (training.finetune).
    """

    weights: dict[str, Tensor]
    config: dict
    sources: list[str]
    stage: str = ''
    encoder_only: bool = False
    blur_scale_range: tuple[float, float] | None = None
    comparison: dict | None = None


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, each written beside its name and then renamed."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write `checkpoint`; see :func:`write_checkpoint`."""
        write_checkpoint(checkpoint, Path(path))


def write_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Write `content` to `path`; whatever fails, the file that was there before stays whole.

    Raises
    ------
    CheckpointError
        The disk is full or cannot be written.
    """
    partial = path.with_name(f'{path.name}.{os.getpid()}.partial')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, 'wb') as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())  # else a crash could leave the new name with no content
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:  # torch's zip writer turns ENOSPC into RuntimeError
        partial.unlink(missing_ok=True)
        kept = 'the earlier one is kept; ' if path.exists() else ''
        raise CheckpointError(
            f'cannot write {path}: {error}; {kept}free some disk space') from error


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint of ``training.train`` or ``training.pretrain``.

    Raises
    ------
    CheckpointError
        Missing file, or not a checkpoint written by one of them.
    """
    content = _read(path)
    needed = {'state_dict', 'hyper_parameters', 'sources'}
    if not isinstance(content, dict) or not needed <= content.keys():
        raise CheckpointError(f'{path} is no checkpoint written by training.train')
    weights = {
        name.removeprefix(_PREFIX): value
        for name, value in content['state_dict'].items()
        if name.startswith(_PREFIX)
    }
    return Checkpoint(weights, content['hyper_parameters'], content['sources'],
                      content.get('stage', ''), content.get('encoder_only', False),
                      content.get('blur_scale_range'), content.get('comparison'))


def _read(path: str | Path) -> Any:
    try:
        # weights_only: a checkpoint from elsewhere must not run code.
        return torch.load(path, map_location='cpu', weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f'cannot read {path}: {error}') from error


def add_to_checkpoint(path: str | Path, **more: Any) -> None:
    """Write a checkpoint again with more in it; CheckpointError where that fails."""
    write_checkpoint(_read(path) | more, Path(path))


def load_into(network: nn.Module, path: str | Path) -> None:
    """Load a checkpoint's weights into `network`; every key must match.

    Raises
    ------
    CheckpointError
        As :func:`read_checkpoint`; also where names or shapes differ.
    """
    checkpoint = read_checkpoint(path)
    if checkpoint.encoder_only:
        raise CheckpointError(f'{path} holds an encoder alone; give it as init= of a training')
    _load(network, checkpoint, Path(path), partial=False)


def load_init(network: nn.Module, path: str | Path) -> None:
    """Load the weights to start from.

    A ``.ckpt`` of ``training.train`` must match `network`; one of ``training.pretrain`` may be a
    part of it. Any other file (``.safetensors``, ``.pth``) holds weights by name: those of the
    whole network as ``training.export`` writes them, or of its encoder alone as torchvision and
    timm publish them. The name of an installed model stands for its ``.safetensors``. Weights of a
    narrower network are widened where `network` knows how (training.models.widen). Either of the
    two may say how sure it is and the other not.

    Raises
    ------
    CheckpointError
        As :func:`load_into`; an encoder that is another than that of `network`; no model of that
        name.
    """
    if not Path(path).suffix:
        try:
            path = find_model(str(path)).with_suffix('.safetensors')
        except ModelError as error:
            raise CheckpointError(str(error)) from error
    if Path(path).suffix != '.ckpt':
        _load_by_name(network, Path(path))
        return
    checkpoint = read_checkpoint(path)
    checkpoint = checkpoint._replace(weights=_fitted(network, checkpoint.weights, Path(path)))
    _load(network, checkpoint, Path(path), partial=checkpoint.encoder_only)


def _fitted(network: nn.Module, weights: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    # What may differ: a start that says how sure it is, and one with fewer channels.
    if getattr(network, 'confidence', None) is False:
        weights = {name: value for name, value in weights.items() if not name.startswith(_SURE)}
    if not (hasattr(network, 'widened') and is_narrower(weights, network)):
        return weights
    log.info('%s is narrower than this %s: its channels are copied', path,
             type(network).__name__)
    return network.widened(weights)


def _load_by_name(network: nn.Module, path: Path) -> None:
    # Of some networks the decoder is published too.
    part = network if hasattr(network, 'load_imagenet') else getattr(network, 'encoder', None)
    try:
        weights = _fitted(network, read_weights(path), path)
        if weights.keys() ^ network.state_dict().keys() <= _optional(network):
            network.load_state_dict(weights, strict=False)
        elif hasattr(part, 'load_imagenet'):
            part.load_imagenet(path)
        else:
            raise CheckpointError(f'{path} does not hold the weights of this '
                                  f'{type(network).__name__}, whose encoder is its own: none is '
                                  'published; give a file of training.export or training.train')
    except (ValueError, RuntimeError) as error:  # RuntimeError: right names, other shapes
        raise CheckpointError(str(error)) from error


def _optional(network: nn.Module) -> set[str]:
    # What a model that did not say how sure it is lacks.
    if not getattr(network, 'confidence', False):
        return set()
    return {name for name in network.state_dict() if name.startswith(_SURE)}


def _load(network: nn.Module, checkpoint: Checkpoint, path: Path, partial: bool) -> None:
    own = network.state_dict()
    given = checkpoint.weights
    optional = _optional(network)
    missing = [] if partial else [n for n in own if n not in given and n not in optional]
    unknown = [name for name in given if name not in own]
    reshaped = [f'{name} is {tuple(given[name].shape)}, not {tuple(own[name].shape)}'
                for name in given if name in own and given[name].shape != own[name].shape]
    faults = {'missing': missing, 'not in this model': unknown, 'of other shapes': reshaped}
    if any(faults.values()) or not given:
        told = '; '.join(f'{what}: {_listed(names)}' for what, names in faults.items() if names)
        model = checkpoint.config.get('model')
        raise CheckpointError(f'{path} holds a {model}, another model than this '
                              f'{type(network).__name__}: {told or "it has no weights"}')
    network.load_state_dict(given, strict=not (partial or optional))


def _listed(names: list[str]) -> str:
    more = f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''
    return ', '.join(names[:_SHOWN]) + more


def load_model(path: str | Path) -> tuple[nn.Module, Checkpoint]:
    """Build the network that a checkpoint names, in eval mode, with its weights.

    Raises
    ------
    CheckpointError
        As :func:`load_into`; also where it names a model that does not exist here.
    """
    checkpoint = read_checkpoint(path)
    try:
        options = checkpoint.config.get('model_options', {})
        network = build_network(checkpoint.config['model'], options)
    except (ConfigError, KeyError) as error:
        raise CheckpointError(f'{path}: its model cannot be built: {error}') from error
    load_into(network, path)
    if checkpoint.stage:
        network.set_stage(checkpoint.stage)
    return network.eval(), checkpoint
