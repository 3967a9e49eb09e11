"""Patterns by chance: (size, size, 3) uint8 RGB pictures, most of which repeat without a seam."""
from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

SIZE = 256


def colour(rng, saturation=(0.0, 0.5), value=(0.3, 0.95), hue=None) -> np.ndarray:
    """(3,) float RGB 0..255; `hue` in 0..1 or any."""
    h = rng.random() if hue is None else (hue + rng.normal(0, 0.03)) % 1
    s, v = rng.uniform(*saturation), rng.uniform(*value)
    wheel = np.clip(np.abs((h * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return 255 * v * (1 - s + s * wheel)


def to_image(picture) -> np.ndarray:
    """Clip to 0..255 and make it uint8."""
    return np.clip(picture, 0, 255).astype(np.uint8)


@lru_cache(maxsize=64)
def _spectrum(height: int, width: int, slope: float, stretch: float) -> np.ndarray:
    fy = np.fft.fftfreq(height)[:, None] * height * stretch
    fx = np.fft.rfftfreq(width)[None] * width / stretch
    radius = np.hypot(fy, fx)
    radius[0, 0] = np.inf
    return (radius ** -slope).astype(np.float32)


def fractal(rng, slope=1.5, stretch=1.0, height=SIZE, width=SIZE) -> np.ndarray:
    """(height, width) float32 noise, mean 0, deviation 1, periodic, amplitude ~ frequency**-slope.

    stretch > 1 draws it out along y's short and x's long waves: a grain along x for > 1.
    """
    white = np.fft.rfft2(rng.standard_normal((height, width)).astype(np.float32))
    noise = np.fft.irfft2(white * _spectrum(height, width, slope, 1 / stretch), (height, width))
    return (noise / max(float(noise.std()), 1e-9)).astype(np.float32)


def blend(first, second, weight) -> np.ndarray:
    """Mix of two colours by an (H, W) weight 0..1."""
    weight = np.clip(weight, 0, 1)[..., None]
    return np.asarray(first) * (1 - weight) + np.asarray(second) * weight


def plaster(rng, base) -> np.ndarray:
    """Paint: nearly one colour."""
    fine = fractal(rng, rng.uniform(0.2, 0.9)) * rng.uniform(0.5, 4)
    broad = fractal(rng, 1.8) * rng.uniform(0, 5)
    return to_image(np.asarray(base) + (fine + broad)[..., None])


def concrete(rng, base) -> np.ndarray:
    """A stained surface."""
    stains = fractal(rng, 1.4) * rng.uniform(6, 18) + fractal(rng, 0.3) * rng.uniform(2, 8)
    return to_image(np.asarray(base) + stains[..., None])


def wood(rng, base) -> np.ndarray:
    """Grain along x."""
    rings = fractal(rng, 1.7, 6.0) * rng.uniform(0.6, 2.0)
    y = np.linspace(0, 1, SIZE, endpoint=False)[:, None]
    lines = np.sin(2 * np.pi * (y * rng.integers(2, 9) + rings * 0.35))
    grain = lines * rng.uniform(3, 14) + fractal(rng, 0.8, 12.0) * rng.uniform(3, 10)
    return to_image(np.asarray(base) * (1 + grain[..., None] / 128))


def planks(rng, base, rows=None, columns=None) -> np.ndarray:
    """A floor of boards along x."""
    rows = int(rng.integers(3, 9)) if rows is None else rows
    columns = int(rng.integers(1, 4)) if columns is None else columns
    picture = wood(rng, base).astype(np.float32)
    edges = np.linspace(0, SIZE, rows + 1).astype(int)
    gap = rng.uniform(0.5, 0.9)
    for top, bottom in zip(edges[:-1], edges[1:]):
        offset = int(rng.integers(SIZE))
        cuts = (np.linspace(0, SIZE, columns + 1).astype(int) + offset)
        for left, right in zip(cuts[:-1], cuts[1:]):
            span = np.arange(left, right) % SIZE
            source = (span + rng.integers(SIZE)) % SIZE
            board = picture[top:bottom][:, source] * rng.normal(1, 0.07)
            board[:, 0] *= gap
            picture[top:bottom, span] = board
        picture[top] *= gap
    return to_image(picture)


def bricks(rng, base) -> np.ndarray:
    """A brick wall."""
    rows = int(rng.integers(3, 7)) * 2
    columns = int(rng.integers(2, 5))
    mortar = colour(rng, (0, 0.1), (0.4, 0.9))
    picture = np.empty((SIZE, SIZE, 3), np.float32)
    picture[:] = mortar
    edges = np.linspace(0, SIZE, rows + 1).astype(int)
    across = np.linspace(0, SIZE, columns + 1).astype(int)
    for row in range(rows):
        shift = SIZE // (2 * columns) * (row % 2)
        for left, right in zip(across[:-1], across[1:]):
            span = (np.arange(left + 2, right) + shift) % SIZE
            picture[edges[row] + 2:edges[row + 1], span] = base * rng.normal(1, 0.1)
    return to_image(picture + fractal(rng, 0.6)[..., None] * rng.uniform(3, 9))


def tiles(rng, base) -> np.ndarray:
    """Square tiles with joints."""
    count = int(rng.choice([1, 2, 2, 3, 4, 6]))
    step = SIZE / count
    picture = np.empty((SIZE, SIZE, 3), np.float32)
    checker = colour(rng) if rng.random() < 0.3 else base
    spread = rng.uniform(0, 0.06)
    for i in range(count):
        for j in range(count):
            tone = checker if (i + j) % 2 and count % 2 == 0 else base
            picture[int(i * step):int((i + 1) * step), int(j * step):int((j + 1) * step)] = (
                tone * rng.normal(1, spread))
    picture += fractal(rng, rng.uniform(0.8, 1.8))[..., None] * rng.uniform(0, 8)
    joint = colour(rng, (0, 0.1), (0.2, 0.9))
    for i in range(count):
        at, thick = int(i * step), int(rng.integers(1, 4))
        picture[at:at + thick] = joint
        picture[:, at:at + thick] = joint
    return to_image(picture)


def stripes(rng, base) -> np.ndarray:
    """Stripes or a tartan."""
    other = colour(rng, (0, 0.8))
    count = int(rng.integers(2, 17))
    phase = (np.arange(SIZE) * count / SIZE) % 1
    line = (phase < rng.uniform(0.15, 0.6)).astype(np.float32)
    weight = np.broadcast_to(line, (SIZE, SIZE))
    if rng.random() < 0.35:  # tartan
        weight = 0.5 * weight + 0.5 * weight.T
    elif rng.random() < 0.3:
        weight = weight.T
    return to_image(blend(base, other, weight) + fractal(rng, 0.2)[..., None] * rng.uniform(0, 8))


def checker(rng, base) -> np.ndarray:
    """Squares of two colours."""
    cells = np.indices((SIZE, SIZE)) // (SIZE // int(rng.choice([2, 4, 8, 16])))
    return to_image(blend(base, colour(rng, (0, 0.8), (0.05, 1)), cells.sum(axis=0) % 2))


def dots(rng, base) -> np.ndarray:
    """A wallpaper or a cloth with one small figure repeated."""
    count = int(rng.choice([2, 4, 8]))
    cell = SIZE // count
    picture = np.full((cell, cell, 3), base, np.float32)
    for _ in range(int(rng.integers(1, 4))):
        centre = tuple(int(c) for c in rng.integers(cell // 4, 3 * cell // 4, 2))
        axes = tuple(int(a) for a in rng.integers(1, max(cell // 4, 2), 2))
        cv2.ellipse(picture, centre, axes, float(rng.uniform(0, 180)), 0, 360,
                    colour(rng, (0, 0.9)).tolist(), -1)
    return to_image(np.tile(picture, (count, count, 1))
                    + fractal(rng, 0.2)[..., None] * rng.uniform(0, 5))


def fabric(rng, base) -> np.ndarray:
    """A weave."""
    y, x = np.indices((SIZE, SIZE))
    threads = int(rng.choice([32, 64]))
    weave = np.sin(2 * np.pi * x * threads / SIZE) * np.sin(2 * np.pi * y * threads / SIZE)
    tone = weave * rng.uniform(0, 12) + fractal(rng, 0.3) * rng.uniform(3, 12)
    return to_image(np.asarray(base) + tone[..., None])


def carpet(rng, base) -> np.ndarray:
    """A coarse, sometimes two-coloured pile."""
    tone = fractal(rng, 0.1) * rng.uniform(8, 25)
    picture = np.asarray(base) + tone[..., None]
    if rng.random() < 0.4:
        spots = fractal(rng, 1.2) > rng.uniform(0, 1.5)
        picture = blend(base, colour(rng), spots) + tone[..., None]
    return to_image(picture)


def marble(rng, base) -> np.ndarray:
    """Veins."""
    veins = np.abs(fractal(rng, 1.7))
    return to_image(blend(colour(rng, (0, 0.3)), base, veins * rng.uniform(1.5, 5)))


def speckles(rng, base) -> np.ndarray:
    """Terrazzo, chipboard, granite."""
    picture = np.full((SIZE, SIZE, 3), base, np.float32)
    for _ in range(3):
        mask = fractal(rng, rng.uniform(0.5, 1.1)) > rng.uniform(1, 2)
        picture[mask] = colour(rng, (0, 0.4), (0.1, 1))
    return to_image(picture)


def brushed(rng, base) -> np.ndarray:
    """Metal with fine lines along x."""
    return to_image(np.asarray(base) + (fractal(rng, 0.6, 16.0) * rng.uniform(2, 9))[..., None])


def camouflage(rng, base) -> np.ndarray:
    """Photo-like blobs of several colours at many scales."""
    picture = np.full((SIZE, SIZE, 3), base, np.float32)
    for _ in range(int(rng.integers(2, 6))):
        weight = fractal(rng, rng.uniform(1.0, 2.2)) * rng.uniform(0.5, 4) + rng.normal(0, 0.5)
        picture = blend(picture, colour(rng, (0, 0.9), (0.05, 1)), weight)
    return to_image(picture + fractal(rng, 0.7)[..., None] * rng.uniform(0, 14))
