"""What holds for every registered loss."""

from __future__ import annotations

import math

import pytest
import torch

from training.losses import LOSSES, LossError, build_loss


def random_case(size=(2, 1, 12, 14), dtype=torch.float64):
    """Log prediction, metres with 30 % holes, image."""
    generator = torch.Generator().manual_seed(3)
    log_depth = 0.3 * torch.randn(size, generator=generator, dtype=dtype) + 1
    depth = torch.exp(0.3 * torch.randn(size, generator=generator, dtype=dtype) + 1)
    depth[torch.rand(size, generator=generator) < 0.3] = math.nan
    return log_depth, depth, torch.rand(size[0], 3, *size[2:], generator=generator, dtype=dtype)


@pytest.mark.parametrize('name', LOSSES)
def test_the_gradient_is_the_numerical_gradient(name):
    log_depth, depth, image = random_case((2, 1, 6, 7))
    loss = build_loss(name)
    log_depth.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, depth, image), (log_depth,))


@pytest.mark.parametrize('name', LOSSES)
def test_the_loss_is_a_scalar_above_zero_that_pulls_at_the_prediction(name):
    log_depth, depth, image = random_case(dtype=torch.float32)
    log_depth.requires_grad_()
    loss = build_loss(name)(log_depth, depth, image)
    loss.backward()
    assert loss.shape == ()
    assert loss.item() > 0
    assert log_depth.grad.abs().sum() > 0


@pytest.mark.parametrize('name', LOSSES)
@pytest.mark.parametrize('hole', [math.nan, math.inf, 0.0, -1.0])
def test_a_batch_of_holes_gives_zero_loss_and_zero_gradient(name, hole):
    log_depth, depth, image = random_case()
    log_depth.requires_grad_()
    loss = build_loss(name)(log_depth, torch.full_like(depth, hole), image)
    loss.backward()
    assert loss.item() == 0
    assert (log_depth.grad == 0).all()


@pytest.mark.parametrize('name', LOSSES)
def test_an_image_of_holes_in_the_batch_leaves_the_gradient_finite(name):
    log_depth, depth, image = random_case()
    depth[1] = math.nan
    log_depth.requires_grad_()
    build_loss(name)(log_depth, depth, image).backward()
    assert torch.isfinite(log_depth.grad).all()
    assert (log_depth.grad[1] == 0).all()


@pytest.mark.parametrize('name', LOSSES)
@pytest.mark.parametrize('rubbish', [50.0, math.nan, math.inf])
def test_what_is_predicted_behind_a_hole_changes_neither_value_nor_gradient(name, rubbish):
    log_depth, depth, image = random_case()
    holes = depth.isnan()
    results = []
    for behind in (0.0, rubbish):
        x = torch.where(holes, torch.full_like(log_depth, behind), log_depth).requires_grad_()
        loss = build_loss(name)(x, depth, image)
        loss.backward()
        results.append((loss.detach(), x.grad))
    torch.testing.assert_close(results[0], results[1])
    assert (results[1][1][holes] == 0).all()


@pytest.mark.parametrize('name', LOSSES)
def test_a_constant_prediction_of_a_constant_truth_has_a_finite_gradient(name):
    log_depth = torch.zeros(1, 1, 8, 8, requires_grad=True)
    build_loss(name)(log_depth, torch.full((1, 1, 8, 8), 2.0), torch.rand(1, 3, 8, 8)).backward()
    assert torch.isfinite(log_depth.grad).all()


@pytest.mark.parametrize('name', [name for name in LOSSES if name not in ('smoothness', 'spt')])
def test_a_perfect_prediction_costs_nothing(name):
    _, depth, image = random_case()
    loss = build_loss(name)(depth.log().nan_to_num(0), depth, image)
    assert loss.item() == pytest.approx(0, abs=1e-12)


def test_an_unknown_loss_is_refused_with_the_list():
    with pytest.raises(LossError, match="'mae' is unknown; choose one of realtime_unet, .*l1"):
        build_loss('mae')


def test_an_unknown_option_is_refused_with_the_list():
    with pytest.raises(LossError, match="ssi has no option 'alpha'; it has ssi_alpha, scales"):
        build_loss('ssi', alpha=0.5)


def test_a_loss_without_options_says_so():
    with pytest.raises(LossError, match="silog has no option 'lam'; it has none"):
        build_loss('silog', lam=0.5)


@pytest.mark.parametrize(('name', 'options', 'message'), [
    ('l1', {'space': 'feet'}, "space 'feet' is unknown; choose one of metres, log, unit"),
    ('l1', {'near': 3.0, 'far': 2.0}, '0 < near < far'),
    ('ssim', {'space': 'metres'}, "space 'metres' is unbounded; SSIM needs values in 0..1"),
    ('scale_invariant_log', {'lam': 1.5}, 'lam is 1.5; it must be in 0'),
    ('weighted', {'terms': {}}, 'terms is empty'),
    ('weighted', {'terms': {'huber': 1}}, "'huber' is unknown; choose one of"),
])
def test_options_out_of_range_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        build_loss(name, **options)


def test_the_weighted_loss_is_the_weighted_sum_of_its_terms():
    case = random_case()
    both = build_loss('weighted', terms={'l1': {'weight': 2, 'space': 'log'}, 'silog': 0.5})
    expected = 2 * build_loss('l1', space='log')(*case) + 0.5 * build_loss('silog')(*case)
    torch.testing.assert_close(both(*case), expected)
