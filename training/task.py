"""One phase of training as Lightning runs it: loss, optimiser, learning rate, validation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
import dataclasses
import math
from pathlib import Path
import time

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
import torch.distributed
import torch.nn.functional as F

from training.callbacks import MONITORED, WaitingTime
from training.checkpoint import write_checkpoint
from training.config import Config, Phase, Trainer
from training.contract import (
    at_size,
    canonical_scale,
    focal_per_width,
    log_depth,
    split_confidence,
)
from training.freezing import freeze
from training.metrics import aligned_depth
from training.registry import build_loss
from training.stacks import canonical_blur_scale, inputs_of, takes_stack

FINAL_RATE = 0.01  # of the peak learning rate, where the cosine ends


class TrainingError(ValueError):
    """A run that cannot go on; the text says what was saved and what to look at."""


def learning_rate_factor(
    step: int, warmup_steps: int, progress: float, schedule: str = 'cosine'
) -> float:
    """Share of the peak learning rate: a linear warm-up by steps times the schedule over 0..1."""
    warm = min(1.0, (step + 1) / max(1, warmup_steps))
    if schedule == 'constant':
        return warm
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return warm * (FINAL_RATE + (1 - FINAL_RATE) * cosine)


def parameter_groups(network: nn.Module, settings: Trainer) -> list[dict]:
    """Optimiser groups of what is to be trained, each with its share of the learning rate.

    Biases and norms do not decay. The share is under ``rate``.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            decay = settings.weight_decay if parameter.ndim > 1 else 0.0
            groups[_rate(name, settings), decay].append(parameter)
    return [{'params': parameters, 'weight_decay': decay, 'rate': rate}
            for (rate, decay), parameters in groups.items()]


def _rate(name: str, settings: Trainer) -> float:
    for start, rate in settings.rates.items():
        if name.startswith(start):
            return rate
    return settings.decoder_rate if name.startswith(('decoder.', 'head.')) else 1.0


def optimizer(groups: list[dict], learning_rate: float, settings: Trainer):
    """Make the optimiser that the config names."""
    if settings.optimizer == 'sgd':
        return torch.optim.SGD(groups, lr=learning_rate, momentum=settings.momentum)
    kind = {'adamw': torch.optim.AdamW, 'adam': torch.optim.Adam}[settings.optimizer]
    return kind(groups, lr=learning_rate)


def prepare(batch: dict, network: nn.Module) -> tuple[Tensor, Tensor]:
    """Turn a batch of the data set's items into what the loss takes.

    Returns
    -------
    tuple of Tensor
        image (B, 3, H, W) RGB in 0..1; depth (B, 1, H, W) in metres that are canonical to
        `network`, NaN in holes.
    """
    image = batch['image'].float() / 255
    depth = batch['depth'].unsqueeze(1)
    scale = canonical_scale(batch['focal_px'], image.shape[-1], focal_per_width(network))
    return image, torch.where(depth > 0, depth * scale.view(-1, 1, 1, 1), torch.nan)


def loss_of(
    loss: nn.Module, prediction: Tensor | Sequence[Tensor], kind: str, depth: Tensor, image: Tensor
) -> Tensor:
    """Loss of a prediction, or the mean over the maps of a network with deep supervision.

    A map smaller than the truth is compared with every so-many-th pixel of it: to average depth
    would invent depths that lie between an object and what is behind it.
    """
    maps = prediction if isinstance(prediction, (tuple, list)) else (prediction,)
    losses = []
    for both in maps:
        x, *log_scale = split_confidence(both)
        size = x.shape[-2:]
        smaller = size != depth.shape[-2:]
        truth = F.interpolate(depth, size, mode='nearest-exact') if smaller else depth
        picture = F.interpolate(image, size, mode='area') if smaller else image
        losses.append(loss(log_depth(x, kind), truth, picture, *log_scale))
    return torch.stack(losses).mean()


