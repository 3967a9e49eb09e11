"""Training losses, one file each: a function with the formula, a thin module with the settings.

A depth loss is called with natural log of metres (B, 1, H, W), metres with holes (B, 1, H, W) and
the RGB image in 0..1 (B, 3, H, W), and gives a scalar. Holes, where depth is not finite or not
positive, have neither value nor gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import inspect

from torch import nn

from training.losses.edges import HighFrequencyLoss, SmoothnessLoss
from training.losses.laplace import LaplaceLoss
from training.losses.pixelwise import L1Loss, MSELoss
from training.losses.realtime_unet import RealtimeUNetLoss
from training.losses.scale_invariant import ScaleInvariantLogLoss, SilogLoss
from training.losses.scale_shift import GradientMatchingLoss, SSILoss
from training.losses.segmentation import SegmentationLoss
from training.losses.spt import SPTLoss
from training.losses.ssim import SSIMLoss
from training.losses.weighted import WeightedLoss


class LossError(ValueError):
    """A loss that does not exist, or an option that it does not have."""


def build_loss(name: str, **options: object) -> nn.Module:
    """Make the depth loss `name` with its keyword options.

    Raises
    ------
    LossError
        Unknown name or option; the message lists the choices.
    ValueError
        An option's value is out of its range.
    """
    if name not in LOSSES:
        raise LossError(f"loss {name!r} is unknown; choose one of {', '.join(LOSSES)}")
    parameters = inspect.signature(LOSSES[name]).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise LossError(f'loss {name} has no option {option!r}; '
                            f"it has {', '.join(known) or 'none'}")
    return LOSSES[name](**options)


LOSSES: dict[str, Callable[..., nn.Module]] = {
    'realtime_unet': RealtimeUNetLoss,
    'scale_invariant_log': ScaleInvariantLogLoss,
    'silog': SilogLoss,
    'ssi': SSILoss,
    'gradient_matching': GradientMatchingLoss,
    'mse': MSELoss,
    'l1': L1Loss,
    'ssim': SSIMLoss,
    'edges': HighFrequencyLoss,
    'smoothness': SmoothnessLoss,
    'spt': SPTLoss,
    'weighted': partial(WeightedLoss, build_loss),
}

#: For a network with confidence: called with the log of its scale (B, 1, H, W) as a fourth map.
CONFIDENCE_LOSSES: dict[str, Callable[..., nn.Module]] = {
    'laplace': partial(LaplaceLoss, build_loss),
}

#: Called with logits (B, C, H, W) and integer labels (B, H, W) instead; negative: not labelled.
SEGMENTATION_LOSSES: dict[str, Callable[..., nn.Module]] = {'cross_entropy': SegmentationLoss}
