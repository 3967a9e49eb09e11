from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from depth_perception import metrics as runtime
from depth_perception import similarity as runtime_similarity
from training.metrics import aligned_depth, depth_metrics, similarity_metrics


def batch(size=(3, 24, 30), seed=0):
    """Predictions and truths in metres with holes in both, a wild pixel, and a mask."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.5, 12.0, size)
    pred = truth * rng.uniform(0.6, 1.5, size) + 0.3
    pred[rng.random(size) < 0.1] = np.nan
    pred[0, 0, 0] = -5.0
    truth[rng.random(size) < 0.2] = np.nan
    truth[rng.random(size) < 0.1] = 0.0
    return pred, truth, rng.random(size) < 0.9


def assert_equal_to_numpy(twin, numpy_function, pred, truth, mask, **options):
    got = twin(*(torch.from_numpy(x) for x in (pred, truth, mask)), **options)
    for i in range(len(pred)):
        expected = numpy_function(pred[i], truth[i], mask[i], **options)
        assert expected.keys() == got.keys()
        for name, value in expected.items():
            assert got[name].dtype == torch.float64
            assert got[name][i].item() == pytest.approx(value, rel=1e-9, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize('align', runtime.ALIGNMENTS)
@pytest.mark.parametrize('seed', [0, 1])  # odd and even numbers of pixels for the median
def test_the_depth_metrics_are_those_of_numpy(align, seed):
    assert_equal_to_numpy(depth_metrics, runtime.depth_metrics, *batch(seed=seed), align=align,
                          min_depth=0.6, max_depth=10.0)


@pytest.mark.parametrize('align', runtime.ALIGNMENTS)
@pytest.mark.parametrize('norm', runtime_similarity.NORMS)
def test_the_similarity_metrics_are_those_of_numpy(norm, align):
    assert_equal_to_numpy(similarity_metrics, runtime_similarity.similarity_metrics, *batch(),
                          norm=norm, align=align, max_depth=10.0)


def test_the_eigen_crop_is_that_of_numpy():
    assert_equal_to_numpy(depth_metrics, runtime.depth_metrics, *batch((1, 480, 640)),
                          crop='eigen', max_depth=10.0)


@pytest.mark.parametrize('align', runtime.ALIGNMENTS)
def test_images_without_a_pixel_are_nan_and_leave_the_others_alone(align):
    pred, truth, mask = batch()
    truth[1] = np.nan
    pred[2] = np.nan
    assert_equal_to_numpy(depth_metrics, runtime.depth_metrics, pred, truth, mask, align=align)
    assert_equal_to_numpy(similarity_metrics, runtime_similarity.similarity_metrics, pred, truth,
                          mask, norm='minmax', align=align)


@pytest.mark.parametrize('align', runtime.ALIGNMENTS)
@pytest.mark.parametrize('value', [0.0, 7.0, -3.0])
def test_a_constant_prediction_is_aligned_as_by_numpy(align, value):
    _, truth, mask = batch()
    assert_equal_to_numpy(depth_metrics, runtime.depth_metrics, np.full_like(truth, value), truth,
                          mask, align=align)


def test_a_channel_axis_makes_no_difference():
    pred, truth, mask = (torch.from_numpy(x) for x in batch())
    flat = depth_metrics(pred, truth, mask)
    mapped = depth_metrics(pred.unsqueeze(1), truth.unsqueeze(1), mask.unsqueeze(1))
    torch.testing.assert_close(mapped, flat, equal_nan=True)


def test_single_precision_is_raised_before_it_is_squared():
    truth = torch.full((1, 8, 8), 10.0) + torch.linspace(0, 1e-3, 64).view(1, 8, 8)
    silog = depth_metrics(1.5 * truth, truth)['silog']
    assert silog.item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(('arguments', 'options', 'message'), [
    ((torch.ones(1, 2, 3), torch.ones(1, 3, 2)), {}, r'prediction has shape \(1, 2, 3\)'),
    ((torch.ones(2, 3), torch.ones(2, 3)), {}, r'truth has shape \(2, 3\); it must be \(B, H, W'),
    ((torch.ones(1, 3, 2, 2), torch.ones(1, 3, 2, 2)), {}, r'must be \(B, H, W\) or \(B, 1'),
    ((torch.ones(1, 2, 2), torch.ones(1, 2, 2), torch.ones(1, 2, 2)), {}, 'mask has shape'),
    ((torch.ones(1, 2, 2), torch.ones(1, 2, 2)), {'align': 'mean'}, "align is 'mean'"),
    ((torch.ones(1, 2, 2), torch.ones(1, 2, 2)), {'crop': 'garg'}, "crop is 'garg'"),
    ((torch.ones(1, 2, 2), torch.ones(1, 2, 2)), {'crop': 'eigen'}, r'the Eigen crop is one of'),
])
def test_tensors_that_cannot_be_compared_are_refused(arguments, options, message):
    with pytest.raises(runtime.MetricsError, match=message):
        depth_metrics(*arguments, **options)


def test_an_unknown_norm_is_refused():
    with pytest.raises(runtime.MetricsError, match="norm is 'zscore'; it must be one of max_dep"):
        similarity_metrics(torch.ones(1, 2, 2), torch.ones(1, 2, 2), norm='zscore')


def test_all_values_of_a_perfect_prediction_are_finite():
    truth = torch.rand(2, 16, 16) + 1
    values = depth_metrics(truth, truth) | similarity_metrics(truth, truth)
    assert all(math.isfinite(v) for value in values.values() for v in value)


def test_inverse_depth_up_to_a_scale_and_a_shift_is_aligned_to_the_truth_of_each_image():
    truth = 1 + 4 * torch.rand(2, 1, 8, 9, dtype=torch.float64)
    inverse = torch.stack([0.3 / truth[0] + 0.1, 0.2 - 0.5 / truth[1]])  # even if upside down
    with_hole = truth.clone()
    with_hole[0, 0, 0, 0] = math.nan
    torch.testing.assert_close(aligned_depth(inverse, with_hole), truth)


def test_aligned_depth_has_an_end():
    inverse = torch.tensor([[[[0.9, 0.5, 0.1, -5.0]]]])
    truth = torch.tensor([[[[1 / 0.9, 2.0, 10.0, math.nan]]]])
    assert aligned_depth(inverse, truth, max_depth=20.0).max().item() == pytest.approx(20)
