"""Settings of ``training.pretrain``: what is hidden, how long, on what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from training.config import ConfigError, Data, Epochs, load_config
from training.models.spark import STRATEGIES


@dataclass(frozen=True)
class Masking:
    """What of a picture is hidden, and the width of the decoder that paints it.

    Attributes
    ----------
    strategy : str
        'sparse' (SparK), or for comparison 'zero' or 'drop'; see training/models/spark.py.
    ratio : float
        Share of cells that is hidden.
    cell_px : int
        Side of a cell, a multiple of the encoder's stride.
    decoder_width : int
        Channels of the decoder at the coarsest scale.
    """

    strategy: str = 'sparse'
    ratio: float = 0.6
    cell_px: int = 32
    decoder_width: int = 256

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            known = ', '.join(STRATEGIES)
            raise ConfigError(f'strategy {self.strategy!r} is unknown; choose one of {known}')
        if not 0 < self.ratio < 1:
            raise ConfigError(f'ratio is {self.ratio}; it must be above 0 and below 1')


@dataclass(frozen=True)
class Schedule:
    """How long, and how the optimiser moves: AdamW, one cosine with a warm-up.

    Attributes
    ----------
    height, width : int
        Pictures in pixels, whole cells.
    batch_size, steps : int
        Pictures a step and optimiser steps.
    minutes : float
        Wall-clock limit; the cosine is compressed so that it still ends at its lowest rate. 0: no
        limit, and the run depends on nothing but the seed.
    learning_rate : float
        Peak, after the warm-up.
    warmup : float
        Share of the run.
    weight_decay : tuple of float
        At the start and at the end.
    max_zoom : float
        Pictures are enlarged at random by 1 to this factor; 1.22 shows two thirds of the area.
    balance : float
        How much more often views of rare depth are drawn, 0 to 1 (data set mixed only).
    """

    height: int
    width: int
    batch_size: int
    steps: int
    learning_rate: float
    minutes: float = 0.0
    warmup: float = 0.025
    weight_decay: tuple[float, ...] = (0.04, 0.2)
    beta2: float = 0.95
    gradient_clip: float = 5.0
    max_zoom: float = 1.22
    balance: float = 0.0

    def __post_init__(self) -> None:
        for name in ('height', 'width', 'batch_size', 'steps', 'learning_rate', 'beta2'):
            if getattr(self, name) <= 0:
                raise ConfigError(f'{name} is {getattr(self, name)}; it must be above 0')
        if len(self.weight_decay) != 2:
            raise ConfigError(f'weight_decay is {self.weight_decay}; give two, start and end')


@dataclass(frozen=True)
class Trainer:
    """How to run.

    Attributes
    ----------
    accelerator, devices, nodes, precision
        As Lightning's Trainer has them; more than one device or node runs its DDP.
    threads : int
        Of torch on the CPU; 0: its own choice.
    accumulate : int
        Batches whose gradients are added up before each optimiser step.
    validate_every_steps : int
        Optimiser steps from one validation, with its sheet, to the next.
    checkpoint_minutes : float
        From one checkpoint for `resume` to the next.
    """

    accelerator: str = 'auto'
    devices: int = 1
    nodes: int = 1
    precision: str = '32-true'
    threads: int = 0
    accumulate: int = 1
    validate_every_steps: int = 500
    checkpoint_minutes: float = 5.0

    def __post_init__(self) -> None:
        for name in ('devices', 'nodes', 'accumulate', 'validate_every_steps'):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f'trainer.{name} is {getattr(self, name)}; it must be at least 1')


@dataclass(frozen=True)
class PretrainConfig:
    """One pre-training; files land in `output`.

    `model` and `model_options` are those of the training that follows. `init` names the weights
    to start from, such as published ImageNet weights of the encoder; `resume` continues an
    interrupted run.
    """

    epochs: ClassVar[Epochs] = Epochs()  # none: its data are read in stretches of equal length

    name: str
    model: str
    output: str
    schedule: Schedule
    model_options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    init: str = ''
    resume: bool = False
    masking: Masking = field(default_factory=Masking)
    data: Data = field(default_factory=Data)
    trainer: Trainer = field(default_factory=Trainer)

    def __post_init__(self) -> None:
        for name in ('height', 'width'):
            value = getattr(self.schedule, name)
            if value % self.masking.cell_px:
                raise ConfigError(
                    f'{name} is {value}; it must be a whole number of cells of '
                    f'{self.masking.cell_px} px'
                )


def load_pretrain_config(path: str | Path, overrides: Sequence[str] = ()) -> PretrainConfig:
    """Read a YAML config and apply `key=value` overrides, as :func:`training.config.load_config`.

    Raises
    ------
    ConfigError
    """
    return load_config(path, overrides, PretrainConfig)
