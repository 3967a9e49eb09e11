"""Depth as a colour picture with fixed limits in metres: near is warm, far is cold, none is black.

The colour runs with the logarithm of the distance: a step in colour is the same relative step
in depth at one metre and at ten, which is how depth errors grow as well. Fixed limits keep the
colour of a distance the same in every frame, so a stream does not flicker.
"""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np

COLORMAPS = {'turbo': cv2.COLORMAP_TURBO, 'jet': cv2.COLORMAP_JET,
             'inferno': cv2.COLORMAP_INFERNO, 'magma': cv2.COLORMAP_MAGMA,
             'plasma': cv2.COLORMAP_PLASMA, 'viridis': cv2.COLORMAP_VIRIDIS,
             'gray': None}
LEVELS = 254            # indices 1..255; 0 is kept for 'no depth', which is black in every map


class ColorizeError(ValueError):
    """Limits or a colour map that cannot be used."""


def colorize(depth: np.ndarray, near: float, far: float, colormap: str = 'turbo',
             out: np.ndarray | None = None) -> np.ndarray:
    """Colour a depth image.

    Parameters
    ----------
    depth : (H, W) float32, metres
        NaN is black; nearer than `near` and farther than `far` take the colour of the limit.
    near, far : float, metres
    colormap : a key of COLORMAPS
    out : (H, W, 3) uint8, optional
        Is filled and returned.

    Returns
    -------
    (H, W, 3) uint8, BGR

    Raises
    ------
    ColorizeError
        Unless 0 < near < far and the colour map is known.
    """
    scale = _levels_per_log_metre(near, far)
    log_depth = cv2.log(depth)
    index = cv2.addWeighted(log_depth, -scale, log_depth, 0.0, 255.0 + scale * math.log(near),
                            dtype=cv2.CV_8U)
    cv2.max(index, 1, dst=index)
    # what NaN becomes in an integer is up to the processor: say it
    index[np.isnan(depth)] = 0
    return cv2.applyColorMap(index, color_table(colormap), dst=out)


def _levels_per_log_metre(near: float, far: float) -> float:
    if not 0.0 < near < far < math.inf:
        raise ColorizeError(f'limits are near={near:g} m, far={far:g} m; '
                            'they must satisfy 0 < near < far')
    return LEVELS / math.log(far / near)


@functools.lru_cache(maxsize=None)
def color_table(colormap: str) -> np.ndarray:
    """The 256 colours of a map, (256, 1, 3) uint8 BGR, warm last and black at index 0."""
    if colormap not in COLORMAPS:
        raise ColorizeError(f'colour map is {colormap!r}; choose one of {", ".join(COLORMAPS)}')
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    code = COLORMAPS[colormap]
    table = cv2.merge([ramp] * 3) if code is None else cv2.applyColorMap(ramp, code)
    table[0] = 0
    return table
