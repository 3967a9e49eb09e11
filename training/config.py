"""Training configs: plain YAML and key=value overrides into checked dataclasses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
from dataclasses import dataclass, field
import difflib
from pathlib import Path
import types
import typing
from typing import Any

import yaml


class ConfigError(ValueError):
    """A config that cannot be read, names an unknown key or holds a value of the wrong type."""


@dataclass(frozen=True)
class Phase:
    """One image size with its own one-cycle of the learning rate.

    Attributes
    ----------
    height, width : int
        Network input in pixels, multiples of 16.
    batch_size, steps : int
        Images a step and optimiser steps.
    learning_rate : float
        Peak of the cycle.
    minutes : float
        Wall-clock limit; the cycle is compressed so that it still ends at its lowest rate.
        0: no limit, and the run depends on nothing but the seed.
    max_zoom : float
        Views are enlarged at random by 1 to this factor, which makes the focal length grow.
    relative : bool
        Errors in the loss are relative errors of depth instead of differences of its logarithm.
    """

    height: int
    width: int
    batch_size: int
    steps: int
    learning_rate: float
    minutes: float = 0.0
    max_zoom: float = 2.5
    relative: bool = False

    def __post_init__(self) -> None:
        for name in ('height', 'width'):
            value = getattr(self, name)
            if value <= 0 or value % 16:
                raise ConfigError(f'{name} is {value}; it must be a positive multiple of 16')
        for name in ('batch_size', 'steps', 'learning_rate'):
            if getattr(self, name) <= 0:
                raise ConfigError(f'{name} is {getattr(self, name)}; it must be above 0')


@dataclass(frozen=True)
class Loss:
    """Weights of the three-part loss, and the depth range in metres that becomes 0..1."""

    alpha: float = 2.0
    beta: float = 1.0
    gamma: float = 5.0
    near: float = 0.25
    far: float = 12.0


@dataclass(frozen=True)
class Data:
    """What to sample: views rendered and weight per entry of splits.yaml (empty: the defaults)."""

    views: dict[str, int] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    workers: int = 1
    validation_images: int = 200


@dataclass(frozen=True)
class Trainer:
    """How to run: Lightning's devices and precision, and what guards the optimisation.

    `decoder_rate` times the learning rate is that of the decoder, which has no batch norm: Adam
    moves all weights of a channel together, and large steps silence its ReLU for good.
    """

    devices: int = 1
    precision: str = '32-true'
    threads: int = 0
    warmup_steps: int = 200
    weight_decay: float = 1e-4
    gradient_clip: float = 1.0
    decoder_rate: float = 0.1
    ema_decay: float = 0.998
    validate_every_steps: int = 500
    checkpoint_minutes: float = 5.0


@dataclass(frozen=True)
class Config:
    """One training run; files land in `output`.

    `init` names a checkpoint whose weights are the start; `resume` continues an interrupted run
    from what lies in `output`.
    """

    name: str
    model: str
    phases: tuple[Phase, ...]
    output: str
    seed: int = 0
    init: str = ''
    resume: bool = False
    loss: Loss = field(default_factory=Loss)
    data: Data = field(default_factory=Data)
    trainer: Trainer = field(default_factory=Trainer)


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML config and apply `key=value` overrides such as ``trainer.threads=2``.

    List items are addressed by index: ``phases.0.steps=100``.

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
    for override in overrides:
        _override(tree, override)
    return _build(Config, tree, '')


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


def _build(kind: type, tree: Any, where: str) -> Any:
    if not isinstance(tree, Mapping):
        raise ConfigError(f'{where or "config"} is {tree!r}; it must be a mapping of keys')
    hints = typing.get_type_hints(kind)
    for key in tree:
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, n=1, cutoff=0)[0]
            raise ConfigError(f'unknown key {where}{key}; the nearest known is {where}{near}')
    for item in dataclasses.fields(kind):
        required = (item.default, item.default_factory) == (dataclasses.MISSING,) * 2
        if required and item.name not in tree:
            raise ConfigError(f'key {where}{item.name} is missing')
    return kind(**{key: _value(hints[key], value, where + key) for key, value in tree.items()})


def _value(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _build(kind, value, where + '.')
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_value(arguments[0], x, f'{where}.{i}') for i, x in enumerate(value))
    if origin is dict and isinstance(value, Mapping):
        return {str(k): _value(arguments[1], v, f'{where}.{k}') for k, v in value.items()}
    if isinstance(kind, types.GenericAlias):
        raise ConfigError(f'{where} is {value!r}; its type must be {origin.__name__}')
    return _plain(kind, value, where)


def _plain(kind: type, value: Any, where: str) -> Any:
    if kind is float and not isinstance(value, bool):
        # PyYAML reads 1e-4 as text: YAML 1.1 wants a dot in a float.
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    elif type(value) is kind:
        return value
    raise ConfigError(f'{where} is {value!r}; its type must be {kind.__name__}')
