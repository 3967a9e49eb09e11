"""SPT-Depth beside a ViT under the same decoder: time and peak memory of one frame on the CPU.

    PYTHONPATH=. python benchmarks/bench_spt.py [sizes=224,384,768] [widths=tiny,base] [threads=2]
                                                [rounds=3]

The networks get random weights: neither speed nor memory depends on them. Each is exported to ONNX
here and run by ONNX Runtime as the nodes run it, in a process of its own for each round, in turn.
Peak memory is what the process held at most beyond what it held before it loaded the file. Prints
a table, the parameters beside the paper's claims, and writes benchmarks/results/spt.json.
"""

from __future__ import annotations

import json
from pathlib import Path
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from rich.console import Console
from rich.table import Table

RESULT = Path(__file__).parent / 'results' / 'spt.json'
NETWORKS = {  # width -> name -> model and options
    'tiny': {'spt_tiny': ('spt_tiny', {}), 'vit16, tiny': ('vit16', {'size': 'tiny'})},
    'base': {'spt_base': ('spt_base', {}), 'vit16, base': ('vit16', {})},
}
FRAMES = 3  # a round, after one to warm up
# Table 4 of the paper; it prints the size of checkpoints under "Params".
PAPER = {
    'spt_base': ('151M', 'the size of a checkpoint in MB, about 38 million float32 parameters'),
    'vit16, base': ('1.1G', 'the size of a checkpoint: ViT-B/16 has 86 million parameters'),
}
CLAIM = "86 % smaller than the ViT: of the checkpoints' sizes"


def child(path: str, side: int, threads: int) -> None:
    """Run the file and print its times and peak memory as JSON."""
    from depth_perception.inference.onnx_engine import OnnxEngine
    from depth_perception.model_spec import read_spec

    spec = read_spec(path)
    before_kib = _memory_kib('VmRSS')
    engine = OnnxEngine(Path(path), spec, backend='cpu', threads=threads)
    image = np.random.default_rng(0).standard_normal((1, 3, side, side), np.float32)
    engine.infer(image)
    times = []
    for _ in range(FRAMES):
        start = time.perf_counter()
        engine.infer(image)
        times.append(1e3 * (time.perf_counter() - start))
    # Not getrusage: its peak begins with what the parent held when it forked.
    peak_kib = _memory_kib('VmHWM')
    print(json.dumps({'ms': times, 'peak_mib': (peak_kib - before_kib) / 1024}))


def _memory_kib(key: str) -> int:
    lines = Path('/proc/self/status').read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1])


def export(name: str, model: str, options: dict, side: int, folder: Path) -> tuple[Path, int]:
    """Write a network with random weights; return its file and its number of parameters."""
    import torch

    from depth_perception.model_spec import write_spec
    from training.config import Config, Phase
    from training.contract import model_spec
    from training.export import export_onnx, fix_size
    from training.models import build_model

    torch.manual_seed(0)
    network = build_model(model, classes=2, **options).eval()
    count = sum(p.numel() for p in network.parameters())
    fix_size(network, (side, side))
    path = folder / f'{name.replace(", ", "_")}_{side}.onnx'
    export_onnx(network, path)
    config = Config(name, model, (Phase(side, side, 1, 1, 1e-4),), '')
    write_spec(path, model_spec(config, network, 'none'))
    return path, count


def measure(sizes: list[int], widths: list[str], threads: int, rounds: int) -> dict:
    """Run all; the result is what the JSON file holds."""
    networks = {name: NETWORKS[width][name] for width in widths for name in NETWORKS[width]}
    result: dict = {'threads': threads, 'rounds': rounds, 'parameters': {}, 'sizes': {}}
    for side in sizes:
        with tempfile.TemporaryDirectory() as folder:
            files = {}
            for name, (model, options) in networks.items():
                files[name], result['parameters'][name] = export(
                    name, model, options, side, Path(folder))
            found: dict[str, list[dict]] = {name: [] for name in networks}
            for _ in range(rounds):
                for name, path in files.items():
                    found[name].append(_run(path, side, threads))
        result['sizes'][str(side)] = {
            name: {'median_ms': statistics.median(t for x in runs for t in x['ms']),
                   'min_ms': min(t for x in runs for t in x['ms']),
                   'peak_mib': statistics.median(x['peak_mib'] for x in runs)}
            for name, runs in found.items()}
    return result


def _run(path: Path, side: int, threads: int) -> dict:
    command = [sys.executable, __file__, 'child', str(path), str(side), str(threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def show(result: dict) -> None:
    """Print the result as tables."""
    console = Console()
    table = Table(title=f"one frame, ONNX Runtime CPU, {result['threads']} threads")
    for column in ('size', 'network', 'median ms', 'min ms', 'peak MiB'):
        table.add_column(column, justify='right')
    for side, rows in result['sizes'].items():
        for name, row in rows.items():
            table.add_row(side, name, f"{row['median_ms']:.1f}", f"{row['min_ms']:.1f}",
                          f"{row['peak_mib']:.0f}")
    console.print(table)
    table = Table(title='parameters')
    for column in ('network', 'ours', 'the paper', 'which is'):
        table.add_column(column)
    for name, count in result['parameters'].items():
        table.add_row(name, f'{count:,}', *PAPER.get(name, ('', '')))
    console.print(table)


def main(argv: list[str]) -> None:
    """Measure, print and write the JSON file."""
    if argv[:1] == ['child']:
        child(argv[1], int(argv[2]), int(argv[3]))
        return
    given = dict(text.split('=', 1) for text in argv)
    sizes = [int(x) for x in given.get('sizes', '224,384,768').split(',')]
    result = measure(sizes, given.get('widths', 'tiny,base').split(','),
                     int(given.get('threads', 2)), int(given.get('rounds', 3)))
    result['paper'] = {name: dict(zip(('printed', 'which_is'), x)) for name, x in PAPER.items()}
    result['paper']['claim'] = CLAIM
    show(result)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1))


if __name__ == '__main__':
    main(sys.argv[1:])
