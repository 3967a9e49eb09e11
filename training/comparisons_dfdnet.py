"""The ablations of DfDNet's paper: one thing is changed at a time, and compared with the rest."""

from __future__ import annotations

from training.comparison_types import Cell, Claim, Comparison

BASE = 'dfdnet'
_METRICS = ('abs_rel', 'rmse')


def _claims(text: str, *worse: str) -> tuple[Claim, ...]:
    return tuple(Claim(f'{text.format(told=LABELS[name])} ({metric})', metric, BASE, name)
                 for name in worse for metric in _METRICS)


CELLS = (
    Cell(BASE, 'DfDNet, small'),
    Cell('single', 'one image in focus', 'dfdnet_small_single'),
    Cell('collapse_1', 'collapse after 1 block', options={'collapse_after': 1}),
    Cell('collapse_4', 'collapse after 4 blocks', options={'collapse_after': 4}),
    Cell('collapse_7', 'no early collapse', options={'collapse_after': 7}),
    Cell('max', 'collapse by the maximum', options={'collapse': 'max'}),
    Cell('attention', 'collapse by attention', options={'collapse': 'attention'}),
    Cell('metric', 'no canonical space', options={'canonical': False}),
    Cell('f_fixed', 'f/2 alone in training', data={'f_numbers': [2.0]}),
    Cell('focus_linear', 'focus even in metres', data={'focus': 'linear'}),
    Cell('focus_fixed', 'always the same focus', data={'focus': 'fixed'}),
)
LABELS = {cell.name: cell.label for cell in CELLS}

DFDNET = Comparison(
    name='dfdnet',
    paper='V. Subramanian, "Transformer-based Monocular Depth Estimation using Defocus Cues"',
    cells=CELLS,
    columns=('parameters', 'abs_rel', 'rmse', 'rmse_log', 'mse', 'sq_rel', 'delta1', 'delta2',
             'delta3'),
    claims=(
        *_claims('a stack beats {told}', 'single'),
        *_claims('at equal time an early collapse beats: {told}', 'collapse_4', 'collapse_7'),
        *_claims('two blocks of stack attention beat: {told}', 'collapse_1'),
        *_claims('the mean beats: {told}', 'max', 'attention'),
        *_claims('canonical space beats: {told}', 'metric'),
        *_claims('a random f-number beats: {told}', 'f_fixed'),
        *_claims('focus even in disparity beats: {told}', 'focus_linear', 'focus_fixed'),
    ),
    notes=(
        'DfDNet, small: stack attention behind 2 of 7 blocks, collapse by the mean, canonical '
        'space; f-numbers and focus bounds are drawn anew for each stack, focus is even in '
        'disparity. Every other line changes one of these.',
        "The paper's own tables are empty: the claims are what it argues for, and of the collapse "
        'what its published form chose.',
        'All cells are scored on the same stacks: f/1 to f/4, focus even in disparity between '
        'random bounds.',
        'At 96x128 a lens of f/10, as the paper trains with for DDFF-12, blurs less than a pixel: '
        'f/1 to f/4 stand for f/10 to f/18 here.',
        'At equal time networks that are faster see more stacks, the single-image network most '
        'of all.',
    ),
)
