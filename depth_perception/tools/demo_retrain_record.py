"""A simulated robot drives through rooms and records a bag in each, through live nodes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
import shutil

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from depth_perception.tools.observer import Observer
from depth_perception.tools.processes import NodeProcess
from depth_perception.tools.recorder import BagRecorder

NAMESPACE = 'retrain'
TOPICS = tuple(f'/{NAMESPACE}/{name}' for name in ('image', 'camera_info', 'ground_truth/depth'))
# Of the rooms: far apart, and apart from those of training/configs/splits.yaml.
FIRST_SEEDS = {'train': 710_000, 'val': 711_000, 'test': 712_000}
MOST_ROOMS = 1000  # of a split: the next number is of another
CAMERA = {'width': 320, 'height': 240, 'rate_hz': 20.0}
START_TIMEOUT_S, RECORD_TIMEOUT_S = 60.0, 120.0


class RetrainError(RuntimeError):
    """A step of the demo that failed; the text says which, and what it said."""


def record(style: str, rooms: Mapping[str, int], frames: int, folder: Path,
           console: Console) -> dict[str, list[Path]]:
    """Drive through so many rooms for each split; return the bags by split."""
    folder.mkdir(parents=True)
    bags: dict[str, list[Path]] = {}
    columns = (SpinnerColumn(), TextColumn('{task.description}'), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task('')
        for split, count in rooms.items():
            for number in range(count):
                progress.update(task, description=f'recording {split} room {number + 1} of '
                                                  f'{count}')
                seed = FIRST_SEEDS[split] + number
                bags.setdefault(split, []).append(
                    record_room(style, seed, frames, folder / f'{split}_{seed}'))
    return bags


def record_room(style: str, seed: int, frames: int, bag: Path) -> Path:
    """Record one drive through a room: pictures, camera and true depth.

    Raises
    ------
    RetrainError
        The camera node ends, or gives too little.
    """
    camera = CAMERA | {'source': f'scene:{style}', 'seed': seed}
    observer = Observer('retrain_observer')
    try:
        with NodeProcess('camera_node', NAMESPACE, camera) as node:
            if not observer.spin(START_TIMEOUT_S, lambda: _is_up(node, observer)):
                raise RetrainError(f'room {seed}: the camera node does not publish')
            recorder = BagRecorder(observer.node, bag, list(TOPICS), frames)
            try:
                done = observer.spin(RECORD_TIMEOUT_S, recorder.done)
            finally:
                recorder.close()
    finally:
        observer.close()
    if not done:
        raise RetrainError(f'room {seed}: only {min(recorder.counts.values())} of {frames} frames '
                           f'came in {RECORD_TIMEOUT_S:g} s')
    return bag


def _is_up(node: NodeProcess, observer: Observer) -> bool:
    node.check_alive()
    return all(observer.node.get_publishers_info_by_topic(topic) for topic in TOPICS)


def keep_one(bags: Mapping[str, list[Path]]) -> None:
    """Remove all bags but the first of each split: the data set holds what they told."""
    for paths in bags.values():
        for path in paths[1:]:
            shutil.rmtree(path)
