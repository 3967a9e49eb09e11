from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch

from depth_perception.geometry import Intrinsics
from depth_perception.model_spec import read_spec
from depth_perception.sources import Frame
from training import export as module
from training.arguments import parse
from training.config import Config, Phase, load_config
from training.export import ExportError, compare, export
from training.models import MODELS
from training.models.eigen import tiny as tiny_eigen
from training.models.realtime_unet import tiny
from training.models.spt import tiny as tiny_spt
from training.models.unetpp import tiny as tiny_unetpp

CONFIG = Config(name='tiny', model='realtime_unet_m', output='runs/tiny',
                phases=(Phase(32, 48, 2, 3, 1e-4), Phase(144, 192, 2, 3, 1e-4)))


ORIGINAL_FRAMES = module.frames
RNG = np.random.default_rng(0)
FRAMES = [Frame(RNG.integers(0, 256, (h, w, 3), np.uint8), Intrinsics.from_hfov(w, h, 63), None)
          for h, w in ((48, 64), (60, 100))]


@pytest.fixture(autouse=True)
def few_frames_and_small_networks(monkeypatch):
    monkeypatch.setattr(module, 'frames', lambda: FRAMES)
    for name, build in (('realtime_unet_m', tiny), ('eigen', tiny_eigen),
                        ('unetpp18', tiny_unetpp)):
        monkeypatch.setitem(MODELS, name, build)


@pytest.fixture
def checkpoint(tmp_path):
    return save(tmp_path / 'phase0.ckpt', tiny(), CONFIG)


def test_an_export_carries_its_contract_weights_and_config(checkpoint, tmp_path):
    path = export(CONFIG, checkpoint, tmp_path / 'models')
    spec = read_spec(path)
    assert (spec.name, spec.architecture) == ('tiny', 'realtime_unet_m')
    assert (spec.input_height, spec.input_width, spec.size_multiple) == (144, 192, 16)
    # 260 px belong to 320 px: 192 px get 260 * 192 / 320
    assert (spec.output_kind, spec.canonical_focal_px) == ('log', 156.0)
    assert spec.depth_range == (0.25, 12.0)
    assert spec.training_data == 'rooms, office'
    assert spec.weights_sha256
    network = tiny()
    network.load_state_dict(safetensors.torch.load_file(path.with_suffix('.safetensors')))
    assert load_config(path.with_suffix('.yaml')) == CONFIG
    assert sorted(p.name for p in path.parent.iterdir()) == [
        'tiny.onnx', 'tiny.safetensors', 'tiny.yaml']
    with pytest.raises(ExportError, match='differs from torch'):
        compare(tiny().eval(), path, FRAMES)


def save(path, network, config):
    torch.save({'state_dict': {f'network.{k}': v for k, v in network.state_dict().items()},
                'hyper_parameters': dataclasses.asdict(config), 'sources': ['rooms', 'office']},
               path)
    return path


@pytest.mark.parametrize(('name', 'build', 'size', 'multiple', 'kind'), [
    ('eigen', tiny_eigen, (68, 92), 0, 'log'),  # gives a smaller map than its input
    ('unetpp18', tiny_unetpp, (64, 96), 32, 'metric'),
])
def test_any_registered_model_is_exported_with_the_contract_of_its_class(
        tmp_path, name, build, size, multiple, kind):
    config = dataclasses.replace(CONFIG, model=name, phases=(Phase(*size, 2, 3, 1e-4),))
    with torch.no_grad():
        network = build()
        if kind == 'metric':  # random weights give depth below 0 as well
            for parameter in network.parameters():
                parameter.abs_()
    path = export(config, save(tmp_path / 'x.ckpt', network, config), tmp_path / 'models')
    spec = read_spec(path)
    assert (spec.input_height, spec.input_width) == size
    assert (spec.size_multiple, spec.output_kind) == (multiple, kind)


def test_low_rank_matrices_are_merged_in_the_file_and_kept_in_the_weights(tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, 'spt_tiny', tiny_spt)
    config = dataclasses.replace(CONFIG, model='spt_tiny', model_options={'rank': 2},
                                 phases=(Phase(64, 96, 2, 3, 1e-4),))
    network = tiny_spt(rank=2)
    for name, parameter in network.named_parameters():
        if 'low_rank_b' in name:
            torch.nn.init.normal_(parameter, std=0.3)
    path = export(config, save(tmp_path / 'x.ckpt', network, config), tmp_path / 'models')
    spec = read_spec(path)
    assert (spec.output_kind, spec.size_multiple) == ('relative', 32)
    assert 'low_rank' not in str([x.name for x in onnx.load(path).graph.initializer])
    tiny_spt(rank=2).load_state_dict(safetensors.torch.load_file(path.with_suffix('.safetensors')))


