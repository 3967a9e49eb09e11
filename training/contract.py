"""What every network trained here takes and gives; the exported contract says the same.

In: RGB (B, 3, H, W) float32, (x - MEAN) / STD with x in 0..1. Out: (B, 1, h, w) canonical depth,
as natural log or in metres (the network's `output_kind`): the metres that the same picture would
mean at the canonical focal length. Maps smaller than the image are enlarged to it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
import torch.nn.functional as F

from depth_perception.model_spec import ModelSpec
from training.config import Config

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
CANONICAL_FOCAL_PX = 260.0  # at CANONICAL_WIDTH_PX: 63 degrees across, an ordinary webcam
CANONICAL_WIDTH_PX = 320
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
    """Natural log of canonical metres from what a network of `output_kind` gives, as float32."""
    prediction = prediction.float()
    return prediction.clamp(min=NEAREST_M).log() if output_kind == 'metric' else prediction


def at_size(prediction: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Enlarge a prediction (B, 1, h, w) to `size` (H, W), bilinearly, where it is smaller."""
    if prediction.shape[-2:] == size:
        return prediction
    return F.interpolate(prediction, size, mode='bilinear', align_corners=False)


def canonical_focal_px(width_px: int) -> float:
    """Canonical focal length of images `width_px` wide: the field of view stays the same."""
    return CANONICAL_FOCAL_PX * width_px / CANONICAL_WIDTH_PX


def canonical_scale(focal_px: Tensor, width_px: int) -> Tensor:
    """Canonical metres per metre, for images `width_px` wide whose focal lengths are (B,) px.

    The canonical focal length shrinks with the image, so that a network trained at half size
    gives the same metres at full size.
    """
    return canonical_focal_px(width_px) / focal_px.to(torch.float32)


def model_spec(config: Config, network: nn.Module, training_data: str) -> ModelSpec:
    """Contract of a single-image network; its nominal input is that of the last phase."""
    height, width = config.phases[-1].height, config.phases[-1].width
    return ModelSpec(
        name=config.name,
        architecture=config.model,
        input_height=height,
        input_width=width,
        size_multiple=0 if hasattr(network, 'input_size') else network.size_multiple,
        mean=MEAN,
        std=STD,
        output_kind=network.output_kind,
        canonical_focal_px=canonical_focal_px(width),
        depth_range=config.trusted_range,
        training_data=training_data,
        licence='Apache-2.0',
    )
