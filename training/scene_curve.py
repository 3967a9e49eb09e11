"""How a network grows with the scenes it was trained on: the curve of `training.reproduce scenes`.

Every network of that comparison is scored on the held-out pictures of splits.yaml, as the shipped
model is: unaligned, on the two pooled rows of its card. They choose nothing here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
import json
import math
from pathlib import Path
import statistics
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from training.before_after import scores
from training.checkpoint import load_model
from training.checkpoint_scores import predictor
from training.comparison_runs import write_json
from training.config import config_from
from training.contract import model_spec
from training.data import evaluation
from training.torch_engine import TorchEngine

SHOWN = {'delta1': 'delta1', 'abs_rel': 'AbsRel'}
VAL = 'new views of the kinds trained on'


def write_scene_curve(folder: Path, console: Console) -> dict[str, Any]:
    """Score all networks of a comparison, print, and write curve.json and curve.png.

    Parameters
    ----------
    folder : Path
        Holds results.json and the cells' weights.

    Returns
    -------
    dict
        ``views`` (trained on, ascending), ``seeds``, ``minutes_per_run``, and ``rows``: row ->
        ``pictures`` and, for each metric of SHOWN, for each number of views the values of all
        seeds.
    """
    results = json.loads((folder / 'results.json').read_text())
    cells = sorted(results['cells'].items(), key=lambda x: x[1]['labels'])
    rows: dict[str, dict[str, Any]] = {VAL: {'pictures': results['data']['scored_on'], **{
        metric: [cell['scores'][metric]['values'] for _, cell in cells] for metric in SHOWN}}}
    for row, samples in _pictures().items():
        found = [[_score(folder / f'{name}_seed{seed}' / 'weights.ckpt', samples)
                  for seed in results['seeds']] for name, _ in cells]
        rows[row] = {'pictures': len(samples), **{
            metric: [[x[metric] for x in of_cell] for of_cell in found] for metric in SHOWN}}
    curve = {'views': [cell['labels'] for _, cell in cells], 'seeds': results['seeds'],
             'minutes_per_run': results['minutes_per_run'], 'rows': rows}
    write_json(folder / 'curve.json', curve)
    plot(curve, folder / 'curve.png')
    console.print(as_table(curve))
    return curve


def _pictures() -> dict[str, list[dict]]:
    found = {}
    for row, entries in evaluation.pooled().items():
        samples = [x for entry in entries for x in evaluation.samples(entry)
                   if np.isfinite(x['depth']).any()]
        if samples:  # without DATA_ROOT there are no real pictures
            found[row] = samples
    return found


def _score(weights: Path, samples: Sequence[dict]) -> dict[str, float]:
    network, checkpoint = load_model(weights)
    spec = model_spec(config_from(checkpoint.config), network, '')
    predict: Callable[[dict], np.ndarray] = predictor(TorchEngine(network, spec))
    values = defaultdict(list)
    for sample in samples:
        for metric, value in scores(predict(sample), sample['depth']).items():
            values[metric].append(value)
    return {metric: float(np.mean(values[metric])) for metric in SHOWN}


def _spread(values: Sequence[float]) -> tuple[float, float]:
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan


def as_table(curve: dict[str, Any]) -> Table:
    """Lay the curve out for a terminal: mean ± deviation over seeds."""
    table = Table(title=f"views trained on, {curve['minutes_per_run']:g} minutes each, unaligned")
    table.add_column('')
    for views in curve['views']:
        table.add_column(f'{views:,}', justify='right')
    for row, found in curve['rows'].items():
        for metric, name in SHOWN.items():
            cells = [' ± '.join(f'{x:.3f}' for x in _spread(values) if not math.isnan(x))
                     for values in found[metric]]
            table.add_row(f"{name}, {row} ({found['pictures']})", *cells)
    return table


def plot(curve: dict[str, Any], path: Path) -> None:
    """Draw each metric over the number of views, with the deviation over seeds, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout='constrained')
    FigureCanvasAgg(figure)
    for axes, (metric, name) in zip(figure.subplots(1, len(SHOWN)), SHOWN.items()):
        for row, found in curve['rows'].items():
            means, deviations = zip(*map(_spread, found[metric]))
            axes.errorbar(curve['views'], means, np.nan_to_num(deviations), marker='o', capsize=3,
                          label=f"{row} ({found['pictures']})")
        axes.set(xscale='log', xlabel='views trained on', ylabel=f'{name}, unaligned',
                 ylim=(0, None))
    axes.legend(frameon=False)
    figure.savefig(path, dpi=100)
