"""The demo of retraining: its steps, and the whole on a real ROS graph."""

from __future__ import annotations

import json
import os
from pathlib import Path
import signal
import threading
import time

import cv2
import jsonschema
import numpy as np
import pytest

from depth_perception.tools import cli
from depth_perception.tools import demo_retrain as module
from depth_perception.tools.demo_retrain_record import (
    FIRST_SEEDS,
    MOST_ROOMS,
    TOPICS,
    keep_one,
    record_room,
)
from depth_perception.tools.demo_retrain_swap import Swap, draw
from depth_perception.tools.recorder import read_back
from training.data.prepare import Settings as PrepareSettings
from training.data.prepare import prepare
from training.data.splits import load_splits

SCHEMA = json.loads((Path(__file__).parents[2] / 'docs' / 'summary.schema.json').read_text())
TAKEN = Swap(2.0, 120.0, 140.0, 0.0, [(np.zeros((48, 64, 3), np.uint8),
                                            np.full((48, 64), 2.0, np.float32))])


ROW = {'abs_rel': 0.4, 'rmse': 0.5, 'delta1': 0.6}
FOUND = {'gain': 0.25, 'held_out': {'frames': 9, 'before': ROW, 'after': ROW | {'abs_rel': 0.3},
                                    'median_depth': ROW | {'abs_rel': 0.6}}}
OLD = {'frames': 7, 'before': ROW | {'abs_rel': 0.2}, 'after': ROW | {'abs_rel': 0.21}}


def run_to_the_swap(monkeypatch, model, output, taken):
    """Run the demo with steps that take no time; `taken` is what comes of the last one."""
    def swap(*_):
        if isinstance(taken, Exception):
            raise taken
        return taken

    for name, result in (('record', {}), ('prepare', None), ('fine_tune', FOUND),
                         ('export', model), ('check', 'fp32 verified'), ('compare', OLD)):
        monkeypatch.setattr(module, name, lambda *_, result=result: result)
    monkeypatch.setattr(module, 'swap', swap)
    monkeypatch.setenv('XDG_DATA_HOME', str(output))
    before = signal.getsignal(signal.SIGTERM)
    try:
        return module.run(module.Plan(str(model), name=str(model)), output)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_summary_fits_its_schema(make_model, tmp_path, monkeypatch, capsys, isolated_graph):
    assert run_to_the_swap(monkeypatch, make_model(), tmp_path, TAKEN) == 0
    written = json.loads((tmp_path / 'summary.json').read_text())
    jsonschema.validate(written, SCHEMA)
    result = written['retrain']
    assert result['forgetting'] == pytest.approx(0.05)
    assert (result['abs_rel_before'], result['abs_rel_after']) == (0.4, 0.3)
    assert result['swap']['longest_gap_ms'] == 140.0
    said = capsys.readouterr().out
    assert '0.400' in said and '-25 %' in said and '+5 %' in said and '140 ms' in said
    assert (tmp_path / 'retrain' / 'before_after.jpg').is_file()


@pytest.mark.parametrize('taken, said', [
    (RuntimeError('depth_node refuses model retrained'), 'refuses model'),
    (Swap(2.0, 120.0, 140.0, 0.3), 'off from the new model by 30.0 %')])
def test_what_was_measured_is_kept_where_the_node_does_not_take_the_model(
        taken, said, make_model, tmp_path, monkeypatch, capsys, isolated_graph):
    with pytest.raises(RuntimeError, match=said):
        run_to_the_swap(monkeypatch, make_model(), tmp_path, taken)
    written = json.loads((tmp_path / 'summary.json').read_text())
    jsonschema.validate(written, SCHEMA)
    assert written['retrain']['abs_rel_after'] == 0.3 and 'swap' not in written['retrain']
    assert '-25 %' in capsys.readouterr().out


def test_rooms_of_different_splits_never_meet():
    assert module.rooms_of('24,4,8') == {'train': 24, 'val': 4, 'test': 8}
    starts = sorted(FIRST_SEEDS.values())
    assert min(np.diff(starts)) >= MOST_ROOMS
    for wrong in ('24,4', 'a,b,c', '1,0,1', '', '1001,4,8'):
        with pytest.raises(ValueError, match='TRAIN,VAL,TEST'):
            module.rooms_of(wrong)


