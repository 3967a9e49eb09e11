from __future__ import annotations

import io
import json
import math
from pathlib import Path

import cv2
import pytest
from rich.console import Console
import torch
from torch.utils.data import Dataset

from training import comparison_runs, comparison_scores, task
from training.checkpoint import load_model
from training.comparison_runs import config_of
from training.config import ConfigError
from training.data import DATASETS
from training.data.mixed import DEFAULT_VIEWS
from training.models import MODELS
from training.models.eigen import tiny as tiny_eigen
from training.models.realtime_unet import tiny as tiny_realtime
from training.models.resnet import BasicBlock, ResNet
from training.models.unet import tiny as tiny_unet
from training.models.unetpp import tiny as tiny_unetpp
from training.reproduce import main, read_setup, reproduce

SMALL = ('phases.0.height=32', 'phases.0.width=64', 'phases.0.batch_size=2', 'phases.0.steps=2',
         'data.workers=0', 'trainer.threads=1', 'trainer.accelerator=cpu',
         'trainer.precision=32-true', 'trainer.checkpoint_minutes=1e-6')
SMALL_PRETRAINING = ('pretrain.schedule.height=64', 'pretrain.schedule.width=64',
                     'pretrain.schedule.batch_size=2', 'pretrain.schedule.steps=3',
                     'pretrain.masking.decoder_width=32')


class Views:
    """What a table asks of the views of mixed."""

    def __init__(self, count):
        self._count = count

    def __len__(self):
        return self._count


class Gradients(Dataset):
    """Pictures brighter at one side, whose depth follows from brightness."""

    def __init__(self, config, split, augment=True):
        assert split in ('train', 'val')  # never test
        self.config, self.split = config, split
        self.sources = ['toy']
        self.views = Views(sum(n for name, n in config.views.items() if split in name))

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return self.config.samples_per_epoch if self.split == 'train' else 5

    def __getitem__(self, index):
        if index >= len(self):
            raise IndexError(index)
        height, width = self.config.height, self.config.width
        share = torch.linspace(0, 1, width).expand(height, width) * (0.5 + 0.1 * (index % 5))
        depth = 4.0 - 3.0 * share
        depth[0] = math.nan
        image = (255 * share).to(torch.uint8).expand(3, height, width).clone()
        return {'image': image, 'depth': depth, 'focal_px': torch.tensor(0.8125 * width),
                'source': 'toy', 'name': str(index)}


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(DATASETS, 'mixed', Gradients)
    monkeypatch.setitem(MODELS, 'unet', tiny_unet)
    for name in ('realtime_unet', 'realtime_unet_a'):
        monkeypatch.setitem(MODELS, name, tiny_realtime)
    monkeypatch.setitem(MODELS, 'unetpp18', tiny_unetpp)
    monkeypatch.setitem(MODELS, 'eigen', tiny_eigen)
    monkeypatch.setattr(comparison_runs, 'FRAME', (32, 32))
    monkeypatch.setattr(comparison_scores, 'WARM_UPS', 2)


def run(name, *overrides, seeds=2):
    text = io.StringIO()
    setup, count = read_setup(name, (*SMALL, f'seeds={seeds}', 'output=out', *overrides))
    results = reproduce(setup, count, Console(file=text, width=240))
    return results, text.getvalue()


def test_a_comparison_trains_every_cell_with_every_seed_for_the_same_steps():
    results, text = run('realtime_unet')
    assert results == json.loads(Path('out/results.json').read_text())
    assert list(results['cells']) == ['unet', 'realtime_unet', 'realtime_unet_a']
    for cell in results['cells'].values():
        assert (cell['steps'], cell['images']) == (2, 4)
        assert len(cell['scores']['mse_max_depth']['values']) == 2
        assert 0 < cell['minutes'] < 3
    assert results['data']['scored_on'] == 5
    assert results['timing'].startswith('one random frame of 32x32')
    assert 'paper: its network' in text and '0.04588' in text
    assert text.index('18 minutes of training in all') < text.index('mean ± deviation')


def test_a_comparison_leaves_a_markdown_table_and_a_picture_sheet():
    run('realtime_unet', seeds=1)
    lines = Path('out/results.md').read_text().splitlines()
    table = [line for line in lines if line.startswith('|')]
    assert len({line.count('|') for line in table}) == 1
    assert len(table) == 2 + 3 + 2  # head, cells, the paper's lines
    assert any('fewer parameters' in line and 'in our run' in line for line in lines)
    height, width, _ = cv2.imread('out/sheet.jpg').shape
    assert width == 240 * (2 + 3) and height == 28 + 5 * 120


