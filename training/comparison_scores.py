"""Scores of a trained network on the val split, and how long it takes for a frame."""

from __future__ import annotations

from collections import defaultdict
import time

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from training.contract import at_size, canonical_scale, focal_per_width, log_depth
from training.metrics import aligned_depth, depth_metrics, similarity_metrics
from training.stacks import inputs_of, random_inputs

CAP_M = 10.0  # as the NYU benchmarks have it; truth beyond does not count
BATCH = 8
WARM_UPS, TIMED = 100, 10  # the protocol of the Realtime U-Net paper
FRAME = (240, 320)  # height and width of the timed frames, where the network takes any size
DEPTH = ('abs_rel', 'sq_rel', 'mse', 'rmse', 'rmse_log', 'delta1', 'delta2', 'delta3',
         'scale_invariant')


def device_of(accelerator: str) -> torch.device:
    """Where Lightning's `accelerator` puts one device's work: CUDA or the CPU."""
    is_cuda = accelerator in ('auto', 'gpu', 'cuda') and torch.cuda.is_available()
    return torch.device('cuda' if is_cuda else 'cpu')


def predict(network: nn.Module, batch: dict) -> Tensor:
    """Metres (B, H, W) of a batch of the data set's items, at the size of their depth.

    Those of a network of relative depth are aligned to the truth.
    """
    prediction = network(*inputs_of(network, batch))
    height, width = batch['image'].shape[-2:]
    if network.output_kind == 'relative':
        inverse = at_size(prediction.float(), (height, width))
        return aligned_depth(inverse, batch['depth'].unsqueeze(1), max_depth=CAP_M).squeeze(1)
    found = log_depth(prediction, network.output_kind)
    depth = at_size(found, (height, width)).exp().squeeze(1)
    scale = canonical_scale(batch['focal_px'], width, focal_per_width(network))
    return depth / scale.view(-1, 1, 1)


def _on(device: torch.device, batch: dict) -> dict:
    return {key: x.to(device) if isinstance(x, Tensor) else x for key, x in batch.items()}


@torch.inference_mode()
def score(network: nn.Module, data: Dataset, device: torch.device) -> dict[str, float]:
    """Mean over images of each metric, in metres up to CAP_M, unaligned but for relative depth.

    Images without a pixel of truth do not count.

    Returns
    -------
    dict
        DEPTH, the root of the scale-invariant error, and MSE and SSIM in both norms.
    """
    network = network.to(device).eval()
    values: dict[str, list[Tensor]] = defaultdict(list)
    for batch in DataLoader(data, BATCH):
        batch = _on(device, batch)
        for name, found in _of_batch(predict(network, batch), batch['depth']).items():
            values[name].append(found.cpu())
    return {name: float(torch.cat(parts).nanmean()) for name, parts in values.items()}


def _of_batch(depth: Tensor, truth: Tensor) -> dict[str, Tensor]:
    plain = depth_metrics(depth, truth, max_depth=CAP_M)
    found = {name: plain[name] for name in DEPTH}
    found['scale_invariant_root'] = plain['scale_invariant'].sqrt()
    for norm in ('max_depth', 'minmax'):
        found |= similarity_metrics(depth, truth, norm=norm, max_depth=CAP_M)
    return found


@torch.inference_mode()
def predictions(network: nn.Module, data: Dataset, device: torch.device) -> Tensor:
    """Metres (N, H, W), float32 on the CPU, of every item of `data`."""
    network = network.to(device).eval()
    return torch.cat([predict(network, _on(device, batch)).cpu()
                      for batch in DataLoader(data, BATCH)])


@torch.inference_mode()
def frame_ms(network: nn.Module, size: tuple[int, int], device: torch.device) -> float:
    """Milliseconds for one frame of `size`: the mean of TIMED random ones after WARM_UPS."""
    network = network.to(device).eval()

    def run(count: int) -> float:
        started_s = time.perf_counter()
        for _ in range(count):
            network(*(x.to(device) for x in random_inputs(network, size)))
        if device.type == 'cuda':
            torch.cuda.synchronize()
        return time.perf_counter() - started_s

    run(WARM_UPS)
    return 1000 * run(TIMED) / TIMED
