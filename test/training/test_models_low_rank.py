"""Trainable matrices beside the frozen weights of SPT's encoder."""

from __future__ import annotations

import copy
import logging
import re
import warnings

import onnx
import pytest
import torch
from torch import nn

from training.models import build_model
from training.models.low_rank import LowRankLinear, merge_low_rank, trainable_share
from training.models.spt import tiny


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize(('rank', 'parameters'),
                         [(1, 29_120), (4, 116_480), (8, 232_960), (16, 465_920)])
def test_with_a_rank_the_encoder_trains_through_its_matrices_alone(rank, parameters, caplog):
    with caplog.at_level(logging.INFO, 'training.models.spt'), torch.device('meta'):
        network = build_model('spt_base', rank=rank)
    trained = {name: p.numel() for name, p in network.encoder.named_parameters()
               if p.requires_grad}
    assert sum(trained.values()) == parameters
    assert len(trained) == 2 * 48  # q, kv and proj of 16 blocks
    share = (parameters + 14_050_723) / (parameters + 36_091_235)
    assert trainable_share(network) == pytest.approx(share)
    assert f'rank {rank}: {100 * share:.1f}% of the parameters are trained' in caplog.text


def test_training_starts_from_the_frozen_weights_and_leaves_them():
    network = tiny(rank=2)
    image = torch.randn(2, 3, 64, 64)
    plain = tiny()
    own = network.state_dict()
    plain.load_state_dict({name: own[name] for name in plain.state_dict()})
    torch.testing.assert_close(network.eval()(image), plain.eval()(image))
    frozen = {n: p.clone() for n, p in network.encoder.named_parameters() if not p.requires_grad}
    optimiser = torch.optim.Adam((p for p in network.parameters() if p.requires_grad), lr=0.01)
    for _ in range(3):
        optimiser.zero_grad()
        network.train()(image).square().mean().backward()
        optimiser.step()
    moved = dict(network.encoder.named_parameters())
    assert all(torch.equal(moved[name], x) for name, x in frozen.items())
    assert all(p.grad.any() for p in moved.values() if p.requires_grad)
    assert not torch.allclose(network.eval()(image), plain(image), atol=1e-3)


def with_moved_matrices():
    network = tiny(rank=2).eval()
    for module in network.modules():
        if isinstance(module, LowRankLinear):
            nn.init.normal_(module.low_rank_b, std=0.3)
    return network


def test_a_low_rank_layer_adds_the_product_of_its_matrices():
    layer = LowRankLinear(nn.Linear(6, 5), rank=2)
    nn.init.normal_(layer.low_rank_b)
    x = torch.randn(3, 6)
    a, b = layer.low_rank_a, layer.low_rank_b
    expected = x @ layer.weight.T + layer.bias + 8 / 2 * (x @ a.T) @ b.T
    torch.testing.assert_close(layer(x), expected)


def test_merged_matrices_give_the_same_map_and_the_names_of_a_plain_network():
    network, image = with_moved_matrices(), torch.randn(1, 3, 64, 96)
    merged = merge_low_rank(copy.deepcopy(network))
    assert set(merged.state_dict()) == set(tiny().state_dict())
    torch.testing.assert_close(merged(image), network(image), atol=1e-5, rtol=0)
    before, after = network.encoder.stages[0].blocks[0], merged.encoder.stages[0].blocks[0]
    assert not torch.allclose(before.attn.q.weight, after.attn.q.weight, atol=1e-2)


def test_merging_a_network_without_matrices_changes_nothing():
    network = tiny()
    before = copy.deepcopy(network.state_dict())
    assert merge_low_rank(network) is network
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())


@pytest.mark.parametrize('rank', [-1, 9])
def test_a_rank_that_a_layer_does_not_allow_is_refused(rank):
    with pytest.raises(ValueError, match=f'rank is {rank}; a layer of 8 to 8 .* allows 1 to 8'):
        tiny(rank=rank)


def export_at_one_size(network, path):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)
        torch.onnx.export(network, (torch.zeros(1, 3, 96, 128),), path, input_names=['image'],
                          output_names=['depth'], opset_version=18, dynamo=True,
                          external_data=False, verbose=False)


def test_at_a_fixed_size_the_file_holds_plain_operators_and_nothing_of_the_second_head(tmp_path):
    # The pooling matrices, and low-rank ones after merging, are constants.
    network = merge_low_rank(with_moved_matrices())
    export_at_one_size(network, tmp_path / 'n.onnx')
    graph = onnx.load(tmp_path / 'n.onnx').graph
    assert {node.op_type for node in graph.node} <= {
        'Add', 'Conv', 'ConvTranspose', 'Div', 'Erf', 'LayerNormalization', 'MatMul', 'Mul',
        'Relu', 'Reshape', 'Resize', 'Sigmoid', 'Slice', 'Softmax', 'Transpose',
    }
    assert not [i.name for i in graph.initializer if re.search('segm|low_rank', i.name)]
