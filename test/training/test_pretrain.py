from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from training import pretrain as module
from training.checkpoint import load_init, read_checkpoint
from training.config import ConfigError, Data
from training.data import DATASETS
from training.models import MODELS, build_model
from training.models.realtime_unet import tiny as tiny_realtime
from training.models.unetpp import tiny as tiny_unetpp
from training.pretrain import build_spark, learning_rate_factor, parameter_groups, pretrain
from training.pretrain_config import (
    Masking,
    PretrainConfig,
    Schedule,
    Trainer,
    load_pretrain_config,
)
from training.pretrain_sheet import draw_sheet
from training.task import TrainingError

CONFIGS = sorted((Path(__file__).parents[2] / 'training' / 'configs').glob('spark*.yaml'))


class Stripes(Dataset):
    """Waves of random length, direction and colour."""

    def __init__(self, config, split, augment):
        self.config, self.split, self.epoch = config, split, 0
        self.sources = ['stripes']

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return self.config.samples_per_epoch if self.split == 'train' else 4

    def __getitem__(self, index):
        if index >= len(self):
            raise IndexError(index)
        rng = np.random.default_rng([self.epoch, index, self.split == 'val'])
        y, x = np.mgrid[:self.config.height, :self.config.width]
        wave = np.sin(rng.normal(0, 0.1) * x + rng.normal(0, 0.1) * y)
        image = (127 + 120 * wave * rng.uniform(0.2, 1, (3, 1, 1))).astype(np.uint8)
        return {'image': torch.from_numpy(image), 'name': f'stripe {index}', 'source': 'stripes'}


@pytest.fixture
def toy(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, 'stripes', Stripes)
    monkeypatch.setitem(MODELS, 'plain', lambda: torch.nn.Conv2d(3, 1, 1))
    monkeypatch.setitem(MODELS, 'tiny_unetpp', tiny_unetpp)
    monkeypatch.setitem(MODELS, 'tiny_realtime', tiny_realtime)

    def config(**changes):
        values = {
            'name': 'toy', 'model': 'tiny_realtime', 'output': str(tmp_path / 'run'),
            'schedule': Schedule(64, 96, 2, 4, 1e-3), 'masking': Masking(decoder_width=32),
            'data': Data('stripes', workers=0),
            'trainer': Trainer('cpu', threads=1, validate_every_steps=2),
        }
        return PretrainConfig(**(values | changes))

    return config


@pytest.mark.parametrize(('progress', 'expected'), [
    (0.0, 0.005),
    (0.05, 0.5025),
    (0.1, 1.0),
    (0.55, 0.5005),
    (1.0, 0.001),
    (3.0, 0.001),
])
def test_the_learning_rate_rises_linearly_and_falls_as_a_cosine(progress, expected):
    assert learning_rate_factor(progress, 0.1) == pytest.approx(expected)


def test_the_weight_decay_grows_from_its_first_to_its_last_value():
    schedule = Schedule(32, 64, 1, 1, 1.0, weight_decay=(0.04, 0.2))
    got = [module.weight_decay(x, schedule) for x in (0.0, 0.5, 1.0)]
    assert got == pytest.approx([0.04, 0.12, 0.2])


def test_biases_norms_and_tokens_do_not_decay(toy):
    model = build_spark(toy())
    decaying, plain = parameter_groups(model)
    assert decaying['decays'] and not plain['decays']
    assert {id(d.token) for d in model.densify} <= {id(p) for p in plain['params']}
    assert all(p.ndim == 4 for p in decaying['params'])
    assert len(decaying['params']) + len(plain['params']) == len(list(model.parameters()))


@pytest.mark.parametrize('model', ['tiny_realtime', 'tiny_unetpp'])
@pytest.mark.parametrize('strategy', ['sparse', 'zero', 'drop'])
def test_the_encoder_of_a_run_loads_into_its_model(toy, model, strategy):
    path = pretrain(toy(model=model, masking=Masking(strategy, decoder_width=32)))
    checkpoint = read_checkpoint(path)
    assert checkpoint.encoder_only and checkpoint.sources == ['stripes']
    assert checkpoint.config['model'] == model
    network = build_model(model)
    fresh = {name: x.clone() for name, x in network.state_dict().items()}
    load_init(network, path)
    now = network.state_dict()
    # Every weight and statistic of the encoder has moved, nothing else has.
    encoder = {name for name in fresh if name.startswith(('stem', 'encoder'))}
    assert {name for name in fresh if not torch.equal(now[name], fresh[name])} == encoder
    assert all(torch.isfinite(x).all() for x in now.values())
    size = network.size_multiple * 2
    assert torch.isfinite(network.eval()(torch.randn(1, 3, size, size))).all()


def test_half_precision_ends_with_finite_weights(toy):
    trainer = dataclasses.replace(toy().trainer, precision='bf16-mixed')
    weights = read_checkpoint(pretrain(toy(trainer=trainer))).weights
    assert all(x.dtype != torch.bfloat16 and torch.isfinite(x).all() for x in weights.values())


def test_a_sheet_and_a_log_lie_beside_the_encoder(toy, tmp_path):
    pretrain(toy())
    assert (tmp_path / 'run' / 'sheet.jpg').stat().st_size > 1000
    assert 'val_loss' in next((tmp_path / 'run').rglob('metrics.csv')).read_text()


def test_the_same_seed_gives_the_same_weights(toy, tmp_path):
    paths = [pretrain(toy(output=str(tmp_path / name))) for name in ('a', 'b')]
    first, second = (torch.load(path, weights_only=True)['state_dict'] for path in paths)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize('killed_at', [1, 2, 3])