class DepthTask(L.LightningModule):
    """Trains `network` for one phase.

    Parameters
    ----------
    network : Module
        Of training.models.
    config : Config
    phase : Phase
    sources : list of str
        Where the training data come from; goes into checkpoints.
    """

    monitored = MONITORED

    def __init__(
        self, network: nn.Module, config: Config, phase: Phase, sources: list[str]
    ) -> None:
        super().__init__()
        self.network = network
        self.phase = phase
        self.settings: Trainer = config.trainer
        self.loss = build_loss(config, phase)
        self.save_hyperparameters(dataclasses.asdict(config))
        self._seed = config.seed
        self._output = Path(config.output)
        self._sources = sources
        self._elapsed_s = 0.0  # before the last resume
        self._started_s = time.monotonic()
        self._errors: dict[str, list[Tensor]] = defaultdict(list)
        self._blur_scale: tuple[float, float] | None = None  # smallest and largest, of stacks

    def forward(self, batch: dict) -> Tensor | tuple[Tensor, ...]:
        """Batch of the data set's items to what the network gives, (B, 1, h, w) or several."""
        return self.network(*inputs_of(self.network, batch))

    def training_step(self, batch: dict, index: int) -> Tensor:
        """Loss of one batch of the data set's items."""
        loss = self.batch_loss(batch)
        if not torch.isfinite(loss):
            self._give_up(batch, float(loss.detach()))
        self.log('loss', loss, prog_bar=True)
        if isinstance(self.trainer.profiler, WaitingTime):
            self.log('waiting', self.trainer.profiler.share, prog_bar=True)
        return loss

    def batch_loss(self, batch: dict) -> Tensor:
        """Compare a batch with its truth; a task with more targets than depth has its own."""
        image, depth = prepare(batch, self.network)
        if takes_stack(self.network) and 'blur_scale' in batch:
            self._note_blur(canonical_blur_scale(batch, focal_per_width(self.network)))
        prediction = self(batch)
        # SSIM subtracts nearly equal numbers, which half precision turns into noise, then NaN.
        with torch.autocast(self.device.type, enabled=False):
            loss = loss_of(self.loss, prediction, self.network.output_kind, depth, image)
        return loss

    def _note_blur(self, blur_scale: Tensor) -> None:
        known = blur_scale[torch.isfinite(blur_scale)].tolist()  # of some cameras it is not known
        if known:
            seen = [*known, *(self._blur_scale or ())]
            self._blur_scale = min(seen), max(seen)

    def _give_up(self, batch: dict, loss: float) -> None:
        # Before the step that would ruin the weights. Without Lightning's own saving, which needs
        # all processes: only the one that has this batch is here.
        path = self._output / f'stopped_rank{self.global_rank}.ckpt'
        names = [f'{s}: {n}' for s, n in zip(batch['source'], batch['name'], strict=True)]
        write_checkpoint({
            'state_dict': self.state_dict(), 'hyper_parameters': dict(self.hparams),
            'sources': self._sources, 'stage': self.phase.stage, 'batch': names,
        }, path)
        raise TrainingError(
            f'the loss is {loss} at step {self.global_step}; the weights before it are in {path}. '
            f"Lower the learning rate, or look at the pictures of the batch: {', '.join(names)}"
        )

    def on_train_start(self) -> None:
        """Start the clock: loading data does not count."""
        self._started_s = time.monotonic()

    def on_train_epoch_start(self) -> None:
        """Let the data set draw the next epoch; keep what is frozen."""
        self.trainer.datamodule.set_epoch(self.current_epoch)
        if self.phase.frozen or self.phase.fixed_norms:
            freeze(self.network, self.phase)

    def on_train_batch_start(self, batch: dict, index: int) -> int | None:
        """Set the learning rate, or stop where the phase is over."""
        progress = self.trainer.strategy.broadcast(self.progress())
        if progress >= 1:
            self.trainer.should_stop = True
            return -1  # ends the epoch
        # Dropout depends on the seed and the batch's number alone: a resumed run goes on as the
        # unbroken one does.
        key = np.random.SeedSequence([self._seed, self.current_epoch, index, self.global_rank])
        torch.manual_seed(int(key.generate_state(1)[0]))
        factor = learning_rate_factor(
            self.global_step, self.settings.warmup_steps, progress, self.settings.schedule)
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
        """Collect the relative error of each image."""
        _, depth = prepare(batch, self.network)
        self.collect(batch['source'], self(batch), depth)

    def collect(self, sources: Sequence[str], prediction: Tensor, depth: Tensor) -> None:
        """Note the error of each image, unaligned; relative depth is aligned to the truth."""
        kind, size = self.network.output_kind, depth.shape[-2:]
        prediction = split_confidence(prediction)[0]
        if kind == 'relative':
            found = aligned_depth(at_size(prediction.float(), size), depth)
        else:
            found = at_size(log_depth(prediction, kind), size).exp()
        relative = (found / depth - 1).abs()
        for source, error in zip(sources, relative, strict=True):
            self._errors[source].append(error[torch.isfinite(error)].mean())

    def on_validation_epoch_end(self) -> None:
        """Log the mean over images for each source, and the mean over sources."""
        errors = _of_all_processes(
            {name: [float(x) for x in values] for name, values in self._errors.items()})
        self._errors.clear()
        means = {name: float(np.nanmean(errors[name])) for name in sorted(errors)}
        self.log_dict({f'abs_rel/{name}': value for name, value in means.items()})
        self.log(MONITORED, float(np.mean(list(means.values()))), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Optimiser of what the phase trains; the learning rate is set batch by batch."""
        groups = parameter_groups(self.network, self.settings)
        return optimizer(groups, self.phase.learning_rate, self.settings)

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """Add what a resumed run and an export need beside the weights."""
        checkpoint['elapsed_s'] = self._total_s()
        checkpoint['sources'] = self._sources
        checkpoint['stage'] = self.phase.stage
        checkpoint['blur_scale_range'] = self._blur_scale

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Take over the time that was spent before, and the blur that was seen."""
        self._elapsed_s = checkpoint['elapsed_s']
        self._blur_scale = checkpoint.get('blur_scale_range')


def _of_all_processes(errors: dict[str, list[float]]) -> dict[str, list[float]]:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return errors
    parts: list = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, errors)
    merged = defaultdict(list)
    for part in parts:
        for name, values in part.items():
            merged[name] += values
    return merged
