#!/usr/bin/env python3
"""Write the table of ``docs/diagnostics.md`` anew from the codes in the code."""

from __future__ import annotations

from pathlib import Path
import sys

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / 'docs' / 'diagnostics.md'
BEGIN, END = '<!-- codes: written by scripts/write_diagnostics.py -->', '<!-- end of codes -->'


def main() -> None:
    """Replace what stands between the marks."""
    text = PAGE.read_text(encoding='utf-8')
    before, _, rest = text.partition(BEGIN)
    PAGE.write_text(f'{before}{BEGIN}\n{table()}{END}{rest.partition(END)[2]}', encoding='utf-8')


def table() -> str:
    """Return all codes as a table in Markdown."""
    sys.path.insert(0, str(ROOT))
    from depth_perception.nodes._codes import CODES

    rows = [f'| `{name}` | {code.cause} | {code.cure} | {counter(code.counter)} |\n'
            for name, code in CODES.items()]
    return ''.join(['| code | cause | cure | counter |\n', '|---|---|---|---|\n', *rows])


def counter(name: str) -> str:
    """Return a counter as it is shown; there may be none."""
    return f'`{name}`' if name else ''


if __name__ == '__main__':
    main()