def test_a_checkpoint_of_another_model_than_the_configs_is_refused(checkpoint, tmp_path):
    config = dataclasses.replace(CONFIG, model='unet')
    with pytest.raises(ExportError, match='holds a realtime_unet_m, the config is for unet'):
        export(config, checkpoint, tmp_path / 'models')


def test_a_checkpoint_stands_for_the_config_it_was_trained_with(checkpoint):
    from argparse import ArgumentParser
    config, own = parse(ArgumentParser(), [str(checkpoint), 'seed=3'], ('folder',))
    assert config == dataclasses.replace(CONFIG, seed=3)
    assert own == {'checkpoint': str(checkpoint)}


def test_frames_to_compare_on_are_stored_ones_or_else_rendered(monkeypatch, caplog):
    monkeypatch.delenv('DATA_ROOT', raising=False)
    found = ORIGINAL_FRAMES(2)
    assert [f.image.shape for f in found] == [(240, 320, 3)] * 2
    assert 'comparing on rendered ones' in caplog.text


def test_a_failed_export_leaves_the_old_model_in_place(checkpoint, tmp_path, monkeypatch):
    path = tmp_path / 'models' / 'tiny.onnx'
    path.parent.mkdir()
    path.write_bytes(b'the old model')
    monkeypatch.setattr(module, 'TOLERANCE', -1.0)
    with pytest.raises(ExportError):
        export(CONFIG, checkpoint, tmp_path / 'models')
    assert path.read_bytes() == b'the old model'
    assert len(list(path.parent.iterdir())) == 1


@pytest.mark.parametrize('writes', ['safetensors.torch.save_file', 'yaml.safe_dump'])
def test_a_disk_that_fills_up_at_the_end_leaves_the_old_set_in_place(
        checkpoint, tmp_path, monkeypatch, writes):
    def full(*_, **__):
        raise OSError('No space left on device')

    folder = tmp_path / 'models'
    folder.mkdir()
    for suffix in ('onnx', 'safetensors', 'yaml'):
        (folder / f'tiny.{suffix}').write_bytes(b'old')
    monkeypatch.setattr(writes, full)
    with pytest.raises(OSError, match='No space'):
        export(CONFIG, checkpoint, folder)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == dict.fromkeys(
        ('tiny.onnx', 'tiny.safetensors', 'tiny.yaml'), b'old')


def test_the_model_is_seen_after_its_weights_and_config(checkpoint, tmp_path, monkeypatch):
    from os import replace
    seen = []

    def noted(source, target):
        seen.append(str(target).rpartition('.')[2])
        replace(source, target)

    monkeypatch.setattr(module.os, 'replace', noted)
    export(CONFIG, checkpoint, tmp_path / 'models')
    assert seen[-1] == 'onnx' and set(seen[-3:]) == {'safetensors', 'yaml', 'onnx'}


def test_a_network_in_training_mode_is_not_exported(tmp_path):
    with pytest.raises(ExportError, match='eval'):
        module.export_onnx(tiny(), tmp_path / 'x.onnx')


def test_a_commands_own_keys_are_told_from_the_configs(tmp_path):
    from argparse import ArgumentParser
    path = tmp_path / 'c.yaml'
    path.write_text('{name: a, model: unet, output: b, '
                    'phases: [{height: 32, width: 48, batch_size: 1, steps: 1, '
                    'learning_rate: 1e-3}]}')
    config, own = parse(ArgumentParser(), [str(path), 'folder=x=y', 'seed=3'], ('folder',))
    assert config.seed == 3
    assert own == {'folder': 'x=y'}


def test_a_wrong_key_ends_the_command_with_the_nearest_known(tmp_path, capsys):
    from argparse import ArgumentParser
    path = tmp_path / 'c.yaml'
    path.write_text('{name: a, model: unet, output: b, '
                    'phases: [{height: 32, width: 48, batch_size: 1, steps: 1, '
                    'learning_rate: 1e-3}]}')
    with pytest.raises(SystemExit):
        parse(ArgumentParser(), [str(path), 'sed=3'])
    assert 'nearest known is seed' in capsys.readouterr().err


def test_one_size_goes_into_the_contract_of_the_file(checkpoint, tmp_path):
    path = export(CONFIG, checkpoint, tmp_path / 'models', (96, 128))
    spec = read_spec(path)
    assert (spec.input_height, spec.input_width, spec.size_multiple) == (96, 128, 0)
    assert spec.canonical_focal_px == 260 * 128 / 320


@pytest.mark.parametrize(('text', 'message'), [
    ('96', "size is '96'; give height x width"), ('96x', 'give height x width'),
    ('100x128', 'size is 100x128; height and width must be multiples of 16'),
])
def test_a_size_that_cannot_be_is_refused(checkpoint, text, message):
    with pytest.raises(SystemExit, match=message):
        module.main([str(checkpoint), f'size={text}'])
