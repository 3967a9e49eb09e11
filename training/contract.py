"""What every network trained here takes and gives; the exported contract says the same.

In: RGB (B, 3, H, W) float32, (x - MEAN) / STD with x in 0..1. Out: (B, 1, h, w) canonical depth,
as natural log or in metres (the network's `output_kind`): the metres that the same picture would
mean at the canonical focal length; or, of kind 'relative', inverse depth up to a scale and a
shift. Maps smaller than the image are enlarged to it.

A network with `confidence` gives (B, 2, h, w): log depth, and the logarithm of the scale b of the
Laplace distribution of its error. The contract's confidence is the probability, by b, that depth
is off by less than a factor of 1.25: the expected delta1.

A network for focus stacks has `frames` N, `extra_inputs` and `frames_range` as the contract has
them. In: (B, N, 3, H, W), and focus distances (B, N) in canonical metres; see training.stacks.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
import torch.nn.functional as F

from depth_perception.model_spec import ModelSpec
from training.config import Config

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
CANONICAL_FOCAL_PX = 260.0  # at CANONICAL_WIDTH_PX: 63 degrees across, an ordinary webcam
CANONICAL_WIDTH_PX = 320
CONFIDENT_RATIO = 1.25
NEAREST_M = 1e-3  # what a network in metres gives at least, so that its logarithm is finite


def normalise(image: Tensor) -> Tensor:
    """Normalise RGB in 0..1, (B, 3, H, W) float32, for the network."""
    mean, std = (image.new_tensor(x).view(1, 3, 1, 1) for x in (MEAN, STD))
    return (image - mean) / std


def denormalise(image: Tensor) -> Tensor:
    """Undo :func:`normalise`."""
    mean, std = (image.new_tensor(x).view(1, 3, 1, 1) for x in (MEAN, STD))
    return image * std + mean


def log_depth(prediction: Tensor, output_kind: str) -> Tensor:
    """Natural log of depth from what a network of `output_kind` gives, as float32.

    In canonical metres, but for 'relative', an inverse depth without a unit.
    """
    prediction = prediction.float()
    if output_kind == 'log':
        return prediction
    logarithm = prediction.clamp(min=NEAREST_M).log()
    return -logarithm if output_kind == 'relative' else logarithm


def split_confidence(prediction: Tensor) -> tuple[Tensor, ...]:
    """Depth (B, 1, h, w) and, where a network gives it, the log of the scale of its error."""
    # Slices: the converter of ONNX versions knows no way down for Split.
    return (prediction,) if prediction.shape[1] == 1 else (prediction[:, :1], prediction[:, 1:])


def confidence_of(log_scale: Tensor) -> Tensor:
    """Probability that depth is off by less than CONFIDENT_RATIO, 0..1: 1 - exp(-ln 1.25 / b)."""
    return -torch.expm1(-math.log(CONFIDENT_RATIO) * torch.exp(-log_scale))


def at_size(prediction: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Enlarge a prediction (B, 1, h, w) to `size` (H, W), bilinearly, where it is smaller."""
    if prediction.shape[-2:] == size:
        return prediction
    return F.interpolate(prediction, size, mode='bilinear', align_corners=False)


def focal_per_width(network: nn.Module) -> float | None:
    """Focal length over width of the canonical camera of `network`; None: it has metres as is."""
    return getattr(network, 'canonical_focal_per_width', CANONICAL_FOCAL_PX / CANONICAL_WIDTH_PX)


def canonical_scale(
    focal_px: Tensor, width_px: int,
    per_width: float | None = CANONICAL_FOCAL_PX / CANONICAL_WIDTH_PX,
) -> Tensor:
    """Canonical metres per metre, for images `width_px` wide whose focal lengths are (B,) px.

    The canonical focal length, `per_width` times the width, shrinks with the image, so that a
    network trained at half size gives the same metres at full size. None: all are 1.
    """
    focal_px = focal_px.to(torch.float32)
    return per_width * width_px / focal_px if per_width else torch.ones_like(focal_px)


def model_spec(
    config: Config, network: nn.Module, training_data: str,
    blur_scale_range: tuple[float, float] | None = None,
) -> ModelSpec:
    """Contract of a network; its nominal input is that of the last phase, or its only one.

    `blur_scale_range` is what a network for focus stacks was trained on (training.stacks).
    """
    last = config.phases[-1]
    height, width = getattr(network, 'input_size', (last.height, last.width))
    per_width = focal_per_width(network)
    return ModelSpec(
        name=config.name,
        architecture=config.model,
        input_height=height,
        input_width=width,
        size_multiple=0 if hasattr(network, 'input_size') else network.size_multiple,
        mean=MEAN,
        std=STD,
        frames=getattr(network, 'frames', 1),
        frames_range=getattr(network, 'frames_range', ()),
        extra_inputs=getattr(network, 'extra_inputs', ()),
        blur_scale_range=blur_scale_range,
        output_kind=network.output_kind,
        canonical_focal_px=per_width and per_width * width,
        depth_range=config.trusted_range,
        confidence=getattr(network, 'confidence', False),
        training_data=training_data,
        licence='Apache-2.0',
    )
