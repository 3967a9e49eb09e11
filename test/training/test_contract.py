from __future__ import annotations

import math

import pytest
import torch

from training.contract import NEAREST_M, log_depth


@pytest.mark.parametrize(('kind', 'given', 'expected'), [
    ('log', 1.5, 1.5),
    ('metric', 2.0, math.log(2)),
    ('metric', -1.0, math.log(NEAREST_M)),
    ('relative', 0.25, math.log(4)),  # inverse depth: a quarter is four times as far as one
    ('relative', 0.0, -math.log(NEAREST_M)),
])
def test_the_log_of_depth_follows_from_the_kind_of_output(kind, given, expected):
    found = log_depth(torch.tensor([given], dtype=torch.float64), kind)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected)


def test_a_relative_output_that_grows_comes_nearer():
    prediction = torch.tensor([0.2, 0.8], requires_grad=True)
    depth = log_depth(prediction, 'relative').exp()
    assert depth[0] > depth[1]
    depth.sum().backward()
    assert (prediction.grad < 0).all()
