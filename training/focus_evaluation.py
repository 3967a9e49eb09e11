"""Measure a model for focus stacks beside the single-image model of its size, on held-out scenes.

``python -m training.evaluate CONFIG [model=FILE.onnx] [single=FILE.onnx] [folder=DIR]
[f_number=2.8] [pictures=64]``, where CONFIG trains a network for focus stacks. Both files default
to those in depth_perception/models; a checkpoint of training.train does as well. What is scored:

- rooms of the test seeds of splits.yaml with held-out furniture, rendered in focus and then
  blurred by training/focus_render.py, as in training;
- Bitterli's rooms through Mitsuba's own thin lens (training/data/thin_lens.py), room by room.

Four columns: the stack; two controls, which a model that reads defocus must fail: copies of the
all-in-focus image, and the stack's focus distances in another order; and the single-image model
on the all-in-focus image. Writes evaluation.json and one picture sheet a row into `folder`, with
the stacks of the data set focus_stacks beside them, and the accuracy into the model's contract.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
import dataclasses
import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
import torch

from depth_perception.estimator import DepthEstimator
from depth_perception.focus_estimator import FocusStackEstimator
from depth_perception.geometry import Intrinsics
from depth_perception.inference import load
from depth_perception.metrics import depth_metrics
from depth_perception.model_contract import ModelError
from depth_perception.model_spec import read_spec, write_spec
from depth_perception.optics import LOWER_DIOPTRE, UPPER_DIOPTRE, focus_distances
from training.arguments import SUFFIX
from training.checkpoint import load_model
from training.config import Config, ConfigError, config_from, refuse_unknown, typed_value
from training.contract import model_spec
from training.data import DataError, evaluation, mitsuba, thin_lens
from training.data.focus import FocusOptions, blur_scale, chosen_options
from training.data.render import fit_to
from training.data.root import dataset_folder
from training.data.splits import Entry
from training.focus_report import (
    COPIES,
    HELD_OUT,
    METRICS,
    ROOMS,
    SHUFFLED,
    SINGLE,
    STACK,
    WHO,
    accuracy,
    summarise,
    write_report,
)
from training.focus_sheet import FocusSheet, draw_real_stacks
from training.stacks import as_images
from training.torch_engine import TorchEngine

log = logging.getLogger(__name__)

KEYS = ('model', 'single', 'folder', 'f_number', 'pictures')
MODELS = Path('depth_perception/models')
SIZE = (240, 320)  # of the camera; the models scale it to their own
FRAMES = 5
SHEET_LINES = 8


class Sample(NamedTuple):
    """One scene: images (N, H, W, 3) uint8 RGB focused at focus_m (N,), and in focus; truth."""

    images: np.ndarray
    focus_m: np.ndarray
    image: np.ndarray
    depth: np.ndarray
    intrinsics: Intrinsics
    name: str


class Estimators(NamedTuple):
    """Both models, ready to run."""

    stack: FocusStackEstimator
    single: DepthEstimator


def protocol_focus(frames: int = FRAMES) -> np.ndarray:
    """Focus distances of every scored stack: even blur, between the middles of the paper's ranges.

    The same for all scenes, so that they cannot tell the scale of any.
    """
    return focus_distances(frames, sum(LOWER_DIOPTRE) / 2, sum(UPPER_DIOPTRE) / 2)


def held_out_rooms(
    entries: Iterable[Entry], chosen: FocusOptions, f_number: float, count: int
) -> Iterator[Sample]:
    """Give the first `count` rooms of test entries, blurred as in training, without noise."""
    samples = (fit_to(sample, *SIZE) for e in entries for sample in evaluation.samples(e))
    focus_m = protocol_focus()
    for _, sample in zip(range(count), samples):
        camera = sample['intrinsics']
        scale = blur_scale(f_number, chosen.lens, camera.focal_px, *SIZE)
        item = {
            'image': torch.from_numpy(sample['image'].transpose(2, 0, 1).copy()),
            'depth': torch.from_numpy(sample['depth']),
            'focal_px': torch.tensor(camera.focal_px),
            'focus_distances': torch.from_numpy(focus_m.astype(np.float32)),
            'blur_scale': torch.tensor(scale, dtype=torch.float32), 'noise': torch.tensor(0.0),
            'psf': chosen.psf, 'occlusion': chosen.occlusion, 'gamma': chosen.gamma,
        }
        images, _ = as_images(item)
        yield Sample(images, focus_m, sample['image'], sample['depth'], camera, sample['name'])


def mitsuba_rooms(entries: Iterable[Entry], f_number: float) -> Iterator[Sample]:
    """Give each of Bitterli's rooms once, from its author's view, through Mitsuba's thin lens."""
    focus_m = protocol_focus()
    for entry in entries:
        # in focus and with truth; its first view is the author's own
        sample = next(evaluation.samples(entry))
        images = thin_lens.stack_of(entry, dataset_folder(mitsuba.DATASET), focus_m, f_number)
        yield Sample(images, focus_m, sample['image'], sample['depth'], sample['intrinsics'],
                     entry.scene)


