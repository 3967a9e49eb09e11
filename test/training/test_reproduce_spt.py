"""Tables 3 and 5 of SPT-Depth at the size of a test: cells, losses at epochs, what is shared."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
import runpy

import pytest
from rich.console import Console

from training import comparison_runs, reproduce
from training.comparison_runs import config_of, epoch_losses
from training.comparisons import COMPARISONS, GROUPS
from training.data import DATASETS
from training.models import MODELS
from training.models.spt import tiny
from training.reproduce import plan, read_setup, reproduce_all

RAMPS = runpy.run_path(str(Path(__file__).with_name('test_joint_task.py')))['Ramps']
SMALL = ('phases.0.height=32', 'phases.0.width=32', 'phases.0.batch_size=2', 'epochs.count=9',
         'epochs.validate_every=1', 'data.dataset=toy', 'data.workers=0', 'trainer.threads=1',
         'trainer.accelerator=cpu', 'trainer.precision=32-true', 'phases.0.steps=12')
NETWORKS = ('vit32', 'vit16', 'dpt_hybrid', 'pvt', 'pvt_linear_sra')


def one_of(size='base', classes=2):
    assert size == 'tiny'
    return tiny(classes)


class Toy(RAMPS):
    """With what a table asks of a data set."""

    @property
    def views(self):
        return [None] * 7


@pytest.fixture
def small(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(DATASETS, 'toy', Toy)
    for name in NETWORKS:
        monkeypatch.setitem(MODELS, name, one_of)
    measured = []
    monkeypatch.setattr(reproduce, 'MEASURED_AFTER', {'spt': lambda *x: measured.append(x)})
    return measured


def test_both_tables_are_made_and_the_cell_that_they_share_is_trained_once(small, monkeypatch):
    trained, original = [], comparison_runs.train

    def counted(config):
        trained.append(config.name)
        return original(config)

    monkeypatch.setattr(comparison_runs, 'train', counted)
    text = io.StringIO()
    reproduce_all('spt', (*SMALL, 'seeds=1', 'output=out'), Console(file=text, width=300))
    assert trained == ['vit32_seed0', 'vit16_seed0', 'dpt_hybrid_seed0', 'pvt_seed0', 'spt_seed0',
                       'vit16_mse_seed0', 'pvt_mse_seed0', 'linear_mse_seed0']
    losses, ablation = (json.loads(Path(f'out/table{i}.json').read_text()) for i in (3, 5))
    assert list(losses['cells']) == ['vit32', 'vit16', 'dpt_hybrid', 'pvt', 'spt']
    scores = losses['cells']['spt']['scores']
    for stage in ('train', 'val'):
        assert all(scores[f'{stage}_loss_{e}']['mean'] > 0 for e in (10, 20, 30, 45))
    assert 0 < ablation['cells']['spt']['scores']['abs_rel']['mean'] < 1
    assert 'scale and shift of inverse depth fitted' in Path('out/table5.md').read_text()
    assert '2.85' in Path('out/table3.md').read_text()
    assert all(Path(f'out/table{i}_sheet.jpg').exists() for i in (3, 5))
    assert [folder for folder, _ in small] == [Path('out')]
    assert '1 of 4 are finished' in text.getvalue()


def test_the_ablation_takes_the_ssi_loss_from_all_but_the_last():
    setup, _ = read_setup('spt_table5')
    configs = [config_of(setup, cell, 0) for cell in setup.cells]
    assert [(x.model, x.loss.get('ssi', True)) for x in configs] == [
        ('vit16', False), ('pvt', False), ('pvt_linear_sra', False), ('pvt_linear_sra', True)]
    assert {x.phases[0].minutes for x in configs} == {3.0}


def test_the_shipped_recipe_builds_every_cell_and_says_its_time():
    for name, minutes in zip(GROUPS['spt'], (45, 36)):
        setup, seeds = read_setup(name)
        assert setup.base.trainer.ema_decay == 0 and setup.base.data.labels
        assert f'{minutes} minutes of training in all' in plan(setup, seeds)
        assert setup.output == Path('runs/reproduce/spt')
        cells = {cell.name for cell in COMPARISONS[name].cells}
        assert all({x.better, x.worse} <= cells for x in COMPARISONS[name].claims)


def write_log(folder, rows):
    folder.mkdir(parents=True)
    with (folder / 'metrics.csv').open('w', newline='') as file:
        writer = csv.DictWriter(file, ['epoch', 'step', 'train/total', 'val/total'])
        writer.writeheader()
        writer.writerows(rows)


def test_losses_are_those_after_so_many_epochs_also_of_a_run_that_was_resumed(tmp_path):
    write_log(tmp_path / 'version_0', [{'epoch': e, 'train/total': 100 - e} for e in range(21)])
    write_log(tmp_path / 'version_1', [
        *({'epoch': e, 'train/total': 50 - e} for e in range(20, 44)),
        *({'epoch': e, 'val/total': e} for e in (9, 19, 29, 43))])
    assert epoch_losses(tmp_path, 45) == {
        'train_loss_10': 91, 'train_loss_20': 81, 'train_loss_30': 21, 'train_loss_45': 7,
        'val_loss_10': 9, 'val_loss_20': 19, 'val_loss_30': 29, 'val_loss_45': 43}