def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(
    toy, tmp_path, monkeypatch, killed_at
):
    trainer = Trainer('cpu', threads=1, validate_every_steps=2, checkpoint_minutes=1e-9)
    whole = torch.load(
        pretrain(toy(output=str(tmp_path / 'whole'), trainer=trainer)), weights_only=True)

    start = module.PretrainTask.on_train_batch_start

    def killed(self, batch, index):
        if self.global_step == killed_at:
            raise RuntimeError('killed')
        return start(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(module.PretrainTask, 'on_train_batch_start', killed)
        with pytest.raises(RuntimeError, match='killed'):
            pretrain(toy(trainer=trainer))
    resumed = torch.load(pretrain(toy(resume=True, trainer=trainer)), weights_only=True)
    for name, value in whole['state_dict'].items():
        assert torch.equal(value, resumed['state_dict'][name]), name


def test_a_run_stops_at_its_time_limit_and_says_how_far_it_came(toy):
    schedule = dataclasses.replace(toy().schedule, steps=100_000, minutes=0.02)
    content = torch.load(pretrain(toy(schedule=schedule)), weights_only=True)
    assert 0 < content['global_step'] < 100_000
    assert content['elapsed_s'] >= 1.2


def test_a_finished_run_is_not_made_again(toy):
    stamp = pretrain(toy()).stat().st_mtime_ns
    assert pretrain(toy(resume=True)).stat().st_mtime_ns == stamp


def test_an_earlier_run_is_not_overwritten(toy):
    pretrain(toy())
    with pytest.raises(ConfigError, match='resume=true'):
        pretrain(toy())


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_pictures(
    toy, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, 'hidden_cell_loss', lambda *_: torch.tensor(math.nan))
    with pytest.raises(TrainingError, match='nan at step 0; .* stripe 0, stripe 1'):
        pretrain(toy())
    assert read_checkpoint(tmp_path / 'run' / 'stopped_rank0.ckpt').encoder_only


def test_masks_differ_from_step_to_step_and_return_with_the_step(toy):
    task = module.PretrainTask(build_spark(toy()), toy())
    image = torch.zeros(4, 3, 128, 128)
    first, second, again = (task._cells(image, key, 0) for key in (1, 2, 1))
    assert torch.equal(first, again) and not torch.equal(first, second)


def test_the_sheet_shows_seen_painted_and_original_side_by_side():
    image, cells = torch.zeros(1, 3, 4, 4), torch.tensor([[[True, False], [True, True]]])
    sheet = draw_sheet(image, torch.zeros_like(image), cells, 2)
    assert sheet.shape == (4, 12, 3)
    mean = np.round(255 * np.array([0.485, 0.456, 0.406]))
    assert np.array_equal(sheet[0, 0], mean) and np.array_equal(sheet[0, 10], mean)
    assert np.array_equal(sheet[0, 3], [128, 128, 128])  # hidden
    assert np.array_equal(sheet[0, 7], mean)  # painted as an even cell, which it is


@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.stem)
def test_every_shipped_config_loads_and_fits_its_model(path):
    config = load_pretrain_config(path)
    assert config.name == path.stem
    with torch.device('meta'):
        model = build_spark(config)
        image = torch.zeros(2, 3, config.schedule.height, config.schedule.width)
    with torch.device('cpu'):
        cells = model.draw_cells(torch.zeros(image.shape))
    share = cells.float().mean().item()
    assert share == pytest.approx(1 - config.masking.ratio, abs=0.02)


@pytest.mark.parametrize(('change', 'message'), [
    ({'data': Data('imagenet')}, "'imagenet' does not exist; choose one of mixed"),
    ({'model': 'plain'}, 'Conv2d has no known encoder'),
    ({'model': 'resnet9'}, "'resnet9' does not exist"),
    ({'init': 'resnet18.pth'}, 'cannot read resnet18.pth'),
    ({'masking': Masking(decoder_width=40)}, 'width is 40'),
])
def test_what_cannot_be_pretrained_is_refused(toy, change, message):
    with pytest.raises(ConfigError, match=message):
        pretrain(toy(**change))


@pytest.mark.parametrize(('build', 'message'), [
    (lambda: Masking('black'), "'black' is unknown; choose one of sparse, zero, drop"),
    (lambda: Masking(ratio=0.0), 'ratio is 0.0'),
    (lambda: Schedule(64, 64, 0, 1, 1.0), 'batch_size is 0'),
    (lambda: Schedule(64, 64, 1, 1, 1.0, weight_decay=(0.1,)), 'give two'),
    (lambda: PretrainConfig('a', 'unet', 'o', Schedule(64, 80, 1, 1, 1.0)), 'width is 80'),
])
def test_settings_out_of_range_are_refused(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


def test_the_command_names_an_unknown_key(tmp_path):
    path = tmp_path / 'x.yaml'
    path.write_text('name: x\nmodel: unet\noutput: runs/x\nschedule: {height: 64, width: 64, '
                    'batch_size: 1, steps: 1, learning_rate: 1e-4}\n')
    with pytest.raises(SystemExit, match='unknown key masking.ration; .* masking.ratio'):
        module.main([str(path), 'masking.ration=0.6'])


@pytest.mark.parametrize(('text', 'message'), [
    (None, 'error: cannot read'), ('a: [', 'error: cannot read'), ('- a', 'x.yaml holds list')])
def test_the_command_says_what_is_wrong_with_its_file(tmp_path, text, message):
    path = tmp_path / 'x.yaml'
    if text is not None:
        path.write_text(text)
    with pytest.raises(SystemExit, match=message):
        module.main([str(path)])
