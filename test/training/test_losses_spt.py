"""The joint loss of SPT-Depth against its terms, each computed on its own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from training.config import ConfigError
from training.losses.edges import smoothness_loss
from training.losses.scale_shift import ssi_loss
from training.losses.spt import DEPTH_TERMS, SEGMENTATION_TERMS, SPTLoss, unit_range
from training.losses.ssim import ssim_loss


@pytest.fixture
def case():
    """Relative prediction 0..1 as log depth, metres with holes, RGB, logits and labels."""
    generator = torch.Generator().manual_seed(1)
    size = (2, 1, 24, 32)
    relative = torch.rand(size, generator=generator, dtype=torch.float64) * 0.9 + 0.05
    depth = 1 + 4 * torch.rand(size, generator=generator, dtype=torch.float64)
    depth[torch.rand(size, generator=generator) < 0.2] = math.nan
    image = torch.rand(2, 3, 24, 32, generator=generator, dtype=torch.float64)
    logits = torch.randn(2, 2, 24, 32, generator=generator, dtype=torch.float64)
    labels = torch.randint(-1, 2, (2, 24, 32), generator=generator)
    return -relative.log(), depth, image, logits, labels


def by_numpy(depth):
    """Target and mask, image by image with numpy's own percentiles."""
    targets = []
    for metres in depth.numpy()[:, 0]:
        inverse = 1 / metres
        low, high = np.nanpercentile(inverse, (2, 98))
        targets.append(np.clip((inverse - low) / (high - low), 0, 1))
    target = torch.from_numpy(np.stack(targets)[:, None])
    return target.nan_to_num(0), ~target.isnan()


def test_the_target_is_inverse_depth_over_each_images_own_range(case):
    log_depth, depth, *_ = case
    prediction, target, mask = SPTLoss().pair(log_depth, depth)
    expected, known = by_numpy(depth)
    torch.testing.assert_close(target, expected)
    assert torch.equal(mask, known)
    torch.testing.assert_close(prediction[mask], torch.exp(-log_depth)[mask])
    assert (prediction[~mask] == 0).all()


def test_an_image_of_one_depth_or_of_holes_has_a_range_of_one():
    inverse = torch.full((2, 1, 3, 3), 0.5)
    mask = torch.stack([torch.ones(1, 3, 3), torch.zeros(1, 3, 3)]).bool()
    low, width = unit_range(inverse, mask)
    assert low.flatten().tolist() == [0.5, 0.0]
    assert width.flatten().tolist() == [1.0, 1.0]


def test_the_coarse_data_term_is_the_ssi_loss_where_both_sides_weigh_alike(case):
    log_depth, depth, image, *_ = case
    loss = SPTLoss(scheme='scheme7')
    terms = loss.depth_terms(log_depth, depth, image)
    expected = 0.5 * 0.5 * ssi_loss(*loss.pair(log_depth, depth))  # (1 - alpha) 0.2 fx(0)
    torch.testing.assert_close(terms['data_in'] + terms['data_out'], expected)


def test_the_fine_data_term_is_the_squared_error(case):
    log_depth, depth, image, *_ = case
    loss = SPTLoss(scheme='scheme7')
    loss.set_epoch(10)
    terms = loss.depth_terms(log_depth, depth, image)
    target, mask = by_numpy(depth)
    errors = (torch.exp(-log_depth) - target)[mask].square()
    torch.testing.assert_close(terms['data_in'] + terms['data_out'], 0.5 * 0.1 * errors.mean())
    near = errors[target[mask] > 0.7].sum() / mask.sum()
    torch.testing.assert_close(terms['data_out'], 0.5 * 0.1 * near)


def test_without_ssi_the_coarse_stage_has_the_squared_error_too(case):
    log_depth, depth, image, *_ = case
    without, fine = SPTLoss(ssi=False), SPTLoss()
    fine.set_epoch(10)
    one, other = (x.depth_terms(log_depth, depth, image)['data_in'] for x in (without, fine))
    torch.testing.assert_close(one / without.weights.data, other / fine.weights.data)


