from __future__ import annotations

import pytest
import torch
from torch import nn

from training.models import build_model
from training.models.realtime_unet import RealtimeUNet
from training.models.spark import (
    STRATEGIES,
    SparK,
    from_cells,
    hidden_cell_loss,
    repaint,
    to_cells,
)
from training.models.unet import UNet
from training.models.unetpp import tiny as tiny_unetpp


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def tiny(pool_first=True):
    return RealtimeUNet((4, 6, 8, 10, 12), (12, 10, 8, 6), pool_first)


def spark(strategy='sparse', network=tiny, **options):
    return SparK(network(), width=32, strategy=strategy, **options)


def changed_where_hidden(image, cells, value):
    hidden = ~cells.repeat_interleave(32, 1).repeat_interleave(32, 2)[:, None]
    return torch.where(hidden, value, image)


@pytest.mark.parametrize('network', [tiny, tiny_unetpp])
@pytest.mark.parametrize('strategy', STRATEGIES)
@pytest.mark.parametrize('value', [9.0, float('nan')])
def test_hidden_pixels_cannot_influence_anything(network, strategy, value):
    model = spark(strategy, network)
    image = torch.randn(2, 3, 96, 128)
    cells = model.draw_cells(image)
    twin = spark(strategy, network)
    twin.load_state_dict(model.state_dict())
    expected, got = model(image, cells), twin(changed_where_hidden(image, cells, value), cells)
    assert torch.equal(got, expected)
    # Nor do they leave a trace in the running statistics.
    for name, state in twin.state_dict().items():
        assert torch.equal(state, model.state_dict()[name]), name


@pytest.mark.parametrize('strategy', STRATEGIES)
def test_visible_pixels_do_influence_the_picture(strategy):
    model = spark(strategy)
    image = torch.randn(1, 3, 96, 128)
    cells = model.draw_cells(image)
    assert not torch.equal(model(image + 1, cells), model(image, cells))


@pytest.mark.parametrize('network', [tiny, lambda: tiny(pool_first=False), tiny_unetpp])
def test_hidden_cells_of_the_maps_stay_empty(network):
    model = spark(network=network)
    image = torch.randn(1, 3, 64, 96)
    cells = torch.tensor([[[1, 0, 0], [0, 1, 0]]], dtype=torch.bool)
    for x in model.encode(image, cells):
        values = to_cells(x, x.shape[-1] // 3).abs().amax(dim=-1)
        assert torch.equal(values > 0, cells)


def test_dropped_cells_are_encoded_each_alone():
    model = spark('drop').eval()
    image = torch.randn(1, 3, 64, 64)
    cells = torch.tensor([[[1, 0], [0, 1]]], dtype=torch.bool)
    whole = model.encode(image, cells)[0]  # 1/16: a cell has 2x2 positions
    alone = model.encode(image[..., 32:, 32:].contiguous(), torch.ones(1, 1, 1, dtype=bool))[0]
    assert torch.allclose(whole[..., 2:, 2:], alone, atol=1e-6)
    assert not whole[..., :2, 2:].any()


def test_the_strategies_make_different_maps_of_the_same_weights():
    image, cells = torch.randn(1, 3, 64, 64), torch.tensor([[[True, True], [False, True]]])
    weights = spark().state_dict()
    maps = {}
    for strategy in STRATEGIES:
        model = spark(strategy)
        model.load_state_dict(weights)
        maps[strategy] = model.eval().encode(image, cells)[0][0, :, 1, 1]  # beside a visible cell
    assert len({tuple(x.tolist()) for x in maps.values()}) == 3


@pytest.mark.parametrize(('size', 'kept'), [((224, 224), 20), ((96, 128), 5)])
def test_each_picture_keeps_two_fifths_of_its_cells_drawn_by_itself(size, kept):
    cells = spark().draw_cells(torch.zeros(50, 3, *size))
    assert cells.shape == (50, size[0] // 32, size[1] // 32)
    assert set(cells.flatten(1).sum(1).tolist()) == {kept}
    assert len({tuple(row) for row in cells.flatten(1).tolist()}) > 30
    share = kept / cells[0].numel()
    assert (cells.float().mean(0) - share).abs().max() < 0.3  # no cell is preferred


def test_the_same_generator_draws_the_same_cells():
    image, model = torch.zeros(3, 3, 128, 128), spark()
    draws = [model.draw_cells(image, torch.Generator().manual_seed(7)) for _ in range(2)]
    assert torch.equal(*draws)


@pytest.mark.parametrize('name', ['realtime_unet', 'realtime_unet_m', 'unet', 'unetpp18'])
def test_the_encoder_keeps_the_keys_and_weights_of_its_network(name):
    dense = build_model(name).state_dict()
    network = build_model(name)
    network.load_state_dict(dense)
    kept = SparK(network, width=32).network.state_dict()
    assert 0 < len(kept) < len(dense)
    assert all(torch.equal(value, dense[key]) for key, value in kept.items())
    build_model(name).load_state_dict(dense | kept, strict=True)
    rest = {key.split('.')[0] for key in dense.keys() - kept.keys()}
    assert rest <= {'decoder', 'up', 'head'}


@pytest.mark.parametrize(('name', 'width', 'count'), [
    ('unetpp18', 256, 3_098_747), ('unetpp18', 768, 24_741_867), ('unetpp50', 768, 29_413_803),
])
def test_the_decoder_has_the_size_of_the_published_one(name, width, count):
    with torch.device('meta'):
        model = SparK(build_model(name), width=width)
    encoder = sum(p.numel() for p in model.network.parameters())
    assert sum(p.numel() for p in model.parameters()) - encoder == count


def test_the_gradient_reaches_every_parameter():
    model, image = spark(), torch.randn(2, 3, 64, 64)
    cells = model.draw_cells(image)
    hidden_cell_loss(model(image, cells), image, cells, 32).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


def test_a_small_batch_is_learnt_by_heart():
    model = SparK(tiny(), width=64)
    coarse = torch.randn(2, 3, 16, 16)
    image = nn.functional.interpolate(coarse, size=(64, 64), mode='bilinear')
    cells = model.draw_cells(image)
    optimiser = torch.optim.AdamW(model.parameters(), 5e-3)
    losses = []
    for _ in range(80):
        loss = hidden_cell_loss(model(image, cells), image, cells, 32)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] > 0.9  # painting the mean of each cell gives 1
    assert losses[-1] < 0.1


def test_the_loss_is_the_squared_error_of_normalised_hidden_cells():
    # Two cells of 2x2 px and 3 channels; the right one is hidden.
    image = torch.randn(1, 3, 2, 4, dtype=torch.float64)
    painted = torch.randn(1, 3, 2, 4, dtype=torch.float64)
    cell = image[0, :, :, 2:].flatten()
    target = (cell - cell.mean()) / (((cell - cell.mean()) ** 2).sum() / 11 + 1e-6).sqrt()
    expected = ((painted[0, :, :, 2:].flatten() - target) ** 2).mean()
    got = hidden_cell_loss(painted, image, torch.tensor([[[True, False]]]), 2)
    assert got.item() == pytest.approx(expected.item(), rel=1e-12)


def test_the_loss_has_the_right_gradient():
    cells = torch.tensor([[[True, False], [False, True]]])
    image = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    painted = torch.randn(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: hidden_cell_loss(x, image, cells, 2), painted)


def test_nothing_hidden_costs_nothing():
    painted = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = hidden_cell_loss(painted, painted.detach(), torch.ones(1, 2, 2, dtype=torch.bool), 2)
    loss.backward()
    assert loss.item() == 0 and not painted.grad.any()


def test_even_cells_have_a_finite_loss():
    cells = torch.zeros(1, 2, 2, dtype=torch.bool)
    assert hidden_cell_loss(torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4), cells, 2) == 0


