"""What attention costs as pictures grow: ordinary attention beside linear spatial reduction.

``python -m training.attention_cost [output=FOLDER] [sizes=64,96,128]`` measures one layer of each,
as the first stage of PVT v2-B2 has it: one token for every 4x4 px, one head of width 64. Both are
timed in turn, in CPU time, and the fastest of several passes counts: other work on the machine
changes little. Memory is the most that all tensors of a pass hold at once, beyond its input. The
exponent is the slope of the logarithm over that of the number of tokens: 1 is linear, 2 quadratic.

Attention is computed as its formula says, scores in memory, as exported files compute it. torch's
own kernels (``fused``) never hold all scores at once: that saves ordinary attention the memory,
not the quadratic time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
import json
import math
from pathlib import Path
import statistics
import time
from typing import Any
import weakref

from rich.console import Console
from rich.table import Table
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from training.config import ConfigError
from training.models.pvt import POOLED, Attention, LinearSRA

STRIDE, WIDTH, HEADS = 4, 64, 1  # of the first stage of PVT v2-B2
SIZES_PX = (96, 128, 192, 256, 384)
REPEATS = 5
FITTED = 3  # the largest sizes, where the fixed part of the work is small
MEASURES = {'ms': 'CPU ms', 'mib': 'MiB', 'gflop': 'GFLOP'}


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of all tensors that are made while it is on, and their `peak`."""

    def __init__(self) -> None:
        super().__init__()
        self.held, self.peak = 0, 0
        self._seen: set[int] = set()

    def __torch_dispatch__(
        self, function: Callable, kinds: object, arguments: tuple = (), named: dict | None = None
    ) -> Any:
        result = function(*arguments, **(named or {}))
        for x in tree_leaves(result):
            if isinstance(x, Tensor):
                self._note(x.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return
        self._seen.add(key)
        self.held += size
        self.peak = max(self.peak, self.held)
        weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.held -= size


def layers() -> dict[str, nn.Module]:
    """Build the two kinds of attention, of the same width."""
    torch.manual_seed(0)
    return {'ordinary': Attention(WIDTH, HEADS, 0.0).eval(),
            'linear SRA': LinearSRA(WIDTH, HEADS, 0.0).eval()}


def peak_mib(layer: nn.Module, size: tuple[int, int], *, fused: bool = False) -> float:
    """Most memory of one pass over a map of `size` tokens, without its input, in MiB."""
    tokens = torch.randn(1, size[0] * size[1], WIDTH)
    # Not inference_mode: it would hand attention to the counter as one operation.
    with torch.no_grad(), _kernel(fused), PeakMemory() as memory:
        layer(tokens, size)
    return memory.peak / 2**20


def pass_ms(layer: nn.Module, size: tuple[int, int], *, fused: bool = False) -> float:
    """CPU milliseconds, of all threads, of one pass over a map of `size` tokens."""
    tokens = torch.randn(1, size[0] * size[1], WIDTH)
    with torch.inference_mode(), _kernel(fused):
        started_s = time.process_time()
        layer(tokens, size)
        return 1000 * (time.process_time() - started_s)


def _kernel(fused: bool):
    return sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH] if fused
                       else [SDPBackend.MATH])


def gflop(name: str, tokens: int) -> float:
    """Floating-point operations of one pass, counted: 2 for a multiply-add."""
    pooled = POOLED**2 if name == 'linear SRA' else tokens
    scores = 2 * 2 * tokens * pooled * WIDTH
    projections = 2 * 2 * tokens * WIDTH**2 + 2 * 2 * pooled * WIDTH**2
    return (scores + projections) / 1e9


