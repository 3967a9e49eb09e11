from __future__ import annotations

import pytest
import torch
from torch import nn

from training.models.sparse import SparseEncoding, gather, scatter, spread


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


class Residual(nn.Module):
    """A stem and a strided residual block, as in ResNet."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.conv2 = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.bn2 = nn.BatchNorm2d(6)
        self.shortcut = nn.Sequential(nn.Conv2d(4, 6, 1, stride=2), nn.BatchNorm2d(6))

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.relu(self.bn2(self.conv2(x)) + self.shortcut(x))


CELLS = torch.tensor([[[1, 0, 1], [0, 1, 0]], [[0, 0, 1], [1, 1, 0]]], dtype=torch.bool)


def test_every_position_gets_the_value_of_its_cell():
    got = spread(torch.tensor([[[True, False]]]), 2, 4)
    assert got.tolist() == [[[True, True, False, False]] * 2]


def test_a_map_that_cells_do_not_divide_is_refused():
    with pytest.raises(ValueError, match='16x25 .* 2x3 cells'):
        spread(CELLS, 16, 25)


def test_scatter_puts_back_what_gather_took_and_zeros_elsewhere():
    x = torch.rand(2, 5, 4, 6)
    visible = torch.rand(2, 4, 6) < 0.5
    rows = gather(x, visible)
    assert rows.shape == (int(visible.sum()), 5, 1, 1)
    assert torch.equal(scatter(rows, visible), x * visible[:, None])


@pytest.mark.parametrize('training', [True, False])
def test_masked_batch_norm_is_batch_norm_of_the_gathered_pixels(training):
    norm = nn.BatchNorm2d(3).train(training)
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    twin = nn.BatchNorm1d(3).train(training)
    twin.load_state_dict(norm.state_dict())
    x = torch.randn(2, 3, 8, 12)
    with SparseEncoding(norm).seeing(CELLS):
        got = norm(x)
    pixels = torch.stack([x[b, :, i, j] for b in range(2) for i in range(8) for j in range(12)
                          if CELLS[b, i // 4, j // 4]])
    expected = twin(pixels)
    visible = spread(CELLS, 8, 12)
    assert torch.allclose(got.permute(0, 2, 3, 1)[visible], expected, atol=1e-6)
    assert not got.permute(0, 2, 3, 1)[~visible].any()  # the bias does not fill empty cells
    assert torch.allclose(norm.running_mean, twin.running_mean)
    assert torch.allclose(norm.running_var, twin.running_var)


def test_hidden_positions_are_zero_after_every_layer():
    network = Residual()
    sparse = SparseEncoding(network)
    seen = {}
    for name, layer in network.named_modules():
        layer.register_forward_hook(lambda m, i, x, name=name: seen.update({name: x.clone()}))
    with sparse.seeing(CELLS):
        network(torch.randn(2, 3, 64, 96))
    for name in ('conv1', 'bn1', 'relu', 'maxpool', 'conv2', 'bn2', 'shortcut', ''):
        hidden = ~spread(CELLS, *seen[name].shape[-2:])
        assert not seen[name].permute(0, 2, 3, 1)[hidden].any(), name
        assert seen[name].any(), name


def test_a_visible_position_is_the_convolution_of_visible_positions():
    # By hand: a 3x3 sum of ones over the left of two 4 px wide cells, the right one hidden.
    conv = nn.Conv2d(1, 1, 3, padding=1, bias=True)
    nn.init.ones_(conv.weight)
    nn.init.constant_(conv.bias, 0.5)
    cells = torch.tensor([[[True, False]]])
    x = torch.ones(1, 1, 4, 8) * spread(cells, 4, 8)
    with SparseEncoding(conv).seeing(cells):
        got = conv(x)[0, 0]
    corner, edge, inner = 4.5, 6.5, 9.5
    side, middle = [corner, edge, edge, corner], [edge, inner, inner, edge]
    assert got.tolist() == [row + [0.0] * 4 for row in (side, middle, middle, side)]


def test_outside_the_mask_the_network_is_the_dense_one():
    network, x = Residual().eval(), torch.randn(1, 3, 64, 96)
    expected = network(x)
    sparse = SparseEncoding(network)
    with sparse.seeing(CELLS[:1]):
        network(x)
    assert torch.equal(network(x), expected)
    assert list(network.state_dict()) == list(Residual().state_dict())


def test_with_all_cells_visible_it_is_the_dense_network():
    network, x = Residual(), torch.randn(2, 3, 64, 96)
    expected = network(x)
    with SparseEncoding(network).seeing(torch.ones_like(CELLS)):
        assert torch.allclose(network(x), expected, atol=1e-5)


def test_an_error_inside_the_mask_takes_the_mask_away():
    network = Residual()
    sparse = SparseEncoding(network)
    with pytest.raises(ValueError), sparse.seeing(CELLS):
        network(torch.randn(2, 3, 64, 90))
    network(torch.randn(2, 3, 64, 90))


@pytest.mark.parametrize('layer', [nn.GroupNorm(2, 4), nn.AdaptiveAvgPool2d(1), nn.Upsample()])
def test_a_layer_without_sparse_equivalent_is_refused_by_name(layer):
    with pytest.raises(ValueError, match=rf'layer 1 is a {type(layer).__name__}'):
        SparseEncoding(nn.Sequential(nn.Conv2d(3, 4, 3), layer))
