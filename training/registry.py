"""What a config names, built: model, loss and data set, with every option checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import inspect
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from training.config import Config, ConfigError, Phase, refuse_unknown, typed_value
from training.data import DATASETS, AugmentConfig, DataConfig
from training.losses import CONFIDENCE_LOSSES, LOSSES
from training.models import MODELS

ENDLESS = 2**31
_PLAIN = (bool, int, float, str)


def chosen(registry: Mapping[str, Callable], name: str, kind: str) -> Callable:
    """Return the entry `name`.

    Raises
    ------
    ConfigError
        There is none; the message lists what there is.
    """
    if name not in registry:
        raise ConfigError(f"{kind} {name!r} does not exist; choose one of {', '.join(registry)}")
    return registry[name]


def build_network(name: str, options: Mapping[str, Any]) -> nn.Module:
    """Build the model `name` with fresh weights.

    Raises
    ------
    ConfigError
        Unknown model or option, or a value that it refuses.
    """
    return _called(chosen(MODELS, name, 'model'), options, 'model_options.')


def build_loss(config: Config, phase: Phase) -> nn.Module:
    """Build the loss of `phase`.

    Raises
    ------
    ConfigError
        Unknown loss or option, or a value that it refuses.
    """
    options = {key: value for key, value in config.loss.items() if key != 'name'}
    if phase.relative and isinstance(options.get('loss'), Mapping):
        options['loss'] = {**options['loss'], 'relative': True}
    elif phase.relative:
        options['relative'] = True
    losses = LOSSES | CONFIDENCE_LOSSES
    return _called(chosen(losses, config.loss['name'], 'loss'), options, 'loss.')


def build_data(config: Config, phase: Phase, split: str, *, augment: bool = True) -> Dataset:
    """Build the data set of one split at the size of `phase`.

    An epoch of training is the stretch between two validations.

    Raises
    ------
    ConfigError
        Unknown data set.
    DataError, SplitError
        As the data set says.
    """
    settings, trainer = config.data, config.trainer
    batches = trainer.validate_every_steps * trainer.accumulate
    if config.epochs.count:
        batches = ENDLESS  # the sampler ends each epoch
    data = DataConfig(
        height=phase.height,
        width=phase.width,
        samples_per_epoch=phase.batch_size * batches * trainer.devices * trainer.nodes,
        seed=config.seed,
        views=settings.views,
        weights=settings.weights,
        labels=settings.labels,
        balance=phase.balance,
        augmentation=AugmentConfig(zoom=(1.0, phase.max_zoom)),
        root=settings.root,
        options=settings.options,
    )
    build = chosen(DATASETS, settings.dataset, 'data set')
    return build(data, split, augment=augment)


def check(config: Config) -> None:
    """Try all that can be tried before data are read: names, options, sizes, stages.

    Raises
    ------
    ConfigError
        The first thing that is wrong.
    """
    chosen(DATASETS, config.data.dataset, 'data set')
    with torch.device('meta'):
        network = build_network(config.model, config.model_options)
    _check_joint(config, network)
    _check_confidence(config, network)
    for index, phase in enumerate(config.phases):
        build_loss(config, phase)
        _check_size(network, config.model, phase, f'phases.{index}')
        _check_stage(network, config.model, phase, f'phases.{index}')
        _check_frozen(network, config, phase, f'phases.{index}')


def _check_joint(config: Config, network: nn.Module) -> None:
    # What only the joint loss knows, and what it must know of the network.
    kind, loss = network.output_kind, config.loss
    if loss['name'] != 'spt':
        if config.epochs.count:
            raise ConfigError(f'epochs.count is {config.epochs.count}, for loss spt alone; loss '
                              f"is {loss['name']}: leave epochs out")
        return
    if bool(loss.get('metric', False)) == (kind == 'relative'):
        right = 'false' if kind == 'relative' else 'true'
        raise ConfigError(f'loss.metric must be {right} for {config.model}, whose output is '
                          f'{kind}')


def _check_confidence(config: Config, network: nn.Module) -> None:
    gives = getattr(network, 'confidence', False)
    if gives != (config.loss['name'] in CONFIDENCE_LOSSES):
        raise ConfigError(
            f"{config.model} {'gives' if gives else 'does not give'} the scale of its error, and "
            f"loss {config.loss['name']} {'leaves it' if gives else 'needs it'}: set "
            'model_options.confidence=true and loss laplace together, or neither')


def _check_frozen(network: nn.Module, config: Config, phase: Phase, where: str) -> None:
    if phase.frozen and phase.stage:
        raise ConfigError(f'{where} has stage and frozen; give one of them')
    names = list(dict(network.named_parameters()))
    for start in phase.frozen:
        if not any(name.startswith(start) for name in names):
            parts = ', '.join(f'{part}.' for part, _ in network.named_children())
            raise ConfigError(f'{where}.frozen: no weight of {config.model} begins with '
                              f'{start!r}; its parts are {parts}')
    if phase.frozen and all(name.startswith(phase.frozen) for name in names):
        raise ConfigError(f'{where}.frozen leaves nothing of {config.model} to train')


def _check_size(network: nn.Module, model: str, phase: Phase, where: str) -> None:
    size = (phase.height, phase.width)
    fixed = getattr(network, 'input_size', None)
    if fixed and size != tuple(fixed):
        raise ConfigError(f'{where} is {size[0]}x{size[1]}; {model} takes height {fixed[0]} and '
                          f'width {fixed[1]} only')
    multiple = 1 if fixed else network.size_multiple
    for name, value in zip(('height', 'width'), size):
        if value % multiple:
            raise ConfigError(f'{where}.{name} is {value}; it must be a positive multiple of '
                              f'{multiple} for {model}')


def _check_stage(network: nn.Module, model: str, phase: Phase, where: str) -> None:
    stages = getattr(network, 'stages', ())
    if phase.stage and phase.stage not in stages:
        raise ConfigError(f'{where}.stage is {phase.stage!r}; {model} has '
                          f"{', '.join(stages) or 'no stages: leave it empty'}")


def _called(build: Callable, options: Mapping[str, Any], where: str) -> Any:
    typed = _typed(build, options, where)
    try:
        return build(**typed)
    except ValueError as error:
        raise ConfigError(f'{where.rstrip(".")}: {error}') from error


def _typed(build: Callable, options: Mapping[str, Any], where: str) -> dict[str, Any]:
    # Options as the builder's annotations say, so that 1e-4 is a number here as well.
    parameters = inspect.signature(build, eval_str=True).parameters
    keywords = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    known = {name: p.annotation for name, p in parameters.items() if p.kind in keywords}
    refuse_unknown(options, known, where)
    return {
        key: typed_value(known[key], value, where + key) if known[key] in _PLAIN else value
        for key, value in options.items()
    }
