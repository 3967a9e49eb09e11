"""Focus stacks from an all-in-focus image and its depth, for the simulated camera.

Each pixel spreads its light over a Gaussian or a disc whose size follows from its own depth
(optics.py, psf.py), and a pixel of the result is the mean of the light that reaches it. The
picture goes on beyond its borders as in a mirror. training/focus_render.py is the same in torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from depth_perception.optics import Lens, OpticsError, check_focus
from depth_perception.psf import check_shape, disc_kernel, gaussian_kernel, levels

HOLE_DEPTH_M = 1000.0       # what the paper gives holes before blurring
LEAST_LIGHT = 1e-6
BEHIND_SHARPNESS = 8.0      # how much the farthest surface outweighs the nearest: exp(8)


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
                 psf: str = 'gaussian', occlusion: bool = False,
                 gamma: float = 1.0) -> np.ndarray:
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
    occlusion : bool
        Near things hide what is behind them; about twice the time.
    gamma : float
        What the values are a power of light to; 2.2 blurs light itself, 1 the values.

    Returns
    -------
    (H, W, 3) uint8

    Raises
    ------
    OpticsError
        Image and depth do not match, the lens cannot focus there, `gamma` is not above 0, or
        `psf` is unknown.
    """
    check_shape(psf)
    check_focus(focus_m, lens.focal_length_m)
    _check_picture(image, depth, gamma)
    radius = signed_radius_px(fill_holes(depth)[0], focus_m, lens)
    if not radius.any():
        return image.copy()
    return _to_values(blur_light(_to_light(image, gamma), radius, psf, occlusion), gamma)


def render_stack(image: np.ndarray, depth: np.ndarray, focus_distances: Sequence[float],
                 lens: Lens, psf: str = 'gaussian', occlusion: bool = False,
                 gamma: float = 1.0) -> np.ndarray:
    """One `render_slice` for each focus distance: (N, H, W, 3) uint8 in their order.

    An empty stack is an OpticsError; other parameters and errors are those of `render_slice`.
    """
    if len(focus_distances) == 0:
        raise OpticsError('a stack without focus distances; give at least 1')
    return np.stack([render_slice(image, depth, float(focus_m), lens, psf, occlusion, gamma)
                     for focus_m in focus_distances])


def signed_radius_px(depth: np.ndarray, focus_m: float, lens: Lens) -> np.ndarray:
    """Blur radius of each pixel, positive behind the focus; of the depth's shape, float32.

    At most half of the picture's shorter side.
    """
    nearness = 1.0 / focus_m
    scale = 0.5 * lens.blur_scale_px_m / (1.0 - lens.focal_length_m * nearness)
    radius = np.float32(scale * nearness) - np.float32(scale) / depth.astype(np.float32)
    limit = 0.5 * min(depth.shape)
    return np.clip(radius, -limit, limit, out=radius)


def blur_light(light: np.ndarray, radius: np.ndarray, psf: str, occlusion: bool) -> np.ndarray:
    """`render_slice` between light and light.

    Parameters
    ----------
    light : (3, H, W) float32, of any scale
    radius : (H, W) float32, pixels
        As `signed_radius_px` gives it.
    psf : 'gaussian' or 'disc'
    occlusion : bool

    Returns
    -------
    (3, H, W) float32, of the same scale
    """
    if occlusion:
        blurred = _hide(light, radius, psf)
    else:
        blurred = (_spread_gaussian if psf == 'gaussian' else _spread_disc)(light, np.abs(radius))
    return np.divide(blurred[:3], np.maximum(blurred[3], LEAST_LIGHT), out=blurred[:3])


def _check_picture(image: np.ndarray, depth: np.ndarray, gamma: float) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise OpticsError(f'image is {image.dtype} {image.shape}; it must be uint8 (H, W, 3)')
    if depth.shape != image.shape[:2]:
        raise OpticsError(f'depth is {depth.shape}, the image {image.shape[:2]}; '
                          'resize one to the other')
    if not gamma > 0.0:
        raise OpticsError(f'gamma is {gamma:g}; it must be above 0: 1 blurs values, 2.2 light')


