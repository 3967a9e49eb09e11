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
TICKS_M = (0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 80)
LEGEND_WIDTH, BAR_WIDTH, LEGEND_MARGIN = 76, 18, 12


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
    np.maximum(index, 1, out=index)
    # what NaN becomes in an integer is up to the processor: say it
    index[np.isnan(depth)] = 0
    return cv2.applyColorMap(index, color_table(colormap), dst=out)


def _levels_per_log_metre(near: float, far: float) -> float:
    if not 0.0 < near < far < math.inf:
        raise ColorizeError(f'limits are near={near:g} m, far={far:g} m; '
                            'they must satisfy 0 < near < far')
    return LEVELS / math.log(far / near)


@functools.cache
def color_table(colormap: str) -> np.ndarray:
    """The 256 colours of a map, (256, 1, 3) uint8 BGR, warm last and black at index 0."""
    if colormap not in COLORMAPS:
        raise ColorizeError(f'colour map is {colormap!r}; choose one of {", ".join(COLORMAPS)}')
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    code = COLORMAPS[colormap]
    table = cv2.merge([ramp] * 3) if code is None else cv2.applyColorMap(ramp, code)
    table[0] = 0
    return table


def annotate(picture: np.ndarray, near: float, far: float,
             colormap: str = 'turbo') -> np.ndarray:
    """A coloured depth picture with a scale in metres to its right.

    Parameters
    ----------
    picture : (H, W, 3) uint8 BGR
        From `colorize` with the same limits.
    near, far : float, metres
    colormap : a key of COLORMAPS

    Returns
    -------
    (H, W + LEGEND_WIDTH, 3) uint8 BGR

    Raises
    ------
    ColorizeError
        As `colorize`.
    """
    height = picture.shape[0]
    legend = np.full((height, LEGEND_WIDTH, 3), 24, np.uint8)
    top, bottom = LEGEND_MARGIN, height - 1 - LEGEND_MARGIN
    distances = np.geomspace(far, near, bottom - top + 1).astype(np.float32)[:, None]
    bar = colorize(np.repeat(distances, BAR_WIDTH, axis=1), near, far, colormap)
    legend[top:bottom + 1, 8:8 + BAR_WIDTH] = bar
    for metres in TICKS_M:
        if near <= metres <= far:
            y = bottom - round((bottom - top) * math.log(metres / near) / math.log(far / near))
            cv2.line(legend, (8 + BAR_WIDTH, y), (11 + BAR_WIDTH, y), (200, 200, 200))
            cv2.putText(legend, f'{metres:g} m', (14 + BAR_WIDTH, y + 4),
                        cv2.FONT_HERSHEY_SIMPLEX, 0.36, (230, 230, 230), 1, cv2.LINE_AA)
    return cv2.hconcat([picture, legend])
