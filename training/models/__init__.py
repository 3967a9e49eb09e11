"""The architectures by name; a new one is a file here and a line below."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from training.models.realtime_unet import realtime_unet
from training.models.unet import UNet

MODELS: dict[str, Callable[[], nn.Module]] = {
    'realtime_unet_r': partial(realtime_unet, 'R'),
    'realtime_unet_a': partial(realtime_unet, 'A'),
    'realtime_unet_m': partial(realtime_unet, 'M'),
    'unet': UNet,
}


def build_model(name: str) -> nn.Module:
    """Build the architecture `name` with fresh weights.

    Raises
    ------
    ValueError
        Unknown name; the message lists the choices.
    """
    if name not in MODELS:
        raise ValueError(f"model {name!r} is unknown; choose one of {', '.join(MODELS)}")
    return MODELS[name]()
