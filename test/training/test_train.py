from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import Dataset

from training import train as module
from training.checkpoint import CheckpointError, load_into, load_model, read_checkpoint
from training.config import Config, ConfigError, Data, Phase, Trainer
from training.models import build_model
from training.train import learning_rate_factor, parameter_groups, train


class BrightIsNear(Dataset):
    """Even pictures whose depth follows from their brightness; some pixels are holes."""

    def __init__(self, config, split):
        self.config, self.split = config, split
        self.views = SimpleNamespace(names=['toy'])

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return self.config.samples_per_epoch if self.split == 'train' else 4

    def __getitem__(self, index):
        if index >= len(self):
            raise IndexError(index)
        size = (self.config.height, self.config.width)
        share = (index * 0.37) % 1.0
        depth = torch.full(size, 4.0 - 3.0 * share)
        depth[0] = torch.nan
        image = torch.full((3, *size), round(255 * share), dtype=torch.uint8)
        return {'image': image, 'depth': depth, 'focal_px': torch.tensor(13.0 * size[1] / 16),
                'source': 'toy', 'name': str(index)}


@pytest.fixture
def toy(tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'build', BrightIsNear)

    def config(**changes):
        values = {
            'name': 'toy', 'model': 'realtime_unet_m', 'output': str(tmp_path / 'run'),
            'phases': (Phase(16, 32, 2, 3, 1e-3), Phase(32, 32, 2, 2, 1e-3)),
            'data': Data(workers=0),
            'trainer': Trainer(validate_every_steps=2, warmup_steps=1, threads=1,
                               checkpoint_minutes=1e-6),
        }
        return Config(**(values | changes))

    return config


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
    for decayed, plain in pairs(parameter_groups(build_model('realtime_unet_m'), 0.1, 0.5)):
        assert (decayed['weight_decay'], plain['weight_decay']) == (0.1, 0.0)
        assert {p.ndim for p in decayed['params']} == {4}
        assert {p.ndim for p in plain['params']} == {1}


def test_the_part_without_batch_norm_learns_more_slowly():
    network = build_model('realtime_unet_m')
    groups = parameter_groups(network, 0.1, 0.5)
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


def test_an_interrupted_phase_goes_on_where_it_stopped(toy, tmp_path):
    phases = (Phase(16, 32, 2, 2, 1e-3),)
    train(toy(phases=phases))
    (tmp_path / 'run' / 'phase0.ckpt').unlink()
    before = torch.load(tmp_path / 'run' / 'phase0' / 'last.ckpt', weights_only=True)
    path = train(toy(phases=(Phase(16, 32, 2, 5, 1e-3),), resume=True))
    after = torch.load(path, weights_only=True)
    assert (before['global_step'], after['global_step']) == (2, 5)
    assert after['elapsed_s'] > before['elapsed_s'] > 0


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
def test_training_learns_that_bright_is_near(toy):
    settings = Trainer(validate_every_steps=60, warmup_steps=10, threads=1, ema_decay=0.9,
                       decoder_rate=1.0)
    path = train(toy(phases=(Phase(16, 32, 8, 120, 3e-3),), trainer=settings))
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
    _, depth = module._prepare(batch)
    assert depth[0, 0, 0, 0].item() == 2.0
    assert depth[0, 0, 1].isnan().all()


def test_another_models_weights_are_refused_by_name(toy):
    path = train(toy(phases=(Phase(16, 32, 2, 1, 1e-3),)))
    with pytest.raises(CheckpointError, match='holds a realtime_unet_m, another model'):
        load_into(build_model('realtime_unet_r'), path)


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
