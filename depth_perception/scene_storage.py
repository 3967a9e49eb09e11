"""Things that hold things: shelves, cabinets, bins, boxes, kitchens.

Origin: middle of the footprint on the floor; front towards -y.
"""
from __future__ import annotations

import numpy as np

from .scene_clutter import clutter, standing_books
from .scene_mesh import Mesh
from .scene_shapes import block, box, cylinder, placed


def legs(rng, width, depth, height, material, thickness=None) -> list[Mesh]:
    """Four legs at the corners, square or round."""
    thickness = rng.uniform(0.03, 0.08) if thickness is None else thickness
    inset = thickness / 2 + rng.uniform(0, 0.04)
    round_leg = rng.random() < 0.4
    parts = []
    for sx in (-1, 1):
        for sy in (-1, 1):
            x, y = sx * (width / 2 - inset), sy * (depth / 2 - inset)
            parts += [cylinder(x, y, 0, thickness / 2, height, material, segments=10)
                      if round_leg else block(x, y, 0, (thickness, thickness, height), material)]
    return parts


def _shelf_contents(rng, palette, x0, x1, front, back, z, room) -> list[Mesh]:
    """What stands in one compartment of a shelf."""
    kind = rng.random()
    if kind < 0.45 and room > 0.18:
        split = rng.uniform(x0, x1) if rng.random() < 0.5 else x1
        return standing_books(rng, palette, x0 + 0.005, split, front, z, room) + (
            clutter(rng, palette, (split, front), (x1, back), z, max_height=room, density=14)
            if x1 - split > 0.12 else [])
    if kind < 0.6:
        parts, x = [], x0 + 0.01
        while x + 0.12 < x1:
            width = rng.uniform(0.12, min(0.45, x1 - x))
            parts.append(box((x, front, z), (x + width, back, z + room * rng.uniform(0.4, 0.9)),
                             palette.any('carton', 'carton', 'plastic', 'label')))
            x += width + rng.uniform(0.01, 0.15)
        return parts
    if kind < 0.9:
        return clutter(rng, palette, (x0, front), (x1, back), z, max_height=room,
                       density=rng.uniform(8, 40))
    return []


def shelf(rng, palette) -> list[Mesh]:
    """A bookcase or a storage rack, filled."""
    width, depth, height = rng.uniform([0.5, 0.22, 0.8], [1.8, 0.5, 2.2])
    board, wood = rng.uniform(0.015, 0.03), palette.any('wood', 'wood', 'metal')
    rack = rng.random() < 0.3
    back = block(0, depth / 2 - 0.006, 0, (width, 0.012, height), palette('wood'))
    parts = [] if rack else [back]
    for side in (-1, 1):
        x = side * (width / 2 - board / 2)
        parts += ([block(x, sy * (depth / 2 - 0.02), 0, (0.03, 0.03, height), wood)
                   for sy in (-1, 1)] if rack else [block(x, 0, 0, (board, depth, height), wood)])
    levels = np.linspace(rng.uniform(0.03, 0.15), height - board,
                         max(2, int(height / rng.uniform(0.28, 0.45)) + 1))
    columns = np.linspace(-width / 2 + board, width / 2 - board, 1 + max(1, int(width / 0.7)))
    for x in columns[1:-1]:
        parts.append(block(x, 0, levels[0], (board, depth, height - levels[0]), wood))
    for z, above in zip(levels, np.append(levels[1:], levels[-1] + 0.35)):
        parts.append(block(0, 0, z, (width - 2 * board, depth, board), wood))
        for x0, x1 in zip(columns[:-1], columns[1:]):
            parts += _shelf_contents(rng, palette, x0 + board, x1 - board, -depth / 2 + 0.02,
                                     depth / 2 - 0.02, z + board, above - z - board - 0.02)
    return parts


def drawers(rng, palette, size=None, with_things=True) -> list[Mesh]:
    """A cabinet with drawers or doors, and their grooves and handles."""
    size = rng.uniform([0.4, 0.35, 0.4], [1.6, 0.6, 1.2]) if size is None else size
    width, depth, height = size
    wood, front, metal = palette('wood'), palette('wood'), palette('metal')
    columns, rows = max(1, round(width / rng.uniform(0.4, 0.8))), int(rng.integers(1, 5))
    parts = [block(0, 0.01, 0, (width, depth - 0.02, height), wood)]
    step_x, step_z = width / columns, (height - 0.08) / rows
    for i in range(columns):
        for j in range(rows):
            x, z = -width / 2 + (i + 0.5) * step_x, 0.06 + j * step_z
            parts += [block(x, -depth / 2 + 0.01, z, (step_x - .008, .02, step_z - .008), front),
                      block(x, -depth / 2 - 0.012, z + step_z * 0.6, (0.12, 0.02, 0.012), metal)]
    if with_things:
        parts += clutter(rng, palette, (-width / 2, -depth / 2), (width / 2, depth / 2), height,
                         max_height=0.6, density=rng.choice([0, 4, 12]))
    return parts


