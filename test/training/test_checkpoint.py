from __future__ import annotations

import resource

import pytest
import safetensors.torch
import torch

from training.checkpoint import (
    CheckpointError,
    load_init,
    load_into,
    load_model,
    read_checkpoint,
    write_checkpoint,
)
from training.models import MODELS, build_model
from training.models.eigen import tiny as tiny_eigen
from training.models.realtime_unet import tiny
from training.models.resnet import resnet18
from training.models.unet import tiny as tiny_unet


def content(network, **extra):
    return {'state_dict': {f'network.{k}': v for k, v in network.state_dict().items()},
            'hyper_parameters': {'model': 'realtime_unet'}, 'sources': ['rooms']} | extra


def save(path, network, **extra):
    write_checkpoint(content(network, **extra), path)
    return path


def test_what_was_written_is_read_back(tmp_path):
    network = tiny()
    checkpoint = read_checkpoint(save(tmp_path / 'deep/er/x.ckpt', network, stage='fine'))
    assert checkpoint.sources == ['rooms']
    assert checkpoint.stage == 'fine'
    assert all(torch.equal(checkpoint.weights[k], v) for k, v in network.state_dict().items())


def test_a_disk_that_is_full_while_saving_keeps_the_earlier_checkpoint(tmp_path):
    path = save(tmp_path / 'x.ckpt', tiny())
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(CheckpointError, match='cannot write .*the earlier one is kept'):
            save(path, tiny())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ['x.ckpt']


def test_weights_of_another_architecture_are_refused_and_some_of_them_named(tmp_path):
    path = save(tmp_path / 'x.ckpt', tiny())
    with pytest.raises(CheckpointError) as error:
        load_into(tiny_unet(), path)
    text = str(error.value)
    assert 'holds a realtime_unet, another model than this UNet: missing: ' in text
    assert 'not in this model: encoder.' in text
    assert len(text) < 600


def test_weights_of_other_shapes_are_refused_with_both_shapes(tmp_path):
    path = save(tmp_path / 'x.ckpt', tiny())
    with pytest.raises(CheckpointError, match=r'of other shapes: stem.0.weight is \(.*\), not \('):
        load_into(build_model('realtime_unet'), path)


def test_an_encoder_alone_is_a_start_and_no_model(tmp_path):
    whole = tiny()
    encoder = {k: v + 1 for k, v in whole.state_dict().items() if k.startswith('encoder.')}
    path = tmp_path / 'x.ckpt'
    write_checkpoint({'state_dict': {f'network.{k}': v for k, v in encoder.items()},
                      'hyper_parameters': {'model': 'realtime_unet'}, 'sources': [],
                      'encoder_only': True}, path)
    head = whole.head.weight.clone()
    load_init(whole, path)
    assert all(torch.equal(whole.state_dict()[k], v) for k, v in encoder.items())
    assert torch.equal(whole.head.weight, head)
    with pytest.raises(CheckpointError, match='an encoder alone; give it as init='):
        load_into(whole, path)
    with pytest.raises(CheckpointError, match='not in this model: encoder.'):
        load_init(tiny_unet(), path)


def test_an_encoder_without_weights_is_refused(tmp_path):
    path = tmp_path / 'x.ckpt'
    write_checkpoint({'state_dict': {}, 'hyper_parameters': {'model': 'unet'}, 'sources': [],
                      'encoder_only': True}, path)
    with pytest.raises(CheckpointError, match='it has no weights'):
        load_init(tiny(), path)


def test_exported_weights_are_a_start(tmp_path):
    given, network = tiny(), tiny()
    path = tmp_path / 'x.safetensors'
    safetensors.torch.save_file(given.state_dict(), path)
    load_init(network, path)
    assert all(torch.equal(network.state_dict()[k], v) for k, v in given.state_dict().items())


def test_the_name_of_an_installed_model_is_a_start():
    network = build_model('realtime_unet_m')
    fresh = network.head.weight.clone()
    load_init(network, 'realtime_unet_m')
    assert not torch.equal(network.head.weight, fresh)
    with pytest.raises(CheckpointError, match='no_such_model'):
        load_init(network, 'no_such_model')


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
def test_published_weights_of_an_encoder_are_a_start(tmp_path, suffix):
    published = resnet18().state_dict() | {'fc.weight': torch.ones(10, 512)}
    path = tmp_path / f'resnet18.{suffix}'
    write = torch.save if suffix == 'pth' else safetensors.torch.save_file
    write(published, path)
    network = build_model('unetpp18')
    load_init(network, path)
    given = published['layer4.1.conv2.weight']
    assert torch.equal(network.encoder.layer4[1].conv2.weight, given)


def test_weights_that_fit_neither_the_model_nor_its_encoder_are_refused(tmp_path):
    path = tmp_path / 'x.safetensors'
    safetensors.torch.save_file(tiny_unet().state_dict(), path)
    with pytest.raises(CheckpointError, match='does not hold the weights of this RealtimeUNet'):
        load_init(tiny(), path)
    with pytest.raises(CheckpointError, match='does not fit this ResNet'):
        load_init(build_model('unetpp18'), path)


def test_a_model_with_stages_gives_the_map_of_the_stage_that_was_trained_last(
        tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, 'eigen', tiny_eigen)
    path = save(tmp_path / 'x.ckpt', tiny_eigen(), stage='coarse',
                hyper_parameters={'model': 'eigen'})
    network, _ = load_model(path)
    image = torch.rand(1, 3, *network.input_size)
    with torch.inference_mode():
        assert torch.equal(network(image), network.coarse(image))


@pytest.mark.parametrize('settings', [{}, {'model': 'resnet'}])
def test_a_checkpoint_of_a_model_that_does_not_exist_is_refused(tmp_path, settings):
    path = save(tmp_path / 'x.ckpt', tiny(), hyper_parameters=settings)
    with pytest.raises(CheckpointError, match='its model cannot be built'):
        load_model(path)
