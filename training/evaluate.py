"""Measure a model: an exported one on the held-out pictures, or a checkpoint on any data set.

``python -m training.evaluate CHECKPOINT data=NAME ...`` is told in checkpoint_scores.py.

``python -m training.evaluate CONFIG [model=FILE.onnx] [folder=DIR]`` runs the ONNX file with each
camera's intrinsics, prints the table, and writes evaluation.json and one picture sheet a row into
`folder`, the baselines beside the model, and the pooled accuracy into the model's contract. Of a
model with confidence, confidence.json and confidence.png say whether it is as sure as it is right.

Where CONFIG is for a network that takes focus stacks, focus_evaluation.py tells what is done.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Iterator
import dataclasses
import json
import logging
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
import torch

from depth_perception.estimator import DepthEstimator
from depth_perception.inference import load
from depth_perception.metrics import bootstrap_interval, depth_metrics
from depth_perception.model_spec import ModelError, read_spec, write_spec
from training.arguments import parse
from training.checkpoint import CheckpointError
from training.checkpoint_scores import KEYS, evaluate_checkpoint
from training.config import Config, ConfigError, refuse_unknown
from training.data import (
    Baselines,
    DataConfig,
    DataError,
    SplitError,
    baselines,
    build,
    evaluation,
)
from training.data.root import sentence
from training.data.splits import Entry
from training.focus_evaluation import KEYS as FOCUS_KEYS
from training.focus_evaluation import evaluate_focus
from training.registry import build_network
from training.reliability import Reliability, draw
from training.sheet import Sheet
from training.stacks import takes_stack

log = logging.getLogger(__name__)

METRICS = ('abs_rel', 'rmse', 'delta1')
MODEL, MEAN, MEDIAN = 'model', 'mean_depth', 'median_depth'
BASELINE_SAMPLES = 2000
PICTURES_PER_ROW = 6


def score(depth: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """AbsRel, RMSE [m] and delta1 of one picture, unaligned and (``..._median``) aligned."""
    plain = depth_metrics(depth, truth)
    aligned = depth_metrics(depth, truth, align='median')
    return {m: plain[m] for m in METRICS} | {f'{m}_median': aligned[m] for m in METRICS}


def score_picture(
    depth: np.ndarray, truth: np.ndarray, base: Baselines
) -> dict[str, dict[str, float]]:
    """Scores of a prediction and of both baselines against `truth`, all (H, W) metres."""
    return {
        MODEL: score(depth, truth),
        MEAN: score(base.mean_at(*truth.shape), truth),
        MEDIAN: score(np.full(truth.shape, base.median, np.float32), truth),
    }


def summarise(pictures: list[dict[str, dict[str, float]]]) -> dict:
    """Means over pictures, and the paired difference of AbsRel to the better baseline.

    Pictures without a pixel of truth do not count.

    Returns
    -------
    dict
        ``n``; for the model and each baseline the mean of every metric; and for plain and
        median-aligned AbsRel: ``better_baseline``, ``gain`` (1 - model / baseline) and
        ``difference`` (model - baseline: mean and 95% bootstrap interval over pictures).
    """
    kept = [p for p in pictures if np.isfinite(p[MODEL]['abs_rel'])]
    means = {
        who: {metric: float(np.mean([p[who][metric] for p in kept])) for metric in kept[0][who]}
        for who in (MODEL, MEAN, MEDIAN)
    }
    compared = {key: _compare(kept, means, key) for key in ('abs_rel', 'abs_rel_median')}
    return {'n': len(kept), **means, 'compared': compared}


def _compare(pictures: list[dict], means: dict, metric: str) -> dict:
    better = min((MEAN, MEDIAN), key=lambda who: means[who][metric])
    differences = [p[MODEL][metric] - p[better][metric] for p in pictures]
    low, high = bootstrap_interval(differences)
    return {
        'better_baseline': better,
        'gain': 1 - means[MODEL][metric] / means[better][metric],
        'difference': {'mean': float(np.mean(differences)), 'low': low, 'high': high},
    }


def measure(
    estimator: DepthEstimator, base: Baselines, folder: Path, reliability: Reliability
) -> dict[str, dict]:
    """Score every row of the evaluation table and write its picture sheet into `folder`.

    A model's confidence is counted in `reliability`.

    Returns
    -------
    dict
        Row name -> :func:`summarise`; the pooled rows come last.
    """
    by_entry: dict[str, list] = defaultdict(list)
    table = {}
    for row, entries in evaluation.rows().items():
        sheet = Sheet(PICTURES_PER_ROW)
        for sample in _samples(entries):
            estimate = estimator(sample['image'], sample['intrinsics'])
            depth = estimate.depth.copy()
            if estimate.confidence is not None:
                reliability.add(estimate.confidence, depth, sample['depth'])
            scores = score_picture(depth, sample['depth'], base)
            by_entry[sample['source']].append(scores)
            sheet.add(sample['image'], sample['depth'], depth)
        sheet.write(folder / f'{row}.jpg')
        table[row] = summarise([p for entry in entries for p in by_entry[entry.name]])
        log.info('%s: %s', row, table[row]['compared']['abs_rel'])
    for row, entries in evaluation.pooled().items():
        if entries:  # without DATA_ROOT there are no real pictures to pool
            table[f'pooled: {row}'] = summarise([p for e in entries for p in by_entry[e.name]])
    return table


def draw_unscored(estimator: DepthEstimator, folder: Path) -> None:
    """Write one sheet of the test pictures that have no metric truth."""
    sheet = Sheet(2 * PICTURES_PER_ROW)
    for sample in _samples(evaluation.pictures()):
        depth = estimator(sample['image'], sample['intrinsics']).depth.copy()
        sheet.add(sample['image'], np.full_like(depth, np.nan), depth)
    sheet.write(folder / 'without truth.jpg')


def _samples(entries: Iterable[Entry]) -> Iterator[dict]:
    for entry in entries:
        yield from evaluation.samples(entry)


def as_table(table: dict[str, dict]) -> Table:
    """Lay the rows out for a terminal."""
    shown = Table(title='unaligned / median-aligned; AbsRel difference with its 95% interval')
    columns = ('row', 'n', 'AbsRel', 'RMSE [m]', 'delta1', 'mean depth', 'median', 'gain',
               'difference')
    for name in columns:
        shown.add_column(name, justify='left' if name == 'row' else 'right', overflow='fold')
    for name, row in table.items():
        pairs = [_pair(row[MODEL], metric) for metric in METRICS]
        pairs += [_pair(row[who], 'abs_rel') for who in (MEAN, MEDIAN)]
        compared = row['compared']['abs_rel']
        d = compared['difference']
        interval = f"{d['mean']:+.3f} [{d['low']:+.3f}, {d['high']:+.3f}]"
        shown.add_row(name, str(row['n']), *pairs, f"{compared['gain']:+.0%}", interval)
    return shown


def _pair(scores: dict[str, float], metric: str) -> str:
    return f"{scores[metric]:.3f} / {scores[metric + '_median']:.3f}"


def accuracy(table: dict[str, dict]) -> dict[str, dict]:
    """What goes into the contract: the model's unaligned metrics of the pooled rows."""
    return {
        name.removeprefix('pooled: '): {m: round(row[MODEL][m], 4) for m in METRICS}
        for name, row in table.items()
        if name.startswith('pooled: ')
    }