def shuffled(focus_m: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same distances in an order in which none stays at its place."""
    while True:
        order = rng.permutation(len(focus_m))
        if (order != np.arange(len(focus_m))).all():
            return focus_m[order]


def estimate(
    models: Estimators, sample: Sample, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Depth (H, W) metres of a scene in each of the four columns."""
    s, frames = sample, len(sample.images)
    runs: dict[str, Callable] = {
        STACK: lambda: models.stack(s.images, s.focus_m, s.intrinsics),
        COPIES: lambda: models.stack([s.image] * frames, s.focus_m, s.intrinsics),
        SHUFFLED: lambda: models.stack(s.images, shuffled(s.focus_m, rng), s.intrinsics),
        SINGLE: lambda: models.single(s.image, s.intrinsics),
    }
    return {who: run().depth.copy() for who, run in runs.items()}


def measure(models: Estimators, samples: Iterator[Sample], sheet: FocusSheet) -> list[dict]:
    """Score scenes that have truth: ``name``, and for each of WHO its METRICS."""
    rng, found = np.random.default_rng(0), []
    for sample in samples:
        depths = estimate(models, sample, rng)
        scores = {who: depth_metrics(depth, sample.depth) for who, depth in depths.items()}
        if not np.isfinite(scores[STACK]['abs_rel']):
            continue
        found.append({'name': sample.name} | {
            who: {metric: float(x[metric]) for metric in METRICS} for who, x in scores.items()})
        sheet.add(sample.images, sample.depth, depths[STACK], depths[SINGLE])
        log.info('%s: %s', sample.name, ', '.join(
            f"{who} {scores[who]['abs_rel']:.3f}" for who in WHO))
    return found


def open_engine(path: Path, threads: int):
    """Open an ONNX file or a checkpoint.

    Raises
    ------
    ModelError, CheckpointError
        The file cannot be read.
    """
    if path.suffix != SUFFIX:
        return load(str(path), backend='cpu', threads=threads)
    network, trained = load_model(path)
    config = config_from(trained.config)
    spec = model_spec(config, network, ', '.join(trained.sources), trained.blur_scale_range)
    return TorchEngine(network, spec)


def open_models(stack: Path, single: Path, threads: int) -> Estimators:
    """Open both models.

    Raises
    ------
    ModelError, CheckpointError
        A file cannot be read, or is not of its kind.
    """
    one = open_engine(single, threads)
    if one.spec.frames != 1:
        raise ModelError(f'{single} takes {one.spec.frames} frames; single= names a model for '
                         'one image, trained on the same pictures')
    return Estimators(FocusStackEstimator(open_engine(stack, threads)), DepthEstimator(one))


def evaluate_focus(config: Config, given: Mapping[str, str]) -> dict[str, dict]:
    """Evaluate as the module's text says.

    Raises
    ------
    ConfigError, CheckpointError, DataError, ModelError
    """
    refuse_unknown(given, KEYS, '')
    if config.data.dataset != 'focus':
        raise ConfigError(f'data.dataset is {config.data.dataset}; held-out rooms are blurred as '
                          'in training, so give a config with data.dataset=focus')
    f_number = typed_value(float, given.get('f_number', '2.8'), 'f_number')
    count = typed_value(float, given.get('pictures', '64'), 'pictures')
    if not (f_number > 0 and count >= 1):
        raise ConfigError(f'f_number is {f_number} and pictures {count}; give more than 0, and at '
                          'least 1')
    model = Path(given.get('model', MODELS / f'{config.name}.onnx'))
    single = Path(given.get('single', MODELS / f'{config.name}_single.onnx'))
    folder = Path(given.get('folder', f'{config.output}/evaluation'))
    models = open_models(model, single, config.trainer.threads)
    chosen = chosen_options(config.data.options, 'test')
    folder.mkdir(parents=True, exist_ok=True)
    table = {}
    entries = evaluation.rows()
    for row, samples in (
        (HELD_OUT, held_out_rooms(entries.get(HELD_OUT, ()), chosen, f_number, int(count))),
        (ROOMS, _available_rooms(entries.get(ROOMS, ()), f_number)),
    ):
        sheet = FocusSheet(SHEET_LINES)
        scenes = measure(models, samples, sheet)
        if scenes:
            table[row] = summarise(scenes)
            sheet.write(folder / f'{row}.jpg')
    draw_real_stacks(models.stack, folder / 'focus stacks.jpg')
    write_report(table, folder, Console())
    if model.suffix != SUFFIX:
        write_spec(model, dataclasses.replace(read_spec(model), accuracy=accuracy(table)))
    return table


def _available_rooms(entries: Iterable[Entry], f_number: float) -> Iterator[Sample]:
    try:
        yield from mitsuba_rooms(entries, f_number)
    except DataError as error:  # Mitsuba is not installed: the other row counts nevertheless
        log.warning('no row for %s: %s', ROOMS, error)
