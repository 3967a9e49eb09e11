from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.metrics import structural_similarity
import torch

from training.losses.realtime_unet import (
    RealtimeUNetLoss,
    edge_weight,
    masked_mean,
    masked_ssim,
    realtime_unet_loss,
    relative_error,
)


def random_case(seed=0, size=(2, 1, 12, 14), dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    prediction = torch.rand(size, generator=generator, dtype=dtype)
    target = torch.rand(size, generator=generator, dtype=dtype)
    image = torch.rand(size[0], 3, *size[2:], generator=generator, dtype=dtype)
    mask = torch.rand(size, generator=generator) > 0.3
    return prediction, target, image, mask


def test_the_gradient_is_the_numerical_gradient():
    prediction, target, image, mask = random_case(size=(1, 1, 6, 7))
    prediction.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p: realtime_unet_loss(p, target, image, mask), (prediction,)
    )


def test_a_constant_error_on_a_grey_image_has_the_value_computed_by_hand():
    # No image edges: Le = 0. Constant maps a, b: SSIM = (2ab + C1) / (a^2 + b^2 + C1).
    prediction = torch.full((1, 1, 16, 16), 0.6, dtype=torch.float64)
    target = torch.full_like(prediction, 0.5)
    ssim = (2 * 0.6 * 0.5 + 1e-4) / (0.36 + 0.25 + 1e-4)
    expected = (2 * 0.1 + 1 * (1 - ssim)) / 8
    image = torch.full((1, 3, 16, 16), 0.4, dtype=torch.float64)
    loss = realtime_unet_loss(prediction, target, image, torch.ones_like(target, dtype=bool))
    assert loss.item() == pytest.approx(expected, abs=1e-12)


def test_the_edge_weight_of_a_step_of_one_half_is_one_minus_exp_of_minus_one_half():
    image = torch.zeros(1, 3, 4, 6, dtype=torch.float64)
    image[..., 3:] = 0.5  # a vertical edge between columns 2 and 3
    expected = torch.zeros(1, 1, 4, 6, dtype=torch.float64)
    expected[..., 2] = 1 - math.exp(-0.5)
    torch.testing.assert_close(edge_weight(image), expected)


def test_a_dark_to_bright_edge_weighs_as_much_as_a_bright_to_dark_one():
    image = torch.rand(1, 3, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(edge_weight(1 - image), edge_weight(image))


def test_ssim_without_holes_is_that_of_scikit_image_away_from_the_border():
    x, y, _, _ = random_case(size=(1, 1, 32, 40))
    ours = masked_ssim(x, y, torch.ones_like(x, dtype=bool))[0, 0].numpy()
    _, theirs = structural_similarity(
        x[0, 0].numpy(), y[0, 0].numpy(), data_range=1.0, full=True, gaussian_weights=True,
        sigma=1.5, use_sample_covariance=False,
    )
    np.testing.assert_allclose(ours[5:-5, 5:-5], theirs[5:-5, 5:-5], atol=1e-6)


def test_the_ssim_of_a_map_with_itself_is_one_in_spite_of_holes():
    x, _, _, mask = random_case()
    torch.testing.assert_close(masked_ssim(x, x, mask)[mask], torch.ones(int(mask.sum()),
                                                                         dtype=torch.float64))


@pytest.mark.parametrize('rubbish', [1e6, math.nan, -math.inf])
def test_what_lies_behind_a_hole_changes_neither_value_nor_gradient(rubbish):
    prediction, target, image, mask = random_case()
    results = []
    for behind in (0.0, rubbish):
        p = torch.where(mask, prediction, torch.full_like(prediction, 3.0)).requires_grad_()
        t = torch.where(mask, target, torch.full_like(target, behind))
        loss = realtime_unet_loss(p, t, image, mask)
        loss.backward()
        results.append((loss.detach(), p.grad))
    torch.testing.assert_close(results[0], results[1])
    assert (results[0][1][~mask] == 0).all()


def test_a_batch_of_holes_gives_zero_loss_and_zero_gradient():
    log_depth = torch.rand(2, 1, 16, 16, requires_grad=True)
    loss = RealtimeUNetLoss()(log_depth, torch.full((2, 1, 16, 16), math.nan),
                              torch.rand(2, 3, 16, 16))
    loss.backward()
    assert loss.item() == 0
    assert (log_depth.grad == 0).all()


def test_the_masked_mean_of_1_2_and_a_hole_is_one_and_a_half():
    values = torch.tensor([1.0, 2.0, math.nan])
    assert masked_mean(values, torch.tensor([True, True, False])).item() == 1.5


def test_near_becomes_0_far_becomes_1_and_their_geometric_mean_one_half():
    loss = RealtimeUNetLoss(near=0.25, far=12.0)
    metres = torch.tensor([0.25, 12.0, math.sqrt(0.25 * 12.0)], dtype=torch.float64)
    torch.testing.assert_close(loss.normalise(metres.log()),
                               torch.tensor([0.0, 1.0, 0.5], dtype=torch.float64))


def test_a_perfect_log_depth_costs_nothing_and_zero_depth_is_a_hole():
    depth = torch.rand(1, 1, 16, 16) * 5 + 0.5
    log_depth = depth.log()
    depth[..., :4] = 0
    loss = RealtimeUNetLoss()(log_depth, depth, torch.rand(1, 3, 16, 16))
    assert loss.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(('near', 'far'), [(0.0, 12.0), (3.0, 2.0)])
def test_a_depth_range_without_order_is_refused(near, far):
    with pytest.raises(ValueError, match='0 < near < far'):
        RealtimeUNetLoss(near=near, far=far)


@pytest.mark.parametrize(('ratio', 'expected'), [
    (2.0, 1.0),  # twice too far: 100 %
    (0.5, 0.5),  # half: 50 %
    (1.0, 0.0),
    (math.e**2, 2 * math.e - 1),  # beyond e: the tangent at e, e - 1 + e (log ratio - 1)
])
def test_the_relative_error_is_that_of_the_ratio_up_to_e_and_straight_beyond(ratio, expected):
    log_ratio = torch.tensor(ratio, dtype=torch.float64).log()
    assert relative_error(log_ratio).item() == pytest.approx(expected)


def test_the_relative_loss_of_a_constant_ratio_has_the_value_computed_by_hand():
    # 25 % too far everywhere, no image edges; normalised logs a and b as in the docstrings.
    log_range = math.log(12 / 0.25)
    b = math.log(2.0 / 0.25) / log_range
    a = math.log(2.5 / 0.25) / log_range
    ssim = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
    expected = (2 * 0.25 / log_range + (1 - ssim)) / 8
    loss = RealtimeUNetLoss(relative=True)
    depth = torch.full((1, 1, 16, 16), 2.0, dtype=torch.float64)
    grey = torch.full((1, 3, 16, 16), 0.5, dtype=torch.float64)
    assert loss((1.25 * depth).log(), depth, grey).item() == pytest.approx(expected, abs=1e-9)


def test_the_gradient_of_the_relative_loss_is_the_numerical_gradient():
    prediction, target, image, mask = random_case(size=(1, 1, 6, 7))
    prediction.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p: realtime_unet_loss(p, target, image, mask, log_range=3.0), (prediction,)
    )
