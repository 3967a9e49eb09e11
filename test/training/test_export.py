from __future__ import annotations

import dataclasses

import pytest
import safetensors.torch
import torch

from depth_perception.model_spec import read_spec
from training import export as module
from training.arguments import parse
from training.config import Config, Phase, load_config
from training.export import ExportError, compare, export
from training.models import build_model

CONFIG = Config(name='tiny', model='realtime_unet_m', output='runs/tiny',
                phases=(Phase(32, 48, 2, 3, 1e-4), Phase(144, 192, 2, 3, 1e-4)))


@pytest.fixture
def checkpoint(tmp_path):
    network = build_model(CONFIG.model)
    path = tmp_path / 'phase0.ckpt'
    torch.save({'state_dict': {f'network.{k}': v for k, v in network.state_dict().items()},
                'hyper_parameters': dataclasses.asdict(CONFIG), 'sources': ['rooms', 'office']},
               path)
    return path


def test_an_export_carries_its_contract_and_runs_at_free_sizes(checkpoint, tmp_path):
    spec = read_spec(export(CONFIG, checkpoint, tmp_path / 'models'))
    assert (spec.name, spec.architecture) == ('tiny', 'realtime_unet_m')
    assert (spec.input_height, spec.input_width, spec.size_multiple) == (144, 192, 16)
    # 260 px belong to 320 px: 192 px get 260 * 192 / 320
    assert (spec.output_kind, spec.canonical_focal_px) == ('log', 156.0)
    assert spec.training_data == 'rooms, office'
    assert spec.weights_sha256


def test_the_files_beside_it_are_the_weights_and_the_config_as_trained(checkpoint, tmp_path):
    path = export(CONFIG, checkpoint, tmp_path / 'models')
    network = build_model(CONFIG.model)
    network.load_state_dict(safetensors.torch.load_file(path.with_suffix('.safetensors')))
    assert load_config(path.with_suffix('.yaml')) == CONFIG
    assert sorted(p.name for p in path.parent.iterdir()) == [
        'tiny.onnx', 'tiny.safetensors', 'tiny.yaml']


def test_a_file_of_other_weights_is_refused(checkpoint, tmp_path):
    path = export(CONFIG, checkpoint, tmp_path / 'models')
    with pytest.raises(ExportError, match='differs from torch'):
        compare(build_model(CONFIG.model).eval(), path)


def test_a_failed_export_leaves_the_old_model_in_place(checkpoint, tmp_path, monkeypatch):
    path = export(CONFIG, checkpoint, tmp_path / 'models')
    before = path.read_bytes()
    monkeypatch.setattr(module, 'TOLERANCE', -1.0)
    with pytest.raises(ExportError):
        export(CONFIG, checkpoint, tmp_path / 'models')
    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == 3


def test_a_network_in_training_mode_is_not_exported(tmp_path):
    with pytest.raises(ExportError, match='eval'):
        module.export_onnx(build_model(CONFIG.model), tmp_path / 'x.onnx')


def test_a_commands_own_keys_are_told_from_the_configs(tmp_path):
    from argparse import ArgumentParser
    path = tmp_path / 'c.yaml'
    path.write_text('{name: a, model: unet, output: b, phases: []}')
    config, own = parse(ArgumentParser(), [str(path), 'folder=x=y', 'seed=3'], ('folder',))
    assert config.seed == 3
    assert own == {'folder': 'x=y'}


def test_a_wrong_key_ends_the_command_with_the_nearest_known(tmp_path, capsys):
    from argparse import ArgumentParser
    path = tmp_path / 'c.yaml'
    path.write_text('{name: a, model: unet, output: b, phases: []}')
    with pytest.raises(SystemExit):
        parse(ArgumentParser(), [str(path), 'sed=3'])
    assert 'nearest known is seed' in capsys.readouterr().err
