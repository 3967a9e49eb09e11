"""What published depth models take and give, where their ONNX files do not say it themselves.

The rules of UniDepth, Metric3D and MoGe were read from their own code or documentation; those of
the others are as the field knows them and were not compared with a published file.
"""

from __future__ import annotations

from dataclasses import dataclass

from depth_perception.model_contract import IMAGENET_MEAN, IMAGENET_STD, ModelError

_HALF = (0.5, 0.5, 0.5)
_ZERO = (0.0, 0.0, 0.0)
_ONE = (1.0, 1.0, 1.0)
_TO_255 = (1 / 255, 1 / 255, 1 / 255)     # (x / 255 - 0) * 255: the network normalises itself


@dataclass(frozen=True)
class Preset:
    """How to run a family of networks.

    Attributes
    ----------
    architecture : str
    kind : str
        ``metric``, ``inverse`` or ``relative``: what the adapted network gives.
    size : (height, width)
        Nominal network input, for files whose size is free.
    multiple : int
        Free sizes are multiples of this; 0: only `size`.
    mean, std : three floats
        Of x / 255.
    outputs : tuple of str
        Names of the depth output, the first that exists counts.
    canonical_focal_px : float or None
        See `ModelSpec`; metres = output * f / canonical.
    depth_range : (float, float)
        Metres.
    reciprocal : bool
        Whether the network gives depth without a scale: its inverse is the relative output.
    focal_output : str
        Output with the focal length [px] that the network assumed for its metres; dividing by it
        lets the camera's true one take its place.
    points : bool
        Whether the network gives points up to a shift (MoGe): depth follows from them.
    constants : tuple of (str, int)
        Further inputs, and the value that they get for good.
    licence : str
        Of the weights, as published.
    """

    architecture: str
    kind: str
    size: tuple[int, int]
    multiple: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    outputs: tuple[str, ...] = ('depth', 'predicted_depth', 'pred_depth', 'output')
    canonical_focal_px: float | None = None
    depth_range: tuple[float, float] = (0.1, 100.0)
    reciprocal: bool = False
    focal_output: str = ''
    points: bool = False
    constants: tuple[tuple[str, int], ...] = ()
    licence: str = 'see the publisher'


PRESETS = {
    # DepthAnything/Depth-Anything-V2 dpt.py: 518 px, multiples of 14, ImageNet; disparity.
    'depth_anything_v2': Preset('Depth Anything V2', 'relative', (518, 518), 14,
                                licence='Apache-2.0 (small), CC-BY-NC-4.0 (base, large)'),
    # …/metric_depth: the same with a sigmoid times 20 m (Hypersim) or 80 m (VKITTI).
    'depth_anything_v2_metric': Preset('Depth Anything V2 metric', 'metric', (518, 518), 14,
                                       depth_range=(0.1, 80.0),
                                       licence='Apache-2.0 (small), CC-BY-NC-4.0 (base, large)'),
    # ByteDance-Seed/Depth-Anything-3: any-view and mono give depth without a scale …
    'depth_anything_v3': Preset('Depth Anything 3', 'relative', (504, 504), 14, reciprocal=True),
    # … and DA3METRIC metres at f = 300 px: "metric_depth = focal * net_output / 300".
    'depth_anything_v3_metric': Preset('Depth Anything 3 metric', 'metric', (504, 504), 14,
                                       canonical_focal_px=300.0, depth_range=(0.1, 200.0)),
    # YvanYin/Metric3D onnx/metric3d_onnx_export.py: takes 0..255, gives metres at f = 1000 px.
    'metric3d_v2': Preset('Metric3D v2', 'metric', (616, 1064), 0, _ZERO, _TO_255,
                          ('pred_depth', 'predicted_depth', 'depth'), 1000.0, (0.1, 200.0),
                          licence='BSD-2-Clause'),
    # isl-org/MiDaS hubconf: small and v2.1 with ImageNet, DPT with 0.5; disparity.
    'midas': Preset('MiDaS v2.1', 'relative', (256, 256), 32, licence='MIT'),
    'midas_dpt': Preset('MiDaS v3 DPT', 'relative', (384, 384), 32, _HALF, _HALF, licence='MIT'),
    # apple/ml-depth-pro depth_pro.py: 1536 px; inverse depth times f / width.
    'depth_pro': Preset('Depth Pro', 'inverse', (1536, 1536), 0, _HALF, _HALF,
                        ('canonical_inverse_depth', 'predicted_depth', 'depth'), 1536.0,
                        (0.1, 250.0), licence='Apple Sample Code (research)'),
    # Exports of it that scale by the focal length which the network estimates.
    'depth_pro_focal': Preset('Depth Pro', 'metric', (1536, 1536), 0, _HALF, _HALF,
                              ('predicted_depth', 'depth'), 1.0, (0.1, 250.0),
                              focal_output='focallength_px',
                              licence='Apple Sample Code (research)'),
    # lpiccinelli-eth/UniDepth unidepthv2/export.py: 462x616, outputs out_K, depth, …
    'unidepth': Preset('UniDepth v2', 'metric', (462, 616), 14, outputs=('depth',),
                       licence='CC-BY-NC-4.0'),
    # microsoft/MoGe docs/onnx.md: image 0..1, points, mask, metric_scale; normalises itself.
    'moge': Preset('MoGe-2', 'metric', (518, 518), 0, _ZERO, _ONE, ('points',), points=True,
                   constants=(('num_tokens', 1800),), licence='MIT'),
}


def find_preset(name: str) -> Preset:
    """The preset called `name`; ModelError with the names that exist."""
    if name not in PRESETS:
        raise ModelError(f'no preset is called {name!r}; there are {", ".join(PRESETS)}')
    return PRESETS[name]