def write_reliability(found: dict, folder: Path) -> dict[str, dict]:
    """Write confidence.json and confidence.png; return what goes into the contract."""
    (folder / 'confidence.json').write_text(json.dumps(found, indent=1))
    if not found['bins']:
        return {}
    draw(found, folder / 'confidence.png')
    return {'confidence': {name: round(found[name], 4)
                           for name in ('expected_calibration_error', 'ause')}}


def evaluate(config: Config, model: Path, folder: Path) -> dict[str, dict]:
    """Evaluate the ONNX file `model`, trained by `config`; see the module's text."""
    if read_spec(model).output_kind == 'relative':
        raise ConfigError(f'{model} gives relative depth, which has no metres to score; '
                          '`python -m training.reproduce spt` aligns it to the truth first')
    folder.mkdir(parents=True, exist_ok=True)
    data = DataConfig(samples_per_epoch=BASELINE_SAMPLES, seed=config.seed,
                      views=config.data.views, weights=config.data.weights)
    base = baselines(build(data, 'train', augment=False), BASELINE_SAMPLES)
    base.save(model.with_suffix('.baselines.npz'))
    estimator = DepthEstimator(load(str(model), backend='cpu', threads=config.trainer.threads))
    reliability = Reliability()
    table = measure(estimator, base, folder, reliability)
    draw_unscored(estimator, folder)
    (folder / 'evaluation.json').write_text(json.dumps(table, indent=1))
    measured = accuracy(table)
    if estimator.spec.confidence:
        measured |= write_reliability(reliability.summary(), folder)
    write_spec(model, dataclasses.replace(read_spec(model), accuracy=measured))
    Console().print(as_table(table))
    return table


def main(argv: list[str] | None = None) -> None:
    """Evaluate as the command line says."""
    parser = argparse.ArgumentParser(prog='python -m training.evaluate', description=__doc__)
    config, own = parse(parser, argv, sorted({'model', *KEYS, *FOCUS_KEYS}))
    try:
        _evaluate(config, own)
    except (CheckpointError, ConfigError, DataError, SplitError, ModelError) as error:
        raise SystemExit(f'error: {sentence(error)}') from error


def _evaluate(config: Config, own: dict[str, str]) -> None:
    if 'checkpoint' in own:
        evaluate_checkpoint(config, own)
        return
    with torch.device('meta'):
        is_for_stacks = takes_stack(build_network(config.model, config.model_options))
    if is_for_stacks:
        evaluate_focus(config, own)
        return
    refuse_unknown(own, ('model', 'folder'), '')
    model = Path(own.get('model', f'depth_perception/models/{config.name}.onnx'))
    evaluate(config, model, Path(own.get('folder', f'{config.output}/evaluation')))


if __name__ == '__main__':
    main()
