"""The values of the losses, by hand or by another formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from training.losses import build_loss
from training.losses.edges import high_frequency_loss, smoothness_loss
from training.losses.pixelwise import l1, mse
from training.losses.scale_invariant import scale_invariant_log, silog
from training.losses.scale_shift import gradient_matching, scale_and_shift, ssi_loss
from training.losses.segmentation import SegmentationLoss, cross_entropy, segmentation_penalty
from training.losses.ssim import ssim_loss


def row(*values):
    """One image of one row."""
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 1, -1)


def everywhere(x):
    return torch.ones_like(x, dtype=torch.bool)


def random_maps(seed=0, size=(2, 1, 13, 17)):
    rng = np.random.default_rng(seed)
    p, t = (torch.from_numpy(rng.uniform(0.1, 1, size)) for _ in range(2))
    return p, t, torch.from_numpy(rng.random(size) > 0.3)


def test_the_squared_and_absolute_error_of_two_pixels_and_a_hole():
    p, t, mask = row(1, 2, 9), row(2, 4, 0), row(1, 1, 0).bool()
    assert mse(p, t, mask).item() == pytest.approx((1 + 4) / 2)
    assert l1(p, t, mask).item() == pytest.approx((1 + 2) / 2)


@pytest.mark.parametrize(('space', 'expected'), [
    ('metres', 2.0),  # predicted 2 m, true 4 m
    ('log', math.log(2)),
    ('unit', 0.2),
    ('unit_log', math.log(2) / math.log(20)),
    ('inverse', 0.125),
])
def test_the_absolute_error_in_every_space(space, expected):
    loss = build_loss('l1', space=space, near=0.5, far=10.0)
    value = loss(row(2.0).log(), row(4.0), torch.zeros(1, 3, 1, 1))
    assert value.item() == pytest.approx(expected)


@pytest.mark.parametrize(('space', 'expected'), [
    ('unit', 1.2 - 1.0),
    ('unit_log', math.log(24) / math.log(20) - 1.0),
])
def test_the_truth_is_clamped_to_the_far_limit_but_not_the_prediction(space, expected):
    loss = build_loss('l1', space=space, near=0.5, far=10.0)
    value = loss(row(12.0).log(), row(30.0), torch.zeros(1, 3, 1, 1))
    assert value.item() == pytest.approx(expected)


def test_inverse_truth_is_clamped_to_the_near_limit():
    loss = build_loss('l1', space='inverse', near=0.5, far=10.0)
    value = loss(row(1.0).log(), row(0.1), torch.zeros(1, 3, 1, 1))
    assert value.item() == pytest.approx(1.0 - 0.5)


@pytest.mark.parametrize(('lam', 'expected'), [(0.0, 5.0), (0.5, 3.0), (1.0, 1.0)])
def test_the_scale_invariant_error_of_log_differences_1_and_3(lam, expected):
    # (1 + 9) / 2 - lam (1 + 3)^2 / 4
    d = row(1, 3)
    value = scale_invariant_log(d, torch.zeros_like(d), everywhere(d), lam=lam)
    assert value.item() == pytest.approx(expected)


def test_with_lambda_one_it_is_half_the_mean_square_over_pairs_of_pixels():
    p, t, _ = random_maps(size=(1, 1, 5, 6))
    d = (p - t).flatten()
    pairs = (d[:, None] - d[None]).square().sum() / (2 * d.numel() ** 2)
    torch.testing.assert_close(scale_invariant_log(p, t, everywhere(p), lam=1.0), pairs)


def test_silog_is_half_the_variance_and_blind_to_a_scale_per_image():
    log_p, log_t, mask = random_maps()
    value = silog(log_p, log_t, mask)
    variances = [(log_p - log_t)[i][mask[i]].var(correction=0) for i in range(2)]
    torch.testing.assert_close(value, 0.5 * torch.stack(variances).mean())
    shifted = log_p + torch.tensor([0.7, -2.0], dtype=log_p.dtype).view(2, 1, 1, 1)
    torch.testing.assert_close(silog(shifted, log_t, mask), value)


def test_an_image_of_holes_does_not_thin_the_mean_over_images():
    log_p, log_t, mask = random_maps()
    mask[1] = False
    torch.testing.assert_close(silog(log_p, log_t, mask),
                               silog(log_p[:1], log_t[:1], mask[:1]))


def test_the_ssim_loss_of_constants_has_the_value_computed_by_hand():
    p = torch.full((1, 1, 16, 16), 0.6, dtype=torch.float64)
    expected = 1 - (2 * 0.6 * 0.5 + 1e-4) / (0.36 + 0.25 + 1e-4)
    t = torch.full_like(p, 0.5)
    assert ssim_loss(p, t, everywhere(p)).item() == pytest.approx(expected)


def test_the_high_frequency_loss_of_one_vertical_edge():
    image = torch.zeros(1, 3, 4, 6, dtype=torch.float64)
    image[..., 3:] = 0.5  # one column in six has a gradient
    t = torch.zeros(1, 1, 4, 6, dtype=torch.float64)
    value = high_frequency_loss(t + 2, t, everywhere(t), image)
    assert value.item() == pytest.approx(2 * (1 - math.exp(-0.5)) / 6)


@pytest.mark.parametrize('turned', [False, True])
def test_smoothness_forgives_a_step_of_depth_at_an_edge_of_its_own_axis(turned):
    d = row(0, 1, 3)
    image = row(0, 0, 0.5).repeat(1, 3, 1, 1)
    expected = (1 + 2 * math.exp(-0.5)) / 2
    if turned:
        d, image = d.mT, image.mT
    assert smoothness_loss(d, everywhere(d), image).item() == pytest.approx(expected)
    normalised = smoothness_loss(d, everywhere(d), image, normalised=True)
    assert normalised.item() == pytest.approx(expected / (4 / 3), rel=1e-6)


def test_an_edge_across_does_not_excuse_a_step_along():
    # The picture changes from row to row only, the depth from column to column only.
    image = torch.tensor([0.0, 1.0], dtype=torch.float64).view(1, 1, 2, 1).expand(1, 3, 2, 2)
    d = row(0, 1).repeat(1, 1, 2, 1)
    assert smoothness_loss(d, everywhere(d), image).item() == pytest.approx(1.0)


def test_a_step_into_a_hole_does_not_count():
    d = row(0, 5, 5.5)
    mask = row(0, 1, 1).bool()
    assert smoothness_loss(d, mask, torch.zeros(1, 3, 1, 3)).item() == pytest.approx(0.5)


def test_scale_and_shift_are_those_of_a_solver():
    p, t, mask = random_maps()
    scale, shift = scale_and_shift(p, t, mask)
    for i in range(2):
        expected = np.polyfit(p[i][mask[i]].numpy(), t[i][mask[i]].numpy(), 1)
        np.testing.assert_allclose([scale[i].item(), shift[i].item()], expected)


def test_scale_and_shift_of_a_constant_prediction_are_one_and_the_mean_difference():
    p = row(2, 2, 2)
    scale, shift = scale_and_shift(p, row(3, 4, 8), everywhere(p))
    assert (scale.item(), shift.item()) == (1, 3)


def test_ssi_of_three_pixels_by_hand():
    # s = (5/3) / (2/3), b = 2 - s: 2.5 p - 0.5 = [-0.5, 2, 4.5], residuals [-0.5, 1, -0.5].
    # Half the mean square 0.25; gradients (1.5 + 1.5) / 3 at scale 0, none beyond.
    p, t = row(0, 1, 2), row(0, 1, 5)
    assert ssi_loss(p, t, everywhere(p), ssi_alpha=0.0).item() == pytest.approx(0.25)
    assert ssi_loss(p, t, everywhere(p)).item() == pytest.approx(0.25 + 0.5 * 1.0)


def test_ssi_is_blind_to_a_scale_and_shift_of_each_prediction():
    p, t, mask = random_maps()
    a = torch.tensor([0.2, 7.0], dtype=p.dtype).view(2, 1, 1, 1)
    b = torch.tensor([3.0, -1.0], dtype=p.dtype).view(2, 1, 1, 1)
    torch.testing.assert_close(ssi_loss(a * p + b, t, mask), ssi_loss(p, t, mask))


def test_ssi_is_precise_in_single_precision_far_from_zero():
    p, t, mask = random_maps()
    far_off = ssi_loss((p + 100).float(), t.float(), mask)
    assert far_off.item() == pytest.approx(ssi_loss(p, t, mask).item(), rel=1e-3)


def test_gradient_matching_is_that_of_loops_over_pixels():
    p, t, mask = random_maps(size=(1, 1, 9, 11))
    total = 0.0
    for stride in (1, 2, 4, 8):
        r = (p - t)[0, 0, ::stride, ::stride].numpy()
        m = mask[0, 0, ::stride, ::stride].numpy()
        steps = 0.0
        for y in range(r.shape[0]):
            for x in range(r.shape[1]):
                if x + 1 < r.shape[1] and m[y, x] and m[y, x + 1]:
                    steps += abs(r[y, x + 1] - r[y, x])
                if y + 1 < r.shape[0] and m[y, x] and m[y + 1, x]:
                    steps += abs(r[y + 1, x] - r[y, x])
        total += steps / m.sum()
    assert gradient_matching(p, t, mask).item() == pytest.approx(total)


def two_classes(*differences):
    """Logits of one row of pixels; class 0 leads by the differences."""
    leads = row(*differences)
    return torch.cat([leads, torch.zeros_like(leads)], dim=1)


def test_the_cross_entropy_of_odds_three_to_one_is_in_natural_logarithms():
    logits = two_classes(math.log(3), math.log(3), 50)
    labels, mask = torch.tensor([[[0, 1, 1]]]), torch.tensor([[[True, True, False]]])
    expected = (math.log(4 / 3) + math.log(4)) / 2
    assert cross_entropy(logits, labels, mask).item() == pytest.approx(expected)


def test_the_gradient_of_the_cross_entropy_is_the_numerical_gradient():
    logits = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(-1, 3, (2, 4, 5))
    loss = SegmentationLoss().eval()
    loss.lowest.fill_(0.5)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), (logits,))


@pytest.mark.parametrize(('entropy', 'lowest', 'expected'), [
    (0.7, 0.5, 0.6), (0.5, 0.7, 0.0), (0.7, math.inf, 0.0),
])
def test_the_penalty_is_three_times_the_rise_above_the_lowest(entropy, lowest, expected):
    value = segmentation_penalty(torch.tensor(entropy), torch.tensor(lowest))
    assert value.item() == pytest.approx(expected)


def test_training_remembers_the_lowest_cross_entropy_and_validation_does_not():
    loss, label = SegmentationLoss(), torch.zeros(1, 1, 1, dtype=torch.long)
    good, bad = two_classes(math.log(3)), two_classes(0.0)
    loss.eval()(good, label)
    assert loss.lowest == math.inf
    assert loss.train()(good, label).item() == pytest.approx(math.log(4 / 3))
    rise = math.log(2) - math.log(4 / 3)
    assert loss(bad, label).item() == pytest.approx(math.log(2) + 3 * rise)
    resumed = SegmentationLoss()
    resumed.load_state_dict(loss.state_dict())
    assert resumed(bad, label).item() == pytest.approx(math.log(2) + 3 * rise)


def test_a_batch_without_labels_gives_zero_gradient_and_is_not_remembered():
    loss = SegmentationLoss()
    logits = torch.randn(1, 2, 3, 3, requires_grad=True)
    value = loss(logits, torch.full((1, 3, 3), -1))
    value.backward()
    assert value.item() == 0
    assert (logits.grad == 0).all()
    assert loss.lowest == math.inf
