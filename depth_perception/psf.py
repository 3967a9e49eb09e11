"""Point-spread functions of a defocused lens, as the two focus renderers share them.

A pixel's own radius lies between two levels of a fixed list of radii, and its light is split
between them so that the variance of the spread is exact. One convolution per level then does
what one per pixel would. In the frequency domain each level is a product with a real function,
because the kernels are symmetric; the levels' products add up before the one way back.

Both shapes have a variance of (r / 2)^2 per axis: that of a uniform disc of radius r.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from depth_perception.optics import OpticsError

HOLE_DEPTH_M = 1000.0   # what the paper blurs holes with
SHAPES = ('gaussian', 'disc')
SUBSAMPLES = 8          # per pixel and axis, where a disc's rim cuts pixels
GAUSSIAN_REACH = 1.6    # radii: 3.2 standard deviations


def check_shape(psf: str) -> None:
    """Raise OpticsError unless `psf` is the name of a shape."""
    if psf not in SHAPES:
        raise OpticsError(f"point-spread function is {psf!r}; choose one of {', '.join(SHAPES)}")


def level_radii(psf: str, largest_px: float) -> np.ndarray:
    """Radii of the levels, from 0 to the first one that is not below `largest_px`.

    Gaussians of neighbouring levels mix well: their variance doubles. Discs have an edge.
    """
    radii = [0.0]
    step = 0.5
    while radii[-1] < largest_px:
        radii.append(step if radii[-1] == 0.0 else _next_radius(psf, radii[-1]))
    return np.array(radii)


def _next_radius(psf: str, radius: float) -> float:
    return radius * 2 ** 0.5 if psf == 'gaussian' else radius + max(0.5, 0.1 * radius)


def level_slopes(radii: np.ndarray) -> list[tuple[float, float, float, float]]:
    """Each level's share of a pixel with squared radius q: ``max(0, min(a q + b, c q + d))``.

    The shares of a pixel add up to 1, and the levels' squared radii times them to q.
    """
    squared = np.concatenate(([-1.0], radii ** 2, [radii[-1] ** 2 + 1.0]))
    slopes = []
    for before, here, after in zip(squared, squared[1:], squared[2:]):
        rise, fall = 1.0 / (here - before), 1.0 / (after - here)
        slopes.append((rise, -before * rise, -fall, after * fall))
    # nothing is below 0 or above the last level, but for rounding
    slopes[0] = (0.0, 1.0, *slopes[0][2:])
    slopes[-1] = (*slopes[-1][:2], 0.0, 1.0)
    return slopes


def reach_px(psf: str, radius_px: float) -> int:
    """How far a pixel's light goes, whole pixels."""
    return int(np.ceil(radius_px * GAUSSIAN_REACH if psf == 'gaussian' else radius_px + 0.5))


def fft_size(size: int) -> int:
    """The smallest length from `size` on with no prime factor above 5: what FFTs are fast at."""
    while True:
        rest = size
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 1


@lru_cache(maxsize=256)
def transfer(psf: str, radius_px: float, height: int, width: int) -> np.ndarray:
    """The factor of each frequency of a (height, width) picture, as np.fft.rfft2 orders them.

    The Gaussian is the discrete one (Lindeberg's), whose variance is exact at any size.

    Returns
    -------
    (height, width // 2 + 1) float32, not to be written
    """
    if psf == 'gaussian':
        variance = 0.25 * radius_px ** 2
        rows, columns = (np.exp(variance * (np.cos(2.0 * np.pi * frequencies) - 1.0))
                         for frequencies in (np.fft.fftfreq(height), np.fft.rfftfreq(width)))
        return (rows[:, None] * columns).astype(np.float32)
    kernel = disc_kernel(radius_px)
    padded = np.zeros((height, width))
    half = len(kernel) // 2
    at = np.arange(-half, half + 1)
    np.add.at(padded, np.ix_(at % height, at % width), kernel)
    return np.fft.rfft2(padded).real.astype(np.float32)


@lru_cache(maxsize=256)
def disc_kernel(radius_px: float) -> np.ndarray:
    """The share of each pixel that a disc covers, adding up to 1: (n, n) float64, n odd."""
    half = reach_px('disc', radius_px)
    cells = (2 * half + 1) * SUBSAMPLES
    at = (np.arange(cells) + 0.5) / SUBSAMPLES - half - 0.5
    inside = (at[:, None] ** 2 + at ** 2 <= max(radius_px, 0.25) ** 2).astype(np.float64)
    kernel = inside.reshape(2 * half + 1, SUBSAMPLES, 2 * half + 1, SUBSAMPLES).sum(axis=(1, 3))
    return kernel / kernel.sum()
