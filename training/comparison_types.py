"""What a comparison is made of; training.comparisons has those of the papers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from training.models.spark import STRATEGIES

IMAGENET = 'imagenet'
MILESTONES = (10, 20, 30, 45)  # epochs of table 3 of SPT-Depth


class Column(NamedTuple):
    """How a score is shown, and which way is better."""

    header: str
    form: str
    higher: bool = False


COLUMNS: dict[str, Column] = {
    'parameters': Column('parameters', ',.0f'),
    'ms': Column('ms a frame', '.1f'),
    'mse_max_depth': Column('MSE (z / cap)', '.5f'),
    'ssim_max_depth': Column('SSIM (z / cap)', '.4f', higher=True),
    'mse_minmax': Column('MSE (min-max)', '.5f'),
    'ssim_minmax': Column('SSIM (min-max)', '.4f', higher=True),
    'scale_invariant': Column('scale-invariant', '.4f'),
    'scale_invariant_root': Column('its root', '.4f'),
    'rmse': Column('RMSE [m]', '.3f'),
    'rmse_log': Column('RMSE log', '.4f'),
    'mse': Column('MSE [m2]', '.3f'),
    'abs_rel': Column('AbsRel', '.4f'),
    'sq_rel': Column('SqRel [m]', '.4f'),
    **{f'delta{k}': Column(f'delta{k}', '.4f', higher=True) for k in (1, 2, 3)},
    **{f'{name}_loss_{epoch}': Column(f'{told} loss, epoch {epoch}', '.4f')
       for name, told in (('train', 'training'), ('val', 'validation')) for epoch in MILESTONES},
}


@dataclass(frozen=True)
class Cell:
    """One line of a comparison.

    Attributes
    ----------
    name, label : str
        In file names and in tables.
    model : str
        In training.models.MODELS; empty: the config's.
    stages : tuple of str
        Parts of the model, trained one after the other; they share the time equally.
    labels : float
        Share of the training views whose depth is used, 0..1.
    start : str
        Of the encoder: empty for random weights, IMAGENET for a given file, or the strategy of
        training.models.spark by which it is pre-trained first.
    options, loss, data : mapping
        What differs from the config's model_options, loss and data.options.
    """

    name: str
    label: str
    model: str = ''
    stages: tuple[str, ...] = ('',)
    labels: float = 1.0
    start: str = ''
    options: Mapping[str, Any] = field(default_factory=dict)
    loss: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_pretrained(self) -> bool:
        """Whether a pre-training of ours comes first."""
        return self.start in STRATEGIES


@dataclass(frozen=True)
class Claim:
    """That `better` beats `worse` in `metric`, by at least `factor` where one is given."""

    text: str
    metric: str
    better: str
    worse: str
    factor: float = 1.0


@dataclass(frozen=True)
class Comparison:
    """A paper's experiment.

    Attributes
    ----------
    cells, claims : tuple
    columns : tuple of str
        Scores that the table shows, of COLUMNS.
    printed : mapping
        Line of the paper's table -> score -> figure as printed.
    notes : tuple of str
        What one must know to read the table.
    is_timed : bool
        Whether networks are timed as well.
    recipe : str
        Of the config file reproduce_RECIPE.yaml and of the folder of the cells, which comparisons
        with the same recipe share; empty: `name`.
    files : str
        Of the report's files.
    """

    name: str
    paper: str
    cells: tuple[Cell, ...]
    columns: tuple[str, ...]
    claims: tuple[Claim, ...]
    printed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    is_timed: bool = False
    recipe: str = ''
    files: str = 'results'
