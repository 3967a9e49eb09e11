"""Scores of a checkpoint on a data set: ``python -m training.evaluate CHECKPOINT data=NAME``.

Keys, all optional: data= a data set of training.data.DATASETS, or held_out, the test rows of
splits.yaml (default: what it was trained on); root= its folder; split= (default: test, of mixed,
focus and ddff val); size= HEIGHTxWIDTH of the pictures (default: as trained; with crop=eigen
480x640); align= none, median or least_squares; crop= none or eigen; max_depth= in metres;
folder= for NAME_SPLIT.json and NAME_SPLIT.jpg. Of data=nyu_labeled crop and max_depth are the
published ones unless they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
import dataclasses
import json
import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from depth_perception.estimator import DepthEstimator, Engine
from depth_perception.focus_estimator import FocusStackEstimator
from depth_perception.geometry import Intrinsics
from depth_perception.metrics import ALIGNMENTS, CROPS, EIGEN_SIZE
from depth_perception.scoring import Protocol, Scores
from training.checkpoint import load_model
from training.config import Config, ConfigError, refuse_unknown, typed_value
from training.contract import model_spec
from training.data import DATASETS, DataConfig, evaluation
from training.registry import chosen
from training.sheet import Sheet
from training.stacks import as_images, is_stack
from training.torch_engine import TorchEngine

log = logging.getLogger(__name__)

KEYS = ('checkpoint', 'data', 'root', 'split', 'size', 'align', 'crop', 'max_depth', 'folder')
HELD_OUT, ALL = 'held_out', 'all'
WITHOUT_TEST = ('mixed', 'focus', 'ddff')  # or whose test part has no depth
PUBLISHED = {'nyu_labeled': {'crop': 'eigen', 'max_depth': 10.0}}
SHOWN = ('abs_rel', 'sq_rel', 'mse', 'rmse', 'rmse_log', 'log10', 'delta1', 'delta2', 'delta3',
         'silog')
PICTURES = 8


class Request(NamedTuple):
    """What to score on: data set, its folder, split, picture size, protocol."""

    data: str
    root: str
    split: str
    size: tuple[int, int]
    protocol: Protocol


def read_request(config: Config, given: Mapping[str, str]) -> Request:
    """Fill in what the command line leaves open.

    Raises
    ------
    ConfigError
        A value that does not exist or is no number.
    """
    refuse_unknown(given, KEYS, '')
    data = given.get('data', config.data.dataset)
    chosen({**DATASETS, HELD_OUT: None}, data, 'data set')
    settings = dict(PUBLISHED.get(data, {}))
    for key, known in (('align', ALIGNMENTS), ('crop', CROPS)):
        if key in given:
            if given[key] not in known:
                raise ConfigError(f"{key} is {given[key]!r}; it must be one of {', '.join(known)}")
            settings[key] = given[key]
    if 'max_depth' in given:
        settings['max_depth'] = typed_value(float, given['max_depth'], 'max_depth')
    protocol = Protocol(**settings)
    trained = (config.phases[-1].height, config.phases[-1].width)
    size = EIGEN_SIZE if protocol.crop == 'eigen' else trained
    if 'size' in given:
        size = _size(given['size'])
    split = given.get('split', 'val' if data in WITHOUT_TEST else 'test')
    return Request(data, given.get('root', config.data.root), split, size, protocol)


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition('x')
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise ConfigError(f'size is {text!r}; it must be HEIGHTxWIDTH, such as 480x640')
    return int(height), int(width)


def pictures(config: Config, request: Request) -> Iterator[dict]:
    """Give image (H, W, 3) uint8 RGB, depth (H, W) metres, intrinsics, source of each picture.

    Focus stacks have ``stack`` (N, H, W, 3) and ``focus_m`` (N,) beside them.
    """
    if request.data == HELD_OUT:
        for entries in evaluation.rows().values():
            for entry in entries:
                yield from evaluation.samples(entry)
        return
    height, width = request.size
    is_trained = request.data == config.data.dataset
    settings = DataConfig(
        height=height, width=width, seed=config.seed, root=request.root,
        views=config.data.views, weights=config.data.weights,
        options=config.data.options if is_trained else {})
    items = DATASETS[request.data](settings, request.split, augment=False)
    for index in range(len(items)):
        item = items[index]
        sample = as_sample(item)
        if is_stack(item):
            sample['stack'], sample['focus_m'] = as_images(item)
        yield sample


def as_sample(item: Mapping) -> dict:
    """Return what `pictures` gives of an item of a data set."""
    image = np.ascontiguousarray(item['image'].numpy().transpose(1, 2, 0))
    f, (height, width) = float(item['focal_px']), image.shape[:2]
    camera = Intrinsics(width, height, f, f, (width - 1) / 2, (height - 1) / 2)
    return {'image': image, 'depth': item['depth'].numpy(), 'intrinsics': camera,
            'source': item['source']}


def predictor(engine: Engine) -> Callable[[dict], np.ndarray]:
    """Return what gives depth (H, W) in metres for a sample of `pictures`.

    Depth is valid until the next call. A model for focus stacks raises ConfigError for a sample
    that is none.

    Raises
    ------
    ConfigError
        The model gives relative depth, which has no metres.
    """
    if engine.spec.output_kind == 'relative':
        raise ConfigError(f'model {engine.spec.name} gives relative depth, which has no metres to '
                          'score; `python -m training.reproduce spt` aligns it to the truth first')
    if engine.spec.frames == 1:
        single = DepthEstimator(engine)
        return lambda sample: single(sample['image'], sample['intrinsics']).depth
    estimator = FocusStackEstimator(engine)

    def predict(sample: dict) -> np.ndarray:
        if 'stack' not in sample:
            raise ConfigError(f'model {engine.spec.name} takes focus stacks; choose data=focus '
                              'with data.options.source=NAME, or data=ddff')
        return estimator(sample['stack'], sample['focus_m'], sample['intrinsics']).depth

    return predict


def score(predict: Callable[[dict], np.ndarray], samples: Iterator[dict], protocol: Protocol,
          sheet: Sheet) -> dict[str, dict]:
    """Summaries (`depth_perception.scoring.Scores.summary`) of each source, and of all."""
    scores: dict[str, Scores] = {}
    total = Scores(protocol)
    for sample in samples:
        depth = predict(sample)
        for collected in (scores.setdefault(sample['source'], Scores(protocol)), total):
            collected.add(depth, sample['depth'])
        sheet.add(sample['image'], sample['depth'], depth)
    return {name: s.summary() for name, s in scores.items()} | {ALL: total.summary()}


def as_table(title: str, summaries: Mapping[str, dict]) -> Table:
    """Lay out means per image, for all pictures also per pixel, with 95% intervals over images."""
    columns = [(f"{source}, {summary['images']}, {kind[4:]}s", summary[kind])
               for source, summary in summaries.items()
               for kind in (('per_image', 'per_pixel') if source == ALL else ('per_image',))]
    names = [name for name, _ in columns]
    rows = [[_cell(scores[metric]) for _, scores in columns] for metric in SHOWN]
    lines = SHOWN
    if len(columns) > len(SHOWN):  # what is fewer goes across
        lines, names, rows = names, SHOWN, zip(*rows)
    table = Table('source, images, mean over', title=title)
    for name in names:
        table.add_column(name, justify='right', overflow='fold')
    for line, cells in zip(lines, rows):
        table.add_row(line, *cells)
    return table


def _cell(value: Mapping[str, float]) -> str:
    return f"{value['mean']:.3f}\n[{value['lo']:.3f}, {value['hi']:.3f}]"


def evaluate_checkpoint(config: Config, given: Mapping[str, str]) -> dict[str, dict]:
    """Score the checkpoint, print the table, write JSON and picture sheet; see the module's text.

    Raises
    ------
    ConfigError, CheckpointError, DataError, SplitError
    """
    request = read_request(config, given)
    network, trained = load_model(given['checkpoint'])
    spec = model_spec(config, network, ', '.join(trained.sources), trained.blur_scale_range)
    sheet = Sheet(PICTURES)
    predict = predictor(TorchEngine(network, spec))
    summaries = score(predict, pictures(config, request), request.protocol, sheet)
    folder = Path(given.get('folder', f'{config.output}/evaluation'))
    folder.mkdir(parents=True, exist_ok=True)
    stem = request.data if request.data == HELD_OUT else f'{request.data}_{request.split}'
    (folder / f'{stem}.json').write_text(json.dumps(summaries, indent=1))
    sheet.write(folder / f'{stem}.jpg')
    protocol = ', '.join(f'{k} {v}' for k, v in dataclasses.asdict(request.protocol).items())
    Console().print(as_table(f'{stem}: {protocol}', summaries))
    log.info('written to %s', folder)
    return summaries
