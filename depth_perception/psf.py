"""Point-spread functions of a defocused lens, as both focus renderers use them.

A pixel's own radius lies between two levels of a fixed list, and its light is shared between
them so that the variance of its spread is exact. One convolution per level then does what one
per pixel would. Both shapes have the variance of a uniform disc per axis, (radius / 2)^2.
"""

from __future__ import annotations

from functools import cache, lru_cache
import math

import numpy as np

from depth_perception.optics import OpticsError

SHAPES = ('gaussian', 'disc')
SUBSAMPLES = 16         # per pixel and axis, where a disc's rim cuts pixels
REACH = 1.6             # radii: 3.2 standard deviations of a Gaussian
LARGEST_PX = 256.0


def check_shape(psf: str) -> None:
    """Raise OpticsError unless `psf` is the name of a shape."""
    if psf not in SHAPES:
        raise OpticsError(f"point-spread function is {psf!r}; choose one of {', '.join(SHAPES)}")


@cache
def all_radii(psf: str) -> np.ndarray:
    """Radii of all levels, from 0: (K,) float64, pixels.

    Gaussians of doubled variance mix well, but where the image's finest detail is just going.
    Discs have rims, which show in a mixture.
    """
    radii = [0.0, 0.5]
    while radii[-1] < LARGEST_PX:
        radii.append((_next_gaussian if psf == 'gaussian' else _next_disc)(radii[-1]))
    return np.array(radii)


def _next_gaussian(radius: float) -> float:
    return radius * 2.0 ** (0.25 if 0.9 < radius < 2.7 else 0.5)


def _next_disc(radius: float) -> float:
    for below, step in ((0.75, 0.0625), (1.0, 0.125), (2.0, 0.25)):
        if radius < below:
            return radius + step
    return radius + max(0.5, 0.1 * radius)


class Level:
    """One level: its radius, and how much of each pixel's light it spreads.

    With q = r |r| of the pixel's radius r the share is ``max(0, min(a q + b, c q + d))``. Shares
    of all levels add up to 1, and the levels' squared radii times the shares to q.
    """

    def __init__(self, before: float, radius: float, after: float) -> None:
        self.radius = abs(radius)
        here, before, after = (r * abs(r) for r in (radius, before, after))
        self.a, self.b = _line(before, here)
        self.c, self.d = _line(after, here)


def _line(zero: float, one: float) -> tuple[float, float]:
    """Slope and offset of the line that is 0 at `zero` and 1 at `one`; 1 if they are the same."""
    if zero == one:
        return 0.0, 1.0
    return 1.0 / (one - zero), -zero / (one - zero)


def levels(psf: str, smallest_px: float, largest_px: float) -> list[Level]:
    """Those levels that pixels between two radii have shares in, by increasing radius.

    Radii may have a sign: negative ones are levels of their own.
    """
    radii = all_radii(psf)
    if smallest_px < 0.0:
        radii = np.concatenate((-radii[:0:-1], radii))
    first = max(int(np.searchsorted(radii, smallest_px, side='right')) - 1, 0)
    last = min(int(np.searchsorted(radii, largest_px)), len(radii) - 1)
    chosen = radii[first:last + 1]
    ends = np.concatenate((chosen[:1], chosen, chosen[-1:]))
    return [Level(*map(float, three)) for three in zip(ends, ends[1:], ends[2:])]


def reach_px(radius_px: float) -> int:
    """How far a pixel's light goes at most, whole pixels."""
    return math.ceil(REACH * radius_px + 0.5)


@lru_cache(maxsize=256)
def gaussian_kernel(variance: float) -> np.ndarray:
    """The discrete Gaussian (Lindeberg's): (n,) float32 that add up to 1, n odd.

    Its variance is exact at any size, and one after the other add up exactly; samples of the
    continuous one do neither below a pixel.
    """
    half = math.ceil(2.0 * REACH * math.sqrt(variance) + 0.5)
    length = 2 * half + 16      # beyond it the tail is nothing, and does not come round
    frequencies = np.exp(variance * (np.cos(2.0 * np.pi * np.fft.rfftfreq(length)) - 1.0))
    kernel = np.roll(np.fft.irfft(frequencies, n=length), half)[:2 * half + 1]
    return (kernel / kernel.sum()).astype(np.float32)


@lru_cache(maxsize=256)
def disc_kernel(radius_px: float) -> np.ndarray:
    """The share of each pixel that a disc covers: (n, n) float32 that add up to 1, n odd."""
    half = math.ceil(max(radius_px - 0.5, 0.0))
    cells = (2 * half + 1) * SUBSAMPLES
    at = (np.arange(cells) + 0.5) / SUBSAMPLES - half - 0.5
    inside = (at[:, None] ** 2 + at ** 2 <= max(radius_px, 0.25) ** 2).astype(np.float64)
    kernel = inside.reshape(2 * half + 1, SUBSAMPLES, 2 * half + 1, SUBSAMPLES).sum(axis=(1, 3))
    return (kernel / kernel.sum()).astype(np.float32)
