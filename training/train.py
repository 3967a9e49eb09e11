"""Train a depth network: ``python -m training.train CONFIG key=value ...``.

Each phase of the config is one fit at one image size; the next starts from its averaged weights.
A recipe of fine-tuning (training/configs/finetune.yaml) may stand for CONFIG: training.finetune.
"""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path
import sys

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
import torch
from torch import nn

from training.arguments import parse
from training.callbacks import Keeper, WaitingTime
from training.checkpoint import AtomicCheckpointIO, CheckpointError, load_init, load_into
from training.config import Config, ConfigError, Phase
from training.data import DataError, SplitError
from training.data.root import sentence
from training.data_module import DepthData
from training.finetune_config import is_recipe
from training.freezing import freeze
from training.joint_task import JointTask
from training.registry import build_network, check
from training.self_task import SelfTask
from training.task import DepthTask, TrainingError

log = logging.getLogger(__name__)

TASKS = {'spt': JointTask}  # by loss; others train depth alone
RANKS = ('LOCAL_RANK', 'NODE_RANK', 'RANK', 'SLURM_PROCID')


def train(config: Config) -> Path:
    """Run all phases and return the last phase's checkpoint.

    Raises
    ------
    ConfigError
        The config names something that does not exist, or `output` holds an earlier run and
        `resume` is off.
    TrainingError
        The loss became NaN or infinite.
    CheckpointError
        A checkpoint cannot be written, or those to start from hold another model.
    DataError, SplitError
        As the data set says.
    """
    check(config)
    if not config.phases:
        raise ConfigError('phases is empty; give at least one')
    output = Path(config.output)
    # The other processes may start later, when the first has written files already.
    is_first = all(os.environ.get(name, '0') == '0' for name in RANKS)
    if is_first and not config.resume and any(output.glob('phase*')):
        raise ConfigError(
            f'{output} holds an earlier run; continue it with resume=true or name another output'
        )
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    L.seed_everything(config.seed, verbose=False)
    network = build_network(config.model, config.model_options)
    network = network.to(memory_format=torch.channels_last)
    if config.init:
        load_init(network, config.init)
    for index, phase in enumerate(config.phases):
        finished = output / f'phase{index}.ckpt'
        if finished.exists():
            load_into(network, finished)
        else:
            _fit(network, config, phase, finished)
    return finished


def _fit(network: nn.Module, config: Config, phase: Phase, finished: Path) -> None:
    folder = finished.with_suffix('')
    last = folder / 'last.ckpt'
    resumed = last if config.resume and last.exists() else None
    if resumed:
        load_into(network, resumed)  # tells another model apart before Lightning trips over it
    if phase.stage:
        network.set_stage(phase.stage)
    if any(each.frozen or each.fixed_norms for each in config.phases):
        freeze(network, phase)
    data = DepthData(config, phase)
    kind = SelfTask if config.photometric else TASKS.get(config.loss['name'], DepthTask)
    task = kind(network, config, phase, data.sources)
    keeper = Keeper(folder, config.trainer.checkpoint_minutes, config.trainer.patience > 0,
                    task.monitored)
    trainer = _trainer(config, phase, folder, keeper, task.monitored)
    trainer.fit(task, datamodule=data, weights_only=True, ckpt_path=resumed)
    waited = trainer.profiler.share
    if config.trainer.patience and keeper.best.exists():
        if trainer.is_global_zero:
            os.replace(keeper.best, finished)
        trainer.strategy.barrier()
        load_into(network, finished)
    else:
        trainer.validate(task, datamodule=data, verbose=False)
        trainer.save_checkpoint(finished)
    log.info('%s: %s %.3f; %.0f%% of the step time was spent waiting for data', finished,
             task.monitored, trainer.callback_metrics[task.monitored], 100 * waited)


def _trainer(
    config: Config, phase: Phase, folder: Path, keeper: Keeper, monitored: str
) -> L.Trainer:
    settings, has_epochs = config.trainer, config.epochs.count > 0
    callbacks = [keeper, TQDMProgressBar(refresh_rate=20)]
    if settings.ema_decay:
        callbacks.insert(0, EMAWeightAveraging(decay=settings.ema_decay))
    if settings.patience:
        # At validations alone: a limit of time may end an epoch, or the phase, before the first.
        callbacks.append(EarlyStopping(monitored, patience=settings.patience, mode='min',
                                       check_on_train_epoch_end=False))
    logs = {'save_dir': folder.parent, 'name': f'{folder.name}_log'}
    return L.Trainer(
        accelerator=settings.accelerator,
        devices=settings.devices,
        num_nodes=settings.nodes,
        strategy='ddp' if settings.devices * settings.nodes > 1 else 'auto',
        precision=settings.precision,
        accumulate_grad_batches=settings.accumulate,
        gradient_clip_val=settings.gradient_clip or None,
        max_steps=phase.steps,
        max_epochs=config.epochs.count or -1,
        check_val_every_n_epoch=config.epochs.validate_every if has_epochs else 1,
        reload_dataloaders_every_n_epochs=1 if has_epochs else 0,  # each has its own length
        num_sanity_val_steps=0,
        log_every_n_steps=20,
        use_distributed_sampler=False,  # DepthData gives each process its share
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        profiler=WaitingTime(),
        logger=[CSVLogger(**logs), TensorBoardLogger(**logs)],
        enable_model_summary=False,
    )


def main(argv: list[str] | None = None) -> None:
    """Train, or fine-tune, as the command line says."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments and is_recipe(arguments[0]):
        from training import finetune  # which imports this

        finetune.main(arguments)
        return
    parser = argparse.ArgumentParser(prog='python -m training.train', description=__doc__)
    config, _ = parse(parser, arguments)
    try:
        train(config)
    except (ConfigError, CheckpointError, DataError, SplitError, TrainingError) as error:
        raise SystemExit(f'error: {sentence(error)}') from error


if __name__ == '__main__':
    main()
