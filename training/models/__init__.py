"""The architectures by name; a new one is a file here and a line below.

A network maps normalised RGB, (B, 3, H, W) float32, to a map (B, 1, h, w) and says in class
attributes what it takes and gives:

output_kind
    'log': natural log of canonical metres; 'metric': canonical metres; 'relative': inverse depth
    up to a scale and a shift, 0 to 1.
size_multiple
    Height and width must be multiples of it (where `pads` is true the network takes others too:
    it repeats the edge and crops the map); or, where layers fix the size,
input_size
    the (height, width) that the image must have.
stages
    Names for ``set_stage``, in the order in which they are trained; only where parts are trained
    one after the other. Without a call all parts train together and the last one gives the map.

canonical_focal_per_width
    Focal length over width of its canonical camera; None: depth is in metres of any camera. Where
    there is none it is that of training.contract.

widened
    Method that turns the weights of a narrower network of the same structure into its own
    (training.models.widen); only where there is one.

A network for focus stacks takes (B, N, 3, H, W) and focus distances (B, N) in canonical metres,
and says

frames, frames_range, extra_inputs
    As the contract has them (depth_perception.model_contract).

In training mode a network with deep supervision returns a tuple of maps. One with a segmentation
head gives depth alone there too, and both maps by ``joint(image)`` (training.models.spt). The
module of each architecture has ``tiny()``, a small net of the same structure, for tests.
"""

from __future__ import annotations

from collections.abc import Callable
import inspect

from torch import nn

from training.models.dfdnet import (
    dfdnet,
    dfdnet_base,
    dfdnet_base_single,
    dfdnet_single,
    dfdnet_small,
    dfdnet_small_single,
)
from training.models.eigen import eigen
from training.models.realtime_unet import (
    realtime_unet,
    realtime_unet_a,
    realtime_unet_l,
    realtime_unet_m,
)
from training.models.spt import spt_base, spt_large, spt_tiny
from training.models.spt_comparison import dpt_hybrid, pvt, pvt_linear_sra, vit16, vit32
from training.models.unet import unet
from training.models.unetpp import unetpp18, unetpp34, unetpp50

# Called without arguments each builds the paper's default.
MODELS: dict[str, Callable[..., nn.Module]] = {
    'realtime_unet': realtime_unet,
    'realtime_unet_a': realtime_unet_a,
    'realtime_unet_m': realtime_unet_m,
    'realtime_unet_l': realtime_unet_l,
    'unet': unet,
    'unetpp18': unetpp18,
    'unetpp34': unetpp34,
    'unetpp50': unetpp50,
    'eigen': eigen,
    'spt_base': spt_base,
    'spt_large': spt_large,
    'spt_tiny': spt_tiny,
    'vit16': vit16,
    'vit32': vit32,
    'dpt_hybrid': dpt_hybrid,
    'pvt': pvt,
    'pvt_linear_sra': pvt_linear_sra,
    'dfdnet': dfdnet,
    'dfdnet_base': dfdnet_base,
    'dfdnet_small': dfdnet_small,
    'dfdnet_single': dfdnet_single,
    'dfdnet_base_single': dfdnet_base_single,
    'dfdnet_small_single': dfdnet_small_single,
}


def build_model(name: str, **options: object) -> nn.Module:
    """Build the architecture `name` with fresh weights; `options` as its builder names them.

    Raises
    ------
    ValueError
        Unknown name, or an option that this architecture does not have; the message lists the
        choices.
    """
    if name not in MODELS:
        raise ValueError(f"model {name!r} is unknown; choose one of {', '.join(MODELS)}")
    known = inspect.signature(MODELS[name]).parameters
    for option in options:
        if option not in known:
            raise ValueError(
                f"model {name!r} has no option {option!r}; it has {', '.join(known) or 'none'}"
            )
    return MODELS[name](**options)
