from __future__ import annotations

from contextlib import contextmanager
import csv
import math
import os
from pathlib import Path
import resource
import runpy
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
import yaml

from training.checkpoint import CheckpointError, load_into, load_model, read_checkpoint
from training.config import Config, ConfigError, Data, Phase, Trainer
from training.data import DATASETS
from training.losses import LOSSES
from training.models import MODELS, build_model
from training.models.realtime_unet import tiny
from training.task import TrainingError, learning_rate_factor, parameter_groups, prepare
from training.train import train

TOY_RUN = Path(__file__).with_name('toy_run.py')
TOY = SimpleNamespace(**runpy.run_path(str(TOY_RUN)))


@pytest.fixture
def toy(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, 'toy', TOY.BrightIsNear)
    monkeypatch.setitem(MODELS, 'toy', TOY.ToyNet)
    monkeypatch.setitem(LOSSES, 'toy', TOY.Unmasked)

    def config(**changes):
        values = {
            'name': 'toy', 'model': 'toy', 'output': str(tmp_path / 'run'),
            'phases': (Phase(16, 32, 2, 3, 1e-3), Phase(32, 32, 2, 2, 1e-3)),
            'data': Data(dataset='toy', workers=0),
            'trainer': Trainer(validate_every_steps=2, warmup_steps=1, threads=1,
                               checkpoint_minutes=1e-6),
        }
        return Config(**(values | changes))

    return config


RATES = Trainer(weight_decay=0.1, decoder_rate=0.5)


@contextmanager
def file_size_limit(limit):
    # what a full disk does to a process: writing fails part of the way
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def pairs(items):
    return zip(items[::2], items[1::2], strict=True)


@pytest.mark.parametrize(('step', 'progress', 'expected'), [
    (0, 0.0, 0.1),  # first of ten warm-up steps
    (9, 0.0, 1.0),
    (50, 0.5, 0.505),  # 0.01 + 0.99 / 2
    (50, 1.0, 0.01),
    (50, 7.0, 0.01),
])
def test_the_learning_rate_rises_linearly_and_falls_as_a_cosine(step, progress, expected):
    assert learning_rate_factor(step, 10, progress) == pytest.approx(expected)


def test_biases_and_batch_norm_do_not_decay():
    for decayed, plain in pairs(parameter_groups(build_model('realtime_unet_m'), RATES)):
        assert (decayed['weight_decay'], plain['weight_decay']) == (0.1, 0.0)
        assert {p.ndim for p in decayed['params']} == {4}
        assert {p.ndim for p in plain['params']} == {1}


def test_the_part_without_batch_norm_learns_more_slowly():
    network = build_model('realtime_unet_m')
    groups = parameter_groups(network, RATES)
    slow = sum(p.numel() for group in groups if group['rate'] == 0.5 for p in group['params'])
    decoder_and_head = [*network.decoder.parameters(), *network.head.parameters()]
    assert slow == sum(p.numel() for p in decoder_and_head)
    everything = sum(p.numel() for group in groups for p in group['params'])
    assert everything == sum(p.numel() for p in network.parameters())


def test_each_phase_leaves_a_checkpoint_whose_weights_load_with_every_key(toy):
    last = train(toy())
    assert last.name == 'phase1.ckpt'
    network, checkpoint = load_model(last)
    assert checkpoint.sources == ['toy']
    assert checkpoint.config['phases'][1]['steps'] == 2
    assert all(torch.isfinite(p).all() for p in network.parameters())


def test_the_same_seed_gives_the_same_weights(toy, tmp_path):
    paths = [train(toy(output=str(tmp_path / name))) for name in ('a', 'b')]
    first, second = (read_checkpoint(path).weights for path in paths)
    assert all(torch.equal(first[name], second[name]) for name in first)


def weights_of(path):
    return read_checkpoint(path).weights


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


PHASES = (Phase(16, 16, 2, 7, 1e-2),)


@pytest.mark.parametrize('fail_at', [[0, 3], [1, 0], [1, 6], [2, 2]])
def test_a_run_that_died_goes_on_to_the_same_weights_as_an_unbroken_one(
        toy, tmp_path, fail_at):
    # an epoch is 2 steps of 2 batches of 2 items; the network has batch norm and dropout
    settings = Trainer(validate_every_steps=2, warmup_steps=3, accumulate=2, threads=1,
                       ema_decay=0.9, checkpoint_minutes=0.0)
    whole = train(toy(phases=PHASES, trainer=settings, output=str(tmp_path / 'whole')))
    broken = {'phases': PHASES, 'trainer': settings, 'output': str(tmp_path / 'broken')}
    data = Data(dataset='toy', workers=0, options={'fail_at': fail_at})
    with pytest.raises(RuntimeError, match='the power went'):
        train(toy(data=data, **broken))
    path = train(toy(resume=True, **broken))
    assert equal(weights_of(path), weights_of(whole))


