"""Time of one frame on the CPU: the shipped widths, set R and the classic U-Net, alternating.

    PYTHONPATH=. python benchmarks/bench_model.py [threads=2] [rounds=5]

The networks get random weights: speed does not depend on them. Each is exported to ONNX here and
run by ONNX Runtime as the nodes run it. Prints medians and ratios to the classic U-Net, and
writes benchmarks/results/model.json.
"""

from __future__ import annotations

import json
from pathlib import Path
import statistics
import sys
import tempfile
import time

import numpy as np
from rich.console import Console
from rich.table import Table
import torch

from depth_perception.inference.onnx_engine import OnnxEngine
from depth_perception.model_contract import ModelSpec
from depth_perception.model_spec import write_spec
from training.export import export_onnx
from training.models import build_model

MODELS = ('realtime_unet_m', 'realtime_unet', 'unet')
CLASSIC = 'unet'
SIZES = ((240, 320), (480, 640))
WARM_UP = 2
FRAMES = {'unet': 2}  # frames a round; the fast ones get more, so that medians are steady
FRAMES_FAST = 8
RESULT = Path(__file__).parent / 'results' / 'model.json'


def engine(name: str, size: tuple[int, int], folder: Path, threads: int) -> OnnxEngine:
    """Export the architecture `name` with random weights and load it for `size`."""
    torch.manual_seed(0)
    path = folder / f'{name}_{size[0]}.onnx'
    export_onnx(build_model(name).eval(), path)
    spec = ModelSpec(name=name, architecture=name, input_height=size[0], input_width=size[1],
                     size_multiple=16, output_kind='log', canonical_focal_px=None,
                     depth_range=(0.25, 12.0), training_data='none', licence='none')
    write_spec(path, spec)
    return OnnxEngine(path, spec, backend='cpu', threads=threads)


def times_ms(engines: dict[str, OnnxEngine], size: tuple[int, int], rounds: int) -> dict:
    """Milliseconds of single frames by model; the models take turns within each round."""
    image = np.random.default_rng(0).standard_normal((1, 3, *size), np.float32)
    measured: dict[str, list[float]] = {name: [] for name in engines}
    for round_ in range(rounds + 1):
        for name, model in engines.items():
            frames = WARM_UP if round_ == 0 else FRAMES.get(name, FRAMES_FAST)
            for _ in range(frames):
                start = time.perf_counter()
                model.infer(image)
                if round_:
                    measured[name].append(1e3 * (time.perf_counter() - start))
    return measured


def measure(threads: int, rounds: int) -> dict:
    """Run both sizes; the result is what the JSON file holds."""
    result = {'threads': threads, 'rounds': rounds, 'parameters': {}, 'sizes': {}}
    for name in MODELS:
        result['parameters'][name] = sum(p.numel() for p in build_model(name).parameters())
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            engines = {name: engine(name, size, Path(folder), threads) for name in MODELS}
            measured = times_ms(engines, size, rounds)
        classic = statistics.median(measured[CLASSIC])
        result['sizes'][f'{size[1]}x{size[0]}'] = {
            name: {
                'median_ms': statistics.median(values),
                'min_ms': min(values),
                'times_faster_than_classic': classic / statistics.median(values),
            }
            for name, values in measured.items()
        }
    return result


def show(result: dict) -> None:
    """Print the result as a table."""
    table = Table(title=f"one frame, ONNX Runtime CPU, {result['threads']} threads")
    for column in ('model', 'parameters', 'size', 'median ms', 'min ms', 'times faster'):
        table.add_column(column, justify='right')
    for size, models in result['sizes'].items():
        for name, row in models.items():
            table.add_row(name, f"{result['parameters'][name]:,}", size, f"{row['median_ms']:.1f}",
                          f"{row['min_ms']:.1f}", f"{row['times_faster_than_classic']:.2f}")
    Console().print(table)


def main(argv: list[str] | None = None) -> None:
    """Measure, print and write the JSON file."""
    given = dict(text.split('=', 1) for text in (sys.argv[1:] if argv is None else argv))
    result = measure(int(given.get('threads', 2)), int(given.get('rounds', 5)))
    show(result)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1))


if __name__ == '__main__':
    main()
