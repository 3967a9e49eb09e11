from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from depth_perception.metrics import depth_metrics
from depth_perception.similarity import similarity_metrics
from training.comparison_scores import CAP_M, TIMED, WARM_UPS, device_of, frame_ms, predict, score

CPU = torch.device('cpu')
HEIGHT, WIDTH = 12, 16
CANONICAL_PX = 13.0  # 260 px at a width of 320 px is 13 px at 16 px


class Fixed(nn.Module):
    """Gives the same map for every picture, and counts the pictures."""

    def __init__(self, prediction, output_kind='log'):
        super().__init__()
        self.prediction, self.output_kind = prediction, output_kind
        self.shapes = []

    def forward(self, image):
        self.shapes.append(tuple(image.shape))
        return self.prediction.expand(len(image), 1, *self.prediction.shape)


def item(depth, focal_px=CANONICAL_PX):
    return {'image': torch.zeros(3, HEIGHT, WIDTH, dtype=torch.uint8), 'depth': depth,
            'focal_px': torch.tensor(focal_px)}


def plane(metres):
    return torch.full((HEIGHT, WIDTH), float(metres))


def test_what_a_network_says_at_the_canonical_focal_length_is_scaled_to_the_pictures():
    batch = torch.utils.data.default_collate([item(plane(1), 13.0), item(plane(1), 26.0)])
    depth = predict(Fixed(plane(2).log()), batch)
    assert torch.allclose(depth, torch.stack([plane(2), plane(4)]))


def test_relative_depth_is_aligned_to_the_truth_and_capped():
    truth = plane(2)
    truth[:, 8:], truth[0] = 4.0, float('nan')
    network = Fixed(0.2 + 0.4 / truth.nan_to_num(0.001), 'relative')
    batch = torch.utils.data.default_collate([item(truth, 26.0)])
    found = predict(network, batch)[0]
    torch.testing.assert_close(found[1:], truth[1:])
    scores = score(network, [item(truth, 26.0)], CPU)
    assert scores['abs_rel'] == pytest.approx(0, abs=1e-5)


def test_a_smaller_map_is_enlarged_to_the_picture():
    batch = torch.utils.data.default_collate([item(plane(1))])
    assert predict(Fixed(torch.full((3, 4), 2.0), 'metric'), batch).shape == (1, HEIGHT, WIDTH)


def test_a_perfect_prediction_has_no_error():
    scores = score(Fixed(plane(3).log()), [item(plane(3))], CPU)
    for name in ('abs_rel', 'rmse', 'rmse_log', 'scale_invariant', 'mse_max_depth'):
        assert scores[name] == pytest.approx(0, abs=1e-6)
    assert scores['ssim_max_depth'] == pytest.approx(1)
    assert scores['delta1'] == 1


def test_scores_are_the_means_over_pictures_of_the_numpy_metrics():
    rng = np.random.default_rng(0)
    prediction = rng.uniform(1, 9, (HEIGHT, WIDTH)).astype(np.float32)
    truths = [rng.uniform(0.5, 14, (HEIGHT, WIDTH)).astype(np.float32) for _ in range(11)]
    truths[2][3:] = np.nan
    found = score(Fixed(torch.from_numpy(prediction), 'metric'),
                  [item(torch.from_numpy(x)) for x in truths], CPU)
    plain = [depth_metrics(prediction, x, max_depth=CAP_M) for x in truths]
    for name in ('abs_rel', 'rmse', 'rmse_log', 'delta1', 'scale_invariant'):
        assert found[name] == pytest.approx(np.mean([x[name] for x in plain]), rel=1e-4)
    root = np.mean([np.sqrt(x['scale_invariant']) for x in plain])
    assert found['scale_invariant_root'] == pytest.approx(root, rel=1e-4)
    for norm in ('max_depth', 'minmax'):
        each = [similarity_metrics(prediction, x, norm=norm, max_depth=CAP_M) for x in truths]
        for name in each[0]:
            assert found[name] == pytest.approx(np.mean([x[name] for x in each]), rel=1e-4)


def test_pictures_without_truth_do_not_count():
    pictures = [item(plane(2)), item(plane(np.nan))]
    assert score(Fixed(plane(1).log()), pictures, CPU)['abs_rel'] == pytest.approx(0.5)


def test_a_frame_is_timed_after_the_warm_ups_of_the_paper():
    network = Fixed(plane(1))
    assert frame_ms(network, (HEIGHT, WIDTH), CPU) > 0
    assert (WARM_UPS, TIMED) == (100, 10)
    assert network.shapes == [(1, 3, HEIGHT, WIDTH)] * 110


def test_work_goes_to_the_device_that_training_takes(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert [device_of(x).type for x in ('auto', 'gpu', 'cpu')] == ['cuda', 'cuda', 'cpu']
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert device_of('auto').type == 'cpu'
