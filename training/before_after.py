"""Two networks on the same held-out frames: what a fine-tuning gained, and what it forgot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
import math
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from depth_perception.metrics import bootstrap_interval, depth_metrics
from training.checkpoint_scores import as_sample, predictor
from training.config import Config
from training.contract import model_spec
from training.self_task import PHOTOMETRIC, residuals
from training.stacks import inputs_of
from training.torch_engine import TorchEngine

BEFORE, AFTER = 'before', 'after'
SHOWN = ('abs_rel', 'rmse', 'delta1')
ALIGNED = 'abs_rel_median_aligned'
SHORT = {ALIGNED: 'abs_rel, aligned'}


def scores(depth: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """AbsRel, RMSE [m] and delta1 of one picture, and AbsRel after alignment of the medians."""
    plain = depth_metrics(depth, truth)
    aligned = depth_metrics(depth, truth, align='median')
    return {name: plain[name] for name in SHOWN} | {ALIGNED: aligned['abs_rel']}


def compare(
    config: Config, networks: Mapping[str, nn.Module], data: Dataset, median_m: float | None = None
) -> dict[str, Any]:
    """Score the networks `before` and `after` on every picture of `data` that has depth.

    `median_m` is a depth that is guessed for all pixels, to compare with.

    Returns
    -------
    dict
        ``frames``; ``without_prediction``: how many of them got none, by network; ``before``,
        ``after`` and (with `median_m`) ``median_depth``: the mean of each metric over the others,
        NaN where there is none; ``difference``: that of AbsRel, after less before, with ``lo``
        and ``hi``, its 95 % bootstrap interval over pictures. Without a picture that counts
        ``frames`` alone.
    """
    predict = {who: predictor(TorchEngine(network.eval(), model_spec(config, network, '')))
               for who, network in networks.items()}
    rows: dict[str, list[dict[str, float]]] = {}
    for index in range(len(data)):
        sample = as_sample(data[index])
        truth = sample['depth']
        if not np.isfinite(truth).any():
            continue
        for who, give in predict.items():
            rows.setdefault(who, []).append(scores(give(sample), truth))
        if median_m is not None:
            guess = np.full(truth.shape, median_m, np.float32)
            rows.setdefault('median_depth', []).append(scores(guess, truth))
    return summary(rows)


def compare_pictures(networks: Mapping[str, nn.Module], data: Dataset) -> dict[str, Any]:
    """Score the networks by how well neighbouring pictures fit, on a data set that has them.

    Returns
    -------
    dict
        As :func:`compare`, of the metric ``photometric``; the frames are those with neighbours.
    """
    rows: dict[str, list[dict[str, float]]] = {}
    for batch in DataLoader(data, batch_size=1):
        found = {}
        for who, network in networks.items():
            device = next(network.parameters()).device  # `compare` may have moved it to a GPU
            moved = {key: value.to(device) if isinstance(value, torch.Tensor) else value
                     for key, value in batch.items()}
            with torch.inference_mode():
                prediction = network(*inputs_of(network, moved))
                found[who] = float(residuals(network, prediction, moved)[0])
        if np.isfinite(list(found.values())).any():
            for who, error in found.items():
                rows.setdefault(who, []).append({PHOTOMETRIC: error})
    return summary(rows, PHOTOMETRIC)


def summary(
    rows: Mapping[str, list[dict[str, float]]], metric: str = 'abs_rel'
) -> dict[str, Any]:
    """Means and the paired difference; see :func:`compare`."""
    if not rows or not rows[BEFORE]:
        return {'frames': 0}
    found: dict[str, Any] = {'frames': len(rows[BEFORE]), 'without_prediction': {
        who: sum(math.isnan(x[metric]) for x in rows[who]) for who in (BEFORE, AFTER)}}
    for who, pictures in rows.items():
        found[who] = {name: _mean(x[name] for x in pictures) for name in pictures[0]}
    gained = [b[metric] - a[metric] for a, b in zip(rows[BEFORE], rows[AFTER], strict=True)]
    low, high = bootstrap_interval(gained)
    found['difference'] = {metric: _mean(gained), 'lo': float(low), 'hi': float(high)}
    return found


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def change(compared: Mapping[str, Any], metric: str = 'abs_rel') -> float | None:
    """Change of a metric as a share of what it was before; None where nothing was compared."""
    if not compared or not compared['frames']:
        return None
    return compared[AFTER][metric] / compared[BEFORE][metric] - 1


def terminal() -> Console:
    """Return a console that is wide enough for the tables, also where it is a file."""
    return Console(width=max(100, Console().width))


def as_table(title: str, compared: Mapping[str, Any]) -> Table:
    """Lay one comparison out for a terminal."""
    whos = [who for who in (BEFORE, AFTER, 'median_depth') if who in compared]
    table = Table(title=f"{title}: {compared['frames']} frames")
    for name in ('', *whos, 'difference'):
        table.add_column(name, justify='right' if name else 'left', no_wrap=True)
    d = compared['difference']
    for metric in compared[BEFORE]:
        interval = f"{d[metric]:+.4f} [{d['lo']:+.4f}, {d['hi']:+.4f}]" if metric in d else ''
        table.add_row(SHORT.get(metric, metric), *(f'{compared[who][metric]:.4f}' for who in whos),
                      interval)
    return table