def test_cells_join_to_the_picture_they_were_cut_from():
    image = torch.rand(2, 3, 6, 8)
    cells = to_cells(image, 2)
    assert cells.shape == (2, 3, 4, 12)
    assert torch.equal(cells[1, 2, 3].view(3, 2, 2), image[1, :, 4:, 6:])
    assert torch.equal(from_cells(cells, 2), image)


def test_the_right_paint_restores_the_picture():
    image = torch.rand(1, 3, 4, 4)
    cells = torch.tensor([[[True, False], [False, True]]])
    mean = to_cells(image, 2).mean(-1, keepdim=True)
    painted = from_cells((to_cells(image, 2) - mean) / to_cells(image, 2).std(-1, keepdim=True), 2)
    assert torch.allclose(repaint(painted, image, cells, 2), image, atol=1e-4)
    garbage = repaint(torch.full_like(painted, 5.0), image, cells, 2)
    assert torch.equal(garbage[..., :2, :2], image[..., :2, :2])
    assert not torch.allclose(garbage[..., :2, 2:], image[..., :2, 2:])


@pytest.mark.parametrize(('options', 'message'), [
    ({'strategy': 'black'}, "'black' is unknown; choose one of sparse, zero, drop"),
    ({'ratio': 1.0}, 'ratio is 1.0'),
    ({'cell_px': 24}, 'cell_px is 24; .* stride, 16'),
    ({'width': 24}, 'width is 24; .* multiple of 16'),
])
def test_settings_that_cannot_work_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SparK(tiny(), **({'width': 16} | options))


@pytest.mark.parametrize(('size', 'message'), [
    ((48, 64), '48x64; .* multiples of the cells of 32 px'),
    ((32, 32), '1 cells, of which 0 would be visible'),
])
def test_pictures_that_cannot_be_masked_are_refused(size, message):
    with pytest.raises(ValueError, match=message):
        spark().draw_cells(torch.zeros(1, 3, *size))


def test_a_network_without_encoder_is_refused():
    with pytest.raises(ValueError, match='Conv2d has no known encoder; .* RealtimeUNet, UNet'):
        SparK(nn.Conv2d(3, 4, 3))


def test_unet_is_pretrained_at_a_stride_of_sixteen():
    model = SparK(UNet(), width=16).eval()
    image = torch.randn(1, 3, 64, 64)
    assert [x.shape[1:] for x in model.encode(image, model.draw_cells(image))] == [
        (512, 4, 4), (512, 8, 8), (256, 16, 16), (128, 32, 32)]
