from __future__ import annotations

import dataclasses

import pytest
from torch import nn

from training.config import Config, ConfigError, Phase
from training.freezing import freeze
from training.models import MODELS
from training.models.eigen import tiny as tiny_eigen
from training.models.realtime_unet import tiny
from training.registry import check

PHASE = Phase(32, 48, 2, 3, 1e-3)


def moved(network):
    """Whether each batch norm keeps its statistics."""
    return {name: module.training for name, module in network.named_modules()
            if isinstance(module, nn.BatchNorm2d)}


def frozen(**changes):
    return dataclasses.replace(PHASE, **changes)


def test_frozen_parts_keep_weights_and_statistics():
    network = tiny().train()
    freeze(network, frozen(frozen=('stem.',)))
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad != name.startswith('stem.')
    norms = moved(network)
    assert any(norms.values())
    assert not any(training for name, training in norms.items() if name.startswith('stem'))


def test_statistics_may_stay_while_weights_learn():
    network = tiny().train()
    freeze(network, frozen(fixed_norms=True))
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not any(moved(network).values())


def test_the_next_phase_thaws():
    network = tiny().train()
    freeze(network, frozen(frozen=('stem.', 'encoder.')))
    network.train()
    freeze(network, PHASE)
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(moved(network).values())


@pytest.mark.parametrize(('model', 'changes', 'message'), [
    ('realtime_unet_m', {'frozen': ('backbone.',)},
     "begins with 'backbone.'; its parts are stem., encoder., decoder., head."),
    ('realtime_unet_m', {'frozen': ('stem.', 'encoder.', 'decoder.', 'head.')},
     'leaves nothing of realtime_unet_m'),
    ('eigen', {'frozen': ('coarse.',), 'stage': 'fine', 'height': 68, 'width': 92},
     'has stage and frozen'),
])
def test_what_cannot_be_frozen_is_told(monkeypatch, model, changes, message):
    monkeypatch.setitem(MODELS, 'eigen', tiny_eigen)
    monkeypatch.setitem(MODELS, 'realtime_unet_m', tiny)
    with pytest.raises(ConfigError, match=message):
        check(Config(name='x', model=model, output='', phases=(frozen(**changes),)))
