"""Compare two exported models: ``python -m training.compare_models BEFORE AFTER [key=value ...]``.

BEFORE and AFTER are names of installed models or files. Both run, as on the robot, on the held-out
pictures of splits.yaml.

keys: rows='procedural rooms,…'   of the evaluation table (default: all that are available)
      output=FILE.json            where the numbers go (default: they are printed alone)
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from itertools import chain
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from depth_perception.estimator import DepthEstimator
from depth_perception.inference import load
from depth_perception.model_spec import ModelError, find_model, read_spec
from training.before_after import AFTER, BEFORE, as_table, scores, summary, terminal
from training.config import ConfigError, refuse_unknown
from training.data import DataError, SplitError, evaluation

ALL = 'all'


def compare_models(before: Path, after: Path, rows: Iterable[str] = ()) -> dict[str, Any]:
    """Score two ONNX files on rows of the evaluation table; without `rows` on all of them.

    Returns
    -------
    dict
        Row, and ``all`` -> what training.before_after.compare returns.

    Raises
    ------
    ConfigError
        A row that does not exist or is not available here, or a model without metres.
    """
    table = evaluation.rows()
    chosen = list(rows) or list(table)
    for row in chosen:
        if row not in table:
            raise ConfigError(f'row {row!r} is not available; there are {", ".join(table)}')
    predictors = {BEFORE: _estimator(before), AFTER: _estimator(after)}
    found, pictures = {}, {BEFORE: [], AFTER: []}
    for row in chosen:
        samples = chain.from_iterable(map(evaluation.samples, table[row]))
        of_row = _scored(predictors, samples)
        found[row] = summary(of_row)
        for who, scored in of_row.items():
            pictures[who] += scored
    return found | {ALL: summary(pictures)}


def _estimator(model: Path) -> DepthEstimator:
    if read_spec(model).output_kind == 'relative':
        raise ConfigError(f'{model} gives relative depth, which has no metres to compare')
    return DepthEstimator(load(str(model), backend='cpu'))


def _scored(predictors: dict[str, DepthEstimator], samples: Iterable[dict]) -> dict[str, list]:
    found: dict[str, list] = {who: [] for who in predictors}
    for sample in samples:
        if np.isfinite(sample['depth']).any():
            for who, predict in predictors.items():
                depth = predict(sample['image'], sample['intrinsics']).depth
                found[who].append(scores(depth, sample['depth']))
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Compare as the command line says."""
    parser = argparse.ArgumentParser(
        prog='python -m training.compare_models', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('before')
    parser.add_argument('after')
    parser.add_argument('settings', nargs='*', metavar='key=value')
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format='%(levelname)s %(name)s: %(message)s')
    given = dict(text.partition('=')[::2] for text in arguments.settings)
    try:
        refuse_unknown(given, ('rows', 'output'), '')
        rows = [row.strip() for row in given.get('rows', '').split(',') if row.strip()]
        found = compare_models(find_model(arguments.before), find_model(arguments.after), rows)
    except (ConfigError, DataError, ModelError, SplitError) as error:
        raise SystemExit(f'error: {error}') from error
    for row, compared in found.items():
        if compared['frames']:
            terminal().print(as_table(row, compared))
    if given.get('output'):
        Path(given['output']).write_text(json.dumps(found, indent=1))


if __name__ == '__main__':
    main()