def test_a_report_on_finished_cells_tells_the_threads_that_they_were_trained_with(monkeypatch):
    run('realtime_unet', seeds=1)
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 2)
    results, _ = run('realtime_unet', seeds=1)
    assert 'threads: 1,' in results['device']


def test_the_weights_of_each_cell_are_kept_without_the_optimiser():
    run('realtime_unet', seeds=1)
    network, checkpoint = load_model('out/unet_seed0/weights.ckpt')
    assert checkpoint.config['model'] == 'unet'
    assert not list(Path('out').rglob('phase*.ckpt'))


def count_calls(monkeypatch, name):
    calls, original = [], getattr(comparison_runs, name)

    def counted(config):
        calls.append(config.name)
        return original(config)

    monkeypatch.setattr(comparison_runs, name, counted)
    return calls


def test_an_interrupted_comparison_goes_on_with_the_cells_that_are_missing(monkeypatch):
    whole, _ = run('realtime_unet', 'output=whole')
    original = comparison_runs.train

    def broken_off(config):
        if config.name == 'realtime_unet_a_seed0':
            raise KeyboardInterrupt
        return original(config)

    with monkeypatch.context() as patch:
        patch.setattr(comparison_runs, 'train', broken_off)
        with pytest.raises(KeyboardInterrupt):
            run('realtime_unet')
    calls = count_calls(monkeypatch, 'train')
    results, text = run('realtime_unet')
    assert '2 of 6 are finished; 12 minutes of training are left' in text
    assert calls == ['realtime_unet_a_seed0', 'unet_seed1', 'realtime_unet_seed1',
                     'realtime_unet_a_seed1']
    for name, cell in results['cells'].items():
        for metric in ('mse_max_depth', 'ssim_minmax', 'rmse'):
            expected = whole['cells'][name]['scores'][metric]['values']
            assert cell['scores'][metric]['values'] == pytest.approx(expected, rel=1e-5)


def test_a_cell_that_was_broken_off_goes_on_from_its_checkpoint(monkeypatch):
    whole, _ = run('realtime_unet', 'phases.0.steps=4', 'output=whole', seeds=1)
    original, steps = task.DepthTask.training_step, []

    def broken_off(self, batch, index):
        steps.append(self.global_step)
        if self.global_step == 2 and steps.count(2) == 1:
            raise RuntimeError('killed')
        return original(self, batch, index)

    monkeypatch.setattr(task.DepthTask, 'training_step', broken_off)
    with pytest.raises(RuntimeError, match='killed'):
        run('realtime_unet', 'phases.0.steps=4', seeds=1)
    results, _ = run('realtime_unet', 'phases.0.steps=4', seeds=1)
    assert steps[:5] == [0, 1, 2, 2, 3]
    assert results['cells']['unet']['steps'] == 4
    assert (results['cells']['unet']['scores']['rmse']['values']
            == pytest.approx(whole['cells']['unet']['scores']['rmse']['values'], rel=1e-5))


def test_cells_made_with_other_settings_are_not_mixed():
    run('realtime_unet', seeds=1)
    with pytest.raises(ConfigError, match=r'phases is .*; give the old settings'):
        run('realtime_unet', 'phases.0.steps=3', seeds=1)
    with pytest.raises(ConfigError, match='minutes_per_run is 5.0, was 3.0'):
        run('realtime_unet', 'minutes_per_run=5', seeds=1)


def test_seeds_can_be_added_later(monkeypatch):
    run('realtime_unet', seeds=1)
    calls = count_calls(monkeypatch, 'train')
    results, _ = run('realtime_unet', seeds=2)
    assert [name for name in calls if name.endswith('seed0')] == []
    assert results['seeds'] == [0, 1]


EIGEN_SIZE = ('phases.0.height=68', 'phases.0.width=92')


def test_the_fine_network_takes_half_of_the_time_from_the_coarse_one():
    setup, _ = read_setup('eigen', (*SMALL, *EIGEN_SIZE, 'minutes_per_run=4'))
    alone, both = (config_of(setup, cell, 0).phases for cell in setup.cells)
    assert [(x.stage, x.minutes) for x in alone] == [('coarse', 4)]
    assert [(x.stage, x.minutes) for x in both] == [('coarse', 2), ('fine', 2)]


