from __future__ import annotations

import pytest
import torch
from torch import nn

from training.models import build_model
from training.models.resnet import Bottleneck, ResNet
from training.models.unetpp import UNetPlusPlus, tiny


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_the_nodes_have_the_inputs_and_widths_of_the_nested_design():
    with torch.device('meta'):
        decoder = build_model('unetpp18').decoder
    first = {name: node.convs[0] for name, node in decoder.items()}
    # Channels by hand, from the encoder's 64, 64, 128, 256, 512: own row, then the row below.
    assert {name: (conv.in_channels, conv.out_channels) for name, conv in first.items()} == {
        'x_0_1': (64 + 64, 64), 'x_1_1': (64 + 128, 64), 'x_2_1': (128 + 256, 128),
        'x_3_1': (256 + 512, 256),
        'x_0_2': (128 + 64, 64), 'x_1_2': (128 + 128, 64), 'x_2_2': (256 + 256, 128),
        'x_0_3': (192 + 64, 64), 'x_1_3': (192 + 128, 64),
        'x_0_4': (256 + 64, 32),
        'out': (32, 16),
    }


def test_the_encoder_keeps_the_names_of_published_weights():
    with torch.device('meta'):
        names = build_model('unetpp50').state_dict()
    assert {'encoder.conv1.weight', 'encoder.layer4.2.bn3.running_var'} <= set(names)


def test_a_bottleneck_encoder_fits_as_well():
    network = UNetPlusPlus(ResNet(Bottleneck, (1, 1, 1, 1), width=4), (16, 12, 8, 8, 4)).eval()
    assert network(torch.randn(1, 3, 64, 96)).shape == (1, 1, 64, 96)


def test_without_deep_supervision_training_gives_one_map():
    assert isinstance(tiny().train()(torch.randn(2, 3, 64, 64)), torch.Tensor)


def test_deep_supervision_gives_four_maps_in_training_and_the_first_of_them_in_eval():
    network = tiny(deep_supervision=True)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the average over all batches: after one batch, that batch
    image = torch.randn(8, 3, 64, 96)
    maps = network.train()(image)
    assert [x.shape for x in maps] == [(8, 1, 64, 96)] * 4
    assert all((x > 0).all() for x in maps)
    depth = network.eval()(image)
    assert depth.shape == (8, 1, 64, 96)
    distances = [(x - depth).abs().mean().item() for x in maps]
    assert distances[0] < 0.2 * min(distances[1:])


def test_with_deep_supervision_a_gradient_reaches_every_parameter():
    network = tiny(deep_supervision=True)
    sum(x.square().sum() for x in network(torch.randn(4, 3, 64, 96))).backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())


def test_each_side_map_sees_only_the_columns_before_it():
    network = tiny(deep_supervision=True).train()
    network(torch.randn(4, 3, 64, 96))[1].sum().backward()  # of X(0, 1)
    reached = {name for name, p in network.named_parameters() if p.grad is not None}
    decoders = {name.split('.')[1] for name in reached if name.startswith('decoder.')}
    assert decoders == {'x_0_1'}


def test_training_starts_from_about_one_and_a_half_metres():
    maps = tiny(deep_supervision=True)(torch.randn(4, 3, 64, 64))
    for depth in maps:
        assert depth.mean().item() == pytest.approx(1.5, abs=0.2)
