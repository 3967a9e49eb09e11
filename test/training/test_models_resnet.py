from __future__ import annotations

import pytest
import safetensors.torch
import torch

from training.models.resnet import BasicBlock, Bottleneck, ResNet, resnet18, resnet34, resnet50

PARAMETERS = {resnet18: 11_176_512, resnet34: 21_284_672, resnet50: 23_508_032}


@pytest.mark.parametrize('build', PARAMETERS)
def test_each_encoder_has_exactly_the_published_number_of_parameters(build):
    with torch.device('meta'):
        assert sum(p.numel() for p in build().parameters()) == PARAMETERS[build]


@pytest.mark.parametrize(('build', 'channels'), [
    (resnet18, (64, 64, 128, 256, 512)), (resnet50, (64, 256, 512, 1024, 2048)),
])
def test_the_maps_halve_in_size_five_times_and_have_the_channels_that_the_encoder_names(
        build, channels):
    with torch.device('meta'):
        encoder = build()
        maps = encoder(torch.empty(2, 3, 96, 128))
    assert encoder.channels == channels
    sizes = [(48, 64), (24, 32), (12, 16), (6, 8), (3, 4)]
    assert [x.shape for x in maps] == [(2, c, *s) for c, s in zip(channels, sizes)]


def test_the_state_dict_has_the_names_of_published_files():
    with torch.device('meta'):
        shapes = {name: tuple(w.shape) for name, w in resnet50().state_dict().items()}
    assert shapes['conv1.weight'] == (64, 3, 7, 7)
    assert shapes['bn1.running_mean'] == (64,)
    assert shapes['layer1.0.downsample.0.weight'] == (256, 64, 1, 1)
    assert shapes['layer1.0.downsample.1.bias'] == (256,)
    assert shapes['layer2.3.conv2.weight'] == (128, 128, 3, 3)
    assert shapes['layer4.2.bn3.weight'] == (2048,)
    assert len(shapes) == 318  # of torchvision's 320, less fc.weight and fc.bias
    assert 'layer1.0.downsample.0.weight' not in resnet18().state_dict()


@pytest.mark.parametrize('block', [BasicBlock, Bottleneck])
def test_a_block_whose_branch_is_silent_passes_its_input_on(block):
    layer = block(8 * block.expansion, 8, stride=1).eval()
    last = layer.bn2 if block is BasicBlock else layer.bn3
    torch.nn.init.zeros_(last.weight)
    x = torch.randn(2, 8 * block.expansion, 6, 5)
    torch.testing.assert_close(layer(x), x.relu())


def tiny():
    return ResNet(BasicBlock, (1, 1, 1, 1), width=4)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_a_published_file_loads_without_its_classifier(tmp_path, suffix):
    source, target = tiny(), tiny()
    weights = {**source.state_dict(), 'fc.weight': torch.ones(10, 32), 'fc.bias': torch.ones(10)}
    path = tmp_path / f'resnet{suffix}'
    if suffix == '.pth':
        torch.save(weights, path)
    else:
        safetensors.torch.save_file(weights, path)
    target.load_imagenet(path)
    image = torch.randn(1, 3, 64, 64)
    for expected, got in zip(source.eval()(image), target.eval()(image)):
        assert torch.equal(got, expected)


def test_weights_of_another_resnet_are_refused_by_name(tmp_path):
    torch.save(ResNet(BasicBlock, (1, 1, 1, 2), width=4).state_dict(), tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=r'(?s)other.pth does not fit.*layer4.1.conv1.weight'):
        tiny().load_imagenet(tmp_path / 'other.pth')


@pytest.mark.parametrize('name', ['cut.pth', 'cut.safetensors', 'missing.pth'])
def test_a_file_that_is_not_weights_is_named(tmp_path, name):
    if not name.startswith('missing'):
        (tmp_path / name).write_bytes(b'not weights')
    with pytest.raises(ValueError, match=f'cannot read .*{name}'):
        tiny().load_imagenet(tmp_path / name)