def test_coarse_and_fine_are_compared():
    results, text = run('eigen', *EIGEN_SIZE, seeds=1)
    assert [x['steps'] for x in results['cells'].values()] == [2, 4]
    scores = results['cells']['coarse_fine']['scores']
    assert scores['scale_invariant_root']['mean'] > 0
    assert 'the fine network lowers the RMSE' in text and '1.46618' in text
    assert 'RMSE [m]' in text
    _, checkpoint = load_model('out/coarse_seed0/weights.ckpt')
    assert checkpoint.stage == 'coarse'


def test_an_encoder_is_pretrained_once_a_seed_for_both_shares_of_labels(monkeypatch):
    calls = count_calls(monkeypatch, 'pretrain')
    results, text = run('unetpp', *SMALL_PRETRAINING)
    assert calls == ['pretrain_sparse_seed0', 'pretrain_sparse_seed1']
    assert '4 cells x 2 seeds x 3 minutes, and 2 pre-trainings of as long: 30 minutes' in text
    cells = results['cells']
    assert list(cells) == ['scratch_10', 'spark_10', 'scratch_100', 'spark_100']
    assert cells['scratch_10']['pretraining'] is None
    assert cells['spark_10']['pretraining'] | {'minutes': 0} == {
        'minutes': 0, 'steps': 3, 'images': 6}
    assert '3 steps, 6 images' in text
    train = [n for name, n in DEFAULT_VIEWS.items() if 'train' in name]
    assert cells['spark_100']['labels'] == sum(train)
    assert cells['spark_10']['labels'] == sum(math.ceil(n / 10) for n in train)


def test_the_pictures_that_are_scored_do_not_depend_on_the_share_of_labels():
    setup, _ = read_setup('unetpp', (*SMALL, *SMALL_PRETRAINING))
    views = [config_of(setup, cell, 0).data.views or DEFAULT_VIEWS for cell in setup.cells]
    kept = [{name: n for name, n in x.items() if 'val' in name} for x in views]
    assert all(x == kept[0] for x in kept)


def test_imagenet_weights_are_one_more_start_where_a_file_is_given():
    encoder = ResNet(BasicBlock, (1, 1, 1, 1), width=4)
    torch.save(encoder.state_dict(), 'imagenet.pth')
    results, _ = run('unetpp', *SMALL_PRETRAINING, 'imagenet=imagenet.pth',
                     'phases.0.learning_rate=1e-12', seeds=1)
    assert list(results['cells'])[:3] == ['scratch_10', 'imagenet_10', 'spark_10']
    network, _ = load_model('out/imagenet_100_seed0/weights.ckpt')
    assert torch.allclose(network.encoder.conv1.weight, encoder.conv1.weight, atol=1e-6)


def test_a_file_that_holds_no_encoder_is_told_before_training(monkeypatch):
    calls = count_calls(monkeypatch, 'train')
    torch.save({'x': torch.zeros(1)}, 'other.pth')
    with pytest.raises(ConfigError, match='does not fit'):
        run('unetpp', *SMALL_PRETRAINING, 'imagenet=other.pth')
    assert not calls


def test_the_three_maskings_are_compared():
    results, _ = run('spark', *SMALL_PRETRAINING, seeds=1)
    assert list(results['cells']) == ['zero', 'drop', 'sparse']
    assert all(cell['pretraining']['steps'] == 3 for cell in results['cells'].values())


@pytest.mark.parametrize(('overrides', 'message'), [
    (['minutes_per_run=0'], 'minutes_per_run is 0.0; it must be above 0'),
    (['minutes_per_run=x'], "minutes_per_run is 'x'; its type must be float"),
    (['seeds=1.5'], 'seeds is 1.5; its type must be int'),
    (['trainer.devices=2'], 'on one device'),
    (['model=unet'], 'each cell has its own'),
    (['init=a.ckpt'], 'each cell has its own'),
    (['imagenet=a.pth'], 'no cell of realtime_unet starts from it'),
    (['minuets_per_run=3'], 'unknown key minuets_per_run'),
    (['pretrain.masking.share=0.5'], 'unknown key masking.share'),
])
def test_a_key_that_makes_no_sense_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        read_setup('realtime_unet', overrides)


def test_a_comparison_that_does_not_exist_lists_what_does():
    with pytest.raises(SystemExit, match='choose one of realtime_unet, eigen, unetpp, spark'):
        main(['resnet'])


def test_shares_of_labels_are_refused_where_they_cannot_be_taken():
    with pytest.raises(ConfigError, match='of mixed only'):
        read_setup('unetpp', ('data.dataset=folder', 'data.root=/nowhere'))
