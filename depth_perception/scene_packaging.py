"""Prints that are read at arm's length: book covers, product boxes, long spines, bags."""
from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from . import scene_prints as prints
from . import scene_textures as textures
from .scene_materials import RECIPES, Palette
from .scene_shapes import Material
from .scene_textures import colour

_HIGH, _WIDE = 512, 384  # px of a front
_BOLD = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX,
         cv2.FONT_HERSHEY_TRIPLEX)


def _ink_on(rng, ground) -> np.ndarray:
    """A colour that can be read on another."""
    return colour(rng, (0, 0.9), (0.75, 1) if np.mean(ground) < 128 else (0, 0.4))


def headline(picture, rng, x0, y0, width, ink) -> int:
    """A word that fills `width` px, with or without an outline, in place; its height in px."""
    text, font = prints.word(rng, 3, 10), int(rng.choice(_BOLD))
    if rng.random() < 0.5:
        text = text.upper()
    (long, high), _ = cv2.getTextSize(text, font, 1.0, 2)
    scale = width / max(long, 1)
    thick = max(2, int(scale * rng.uniform(1.5, 6)))
    at = int(x0), int(y0 + high * scale)
    if rng.random() < 0.4:
        edge = colour(rng, (0, 1), (0, 1)).tolist()
        cv2.putText(picture, text, at, font, scale, edge, 2 * thick, cv2.LINE_AA)
    cv2.putText(picture, text, at, font, scale, np.asarray(ink).tolist(), thick, cv2.LINE_AA)
    return int(high * scale)


def _ground(rng, height=_HIGH, width=_WIDE) -> np.ndarray:
    """A plain colour, a run of colours, or a picture."""
    kind = rng.random()
    base = colour(rng, (0, 0.95), (0.1, 1))
    if kind < 0.5:
        return np.full((height, width, 3), base, np.uint8)
    if kind < 0.75:
        run = np.broadcast_to(np.linspace(0, 1, height)[:, None], (height, width))
        return textures.to_image(textures.blend(base, colour(rng, (0, 0.95), (0.1, 1)), run))
    picture = prints.photo(rng) if rng.random() < 0.5 else textures.camouflage(rng, base)
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)


