"""Small things put on surfaces: scattered by chance, or in rows."""
from __future__ import annotations

import numpy as np

from . import scene_objects as objects
from .scene_mesh import Mesh, bounds
from .scene_shapes import block, box, placed

SMALL = (
    objects.book, objects.book, objects.book_stack, objects.cup, objects.cup, objects.bottle,
    objects.bottle, objects.can, objects.bowl, objects.packet, objects.packet,
    objects.ball_toy, objects.vase, objects.potted_plant, objects.papers, objects.tool,
    objects.cloth, objects.toy_blocks, objects.pen_pot, objects.clock_or_photo, objects.helmet,
    objects.laptop, objects.desk_lamp)


def small_thing(rng, palette, max_size, max_height) -> tuple[list[Mesh], float]:
    """Something by chance that fits: its meshes and the radius of its footprint, metres."""
    for _ in range(8):
        meshes = SMALL[int(rng.integers(len(SMALL)))](rng, palette)
        low, high = bounds(meshes)
        radius = float(np.hypot(*np.maximum(np.abs(low[:2]), np.abs(high[:2]))))
        if 2 * radius < max_size and high[2] < max_height:
            return meshes, radius
    size = np.minimum([0.6 * max_size, 0.6 * max_size, 0.8 * max_height], 0.15)
    size = size * rng.uniform(0.4, 1)
    return [block(0, 0, 0, size, palette.any('label', 'plastic', 'carton'))], float(
        np.hypot(*size[:2]) / 2)


def clutter(rng, palette, low, high, z, *, max_height=1.0, density=6.0) -> list[Mesh]:
    """Small things scattered over the rectangle low..high at height z, none in another.

    density : things for each square metre, about.
    """
    low, high = np.asarray(low, float), np.asarray(high, float)
    span = high - low
    placed_at: list[tuple[float, float, float]] = []
    meshes: list[Mesh] = []
    for _ in range(int(rng.poisson(density * float(np.prod(span))))):
        thing, radius = small_thing(rng, palette, float(min(span.min(), 0.6)), max_height)
        for _ in range(6):
            x, y = rng.uniform(low + min(radius, span.min() / 2),
                               high - min(radius, span.min() / 2))
            if all(np.hypot(x - a, y - b) > radius + r for a, b, r in placed_at):
                placed_at.append((x, y, radius))
                meshes += placed(thing, x, y, z, _turn(rng))
                break
    return meshes


def _turn(rng) -> float:
    """Things mostly stand about straight; some lie anyhow."""
    return float(rng.normal(0, 0.3) if rng.random() < 0.6 else rng.uniform(0, 2 * np.pi))


def standing_books(rng, palette, x0, x1, front, z, max_height) -> list[Mesh]:
    """A row of upright books between x0 and x1; their backs show to -y at about `front`."""
    meshes, x = [], x0
    base_height = rng.uniform(0.6, 0.9) * max_height
    while True:
        thick = rng.uniform(0.012, 0.05)
        if x + thick > x1:
            return meshes
        height = min(base_height * rng.uniform(0.75, 1.1), max_height - 0.01)
        y = front + abs(rng.normal(0, 0.012))
        meshes.append(box((x, y, z), (x + thick, y + rng.uniform(0.12, 0.2), z + height),
                          palette('spine')))
        x += thick + (rng.uniform(0.02, 0.2) if rng.random() < 0.06 else 0.001)