def run_toy(tmp_path, name, *overrides, **environment):
    path = tmp_path / 'toy.yaml'
    path.write_text(yaml.safe_dump({
        'name': 'toy', 'model': 'toy', 'output': str(tmp_path / name), 'seed': 3,
        'phases': [{'height': 16, 'width': 16, 'batch_size': 2, 'steps': 8,
                    'learning_rate': '1e-2'}],
        'data': {'dataset': 'toy', 'workers': 0},
        'trainer': {'validate_every_steps': 3, 'warmup_steps': 2, 'threads': 1,
                    'checkpoint_minutes': 0.0, 'accelerator': 'cpu'}}))
    root = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, str(TOY_RUN), str(path), *overrides], cwd=root, timeout=240,
        env=os.environ | {'PYTHONPATH': str(root)} | environment, capture_output=True, text=True)


def test_a_killed_process_leaves_what_the_next_one_needs(tmp_path):
    killed = run_toy(tmp_path, 'broken', KILL_AT='1,3')  # the second batch of the second epoch
    assert killed.returncode == -signal.SIGKILL
    assert run_toy(tmp_path, 'broken', 'resume=true').returncode == 0
    assert run_toy(tmp_path, 'whole').returncode == 0
    assert equal(weights_of(tmp_path / 'broken/phase0.ckpt'),
                 weights_of(tmp_path / 'whole/phase0.ckpt'))


def test_two_processes_give_the_weights_that_one_gives_with_twice_the_batch(tmp_path):
    # without batch norm and dropout the mean of two half gradients is the whole one's
    plain = ('model_options.plain=true', 'loss.name=l1')
    two = run_toy(tmp_path, 'two', 'trainer.devices=2', *plain)
    one = run_toy(tmp_path, 'one', 'phases.0.batch_size=4', *plain)
    assert (one.returncode, two.returncode) == (0, 0), one.stderr + two.stderr
    first, second = (torch.load(tmp_path / name / 'phase0.ckpt', weights_only=True)
                     for name in ('one', 'two'))
    assert first['global_step'] == second['global_step'] == 8
    for name, value in first['state_dict'].items():
        torch.testing.assert_close(second['state_dict'][name], value, rtol=1e-4, atol=1e-5)


def test_a_loss_that_is_not_finite_stops_the_run_saves_and_names_the_pictures(toy, tmp_path):
    data = Data(dataset='toy', workers=0, options={'nan_at': [0, 3]})
    settings = Trainer(validate_every_steps=3, warmup_steps=1, threads=1)
    config = toy(phases=(Phase(16, 16, 2, 9, 1e-2),), data=data, trainer=settings,
                 loss={'name': 'toy'})
    with pytest.raises(TrainingError, match='the loss is nan at step 1; .*toy: 0/2, toy: 0/3'):
        train(config)
    stopped = tmp_path / 'run' / 'stopped_rank0.ckpt'
    assert all(torch.isfinite(x).all() for x in weights_of(stopped).values())


@pytest.mark.slow
def test_a_loss_that_is_not_finite_in_one_of_two_processes_stops_both(tmp_path):
    run = run_toy(tmp_path, 'run', 'trainer.devices=2', 'loss.name=toy',
                  'data.options={nan_at: [0, 3]}')  # item 3 is the second process's
    assert run.returncode != 0
    assert 'the loss is nan at step 0; the weights before it are in' in run.stderr
    assert weights_of(tmp_path / 'run/stopped_rank1.ckpt')


def test_early_stopping_ends_a_phase_with_the_weights_of_its_best_validation(toy, tmp_path):
    # after the first step the rate is far too high: it only gets worse
    settings = Trainer(validate_every_steps=1, warmup_steps=1, threads=1, ema_decay=0.0,
                       schedule='constant', patience=2, optimizer='sgd', gradient_clip=0.0)
    path = train(toy(phases=(Phase(16, 16, 2, 50, 1e3),), trainer=settings, loss={'name': 'l1'}))
    assert torch.load(path, weights_only=True)['global_step'] < 40
    assert not (tmp_path / 'run' / 'phase0' / 'best.ckpt').exists()
    assert load_model(path)


