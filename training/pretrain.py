"""Pre-train a network's encoder with SparK: ``python -m training.pretrain CONFIG key=value ...``.

Pictures are enough: depth is not looked at. What it leaves is OUTPUT/encoder.ckpt, the encoder
under the keys of its network, for ``python -m training.train ... init=OUTPUT/encoder.ckpt``, and
OUTPUT/sheet.jpg, a picture a line: what the encoder saw, what was painted, the original.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import dataclasses
import logging
import math
import os
from pathlib import Path
import time

import lightning as L
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
import numpy as np
import torch
from torch import Tensor

from training.callbacks import Keeper, WaitingTime
from training.checkpoint import (
    AtomicCheckpointIO,
    CheckpointError,
    load_init,
    write_checkpoint,
)
from training.config import ConfigError
from training.contract import normalise
from training.data import DataError, SplitError
from training.data.root import sentence
from training.data_module import DepthData
from training.models.spark import SparK, hidden_cell_loss
from training.pretrain_config import PretrainConfig, Schedule, load_pretrain_config
from training.pretrain_sheet import draw_sheet, write_picture
from training.registry import build_network
from training.task import TrainingError

log = logging.getLogger(__name__)

FIRST_RATE, FINAL_RATE = 0.005, 0.001  # of the peak learning rate, at the start and the end


def learning_rate_factor(progress: float, warmup: float) -> float:
    """Share of the peak learning rate at `progress` 0..1: linear to `warmup`, then a cosine."""
    if progress < warmup:
        return FIRST_RATE + (1 - FIRST_RATE) * progress / warmup
    done = min(1.0, (progress - warmup) / (1 - warmup))
    return FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * done))


def weight_decay(progress: float, schedule: Schedule) -> float:
    """Weight decay at `progress` 0..1: half a cosine from its first to its last value."""
    first, last = schedule.weight_decay
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def parameter_groups(model: SparK) -> list[dict]:
    """Optimiser groups: biases, batch norm and mask tokens do not decay."""
    plain, decaying = [], []
    for name, parameter in model.named_parameters():
        is_plain = parameter.ndim <= 1 or name.endswith('token')
        (plain if is_plain else decaying).append(parameter)
    return [{'params': decaying, 'decays': True}, {'params': plain, 'decays': False}]


class PretrainTask(L.LightningModule):
    """Painting hidden cells: loss, optimiser, schedule, validation and its picture sheet."""

    def __init__(self, model: SparK, config: PretrainConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.save_hyperparameters(dataclasses.asdict(config))
        self._before_s = 0.0  # before the last resume
        self._started_s = time.monotonic()

    def _loss(self, image: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        # image (B, 3, H, W) normalised -> loss, painted picture
        painted = self.model(image, cells).float()
        return hidden_cell_loss(painted, image, cells, self.model.cell_px), painted

    def _cells(self, image: Tensor, *key: int) -> Tensor:
        # By what the batch is, not by how many draws came before: a resumed run is the same.
        state = np.random.SeedSequence([self.config.seed, *key]).generate_state(1)
        return self.model.draw_cells(image, torch.Generator().manual_seed(int(state[0])))

    def training_step(self, batch: dict, index: int) -> Tensor:
        """Loss of one batch of a data set's items.

        Raises
        ------
        TrainingError
            The loss is not finite; the message names the pictures.
        """
        image = _prepare(batch)
        key = (self.current_epoch, index, self.global_rank)
        loss, _ = self._loss(image, self._cells(image, *key))
        if not torch.isfinite(loss):
            path = Path(self.config.output) / f'stopped_rank{self.global_rank}.ckpt'
            save_encoder(self, path)
            raise TrainingError(
                f'the loss is {loss.item()} at step {self.global_step}; the encoder before it is '
                f'in {path}. Lower schedule.learning_rate, or look at the pictures of the batch: '
                f"{', '.join(batch['name'])}"
            )
        self.log('loss', loss, prog_bar=True)
        return loss

    def on_train_start(self) -> None:
        """Start the clock: loading data does not count."""
        self._started_s = time.monotonic()

    def on_train_epoch_start(self) -> None:
        """Let the data set draw the next epoch."""
        self.trainer.datamodule.set_epoch(self.current_epoch)

    def on_train_batch_start(self, batch: dict, index: int) -> int | None:
        """Set learning rate and weight decay, or stop where the run is over."""
        schedule = self.config.schedule
        progress = self.trainer.strategy.broadcast(self.progress())
        if progress >= 1:
            self.trainer.should_stop = True
            return -1  # ends the epoch
        rate = schedule.learning_rate * learning_rate_factor(progress, schedule.warmup)
        for group in self.optimizers().param_groups:
            group['lr'] = rate
            group['weight_decay'] = weight_decay(progress, schedule) if group['decays'] else 0.0
        self.log('learning_rate', rate)
        return None

    def progress(self) -> float:
        """Share of the run that is done, by steps or by time, whichever is further."""
        limit_s = 60 * self.config.schedule.minutes or math.inf
        return max(self.global_step / self.config.schedule.steps, self.elapsed_s() / limit_s)

    def elapsed_s(self) -> float:
        """Time of the run so far, that before a resume with it."""
        return self._before_s + time.monotonic() - self._started_s

    def validation_step(self, batch: dict, index: int) -> None:
        """Log the loss under masks that are always the same; draw the sheet of the first batch."""
        image = _prepare(batch)
        cells = self._cells(image, index)
        loss, painted = self._loss(image, cells)
        self.log('val_loss', loss, prog_bar=True, batch_size=len(image), sync_dist=True)
        if index == 0 and self.trainer.is_global_zero:
            sheet = draw_sheet(image, painted, cells, self.model.cell_px)
            write_picture(Path(self.config.output) / 'sheet.jpg', sheet)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; learning rate and weight decay are set batch by batch."""
        schedule = self.config.schedule
        groups = parameter_groups(self.model)
        return torch.optim.AdamW(groups, schedule.learning_rate, betas=(0.9, schedule.beta2))

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """Add the time that was spent."""
        checkpoint['elapsed_s'] = self.elapsed_s()

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Take over the time that was spent before."""
        self._before_s = checkpoint['elapsed_s']


def _prepare(batch: dict) -> Tensor:
    # uint8 -> normalised (B, 3, H, W)
    image = normalise(batch['image'].float() / 255)
    return image.to(memory_format=torch.channels_last)


def build_spark(config: PretrainConfig) -> SparK:
    """Build the network that the config names and make it ready for pre-training.

    Raises
    ------
    ConfigError
        Another model or option than there are, a model without a known encoder, `init` that does
        not fit it, or sizes that do not fit the encoder.
    """
    masking = config.masking
    try:
        network = build_network(config.model, config.model_options)
        if config.init:
            load_init(network, config.init)
        return SparK(
            network, ratio=masking.ratio, cell_px=masking.cell_px, width=masking.decoder_width,
            strategy=masking.strategy,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error


def pretrain(config: PretrainConfig) -> Path:
    """Pre-train and return the encoder's file; with `resume`, one that is there is left as it is.

    Raises
    ------
    ConfigError
        `output` holds an earlier run and `resume` is off, or as :func:`build_spark`.
    """
    output = Path(config.output)
    finished, last = output / 'encoder.ckpt', output / 'last.ckpt'
    # Lightning starts the other processes of a machine later, when files may have been written.
    is_first = os.environ.get('LOCAL_RANK', '0') == '0'
    if is_first and not config.resume and (finished.exists() or last.exists()):
        raise ConfigError(
            f'{output} holds an earlier run; continue it with resume=true or name another output='
        )
    if finished.exists() and config.resume:
        return finished
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    L.seed_everything(config.seed, verbose=False)
    task = PretrainTask(build_spark(config).to(memory_format=torch.channels_last), config)
    data = DepthData(config, config.schedule)
    keeper = Keeper(output, config.trainer.checkpoint_minutes, best=False)
    trainer = _trainer(config, keeper)
    trainer.fit(
        task, datamodule=data, weights_only=True,
        ckpt_path=last if config.resume and last.exists() else None,
    )
    waited = trainer.profiler.share
    trainer.validate(task, datamodule=data, verbose=False)
    if trainer.is_global_zero:
        save_encoder(task, finished)
    log.info(
        '%s: loss %.3f after %d steps; %.0f%% of the step time was spent waiting for data',
        finished, trainer.callback_metrics['val_loss'], trainer.global_step, 100 * waited,
    )
    return finished


def _trainer(config: PretrainConfig, keeper: Keeper) -> L.Trainer:
    settings = config.trainer
    return L.Trainer(
        accelerator=settings.accelerator,
        devices=settings.devices,
        num_nodes=settings.nodes,
        precision=settings.precision,
        accumulate_grad_batches=settings.accumulate,
        gradient_clip_val=config.schedule.gradient_clip,
        max_steps=config.schedule.steps,
        max_epochs=-1,
        num_sanity_val_steps=0,
        log_every_n_steps=20,
        use_distributed_sampler=False,  # DepthData gives each process its share
        callbacks=[keeper, TQDMProgressBar(refresh_rate=10)],
        plugins=[AtomicCheckpointIO()],
        profiler=WaitingTime(),
        logger=CSVLogger(config.output, name='log'),
        enable_model_summary=False,
    )


def save_encoder(task: PretrainTask, path: Path) -> None:
    """Write the encoder under the keys of its network, marked ``encoder_only``.

    Raises
    ------
    CheckpointError
        The file cannot be written.
    """
    weights = task.model.network.state_dict()
    content = {
        'encoder_only': True,
        'state_dict': {f'network.{name}': x.cpu() for name, x in weights.items()},
        'hyper_parameters': dict(task.hparams),
        'sources': task.trainer.datamodule.sources,
        'global_step': task.global_step,
        'elapsed_s': task.elapsed_s(),
    }
    write_checkpoint(content, path)


def main(argv: Sequence[str] | None = None) -> None:
    """Pre-train as the command line says."""
    parser = argparse.ArgumentParser(prog='python -m training.pretrain', description=__doc__)
    parser.add_argument('config', help='YAML file of training/configs')
    parser.add_argument('overrides', nargs='*', metavar='key=value')
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format='%(levelname)s %(name)s: %(message)s')
    try:
        pretrain(load_pretrain_config(arguments.config, arguments.overrides))
    except (ConfigError, DataError, SplitError, CheckpointError, TrainingError) as error:
        raise SystemExit(f'error: {sentence(error)}') from error


if __name__ == '__main__':
    main()
