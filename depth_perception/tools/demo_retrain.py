"""The demo of retraining: a robot comes into a building that its model has never seen.

A simulated robot drives through rooms of another style and records them; the recordings become a
data set, the model is fine-tuned on it, exported and installed by the commands that a user would
type, and a depth node that is at work takes the new model without a stop. Rooms for training, for
choosing the checkpoint and for testing are different ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
import json
import os
from pathlib import Path
import shutil
import subprocess
import sys
import time

import rclpy
from rich.console import Console
from rich.table import Table

from depth_perception import inference
from depth_perception.inference.verify import verify
from depth_perception.model_spec import find_model, read_spec
from depth_perception.scene_styles import find_style
from depth_perception.tools.demo import adopt
from depth_perception.tools.demo_report import write_summary
from depth_perception.tools.demo_retrain_record import (
    FIRST_SEEDS,
    MOST_ROOMS,
    NAMESPACE,
    TOPICS,
    RetrainError,
    keep_one,
    record,
)
from depth_perception.tools.demo_retrain_swap import Swap, draw, swap
from depth_perception.tools.processes import (
    graph_environment,
    interrupted_by_sigterm,
    run_command,
)

LARGEST_DIFFERENCE = 0.01       # of what the node publishes from what its model gives
OLD_ROW = 'procedural rooms'    # the held-out rooms that the first training was scored on
REPOSITORY = Path(__file__).resolve().parents[2]
RECIPE = 'training/configs/finetune.yaml'


@dataclass(frozen=True)
class Plan:
    """How much is recorded and trained.

    Attributes
    ----------
    model, name : str
        The model to start from, and that of the new one.
    style : str
        Of the rooms (scene_styles.STYLES).
    rooms : dict
        How many for train, val and test.
    frames : int
        Recorded in each room.
    max_rate : float
        Frames a second of them that training.data.prepare keeps.
    settings : tuple of str
        ``key=value`` for the recipe.
    """

    model: str
    name: str = 'retrained'
    style: str = 'arcade'
    rooms: dict[str, int] = field(
        default_factory=lambda: {'train': 40, 'val': 4, 'test': 8})
    frames: int = 80
    max_rate: float = 4.0
    settings: tuple[str, ...] = ()


@interrupted_by_sigterm()
def run(plan: Plan, output: Path) -> int:
    """Run all steps and return the exit status.

    Leaves ``summary.json`` in `output`, and in a folder ``retrain`` a bag of each split, the data
    set, the training run, the new model and a picture of before and after.

    Raises
    ------
    ModelError, SceneError
        There is no such model or style.
    RetrainError
        A step failed. What the models were measured to be is in ``summary.json`` by then, if the
        change of the model was all that failed.
    """
    start_model = find_model(plan.model).resolve()  # says what is missing before anything starts
    find_style(plan.style)
    if not (REPOSITORY / RECIPE).is_file():
        raise RetrainError('retraining needs the folder training/ of a checkout, which is not '
                           'installed with the nodes; run make demo-retrain there')
    console = Console(width=max(124, Console().width))
    folder = output.resolve() / NAMESPACE
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # The user's own models stay as they are.
    os.environ['XDG_DATA_HOME'] = str(folder / 'data_home')
    adopt(graph_environment())
    rclpy.init()
    try:
        result = _retrain(plan, start_model, folder, console)
        # Now: what follows may fail, and this took long to measure.
        write_summary(folder.parent / 'summary.json', NAMESPACE, result)
        show(console, result)
        taken = _timed(result['seconds'], 'swap', lambda: swap(
            start_model, plan.name, plan.style, FIRST_SEEDS['test'], NAMESPACE, console))
    finally:
        rclpy.try_shutdown()
    _tell_swap(taken, result, plan, start_model, folder, console)
    console.print(f'Bags, model and pictures: [bold]{folder}/[/]')
    return 0


def _tell_swap(taken: Swap, result: dict, plan: Plan, start_model: Path, folder: Path,
               console: Console) -> None:
    """Check, write, print and draw how the depth node took the new model."""
    if not taken.difference < LARGEST_DIFFERENCE:
        raise RetrainError(f'after the change the depth node published depth that is off from the '
                           f'new model by {100 * taken.difference:.1f} %')
    result['swap'] = {key: value for key, value in asdict(taken).items() if key != 'frames'}
    write_summary(folder.parent / 'summary.json', NAMESPACE, result)
    show_swap(console, taken)
    draw(taken, start_model, find_model(plan.name), folder / 'before_after.jpg')


def _retrain(plan: Plan, start_model: Path, folder: Path, console: Console) -> dict:
    """Record, train, install and compare; return what goes into the summary."""
    seconds: dict[str, float] = {}
    bags = _timed(seconds, 'record', lambda: record(
        plan.style, plan.rooms, plan.frames, folder / 'bags', console))
    _timed(seconds, 'prepare', lambda: prepare(plan, bags, folder, console))
    keep_one(bags)
    found = _timed(seconds, 'fine_tune', lambda: fine_tune(plan, start_model, folder, console))
    model = _timed(seconds, 'export', lambda: export(plan, folder, console))
    verdict = check(model)
    old = _timed(seconds, 'compare', lambda: compare(start_model, model, folder, console))
    return summary(plan, start_model, found, old, verdict, seconds)


def _timed(seconds: dict[str, float], step: str, work):
    start = time.monotonic()
    result = work()
    seconds[step] = round(time.monotonic() - start, 1)
    return result


def prepare(plan: Plan, bags: dict[str, list[Path]], folder: Path, console: Console) -> None:
    """Make the data set: whole rooms for each split."""
    for split, paths in bags.items():
        _step(console, folder, f'prepare_{split}', 'training.data.prepare', *map(str, paths),
              '-o', str(folder / 'dataset'), '--split', split, '--depth-topic', TOPICS[2],
              '--max-rate', str(plan.max_rate))


def fine_tune(plan: Plan, model: Path, folder: Path, console: Console) -> dict:
    """Fine-tune, and return how the models compare on the test rooms."""
    _step(console, folder, 'fine_tune', 'training.train', RECIPE, f'init={model}',
          f"data={folder / 'dataset'}", f"output={folder / 'run'}", *plan.settings)
    return json.loads((folder / 'run' / 'before_after.json').read_text())


def export(plan: Plan, folder: Path, console: Console) -> Path:
    """Export and install the new model; it may be worse, which the table then tells."""
    _step(console, folder, 'export', 'training.export', str(folder / 'run' / 'phase1.ckpt'),
          '--install', plan.name, 'force=true')
    return find_model(plan.name)


def check(model: Path) -> str:
    """Verify the installed model as the robot's engine runs it, and say what came of it.

    Raises
    ------
    RetrainError
        It gives other depth than its file says.
    """
    engine, reference = inference.load(str(model)), inference.load(str(model), backend='cpu')
    try:
        verdict = verify(engine, reference, 'fp32')
    finally:
        engine.close()
        reference.close()
    if not verdict.accepted:
        raise RetrainError(f'{model}: {verdict}')
    return str(verdict)


def compare(before: Path, after: Path, folder: Path, console: Console) -> dict:
    """Compare the models on the held-out rooms of the first training."""
    file = folder / 'old_rooms.json'
    _step(console, folder, 'compare', 'training.compare_models', str(before), str(after),
          f'rows={OLD_ROW}', f'output={file}')
    return json.loads(file.read_text())[OLD_ROW]


def _step(console: Console, folder: Path, name: str, module: str, *arguments: str) -> None:
    """Run a command of the training package as a user would; its output goes into a file."""
    console.print(f'[dim]python -m {module} '
                  f'{" ".join(x.replace(str(folder), NAMESPACE) for x in arguments)}[/]',
                  soft_wrap=True, highlight=False)
    log = folder / f'{name}.log'
    with open(log, 'w') as file:
        status = run_command([sys.executable, '-m', module, *arguments], cwd=REPOSITORY,
                             stdout=file, stderr=subprocess.STDOUT)
    if status:
        tail = '\n'.join(log.read_text(errors='replace').splitlines()[-8:])
        raise RetrainError(f'{module} ended with status {status}; the end of {log}:\n'
                           f'{tail}')


def summary(plan: Plan, model: Path, found: dict, old: dict, verdict: str,
            seconds: dict[str, float]) -> dict:
    """What goes under ``retrain`` into summary.json, but for the change of the model."""
    new, held = found['held_out'], read_spec(model)
    before, after = new['before'], new['after']
    return {
        'model': held.name, 'new_model': plan.name, 'style': plan.style,
        'rooms': plan.rooms, 'frames_tested': new['frames'],
        'abs_rel_before': before['abs_rel'], 'abs_rel_after': after['abs_rel'],
        'abs_rel_median_depth': new['median_depth']['abs_rel'],
        'delta1_before': before['delta1'], 'delta1_after': after['delta1'],
        'gain': found['gain'],
        'old_frames': old['frames'],
        'old_abs_rel_before': old['before']['abs_rel'],
        'old_abs_rel_after': old['after']['abs_rel'],
        'forgetting': old['after']['abs_rel'] / old['before']['abs_rel'] - 1,
        'verification': verdict,
        'seconds': seconds,
    }


def show(console: Console, result: dict) -> None:
    """Print the table of the two models."""
    table = Table(title=f"retraining: rooms of style {result['style']}, never seen before")
    for column in ('AbsRel on', 'frames', 'before', 'after', 'change', 'median depth'):
        table.add_column(column, justify='left' if column == 'AbsRel on' else 'right')
    table.add_row('new rooms, held out', str(result['frames_tested']),
                  f"{result['abs_rel_before']:.3f}", f"{result['abs_rel_after']:.3f}",
                  f"{-100 * result['gain']:+.0f} %", f"{result['abs_rel_median_depth']:.3f}")
    table.add_row('old rooms, held out', str(result['old_frames']),
                  f"{result['old_abs_rel_before']:.3f}", f"{result['old_abs_rel_after']:.3f}",
                  f"{100 * result['forgetting']:+.0f} %", '')
    console.print(table)


def show_swap(console: Console, taken: Swap) -> None:
    """Print how the depth node took the new model."""
    console.print(f'the depth node took the new model after {taken.seconds:.1f} s; longest time '
                  f'without depth {taken.longest_gap_ms:.0f} ms, {taken.usual_gap_ms:.0f} ms '
                  'before')


def rooms_of(text: str) -> dict[str, int]:
    """Read ``TRAIN,VAL,TEST``; ValueError where these are not three numbers of 1 to MOST_ROOMS."""
    parts: Sequence[str] = text.split(',')
    if len(parts) != 3 or not all(x.isdigit() and 0 < int(x) <= MOST_ROOMS for x in parts):
        raise ValueError(f'rooms is {text!r}; give three numbers of 1 to {MOST_ROOMS}: '
                         'TRAIN,VAL,TEST')
    return dict(zip(FIRST_SEEDS, map(int, parts)))