def _to_light(image: np.ndarray, gamma: float) -> np.ndarray:
    """The image as planes of light: (3, H, W) float32."""
    power = 255.0 * np.linspace(0.0, 1.0, 256) ** gamma
    return np.stack([cv2.LUT(plane, power.astype(np.float32)) for plane in cv2.split(image)])


def _to_values(planes: np.ndarray, gamma: float) -> np.ndarray:
    """Planes of light as an image; rounds, and stops at 255."""
    if gamma == 1.0:
        return cv2.merge([cv2.convertScaleAbs(plane) for plane in planes])
    return cv2.merge([cv2.convertScaleAbs(cv2.pow(plane, 1.0 / gamma),
                                          alpha=255.0 ** (1.0 - 1.0 / gamma)) for plane in planes])


def _parts(light: np.ndarray, radius: np.ndarray, psf: str,
           far_first: bool = False) -> Iterator[tuple[float, np.ndarray]]:
    """Each level's radius and its share of the light, by signed radius.

    A share is (4, H, W), light and how much of each pixel; the next one overwrites it.
    """
    squared = radius * np.abs(radius)
    part, falling = np.empty((4, *radius.shape), np.float32), np.empty_like(radius)
    share = part[3]
    low, high, _, _ = cv2.minMaxLoc(radius)
    for level in levels(psf, low, high)[::-1 if far_first else 1]:
        np.add(np.multiply(squared, np.float32(level.a), out=share), np.float32(level.b),
               out=share)
        np.add(np.multiply(squared, np.float32(level.c), out=falling), np.float32(level.d),
               out=falling)
        np.maximum(np.minimum(share, falling, out=share), 0.0, out=share)
        if cv2.countNonZero(share):
            np.multiply(light, share, out=part[:3])
            yield level.radius, part


def _spread_gaussian(light: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """From the largest level down: what is blurred already is blurred on with the next one.

    Variances of Gaussians add up, so the kernels stay small.
    """
    total, spare = (np.zeros((4, *radius.shape), np.float32) for _ in range(2))
    before = 0.0
    for level, part in _parts(light, radius, 'gaussian', far_first=True):
        variance = 0.25 * level ** 2
        if before:
            total, spare = _blur_gaussian(total, before - variance, out=spare), total
        total += part
        before = variance
    return _blur_gaussian(total, before, out=spare) if before else total


def _spread_disc(light: np.ndarray, radius: np.ndarray) -> np.ndarray:
    total, spare = (np.zeros((4, *radius.shape), np.float32) for _ in range(2))
    for level, part in _parts(light, radius, 'disc'):
        total += _blur(part, level, 'disc', out=spare)
    return total


def _hide(light: np.ndarray, radius: np.ndarray, psf: str) -> np.ndarray:
    """From near to far, each level adds light as long as a pixel has room for it.

    Where a blurred edge lets see what the pinhole did not, room is left over: it is filled with
    the farthest surfaces around.
    """
    total, spare = (np.zeros((4, *radius.shape), np.float32) for _ in range(2))
    room = np.ones_like(radius)
    for level, part in _parts(light, radius, psf):
        blurred = _blur(part, level, psf, out=spare)
        cover = np.minimum(blurred[3], room)
        room -= cover
        blurred *= np.divide(cover, np.maximum(blurred[3], LEAST_LIGHT), out=cover)
        total += blurred
    near, far, _, _ = cv2.minMaxLoc(radius)
    if near < 0.0:
        weight = np.exp((radius - far) * (BEHIND_SHARPNESS / max(far - near, 1e-3)))
        behind = _blur(np.stack((*(light * weight), weight)), -near, 'gaussian', out=spare)
        behind *= room / behind[3]
        total += behind
    return total


def _blur(planes: np.ndarray, radius: float, psf: str, out: np.ndarray) -> np.ndarray:
    if radius == 0.0:
        return planes
    if psf == 'gaussian':
        return _blur_gaussian(planes, 0.25 * radius ** 2, out)
    kernel = disc_kernel(radius)
    for source, target in zip(planes, out):
        cv2.filter2D(source, -1, kernel, dst=target)
    return out


def _blur_gaussian(planes: np.ndarray, variance: float, out: np.ndarray) -> np.ndarray:
    kernel = gaussian_kernel(variance)
    for source, target in zip(planes, out):
        cv2.sepFilter2D(source, -1, kernel, kernel, dst=target)
    return out
