from __future__ import annotations

import math

import pytest
import torch

from training.losses import build_loss
from training.losses.laplace import LaplaceLoss, laplace_nll


def laplace(**options):
    return LaplaceLoss(build_loss, **options)


def maps(*values):
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 1, -1)


def test_the_likelihood_is_that_of_a_laplace_distribution():
    # ln p - ln t = 0.1 and -0.3, b = 0.1 and 0.2: 1 + ln 0.2 and 1.5 + ln 0.4
    found = laplace_nll(maps(0.1, math.log(2) - 0.3), maps(0.1, 0.2).log(), maps(1.0, 2.0))
    assert found.item() == pytest.approx((1 + math.log(0.2) + 1.5 + math.log(0.4)) / 2)
    distribution = torch.distributions.Laplace(maps(0.1), maps(0.1))
    assert laplace_nll(maps(0.1), maps(0.1).log(), maps(1.2)).item() == pytest.approx(
        -distribution.log_prob(maps(1.2).log()).item())


def test_it_is_least_where_the_scale_is_the_mean_error():
    log_scale = maps(math.log(0.25)).expand(1, 1, 1, 2).clone().requires_grad_()
    # errors of 0.1 and 0.4
    laplace_nll(maps(0.1, -0.4), log_scale, maps(1.0, 1.0)).backward()
    assert log_scale.grad.sum().item() == pytest.approx(0, abs=1e-12)


def test_its_gradient_is_the_numerical_gradient_with_respect_to_both_maps():
    generator = torch.Generator().manual_seed(1)
    log_depth, log_scale = (torch.randn(2, 1, 5, 6, generator=generator, dtype=torch.float64)
                            for _ in range(2))
    depth = torch.exp(torch.randn(2, 1, 5, 6, generator=generator, dtype=torch.float64))
    depth[0, 0, :2] = math.nan
    image = torch.rand(2, 3, 5, 6, generator=generator, dtype=torch.float64)
    loss = laplace(weight=0.5)
    inputs = (log_depth.requires_grad_(), (0.3 * log_scale - 1).requires_grad_())

    def value(p, s):  # the module brings the scale to float32, which is what networks give
        return loss.depth(p, depth, image) + 0.5 * laplace_nll(p, s, depth)

    assert torch.autograd.gradcheck(value, inputs)


@pytest.mark.parametrize('rubbish', [math.nan, math.inf, 50.0])
def test_what_lies_behind_holes_does_not_matter(rubbish):
    log_depth, log_scale = maps(0.1, rubbish), maps(-1.0, rubbish)
    log_depth.requires_grad_(), log_scale.requires_grad_()
    found = laplace_nll(log_depth, log_scale, maps(1.0, math.nan))
    found.backward()
    assert found.item() == pytest.approx(0.1 * math.e - 1 + math.log(2))
    assert log_depth.grad[..., 1] == log_scale.grad[..., 1] == 0


def test_a_batch_of_holes_costs_nothing():
    assert laplace_nll(maps(1.0), maps(0.0), maps(0.0)).item() == 0


def test_it_is_added_to_the_loss_of_depth():
    generator = torch.Generator().manual_seed(2)
    shape = (1, 1, 12, 14)
    log_depth, log_scale = (torch.randn(shape, generator=generator) for _ in range(2))
    depth, image = torch.rand(shape) + 0.5, torch.rand(1, 3, 12, 14)
    found = laplace(loss={'name': 'l1'}, weight=0.25)(log_depth, depth, image, log_scale)
    expected = build_loss('l1')(log_depth, depth, image) + 0.25 * laplace_nll(
        log_depth, log_scale, depth)
    assert found.item() == pytest.approx(expected.item())


def test_a_weight_that_is_not_above_zero_is_refused():
    with pytest.raises(ValueError, match='weight is 0'):
        laplace(weight=0)
