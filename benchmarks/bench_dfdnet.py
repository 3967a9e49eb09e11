"""DfDNet on the CPU: time and peak memory of a focus stack, collapsed early and late.

    PYTHONPATH=. python benchmarks/bench_dfdnet.py [size=small] [threads=2] [rounds=10]

Beside the network with its default collapse: the same one collapsed behind its last block, and
one pass of the single-image network for each of the five images. size= small, vit_s or vit_b. The
networks get random weights: speed does not depend on them. Each is exported to ONNX here and run
by ONNX Runtime as the nodes run it; they take turns, so that noise hits all alike.

Peak memory, for several stack sizes, is that of a process of its own: of ONNX Runtime above what
it has before it loads the model, and of a training step of one stack in torch above what it has
with the weights. A training step keeps what every layer gave, and there the collapse counts;
without training a layer's output is gone once the next one has it, and the largest counts.

Prints the tables and writes benchmarks/results/dfdnet.json, each size under its name.
"""

from __future__ import annotations

from collections.abc import Callable
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

from depth_perception.inference.onnx_engine import OnnxEngine
from depth_perception.model_contract import ModelSpec
from depth_perception.model_spec import read_spec, write_spec

#: size -> (network, blocks of its encoder, single-image network, height and width)
SIZES = {'small': ('dfdnet_small', 7, 'dfdnet_small_single', (240, 320)),
         'vit_s': ('dfdnet', 12, 'dfdnet_single', (238, 322)),
         'vit_b': ('dfdnet_base', 12, 'dfdnet_base_single', (238, 322))}
FRAMES = 5
STACKS = (2, 3, 5, 8, 12, 16)
EARLY, LATE, SINGLE = 'early collapse', 'late collapse', f'{FRAMES} single-image passes'
RESULT = Path(__file__).parent / 'results' / 'dfdnet.json'
KIB = 1024


def exported(name: str, size: tuple[int, int], folder: Path, **options: object) -> dict:
    """Export a network with random weights; its file, and how many parameters it has."""
    import torch  # not at the top: the processes whose memory is measured do without

    from training.export import export_onnx
    from training.models import build_model

    torch.manual_seed(0)
    network = build_model(name, **options).eval()
    path = folder / f'{name}_{"_".join(map(str, options.values()))}.onnx'
    export_onnx(network, path)
    write_spec(path, ModelSpec(
        name=name, architecture=name, input_height=size[0], input_width=size[1],
        size_multiple=network.size_multiple, output_kind=network.output_kind,
        canonical_focal_px=None, depth_range=(0.25, 12.0), training_data='none', licence='none',
        frames=getattr(network, 'frames', 1), frames_range=getattr(network, 'frames_range', ()),
        extra_inputs=getattr(network, 'extra_inputs', ())))
    return {'path': path, 'parameters': sum(p.numel() for p in network.parameters())}


def runner(path: Path, threads: int, frames: int) -> Callable[[], None]:
    """Return a call that runs a stack, or as many single images, once."""
    spec = read_spec(path)
    engine = OnnxEngine(path, spec, backend='cpu', threads=threads)
    rng = np.random.default_rng(0)
    if spec.frames == 1:
        image = rng.standard_normal(spec.input_shape, np.float32)
        return lambda: [engine.infer(image) for _ in range(frames)]
    stack = rng.standard_normal((1, frames, *spec.input_shape[2:]), np.float32)
    focus = np.linspace(0.5, 5.0, frames, dtype=np.float32)[None]
    return lambda: engine.infer(stack, focus_distances=focus)