def test_the_weights_of_background_and_foreground_move_loss_between_them(case):
    log_depth, depth, image, *_ = case
    even, uneven = SPTLoss(scheme='scheme7'), SPTLoss(scheme='scheme8')
    for loss in (even, uneven):
        loss.set_epoch(20)
    one, other = (x.depth_terms(log_depth, depth, image) for x in (even, uneven))
    torch.testing.assert_close(other['data_in'], 1.2 * one['data_in'])
    torch.testing.assert_close(other['data_out'], 0.8 * one['data_out'])


def test_the_loss_is_the_weighted_sum_that_the_docstring_of_the_schedule_writes(case):
    log_depth, depth, image, logits, labels = case
    loss = SPTLoss(scheme='scheme1').eval()
    loss.lowest = torch.tensor(0.4, dtype=torch.float64)
    loss.set_epoch(12)
    p, g, mask = loss.pair(log_depth, depth)
    labelled = labels >= 0
    entropy = torch.nn.functional.cross_entropy(
        logits.permute(0, 2, 3, 1)[labelled], labels[labelled])
    depth_part = (0.2 * 0.5 * (p - g)[mask].square().mean() + 0.5 * ssim_loss(p, g, mask)
                  + 0.5 * smoothness_loss(p, mask, image))
    expected = 0.5 * (0.5 * entropy + 0.5 * 3 * (entropy - 0.4)) + 0.5 * 0.8 * depth_part
    terms = loss.depth_terms(log_depth, depth, image) | loss.segmentation_terms(logits, labels)
    assert set(terms) == {*DEPTH_TERMS, *SEGMENTATION_TERMS}
    torch.testing.assert_close(sum(terms.values()), expected)
    torch.testing.assert_close(loss(log_depth, depth, image), 0.5 * 0.8 * depth_part)


def test_the_penalty_is_three_times_the_excess_over_the_lowest_so_far(case):
    *_, logits, labels = case
    right = torch.nn.functional.one_hot(labels.clamp(min=0), 2).permute(0, 3, 1, 2)
    logits = logits + 3 * right
    loss = SPTLoss()
    first = [loss.segmentation_terms(x, labels) for x in (logits, 2 * logits)]
    assert [x['penalty'].item() for x in first] == [0, 0]  # no epoch has ended yet
    loss.end_epoch()
    lowest = sum(x['cross_entropy'] for x in first) / 2 / 0.25
    assert loss.lowest.item() == pytest.approx(lowest.item())
    worse = loss.segmentation_terms(-logits, labels)
    excess = worse['cross_entropy'] / 0.25 - lowest
    assert excess > 0
    assert worse['penalty'].item() == pytest.approx(0.25 * 3 * excess.item())
    better = loss.segmentation_terms(4 * logits, labels)
    assert better['penalty'].item() == 0


def test_the_lowest_is_of_training_alone_and_stays_through_a_worse_epoch(case):
    *_, logits, labels = case
    loss = SPTLoss()
    loss.segmentation_terms(logits, labels)
    loss.end_epoch()
    kept = loss.lowest.clone()
    loss.eval().segmentation_terms(9 * logits, labels)
    loss.end_epoch()
    loss.train().segmentation_terms(-9 * logits, labels)
    loss.end_epoch()
    assert torch.equal(loss.lowest, kept)
    again = SPTLoss()
    again.load_state_dict(loss.state_dict())
    assert again.lowest.item() == pytest.approx(kept.item())


def test_a_scale_and_a_shift_cost_nothing_in_the_coarse_stage_alone(case):
    _, depth, image, *_ = case
    target, mask = by_numpy(depth)
    moved = torch.where(mask, 0.5 * target + 0.2, 0.5)
    loss = SPTLoss(scheme='scheme7')
    for epoch, is_free in ((0, True), (10, False)):
        loss.set_epoch(epoch)
        terms = loss.depth_terms(-moved.log(), depth, image)
        found = (terms['data_in'] + terms['data_out']).item()
        assert (found < 1e-9) == is_free


def test_of_a_network_in_metres_the_inverse_is_brought_to_the_truths_range(case):
    _, depth, image, *_ = case
    loss = SPTLoss(metric=True)
    prediction, target, mask = loss.pair(depth.nan_to_num(1).log(), depth)
    torch.testing.assert_close(prediction[mask].clamp(0, 1), target[mask])


def test_an_unknown_scheme_is_refused():
    with pytest.raises(ConfigError, match='choose one of scheme1, scheme2'):
        SPTLoss(scheme='9')
