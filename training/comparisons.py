"""What the papers compare, as data: networks, how they start, what is scored, what is claimed.

``training.reproduce`` runs these. A cell is one line of a paper's table, trained once a seed; all
cells of a comparison get the same pictures, the same recipe and the same time.
"""

from __future__ import annotations

from training.comparison_types import COLUMNS, IMAGENET, Cell, Claim, Column, Comparison
from training.comparisons_dfdnet import DFDNET
from training.comparisons_spt import SPT_TABLE3, SPT_TABLE5

__all__ = ['COLUMNS', 'COMPARISONS', 'GROUPS', 'IMAGENET', 'Cell', 'Claim', 'Column',
           'Comparison']

def _both(metric: str, text: str, better: str, worse: str) -> tuple[Claim, ...]:
    # The paper does not say how depth was brought to 0..1.
    norms = {'max_depth': 'depth / cap', 'minmax': "each image's own range"}
    return tuple(
        Claim(f'{text} ({told})', f'{metric}_{norm}', better, worse)
        for norm, told in norms.items()
    )


REALTIME_UNET = Comparison(
    name='realtime_unet',
    paper='Y. Zhang, "Realtime Single Image Depth Estimation"',
    cells=(
        Cell('unet', 'U-Net (baseline)', 'unet'),
        Cell('realtime_unet', 'Realtime U-Net, R', 'realtime_unet'),
        Cell('realtime_unet_a', 'Realtime U-Net, A', 'realtime_unet_a'),
    ),
    columns=('parameters', 'ms', 'mse_max_depth', 'ssim_max_depth', 'mse_minmax', 'ssim_minmax'),
    claims=(
        Claim('R has 14 times fewer parameters than the baseline', 'parameters',
              'realtime_unet', 'unet', 14.0),
        Claim('R is about 6 times as fast as the baseline (printed: 5.8)', 'ms',
              'realtime_unet', 'unet', 5.8),
        *_both('mse', "R's MSE is lower than the baseline's", 'realtime_unet', 'unet'),
        *_both('ssim', "R's SSIM is higher than the baseline's", 'realtime_unet', 'unet'),
        *_both('mse', "A's MSE is lower than the baseline's", 'realtime_unet_a', 'unet'),
        *_both('ssim', "A's SSIM is higher than the baseline's", 'realtime_unet_a', 'unet'),
    ),
    printed={
        'paper: baseline': {
            'parameters': '17.26M', 'ms': '163.45', 'mse_max_depth': '0.04781',
            'ssim_max_depth': '0.7549', 'mse_minmax': '0.04781', 'ssim_minmax': '0.7549'},
        'paper: its network': {
            'parameters': '1.22M', 'ms': '28.11', 'mse_max_depth': '0.04588',
            'ssim_max_depth': '0.7779', 'mse_minmax': '0.04588', 'ssim_minmax': '0.7779'},
    },
    notes=(
        "The paper does not say how depth was brought to 0..1: its MSE and SSIM stand in both "
        "norms' columns.",
        'The paper: NYU Depth V2, 50 epochs, 72 hours on a Titan Pascal, which also gave its '
        'times.',
        'At equal time the small network sees more pictures than the baseline; the paper trained '
        'both for equal epochs.',
    ),
    is_timed=True,
)

EIGEN = Comparison(
    name='eigen',
    paper='A. Verma et al., "Depth Map Prediction from a Single Image using a Multi-Scale Deep '
          'Network", after D. Eigen et al. (2014)',
    cells=(
        Cell('coarse', 'coarse alone', stages=('coarse',)),
        Cell('coarse_fine', 'coarse, then fine', stages=('coarse', 'fine')),
    ),
    columns=('scale_invariant', 'scale_invariant_root', 'rmse', 'rmse_log'),
    claims=(
        Claim('the fine network lowers the scale-invariant error', 'scale_invariant',
              'coarse_fine', 'coarse'),
        Claim('the fine network lowers the RMSE', 'rmse', 'coarse_fine', 'coarse'),
    ),
    printed={
        'paper: coarse and fine, 4 epochs': {'scale_invariant_root': '0.14727', 'rmse': '1.46618'},
        'paper: the baseline it quotes': {'scale_invariant_root': '0.219', 'rmse': '0.871'},
    },
    notes=(
        'The paper prints no figure for the coarse network alone: it shows pictures.',
        'The paper calls its first figure "scale invariant RMSE (log scale)" in the table and '
        '"scale-invariant error" in the text: it stands with the roots here.',
        'Both cells have the same time: the fine network takes half of it from the coarse one.',
    ),
)


