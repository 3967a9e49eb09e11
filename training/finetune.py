"""Fine-tune a model: ``python -m training.train training/configs/finetune.yaml data=… init=…``.

First the decoder alone learns, then the whole network, each until a held-out block of the data
set gets no better; a share of the pictures is from the first training, so that it is not
forgotten. Then the model and what it started from are compared on the data set's own test frames
(where it has none: on those of the held-out block), and training.export refuses a model that
became worse.

A data set of bags without depth is labelled by the model itself first (training.self_label), and
what neighbouring pictures show decides instead of measured depth (training.self_task).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import dataclasses
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from training.before_after import (
    AFTER,
    BEFORE,
    as_table,
    change,
    compare,
    compare_pictures,
    terminal,
)
from training.checkpoint import (
    CheckpointError,
    add_to_checkpoint,
    load_init,
    load_model,
    read_checkpoint,
)
from training.config import Config, ConfigError, load_config
from training.contract import model_spec
from training.data import DataError, SplitError, baselines
from training.data.bag import is_set, open_set
from training.data.bag_writer import MANIFEST
from training.data.root import sentence
from training.data.self_labelled import DESCRIPTION as LABELS
from training.data.self_labelled import SELF_LABELLED
from training.data.splits import SPLITS
from training.data_module import thinned
from training.finetune_config import FineTune, kind_of, resolve
from training.provenance import Start, commit, read_start
from training.registry import build_data, build_network, check
from training.self_label import label
from training.self_task import PHOTOMETRIC
from training.task import TrainingError
from training.torch_engine import TorchEngine
from training.train import train

log = logging.getLogger(__name__)

BASELINE_SAMPLES = 100
OF_A_BAG = ('name', 'fingerprint', 'kind', 'topics', 'pictures')


def finetune(settings: FineTune, recipe: str) -> Path:
    """Train and compare; return the checkpoint, which holds the comparison.

    `recipe` is the name of the file that `settings` come from, for the provenance.

    Raises
    ------
    ConfigError, CheckpointError, DataError, SplitError, TrainingError
        As `training.train.train`.
    """
    start = read_start(settings.init)
    kind, root = source(settings, start)
    told = {'recipe': recipe, 'started_from': start.told, 'commit': commit(),
            'data': describe(settings.data, kind, root)}
    config = resolve(settings, start, kind, root, told)
    check(config)
    if config.resume:
        check_resumed(config)
    checkpoint = train(config)
    found = measure(config, checkpoint, settings.held_out)
    add_to_checkpoint(checkpoint, comparison=found)
    (Path(config.output) / 'before_after.json').write_text(json.dumps(found, indent=1))
    show(found)
    return checkpoint


def check_resumed(config: Config) -> None:
    """Refuse to go on with what was begun with another model or other data.

    Its checkpoints say what they come from, and the comparison would be with something else.

    Raises
    ------
    ConfigError
    """
    for path in sorted(Path(config.output).glob('phase*/last.ckpt')) + sorted(
            Path(config.output).glob('phase*.ckpt')):
        had = read_checkpoint(path).config.get('provenance', {})
        for key, what in (('started_from', f'init={config.init}'), ('data', 'the data')):
            if had.get(key) != config.provenance[key]:
                raise ConfigError(f'{path} was not begun with {what} as it is now; name another '
                                  'output, or leave model and data as they were')


def source(settings: FineTune, start: Start) -> tuple[str, str]:
    """Return the name and the folder of what is trained on, labelled by the model if need be."""
    kind = kind_of(settings.data)
    if kind != 'bag':
        return kind, settings.data
    opened = open_set(settings.data)
    if 'depth' in opened.kinds:
        return kind, settings.data
    if 'colour' not in opened.kinds:
        raise DataError(f'{settings.data} holds {", ".join(opened.kinds) or "nothing"}; '
                        'fine-tuning needs pictures of one camera, with depth or without')
    output = Path(settings.output) / 'labels'
    log.info('%s has no depth: %s labels it, into %s', settings.data, start.name, output)
    videos = {split: opened.video(split) for split in SPLITS}
    label(videos, teacher(start), output, {'name': Path(settings.data).resolve().name,
                                           'manifest_sha256': _manifest_sha256(settings.data)})
    return SELF_LABELLED, str(output)


def teacher(start: Start) -> TorchEngine:
    """Run the model that a fine-tuning starts from."""
    network = build_network(start.config.model, start.config.model_options)
    load_init(network, start.weights)
    spec = model_spec(start.config, network, start.told['training_data'])
    return TorchEngine(network.eval(), dataclasses.replace(
        spec, name=start.name, weights_sha256=start.told.get('weights_sha256', '')))


def describe(folder: str, kind: str, root: str) -> dict[str, Any]:
    """Tell of a data set what a contract keeps: name, kind of labels, and its recordings."""
    told: dict[str, Any] = {'name': Path(folder).resolve().name, 'kind': kind,
                            'labels': 'measured'}
    if kind == SELF_LABELLED:
        labels = json.loads((Path(root) / LABELS).read_text())
        told |= {key: labels[key] for key in ('labels', 'counts', 'with_neighbours')}
    if is_set(folder):
        opened = open_set(folder)
        bags = [{key: bag[key] for key in OF_A_BAG if key in bag} for bag in opened.bags]
        told |= {'bags': bags, 'frames': opened.counts,
                 'manifest_sha256': _manifest_sha256(folder)}
    return told


def _manifest_sha256(folder: str) -> str:
    return hashlib.sha256((Path(folder) / MANIFEST).read_bytes()).hexdigest()


def held_out(config: Config, count: int) -> tuple[str, Dataset]:
    """Return test frames of the new data set, or of its val block where it has no test frames."""
    phase = config.phases[-1]
    for split in ('test', 'val'):
        try:
            found = build_data(config, phase, split, augment=False)
        except (DataError, SplitError) as error:
            if split == 'val':
                raise
            log.info('no test frames, comparing on those that chose the checkpoint: %s', error)
        else:
            return split, thinned(found, count)
    raise AssertionError('val was returned or raised')


def measure(config: Config, checkpoint: Path, count: int) -> dict[str, Any]:
    """Compare a checkpoint with what it started from.

    Returns
    -------
    dict
        ``split``: what the frames of ``held_out`` are; ``held_out``: see
        training.before_after.compare; ``rehearsal``: the same of the first training's val
        pictures, where there was rehearsal; ``gain``, ``forgetting``: by what share AbsRel fell
        and rose on them; ``photometric``: of pictures without measured depth, how well neighbours
        fit (training.before_after.compare_pictures); ``worse`` and ``reason``: see `judge`.
    """
    before = build_network(config.model, config.model_options)
    load_init(before, config.init)
    networks = {BEFORE: before, AFTER: load_model(checkpoint)[0]}
    split, data = held_out(config, count)
    train_set = build_data(config, config.phases[-1], 'train', augment=False)
    median = baselines(getattr(train_set, 'new', train_set), BASELINE_SAMPLES).median
    found: dict[str, Any] = {'split': split,
                             'held_out': compare(config, networks, data, median)}
    if not found['held_out']['frames']:
        raise DataError(f'no {split} frame of {config.data.root} has depth; nothing can be '
                        'compared')
    found['gain'] = -change(found['held_out'])
    if config.photometric:
        found['photometric'] = compare_pictures(networks, data)
    found |= judge(found)
    if config.data.dataset == 'rehearsed':
        found['rehearsal'] = compare(config, networks, _rehearsal(config, count))
        found['forgetting'] = change(found['rehearsal'])
    return found


def judge(found: dict[str, Any]) -> dict[str, Any]:
    """Say whether a model became worse, and by what: measured depth, or neighbouring pictures."""
    what, metric, where = 'AbsRel', 'abs_rel', found['held_out']
    if 'photometric' in found:
        what, metric, where = 'the photometric error', PHOTOMETRIC, found['photometric']
        if not where['frames']:
            return {'worse': True, 'reason': 'no held-out picture has a neighbour that moved '
                    'enough, so that nothing tells whether it became better'}
    had, has = (where['without_prediction'][who] for who in (BEFORE, AFTER))
    if has > had:
        return {'worse': True, 'reason': f"{has} of {where['frames']} held-out frames get no "
                f'prediction, of what it started from {had}'}
    before, after = (where[who][metric] for who in (BEFORE, AFTER))
    # NaN is worse as well.
    return {'worse': not after <= before, 'reason': f"{what} on {where['frames']} held-out frames "
            f'is {after:.4f}, was {before:.4f}'}


def _rehearsal(config: Config, count: int) -> Dataset:
    # The val views of the first training: its test pictures decide nothing.
    data = dataclasses.replace(config.data, dataset='mixed', root='', options={})
    old = build_data(dataclasses.replace(config, data=data), config.phases[-1], 'val')
    return thinned(old, count)


def show(found: dict[str, Any]) -> None:
    """Print the tables of a comparison."""
    console = terminal()
    title = f"held-out frames ({found['split']})"
    if 'photometric' in found:
        title += ', against the labels of the model itself'
    console.print(as_table(title, found['held_out']))
    if found.get('photometric', {}).get('frames'):
        console.print(as_table('how well neighbouring pictures fit', found['photometric']))
    if found.get('rehearsal', {}).get('frames'):
        console.print(as_table('pictures of the first training', found['rehearsal']))
        console.print(f"forgetting: AbsRel there changed by {100 * found['forgetting']:+.1f} %")
    if found['worse']:
        log.warning('the model became worse than what it started from; training.export refuses it '
                    '(force=true exports it all the same)')


def main(argv: Sequence[str] | None = None) -> None:
    """Fine-tune as the command line says."""
    parser = argparse.ArgumentParser(prog='python -m training.train', description=__doc__)
    parser.add_argument('recipe', help='training/configs/finetune.yaml, or one of your own')
    parser.add_argument('settings', nargs='*', metavar='key=value',
                        help='data=DATASET init=MODEL, and whatever the recipe holds')
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format='%(levelname)s %(name)s: %(message)s')
    try:
        settings = load_config(arguments.recipe, arguments.settings, FineTune)
        checkpoint = finetune(settings, Path(arguments.recipe).name)
    except (ConfigError, CheckpointError, DataError, SplitError, TrainingError) as error:
        raise SystemExit(f'error: {sentence(error)}') from error
    print(checkpoint)


if __name__ == '__main__':
    main()
