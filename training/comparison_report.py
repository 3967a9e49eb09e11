"""What a comparison found: the paper's table beside ours, its claims in words, a picture sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import os
import platform
import statistics
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
import torch

from training.comparison_runs import Setup, config_of, write_json
from training.comparison_scores import CAP_M, TIMED, WARM_UPS, device_of
from training.comparison_sheet import write_sheet
from training.comparison_types import COLUMNS, Cell, Claim
from training.config import Trainer
from training.registry import build_network

Results = dict[str, Any]
MOST_COLUMNS, SCORES_SHOWN = 8, 3  # of a terminal's table
HOLDS, FAILS, OPEN = 'holds', 'does not hold', 'is not settled'


def write_report(
    setup: Setup, runs: Sequence[Mapping], speeds: Mapping[str, Mapping], console: Console
) -> Results:
    """Print the table and the claims; write results.json, results.md and sheet.jpg.

    The comparison may give the files another name.

    Parameters
    ----------
    runs : sequence of mapping
        Records of all cells, see training.comparison_runs.
    speeds : mapping
        Cell -> its timing; empty where the comparison has none.
    """
    results = summarise(setup, runs, speeds)
    files = setup.comparison.files
    write_json(setup.output / f'{files}.json', results)
    (setup.output / f'{files}.md').write_text(as_markdown(results))
    write_sheet(setup)
    console.print(as_table(results))
    for line in sentences(results):
        console.print(f'- {line}', markup=False, highlight=False, soft_wrap=True)
    return results


def summarise(
    setup: Setup, runs: Sequence[Mapping], speeds: Mapping[str, Mapping]
) -> Results:
    """Put together what results.json holds."""
    comparison, base = setup.comparison, setup.base
    cells = {cell.name: _cell(cell, [r for r in runs if r['cell'] == cell.name], speeds)
             for cell in setup.cells}
    known = [x for x in comparison.claims if {x.better, x.worse} <= cells.keys()]
    phase = base.phases[0]
    return {
        'comparison': comparison.name,
        'paper': comparison.paper,
        'device': _device(base.trainer),
        'minutes_per_run': setup.minutes,
        'seeds': sorted({run['seed'] for run in runs}),
        'data': {'dataset': base.data.dataset, 'sources': runs[0]['sources'],
                 'scored_on': runs[0]['scored_on'], 'cap_m': CAP_M},
        'recipe': {'height': phase.height, 'width': phase.width, 'batch_size': phase.batch_size,
                   'learning_rate': phase.learning_rate, 'loss': base.loss,
                   'precision': base.trainer.precision},
        'alignment': _alignment(setup),
        'timing': _timing(speeds),
        'columns': list(comparison.columns),
        'cells': cells,
        'printed': {line: dict(row) for line, row in comparison.printed.items()},
        'claims': [judge(claim, cells) for claim in known],
        'notes': list(comparison.notes),
    }


def _device(trainer: Trainer) -> str:
    if device_of(trainer.accelerator).type == 'cuda':
        return torch.cuda.get_device_name()
    # Of the training: where all cells were finished before, this process never set its own.
    threads = trainer.threads or torch.get_num_threads()
    return f'the CPU, threads: {threads}, cores: {os.cpu_count()} {platform.machine()}'


def _alignment(setup: Setup) -> str:
    config = config_of(setup, setup.cells[0], setup.base.seed)
    with torch.device('meta'):
        kind = build_network(config.model, config.model_options).output_kind
    return 'scale and shift of inverse depth fitted' if kind == 'relative' else 'unaligned'


def _timing(speeds: Mapping[str, Mapping]) -> str:
    sizes = sorted({f"{x['height']}x{x['width']}" for x in speeds.values()})
    if not sizes:
        return ''
    return (f"one random frame of {', '.join(sizes)} (height x width), float32: the mean of "
            f'{TIMED} after {WARM_UPS} warm-ups')


def _cell(cell: Cell, runs: Sequence[Mapping], speeds: Mapping[str, Mapping]) -> dict[str, Any]:
    first = runs[0]
    values = {name: [run['scores'][name] for run in runs] for name in first['scores']}
    values['parameters'] = [first['parameters']]
    if cell.name in speeds:
        values['ms'] = [speeds[cell.name]['ms']]
    return {
        'label': cell.label,
        'labels': first['labels'],
        **_mean_spent(runs),
        'pretraining': _mean_spent([run['pretraining'] for run in runs])
        if cell.is_pretrained else None,
        'scores': {name: _spread(x) for name, x in values.items()},
    }


def _mean_spent(runs: Sequence[Mapping]) -> dict[str, float]:
    return {key: statistics.fmean(run[key] for run in runs)
            for key in ('minutes', 'steps', 'images')}


def _spread(values: Sequence[float]) -> dict[str, Any]:
    # The deviation of a sample; one value has none.
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {'mean': statistics.fmean(values), 'std': deviation, 'values': list(values)}


def judge(claim: Claim, cells: Mapping[str, Mapping]) -> dict[str, Any]:
    """Say whether a claim holds: in every seed, in none, or in some.

    Parameters
    ----------
    cells : mapping
        Cell -> its part of results.json.

    Returns
    -------
    dict
        text, verdict (HOLDS, FAILS or OPEN), ours (in words), wins and seeds.
    """
    column = COLUMNS[claim.metric]
    ours, other = (cells[name]['scores'][claim.metric] for name in (claim.better, claim.worse))
    wins = [_wins(a, b, claim.factor, column.higher)
            for a, b in zip(ours['values'], other['values'], strict=True)]
    verdict = HOLDS if all(wins) else OPEN if any(wins) else FAILS
    told = f"{ours['mean']:{column.form}} against {other['mean']:{column.form}}"
    if claim.factor != 1:
        told += f", {other['mean'] / ours['mean']:.1f} times"
    if claim.metric not in ('parameters', 'ms'):
        told += f', better with {sum(wins)} of {len(wins)} seeds'
    return {'text': claim.text, 'verdict': verdict, 'ours': told, 'wins': sum(wins),
            'seeds': len(wins)}


def _wins(ours: float, other: float, factor: float, higher: bool) -> bool:
    return ours > other * factor if higher else ours * factor < other


def sentences(results: Results) -> list[str]:
    """Say of each claim whether it holds in our run."""
    return [f"{x['text']}: {x['verdict']} in our run ({x['ours']})." for x in results['claims']]


def rows(results: Results) -> tuple[list[str], list[list[str]], list[list[str]]]:
    """Lay out the table.

    Returns
    -------
    tuple
        Headers, the lines of our cells, and those of the paper.
    """
    cells = results['cells'].values()
    is_pretrained = any(x['pretraining'] for x in cells)
    headers = ['', 'labels', 'minutes', 'steps', 'images seen']
    headers += ['pre-training'] if is_pretrained else []
    columns = results['columns']
    ours = []
    for x in cells:
        line = [x['label'], f"{x['labels']:,}", f"{x['minutes']:.1f}", f"{x['steps']:,.0f}",
                f"{x['images']:,.0f}"]
        line += [_pretraining(x['pretraining'])] if is_pretrained else []
        ours.append(line + [_figure(x['scores'][name], COLUMNS[name].form) for name in columns])
    blank = [''] * (len(headers) - 1)
    printed = [[label, *blank, *(row.get(name, '') for name in columns)]
               for label, row in results['printed'].items()]
    return headers + [COLUMNS[name].header for name in columns], ours, printed


def _pretraining(spent: Mapping[str, float] | None) -> str:
    if spent is None:
        return 'none'
    return (f"{spent['minutes']:.1f} min, {spent['steps']:,.0f} steps, "
            f"{spent['images']:,.0f} images")


def _figure(score: Mapping[str, Any], form: str) -> str:
    spread = '' if score['std'] is None else f" ± {score['std']:{form}}"
    return f"{score['mean']:{form}}{spread}"


def as_table(results: Results) -> Table:
    """Lay the results out for a terminal, which is narrow: a column a cell.

    Where there are many cells it has a line for each, with steps and as many scores as fit; the
    Markdown file has all of them.
    """
    headers, ours, printed = rows(results)
    table = Table(title=escape(caption(results)))
    if len(ours + printed) > MOST_COLUMNS:
        scores = [i for i, name in enumerate(headers) if name in _first_scores(results)]
        kept = [0, headers.index('steps'), *scores]
        for i in kept:
            table.add_column(escape(headers[i]), justify='right' if i else 'left')
        for line in ours + printed:
            table.add_row(*(escape(line[i]) for i in kept))
        return table
    for i, heading in enumerate((headers[0], *(line[0] for line in ours + printed))):
        table.add_column(escape(heading), justify='right' if i else 'left')
    for i, name in enumerate(headers[1:], start=1):
        table.add_row(escape(name), *(line[i] for line in ours + printed))
    return table


def _first_scores(results: Results) -> list[str]:
    names = [name for name in results['columns'] if name not in ('parameters', 'ms')]
    return [COLUMNS[name].header for name in names[:SCORES_SHOWN]]


def caption(results: Results) -> str:
    """Say under which conditions the table was made."""
    data, recipe = results['data'], results['recipe']
    return (f"{results['comparison']}: seeds: {', '.join(map(str, results['seeds']))}; "
            f"{results['minutes_per_run']:g} minutes a cell on {results['device']}; "
            f"{recipe['height']}x{recipe['width']} px, batches of {recipe['batch_size']}; "
            f"{data['scored_on']} pictures of the val split of {data['dataset']} up to "
            f"{data['cap_m']:g} m, {results['alignment']}, mean over pictures; "
            'mean ± deviation over seeds')


def as_markdown(results: Results) -> str:
    """Write what results.md holds."""
    headers, ours, printed = rows(results)
    lines = [f"# {results['comparison']}", '', f"Paper: {results['paper']}.", '',
             f'{caption(results)}.', '', _line(headers),
             _line(['---'] + ['---:'] * (len(headers) - 1)), *map(_line, ours + printed), '',
             '## What is claimed', '', *(f'- {x}' for x in sentences(results)), '',
             '## Notes', '', *(f'- {x}' for x in results['notes']),
             f"- Trained on {', '.join(results['data']['sources'])}; loss "
             f"{results['recipe']['loss']['name']}, {results['recipe']['precision']}."]
    if results['timing']:
        lines.append(f"- Times: {results['timing']}.")
    return '\n'.join(lines) + '\n'


def _line(fields: Sequence[str]) -> str:
    return f"| {' | '.join(fields)} |"
