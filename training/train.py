"""Train a depth network: ``python -m training.train CONFIG key=value ...``.

Each phase of the config is one fit at one image size; the next starts from its averaged weights.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
import dataclasses
from datetime import timedelta
import logging
import math
from pathlib import Path
import time

import lightning as L
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from training.arguments import parse
from training.checkpoint import CheckpointError, load_into
from training.config import Config, ConfigError, Phase, Trainer
from training.contract import canonical_scale, normalise
from training.data import AugmentConfig, DataConfig, DataError, SplitError, build
from training.losses.realtime_unet import RealtimeUNetLoss
from training.models import build_model

log = logging.getLogger(__name__)

FINAL_RATE = 0.01  # of the peak learning rate, where the cosine ends


def learning_rate_factor(step: int, warmup_steps: int, progress: float) -> float:
    """Share of the peak learning rate: linear warm-up by steps times a cosine over 0..1."""
    warm = min(1.0, (step + 1) / max(1, warmup_steps))
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return warm * (FINAL_RATE + (1 - FINAL_RATE) * cosine)


def parameter_groups(network: nn.Module, weight_decay: float, decoder_rate: float) -> list[dict]:
    """Optimiser groups: biases and batch norm do not decay; the decoder learns more slowly.

    Each group has its share of the learning rate under ``rate``.
    """
    groups = []
    for in_decoder, rate in ((False, 1.0), (True, decoder_rate)):
        parameters = [
            parameter
            for name, parameter in network.named_parameters()
            if name.startswith(('decoder.', 'head.')) == in_decoder
        ]
        decay = [p for p in parameters if p.ndim > 1]
        plain = [p for p in parameters if p.ndim <= 1]
        groups.append({'params': decay, 'weight_decay': weight_decay, 'rate': rate})
        groups.append({'params': plain, 'weight_decay': 0.0, 'rate': rate})
    return groups


class DepthTask(L.LightningModule):
    """One phase of training: loss, optimiser, learning rate, validation by source."""

    def __init__(
        self, network: nn.Module, config: Config, phase: Phase, sources: list[str]
    ) -> None:
        super().__init__()
        self.network = network
        self.phase = phase
        self.settings: Trainer = config.trainer
        self.loss = RealtimeUNetLoss(**dataclasses.asdict(config.loss), relative=phase.relative)
        self.save_hyperparameters(dataclasses.asdict(config))
        self._sources = sources
        self._elapsed_s = 0.0  # before the last resume
        self._started_s = time.monotonic()
        self._errors: dict[str, list[Tensor]] = defaultdict(list)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in 0..1 to (B, 1, H, W) natural log of canonical depth."""
        x = normalise(image).to(memory_format=torch.channels_last)
        return self.network(x).float()

    def training_step(self, batch: dict, index: int) -> Tensor:
        """Loss of one batch of the data set's items."""
        image, depth = _prepare(batch)
        log_depth = self(image)
        # SSIM subtracts nearly equal numbers, which half precision turns into noise, then NaN.
        with torch.autocast(self.device.type, enabled=False):
            loss = self.loss(log_depth, depth, image)
        self.log('loss', loss, prog_bar=True)
        return loss

    def on_train_start(self) -> None:
        """Start the clock: loading data does not count."""
        self._started_s = time.monotonic()

    def on_train_epoch_start(self) -> None:
        """Let the data set draw the next epoch."""
        self.trainer.train_dataloader.dataset.set_epoch(self.current_epoch)

    def on_train_batch_start(self, batch: dict, index: int) -> int | None:
        """Set the learning rate, or stop where the phase is over."""
        progress = self.progress()
        if progress >= 1:
            self.trainer.should_stop = True
            return -1  # ends the epoch
        factor = learning_rate_factor(self.global_step, self.settings.warmup_steps, progress)
        for group in self.optimizers().param_groups:
            group['lr'] = factor * self.phase.learning_rate * group['rate']
        self.log('learning_rate', factor * self.phase.learning_rate)
        return None

    def progress(self) -> float:
        """Share of the phase that is done, by steps or by time, whichever is further."""
        limit_s = 60 * self.phase.minutes or math.inf
        return max(self.global_step / self.phase.steps, self._total_s() / limit_s)

    def _total_s(self) -> float:
        return self._elapsed_s + time.monotonic() - self._started_s

    def validation_step(self, batch: dict, index: int) -> None:
        """Collect the relative error of each image, unaligned."""
        image, depth = _prepare(batch)
        relative = (self(image).exp() / depth - 1).abs()
        for source, error in zip(batch['source'], relative, strict=True):
            self._errors[source].append(error[torch.isfinite(error)].mean())

    def on_validation_epoch_end(self) -> None:
        """Log the mean over images for each source, and the mean over sources."""
        means = {name: torch.stack(errors).nanmean() for name, errors in self._errors.items()}
        self._errors.clear()
        self.log_dict({f'abs_rel/{name}': value for name, value in means.items()})
        self.log('abs_rel', torch.stack(list(means.values())).mean(), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; the learning rate is set batch by batch."""
        groups = parameter_groups(
            self.network, self.settings.weight_decay, self.settings.decoder_rate
        )
        return torch.optim.AdamW(groups, lr=self.phase.learning_rate)

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """Add what a resumed run and an export need beside the weights."""
        checkpoint['elapsed_s'] = self._total_s()
        checkpoint['sources'] = self._sources

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Take over the time that was spent before."""
        self._elapsed_s = checkpoint['elapsed_s']


def _prepare(batch: dict) -> tuple[Tensor, Tensor]:
    # image uint8 -> float (B, 3, H, W) in 0..1; depth metres -> canonical (B, 1, H, W), NaN: hole
    image = batch['image'].float() / 255
    depth = batch['depth'].unsqueeze(1)
    scale = canonical_scale(batch['focal_px'], image.shape[-1]).view(-1, 1, 1, 1)
    return image, torch.where(depth > 0, depth * scale, torch.nan)


def train(config: Config) -> Path:
    """Run all phases and return the last phase's checkpoint.

    Raises
    ------
    ConfigError
        `output` holds an earlier run and `resume` is off.
    """
    output = Path(config.output)
    if not config.resume and any(output.glob('phase*')):
        raise ConfigError(
            f'{output} holds an earlier run; continue it with resume=true or name another output='
        )
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    L.seed_everything(config.seed, verbose=False)
    network = build_model(config.model).to(memory_format=torch.channels_last)
    if config.init:
        load_into(network, config.init)
    for index, phase in enumerate(config.phases):
        finished = output / f'phase{index}.ckpt'
        if finished.exists():
            load_into(network, finished)
        else:
            _fit(network, config, phase, finished)
    return finished


def _fit(network: nn.Module, config: Config, phase: Phase, finished: Path) -> None:
    folder = finished.with_suffix('')
    train_loader, val_loader = loaders(config, phase)
    task = DepthTask(network, config, phase, train_loader.dataset.views.names)
    trainer = _trainer(config.trainer, phase, folder)
    last = folder / 'last.ckpt'
    trainer.fit(
        task, train_loader, val_loader, weights_only=True,
        ckpt_path=last if config.resume and last.exists() else None,
    )
    trainer.validate(task, val_loader, verbose=False)
    trainer.save_checkpoint(finished)
    log.info('%s: abs_rel %.3f', finished, trainer.callback_metrics['abs_rel'])


def _trainer(settings: Trainer, phase: Phase, folder: Path) -> L.Trainer:
    every = timedelta(minutes=settings.checkpoint_minutes)
    return L.Trainer(
        devices=settings.devices,
        precision=settings.precision,
        gradient_clip_val=settings.gradient_clip,
        max_steps=phase.steps,
        max_epochs=-1,
        num_sanity_val_steps=0,
        log_every_n_steps=20,
        callbacks=[
            EMAWeightAveraging(decay=settings.ema_decay),
            ModelCheckpoint(folder, filename='last', train_time_interval=every),
            TQDMProgressBar(refresh_rate=20),
        ],
        logger=CSVLogger(folder.parent, name=f'{folder.name}_log'),
        enable_model_summary=False,
    )


def loaders(config: Config, phase: Phase) -> tuple[DataLoader, DataLoader]:
    """Batches for training and validation; an epoch is the stretch between two validations."""
    data = DataConfig(
        height=phase.height,
        width=phase.width,
        samples_per_epoch=phase.batch_size * config.trainer.validate_every_steps,
        seed=config.seed,
        views=config.data.views,
        weights=config.data.weights,
        augmentation=AugmentConfig(zoom=(1.0, phase.max_zoom)),
    )
    workers = {'num_workers': config.data.workers, 'persistent_workers': config.data.workers > 0}
    # No shuffling: the data set draws at random itself, by seed, epoch and index.
    train_set = build(data, 'train')
    val_set = _thinned(build(data, 'val'), config.data.validation_images)
    batch = phase.batch_size
    return (
        DataLoader(train_set, batch_size=batch, drop_last=True, **workers),
        DataLoader(val_set, batch_size=batch, **workers),
    )


def _thinned(data: Dataset, count: int) -> Dataset:
    # Evenly spaced, so that every source keeps its share.
    if len(data) <= count:
        return data
    return Subset(data, [i * len(data) // count for i in range(count)])


def main(argv: list[str] | None = None) -> None:
    """Train as the command line says."""
    parser = argparse.ArgumentParser(prog='python -m training.train', description=__doc__)
    config, _ = parse(parser, argv)
    try:
        train(config)
    except (ConfigError, CheckpointError, DataError, SplitError) as error:
        raise SystemExit(f'error: {error}') from error


if __name__ == '__main__':
    main()
