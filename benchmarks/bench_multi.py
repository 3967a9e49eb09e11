"""N cameras on one engine against N processes with an engine each: images a second, and memory.

    python benchmarks/bench_multi.py            # 2 and 4 cameras, the default model

`nodes`: N processes, as N depth nodes would run them, each with its own session and threads.
`in turn` and `batched`: one process with a thread for each camera, see inference/batching.py.
Every camera asks again as soon as it has its answer; all ways in turn, medians of the rounds.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
import json
from pathlib import Path
import statistics
import subprocess
import sys
import time

import numpy as np

from depth_perception.inference import EngineSettings, serve
from depth_perception.inference.batching import Batcher
from depth_perception.model_spec import DEFAULT_MODEL, find_model, read_spec

RESULTS = Path(__file__).parent / 'results' / 'multi.json'
WARM_UP = 3


def picture(model: str) -> np.ndarray:
    """A network input of the nominal size."""
    shape = read_spec(find_model(model)).input_shape
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def resident_mb() -> float:
    """Memory of this process."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith('VmRSS')) / 1024


def be_a_node(model: str, backend: str) -> None:
    """Print the memory; then run as many images as each line of the input says, and answer."""
    engine = serve(model, EngineSettings(backend=backend))
    image = picture(model)
    for _ in range(WARM_UP):
        engine.infer(image)
    print(resident_mb(), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            engine.infer(image)
        print(time.perf_counter() - start, flush=True)


class Nodes:
    """N processes with an engine each."""

    def __init__(self, cameras: int, model: str, backend: str) -> None:
        command = [sys.executable, __file__, '--node', '--model', model, '--backend', backend]
        self._processes = [subprocess.Popen(command, stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, text=True)
                           for _ in range(cameras)]
        self.memory_mb = sum(float(each.stdout.readline()) for each in self._processes)

    def images_a_second(self, frames: int) -> float:
        """All processes at once."""
        start = time.perf_counter()
        for each in self._processes:
            each.stdin.write(f'{frames}\n')
            each.stdin.flush()
        for each in self._processes:
            each.stdout.readline()
        return frames * len(self._processes) / (time.perf_counter() - start)

    def close(self) -> None:
        """End them."""
        for each in self._processes:
            each.stdin.close()
            each.wait()


class Threads:
    """N threads on one engine."""

    def __init__(self, cameras: int, model: str, backend: str, batched: bool) -> None:
        self._engine = serve(model, EngineSettings(
            backend=backend, batch=cameras if batched else 1))
        batcher = Batcher(self._engine, max_batch=cameras if batched else 1)
        self._clients = [batcher.client() for _ in range(cameras)]
        self._image = picture(model)
        self._pool = ThreadPoolExecutor(cameras)
        self.images_a_second(WARM_UP)
        self.sizes = batcher.sizes

    def images_a_second(self, frames: int) -> float:
        """All cameras at once."""
        def camera(client) -> None:
            for _ in range(frames):
                client.infer(self._image)

        start = time.perf_counter()
        list(self._pool.map(camera, self._clients))
        return frames * len(self._clients) / (time.perf_counter() - start)

    def close(self) -> None:
        """Give everything back."""
        self._pool.shutdown()
        self._engine.close()


def measure(cameras: int, model: str, backend: str, frames: int, rounds: int) -> dict:
    """One number of cameras."""
    ways = {'nodes': Nodes(cameras, model, backend),
            'in turn': Threads(cameras, model, backend, False),
            'batched': Threads(cameras, model, backend, True)}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            rates[name].append(way.images_a_second(frames))
    mean_batch = statistics.mean(ways['batched'].sizes)
    for way in ways.values():
        way.close()
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {'images_a_second': medians, 'images_in_a_batch': mean_batch,
            'ratio_to_nodes': {name: medians[name] / medians['nodes']
                               for name in ('in turn', 'batched')},
            'memory_mb': {'nodes': ways['nodes'].memory_mb,
                          'one_node': ways['nodes'].memory_mb / cameras}}


def main() -> None:
    """Measure, print and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--model', default=DEFAULT_MODEL)
    parser.add_argument('--backend', default='auto')
    parser.add_argument('--cameras', type=int, nargs='+', default=[2, 4])
    parser.add_argument('--frames', type=int, default=20)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--node', action='store_true', help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.node:
        be_a_node(given.model, given.backend)
        return
    results = {str(n): measure(n, given.model, given.backend, given.frames, given.rounds)
               for n in given.cameras}
    for cameras, result in results.items():
        for name, rate in result['images_a_second'].items():
            ratio = result['ratio_to_nodes'].get(name, 1.0)
            print(f'{cameras} cameras, {name:8s} {rate:6.1f} images/s  {ratio:5.2f} x nodes')
        memory = result['memory_mb']
        print(f"{cameras} cameras, memory: {memory['nodes']:.0f} MB in processes of "
              f"{memory['one_node']:.0f} MB; batches of {result['images_in_a_batch']:.2f}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(
        {'model': given.model, 'backend': given.backend, 'cameras': results}, indent=2) + '\n')


if __name__ == '__main__':
    main()
