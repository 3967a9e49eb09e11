"""One cell of a comparison with one seed: where it starts, its training, its scores, its file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import csv
import dataclasses
from dataclasses import dataclass
import json
import math
import os
from pathlib import Path
import shutil
import time
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from training.checkpoint import load_model, write_checkpoint
from training.comparison_scores import FRAME, device_of, frame_ms, predictions, score
from training.comparison_types import IMAGENET, MILESTONES, Cell, Comparison
from training.config import Config, ConfigError, Data
from training.data.mixed import DEFAULT_VIEWS
from training.data.splits import load_splits
from training.data_module import thinned
from training.models.resnet import ResNet
from training.pretrain import pretrain
from training.pretrain_config import PretrainConfig
from training.registry import build_data, build_network
from training.train import train

SHEET_PICTURES = 6
_KEPT = ('state_dict', 'hyper_parameters', 'sources', 'stage')  # of a checkpoint, for good


@dataclass(frozen=True)
class Setup:
    """What a comparison is made with; the same for all of its cells.

    Attributes
    ----------
    comparison : Comparison
    base : Config
        Recipe of every cell: one phase, whose size, batch and learning rate count.
    pretraining : PretrainConfig
        Recipe of the pre-training that some cells have.
    minutes : float
        Training time of each cell with each seed, and of each pre-training.
    output : Path
    imagenet : str
        File with ImageNet weights of the encoder; empty: none.
    """

    comparison: Comparison
    base: Config
    pretraining: PretrainConfig
    minutes: float
    output: Path
    imagenet: str = ''

    @property
    def cells(self) -> list[Cell]:
        """Those that can be run: without a file there is no ImageNet encoder."""
        return [x for x in self.comparison.cells if self.imagenet or x.start != IMAGENET]

    def record(self, cell: Cell, seed: int) -> Path:
        """File of a finished cell."""
        return self.output / f'{cell.name}_seed{seed}.json'


def config_of(setup: Setup, cell: Cell, seed: int, init: str = '') -> Config:
    """Return the training config of a cell.

    Raises
    ------
    ConfigError
        A share of the labels of a data set other than mixed.
    """
    base = setup.base
    minutes = setup.minutes / len(cell.stages)
    return dataclasses.replace(
        base,
        name=f'{cell.name}_seed{seed}',
        model=cell.model or base.model,
        phases=tuple(dataclasses.replace(base.phases[0], stage=stage, minutes=minutes)
                     for stage in cell.stages),
        output=str(setup.output / f'{cell.name}_seed{seed}'),
        seed=seed, init=init, resume=True,
        model_options={**base.model_options, **cell.options},
        loss={**base.loss, **cell.loss},
        data=dataclasses.replace(_with_share(base.data, cell.labels),
                                 options={**base.data.options, **cell.data}),
    )


def _with_share(data: Data, share: float) -> Data:
    # Fewer views of the train entries; what is validated on stays.
    if share == 1:
        return data
    if data.dataset != 'mixed':
        raise ConfigError(f'data.dataset is {data.dataset}; a share of the labels can be taken '
                          'of mixed only')
    splits = load_splits()
    views = {name: math.ceil(share * count) if splits.entry(name).split == 'train' else count
             for name, count in (data.views or DEFAULT_VIEWS).items()}
    return dataclasses.replace(data, views=views)


def pretraining_of(setup: Setup, strategy: str, seed: int) -> PretrainConfig:
    """Return the pre-training config of a masking strategy: the base's network, data, device."""
    base, pretraining = setup.base, setup.pretraining
    return dataclasses.replace(
        pretraining,
        name=f'pretrain_{strategy}_seed{seed}',
        model=base.model, model_options=base.model_options,
        output=str(setup.output / f'pretrain_{strategy}_seed{seed}'),
        seed=seed, resume=True, data=base.data,
        schedule=dataclasses.replace(pretraining.schedule, minutes=setup.minutes),
        masking=dataclasses.replace(pretraining.masking, strategy=strategy),
        trainer=dataclasses.replace(
            pretraining.trainer, accelerator=base.trainer.accelerator,
            precision=base.trainer.precision, threads=base.trainer.threads),
    )


