"""How the joint loss of SPT-Depth is weighed from epoch to epoch, and how many samples one has.

``python -m training.schedule scheme=NAME epochs=45 most_samples=160 file=FILE.png`` plots it.

Source: Z. Xia et al. (see training.models.spt), table 2 and the two sections on convergence, and
the public code that has the names of table 2. In the coarse stage (the first ten epochs) the
depth term forgives scale and shift, in the fine one it is the squared error. The paper prints no
equation for what its factors do; here, with epochs counted from 0,

    fx(e)        = max(fx_min, fx / sqrt(max(1, attenuation e)))     2.5, 1.02, 0.72 ... 0.5
    threshold(e) = (coarse factor, in a line down to 2.5) / 5, then (fine factor) / 0.5
    loss         = alpha (CE + penalty) / 2
                   + (1 - alpha) threshold(e) (mse_factor fx(e) L_data + ssim_factor L_ssim
                                               + smooth_factor L_smooth)
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import dataclasses
from dataclasses import dataclass
from functools import cache
import math
from pathlib import Path
from typing import NamedTuple

import yaml

from training.config import ConfigError, Epochs, refuse_unknown, typed_value

SCHEMES_FILE = Path(__file__).parent / 'configs' / 'spt_schemes.yaml'
COARSE_EPOCHS = 10
COARSE_USUAL, COARSE_LEAST, FINE_USUAL = 5.0, 2.5, 0.5  # of the threshold factors
PAPER_EPOCHS = 45


@dataclass(frozen=True)
class Scheme:
    """One column of table 2; see the head of configs/spt_schemes.yaml."""

    depth_datum: float
    seg_penalty_factor: float
    mse_factor: float
    ssim_factor: float
    smooth_factor: float
    attenuation: float
    segmentation_factor: float
    depth_in_factor: float
    depth_out_factor: float
    fine_threshold_factor: float
    coarse_threshold_factor: float
    fx: float
    fx_min: float


class Weights(NamedTuple):
    """What the terms of one epoch are multiplied by.

    Attributes
    ----------
    fx, threshold : float
        The two dynamic factors that the others follow from.
    segmentation, penalty, data, ssim, smooth : float
        Of the cross-entropy, the penalty and the three depth terms.
    background, foreground : float
        Of the pixels on either side of the datum within `data`; they are 1 where the scheme
        weighs both alike.
    """

    fx: float
    threshold: float
    segmentation: float
    penalty: float
    data: float
    ssim: float
    smooth: float
    background: float
    foreground: float


@cache
def schemes() -> dict[str, Scheme]:
    """All schemes by name."""
    tree = yaml.safe_load(SCHEMES_FILE.read_text())
    return {name: typed_value(Scheme, fields, name) for name, fields in tree.items()}


def named_scheme(name: str) -> Scheme:
    """Return the scheme `name`.

    Raises
    ------
    ConfigError
        There is none; the message lists what there is.
    """
    if name not in schemes():
        raise ConfigError(f"scheme {name!r} does not exist; choose one of {', '.join(schemes())}")
    return schemes()[name]


def is_coarse(epoch: int) -> bool:
    """Whether `epoch`, from 0, belongs to the coarse stage; the paper leaves 10 itself open."""
    return epoch < COARSE_EPOCHS


def fx_at(scheme: Scheme, epoch: int) -> float:
    """Weight of the data term in units of mse_factor: it falls with the root of the epoch."""
    return max(scheme.fx_min, scheme.fx / math.sqrt(max(1.0, scheme.attenuation * epoch)))


def threshold(scheme: Scheme, epoch: int) -> float:
    """Weight of all depth terms, in units of the values that the paper settles on: 5 and 0.5.

    The coarse factor falls in a line to 2.5, below which the paper loses details, at the last
    coarse epoch; the fine one is constant.
    """
    if not is_coarse(epoch):
        return scheme.fine_threshold_factor / FINE_USUAL
    start = scheme.coarse_threshold_factor
    factor = start + (COARSE_LEAST - start) * epoch / (COARSE_EPOCHS - 1)
    return factor / COARSE_USUAL


def weights_at(scheme: Scheme, epoch: int) -> Weights:
    """Weights of `epoch`, from 0."""
    alpha, fx, factor = scheme.segmentation_factor, fx_at(scheme, epoch), threshold(scheme, epoch)
    depth = (1 - alpha) * factor
    both = scheme.depth_in_factor + scheme.depth_out_factor
    return Weights(
        fx=fx, threshold=factor, segmentation=alpha / 2, penalty=alpha / 2,
        data=depth * scheme.mse_factor * fx,
        ssim=depth * scheme.ssim_factor, smooth=depth * scheme.smooth_factor,
        background=2 * scheme.depth_in_factor / both,
        foreground=2 * scheme.depth_out_factor / both,
    )


def samples_at(epoch: int, epochs: Epochs) -> int:
    """Samples that `epoch`, from 0, draws anew: first_samples 2^k, up to most_samples."""
    doublings = min(epoch // epochs.double_every, 30)
    return min(epochs.most_samples, epochs.first_samples * 2**doublings)


def plot(scheme: str, epochs: Epochs, path: Path) -> None:
    """Draw each weight, and the samples, over ``epochs.count`` epochs into a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 7), layout='constrained')
    FigureCanvasAgg(figure)
    upper, lower, samples = figure.subplots(3, 1, sharex=True, height_ratios=(2, 2, 1))
    numbers = range(epochs.count)
    rows = [weights_at(named_scheme(scheme), e) for e in numbers]
    for axes, names, place in (
        (upper, Weights._fields[:2] + Weights._fields[-2:], 'upper right'),
        (lower, Weights._fields[2:-2], 'center right'),  # clear of the lines above and below
    ):
        for i, name in enumerate(names):
            # Equal weights lie on each other: dashes of their own keep all of them in sight.
            style = (i * 2, (4, 2 * len(names) - 4 or 1))
            axes.step(numbers, [getattr(row, name) for row in rows], where='mid', label=name,
                      linestyle=style if i else '-')
        axes.set_ylim(bottom=0)
        axes.legend(loc=place)
    samples.step(numbers, [samples_at(e, epochs) for e in numbers], where='mid', color='black')
    samples.set_ylim(bottom=0)
    for axes, label in ((upper, 'factor'), (lower, 'weight of a term'), (samples, 'samples')):
        axes.set_ylabel(label)
        axes.axvline(COARSE_EPOCHS - 0.5, color='grey', linewidth=0.8, linestyle=':')
    upper.set_title(f'{scheme}: coarse stage to the left of the dotted line, fine to the right')
    samples.set_xlabel('epoch')
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def main(argv: Sequence[str] | None = None) -> None:
    """Plot as the command line says."""
    parser = argparse.ArgumentParser(
        prog='python -m training.schedule', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('settings', nargs='*', metavar='key=value',
                        help='scheme, epochs, first_samples, most_samples, double_every, file')
    given = dict(text.partition('=')[::2] for text in parser.parse_args(argv).settings)
    try:
        numbers = [field.name for field in dataclasses.fields(Epochs) if field.name != 'count']
        refuse_unknown(given, ['scheme', 'epochs', *numbers, 'file'], '')
        scheme = given.get('scheme', 'scheme7')
        named_scheme(scheme)
        plan = {key: yaml.safe_load(given[key]) for key in numbers if key in given}
        plan['count'] = yaml.safe_load(given.get('epochs', str(PAPER_EPOCHS)))
        epochs = typed_value(Epochs, plan, 'epochs')
        path = Path(given.get('file', f'runs/spt_{scheme}.png'))
        plot(scheme, epochs, path)
    except ConfigError as error:
        raise SystemExit(f'error: {error}') from error
    print(path)


if __name__ == '__main__':
    main()
