"""The recipe of a fine-tuning, and the training config that it makes of a model's own recipe."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

from training.config import Config, ConfigError, Data, Phase, Trainer, typed_value
from training.data import DataError
from training.data.self_labelled import DESCRIPTION, SELF_LABELLED
from training.losses import CONFIDENCE_LOSSES
from training.provenance import Start
from training.registry import build_network

RECIPE = 'finetune'
ENCODERS = ('stem.', 'encoder.')
# What tells a folder's kind: file -> name in training.data.DATASETS.
KINDS = {'dataset.json': 'bag', 'dataset.yaml': 'folder', DESCRIPTION: SELF_LABELLED}


@dataclass(frozen=True)
class Stage:
    """Optimiser steps, peak learning rate, and a limit of wall-clock minutes (0: none)."""

    steps: int
    learning_rate: float
    minutes: float = 0.0


@dataclass(frozen=True)
class Rehearsal:
    """Pictures of the first training that are trained on again, so that it is not forgotten.

    Attributes
    ----------
    share : float
        Of all pictures that are drawn; 0: no rehearsal.
    views, weights : dict
        As those of the data set mixed: views to render, and sampling weight, by entry of
        splits.yaml. The val entries measure what is forgotten.
    """

    share: float = 0.3
    views: dict[str, int] = field(default_factory=lambda: {'procedural_train': 512,
                                                           'procedural_val': 64})
    weights: dict[str, float] = field(default_factory=lambda: {'procedural_train': 1.0})

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ConfigError(f'rehearsal.share is {self.share}; it must be at least 0 and below '
                              '1')


@dataclass(frozen=True)
class FineTune:
    """One fine-tuning; see training/configs/finetune.yaml.

    Attributes
    ----------
    recipe : str
        ``finetune``: tells this file from the config of a training.
    init, data : str
        Model to start from (training.provenance.read_start), folder of the data set.
    name, output : str
        Of the new model (empty: that of `init` with ``_finetuned``), and where files land.
    frozen, unfrozen : Stage
        First the decoder alone learns, then all of the network.
    batch_size : int
    max_zoom : float
        As that of a phase.
    confidence, confidence_weight : bool, float
        Whether the new model says how sure it is, and the weight of that in the loss.
    photometric : float
        Weight of the photometric loss; for recordings without depth alone.
    held_out : int
        Frames at most that the models are compared on before and after.
    trainer : dict
        Changes of the model's own trainer settings.
    """

    recipe: str
    frozen: Stage
    unfrozen: Stage
    init: str = ''
    data: str = ''
    name: str = ''
    output: str = 'runs/finetune'
    seed: int = 0
    resume: bool = False
    batch_size: int = 8
    max_zoom: float = 1.3
    confidence: bool = False
    confidence_weight: float = 0.01
    photometric: float = 0.3
    held_out: int = 200
    rehearsal: Rehearsal = field(default_factory=Rehearsal)
    trainer: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.recipe != RECIPE:
            raise ConfigError(f'recipe is {self.recipe!r}; it must be {RECIPE}')
        for key in ('confidence_weight', 'photometric', 'held_out'):
            if not getattr(self, key) > 0:
                raise ConfigError(f'{key} is {getattr(self, key)}; it must be above 0')


def is_recipe(path: str) -> bool:
    """Say whether a YAML file is a recipe of fine-tuning, and not the config of a training."""
    try:
        tree = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False  # load_config says why
    return isinstance(tree, dict) and tree.get('recipe') == RECIPE


def kind_of(folder: str) -> str:
    """Return the name in training.data.DATASETS that reads `folder`.

    Raises
    ------
    DataError
        None does.
    """
    if not folder:
        raise DataError('data is empty; give the folder that training.data.prepare wrote: '
                        'data=DATASET')
    if not Path(folder).is_dir():
        raise DataError(f'data={folder} is no folder; give one that training.data.prepare wrote, '
                        'or pictures as training/data/folder.py has them')
    for file, kind in KINDS.items():
        if (Path(folder) / file).is_file():
            return kind
    raise DataError(f'data={folder} has none of {", ".join(KINDS)}; make a data set of bags with '
                    '`python -m training.data.prepare BAG… -o DATASET`, or describe the folder '
                    'as training/data/folder.py says')


def resolve(
    settings: FineTune, start: Start, kind: str, root: str, told: dict[str, Any]
) -> Config:
    """Make the config of the training.

    `kind` and `root` are name and folder of its data set, `told` is its provenance.

    Raises
    ------
    ConfigError
        The model cannot be fine-tuned so, or a setting is wrong.
    """
    base = start.config
    options = dict(base.model_options)
    is_sure = settings.confidence or base.loss['name'] in CONFIDENCE_LOSSES
    if is_sure:
        options['confidence'] = True
    with torch.device('meta'):
        network = build_network(base.model, options)
    encoder = _encoder(network, base)
    last = base.phases[-1]
    phases = tuple(
        Phase(last.height, last.width, settings.batch_size, stage.steps, stage.learning_rate,
              stage.minutes, settings.max_zoom, frozen=frozen, fixed_norms=True)
        for stage, frozen in ((settings.frozen, encoder), (settings.unfrozen, ())))
    return Config(
        name=settings.name or f'{start.name}_finetuned', model=base.model, model_options=options,
        phases=phases, output=settings.output, depth_range=base.trusted_range,
        seed=settings.seed, init=start.weights, resume=settings.resume,
        loss=_loss(settings, base), data=_data(settings, kind, root),
        photometric=settings.photometric if kind == SELF_LABELLED else 0.0,
        trainer=typed_value(Trainer, asdict(base.trainer) | settings.trainer, 'trainer'),
        provenance=told)


def _encoder(network: torch.nn.Module, base: Config) -> tuple[str, ...]:
    if network.output_kind == 'relative' or hasattr(network, 'frames'):
        what = 'relative depth' if network.output_kind == 'relative' else 'focus stacks'
        raise ConfigError(f'{base.name} is a model for {what}; fine-tuning is for single images '
                          'in metres')
    names = list(dict(network.named_parameters()))
    found = tuple(x for x in ENCODERS if any(name.startswith(x) for name in names))
    if not found:
        raise ConfigError(f'{base.model} has no part called {" or ".join(ENCODERS)} that could '
                          'be frozen; train it with a config of its own and init=')
    return found


def _loss(settings: FineTune, base: Config) -> dict[str, Any]:
    loss = dict(base.loss)
    if base.phases[-1].relative:  # the phases of a fine-tuning leave the loss alone
        if loss['name'] in CONFIDENCE_LOSSES:
            loss['loss'] = {**loss['loss'], 'relative': True}
        else:
            loss['relative'] = True
    if settings.confidence and loss['name'] not in CONFIDENCE_LOSSES:
        loss = {'name': 'laplace', 'loss': loss}
    if loss['name'] in CONFIDENCE_LOSSES:
        loss['weight'] = settings.confidence_weight
    return loss


def _data(settings: FineTune, kind: str, root: str) -> Data:
    if not settings.rehearsal.share:
        return Data(dataset=kind, root=root, workers=1)
    return Data(dataset='rehearsed', root=root, views=settings.rehearsal.views,
                weights=settings.rehearsal.weights,
                options={'dataset': kind, 'share': settings.rehearsal.share})
