"""What the training framework costs, and whether its loaders keep their memory.

    PYTHONPATH=. python benchmarks/bench_training.py [steps=10] [rounds=3] [threads=2] [tiny=1]
                                                     [models=unet,unetpp18]

Throughput: images/s of each model under `training.train`'s task and trainer beside a bare torch
loop on the same stored batch, alternating, medians of `rounds`; same network, loss, optimiser and
precision. The trainer runs with its progress bar, its logs and the average of the weights; the
cost is given without that average, which the bare loop does not compute, and with it. tiny=1
takes each model's tiny net, whose steps are so short that they show the cost at its largest.

Memory: a loader with two workers over pictures that the benchmark writes into a folder, three
epochs; resident memory of the workers at the end of each. Writes benchmarks/results/training.json.
"""

from __future__ import annotations

from importlib import import_module
import json
import logging
from pathlib import Path
import statistics
import sys
import tempfile
import time
import warnings

import cv2
import lightning as L
from lightning.pytorch.callbacks import EMAWeightAveraging, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
import numpy as np
from rich.console import Console
from rich.table import Table
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from training.callbacks import WaitingTime
from training.config import Config, Data, Phase, Trainer
from training.contract import normalise
from training.models import MODELS
from training.registry import build_data, build_loss
from training.task import DepthTask, loss_of, optimizer, parameter_groups, prepare

RESULT = Path(__file__).parent / 'results' / 'training.json'
BATCH, SIZE = 8, (96, 128)
WARM_UP = 3
MODULES = {'realtime_unet': 'realtime_unet', 'unet': 'unet', 'unetpp18': 'unetpp',
           'unetpp34': 'unetpp', 'unetpp50': 'unetpp', 'eigen': 'eigen'}
PICTURES, PICTURE_SIZE = 600, (120, 160)
EPOCHS, WORKERS = 3, 2


class SameBatch(Dataset):
    """One stored batch of items, over and over; reading it costs nothing."""

    def __init__(self, size: tuple[int, int], steps: int) -> None:
        rng = np.random.default_rng(0)
        image = rng.integers(0, 256, (BATCH, 3, *size), np.uint8)
        depth = rng.uniform(1, 5, (BATCH, *size)).astype(np.float32)
        self._count = BATCH * steps
        self._items = [
            {'image': torch.from_numpy(image[i]), 'depth': torch.from_numpy(depth[i]),
             'focal_px': torch.tensor(100.0), 'source': 'bench', 'name': str(i)}
            for i in range(BATCH)]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> dict:
        return self._items[index % BATCH]

    def set_epoch(self, epoch: int) -> None:
        """Nothing changes."""


class Stored(L.LightningDataModule):
    """The stored batch as the task's data."""

    def __init__(self, data: SameBatch) -> None:
        super().__init__()
        self.data = data

    def train_dataloader(self) -> DataLoader:
        """Batches of the stored items."""
        return DataLoader(self.data, BATCH)

    def set_epoch(self, epoch: int) -> None:
        """Nothing changes."""


class Clock(L.Callback):
    """Time of the steps after the warm-up."""

    def on_train_batch_end(self, trainer, task, outputs, batch, index) -> None:
        """Start where the warm-up ends."""
        if index == WARM_UP - 1:
            _wait()
            self.start = time.perf_counter()

    def on_train_end(self, trainer, task) -> None:
        """Stop."""
        _wait()
        self.seconds = time.perf_counter() - self.start


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def network_of(name: str, tiny: bool) -> nn.Module:
    torch.manual_seed(0)
    if tiny:
        return import_module(f'training.models.{MODULES[name]}').tiny()
    return MODELS[name]()


def config_for(name: str, network: nn.Module, steps: int) -> Config:
    size = getattr(network, 'input_size', SIZE)
    return Config(name='bench', model=name, output='unused',
                  phases=(Phase(*size, BATCH, steps + WARM_UP, 1e-4),))


def bare(network: nn.Module, config: Config, data: SameBatch, steps: int) -> float:
    """Images/s of the plainest loop that trains the same."""
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    phase, settings = config.phases[0], config.trainer
    network = network.to(device, memory_format=torch.channels_last).train()
    loss = build_loss(config, phase).to(device)
    step = optimizer(parameter_groups(network, settings), phase.learning_rate, settings)
    for index, batch in enumerate(DataLoader(data, BATCH)):
        if index == WARM_UP:
            _wait()
            start = time.perf_counter()
        batch = {k: v.to(device) if torch.is_tensor(v) else v for k, v in batch.items()}
        image, depth = prepare(batch, network)
        found = network(normalise(image).to(memory_format=torch.channels_last))
        value = loss_of(loss, found, network.output_kind, depth, image)
        step.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_clip)
        step.step()
    _wait()
    return BATCH * steps / (time.perf_counter() - start)


