"""What an evaluation of focus stacks found: tables, requirements and the file that holds both."""

from __future__ import annotations

from collections.abc import Mapping
import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from depth_perception.metrics import bootstrap_interval

STACK, COPIES, SHUFFLED, SINGLE = 'stack', 'copies', 'shuffled', 'single_image'
WHO = (STACK, COPIES, SHUFFLED, SINGLE)
METRICS = ('mse', 'rmse', 'rmse_log', 'abs_rel', 'sq_rel', 'delta1', 'delta2', 'delta3')
HELD_OUT, ROOMS = 'procedural rooms', 'Mitsuba rooms'
HALF, WORSE = 2.0, 1.5  # what single image and controls have to lose by


def summarise(scenes: list[dict]) -> dict[str, Any]:
    """Means over scenes, and how many times the stack's AbsRel the other columns have.

    Returns
    -------
    dict
        ``n``; WHO -> metric -> mean; ``ratios``: column -> ``mean`` (of means) and its 95 %
        bootstrap interval ``lo``, ``hi`` over scenes; ``wins``: scenes in which the stack beats
        the single image; ``scenes``.
    """
    means = {who: {m: float(np.mean([s[who][m] for s in scenes])) for m in METRICS}
             for who in WHO}
    errors = {who: np.array([s[who]['abs_rel'] for s in scenes]) for who in WHO}
    ratios = {}
    for who in WHO[1:]:
        # Of the logs of single scenes: a ratio of means has no interval by itself.
        lo, hi = bootstrap_interval(np.log(errors[who] / errors[STACK]))
        ratios[who] = {'mean': means[who]['abs_rel'] / means[STACK]['abs_rel'],
                       'lo': float(np.exp(lo)), 'hi': float(np.exp(hi))}
    return {'n': len(scenes), **means, 'ratios': ratios,
            'wins': int((errors[STACK] < errors[SINGLE]).sum()), 'scenes': scenes}


def verdicts(table: Mapping[str, dict]) -> list[str]:
    """Say of each requirement whether it is met."""
    lines = []
    if HELD_OUT in table:
        ratios = table[HELD_OUT]['ratios']
        for who, told, least in ((SINGLE, 'the single-image model', HALF),
                                 (COPIES, 'copies of the all-in-focus image', WORSE),
                                 (SHUFFLED, 'shuffled focus distances', WORSE)):
            met = 'met' if ratios[who]['mean'] >= least else 'NOT met'
            lines.append(f"{HELD_OUT}: {told}: AbsRel is {ratios[who]['mean']:.2f} times that of "
                         f'the stack; at least {least} is asked for: {met}')
    if ROOMS in table:
        room = table[ROOMS]
        lower = room[STACK]['abs_rel'] < room[SINGLE]['abs_rel']
        asked = int(np.ceil(0.75 * room['n']))
        met = 'met' if lower and room['wins'] >= asked else 'NOT met'
        lines.append(f"{ROOMS} through a true lens: mean AbsRel {room[STACK]['abs_rel']:.3f} "
                     f"against {room[SINGLE]['abs_rel']:.3f} of the single image; better in "
                     f"{room['wins']} of {room['n']}, at least {asked} and the mean are asked "
                     f'for: {met}')
    return lines


def as_table(table: Mapping[str, dict]) -> Table:
    """Lay out AbsRel of every row, and of every room, and the other metrics of the rows."""
    shown = Table(title='AbsRel, unaligned; times that of the stack, 95% interval over scenes')
    for i, name in enumerate(('row', 'n', *WHO)):
        shown.add_column(name.replace('_', ' '), justify='right' if i else 'left')
    for name, row in table.items():
        cells = [f"{row[STACK]['abs_rel']:.3f}"]
        for who in WHO[1:]:
            r = row['ratios'][who]
            cells.append(f"{row[who]['abs_rel']:.3f} = {r['mean']:.2f}x "
                         f"[{r['lo']:.2f}, {r['hi']:.2f}]")
        shown.add_row(name, str(row['n']), *cells, end_section=name != ROOMS)
        if name == ROOMS:
            for scene in row['scenes']:
                shown.add_row(f"  {scene['name']}", '1',
                              *(f"{scene[who]['abs_rel']:.3f}" for who in WHO))
    return shown


def metrics_table(name: str, row: Mapping[str, Any]) -> Table:
    """Lay out a row's metrics, those of the literature on depth from defocus."""
    shown = Table(title=f'{name}: means over {row["n"]} scenes, metres')
    for i, heading in enumerate(('', *WHO)):
        shown.add_column(heading.replace('_', ' '), justify='right' if i else 'left')
    for metric in METRICS:
        shown.add_row(metric, *(f'{row[who][metric]:.3f}' for who in WHO))
    return shown


def write_report(table: Mapping[str, dict], folder: Path, console: Console) -> None:
    """Print tables and requirements, and write evaluation.json into `folder`."""
    lines = verdicts(table)
    (folder / 'evaluation.json').write_text(json.dumps({**table, 'verdicts': lines}, indent=1))
    console.print(as_table(table))
    for name, row in table.items():
        console.print(metrics_table(name, row))
    for line in lines:
        console.print(f'- {line}', markup=False, highlight=False, soft_wrap=True)


def accuracy(table: Mapping[str, dict]) -> dict[str, dict]:
    """What goes into the contract: metrics of the stack, and AbsRel of the single-image model."""
    return {name: {m: round(row[STACK][m], 4) for m in ('abs_rel', 'rmse', 'delta1')}
            | {'abs_rel_single_image': round(row[SINGLE]['abs_rel'], 4)}
            for name, row in table.items()}
