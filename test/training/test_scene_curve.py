"""The curve over the number of scenes: what is scored, and with which weights."""

from __future__ import annotations

import io
import json

import cv2
import numpy as np
import pytest
from rich.console import Console
import torch

from depth_perception.geometry import Intrinsics
from training import scene_curve
from training.checkpoint import write_checkpoint
from training.comparisons import SCENES
from training.models import MODELS
from training.models.realtime_unet import tiny
from training.registry import build_network
from training.reproduce import read_setup
from training.scene_curve import VAL, write_scene_curve

METRES = {'of_64': 1.0, 'of_16': 1.5, 'of_4': 1.8, 'of_1': 2.0}  # what each cell's network says
VIEWS = {'of_64': 448, 'of_16': 896, 'of_4': 3648, 'of_1': 14480}


def pictures(count):
    camera = Intrinsics(64, 48, 52.0, 52.0, 31.5, 23.5)  # canonical: 0.8125 x 64 px
    return [{'image': np.full((48, 64, 3), 128, np.uint8), 'intrinsics': camera,
             'depth': np.full((48, 64), 2.0, np.float32)} for _ in range(count)]


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setitem(MODELS, 'realtime_unet_m', tiny)
    monkeypatch.setattr(scene_curve, '_pictures', lambda: {'held-out scenes': pictures(3)})
    setup, _ = read_setup('scenes', ('trainer.threads=1',))
    network = build_network('realtime_unet_m', {})
    for name, metres in METRES.items():
        for seed in (0, 1):
            with torch.no_grad():
                network.head.weight.zero_()
                network.head.bias.fill_(float(np.log(metres * (1 + 0.02 * seed))))
            config = setup.base
            write_checkpoint({
                'state_dict': {f'network.{k}': v for k, v in network.state_dict().items()},
                'hyper_parameters': {'name': name, 'model': 'realtime_unet_m', 'output': '',
                                     'phases': [{'height': 48, 'width': 64, 'batch_size': 8,
                                                 'steps': 1, 'learning_rate': 1e-3}],
                                     'loss': dict(config.loss)},
                'sources': ['toy'], 'stage': '',
            }, tmp_path / f'{name}_seed{seed}' / 'weights.ckpt')
    scores = {'values': [0.3, 0.4]}
    (tmp_path / 'results.json').write_text(json.dumps({
        'minutes_per_run': 3, 'seeds': [0, 1], 'data': {'scored_on': 416},
        'cells': {name: {'labels': VIEWS[name], 'scores': {'abs_rel': scores, 'delta1': scores}}
                  for name in reversed(METRES)}}))
    return tmp_path


def test_the_curve_has_every_network_in_order_of_its_scenes(folder):
    text = io.StringIO()
    curve = write_scene_curve(folder, Console(file=text, width=160))
    assert curve == json.loads((folder / 'curve.json').read_text())
    assert curve['views'] == sorted(VIEWS.values())
    held_out = curve['rows']['held-out scenes']
    assert held_out['pictures'] == 3
    expected = [[abs(m * (1 + 0.02 * s) / 2 - 1) for s in (0, 1)] for m in METRES.values()]
    assert np.allclose(held_out['abs_rel'], expected, atol=1e-3)
    # within a factor of 1.25 of 2 m: 1.8 and 2.0, not 1.0 and 1.5
    assert held_out['delta1'] == [[0, 0], [0, 0], [1, 1], [1, 1]]
    assert curve['rows'][VAL] == {'pictures': 416, 'abs_rel': [[0.3, 0.4]] * 4,
                                  'delta1': [[0.3, 0.4]] * 4}
    assert '14,480' in text.getvalue() and '0.350 ± 0.071' in text.getvalue()
    assert cv2.imread(str(folder / 'curve.png')).std() > 5


def test_the_cells_differ_in_the_share_of_scenes_alone():
    assert [cell.labels for cell in SCENES.cells] == [1 / 64, 1 / 16, 1 / 4, 1]
    assert len({(c.model, c.stages, c.start, *c.options, *c.data) for c in SCENES.cells}) == 1