def framework(network: nn.Module, config: Config, data: SameBatch, steps: int,
              average: bool) -> float:
    """Images/s under Lightning, with what `training.train` puts around a step."""
    clock = Clock()
    callbacks = [clock, TQDMProgressBar(refresh_rate=20)]
    if average:
        callbacks.append(EMAWeightAveraging(decay=config.trainer.ema_decay))
    with tempfile.TemporaryDirectory() as folder:
        trainer = L.Trainer(
            devices=1, max_steps=steps + WARM_UP, max_epochs=-1, enable_checkpointing=False,
            gradient_clip_val=config.trainer.gradient_clip, callbacks=callbacks,
            profiler=WaitingTime(), enable_model_summary=False, log_every_n_steps=20,
            logger=[CSVLogger(folder), TensorBoardLogger(folder)], limit_val_batches=0)
        network = network.to(memory_format=torch.channels_last)
        task = DepthTask(network, config, config.phases[0], ['bench'])
        trainer.fit(task, datamodule=Stored(data))
    return BATCH * steps / clock.seconds


def throughput(name: str, steps: int, rounds: int, tiny: bool) -> dict:
    """Medians of images/s of the three ways, which take turns."""
    measured: dict[str, list[float]] = {'bare': [], 'framework': [], 'with_average': []}
    for _ in range(rounds):
        network = network_of(name, tiny)
        config = config_for(name, network, steps)
        data = SameBatch(getattr(network, 'input_size', SIZE), steps + WARM_UP)
        measured['bare'].append(bare(network, config, data, steps))
        for key, average in (('framework', False), ('with_average', True)):
            measured[key].append(
                framework(network_of(name, tiny), config, data, steps, average))
    medians = {key: statistics.median(values) for key, values in measured.items()}
    # Of each round by itself: what slows the machine down slows the whole round.
    costs = [1 - f / b for f, b in zip(measured['framework'], measured['bare'])]
    return {f'{key}_images_per_s': value for key, value in medians.items()} | {
        'cost': statistics.median(costs)}


def resident_mb(pid: int) -> float:
    """Resident memory of a process that is its own: without what it shares with others."""
    fields = (line.split() for line in Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines())
    private = sum(int(f[1]) for f in fields if f[0] in ('Private_Clean:', 'Private_Dirty:'))
    return private / 1024


def loader_memory() -> list[float]:
    """MB of both workers together at the end of each epoch."""
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder))
        config = Config(
            name='bench', model='unet', output='unused', phases=(Phase(*SIZE, BATCH, 1, 1e-4),),
            data=Data(dataset='folder', root=folder),
            trainer=Trainer(validate_every_steps=PICTURES // BATCH))
        data = build_data(config, config.phases[0], 'train')
        loader = DataLoader(data, BATCH, num_workers=WORKERS, persistent_workers=True)
        found = []
        for epoch in range(EPOCHS):
            data.set_epoch(epoch)
            for _ in loader:
                pass
            found.append(sum(resident_mb(w.pid) for w in loader._iterator._workers))
        del loader
    return found


def write_pictures(folder: Path) -> None:
    rng = np.random.default_rng(0)
    height, width = PICTURE_SIZE
    for name in ('rgb', 'depth'):
        (folder / name).mkdir()
    (folder / 'dataset.yaml').write_text(
        f'scale: 0.001\nintrinsics: {{width: {width}, height: {height}, fx: 130.0, fy: 130.0, '
        f'cx: {width / 2}, cy: {height / 2}}}\n')
    for i in range(PICTURES):
        cv2.imwrite(str(folder / f'rgb/{i:04d}.png'),
                    rng.integers(0, 256, (height, width, 3), np.uint8))
        cv2.imwrite(str(folder / f'depth/{i:04d}.png'),
                    rng.integers(500, 5000, (height, width), np.uint16))


def shown(results: dict[str, dict]) -> Table:
    table = Table(title=f'images/s, batches of {BATCH}')
    for column in ('model', 'bare loop', 'framework', 'cost', 'with weight average'):
        table.add_column(column, justify='left' if column == 'model' else 'right')
    for name, row in results.items():
        speeds = [f"{row[f'{key}_images_per_s']:.1f}"
                  for key in ('bare', 'framework', 'with_average')]
        table.add_row(name, *speeds[:2], f"{row['cost']:+.1%}", speeds[2])
    return table


def main(argv: list[str]) -> None:
    settings = {'steps': '10', 'rounds': '3', 'threads': '2', 'tiny': '0',
                'models': ','.join(MODULES)} | dict(text.split('=', 1) for text in argv)
    logging.getLogger('lightning.pytorch').setLevel(logging.ERROR)
    warnings.filterwarnings('ignore', module='lightning')
    torch.set_num_threads(int(settings['threads']))
    steps, rounds = int(settings['steps']), int(settings['rounds'])
    results = {name: throughput(name, steps, rounds, settings['tiny'] == '1')
               for name in settings['models'].split(',')}
    memory_mb = loader_memory()
    Console().print(shown(results))
    Console().print('loader workers, private MB after each epoch: '
                    + ', '.join(f'{x:.1f}' for x in memory_mb))
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu'
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({
        'device': device, 'settings': settings, 'batch': BATCH, 'size': SIZE,
        'throughput': results, 'loader_mb_after_epoch': memory_mb}, indent=1))


if __name__ == '__main__':
    main(sys.argv[1:])