def run_cell(setup: Setup, cell: Cell, seed: int) -> dict[str, Any]:
    """Train and score a cell, or read what an earlier call left; see :func:`_train_and_score`."""
    path = setup.record(cell, seed)
    record = _once(path, lambda: _train_and_score(setup, cell, seed))
    _remove_checkpoints(path.with_suffix(''))
    return record


def time_cell(setup: Setup, cell: Cell) -> dict[str, Any]:
    """Time a cell's network: ``ms`` a frame, and the frame's ``height`` and ``width``."""
    return _once(setup.output / f'speed_{cell.name}.json', lambda: _time(setup, cell))


def prediction_file(setup: Setup, cell: Cell) -> Path:
    """File with what the cell's network of the first seed says about the sheet's pictures."""
    return setup.output / f'{cell.name}.npy'


def _once(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    if not path.exists():
        write_json(path, make())
    return json.loads(path.read_text())


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file that is there as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix('.partial')
    partial.write_text(json.dumps(content, indent=1))
    os.replace(partial, path)


def _train_and_score(setup: Setup, cell: Cell, seed: int) -> dict[str, Any]:
    """Return a cell's record.

    Returns
    -------
    dict
        cell, seed, parameters, labels (pictures with depth to train on), scored_on (pictures),
        sources; steps, images (seen) and minutes of training; pretraining: the same three, or
        None; scores.
    """
    init, pretraining = _start(setup, cell, seed)
    config = config_of(setup, cell, seed, init)
    train(config)
    folder = Path(config.output)
    phases = [folder / f'phase{i}.ckpt' for i in range(len(config.phases))]
    spent = _spent(phases, config.phases[0].batch_size * config.trainer.accumulate, setup.minutes)
    _keep_weights(phases[-1], folder / 'weights.ckpt')
    network, checkpoint = load_model(folder / 'weights.ckpt')
    val_set = thinned(build_data(config, config.phases[-1], 'val'), config.data.validation_images)
    device = device_of(config.trainer.accelerator)
    scores = score(network, val_set, device)
    if config.epochs.count:
        scores |= epoch_losses(folder / 'phase0_log', config.epochs.count)
    if seed == setup.base.seed:
        shown = predictions(network, thinned(val_set, SHEET_PICTURES), device)
        np.save(prediction_file(setup, cell), shown.numpy().astype(np.float32))
    return {
        'cell': cell.name, 'seed': seed,
        'parameters': _parameters(network),
        'labels': _label_count(build_data(config, config.phases[-1], 'train')),
        'scored_on': len(val_set),
        'sources': checkpoint.sources,
        **spent, 'pretraining': pretraining, 'scores': scores,
    }


def epoch_losses(folder: Path, count: int) -> dict[str, float]:
    """Training and validation loss at MILESTONES of 45 epochs, from the logs of `count` epochs.

    A run that time ended within its last epoch has that of the last one it logged.
    """
    rows = []
    for path in sorted(folder.glob('version_*/metrics.csv'), key=lambda x: x.stat().st_mtime_ns):
        with open(path, newline='') as file:
            rows += csv.DictReader(file)
    losses = {}
    for stage in ('train', 'val'):
        # Of an epoch that was broken off and repeated, the later row stays.
        found = {int(row['epoch']): float(row[f'{stage}/total']) for row in rows
                 if row.get(f'{stage}/total')}
        for milestone in MILESTONES:
            last = max(1, round(milestone * count / MILESTONES[-1])) - 1
            logged = [epoch for epoch in found if epoch <= last]
            key = max(found) if milestone == MILESTONES[-1] else max(logged, default=min(found))
            losses[f'{stage}_loss_{milestone}'] = found[key]
    return losses


def _start(setup: Setup, cell: Cell, seed: int) -> tuple[str, dict[str, Any] | None]:
    # The checkpoint to start from, and what pre-training took.
    if cell.start == IMAGENET:
        return str(imagenet_encoder(setup)), None
    if not cell.is_pretrained:
        return '', None
    config = pretraining_of(setup, cell.start, seed)
    folder = Path(config.output)
    spent = _once(folder.with_suffix('.json'), lambda: _pretrain(config))
    return str(folder / 'encoder.ckpt'), spent


def _pretrain(config: PretrainConfig) -> dict[str, Any]:
    started_s = time.monotonic()
    pretrain(config)
    schedule = config.schedule
    steps = _logged_steps(Path(config.output) / 'log')
    minutes = schedule.minutes  # also where an earlier call made the first part of it
    if steps >= schedule.steps:
        minutes = min(minutes, (time.monotonic() - started_s) / 60)
    images = steps * schedule.batch_size * config.trainer.accumulate
    return {'steps': steps, 'images': images, 'minutes': minutes}


def _logged_steps(folder: Path) -> int:
    # The encoder's file does not say; the last validation is logged under the number of steps.
    newest = max(folder.glob('version_*/metrics.csv'), key=lambda path: path.stat().st_mtime_ns)
    with open(newest, newline='') as file:
        return max(int(row['step']) for row in csv.DictReader(file) if row['val_loss'])


def imagenet_encoder(setup: Setup) -> Path:
    """Write the given ImageNet weights as a checkpoint that a training can start from.

    Raises
    ------
    ConfigError
        The model has no ResNet encoder, or the file does not fit it.
    CheckpointError
        The checkpoint cannot be written.
    """
    base = setup.base
    network = build_network(base.model, base.model_options)
    encoder = getattr(network, 'encoder', None)
    if not isinstance(encoder, ResNet):
        raise ConfigError(f'{base.model} has no ResNet encoder for imagenet={setup.imagenet}')
    try:
        encoder.load_imagenet(setup.imagenet)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    path = setup.output / 'imagenet.ckpt'
    write_checkpoint({
        'encoder_only': True,
        'state_dict': {f'network.encoder.{k}': v for k, v in encoder.state_dict().items()},
        'hyper_parameters': {'model': base.model}, 'sources': ['imagenet'],
    }, path)
    return path


def _spent(checkpoints: list[Path], batch_size: int, minutes: float) -> dict[str, Any]:
    contents = [torch.load(path, map_location='cpu', weights_only=True, mmap=True)
                for path in checkpoints]
    steps = sum(content['global_step'] for content in contents)
    # The clock in a checkpoint goes on while the result is validated; training has ended before.
    spent = sum(content['elapsed_s'] for content in contents) / 60
    return {'steps': steps, 'images': steps * batch_size, 'minutes': min(spent, minutes)}


def _keep_weights(checkpoint: Path, path: Path) -> None:
    # Without the optimiser, which is twice as large.
    content = torch.load(checkpoint, map_location='cpu', weights_only=True)
    write_checkpoint({key: content[key] for key in _KEPT}, path)


def _remove_checkpoints(folder: Path) -> None:
    # Of training, with its optimiser: three times the weights, which are kept.
    for path in folder.glob('phase*.ckpt'):
        path.unlink()
        shutil.rmtree(path.with_suffix(''), ignore_errors=True)


def _parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _label_count(data: Dataset) -> int:
    views = getattr(data, 'views', None)
    return len(data.pictures.names) if views is None else len(views)


def _time(setup: Setup, cell: Cell) -> dict[str, Any]:
    trainer = setup.base.trainer
    if trainer.threads:
        torch.set_num_threads(trainer.threads)
    config = config_of(setup, cell, setup.base.seed)
    network = build_network(config.model, config.model_options)
    size = getattr(network, 'input_size', FRAME)
    ms = frame_ms(network, size, device_of(trainer.accelerator))
    return {'ms': ms, 'height': size[0], 'width': size[1]}
