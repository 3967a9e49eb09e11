"""Training by the joint loss: epochs, samples, logged weights, two heads or depth alone."""

from __future__ import annotations

from collections import Counter
import csv
import math
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from training import task as task_module
from training.checkpoint import load_model
from training.config import Config, ConfigError, Data, Epochs, Phase, Trainer, load_config
from training.contract import log_depth, normalise
from training.data import DATASETS, DataConfig
from training.losses.spt import SPTLoss
from training.models import MODELS
from training.models.realtime_unet import tiny as tiny_unet
from training.models.spt import tiny
from training.registry import check
from training.schedule import Weights, named_scheme, weights_at
from training.task import TrainingError, parameter_groups
from training.train import train

CONFIGS = Path(__file__).parents[2] / 'training' / 'configs'
drawn: Counter = Counter()


class Ramps(Dataset):
    """Pictures that are bright where it is near; the bright half is a thing."""

    def __init__(self, config, split, augment=True):
        self.config, self.split, self.epoch = config, split, 0
        self.sources = ['toy']

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return self.config.samples_per_epoch if self.split == 'train' else 4

    def __getitem__(self, index):
        if index >= len(self):
            raise IndexError(index)
        if self.split == 'train':
            drawn[self.epoch] += 1
        height, width = self.config.height, self.config.width
        share = torch.linspace(0, 1, width).expand(height, width)
        share = share.flip(1) if (index + self.epoch) % 2 else share.clone()
        item = {'image': (255 * share).to(torch.uint8).expand(3, height, width).clone(),
                'depth': 1 / (0.2 + 0.8 * share), 'focal_px': torch.tensor(0.8 * width),
                'source': 'toy', 'name': f'{self.epoch}/{index}'}
        if self.config.labels and self.config.options.get('labelled', True):
            thing = self.config.options.get('class', 1)
            item['labels'] = torch.where(share > 0.5, thing, 0).long()
            item['labels'][0] = -1
        return item


@pytest.fixture
def toy(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, 'toy', Ramps)
    monkeypatch.setitem(MODELS, 'toy', tiny)
    drawn.clear()

    def config(*, options=(), labels=True, trainer=(), **changes):
        values = {
            'name': 'toy', 'model': 'toy', 'output': str(tmp_path / 'run'),
            'phases': (Phase(32, 32, 2, 10**6, 1e-3),),
            'loss': {'name': 'spt'}, 'epochs': Epochs(3, 4, 1, 8),
            'data': Data(dataset='toy', workers=0, labels=labels, options=dict(options)),
            'trainer': Trainer(**{'accelerator': 'cpu', 'threads': 1, 'ema_decay': 0.0,
                                  'warmup_steps': 0, 'checkpoint_minutes': 1e-6} | dict(trainer)),
        }
        return Config(**(values | changes))

    return config


def logged(tmp_path, *columns):
    """Rows of the logs that have all of `columns`, as numbers."""
    rows = []
    for path in sorted(tmp_path.glob('run/phase0_log/*/metrics.csv')):
        with path.open(newline='') as file:
            rows += list(csv.DictReader(file))
    return [{key: float(row[key]) for key in ('epoch', *columns)}
            for row in rows if all(row.get(key) for key in columns)]


def test_an_epoch_draws_its_samples_anew_and_the_last_one_ends_the_phase(toy, tmp_path):
    path = train(toy())
    assert dict(drawn) == {0: 4, 1: 8, 2: 8}
    assert torch.load(path, weights_only=True)['global_step'] == 2 + 4 + 4


def test_each_weight_and_each_term_is_logged_each_epoch(toy, tmp_path):
    train(toy(loss={'name': 'spt', 'scheme': 'scheme8'}))
    names = [f'weight/{name}' for name in Weights._fields]
    rows = logged(tmp_path, *names)
    assert [row['epoch'] for row in rows] == [0, 1, 2]
    for epoch, row in enumerate(rows):
        expected = weights_at(named_scheme('scheme8'), epoch)
        assert [row[name] for name in names] == pytest.approx(list(expected), rel=1e-5)
    parts = ('data_in', 'data_out', 'ssim', 'smooth', 'cross_entropy', 'penalty')
    for stage in ('train', 'val'):
        terms = logged(tmp_path, f'{stage}/total', *(f'{stage}/{x}' for x in parts))
        assert {row['epoch'] for row in terms} >= {0, 1, 2}
        for row in terms:
            assert row[f'{stage}/total'] == pytest.approx(
                sum(row[f'{stage}/{x}'] for x in parts), rel=1e-4)


def test_both_heads_are_trained(toy, caplog):
    network, _ = load_model(train(toy()))
    torch.manual_seed(0)
    moved = [not torch.equal(a, b) for a, b in zip(
        network.segmentation_head.parameters(), tiny().segmentation_head.parameters())]
    assert any(moved)
    assert 'trains alone' not in caplog.text


@pytest.mark.parametrize(('changes', 'reason'), [
    ({'options': {'labelled': False}}, 'the data set has no segmentation targets'),
    ({'labels': False}, 'data.labels is false'),
    ({'model_options': {'classes': 0}}, 'the network has no segmentation head'),
])
def test_without_segmentation_the_depth_part_trains_alone_and_says_so_once(
        toy, tmp_path, caplog, changes, reason):
    train(toy(**changes))
    told = [x.message for x in caplog.records if 'depth trains alone' in x.message]
    assert len(told) == 1 and reason in told[0]
    row = logged(tmp_path, 'train/total', 'train/ssim')[0]
    assert row['train/total'] > 0
    with next(tmp_path.glob('run/phase0_log/*/metrics.csv')).open() as file:
        assert 'train/cross_entropy' not in file.readline()


