"""What watches over a training run: its checkpoints, and the time it waits for data."""

from __future__ import annotations

from collections import defaultdict
import logging
import math
from pathlib import Path
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.profilers import Profiler

from training.checkpoint import CheckpointError

log = logging.getLogger(__name__)

MONITORED = 'abs_rel'


class Keeper(Checkpoint):
    """Writes last.ckpt every so many minutes, and best.ckpt after each better validation.

    A disk that is full at that moment costs this one checkpoint: the earlier one stays, the run
    goes on, the next turn tries again.

    Parameters
    ----------
    folder : Path
    minutes : float
    best : bool
        Whether to keep best.ckpt.
    monitored : str
        What is logged at each validation and should be small.
    """

    def __init__(
        self, folder: Path, minutes: float, best: bool, monitored: str = MONITORED
    ) -> None:
        self.last, self.best = folder / 'last.ckpt', folder / 'best.ckpt'
        self._minutes, self._keeps_best, self._monitored = minutes, best, monitored
        self._lowest = math.inf
        self._written_s = time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, task: L.LightningModule, *_: Any) -> None:
        """Write last.ckpt where it is due."""
        loop = trainer.fit_loop.epoch_loop
        # Only between optimiser steps, as added-up gradients are not kept; and inside an epoch.
        if loop._should_accumulate() or loop.batch_progress.is_last_batch:
            return
        due = time.monotonic() - self._written_s >= 60 * self._minutes
        if trainer.strategy.broadcast(due):
            self._written_s = time.monotonic()
            _save(trainer, self.last)

    def on_validation_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Write best.ckpt where the validation was better than all before."""
        if not self._keeps_best or trainer.state.fn != 'fit':
            return
        found = float(trainer.callback_metrics[self._monitored])
        if found < self._lowest:
            self._lowest = found
            _save(trainer, self.best)

    def state_dict(self) -> dict[str, Any]:
        """The lowest error so far."""
        return {'lowest': self._lowest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the lowest error so far."""
        self._lowest = state['lowest']


def _save(trainer: L.Trainer, path: Path) -> None:
    try:
        trainer.save_checkpoint(path)
    except CheckpointError as error:
        log.error('%s; training goes on', error)


class WaitingTime(Profiler):
    """Measures how long the training loop waits for its next batch."""

    WAIT, WORK = '[_TrainingEpochLoop].train_dataloader_next', 'run_training_batch'

    def __init__(self) -> None:
        super().__init__()
        self._started_s: dict[str, float] = {}
        self._total_s: dict[str, float] = defaultdict(float)

    def start(self, action_name: str) -> None:
        """Begin to measure one of the two actions; others are not looked at."""
        if action_name in (self.WAIT, self.WORK):
            self._started_s[action_name] = time.perf_counter()

    def stop(self, action_name: str) -> None:
        """End it."""
        if action_name in self._started_s:
            started_s = self._started_s.pop(action_name)
            self._total_s[action_name] += time.perf_counter() - started_s

    @property
    def share(self) -> float:
        """Share of the step time so far that was spent waiting for data, 0..1."""
        total_s = sum(self._total_s.values())
        return self._total_s[self.WAIT] / total_s if total_s else 0.0
