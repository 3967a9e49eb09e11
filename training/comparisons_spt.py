"""Tables 3 and 5 of SPT-Depth, as data: five encoders under one decoder, and an ablation."""

from __future__ import annotations

from training.comparison_types import MILESTONES, Cell, Claim, Comparison

PAPER = ('Z. Xia et al., "Dense monocular depth estimation for stereoscopic vision based on '
         'pyramid transformer and multi-scale feature fusion" (2024)')
WITHOUT_SSI = {'ssi': False}
_SPT = Cell('spt', 'SPT-Depth', 'pvt_linear_sra')
_OTHERS = (
    Cell('vit32', 'ViT-32', 'vit32'),
    Cell('vit16', 'ViT-16', 'vit16'),
    Cell('dpt_hybrid', 'Hybrid', 'dpt_hybrid'),
    Cell('pvt', 'PVT', 'pvt'),
)
_PRINTED_LOSSES = {  # training, validation, at each of MILESTONES
    'ViT-32': ((1.79, 1.45, 1.29, 1.20), (2.85, 2.59, 2.41, 2.29)),
    'ViT-16': ((1.55, 1.31, 1.20, 1.14), (2.62, 2.36, 2.25, 2.20)),
    'Hybrid': ((1.27, 1.17, 1.14, 1.07), (2.34, 2.21, 2.16, 2.12)),
    'PVT': ((1.21, 1.12, 1.10, 1.06), (2.31, 2.16, 2.12, 2.08)),
    'SPT-Depth': ((1.14, 1.08, 1.06, 1.04), (2.16, 2.07, 2.04, 2.00)),
}
_COMMON_NOTES = (
    'All cells are of the size of spt_tiny, with its decoder and from random weights; the paper '
    'has networks of 36 to 100 million parameters, pre-trained, and real pictures.',
    'A network gives relative depth. Its AbsRel and RMSE are after one scale and shift of inverse '
    'depth for each picture.',
)


def _losses(stages: tuple[tuple[float, ...], tuple[float, ...]]) -> dict[str, str]:
    return {f'{stage}_loss_{epoch}': f'{value:.2f}'
            for stage, values in zip(('train', 'val'), stages)
            for epoch, value in zip(MILESTONES, values)}


SPT_TABLE3 = Comparison(
    name='spt_table3',
    paper=f'{PAPER}, table 3',
    cells=(*_OTHERS, _SPT),
    columns=('parameters', *(f'{stage}_loss_{epoch}' for stage in ('train', 'val')
                             for epoch in MILESTONES)),
    claims=tuple(
        Claim(f"SPT-Depth's {told} loss after 45 epochs is lower than {x.label}'s",
              f'{stage}_loss_45', 'spt', x.name)
        for stage, told in (('train', 'training'), ('val', 'validation')) for x in _OTHERS
    ),
    printed={f'paper: {name}': _losses(stages) for name, stages in _PRINTED_LOSSES.items()},
    notes=(
        *_COMMON_NOTES,
        'An epoch is a 45th of the time of a cell: at equal time a faster network sees more '
        'pictures in it. The paper counts pictures.',
        'The loss is the joint one with the weights of that epoch, so that it rises and falls '
        'with them as well; its scale is not that of the paper, which prints no equation. Compare '
        'cells.',
    ),
    recipe='spt', files='table3',
)

SPT_TABLE5 = Comparison(
    name='spt_table5',
    paper=f'{PAPER}, table 5',
    cells=(
        Cell('vit16_mse', 'ViT', 'vit16', loss=WITHOUT_SSI),
        Cell('pvt_mse', 'PVT backbone', 'pvt', loss=WITHOUT_SSI),
        Cell('linear_mse', 'and linear SRA', 'pvt_linear_sra', loss=WITHOUT_SSI),
        Cell('spt', 'and SSI loss', 'pvt_linear_sra'),
    ),
    columns=('parameters', 'abs_rel', 'rmse', 'delta1'),
    claims=tuple(
        Claim(f'{told} lowers {metric}', metric, better, worse)
        for told, better, worse in (('the PVT backbone', 'pvt_mse', 'vit16_mse'),
                                    ('linear SRA', 'linear_mse', 'pvt_mse'),
                                    ('the SSI loss', 'spt', 'linear_mse'),
                                    ('all of it together', 'spt', 'vit16_mse'))
        for metric in ('abs_rel', 'rmse')
    ),
    printed={
        'paper: ViT-L': {'abs_rel': '0.120', 'rmse': '0.551'},
        'paper: PVT backbone': {'abs_rel': '0.115', 'rmse': '0.461'},
        'paper: and linear SRA': {'abs_rel': '0.114', 'rmse': '0.459'},
        'paper: and SSI loss': {'abs_rel': '0.109', 'rmse': '0.351'},
    },
    notes=(
        *_COMMON_NOTES,
        'Without the SSI loss the coarse stage has the squared error, as the fine stage does.',
        "The paper's first line is ViT-L/16, many times the size of the others; here it is a ViT "
        'of their size.',
    ),
    recipe='spt', files='table5',
)
