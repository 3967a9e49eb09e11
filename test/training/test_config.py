from __future__ import annotations

from pathlib import Path

import pytest

from training.config import ConfigError, load_config
from training.registry import check

CONFIGS = Path(__file__).parents[2] / 'training' / 'configs'
MINIMAL = """
name: tiny
model: realtime_unet_m
output: runs/tiny
phases:
  - {height: 32, width: 48, batch_size: 2, steps: 3, learning_rate: 1e-4}
"""


@pytest.fixture
def minimal(tmp_path):
    path = tmp_path / 'tiny.yaml'
    path.write_text(MINIMAL)
    return path


TRAINED = [path for path in sorted(CONFIGS.glob('*.yaml')) if '\nphases:' in path.read_text()]


@pytest.mark.parametrize('path', TRAINED, ids=lambda p: p.stem)
def test_every_shipped_config_builds_its_model_and_loss_and_is_named_after_its_file(path):
    config = load_config(path)
    assert config.name == path.stem.removeprefix('reproduce_')
    check(config)


def test_1e_minus_4_is_read_as_a_number(minimal):
    assert load_config(minimal).phases[0].learning_rate == 1e-4


def test_overrides_reach_into_sections_and_lists(minimal):
    config = load_config(minimal, ['phases.0.steps=7', 'trainer.threads=2', 'loss.gamma=3',
                                   'data.weights.procedural_train=2'])
    assert config.phases[0].steps == 7
    assert config.trainer.threads == 2
    assert config.loss == {'name': 'realtime_unet', 'gamma': 3}
    assert config.data.weights == {'procedural_train': 2.0}


@pytest.mark.parametrize(('override', 'message'), [
    ('trainer.thread=2', 'unknown key trainer.thread; the nearest known is trainer.threads'),
    ('sed=2', 'unknown key sed; the nearest known is seed'),
    ('phases.0.step=2', 'nearest known is phases.0.steps'),
    ('phases.3.steps=2', "'3' is no index; the list has 1 items"),
    ('name.x=2', 'goes below a plain value'),
    ('trainer', 'write key=value'),
    ('trainer.threads=two', "trainer.threads is 'two'; its type must be int"),
    ('trainer.threads=1.5', 'type must be int'),
    ('resume=1', 'resume is 1; its type must be bool'),
    ('phases=3', 'phases is 3; its type must be tuple'),
    ('data.views=3', 'data.views is 3; its type must be dict'),
    ('loss=3', 'loss is 3; its type must be dict'),
    ('phases.0.height=0', 'height is 0; it must be above 0'),
    ('phases.0.learning_rate=-1', 'learning_rate is -1.0; it must be above 0'),
    ('phases.0.learning_rate=fast', "phases.0.learning_rate is 'fast'; its type must be float"),
    ('trainer.accumulate=0', 'trainer.accumulate is 0; it must be at least 1'),
    ('trainer.optimizer=adm', "trainer.optimizer is 'adm'; it must be one of adamw, adam, sgd"),
    ('trainer.schedule=step', 'must be one of cosine, constant'),
    ('trainer.ema_decay=1', 'trainer.ema_decay is 1.0; it must be 0'),
    ('depth_range=[5, 2]', 'with 0 < near < far'),
    ('data.rot=x', 'nearest known is data.root'),
])
def test_a_wrong_override_says_what_was_given_and_what_is_right(minimal, override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(minimal, [override])


def test_a_missing_key_is_named(tmp_path):
    path = tmp_path / 'x.yaml'
    path.write_text(MINIMAL.replace('model: realtime_unet_m', ''))
    with pytest.raises(ConfigError, match='key model is missing'):
        load_config(path)


@pytest.mark.parametrize('text', ['- a\n- b\n', 'a: [1\n'])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text):
    path = tmp_path / 'x.yaml'
    path.write_text(text)
    with pytest.raises(ConfigError, match='x.yaml'):
        load_config(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match='cannot read'):
        load_config(tmp_path / 'none.yaml')


@pytest.mark.parametrize(('overrides', 'expected'), [
    (['loss.near=0.5', 'loss.far=20'], (0.5, 20.0)),
    (['loss.near=0.5', 'depth_range=[1, 2]'], (1.0, 2.0)),
    (['loss.name=l1'], (0.25, 12.0)),
])
def test_the_trusted_range_is_that_of_the_loss_unless_it_is_given(minimal, overrides, expected):
    assert load_config(minimal, overrides).trusted_range == expected
