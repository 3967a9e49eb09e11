"""Printed and shown things: text, posters, book covers, screens, the view through a window."""
from __future__ import annotations

import cv2
import numpy as np

from .scene_textures import SIZE, blend, camouflage, colour, fractal, to_image

_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX,
          cv2.FONT_HERSHEY_SCRIPT_SIMPLEX)
_LETTERS = np.array(list('abcdefghijklmnoprstuvwxyzABCDEFGHKLMNOPRSTUVW0123456789'))


def word(rng, low=3, high=9) -> str:
    """Letters and digits by chance."""
    return ''.join(rng.choice(_LETTERS, int(rng.integers(low, high))))


def write(picture, rng, at, size: float, ink) -> None:
    """One word in a picture, in place; size is the letters' height in pixels."""
    cv2.putText(picture, word(rng), (int(at[0]), int(at[1])), int(rng.choice(_FONTS)),
                size / 22, np.asarray(ink).tolist(), max(1, int(size / 10)), cv2.LINE_AA)


def lines(picture, rng, box, ink) -> None:
    """Marks like lines of text in (x0, y0, x1, y1), in place."""
    x0, y0, x1, y1 = (int(v) for v in box)
    step = int(rng.integers(5, 14))
    for y in range(y0 + step, y1, step):
        x = x0
        while x < x1:
            length = int(rng.integers(4, 26))
            cv2.line(picture, (x, y), (min(x + length, x1), y), np.asarray(ink).tolist(),
                     max(1, step // 3))
            x += length + int(rng.integers(3, 8))


def page(rng) -> np.ndarray:
    """Paper with text, sometimes with a picture."""
    picture = np.full((SIZE, SIZE, 3), colour(rng, (0, 0.08), (0.85, 1)), np.uint8)
    ink = colour(rng, (0, 0.6), (0.0, 0.35))
    lines(picture, rng, (20, 40, SIZE - 20, SIZE - 16), ink)
    write(picture, rng, (20, 32), rng.uniform(12, 26), ink)
    if rng.random() < 0.5:
        x, y = rng.integers(20, 120, 2)
        picture[y:y + 100, x:x + 110] = photo(rng)[:100, :110]
    return picture


def photo(rng) -> np.ndarray:
    """A landscape-like picture: sky, ground, blobs, some shapes."""
    horizon = np.linspace(-2, 2, SIZE)[:, None] + fractal(rng, 2.0) * rng.uniform(0.1, 0.6)
    picture = blend(colour(rng, (0, 0.6), (0.5, 1)), colour(rng, (0.1, 0.8), (0.1, 0.7)),
                    1 / (1 + np.exp(-horizon * rng.uniform(1, 9))))
    picture = to_image(picture + fractal(rng, 1.1)[..., None] * rng.uniform(5, 30))
    shapes(picture, rng, int(rng.integers(0, 6)))
    return picture


def shapes(picture, rng, count: int) -> None:
    """Filled ellipses, rectangles and triangles at random, in place."""
    height, width = picture.shape[:2]
    for _ in range(count):
        ink = colour(rng, (0, 1), (0, 1)).tolist()
        x, y = int(rng.integers(width)), int(rng.integers(height))
        a, b = (int(v) for v in rng.integers(4, max(width // 3, 6), 2))
        kind = rng.integers(3)
        if kind == 0:
            cv2.ellipse(picture, (x, y), (a, b), float(rng.uniform(0, 180)), 0, 360, ink, -1,
                        cv2.LINE_AA)
        elif kind == 1:
            cv2.rectangle(picture, (x, y), (x + a, y + b), ink, -1)
        else:
            corners = rng.integers(0, width, (3, 2)).astype(np.int32)
            cv2.fillPoly(picture, [corners], ink, cv2.LINE_AA)


def poster(rng) -> np.ndarray:
    """A poster: a photo or shapes, with words."""
    picture = photo(rng) if rng.random() < 0.5 else camouflage(rng, colour(rng, (0, 0.9)))
    if rng.random() < 0.5:
        picture = np.full_like(picture, colour(rng, (0, 0.9)))
        shapes(picture, rng, int(rng.integers(2, 9)))
    for _ in range(int(rng.integers(0, 4))):
        write(picture, rng, rng.integers(0, 200, 2), rng.uniform(14, 60),
              colour(rng, (0, 1), (0, 1)))
    return picture


def label(rng) -> np.ndarray:
    """A packet's or a bottle's print: a ground colour, bands, words."""
    picture = np.full((128, 128, 3), colour(rng, (0, 0.95), (0.2, 1)), np.uint8)
    for _ in range(int(rng.integers(1, 4))):
        y = int(rng.integers(0, 110))
        picture[y:y + int(rng.integers(4, 50))] = colour(rng, (0, 0.95), (0.1, 1))
    shapes(picture, rng, int(rng.integers(0, 4)))
    write(picture, rng, (8, int(rng.integers(30, 110))), rng.uniform(14, 34),
          colour(rng, (0, 1), (0, 1)))
    if rng.random() < 0.5:
        lines(picture, rng, (10, 80, 118, 122), colour(rng, (0, 0.3), (0, 0.4)))
    return picture


def spine(rng) -> np.ndarray:
    """The back of a book, upright: 32 wide, 128 high."""
    ground = colour(rng, (0, 0.9), (0.1, 0.95))
    strip = np.full((32, 128, 3), ground, np.uint8)
    ink = colour(rng, (0, 0.6), (0.6, 1) if ground.mean() < 130 else (0, 0.35))
    write(strip, rng, (int(rng.integers(8, 40)), 22), rng.uniform(9, 18), ink)
    for x in rng.integers(2, 124, int(rng.integers(0, 3))):
        strip[:, x:x + 3] = ink
    return np.ascontiguousarray(np.rot90(strip, -1))


def screen(rng) -> np.ndarray:
    """A monitor that shows windows of text, or a picture, or nothing."""
    if rng.random() < 0.25:
        return np.full((SIZE, SIZE, 3), rng.uniform(4, 30), np.uint8)
    picture = photo(rng)
    for _ in range(int(rng.integers(1, 4))):
        x, y = rng.integers(0, 150, 2)
        w, h = rng.integers(60, 180, 2)
        dark = rng.random() < 0.5
        ground = colour(rng, (0, 0.2), (0.05, 0.2) if dark else (0.85, 1))
        cv2.rectangle(picture, (int(x), int(y)), (int(x + w), int(y + h)), ground.tolist(), -1)
        lines(picture, rng, (x + 6, y + 10, min(x + w, SIZE) - 6, min(y + h, SIZE) - 6),
              colour(rng, (0, 0.7), (0.6, 1) if dark else (0, 0.4)))
    return picture


def keyboard(rng) -> np.ndarray:
    """Keys seen from above."""
    dark = rng.random() < 0.6
    picture = np.full((64, 192, 3), colour(rng, (0, 0.1), (0.05, 0.25) if dark else (0.6, 0.9)),
                      np.uint8)
    key = colour(rng, (0, 0.1), (0.15, 0.35) if dark else (0.8, 1)).tolist()
    for y in range(4, 58, 12):
        for x in range(4 + y // 6, 182, 13):
            cv2.rectangle(picture, (x, y), (x + 9, y + 8), key, -1)
    return picture


def outdoors(rng) -> np.ndarray:
    """What a window shows: sky, trees or houses, brighter than the room."""
    rows = np.linspace(1, 0, SIZE)[:, None]
    sky = blend(colour(rng, (0, 0.2), (0.85, 1)), colour(rng, (0.1, 0.6), (0.7, 1), hue=0.58),
                np.broadcast_to(rows, (SIZE, SIZE)))
    skyline = SIZE * rng.uniform(0.3, 0.8) + fractal(rng, 1.3)[0] * rng.uniform(3, 25)
    ground = np.arange(SIZE)[:, None] > skyline
    green = camouflage(rng, colour(rng, (0.2, 0.7), (0.15, 0.6), hue=rng.choice([0.3, 0.08])))
    picture = to_image(np.where(ground[..., None], green, sky))
    for _ in range(int(rng.integers(0, 5))):  # houses
        x, w = int(rng.integers(0, 230)), int(rng.integers(20, 90))
        top = int(rng.integers(60, 200))
        picture[top:, x:x + w] = colour(rng, (0, 0.4), (0.3, 0.9))
        picture[top + 8::18, x:x + w] = colour(rng, (0, 0.3), (0.1, 0.5))
    return picture
