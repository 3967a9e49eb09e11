from __future__ import annotations

import pytest

from training.config import Config, ConfigError, Data, Phase
from training.registry import build_loss, build_network, check

PHASE = Phase(32, 48, 2, 3, 1e-4)


def config(model='realtime_unet_m', phase=PHASE, **changes):
    return Config(name='tiny', model=model, output='runs/tiny', phases=(phase,), **changes)


@pytest.mark.parametrize(('changes', 'message'), [
    ({'model': 'resnet'}, "model 'resnet' does not exist; choose one of .*eigen.*|realtime_unet"),
    ({'loss': {'name': 'l3'}}, "loss 'l3' does not exist; choose one of realtime_unet, .*mse"),
    ({'data': Data(dataset='kitti')}, "data set 'kitti' does not exist; choose one of mixed, "
                                      'nyu_labeled, nyu_raw, folder'),
    ({'loss': {'gama': 1}}, 'unknown key loss.gama; the nearest known is loss.gamma'),
    ({'loss': {'gamma': True}}, 'loss.gamma is True; its type must be float'),
    ({'loss': {'near': 3, 'far': 2}}, 'loss: near 3.0 and far 2.0'),
    ({'loss': {'name': 'weighted', 'terms': {'l3': 1}}}, "loss: loss 'l3' is unknown"),
    ({'model': 'unet', 'model_options': {'width': 1}},
     'unknown key model_options.width; there are none'),
    ({'model_options': {'width': 1}}, 'the nearest known is model_options.confidence'),
    ({'model': 'realtime_unet', 'model_options': {'width_set': 'Z'}}, "width set 'Z' is unknown"),
    ({'phase': Phase(33, 48, 2, 3, 1e-4)},
     r'phases.0.height is 33; it must be a positive multiple of 16 for realtime_unet_m'),
    ({'model': 'unetpp18', 'phase': Phase(32, 48, 2, 3, 1e-4)},
     'phases.0.width is 48; it must be a positive multiple of 32 for unetpp18'),
    ({'model': 'eigen'}, 'phases.0 is 32x48; eigen takes height 228 and width 304 only'),
    ({'phase': Phase(32, 48, 2, 3, 1e-4, stage='fine')},
     "stage is 'fine'; realtime_unet_m has no stages: leave it empty"),
    ({'model': 'eigen', 'phase': Phase(228, 304, 2, 3, 1e-4, stage='find')},
     "stage is 'find'; eigen has coarse, fine"),
])
def test_what_cannot_be_built_is_refused_with_the_choices(changes, message):
    with pytest.raises(ConfigError, match=message):
        check(config(**changes))


def test_a_relative_phase_needs_a_loss_that_knows_relative_errors():
    relative = Phase(32, 48, 2, 3, 1e-4, relative=True)
    assert build_loss(config(), relative).weights['log_range'] > 0
    with pytest.raises(ConfigError, match='unknown key loss.relative'):
        build_loss(config(loss={'name': 'silog'}), relative)


def test_an_option_written_as_1e_minus_1_is_a_number():
    loss = build_loss(config(loss={'name': 'scale_invariant_log', 'lam': '1e-1'}), PHASE)
    assert loss.lam == 0.1


def test_options_reach_the_model():
    network = build_network('realtime_unet', {'width_set': 'A'})
    assert sum(p.numel() for p in network.parameters()) == 1_222_286