def test_a_full_disk_costs_checkpoints_and_not_the_earlier_one(toy, tmp_path, caplog):
    phases = (Phase(16, 16, 2, 5, 1e-3),)
    big = {'width': 2000}  # 0.7 MB of checkpoint, far above the limit below
    with file_size_limit(100_000), pytest.raises(CheckpointError, match='cannot write.*phase0'):
        train(toy(phases=phases, model_options=big))
    assert 'last.ckpt' in caplog.text
    assert 'training goes on' in caplog.text
    assert not list(tmp_path.glob('run/**/*.partial'))


def test_the_logs_hold_loss_rate_error_and_waiting_as_csv_and_for_tensorboard(toy, tmp_path):
    phase = Phase(16, 16, 2, 40, 1e-3)
    settings = Trainer(validate_every_steps=20, warmup_steps=1, threads=1)
    train(toy(phases=(phase,), trainer=settings))
    table, = tmp_path.glob('run/phase0_log/*/metrics.csv')
    with table.open() as file:
        columns = set(next(csv.reader(file)))
    assert {'loss', 'learning_rate', 'abs_rel', 'abs_rel/toy', 'waiting'} <= columns
    assert list(tmp_path.glob('run/phase0_log/*/events.out.tfevents*'))


def test_a_finished_phase_is_not_trained_again(toy, tmp_path):
    train(toy())
    first = tmp_path / 'run' / 'phase0.ckpt'
    stamp = first.stat().st_mtime_ns
    (tmp_path / 'run' / 'phase1.ckpt').unlink()
    train(toy(resume=True))
    assert first.stat().st_mtime_ns == stamp


def test_an_earlier_run_is_not_overwritten(toy):
    config = toy(phases=(Phase(16, 32, 2, 1, 1e-3),))
    train(config)
    with pytest.raises(ConfigError, match='resume=true'):
        train(config)


def test_a_phase_stops_at_its_time_limit_at_the_lowest_rate(toy, tmp_path):
    path = train(toy(phases=(Phase(16, 32, 2, 100_000, 1e-3, minutes=0.02),)))
    assert 0 < torch.load(path, weights_only=True)['global_step'] < 100_000


@pytest.mark.slow
def test_training_learns_that_bright_is_near(toy, monkeypatch):
    monkeypatch.setitem(MODELS, 'tiny', tiny)
    settings = Trainer(validate_every_steps=60, warmup_steps=10, threads=1, ema_decay=0.9,
                       decoder_rate=1.0)
    path = train(toy(model='tiny', phases=(Phase(16, 32, 8, 120, 3e-3),), trainer=settings))
    network, _ = load_model(path)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    grey = torch.tensor([0.2, 0.8]).view(2, 1, 1, 1).expand(2, 3, 16, 32)
    with torch.inference_mode():
        dark, bright = network((grey - mean.view(3, 1, 1)) / std.view(3, 1, 1)).mean((1, 2, 3))
    # canonical focal length at 32 px is 26 px, the camera's is 26 px: metres stay metres
    assert dark.exp().item() == pytest.approx(3.4, rel=0.15)
    assert bright.exp().item() == pytest.approx(1.6, rel=0.15)


def test_the_canonical_scale_makes_a_long_lens_look_near():
    # f = 520 px at 320 px wide is twice the canonical 260: what is at 4 m looks as if at 2 m.
    batch = {'image': torch.zeros(1, 3, 2, 320, dtype=torch.uint8),
             'depth': torch.tensor([[[4.0], [math.nan]]]).expand(1, 2, 320),
             'focal_px': torch.tensor([520.0])}
    _, depth = prepare(batch, torch.nn.Identity())
    assert depth[0, 0, 0, 0].item() == 2.0
    assert depth[0, 0, 1].isnan().all()


def test_another_models_weights_are_refused_by_name(toy):
    path = train(toy(phases=(Phase(16, 32, 2, 1, 1e-3),)))
    with pytest.raises(CheckpointError, match='holds a toy, another model'):
        load_into(build_model('realtime_unet'), path)


class _Evil:
    def __reduce__(self):
        return (print, ('code ran',))


@pytest.mark.parametrize('content', [{'a': 1}, [1, 2], _Evil()])
def test_a_file_that_is_no_checkpoint_is_refused_without_running_it(tmp_path, content, capsys):
    path = tmp_path / 'x.ckpt'
    torch.save(content, path)
    with pytest.raises(CheckpointError, match='x.ckpt'):
        read_checkpoint(path)
    assert 'code ran' not in capsys.readouterr().out


def test_a_missing_checkpoint_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match='cannot read'):
        read_checkpoint(tmp_path / 'none.ckpt')
