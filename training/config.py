"""Training configs: plain YAML and key=value overrides into checked dataclasses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from training.typed_values import ConfigError, refuse_unknown, typed_value

__all__ = ['Config', 'ConfigError', 'Data', 'Epochs', 'Phase', 'Trainer', 'config_from',
           'load_config', 'refuse_unknown', 'typed_value']


OPTIMIZERS = ('adamw', 'adam', 'sgd')
SCHEDULES = ('cosine', 'constant')
DEPTH_RANGE_M = (0.25, 12.0)


@dataclass(frozen=True)
class Phase:
    """One image size with its own one-cycle of the learning rate.

    Attributes
    ----------
    height, width : int
        Network input in pixels, as the model allows.
    batch_size, steps : int
        Images of one process in one batch, and optimiser steps.
    learning_rate : float
        Peak of the cycle.
    minutes : float
        Wall-clock limit; the cycle is compressed so that it still ends at its lowest rate.
        0: no limit, and the run depends on nothing but the seed.
    max_zoom : float
        Views are enlarged at random by 1 to this factor, which makes the focal length grow.
    balance : float
        How much more often views of rare depth are drawn, 0 to 1 (data set mixed only).
    relative : bool
        Errors in the loss are relative errors of depth instead of differences of its logarithm
        (loss realtime_unet only).
    stage : str
        Which part of a model with stages is trained; empty: everything.
    frozen : tuple of str
        How the names of the weights begin that stay as they are, such as ``encoder.``.
    fixed_norms : bool
        Batch norms keep the means and variances that they have.
    """

    height: int
    width: int
    batch_size: int
    steps: int
    learning_rate: float
    minutes: float = 0.0
    max_zoom: float = 2.5
    balance: float = 0.0
    relative: bool = False
    stage: str = ''
    frozen: tuple[str, ...] = ()
    fixed_norms: bool = False

    def __post_init__(self) -> None:
        for name in ('height', 'width', 'batch_size', 'steps', 'learning_rate'):
            if not getattr(self, name) > 0:
                raise ConfigError(f'{name} is {getattr(self, name)}; it must be above 0')


@dataclass(frozen=True)
class Epochs:
    """Epochs of a phase whose loss changes from one to the next (loss spt).

    Attributes
    ----------
    count : int
        Of the phase, which ends with the last one. 0: an epoch is the stretch between two
        validations, and steps or minutes end the phase.
    first_samples, double_every, most_samples : int
        Samples of the first epoch; epochs after which their number doubles; its limit. A phase
        with `minutes` has epochs of equal time instead.
    validate_every : int
        Epochs from one validation to the next.
    """

    count: int = 0
    first_samples: int = 20
    double_every: int = 5
    most_samples: int = 160
    validate_every: int = 1

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ConfigError(f'epochs.count is {self.count}; it must be 0 (none) or more')
        for name in ('first_samples', 'double_every', 'most_samples', 'validate_every'):
            if getattr(self, name) < 1:
                raise ConfigError(f'epochs.{name} is {getattr(self, name)}; it must be at least 1')


@dataclass(frozen=True)
class Data:
    """What to sample.

    `dataset` is a name in training.data.DATASETS; `root` is its folder and `options` are its own
    settings. `views` and `weights` are those of mixed: views rendered, and sampling weight, per
    entry of splits.yaml (empty: the defaults). With `labels` the items have segmentation targets
    as well, where the data set has them.
    """

    dataset: str = 'mixed'
    root: str = ''
    options: dict[str, Any] = field(default_factory=dict)
    views: dict[str, int] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    labels: bool = False
    workers: int = 1
    validation_images: int = 200


@dataclass(frozen=True)
class Trainer:
    """How to run: Lightning's devices and precision, and what guards the optimisation.

    Attributes
    ----------
    accelerator, devices, nodes, precision
        As Lightning's Trainer has them; more than one device or node runs its DDP.
    threads : int
        Of torch on the CPU; 0: its own choice.
    optimizer, momentum, schedule : str, float, str
        One of OPTIMIZERS (momentum is that of sgd) and of SCHEDULES.
    weight_decay : float
        Of weights; biases and norms do not decay.
    accumulate : int
        Batches whose gradients are added up before each optimiser step.
    gradient_clip : float
        Largest norm of the gradient; 0: any.
    decoder_rate : float
        Share of the learning rate that ``decoder.`` and ``head.`` get. A decoder without batch
        norm needs less: Adam moves all weights of a channel together, and large steps silence its
        ReLU for good.
    rates : dict of float
        Start of a parameter's name -> share of the learning rate; goes before `decoder_rate`.
    ema_decay : float
        Of the running average of the weights that is validated and kept; 0: no average.
    validate_every_steps : int
        Optimiser steps from one validation to the next.
    patience : int
        Validations without a lower abs_rel after which the phase ends with its best weights; 0:
        never, and the last weights stay.
    checkpoint_minutes : float
        From one checkpoint for `resume` to the next.
    """

    accelerator: str = 'auto'
    devices: int = 1
    nodes: int = 1
    precision: str = '32-true'
    threads: int = 0
    optimizer: str = 'adamw'
    momentum: float = 0.9
    schedule: str = 'cosine'
    warmup_steps: int = 200
    weight_decay: float = 1e-4
    accumulate: int = 1
    gradient_clip: float = 1.0
    decoder_rate: float = 0.1
    rates: dict[str, float] = field(default_factory=dict)
    ema_decay: float = 0.998
    validate_every_steps: int = 500
    patience: int = 0
    checkpoint_minutes: float = 5.0

    def __post_init__(self) -> None:
        for name, known in (('optimizer', OPTIMIZERS), ('schedule', SCHEDULES)):
            if getattr(self, name) not in known:
                raise ConfigError(f'trainer.{name} is {getattr(self, name)!r}; '
                                  f"it must be one of {', '.join(known)}")
        for name in ('devices', 'nodes', 'accumulate', 'validate_every_steps'):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f'trainer.{name} is {getattr(self, name)}; it must be at least 1')
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f'trainer.ema_decay is {self.ema_decay}; '
                              'it must be 0 (off) or below 1')


@dataclass(frozen=True)
class Config:
    """One training run; files land in `output`.

    `model` is a name in training.models.MODELS, `model_options` are its builder's keywords;
    `loss` holds the name of one of training.losses.LOSSES and its keywords. `depth_range` are the
    trusted metres of the exported contract (empty: near and far of the loss, else
    DEPTH_RANGE_M). `init` names a file whose weights are the start: a checkpoint, exported
    weights, or published ones of the encoder (training.checkpoint.load_init); `resume` continues
    an interrupted run from what lies in `output`. `photometric` is the weight of the photometric
    loss, for pictures that a model labelled (training.self_task). `provenance` goes into the
    exported contract.
    """

    name: str
    model: str
    phases: tuple[Phase, ...]
    output: str
    model_options: dict[str, Any] = field(default_factory=dict)
    depth_range: tuple[float, ...] = ()
    seed: int = 0
    init: str = ''
    resume: bool = False
    loss: dict[str, Any] = field(default_factory=dict)
    epochs: Epochs = field(default_factory=Epochs)
    data: Data = field(default_factory=Data)
    trainer: Trainer = field(default_factory=Trainer)
    photometric: float = 0.0
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, 'loss', {'name': 'realtime_unet'} | self.loss)
        if self.depth_range and not (
            len(self.depth_range) == 2 and 0 < self.depth_range[0] < self.depth_range[1]
        ):
            raise ConfigError(f'depth_range is {list(self.depth_range)}; '
                              'it must be [near, far] in metres with 0 < near < far')

    @property
    def trusted_range(self) -> tuple[float, float]:
        """Near and far in metres between which the exported network is to be trusted."""
        # Of a loss that trains confidence as well, that of depth is inside.
        loss = {**self.loss, **(self.loss.get('loss') or {})}
        near, far = self.depth_range or (loss.get(k) for k in ('near', 'far'))
        return float(near or DEPTH_RANGE_M[0]), float(far or DEPTH_RANGE_M[1])


def load_config(path: str | Path, overrides: Sequence[str] = (), kind: type = Config) -> Any:
    """Read a YAML config and apply `key=value` overrides such as ``trainer.threads=2``.

    List items are addressed by index: ``phases.0.steps=100``. `kind` is the dataclass to build.

    Raises
    ------
    ConfigError
        Unreadable file, unknown key, missing key, wrong type, or a value out of range.
    """
    try:
        tree = yaml.safe_load(Path(path).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f'cannot read {path}: {error}') from error
    if not isinstance(tree, dict):
        raise ConfigError(f'{path} holds {type(tree).__name__}; a config is a mapping of keys')
    return config_from(tree, overrides, kind)


def config_from(
    tree: Mapping[str, Any], overrides: Sequence[str] = (), kind: type = Config
) -> Any:
    """Build a config from plain values, such as those in a checkpoint; see load_config."""
    tree = yaml.safe_load(yaml.safe_dump(dict(tree)))  # a copy, with lists for tuples
    for override in overrides:
        _override(tree, override)
    return typed_value(kind, tree, '')


def _override(tree: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition('=')
    if not equals:
        raise ConfigError(f'{text!r} is no override; write key=value, such as trainer.threads=2')
    *parents, last = key.split('.')
    node: Any = tree
    for part in parents:
        if isinstance(node, list):
            node = node[_index(part, node, key)]
        else:
            node = node.setdefault(part, {})
    if isinstance(node, list):
        node[_index(last, node, key)] = yaml.safe_load(value)
    elif isinstance(node, dict):
        node[last] = yaml.safe_load(value)
    else:
        raise ConfigError(f'{key!r} goes below a plain value; no such key')


def _index(text: str, items: list, key: str) -> int:
    if not text.isdigit() or int(text) >= len(items):
        raise ConfigError(f'{key!r}: {text!r} is no index; the list has {len(items)} items from 0')
    return int(text)