def wardrobe(rng, palette) -> list[Mesh]:
    """A tall cupboard."""
    size = rng.uniform([0.8, 0.5, 1.7], [2.2, 0.65, 2.25])
    return drawers(rng, palette, size, with_things=False)


def bin_(rng, palette) -> list[Mesh]:
    """An open box, bin or crate with things in it, as robots pick from."""
    width, depth, height = rng.uniform([0.25, 0.2, 0.12], [0.7, 0.5, 0.5])
    wall, stuff = 0.008, palette.any('plastic', 'carton', 'metal', 'wood')
    parts = [block(0, 0, 0, (width, depth, wall), stuff)]
    for side in (-1, 1):
        parts += [block(side * (width - wall) / 2, 0, 0, (wall, depth, height), stuff),
                  block(0, side * (depth - wall) / 2, 0, (width, wall, height), stuff)]
    fill = rng.choice([0, 1, 2, 4])
    for layer in range(int(fill)):
        parts += clutter(rng, palette, (-width / 2 + .02, -depth / 2 + .02),
                         (width / 2 - .02, depth / 2 - .02), wall + layer * 0.05,
                         max_height=height * 1.2, density=30)
    return parts


def bin_on_table(rng, palette) -> list[Mesh]:
    """A bin on a work table, as in a picking cell."""
    size = rng.uniform([0.8, 0.6, 0.6], [1.4, 0.9, 0.9])
    wood = palette.any('wood', 'metal')
    parts = [block(0, 0, size[2] - 0.03, (size[0], size[1], 0.03), wood)]
    parts += legs(rng, *size[:2], size[2] - 0.03, palette('metal'))
    return parts + placed(bin_(rng, palette), 0, 0, size[2], rng.normal(0, 0.15))


def cartons(rng, palette) -> list[Mesh]:
    """A pile of boxes, sometimes on a pallet."""
    parts, z = [], 0.0
    if rng.random() < 0.4:
        wood, z = palette('wood'), 0.144
        for y in np.linspace(-0.35, 0.35, 5):
            parts += [block(0, y, 0.122, (1.2, 0.1, 0.022), wood)]
        for x in (-0.53, 0, 0.53):
            parts += [block(x, 0, 0, (0.12, 0.8, 0.122), wood)]
    for _ in range(int(rng.integers(1, 4))):
        size = rng.uniform([0.25, 0.2, 0.15], [0.6, 0.5, 0.5])
        parts += placed([block(0, 0, 0, size, palette('carton'))], *rng.normal(0, 0.05, 2), z,
                        rng.normal(0, 0.2))
        z += size[2]
    return parts


def appliance(rng, palette) -> list[Mesh]:
    """A fridge, an oven or a washing machine: a smooth block with a door and a window."""
    width, depth, height = 0.6, 0.6, rng.choice([0.85, 0.85, 1.4, 1.9])
    body, front = palette.any('metal', 'ceramic', 'plastic'), palette.any('metal', 'ceramic')
    parts = [block(0, 0, 0, (width, depth, height), body),
             block(0, -depth / 2 - 0.01, 0.06, (width - 0.01, 0.02, height * 0.8), front),
             block(width * 0.4, -depth / 2 - 0.04, height * 0.5, (0.025, 0.03, 0.3),
                   palette('metal'))]
    if rng.random() < 0.5:
        parts.append(block(0, -depth / 2 - 0.022, height * 0.3, (0.38, 0.006, 0.3),
                           palette.any('screen', 'plastic')))
    return parts


def counter(rng, palette) -> list[Mesh]:
    """A kitchen run: cupboards below a worktop, sometimes cupboards above."""
    width = rng.uniform(1.2, 3.0)
    parts = drawers(rng, palette, (width, 0.58, 0.86), with_things=False)
    parts += [block(0, 0, 0.86, (width + 0.02, 0.62, 0.04), palette.any('wood', 'ceramic'))]
    parts += clutter(rng, palette, (-width / 2, -0.3), (width / 2, 0.3), 0.9, max_height=0.45,
                     density=rng.uniform(4, 14))
    if rng.random() < 0.6:
        parts += placed(drawers(rng, palette, (width, 0.34, 0.65), False), 0, 0.13, 1.45)
    return parts
