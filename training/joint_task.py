"""Training of depth and segmentation together, by a loss that changes from epoch to epoch."""

from __future__ import annotations

import logging
import math
import time

import torch
from torch import Tensor, nn

from training.config import Config, Phase
from training.contract import log_depth
from training.schedule import samples_at
from training.stacks import inputs_of
from training.task import DepthTask, TrainingError, prepare

log = logging.getLogger(__name__)

FIRST_BATCHES = 2  # of the first epoch of equal time, before anything is known about time


class JointTask(DepthTask):
    """Trains a network with two heads by loss spt; see :class:`DepthTask`.

    Where the data set has no segmentation, or the network no head for it, the depth part trains
    alone and the log says so once.

    Logged at the end of each epoch: ``weight/*``, what the schedule gives (training.schedule);
    ``train/*`` and ``val/*``, the weighted terms of the loss, and their sum ``total``.
    """

    def __init__(
        self, network: nn.Module, config: Config, phase: Phase, sources: list[str]
    ) -> None:
        super().__init__(network, config, phase, sources)
        self.epochs = config.epochs
        self._asked_for_labels = config.data.labels
        self._batches = 0  # trained on, since the clock was started
        self._said_alone = False

    def batch_loss(self, batch: dict) -> Tensor:
        """Joint loss of a batch."""
        image, depth = prepare(batch, self.network)
        prediction, logits = self._maps(batch)
        terms = self._terms(batch, image, depth, prediction, logits)
        self._log_terms('train', terms, len(image))
        return sum(terms.values())

    def _maps(self, batch: dict) -> tuple[Tensor, Tensor | None]:
        if 'labels' in batch and getattr(self.network, 'segmentation_head', None) is not None:
            _check_labels(batch, self.network.segmentation_head[-1].out_channels)
            return self.network.joint(*inputs_of(self.network, batch))
        if not self._said_alone:
            self._said_alone = True
            log.warning('depth trains alone: %s', self._why_alone(batch))
        return self(batch), None

    def _why_alone(self, batch: dict) -> str:
        if 'labels' in batch:
            return 'the network has no segmentation head (model_options.classes is 0)'
        if self._asked_for_labels:
            return 'the data set has no segmentation targets'
        return 'data.labels is false, so no segmentation targets are read'

    def _terms(
        self, batch: dict, image: Tensor, depth: Tensor, prediction: Tensor, logits: Tensor | None
    ) -> dict[str, Tensor]:
        # SSIM subtracts nearly equal numbers, which half precision turns into noise, then NaN.
        with torch.autocast(self.device.type, enabled=False):
            inverse_log = log_depth(prediction, self.network.output_kind)
            terms = self.loss.depth_terms(inverse_log, depth, image)
            if logits is not None:
                terms |= self.loss.segmentation_terms(logits.float(), batch['labels'])
        return terms

    def _log_terms(self, stage: str, terms: dict[str, Tensor], count: int) -> None:
        values = {f'{stage}/{name}': value.detach() for name, value in terms.items()}
        values[f'{stage}/total'] = sum(values.values())
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=count, sync_dist=True)

    def validation_step(self, batch: dict, index: int) -> None:
        """Collect the relative error of each image, and the terms of the loss."""
        image, depth = prepare(batch, self.network)
        prediction, logits = self._maps(batch)
        self.collect(batch['source'], prediction, depth)
        self._log_terms('val', self._terms(batch, image, depth, prediction, logits), len(image))

    # -- epochs and time -------------------------------------------------------------------------

    def batches_of_epoch(self, batch_size: int) -> int:
        """How many batches of `batch_size`, of all processes, the epoch that begins has."""
        if not self.phase.minutes:
            return math.ceil(samples_at(self.current_epoch, self.epochs) / batch_size)
        if not self._batches:
            return FIRST_BATCHES
        trained_s = self._total_s() - self._elapsed_s
        left_s = 60 * self.phase.minutes - self._total_s()
        left_epochs = max(1, self.epochs.count - self.current_epoch)
        batches = max(1, round(left_s / left_epochs / (trained_s / self._batches)))
        return self.trainer.strategy.broadcast(batches)  # each process has its own clock

    def progress(self) -> float:
        """Share of the phase that is done: by steps and time, or by epochs where they end it."""
        if not self.epochs.count or self.phase.minutes:
            return super().progress()
        batches = self.trainer.num_training_batches
        share = self.trainer.fit_loop.epoch_loop.batch_progress.current.completed / batches
        return (self.current_epoch + min(share, 1 - 1e-9)) / self.epochs.count

    def on_train_start(self) -> None:
        """Start the clock, and take the weights of an epoch that a resumed run is in."""
        super().on_train_start()
        self.loss.set_epoch(self.current_epoch)

    def on_train_epoch_start(self) -> None:
        """Let the data set draw the next epoch, and take its weights."""
        super().on_train_epoch_start()
        self.loss.set_epoch(self.current_epoch)

    def on_train_epoch_end(self) -> None:
        """Log what the epoch was trained with, and keep its lowest cross-entropy."""
        self.loss.end_epoch()
        values = {f'weight/{name}': value for name, value in self.loss.weights._asdict().items()}
        values['weight/batches'] = float(self.trainer.num_training_batches)
        self.log_dict(values)

    def on_train_batch_end(self, *arguments: object) -> None:
        """Count, to know how long a batch takes."""
        self._batches += 1

    def on_validation_start(self) -> None:
        """Stop the clock: epochs of equal time are times of training."""
        self._validation_s = time.monotonic()

    def on_validation_end(self) -> None:
        """Let the clock go on."""
        self._started_s += time.monotonic() - self._validation_s


def _check_labels(batch: dict, classes: int) -> None:
    largest = int(batch['labels'].max())
    if largest >= classes:
        raise TrainingError(
            f'a segmentation target is of class {largest}, the network knows 0 to {classes - 1}: '
            f'give model_options.classes={largest + 1}, or map the labels to fewer (classes in '
            "dataset.yaml; -1 leaves a label out)")