def test_a_label_that_the_network_does_not_know_is_refused_with_the_way_out(toy):
    with pytest.raises(TrainingError, match='of class 4, the network knows 0 to 1: give '
                                            'model_options.classes=5'):
        train(toy(options={'class': 4}))


def test_a_killed_run_goes_on_in_the_middle_of_its_epoch(toy, tmp_path, monkeypatch):
    whole = torch.load(train(toy(output=str(tmp_path / 'whole'))), weights_only=True)
    original, failed = task_module.DepthTask.training_step, []

    def dies_once(self, batch, index):
        if self.current_epoch == 1 and index == 2 and not failed:
            failed.append(index)
            raise RuntimeError('the power went')
        return original(self, batch, index)

    monkeypatch.setattr(task_module.DepthTask, 'training_step', dies_once)
    with pytest.raises(RuntimeError):
        train(toy())
    drawn.clear()
    again = torch.load(train(toy(resume=True)), weights_only=True)
    assert drawn[1] == 4  # two of the epoch's four batches were left
    assert again['global_step'] == whole['global_step']
    for name, value in whole['state_dict'].items():
        assert torch.equal(again['state_dict'][name], value), name


def test_a_phase_of_minutes_has_epochs_of_equal_time(toy, tmp_path):
    phase = Phase(32, 32, 2, 10**6, 1e-3, minutes=0.05)
    train(toy(phases=(phase,), epochs=Epochs(4), trainer={'checkpoint_minutes': 10.0}))
    rows = logged(tmp_path, 'weight/batches')
    batches = [row['weight/batches'] for row in rows]
    assert batches[0] == 2 and len(batches) >= 3
    content = torch.load(tmp_path / 'run' / 'phase0.ckpt', weights_only=True)
    assert content['global_step'] <= sum(batches)


def test_validation_may_come_every_few_epochs(toy, tmp_path):
    train(toy(epochs=Epochs(4, 2, 1, 2, validate_every=2)))
    assert [row['epoch'] for row in logged(tmp_path, 'val/total')][:2] == [1, 3]


def test_depth_alone_or_log_metres_take_the_loss_as_it_fits_them(toy):
    check(toy(model_options={'output_kind': 'log'}, loss={'name': 'spt', 'metric': True}))
    with pytest.raises(ConfigError, match='loss.metric must be false for toy, .* relative'):
        check(toy(loss={'name': 'spt', 'metric': True}))
    with pytest.raises(ConfigError, match='loss.metric must be true for toy, .* log'):
        check(toy(model_options={'output_kind': 'log'}))
    with pytest.raises(ConfigError, match='epochs.count is 3, for loss spt alone; loss is l1'):
        check(toy(loss={'name': 'l1'}))
    with pytest.raises(ConfigError, match="loss: scheme 'scheme0' does not exist; choose one of"):
        check(toy(loss={'name': 'spt', 'scheme': 'scheme0'}))


def test_a_network_of_one_head_takes_the_joint_loss_too(toy, monkeypatch):
    monkeypatch.setitem(MODELS, 'unet', tiny_unet)
    train(toy(model='unet', loss={'name': 'spt', 'metric': True}))


def test_the_papers_two_learning_rates_are_those_of_encoder_and_rest():
    config = load_config(CONFIGS / 'spt_table2.yaml')
    network = tiny(rank=1)
    groups = parameter_groups(network, config.trainer)
    rates = {round(config.phases[0].learning_rate * group['rate'], 9): group for group in groups}
    assert sorted(rates) == pytest.approx([1e-5, 3e-4], rel=1e-4)
    encoder = {id(p) for p in network.encoder.parameters() if p.requires_grad}
    assert {id(p) for group in groups if group['rate'] < 1 for p in group['params']} == encoder
    assert (config.epochs.count, config.epochs.most_samples) == (45, 640)
    assert load_config(CONFIGS / 'spt_table2.yaml', ['trainer.optimizer=sgd'])


def test_relative_depth_is_validated_after_a_scale_and_a_shift(toy, tmp_path):
    class Exact(torch.nn.Module):
        output_kind, size_multiple, segmentation_head = 'relative', 1, None

        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(0.1))

        def forward(self, image):  # the picture's brightness is inverse depth, up to an affine map
            return 0.3 + self.scale * image[:, :1]

    MODELS['toy'] = Exact  # the fixture's patch puts the old one back
    train(toy(labels=False, phases=(Phase(32, 32, 2, 10**6, 1e-9),)))
    errors = [row['abs_rel'] for row in logged(tmp_path, 'abs_rel')]
    assert errors and max(errors) < 0.02 and not math.isnan(errors[0])


def test_both_heads_learn_two_pictures_by_heart():
    torch.manual_seed(0)
    data = Ramps(DataConfig(32, 64, 4, labels=True), 'val')
    items = [data[i] for i in range(2)]
    batch = torch.utils.data.default_collate(items)
    image = batch['image'].float() / 255
    network, loss = tiny(), SPTLoss()
    loss.set_epoch(10)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    found = []
    for _ in range(80):
        depth, logits = network.joint(normalise(image))
        terms = loss.depth_terms(log_depth(depth, 'relative'), batch['depth'][:, None], image)
        terms |= loss.segmentation_terms(logits, batch['labels'])
        found.append({name: value.item() for name, value in terms.items()})
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
    for name in ('data_in', 'data_out', 'ssim', 'cross_entropy'):
        assert found[-1][name] < 0.3 * found[0][name], name