def times_ms(runs: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each run; they take turns within a round, of which the first is left out."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            found[name].append(1e3 * (time.perf_counter() - start))
    return {name: values[1:] for name, values in found.items()}


def own_memory(field: str) -> float:
    """MiB of this process: VmRSS, what it has now, or VmHWM, the most it had."""
    lines = Path('/proc/self/status').read_text(encoding='ascii').splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / KIB


def measure_peak(path: Path, threads: int, frames: int) -> None:
    """Print by how many MiB memory grew at most from before the model was loaded."""
    before = own_memory('VmRSS')
    # The largest so far may lie above what is there now: without this it would hide the model.
    Path('/proc/self/clear_refs').write_text('5', encoding='ascii')
    run = runner(path, threads, frames)
    run()
    run()
    print(own_memory('VmHWM') - before)


def measure_training_peak(size: str, late: bool, threads: int, frames: int) -> None:
    """Print by how many MiB memory grew at most in a training step of one stack."""
    import torch

    from training.models import build_model

    name, blocks, _, shape = SIZES[size]
    torch.set_num_threads(threads)
    network = build_model(name, **({'collapse_after': blocks} if late else {})).train()
    stack, focus = torch.randn(1, frames, 3, *shape), torch.linspace(0.5, 5.0, frames)[None]
    before = own_memory('VmRSS')
    Path('/proc/self/clear_refs').write_text('5', encoding='ascii')
    network(stack, focus).square().mean().backward()
    print(own_memory('VmHWM') - before)


def in_own_process(**given: object) -> float:
    """Run this file with key=value arguments; the number that it prints."""
    command = [sys.executable, __file__, *(f'{key}={value}' for key, value in given.items())]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(size: str, threads: int, rounds: int) -> dict:
    """Times, and peak memory by stack size; what the JSON file holds of one size."""
    name, blocks, single, shape = SIZES[size]
    with tempfile.TemporaryDirectory() as folder:
        models = {EARLY: exported(name, shape, Path(folder)),
                  LATE: exported(name, shape, Path(folder), collapse_after=blocks),
                  SINGLE: exported(single, shape, Path(folder))}
        paths = {way: model['path'] for way, model in models.items()}
        runs = {way: runner(path, threads, FRAMES) for way, path in paths.items()}
        times = times_ms(runs, rounds)
        peaks = {way: {n: in_own_process(peak=path, threads=threads, frames=n)
                       for n in (STACKS if way != SINGLE else (FRAMES,))}
                 for way, path in paths.items()}
    training = {way: {n: in_own_process(train=size, late=way == LATE, threads=threads, frames=n)
                      for n in STACKS} for way in (EARLY, LATE)}
    return {
        'frames': FRAMES, 'height': shape[0], 'width': shape[1], 'threads': threads,
        'rounds': rounds,
        'ways': {way: {
            'parameters': models[way]['parameters'],
            'median_ms': statistics.median(values), 'min_ms': min(values),
            'stacks_per_s': 1e3 / statistics.median(values),
            'peak_mib': peaks[way][FRAMES],
        } for way, values in times.items()},
        'peak_mib_by_stack_size': peaks,
        'training_peak_mib_by_stack_size': training,
    }


def show(size: str, result: dict) -> None:
    """Print the result as two tables."""
    told = f"{size}: {result['frames']} x {result['width']}x{result['height']}, " \
           f"{result['threads']} threads"
    table = Table(title=told)
    for column in ('way', 'parameters', 'median ms', 'min ms', 'stacks/s', 'peak MiB'):
        table.add_column(column, justify='left' if column == 'way' else 'right')
    for way, row in result['ways'].items():
        table.add_row(way, f"{row['parameters']:,}", f"{row['median_ms']:.1f}",
                      f"{row['min_ms']:.1f}", f"{row['stacks_per_s']:.2f}",
                      f"{row['peak_mib']:.0f}")
    memory = Table(title='peak MiB by images in the stack')
    memory.add_column('')
    for n in STACKS:
        memory.add_column(str(n), justify='right')
    for way in (EARLY, LATE):
        for told, key in (('', 'peak'), (', training', 'training_peak')):
            peaks = result[f'{key}_mib_by_stack_size'][way]
            memory.add_row(way + told, *(f'{peaks[n]:.0f}' for n in STACKS))
    Console().print(table)
    Console().print(memory)


def main(argv: list[str] | None = None) -> None:
    """Measure, print and write the JSON file."""
    given = dict(text.split('=', 1) for text in (sys.argv[1:] if argv is None else argv))
    threads = int(given.get('threads', 2))
    if 'train' in given:
        measure_training_peak(given['train'], given['late'] == 'True', threads,
                              int(given['frames']))
        return
    if 'peak' in given:
        measure_peak(Path(given['peak']), threads, int(given['frames']))
        return
    size = given.get('size', 'small')
    if size not in SIZES:
        raise SystemExit(f"error: size is {size!r}; choose one of {', '.join(SIZES)}")
    result = measure(size, threads, int(given.get('rounds', 10)))
    show(size, result)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    RESULT.write_text(json.dumps(before | {size: result}, indent=1))


if __name__ == '__main__':
    main()
