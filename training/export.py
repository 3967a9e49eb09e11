"""Export a trained network: ``python -m training.export CONFIG [checkpoint=FILE] [folder=DIR]``.

``--install NAME`` puts it where nodes find it by that name: ``depth_perception/models`` in
$XDG_DATA_HOME, or in ~/.local/share. A fine-tuned model that is worse than what it started from
is refused unless ``force=true`` is given. ``size=384x512`` (height x width) makes a file for this
one size, in which what depends on the size alone is a constant: fewer operators, and none that
asks for a shape.

CONFIG may be the checkpoint itself, which holds its config. Writes NAME.onnx with its contract
inside, NAME.safetensors (weights as trained, for fine-tuning) and NAME.yaml (the training config).
The ONNX file is compared with torch on real frames before it is kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
import logging
import os
from pathlib import Path
import tempfile

import numpy as np
import safetensors.torch
import torch
from torch import nn
import yaml

from depth_perception.estimator import DepthEstimator
from depth_perception.focus_estimator import FocusStackEstimator
from depth_perception.inference import load
from depth_perception.model_spec import model_folders, write_spec
from depth_perception.sources import Frame, open_source
from training.arguments import parse
from training.checkpoint import Checkpoint, CheckpointError, load_model
from training.config import Config
from training.contract import model_spec
from training.data import DataError, evaluation
from training.data.splits import load_splits
from training.export_graph import ExportError, export_onnx, exportable, fix_size
from training.export_inputs import network_inputs, stack_of
from training.models.low_rank import merge_low_rank
from training.provenance import provenance, rounded, training_data

log = logging.getLogger(__name__)

TOLERANCE = 1e-4
FRAMES_COMPARED = 4


def frames(count: int = FRAMES_COMPARED) -> list[Frame]:
    """Pictures to try a model on: stored real ones, one of each test set under DATA_ROOT.

    Where there is none, views of a rendered room.
    """
    found = [Frame(s['image'], s['intrinsics'], None) for s in islice(_stored(), count)]
    if found:
        return found
    log.warning('no real frame is at hand (DATA_ROOT is not set, or holds no test set): '
                'comparing on rendered ones')
    with_depth = open_source('scene', width=320, height=240)
    try:
        return list(islice(iter(with_depth), count))
    finally:
        with_depth.close()


def _stored() -> Iterator[dict]:
    for entry in load_splits().select('test'):
        if entry.kind == 'real' and evaluation.available(entry):
            yield from islice(evaluation.samples(entry), 1)


def compare(network: nn.Module, path: Path, pictures: list[Frame]) -> float:
    """Largest difference of the ONNX file from `network` over `pictures`.

    Relative where the network gives more than 1. The file and torch both run on the CPU, in
    full float32: no TF32.

    Raises
    ------
    ExportError
        The difference is not below 1e-4.
    """
    whole, _ = exportable(network)
    engine = load(str(path), backend='cpu')
    worst = 0.0
    for picture in pictures:
        inputs = network_inputs(picture, engine.spec)
        with torch.inference_mode():
            given = whole(*map(torch.from_numpy, inputs.values()))
        maps = given if isinstance(given, tuple) else (given,)
        for expected, found in zip(maps, engine.infer(**inputs)):
            expected = expected[0, 0].numpy()
            difference = np.abs(found - expected) / np.maximum(1, np.abs(expected))
            worst = max(worst, float(difference.max()))
    engine.close()
    if not worst < TOLERANCE:
        raise ExportError(f'{path} differs from torch by {worst:.2g}; the limit is {TOLERANCE}')
    return worst


def run_once(path: Path, picture: Frame) -> None:
    """Run the exported file as a node would.

    Raises
    ------
    ExportError
        Some pixel got no depth.
    """
    engine = load(str(path), backend='cpu')
    if engine.spec.frames == 1:
        depth = DepthEstimator(engine)(picture.image, picture.intrinsics).depth
    else:
        stack = stack_of(picture, engine.spec)
        depth = FocusStackEstimator(engine)(*stack, picture.intrinsics).depth
    undefined = int(np.isnan(depth).sum())
    engine.close()
    if undefined:
        raise ExportError(f'{path} gives {undefined} of {depth.size} pixels no depth')


def check_gain(checkpoint: Path, trained: Checkpoint) -> None:
    """Refuse a fine-tuned model that is worse than what it started from, or was not compared.

    Raises
    ------
    ExportError
    """
    start = trained.config.get('provenance', {}).get('started_from')
    if start is None:
        return
    found = trained.comparison
    if found is None:
        raise ExportError(f'{checkpoint} was not yet compared with {start["name"]}, which it '
                          'started from; finish the fine-tuning with resume=true')
    if found['worse']:
        raise ExportError(f'{checkpoint} is worse than {start["name"]}, which it started from: '
                          f'{found["reason"]}; give force=true to export it all the same')


def export(
    config: Config, checkpoint: Path, folder: Path, size: tuple[int, int] | None = None,
    *, force: bool = False,
) -> Path:
    """Export `checkpoint` into `folder`, for one `size` if given, and return the ONNX file.

    A fine-tuned model that became worse is exported by `force` alone.

    Raises
    ------
    ExportError, CheckpointError
    """
    network, trained = load_model(checkpoint)
    weights = network.state_dict()  # as trained: low-rank matrices are of their own
    merge_low_rank(network)
    if trained.config['model'] != config.model:
        raise ExportError(f"{checkpoint} holds a {trained.config['model']}, the config is for "
                          f'{config.model}; give the config that it was trained with')
    if not force:
        check_gain(checkpoint, trained)
    if size:
        fix_size(network, size)
    pictures = frames()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'{config.name}.onnx'
    # Checked beside the target and then renamed: a failed export leaves the old model in place.
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        draft = Path(scratch) / path.name
        export_onnx(network, draft)
        spec = model_spec(config, network, training_data(trained), trained.blur_scale_range)
        write_spec(draft, replace(spec, accuracy=_accuracy(trained), provenance=provenance(
            trained.config, trained.comparison)))
        worst = compare(network, draft, pictures)
        run_once(draft, pictures[0])
        safetensors.torch.save_file(weights, draft.with_suffix('.safetensors'))
        draft.with_suffix('.yaml').write_text(yaml.safe_dump(trained.config, sort_keys=False))
        for suffix in ('.safetensors', '.yaml', '.onnx'):  # the model is found by the last
            os.replace(draft.with_suffix(suffix), path.with_suffix(suffix))
    log.info('%s: differs from torch by at most %.1e over %d pictures', path, worst,
             len(pictures))
    return path


def _accuracy(trained: Checkpoint) -> dict[str, dict[str, float]]:
    # What training.evaluate measures takes its place.
    if not trained.comparison:
        return {}
    name = trained.config['provenance']['data']['name']
    return {f'{name}, held out': rounded(trained.comparison['held_out']['after'])}


def _size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    height, _, width = text.partition('x')
    if not (height.isdigit() and width.isdigit()):
        raise ExportError(f'size is {text!r}; give height x width, such as size=384x512')
    return int(height), int(width)


def main(argv: list[str] | None = None) -> None:
    """Export as the command line says."""
    parser = argparse.ArgumentParser(prog='python -m training.export', description=__doc__)
    parser.add_argument('--install', metavar='NAME', default='')
    config, own = parse(parser, argv, ('checkpoint', 'folder', 'size', 'force'))
    last = Path(config.output) / f'phase{len(config.phases) - 1}.ckpt'
    try:
        config, folder = _target(config, own)
        path = export(config, Path(own.get('checkpoint', last)), folder,
                      _size(own.get('size', '')), force=own.get('force') == 'true')
    except (ExportError, CheckpointError, DataError) as error:
        raise SystemExit(f'error: {error}') from error
    print(path)


def _target(config: Config, own: dict[str, str]) -> tuple[Config, Path]:
    if not own.get('install'):
        return config, Path(own.get('folder', 'depth_perception/models'))
    name = own['install']
    if 'folder' in own or Path(name).name != name or Path(name).suffix:
        raise ExportError(f'--install {name}: give a plain name, such as kitchen, and no folder=')
    installed, shipped = model_folders()
    if (shipped / f'{name}.onnx').exists():
        log.warning('%s hides the model of this name that comes with the package', name)
    return replace(config, name=name), installed


if __name__ == '__main__':
    main()
