"""Sharpness across a stack: what of it is known beforehand."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from training.models.focus_measure import FEATURES, SCALES, FocusMeasure

DIOPTRES = torch.tensor([[0.2, 0.8, 1.6]])


def features(stack, dioptres=DIOPTRES):
    """Give (N, FEATURES, h, w): relative energy, texture and peak a scale, and the focus."""
    measure = FocusMeasure(8)
    return measure._features(stack, dioptres)[0]


def stack_sharp_in(index, size=64, seed=0):
    """Make noise that is in focus in one slice alone."""
    noise = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(seed))
    blurred = functional.avg_pool2d(noise, 9, 1, 4)
    return torch.stack([noise if i == index else blurred for i in range(3)], dim=1)


def test_copies_of_a_picture_say_nothing():
    picture = torch.randn(1, 1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    found = features(picture.expand(1, 3, 3, 64, 64))
    for scale in range(len(SCALES)):
        assert found[:, 3 * scale].abs().max() < 1e-5
        assert torch.allclose(found[:, 3 * scale + 2], DIOPTRES.mean(), atol=1e-5)


@pytest.mark.parametrize('index', [0, 1, 2])
def test_the_peak_lies_at_the_focus_of_the_sharp_slice(index):
    found = features(stack_sharp_in(index))
    relative, peak = found[:, 0, 4:-4, 4:-4], found[:, 2, 4:-4, 4:-4]
    assert (relative.argmax(dim=0) == index).all()
    assert torch.allclose(peak, DIOPTRES[0, index], atol=0.01)


def test_energies_are_relative_to_the_mean_of_the_stack():
    found = features(stack_sharp_in(0))
    for scale in range(len(SCALES)):
        assert torch.allclose(found[:, 3 * scale].sum(dim=0), torch.tensor(0.0), atol=1e-4)


def test_each_slice_carries_its_own_focus():
    found = features(stack_sharp_in(2))
    assert torch.equal(found[:, -1, 0, 0], DIOPTRES[0])


def test_the_order_of_the_slices_does_not_matter():
    stack, order = stack_sharp_in(1), [2, 0, 1]
    assert torch.allclose(features(stack)[order],
                          features(stack[:, order], DIOPTRES[:, order]), atol=1e-5)


def test_a_flat_picture_has_the_energy_of_the_floor():
    found = features(torch.zeros(1, 3, 3, 32, 32))
    # log 0.03, log 0.03 / 4, log 0.03 / 16
    texture = found[0, 1:9:3, 0, 0]
    assert torch.allclose(texture, torch.tensor([-3.5066, -4.8929, -6.2792]), atol=1e-3)


def test_it_is_measured_in_float32_under_autocast():
    measure, stack = FocusMeasure(8), stack_sharp_in(0)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        low = measure(stack, DIOPTRES)
    assert low.shape == (3, 8, 16, 16)
    assert torch.allclose(low.float(), measure(stack, DIOPTRES), atol=0.1)


def test_gradients_reach_the_sharpening():
    measure = FocusMeasure(4)
    assert measure.proj.in_channels == FEATURES
    measure(stack_sharp_in(1), DIOPTRES).square().mean().backward()
    assert (measure.sharpening.grad != 0).all()
