"""What became of the bags, as a table: on the screen, and beside the data set."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from training.data.bag_writer import DESCRIPTION
from training.data.splits import SPLITS

FILE = 'report.txt'
FILE_WIDTH = 140  # columns


def show(summary: Any, output: Path) -> None:
    """Print the table of a prepare.Summary, and write it to report.txt where a data set is."""
    _print(Console(), summary, output)
    if (output / DESCRIPTION).exists():
        with (output / FILE).open('w') as file:
            _print(Console(file=file, width=FILE_WIDTH), summary, output)


def _print(console: Console, summary: Any, output: Path) -> None:
    console.print(_table(summary))
    for line in _lines(summary, output):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _table(summary: Any) -> Table:
    table = Table(title='Bags')
    for name in ('bag', 'kind', 'pictures', *SPLITS, 'left out'):
        number = name in ('pictures', *SPLITS)
        table.add_column(name, justify='right' if number else 'left', no_wrap=number,
                         overflow='fold')
    for row in summary.rows:
        tally = row.tally
        cells = [
            row.name, row.kind or 'not used', str(tally.pictures),
            *(str(tally.kept[split]) for split in SPLITS),
            '\n'.join(f'{count} {reason}' for reason, count in tally.left_out.most_common())]
        table.add_row(*map(escape, cells))
    return table


def _lines(summary: Any, output: Path) -> Iterator[str]:
    for row in summary.rows:
        if row.topics:
            yield f'{row.name}: {", ".join(row.topics)}' + (
                ' (was there already)' if row.earlier else '')
        yield from (f'{row.name}: {note}' for note in row.notes)
    yield _last_line(summary, output)


def _last_line(summary: Any, output: Path) -> str:
    if not summary.counts:
        return f'{output} holds no frame; the table says why'
    counts = '; '.join(f'{kind}: ' + ', '.join(f'{each[split]} {split}' for split in SPLITS)
                       for kind, each in summary.counts.items())
    empty = [split for each in summary.counts.values() for split in SPLITS[:2] if not each[split]]
    advice = ('' if not empty else f'. Nothing is for {" and ".join(sorted(set(empty)))}: record '
              'longer, or prepare another bag with --split ' + empty[0])
    return f'{output} holds {counts}{advice}'