def _inset(picture, rng, box) -> None:
    """A photograph or shapes in (x0, y0, x1, y1), square or round, in place."""
    x0, y0, x1, y1 = (int(v) for v in box)
    inner = prints.photo(rng) if rng.random() < 0.4 else np.full(
        (256, 256, 3), colour(rng, (0, 0.9), (0.2, 1)), np.uint8)
    prints.shapes(inner, rng, int(rng.integers(2, 9)))
    inner = cv2.resize(inner, (x1 - x0, y1 - y0))
    mask = np.zeros(inner.shape[:2], np.uint8)
    middle = (inner.shape[1] // 2, inner.shape[0] // 2)
    if rng.random() < 0.5:
        cv2.ellipse(mask, middle, middle, 0, 0, 360, 255, -1)
    else:
        mask[:] = 255
    picture[y0:y1, x0:x1][mask > 0] = inner[mask > 0]


def cover(rng) -> np.ndarray:
    """The front of a book."""
    picture = _ground(rng)
    if rng.random() < 0.6:
        _inset(picture, rng, (rng.integers(0, 90), rng.integers(120, 220),
                              rng.integers(250, 384), rng.integers(330, 500)))
    ink, y = _ink_on(rng, picture[:200].mean(axis=(0, 1))), int(rng.integers(15, 60))
    for _ in range(int(rng.integers(1, 4))):
        left = rng.uniform(15, 80)
        y += headline(picture, rng, left, y, rng.uniform(150, 350 - left), ink) + 18
    prints.write(picture, rng, (30, _HIGH - 20), rng.uniform(16, 30), ink)
    return picture


def front(rng) -> np.ndarray:
    """The front of a product's box: a brand, bands, a picture, small print."""
    picture = _ground(rng)
    for _ in range(int(rng.integers(0, 3))):
        y = int(rng.integers(0, 450))
        picture[y:y + int(rng.integers(10, 150))] = colour(rng, (0, 0.95), (0.1, 1))
    y = int(rng.integers(20, 120))
    y += headline(picture, rng, 25, y, rng.uniform(200, 335),
                  _ink_on(rng, picture[y:y + 80].mean(axis=(0, 1)))) + 15
    if rng.random() < 0.7:
        x = rng.integers(10, 160)
        top = min(y, 300)
        _inset(picture, rng, (x, top, rng.integers(x + 90, 380), rng.integers(top + 80, 490)))
    for _ in range(int(rng.integers(1, 4))):
        prints.write(picture, rng, (rng.integers(10, 220), rng.integers(60, 500)),
                     rng.uniform(14, 34), colour(rng, (0, 1), (0, 1)))
    return picture


def side(rng) -> np.ndarray:
    """The side of a box: small print, a table, a bar code."""
    ground = colour(rng, (0, 0.95), (0.2, 1)) if rng.random() < 0.6 else colour(
        rng, (0, 0.1), (0.85, 1))
    picture = np.full((256, 192, 3), ground, np.uint8)
    ink = _ink_on(rng, ground)
    prints.lines(picture, rng, (14, 20, 178, rng.integers(60, 200)), ink)
    if rng.random() < 0.5:  # a table
        cv2.rectangle(picture, (20, 150), (110, 240), (245, 245, 245), -1)
        prints.lines(picture, rng, (24, 152, 106, 238), (20, 20, 20))
    if rng.random() < 0.5:  # a bar code
        cv2.rectangle(picture, (118, 190), (182, 240), (250, 250, 250), -1)
        for x in np.flatnonzero(rng.random(56) < 0.5):
            picture[194:232, 122 + x] = 10
    return picture


def title(rng) -> np.ndarray:
    """The back of a book that is read close by, upright: 64 wide, 512 high."""
    strip = _ground(rng, 64, 512)
    ink = _ink_on(rng, strip.mean(axis=(0, 1)))
    for x in rng.integers(2, 500, int(rng.integers(0, 4))):
        strip[:, x:x + int(rng.integers(2, 8))] = ink
    text, scale = ' '.join(prints.word(rng) for _ in range(3)), rng.uniform(0.8, 1.7)
    cv2.putText(strip, text, (int(rng.integers(20, 120)), 46), int(rng.choice(_BOLD)), scale,
                ink.tolist(), 2, cv2.LINE_AA)
    return np.ascontiguousarray(np.rot90(strip, -1))


def wrapper(rng) -> np.ndarray:
    """A printed film, creased."""
    picture = cv2.resize(front(rng), (256, 256), interpolation=cv2.INTER_AREA)
    creases = np.abs(textures.fractal(rng, 1.3)) * rng.uniform(10, 45)
    return textures.to_image(picture.astype(np.float32) + creases[..., None] - 15)


def foam(rng) -> np.ndarray:
    """Dark foam, felt or rubber."""
    base = colour(rng, (0, 0.3), (0.03, 0.2))
    return textures.to_image(base + textures.fractal(rng, 0.4)[..., None] * rng.uniform(3, 12))


def _printed(maker, gloss=(0.0, 0.6)):
    return lambda rng: Material(maker(rng), 0.0, rng.uniform(*gloss))


def _clear(rng) -> Material:
    """Pale film or paper without a print."""
    base = colour(rng, (0, 0.3), (0.5, 1))
    creases = np.abs(textures.fractal(rng, 1.2)) * rng.uniform(5, 30)
    return Material(textures.to_image(base + creases[..., None]), 0.3, rng.uniform(0.2, 0.9))


def _pasteboard(rng) -> Material:
    """Brown or white board without a print, stained."""
    base = colour(rng, (0.2, 0.5), (0.3, 0.85), hue=0.09) if rng.random() < 0.8 else colour(
        rng, (0, 0.15), (0.6, 1))
    stains = textures.fractal(rng, 1.5)[..., None] * rng.uniform(2, 10)
    return Material(textures.plaster(rng, base + stains), 0.5)


def _fruit(rng) -> Material:
    """Skin, ripe on one side."""
    base = colour(rng, (0.6, 1), (0.4, 0.95), hue=float(rng.choice([0.0, 0.07, 0.14, 0.28])))
    other = colour(rng, (0.5, 1), (0.3, 0.9), hue=float(rng.choice([0.02, 0.12, 0.25])))
    weight = 0.3 + 0.4 * textures.fractal(rng, 1.8)
    return Material(textures.to_image(textures.blend(base, other, weight)), 0.25,
                    rng.uniform(0, 0.5))


# As scene_materials.RECIPES, and what only close views show well.
CLOSE_RECIPES = {
    **RECIPES,
    'cover': (5, _printed(cover)), 'front': (6, _printed(front)), 'side': (4, _printed(side)),
    'title': (6, _printed(title)), 'wrapper': (3, _printed(wrapper, (0.2, 0.9))),
    'pasteboard': (2, _pasteboard), 'film': (2, _clear), 'fruit': (4, _fruit),
    'foam': (1, lambda rng: Material(foam(rng), rng.uniform(0.1, 0.4))),
}


def fine(palette: Palette, *names: str) -> Material:
    """A material of the palette with its pattern at any size: it must not tell how far it is."""
    material = palette.any(*names)
    return replace(material, tile=material.tile * float(np.exp(palette.rng.uniform(-2.5, 0.2))))