def _unetpp_cells() -> tuple[Cell, ...]:
    starts = {'scratch': ('', 'random start'), 'imagenet': (IMAGENET, 'ImageNet encoder'),
              'spark': ('sparse', 'SparK encoder')}
    return tuple(
        Cell(f'{name}_{percent}', f'{told}, {percent}% of labels', labels=percent / 100,
             start=start)
        for percent in (10, 100)
        for name, (start, told) in starts.items()
    )


def _unetpp_claims() -> tuple[Claim, ...]:
    return tuple(
        Claim(f'{told} beats a random start at {percent}% of the labels ({metric})', metric,
              f'{start}_{percent}', f'scratch_{percent}')
        for percent in (10, 100)
        for start, told in (('spark', 'SparK pre-training'), ('imagenet', 'an ImageNet encoder'))
        for metric in ('abs_rel', 'rmse')
    )


UNETPP = Comparison(
    name='unetpp',
    paper='"Single Image Depth Estimation using SparK Encoder Decoder"',
    cells=_unetpp_cells(),
    columns=('abs_rel', 'rmse', 'delta1', 'rmse_log'),
    claims=_unetpp_claims(),
    notes=(
        'The paper prints no figure, and could not run the pre-training that it proposes. The '
        'claims are its reasons for proposing it.',
        'Pre-training takes its time on top and sees all training pictures, without depth, '
        'whatever the share of labels: pictures are cheap, depth is not.',
        'Labels come in whole shards of 64 views, so the smaller share is what the table counts.',
    ),
)

_MASKINGS = {'zero': 'hidden cells black', 'drop': 'hidden cells left out',
             'sparse': 'sparse (SparK)'}

SPARK = Comparison(
    name='spark',
    paper='figure 1 of "Single Image Depth Estimation using SparK Encoder Decoder"',
    cells=tuple(Cell(name, told, start=name) for name, told in _MASKINGS.items()),
    columns=('abs_rel', 'rmse', 'delta1', 'rmse_log'),
    claims=tuple(
        Claim(f'sparse masking is a better start than {_MASKINGS[other]} ({metric})', metric,
              'sparse', other)
        for other in ('zero', 'drop')
        for metric in ('abs_rel', 'rmse')
    ),
    notes=(
        'The paper shows the three maskings as a figure, without a figure of merit.',
        'Each is pre-trained and fine-tuned for the same time; a strategy that costs more makes '
        'fewer steps.',
        '`python -m training.reproduce unetpp` has the random start to compare with.',
    ),
)

SCENES = Comparison(
    name='scenes',
    paper='none; the recipe and the scenes of the shipped model',
    cells=tuple(Cell(f'of_{parts}', 'all scenes' if parts == 1 else f'1/{parts} of the scenes',
                     labels=1 / parts) for parts in (64, 16, 4, 1)),
    columns=('abs_rel', 'rmse', 'delta1', 'rmse_log'),
    claims=tuple(
        Claim(f'{told} are better than {few} ({metric})', metric, better, worse)
        for told, better, few, worse in (
            ('all scenes', 'of_1', 'a quarter of them', 'of_4'),
            ('a quarter of the scenes', 'of_4', 'a sixteenth', 'of_16'),
            ('a sixteenth of the scenes', 'of_16', 'a 64th', 'of_64'))
        for metric in ('abs_rel', 'delta1')
    ),
    notes=(
        'Views come in whole shards of 64, four views a room, so the smallest share is what the '
        'table counts; the mixture of rooms, close scenes, worlds and real frames is the same.',
        'curve.png has the held-out pictures as well.',
    ),
)

COMPARISONS: dict[str, Comparison] = {
    x.name: x
    for x in (REALTIME_UNET, EIGEN, UNETPP, SPARK, SPT_TABLE3, SPT_TABLE5, DFDNET, SCENES)
}

#: Names for several comparisons, one after the other.
GROUPS: dict[str, tuple[str, ...]] = {'spt': (SPT_TABLE3.name, SPT_TABLE5.name)}
