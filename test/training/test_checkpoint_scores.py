from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
import runpy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from depth_perception.model_spec import read_spec
from depth_perception.scoring import Protocol
from training.checkpoint import write_checkpoint
from training.checkpoint_scores import SHOWN, as_table, predictor, read_request
from training.config import Config, ConfigError, Data, Phase
from training.data import DATASETS
from training.evaluate import evaluate, main
from training.models import MODELS

TOY = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name('toy_run.py'))))
CONFIG = Config(name='toy', model='toy', output='runs/toy', phases=(Phase(32, 48, 1, 1, 1e-3),),
                data=Data(dataset='toy', root='/there'))


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    monkeypatch.setitem(DATASETS, 'toy', TOY.BrightIsNear)
    monkeypatch.setitem(MODELS, 'toy', TOY.ToyNet)


@pytest.fixture
def two_metres(tmp_path):
    """A checkpoint of a network that says 2 m everywhere."""
    network = TOY.ToyNet()
    torch.nn.init.zeros_(network.head.weight)
    torch.nn.init.constant_(network.head.bias, math.log(2.0))
    path = tmp_path / 'x.ckpt'
    write_checkpoint({'state_dict': {f'network.{k}': v for k, v in network.state_dict().items()},
                      'hyper_parameters': dataclasses.asdict(CONFIG), 'sources': ['toy']}, path)
    return path


def test_a_checkpoint_gets_a_table_a_json_file_and_a_sheet(two_metres, tmp_path, capsys):
    main([str(two_metres), 'split=val', f'folder={tmp_path}'])
    told = json.loads((tmp_path / 'toy_val.json').read_text())['all']
    # the five pictures of the toy set; their camera is the canonical one
    truth = np.array([4.0 - 3.0 * (i * 0.37 % 1.0) for i in range(5)])
    assert told['images'] == 5
    assert told['per_image']['abs_rel']['mean'] == pytest.approx(np.mean(abs(2 - truth) / truth),
                                                                 rel=1e-4)
    assert told['per_image']['rmse']['mean'] == pytest.approx(np.mean(abs(2 - truth)), rel=1e-4)
    assert told['per_pixel']['rmse']['mean'] == pytest.approx(np.sqrt(np.mean((2 - truth) ** 2)),
                                                              rel=1e-4)
    assert 'align none' in capsys.readouterr().out
    assert (tmp_path / 'toy_val.jpg').stat().st_size > 1000


def test_aligned_by_the_median_a_constant_is_right_on_even_pictures(two_metres, tmp_path):
    main([str(two_metres), 'split=val', 'align=median', f'folder={tmp_path}'])
    told = json.loads((tmp_path / 'toy_val.json').read_text())['all']
    assert told['protocol']['align'] == 'median'
    assert told['per_image']['abs_rel']['mean'] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize('sources', [2, 20])
def test_of_sources_and_metrics_what_is_fewer_goes_across(sources):
    row = {'images': 3, 'per_image': {x: {'mean': 1.0, 'lo': 0.0, 'hi': 2.0} for x in SHOWN}}
    table = as_table('x', {f'source {i}': row for i in range(sources)})
    assert table.row_count == max(sources, len(SHOWN))
    assert len(table.columns) == 1 + min(sources, len(SHOWN))


def test_what_is_left_open_is_as_trained_or_as_published():
    assert read_request(CONFIG, {}) == ('toy', '/there', 'test', (32, 48), Protocol())
    mixed = read_request(CONFIG, {'data': 'mixed', 'size': '64x96', 'align': 'median'})
    assert mixed == ('mixed', '/there', 'val', (64, 96), Protocol(align='median'))
    nyu = read_request(CONFIG, {'data': 'nyu_labeled', 'root': 'nyu'})
    assert nyu == ('nyu_labeled', 'nyu', 'test', (480, 640), Protocol(crop='eigen', max_depth=10))


@pytest.mark.parametrize(('given', 'message'), [
    ({'data': 'kitti'}, "data set 'kitti' does not exist; choose one of mixed, .*held_out"),
    ({'align': 'mean'}, 'it must be one of none, median, least_squares'),
    ({'crop': 'garg'}, 'it must be one of none, eigen'),
    ({'size': '480'}, 'it must be HEIGHTxWIDTH'),
    ({'max_depth': 'far'}, "max_depth is 'far'; its type must be float"),
    ({'model': 'x.onnx'}, 'unknown key model'),
])
def test_a_wrong_request_is_refused_with_the_choices(given, message):
    with pytest.raises(ConfigError, match=message):
        read_request(CONFIG, given)


def test_a_wrong_key_on_the_command_line_ends_with_one_line(two_metres):
    with pytest.raises(SystemExit, match='error: align is'):
        main([str(two_metres), 'align=mean'])


def test_relative_depth_has_no_metres_to_score(make_model, tmp_path):
    path = make_model('relative')
    engine = SimpleNamespace(spec=read_spec(path))
    with pytest.raises(ConfigError, match='gives relative depth, which has no metres to score'):
        predictor(engine)
    with pytest.raises(ConfigError, match=f'{path.name} gives relative depth'):
        evaluate(CONFIG, path, tmp_path)