def test_no_room_and_no_style_of_the_demo_is_trained_or_tested_on():
    entries = load_splits().entries.values()
    seeds = [entry.seeds for entry in entries if entry.seeds]
    last = max(FIRST_SEEDS.values()) + MOST_ROOMS - 1
    assert seeds and all(b < min(FIRST_SEEDS.values()) or a > last for a, b in seeds)
    assert module.Plan('m').style not in {entry.style for entry in entries}


def test_the_picture_shows_both_models(make_model, tmp_path):
    near, far = make_model(depth=1.0), make_model(depth=4.0)
    pictures = []
    for name, models in (('same', (near, near)), ('other', (near, far))):
        draw(TAKEN, *models, tmp_path / f'{name}.jpg')
        pictures.append(cv2.imread(str(tmp_path / f'{name}.jpg')).astype(int))
    height, width = pictures[0].shape[:2]
    assert height == 180
    changed = np.abs(pictures[1] - pictures[0]).max(axis=(0, 2)) > 50
    # the last of four panels alone
    assert changed.any()
    assert not changed[:width // 2].any()


def test_a_step_that_fails_is_named_with_what_it_said(tmp_path):
    from rich.console import Console
    with pytest.raises(module.RetrainError, match='training.train ended with status 1.*\n.*data=/'
                                                  'nowhere is no folder'):
        module._step(Console(quiet=True), tmp_path, 'x', 'training.train', module.RECIPE,
                     'data=/nowhere')


def test_sigterm_ends_the_demo_with_the_step_that_runs(
        make_model, tmp_path, monkeypatch, isolated_graph):
    log = tmp_path / 'retrain' / 'record.log'

    def step(style, rooms, frames, folder, console):
        def stop():
            while not (log.exists() and log.read_text().endswith('\n')):
                time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=stop).start()
        module._step(console, log.parent, 'record', 'timeit', '-n', '1', '-r', '1',
                     'import os, time; print(os.getpid(), flush=True); time.sleep(60)')

    monkeypatch.setattr(module, 'record', step)
    monkeypatch.setenv('XDG_DATA_HOME', str(tmp_path))
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(KeyboardInterrupt):
            module.run(module.Plan(str(make_model())), tmp_path)
    finally:
        signal.signal(signal.SIGTERM, before)
    with pytest.raises(ProcessLookupError):
        os.kill(int(log.read_text().split()[0]), 0)


def test_of_the_bags_one_of_each_split_is_kept(tmp_path):
    bags = {split: [tmp_path / f'{split}_{i}' for i in range(3)] for split in ('train', 'test')}
    for path in sum(bags.values(), []):
        path.mkdir()
    keep_one(bags)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['test_0', 'train_0']


def test_a_model_that_is_missing_is_told_before_anything_starts(tmp_path, capsys):
    assert cli.main(['demo-retrain', '--model', 'nobody', '--output', str(tmp_path)]) == 1
    assert "no model is called 'nobody'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_drive_through_a_room_becomes_a_data_set(tmp_path, isolated_graph):
    import rclpy
    rclpy.init()
    try:
        bag = record_room('arcade', 710_000, 12, tmp_path / 'bag')
    finally:
        rclpy.try_shutdown()
    assert {topic.name: topic.count for topic in read_back(bag)} == dict.fromkeys(
        TOPICS, 12)
    made = prepare([bag], tmp_path / 'set', PrepareSettings(split='test', still=0.0))
    assert made.counts['depth']['test'] >= 10


@pytest.mark.slow
def test_the_whole_loop_on_a_live_graph(tmp_path, isolated_graph):
    status = cli.main([
        'demo-retrain', '--rooms', '1,1,1', '--frames', '20', '--max-rate', '0',
        '--output', str(tmp_path), 'frozen.steps=2', 'unfrozen.steps=2', 'batch_size=2',
        'rehearsal.share=0', 'trainer.validate_every_steps=2', 'trainer.threads=1'])
    assert status == 0
    summary = json.loads((tmp_path / 'summary.json').read_text())
    jsonschema.validate(summary, SCHEMA)
    assert summary['retrain']['rooms'] == {'train': 1, 'val': 1, 'test': 1}
    assert summary['retrain']['swap']['difference'] < 1e-3
    folder = tmp_path / 'retrain'
    assert cv2.imread(str(folder / 'before_after.jpg')).shape[0] == 4 * 180
    assert (folder / 'data_home/depth_perception/models/retrained.onnx').exists()
