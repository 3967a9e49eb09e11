"""Focus stacks from an all-in-focus image and its depth, for the simulated camera.

Each pixel spreads its light over a Gaussian or a disc whose size follows from its own depth
(optics.py, psf.py), and a pixel of the result is the mean of the light that reaches it. The
picture goes on beyond its borders as in a mirror. training/focus_render.py is the same in torch.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from depth_perception.optics import Lens, OpticsError, check_focus
from depth_perception.psf import (
    HOLE_DEPTH_M,
    check_shape,
    fft_size,
    level_radii,
    level_slopes,
    reach_px,
    transfer,
)

LEAST_LIGHT = np.float32(1e-6)


def fill_holes(depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth without holes, and where it was known: only there may a loss look.

    Parameters
    ----------
    depth : (H, W) float, metres
        Holes are what is not finite or not above 0.

    Returns
    -------
    filled : (H, W) float32, metres, HOLE_DEPTH_M in the holes
    valid : (H, W) bool
    """
    valid = np.isfinite(depth) & (depth > 0.0)
    return np.where(valid, depth, HOLE_DEPTH_M).astype(np.float32), valid


def render_slice(image: np.ndarray, depth: np.ndarray, focus_m: float, lens: Lens,
                 psf: str = 'gaussian') -> np.ndarray:
    """What the lens sees when it is focused at one distance.

    Parameters
    ----------
    image : (H, W, 3) uint8, any channel order
        All in focus.
    depth : (H, W) float, metres
        Along the optical axis; holes are blurred as what is 1000 m away.
    focus_m : float, metres
    lens : Lens
        With f-number infinity the result is the image.
    psf : 'gaussian' or 'disc'

    Returns
    -------
    (H, W, 3) uint8

    Raises
    ------
    OpticsError
        Image and depth do not match, the lens cannot focus there, or `psf` is unknown.
    """
    check_shape(psf)
    check_focus(focus_m, lens.focal_length_m)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise OpticsError(f'image is {image.dtype} {image.shape}; it must be uint8 (H, W, 3)')
    if depth.shape != image.shape[:2]:
        raise OpticsError(f'depth is {depth.shape}, the image {image.shape[:2]}; '
                          'resize one to the other')
    radius = signed_radius_px(fill_holes(depth)[0], focus_m, lens)
    light = _spread(image.transpose(2, 0, 1).astype(np.float32), radius, psf)
    return np.clip(np.rint(light), 0, 255).astype(np.uint8).transpose(1, 2, 0).copy()


def render_stack(image: np.ndarray, depth: np.ndarray, focus_distances: Sequence[float],
                 lens: Lens, psf: str = 'gaussian') -> np.ndarray:
    """One `render_slice` for each focus distance: (N, H, W, 3) uint8 in their order."""
    return np.stack([render_slice(image, depth, float(focus_m), lens, psf)
                     for focus_m in focus_distances])


def signed_radius_px(depth: np.ndarray, focus_m: float, lens: Lens) -> np.ndarray:
    """Blur radius of each pixel, positive behind the focus; of the depth's shape, float32."""
    nearness = 1.0 / focus_m
    scale = 0.5 * lens.blur_scale_px_m / (1.0 - lens.focal_length_m * nearness)
    radius = cv2.divide(-scale, depth.astype(np.float32, copy=False))
    radius += np.float32(scale * nearness)
    limit = 0.5 * min(depth.shape)
    return np.clip(radius, -limit, limit, out=radius)


def _spread(light: np.ndarray, radius: np.ndarray, psf: str) -> np.ndarray:
    """(3, H, W) float32 light of each pixel over its surroundings."""
    squared = radius * radius
    radii = level_radii(psf, float(np.sqrt(squared.max())))
    if len(radii) == 1:
        return light
    height, width = radius.shape
    border = reach_px(psf, radii[-1])
    size = [fft_size(length + 2 * border) for length in (height, width)]
    total = np.zeros((4, size[0], size[1] // 2 + 1), np.complex64)
    planes = np.concatenate((light, np.ones_like(light[:1])))
    for r, (a, b, c, d) in zip(radii, level_slopes(radii)):
        share = np.maximum(0, np.minimum(squared * np.float32(a) + np.float32(b),
                                         squared * np.float32(c) + np.float32(d)))
        if not share.any():
            continue
        factor = transfer(psf, float(r), *size)
        for plane, spectrum in zip(planes, total):
            padded = cv2.copyMakeBorder(plane * share, border, size[0] - height - border, border,
                                        size[1] - width - border, cv2.BORDER_REFLECT_101)
            spectrum += np.fft.rfft2(padded) * factor
    spread = np.fft.irfft2(total, s=size)[:, border:border + height, border:border + width]
    return spread[:3] / np.maximum(spread[3], LEAST_LIGHT)
