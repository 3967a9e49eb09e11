"""Train a paper's comparison at small scale: ``python -m training.reproduce NAME key=value ...``.

NAME is realtime_unet, eigen, unetpp, spark, dfdnet or spt (which is spt_table3, spt_table5 and
what attention costs), or scenes: how the shipped model's recipe gains by more scenes. Every cell
of the comparison is trained for the same time with every seed, from
training/configs/reproduce_NAME.yaml, and scored on the val split. Each finished cell is one JSON
file in `output`: started again, the command goes on from there. In the end `output` holds
results.json, results.md and sheet.jpg, and what is claimed is judged.

keys: minutes_per_run=3  seeds=3  output=runs/reproduce/NAME  imagenet=FILE (unetpp)
      pretrain.KEY=value for training/configs/reproduce_pretrain.yaml
      any other key overrides reproduce_NAME.yaml, such as data.workers=2
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import dataclasses
import json
import logging
from pathlib import Path

from rich.console import Console
import yaml

from training.attention_cost import write_attention_cost
from training.checkpoint import CheckpointError
from training.comparison_report import Results, write_report
from training.comparison_runs import (
    Setup,
    config_of,
    imagenet_encoder,
    pretraining_of,
    run_cell,
    time_cell,
    write_json,
)
from training.comparisons import COMPARISONS, GROUPS, IMAGENET, Cell
from training.config import ConfigError, load_config, typed_value
from training.data import DataError, SplitError
from training.data.root import sentence
from training.pretrain import build_spark
from training.pretrain_config import load_pretrain_config
from training.registry import check
from training.scene_curve import write_scene_curve
from training.task import TrainingError

CONFIGS = Path(__file__).parent / 'configs'
OWN_KEYS = {'minutes_per_run': float, 'seeds': int, 'output': str, 'imagenet': str}
SET_HERE = ('name', 'init', 'resume', 'phases.0.minutes', 'phases.0.stage')
PRETRAIN = 'pretrain.'
# Called with the output folder and the console.
MEASURED_AFTER = {'spt': write_attention_cost, 'scenes': write_scene_curve}

log = logging.getLogger(__name__)


def read_setup(name: str, overrides: Sequence[str] = ()) -> tuple[Setup, int]:
    """Read the configs of comparison `name`.

    Returns
    -------
    Setup, int
        And how many seeds.

    Raises
    ------
    ConfigError
        Unknown comparison or key, a value of the wrong type or range, more than one device.
    """
    if name not in COMPARISONS:
        raise ConfigError(f"comparison {name!r} does not exist; choose one of "
                          f"{', '.join([*COMPARISONS, *GROUPS])}")
    own, pretraining, others = _sorted(overrides)
    minutes, seeds = own.get('minutes_per_run', 3.0), own.get('seeds', 3)
    for key, value in (('minutes_per_run', minutes), ('seeds', seeds)):
        if not value > 0:
            raise ConfigError(f'{key} is {value}; it must be above 0')
    recipe = COMPARISONS[name].recipe or name
    setup = Setup(
        comparison=COMPARISONS[name],
        base=load_config(CONFIGS / f'reproduce_{recipe}.yaml', others),
        pretraining=load_pretrain_config(CONFIGS / 'reproduce_pretrain.yaml', pretraining),
        minutes=minutes,
        output=Path(own.get('output', f'runs/reproduce/{recipe}')),
        imagenet=own.get('imagenet', ''),
    )
    _check(setup, others)
    return setup, seeds


def _sorted(overrides: Sequence[str]) -> tuple[dict, list[str], list[str]]:
    own, pretraining, others = {}, [], []
    for text in overrides:
        key, _, value = text.partition('=')
        if key in OWN_KEYS:
            read = value if OWN_KEYS[key] is str else yaml.safe_load(value)
            own[key] = typed_value(OWN_KEYS[key], read, key)
        elif key.startswith(PRETRAIN):
            pretraining.append(text.removeprefix(PRETRAIN))
        else:
            others.append(text)
    return own, pretraining, others


def _check(setup: Setup, overrides: Sequence[str]) -> None:
    fixed = [*SET_HERE, *(['model'] if any(x.model for x in setup.cells) else [])]
    for text in overrides:
        if text.partition('=')[0] in fixed:
            raise ConfigError(f'{text!r}: each cell has its own; it cannot be chosen here')
    trainer = setup.base.trainer
    if trainer.devices * trainer.nodes > 1:
        raise ConfigError(f'trainer.devices is {trainer.devices} and trainer.nodes is '
                          f'{trainer.nodes}; cells are compared on one device: leave both at 1')
    if len(setup.base.phases) != 1:
        raise ConfigError(f'phases has {len(setup.base.phases)} entries; give one, the cells of '
                          'the comparison decide how it is divided')
    if setup.imagenet and not any(x.start == IMAGENET for x in setup.comparison.cells):
        raise ConfigError(f'imagenet is {setup.imagenet}, but no cell of {setup.comparison.name} '
                          'starts from it; leave it out')
    for cell in setup.cells:
        check(config_of(setup, cell, setup.base.seed))
        if cell.is_pretrained:
            build_spark(pretraining_of(setup, cell.start, setup.base.seed))


def reproduce(setup: Setup, seeds: int, console: Console) -> Results:
    """Train what is not yet trained, score it, write the report; see the module's text.

    Raises
    ------
    ConfigError
        `output` holds cells made with other settings.
    CheckpointError, DataError, SplitError, TrainingError
        As :func:`training.train.train`.
    """
    _keep_settings(setup)
    if setup.imagenet:
        imagenet_encoder(setup)  # a wrong file is told before hours of training
    console.print(plan(setup, seeds), markup=False, soft_wrap=True)
    pairs = _pairs(setup, seeds)
    runs = []
    for number, (cell, seed) in enumerate(pairs, start=1):
        log.info('%d of %d: %s, seed %d', number, len(pairs), cell.label, seed)
        runs.append(run_cell(setup, cell, seed))
    speeds = {}
    if setup.comparison.is_timed:
        speeds = {cell.name: time_cell(setup, cell) for cell in setup.cells}
    return write_report(setup, runs, speeds, console)


def reproduce_all(name: str, overrides: Sequence[str], console: Console) -> None:
    """Run the comparison `name`, or those of the group, and what is measured after them.

    Raises
    ------
    ConfigError, CheckpointError, DataError, SplitError, TrainingError
        As :func:`read_setup` and :func:`reproduce`.
    """
    plans = [read_setup(part, overrides) for part in GROUPS.get(name, (name,))]
    for setup, seeds in plans:
        reproduce(setup, seeds, console)
    if name in MEASURED_AFTER:
        MEASURED_AFTER[name](setup.output, console)


def _pairs(setup: Setup, seeds: int) -> list[tuple[Cell, int]]:
    # Seed by seed, so that a run that is broken off has compared all cells.
    first = setup.base.seed
    return [(cell, seed) for seed in range(first, first + seeds) for cell in setup.cells]


def _keep_settings(setup: Setup) -> None:
    # What every cell of `output` was made with; seeds may be added later.
    path = setup.output / 'settings.json'
    content = {
        'minutes_per_run': setup.minutes, 'imagenet': setup.imagenet,
        'base': dataclasses.asdict(setup.base) | {'output': ''},
        'pretrain': dataclasses.asdict(setup.pretraining),
    }
    content = json.loads(json.dumps(content))  # tuples become lists, as in the file
    if not path.exists():
        write_json(path, content)
        return
    old, new = _flat(json.loads(path.read_text())), _flat(content)
    changed = [f'{key} is {new.get(key)}, was {old.get(key)}'
               for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    if changed:
        raise ConfigError(f"{setup.output} holds cells made otherwise: {'; '.join(changed)}; "
                          'give the old settings, or another output=')


def _flat(tree: dict, where: str = '') -> dict[str, object]:
    items: dict[str, object] = {}
    for key, value in tree.items():
        items |= _flat(value, f'{where}{key}.') if isinstance(value, dict) else {
            f'{where}{key}': value}
    return items


def plan(setup: Setup, seeds: int) -> str:
    """Say what will be trained, and for how long."""
    cells, pairs = setup.cells, _pairs(setup, seeds)
    left = [pair for pair in pairs if not setup.record(*pair).exists()]
    started = {(x.start, seed) for x, seed in pairs if x.is_pretrained}
    left_to_start = [x for x in started
                     if not (setup.output / f'pretrain_{x[0]}_seed{x[1]}.json').exists()]
    total = setup.minutes * (len(pairs) + len(started))
    to_go = setup.minutes * (len(left) + len(left_to_start))
    lines = [f'{setup.comparison.name}: {setup.comparison.paper}',
             f"{len(cells)} cells x {_counted(seeds, 'seed')} x {setup.minutes:g} minutes"
             + (f", and {_counted(len(started), 'pre-training')} of as long" if started else '')
             + f': {total:g} minutes of training in all.']
    lines += [f'  {cell.label}' for cell in cells]
    lines.append(f'{len(pairs) - len(left)} of {len(pairs)} are finished; {to_go:g} minutes of '
                 'training are left. Rendering, scoring and timing come on top.')
    return '\n'.join(lines)


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def main(argv: Sequence[str] | None = None) -> None:
    """Reproduce as the command line says."""
    parser = argparse.ArgumentParser(
        prog='python -m training.reproduce', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('comparison', help=', '.join([*COMPARISONS, *GROUPS]))
    parser.add_argument('overrides', nargs='*', metavar='key=value')
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format='%(levelname)s %(name)s: %(message)s')
    try:
        reproduce_all(arguments.comparison, arguments.overrides, Console())
    except (ConfigError, CheckpointError, DataError, SplitError, TrainingError) as error:
        raise SystemExit(f'error: {sentence(error)}') from error


if __name__ == '__main__':
    main()