def measure(sizes_px: Sequence[int] = SIZES_PX, repeats: int = REPEATS) -> dict[str, Any]:
    """Measure both layers on square pictures.

    Returns
    -------
    dict
        threads, tokens (of each size), ways: name -> measure -> a value for each size, and
        exponents: name -> measure -> slope. 'ordinary, fused' is torch's own kernel.
    """
    found = layers()
    ways = {name: (layer, False) for name, layer in found.items()}
    ways['ordinary, fused'] = (found['ordinary'], True)
    tokens = [(px // STRIDE) ** 2 for px in sizes_px]
    values = {name: {key: [] for key in MEASURES} for name in ways}
    for px, count in zip(sizes_px, tokens):
        size = (px // STRIDE, px // STRIDE)
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(repeats + 1):
            for name, (layer, fused) in ways.items():
                times[name].append(pass_ms(layer, size, fused=fused))
        for name, (layer, fused) in ways.items():
            values[name]['ms'].append(min(times[name][1:]))
            values[name]['mib'].append(peak_mib(layer, size, fused=fused))
            values[name]['gflop'].append(gflop(name, count))
    return {
        'threads': torch.get_num_threads(), 'sizes_px': list(sizes_px), 'tokens': tokens,
        'ways': values,
        'exponents': {name: {key: exponent(tokens, row) for key, row in rows.items()}
                      for name, rows in values.items()},
    }


def exponent(tokens: Sequence[int], values: Sequence[float]) -> float:
    """Slope of log value over log tokens by least squares, at the FITTED largest sizes."""
    x = [math.log(n) for n in tokens[-FITTED:]]
    y = [math.log(v) for v in values[-FITTED:]]
    return statistics.linear_regression(x, y).slope


def as_markdown(results: dict[str, Any]) -> str:
    """Write what attention.md holds."""
    sizes = [f'{px} px' for px in results['sizes_px']]
    lines = ['# What attention costs', '',
             f"One layer of the first stage, width {WIDTH}, threads: {results['threads']}. The "
             f'exponent is fitted over the {FITTED} largest sizes.', '',
             f"| attention | measure | {' | '.join(sizes)} | exponent |",
             f"| --- | --- | {'---: | ' * (len(sizes) + 1)}"]
    for name, rows in results['ways'].items():
        for key, unit in MEASURES.items():
            figures = ' | '.join(f'{x:.3g}' for x in rows[key])
            slope = results['exponents'][name][key]
            lines.append(f'| {name} | {unit} | {figures} | {slope:.2f} |')
    return '\n'.join(lines) + '\n'


def plot(results: dict[str, Any], path: Path) -> None:
    """Draw time and memory over the number of tokens, both axes logarithmic, into a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout='constrained')
    FigureCanvasAgg(figure)
    for axes, key in zip(figure.subplots(1, 2), ('ms', 'mib')):
        for name, rows in results['ways'].items():
            slope = results['exponents'][name][key]
            axes.loglog(results['tokens'], rows[key], marker='o',
                        label=f'{name}: exponent {slope:.2f}')
        axes.set_xlabel('tokens')
        axes.set_ylabel(MEASURES[key])
        axes.legend()
    figure.savefig(path, dpi=100)


def write_attention_cost(
    folder: Path, console: Console, sizes_px: Sequence[int] = SIZES_PX
) -> dict[str, Any]:
    """Measure, print, and write attention.json, attention.md and attention.png."""
    results = measure(sizes_px)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'attention.json').write_text(json.dumps(results, indent=1))
    (folder / 'attention.md').write_text(as_markdown(results))
    plot(results, folder / 'attention.png')
    table = Table(title=f"attention, threads: {results['threads']}")
    for heading in ('', *(f'{px} px' for px in results['sizes_px']), 'exponent'):
        table.add_column(heading, justify='right' if heading else 'left')
    for name, rows in results['ways'].items():
        for key, unit in MEASURES.items():
            table.add_row(f'{name}, {unit}', *(f'{x:.3g}' for x in rows[key]),
                          f"{results['exponents'][name][key]:.2f}")
    console.print(table)
    return results


def main(argv: Sequence[str] | None = None) -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(
        prog='python -m training.attention_cost', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('settings', nargs='*', metavar='key=value')
    given = dict(text.partition('=')[::2] for text in parser.parse_args(argv).settings)
    try:
        sizes = _sizes(given.pop('sizes', ''))
        folder = Path(given.pop('output', 'runs/attention'))
        if given:
            raise ConfigError(f'unknown key {next(iter(given))}; the keys are output and sizes')
        write_attention_cost(folder, Console(), sizes)
    except ConfigError as error:
        raise SystemExit(f'error: {error}') from error


def _sizes(text: str) -> Sequence[int]:
    if not text:
        return SIZES_PX
    parts = text.split(',')
    if not all(x.isdigit() and int(x) >= 32 for x in parts) or len(parts) < FITTED:
        raise ConfigError(f'sizes is {text!r}; give at least {FITTED} numbers of 32 px or more, '
                          'such as 64,96,128')
    return sorted(map(int, parts))


if __name__ == '__main__':
    main()
